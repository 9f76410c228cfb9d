"""Answers of any size, and bodies of types that a client may miss."""

from polygil import App

app = App()


@app.post("/lists")
def lists(body: dict[str, list[int]]) -> int:
    return len(body)


@app.post("/list")
def one_list(body: list[int]) -> int:
    return len(body)


@app.post("/parsed")
def parsed(body):
    return None


@app.get("/big")
def big(n: int) -> bytes:
    return bytes(n)


@app.get("/text")
def text(n: int) -> str:
    return "x" * n


@app.get("/repeated")
def repeated(times: int) -> list[str]:
    """One object many times: small in memory, large as JSON."""
    return ["x" * 1_000_000] * times

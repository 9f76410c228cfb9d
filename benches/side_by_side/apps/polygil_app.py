"""The app for polygil."""

import work
from polygil import App, Request

app = App()


@app.get("/text")
def text() -> str:
    return work.TEXT


@app.get("/json")
def small() -> dict:
    return work.SMALL


@app.get("/json10k")
def large() -> dict:
    return work.LARGE


@app.get("/users/{user_id}")
def user(user_id: int, verbose: bool, tag: str) -> dict:
    return work.user(user_id, verbose, tag)


@app.post("/length")
def length(request: Request) -> str:
    return str(len(request.body))


@app.get("/cpu")
def cpu() -> dict:
    return work.cpu()


@app.get("/sqlite")
def sqlite() -> dict:
    return work.row()


@app.get("/slow-cpu")
def slow_cpu() -> dict:
    return work.slow_cpu()


@app.get("/slow-wait")
def slow_wait() -> dict:
    return work.slow_wait()

"""Hello, and nothing else: what polygil and its interpreters take by themselves."""

from polygil import App

app = App()


@app.get("/json")
def hello() -> dict[str, str]:
    return {"hello": "world"}

"""hello, users and a handler that raises, in one app."""

from polygil import App, HTTPException

app = App()
USERS = {7: {"id": 7, "name": "Grace", "tags": ["compilers"]}}


@app.get("/")
def index() -> dict[str, str]:
    return {"hello": "world"}


@app.get("/users/{user_id}")
def show(user_id: int, verbose: bool = False) -> dict[str, object]:
    if user_id not in USERS:
        raise HTTPException(404)
    return USERS[user_id] if verbose else {"id": user_id}


@app.get("/raise")
def raises() -> None:
    raise ValueError("again")

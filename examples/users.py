"""Path and query parameters, validation, errors of your own.

    polygil serve --app-dir examples users:app
    curl 'http://127.0.0.1:8000/users/7?verbose=true'
    curl http://127.0.0.1:8000/users/abc        # 422: not an int
    curl http://127.0.0.1:8000/users/999        # 404: the handler's own
    curl -X DELETE http://127.0.0.1:8000/users/7  # 405, with Allow
"""

from dataclasses import dataclass
from enum import Enum

from polygil import App, HTTPException, Request

app = App()


class Order(Enum):
    NAME = "name"
    ID = "id"


@dataclass
class User:
    id: int
    name: str
    tags: list[str]


USERS = {
    user.id: user
    for user in (
        User(1, "Ada", ["mathematics", "engines"]),
        User(7, "Grace", ["compilers"]),
        User(42, "Barbara", ["abstraction"]),
    )
}


@app.get("/")
def index() -> dict[str, object]:
    return {"try": ["/users", "/users/7?verbose=true", "/users/abc", "/echo"]}


@app.get("/users")
def list_users(tag: list[str] | None = None, order: Order = Order.ID, limit: int = 10) -> list[User]:
    """``?tag=a&tag=b&order=name&limit=2``: lists, enums and numbers convert; what does not is a 422."""
    wanted = set(tag or [])
    users = [user for user in USERS.values() if not wanted or wanted & set(user.tags)]
    return sorted(users, key=lambda user: getattr(user, order.value))[:limit]


@app.get("/users/{user_id}")
def show_user(user_id: int, verbose: bool = False) -> dict[str, object]:
    user = USERS.get(user_id)
    if user is None:
        raise HTTPException(404, f"no user {user_id}")
    if verbose:
        return {"id": user.id, "name": user.name, "tags": user.tags}
    return {"id": user.id, "name": user.name}


@app.post("/echo")
def echo(body: dict[str, object], request: Request) -> tuple[dict[str, object], int]:
    return {"you_sent": body, "as": request.headers.get("content-type")}, 201

"""The example's app: put your own in its place, and its start into suite.toml."""

from polygil import App, HTTPException

app = App()

USERS = {7: "Grace"}


@app.get("/health")
def health() -> str:
    return "fine"


@app.get("/users/{user_id}")
def show(user_id: int) -> dict[str, object]:
    if user_id not in USERS:
        raise HTTPException(404, f"no user {user_id}")
    return {"id": user_id, "name": USERS[user_id]}

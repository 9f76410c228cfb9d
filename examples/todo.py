"""A to-do list on sqlite3, with a page to click on.

    polygil serve --app-dir examples todo:app      # then open http://127.0.0.1:8000/

Module globals are per interpreter: a list kept in a global here would be a different list in each worker, and every other
page would show another one. What several requests must agree on belongs outside the interpreters: in a database, a file,
a server of its own. So each worker opens its own connection to one database when it starts, and closes it when it stops.
"""

import html
import os
import sqlite3
from urllib.parse import parse_qs

from polygil import App, HTTPException, Request, Response

app = App()
DATABASE = os.environ.get("TODO_DATABASE", "todo.sqlite3")
connection: sqlite3.Connection


@app.on_startup
def connect() -> None:
    """Runs once in each interpreter, before it takes its first request."""
    global connection
    # All workers start at once. A change of journal_mode (to WAL, say) would fail then, as it does not wait for a lock.
    connection = sqlite3.connect(DATABASE, timeout=5, autocommit=True)
    connection.execute("CREATE TABLE IF NOT EXISTS todo (id INTEGER PRIMARY KEY, title TEXT NOT NULL, done INTEGER NOT NULL)")


@app.on_shutdown
def disconnect() -> None:
    connection.close()


@app.get("/")
def page() -> Response:
    items = "".join(
        f'<li><form method="post" action="/done/{item["id"]}"><button>{"☑" if item["done"] else "☐"}</button> '
        f"{html.escape(str(item['title']))}</form></li>"
        for item in todos()
    )
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>To do</title><h1>To do</h1>'
        '<form method="post" action="/add"><input name="title" required autofocus placeholder="What next?">'
        f"<button>Add</button></form><ul>{items}</ul></html>"
    )
    return Response(text, media_type="text/html; charset=utf-8")


@app.post("/add")
def add(request: Request) -> Response:
    """What the page's form sends: application/x-www-form-urlencoded."""
    title = parse_qs(request.text()).get("title", [""])[0].strip()
    if not title:
        raise HTTPException(422, "a to-do needs a title")
    insert(title)
    return to_page()


@app.post("/done/{todo_id}")
def toggle(todo_id: int) -> Response:
    connection.execute("UPDATE todo SET done = NOT done WHERE id = ?", [todo_id])
    return to_page()


@app.get("/todos")
def todos() -> list[dict[str, object]]:
    rows = connection.execute("SELECT id, title, done FROM todo ORDER BY id")
    return [{"id": number, "title": title, "done": bool(done)} for number, title, done in rows]


@app.post("/todos")
def create(body: dict[str, object]) -> tuple[dict[str, object], int]:
    title = body.get("title")
    if not isinstance(title, str) or not title.strip():
        raise HTTPException(422, "a to-do needs a title")
    return {"id": insert(title.strip()), "title": title.strip(), "done": False}, 201


@app.delete("/todos/{todo_id}")
def delete(todo_id: int) -> None:
    if connection.execute("DELETE FROM todo WHERE id = ?", [todo_id]).rowcount == 0:
        raise HTTPException(404, f"no to-do {todo_id}")


def insert(title: str) -> int | None:
    return connection.execute("INSERT INTO todo (title, done) VALUES (?, 0)", [title]).lastrowid


def to_page() -> Response:
    return Response(status_code=303, headers={"Location": "/"})

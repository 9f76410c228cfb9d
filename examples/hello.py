"""The smallest app: one route, and one that shows which worker answered.

    polygil serve --app-dir examples hello:app
    curl http://127.0.0.1:8000/
"""

import threading

from polygil import App

app = App()

# A module global belongs to one interpreter: each worker counts its own calls.
calls = 0


@app.get("/")
def index() -> dict[str, str]:
    return {"hello": "world"}


@app.get("/whoami")
def whoami() -> dict[str, object]:
    global calls
    calls += 1
    return {"worker": threading.current_thread().native_id, "calls": calls}

"""Imports datetime, directly and through others, when a handler first runs: main has not, by importing this module."""

from polygil import App

app = App()


@app.get("/date")
def date() -> dict[str, object]:
    import datetime
    import http.client
    import sqlite3

    with sqlite3.connect(":memory:") as connection:
        (text,) = connection.execute("SELECT date('2020-02-28', '+1 day')").fetchone()
    return {"date": str(datetime.date.fromisoformat(text)), "server": http.client.OK == 200}

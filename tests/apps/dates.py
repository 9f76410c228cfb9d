"""Imports datetime, directly and through others."""

import datetime
import http.client
import sqlite3

from polygil import App

app = App()


@app.get("/date")
def date() -> dict[str, object]:
    with sqlite3.connect(":memory:") as connection:
        (text,) = connection.execute("SELECT date('2020-02-28', '+1 day')").fetchone()
    return {"date": str(datetime.date.fromisoformat(text)), "server": http.client.OK == 200}

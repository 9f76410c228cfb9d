"""A start-up hook that takes its time."""

import os
import time

from polygil import App

app = App()


@app.on_startup
def hang() -> None:
    os.write(1, b"hanging\n")
    time.sleep(3600)


@app.get("/")
def index() -> str:
    return "never"

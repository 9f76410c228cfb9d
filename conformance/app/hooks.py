"""Hooks that say when they run."""

import os

from polygil import App

app = App()
failing = App()
STATE = "not started"


def say(text: str) -> None:
    os.write(1, f"hook: {text}\n".encode())


@app.on_startup
def first() -> None:
    global STATE
    say("first up")
    STATE = "starting"


@app.on_startup
def second() -> None:
    global STATE
    assert STATE == "starting", "hooks run in order"
    STATE = "started"


@app.on_shutdown
def down() -> None:
    say("down")


@app.get("/")
def index() -> str:
    return STATE


@failing.on_startup
def fails() -> None:
    raise RuntimeError("no database today")


@failing.get("/")
def other() -> str:
    return "never"


@app.get("/probe")
def probe() -> str:
    return "polygil conformance probe"

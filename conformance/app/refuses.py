"""Imports an extension of the standard library that refuses sub-interpreters."""

import faulthandler

from polygil import App

app = App()


@app.get("/")
def index() -> bool:
    return faulthandler.is_enabled()

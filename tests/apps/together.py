"""Calls that wait for each other across interpreters: only parallel ones ever meet."""

import os
import shutil
import tempfile
import time
from pathlib import Path

from polygil import App

app = App()
# Interpreters share the process, and what is outside of it: here, a directory named after the process.
PLACE = Path(tempfile.gettempdir()) / f"polygil-together-{os.getpid()}"


@app.on_startup
def prepare() -> None:
    PLACE.mkdir(exist_ok=True)


@app.on_shutdown
def tidy() -> None:
    """The first worker to stop takes it all away; for the others nothing is left to do."""
    shutil.rmtree(PLACE, ignore_errors=True)


@app.get("/meet")
def meet(parties: int) -> str:
    with tempfile.NamedTemporaryFile(dir=PLACE, delete=False):
        pass
    while len(list(PLACE.iterdir())) < parties:
        time.sleep(0.001)
    return "met"

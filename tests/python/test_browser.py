"""The to-do example's page in a real browser: what a person would click on, clicked on.

Runs where Chromium and its driver are installed (`apt install chromium chromium-driver`), as they are in CI.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
from needs import needs

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent.parent
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = needs("chromium", "chromedriver")


@pytest.fixture
def todo(tmp_path: Path) -> Iterator[str]:
    """The example, served on a port of its own with a database of its own."""
    port_file = tmp_path / "port"
    command = [Path(sys.executable).parent / "polygil", "serve", "todo:app", "--app-dir", ROOT / "examples"]
    options = ["--port", "0", "--port-file", port_file, "--workers", "2"]
    environment = {**os.environ, "TODO_DATABASE": str(tmp_path / "todo.sqlite3")}
    server = subprocess.Popen([*map(str, command), *map(str, options)], env=environment)
    try:
        deadline = time.monotonic() + 60
        while not port_file.exists():
            assert server.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
        yield f"http://127.0.0.1:{port_file.read_text().strip()}"
    finally:
        server.terminate()
        assert server.wait(60) == 0


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    driver.implicitly_wait(20)
    try:
        yield driver
    finally:
        driver.quit()


def test_a_person_adds_two_things_and_ticks_one_off(todo: str, browser: Any) -> None:
    from selenium.webdriver.common.by import By

    browser.get(todo)
    assert browser.title == "To do"
    for title in ("Water the <plants> & cats", "Über den Fluß"):
        browser.find_element(By.NAME, "title").send_keys(title)
        browser.find_element(By.XPATH, "//button[text()='Add']").click()
        browser.find_element(By.XPATH, f"//li[contains(., '{title}')]")
    browser.find_element(By.XPATH, "//li[1]//button").click()
    browser.find_element(By.XPATH, "//li[1]//button[contains(., '☑')]")
    browser.find_element(By.XPATH, "//li[2]//button[contains(., '☐')]")
    with urlopen(f"{todo}/todos") as answer:
        assert json.load(answer) == [
            {"id": 1, "title": "Water the <plants> & cats", "done": True},
            {"id": 2, "title": "Über den Fluß", "done": False},
        ]

"""The simulator's page in a real browser: stepped through, played to its end.

Runs where Chromium and its driver are installed, as they are in CI.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from needs import needs
from test_browser import browser  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent.parent

pytestmark = needs("cargo", "chromium", "chromedriver")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_person_steps_through_a_run_and_plays_it_to_its_end(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    page, trace = tmp_path / "run.html", tmp_path / "run.json"
    for kind, out in (("page", page), ("trace", trace)):
        command = ["cargo", "run", "--quiet", "-p", "polygil-sim", "--", kind, "--seed", "11", "--out", str(out)]
        subprocess.run(command, cwd=ROOT, check=True, timeout=600)
    browser.get(page.as_uri())
    assert browser.find_element("id", "title").text.startswith("seed 11 · ")

    def at() -> int:
        return int(browser.find_element("id", "at").get_attribute("value"))

    for place in (1, 2, 3):
        browser.find_element("id", "step").click()
        assert at() == place
    length = browser.execute_script("return steps.length")
    browser.execute_script("document.getElementById('speed').value = 2")
    browser.find_element("id", "play").click()
    wait_for(lambda: at() == length)
    assert browser.find_element("id", "play").text == "play"

    # What the page shows at the end is what the run came to: all queues empty, no connection open, and every answer counted.
    left = browser.execute_script("return [state.queues, state.conns.size, state.backlog.size]")
    workers = browser.execute_script("return run.workers")
    assert left == [[0] * (workers + 1), 0, 0]
    answers = browser.execute_script("return steps.filter(step => step[1] === 'answer').length")
    events = json.loads(trace.read_text())["traceEvents"]
    assert answers == sum("is answered" in event.get("name", "") for event in events) > 0

    # Back to the middle, by hand.
    browser.execute_script("const at = document.getElementById('at'); at.value = 3; at.dispatchEvent(new Event('input'))")
    assert browser.execute_script("return place") == 3

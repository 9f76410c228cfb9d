"""Fixtures for pytest, which finds this module by itself where polygil is installed (entry point `pytest11`).

    def test_show(polygil_client):
        client = polygil_client("app:app")
        assert client.get("/users/7").status_code == 200

    def test_served(polygil_server):
        client = polygil_server("app:app", workers=2)
        assert client.get("/users/7").status_code == 200

Both give a function that makes a client of `polygil.testing`; what it made is ended after the test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from polygil import App
    from polygil.testing import Client, ServerClient


@pytest.fixture
def polygil_client() -> Iterator[Callable[..., Client]]:
    """Make clients without a socket: `polygil_client("app:app")`. Startup hooks have run, shutdown hooks run at the end."""
    from polygil.testing import Client

    with ExitStack() as stack:

        def make(target: str | App, **options: Any) -> Client:
            return stack.enter_context(Client(target, **options))

        yield make


@pytest.fixture
def polygil_server() -> Iterator[Callable[..., ServerClient]]:
    """Make clients with a server behind them: `polygil_server("app:app", workers=2)`. It is drained at the end."""
    from polygil.testing import ServerClient

    with ExitStack() as stack:

        def make(target: str | App, **options: Any) -> ServerClient:
            return stack.enter_context(ServerClient(target, **options))

        yield make

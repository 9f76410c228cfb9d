"""Exists, and imports something that does not."""

import no_such_dependency  # noqa: F401


def show() -> str:
    return "never"

"""Tests that need a program or a package that not every machine has.

Where it is missing they are skipped, and say so; where CI=true they run all the same, and fail: nothing is skipped there unnoticed.
"""

from __future__ import annotations

import importlib.util
import os
import shutil

import pytest


def needs(*names: str) -> pytest.MarkDecorator:
    """Skips a test where one of these programs or Python packages is missing."""
    missing = [name for name in names if shutil.which(name) is None and importlib.util.find_spec(name) is None]
    is_skipped = bool(missing) and os.environ.get("CI") != "true"
    return pytest.mark.skipif(is_skipped, reason=f"not installed: {', '.join(missing)}")

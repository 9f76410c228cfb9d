"""Exists, and raises."""

raise RuntimeError("not today")

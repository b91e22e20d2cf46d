"""Waiting for a condition instead of for a time."""

from collections.abc import Awaitable, Callable

Eventually = Callable[..., Awaitable[None]]
"""`await eventually(condition, within=10)`: the fixture of tests/unit/conftest.py."""

"""Waiting for something to become true, instead of for some time to pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], *, within: float = 60.0, what: str | Callable[[], str] = "it") -> T:
    """The first true value of `look()`; fails the test when there is none in `within` seconds."""
    deadline = time.monotonic() + within
    while not (value := look()):
        if time.monotonic() > deadline:
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"after {within} s: {text}; the last answer was {value!r}")
        time.sleep(0.01)
    return value


def at_least(look: Callable[[], float], value: float, *, within: float = 60.0) -> None:
    """Waits until `look()` has come to this value."""
    eventually(lambda: look() >= value, within=within, what=lambda: f"{look()} and not {value} yet")


def never(look: Callable[[], object], *, during: float) -> None:
    """Fails the test when `look()` becomes true meanwhile."""
    deadline = time.monotonic() + during
    while time.monotonic() < deadline:
        assert not look()
        time.sleep(0.01)

"""What all integration tests share."""

from __future__ import annotations

import pytest

from face_messages.backoff import Backoff


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries in this process wait for a twentieth of the time."""
    monkeypatch.setattr(Backoff, "scale", 0.05)

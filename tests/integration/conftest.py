"""What all integration tests share."""

from __future__ import annotations

import pytest

from face_messages.mqtt import session as session_module
from face_messages.service.backoff import Backoff


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries in this process wait for a twentieth of the time."""
    monkeypatch.setattr(Backoff, "scale", 0.05)


@pytest.fixture
def short_farewell(monkeypatch: pytest.MonkeyPatch) -> None:
    """For brokers that do not close what is ended, as a real one does at once."""
    monkeypatch.setattr(session_module, "FAREWELL_SECONDS", 0.1)

"""A real Chromium for pages. A test module takes the fixture by `pytest_plugins = ["tests.support.browser"]`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from dev.stack.browser import chromium

# A module's tests that share a Chromium: to start one takes as long as some tests, and all in a row as long as the run.
_GROUP = 8


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    count: Counter[str] = Counter()
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            module = item.path.stem
            item.add_marker(pytest.mark.xdist_group(f"{module}-{count[module] // _GROUP}"))
            count[module] += 1


# A busy machine takes its time. Who waits for longer than that waits for something that does not come.
expect.set_options(timeout=30_000)


# Of one module, since Playwright keeps an event loop in this thread, where later tests want to run their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab in a profile of its own. The test fails when a script does, or when the page breaks its own policy."""
    complaints: list[str] = []
    with browser.new_context(permissions=["clipboard-read", "clipboard-write"]) as context:
        tab = context.new_page()
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("console", lambda line: complaints.append(line.text) if "Content Security" in line.text else None)
        yield tab
    assert complaints == []

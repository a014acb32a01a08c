"""Whether the store takes anything at present."""

import logging
import threading
import time

from object_store.errors import StoreError

log = logging.getLogger(__name__)


class StoreState:
    """Hears of each request's fate, and says when the store stops working and when it works again. For all threads."""

    def __init__(self) -> None:
        #: Why nothing can be stored at present, or None.
        self.trouble: StoreError | None = None
        self._trouble_since = self._worked_at = 0.0
        self._works = threading.Condition()

    def fails(self, error: StoreError, began: float) -> None:
        """A request that was made at `began` (monotonic) failed."""
        with self._works:
            if self._worked_at > began:
                return  # another request has succeeded since this one was made
            known, self.trouble = self.trouble, error
            if known is None:
                self._trouble_since = time.monotonic()
        if known is None or known.problem is not error.problem:
            log.error("%s; faces wait and are tried again until it works", error)

    def works(self) -> None:
        self._worked_at = time.monotonic()
        if self.trouble is None:
            return
        with self._works:
            known, self.trouble = self.trouble, None
            self._works.notify_all()
        if known is not None:
            log.info("the store works again after %.0f s", time.monotonic() - self._trouble_since)

    def wait(self, seconds: float) -> None:
        """Until the store works again, but so long at most."""
        with self._works:
            self._works.wait(seconds)

"""What can be wrong with a store."""

from __future__ import annotations

from enum import Enum


class Problem(Enum):
    """Kinds of trouble with a store; each wants another remedy."""

    UNREACHABLE = "the store cannot be reached"
    SILENT = "the store does not answer"
    FAILING = "the store has trouble of its own"
    DENIED = "the store denies access"
    NO_BUCKET = "the bucket does not exist"
    REFUSED = "the store refuses the object"


class StoreError(Exception):
    """The object is not stored. The text tells what is wrong and what to do about it."""

    def __init__(self, problem: Problem, text: str) -> None:
        super().__init__(text)
        self.problem = problem

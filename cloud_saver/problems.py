"""What can be wrong with a store."""

from __future__ import annotations

import hashlib
import json
from enum import Enum

from cloud_saver.keys import StoredObject


class Problem(Enum):
    """Kinds of trouble with a store; each wants another remedy."""

    UNREACHABLE = "the store cannot be reached"
    SILENT = "the store does not answer"
    FAILING = "the store has trouble of its own"
    DENIED = "the store denies access"
    NO_BUCKET = "the bucket does not exist"
    REFUSED = "the store refuses the object"


#: What may be wrong with one object, its size or its name, as well as with all of them.
MAYBE_THE_OBJECT = (Problem.REFUSED, Problem.DENIED)


class StoreError(Exception):
    """The object is not stored, or whatever else was asked for not done. The text tells why, and what to do about it.

    `code` is the store's own name for it, where it gave one.
    """

    def __init__(self, problem: Problem, text: str, *, code: str = "") -> None:
        super().__init__(text)
        self.problem = problem
        self.code = code


def note_about(stored: StoredObject, error: StoreError) -> StoredObject:
    """What is left in the bucket where an object should be: a few lines of JSON under a name that nobody can object to.

    One object has one note, however often it is refused.
    """
    about = {"key": stored.key, "bytes": len(stored.body), "refused": str(error)}
    name = hashlib.sha256(stored.key.encode()).hexdigest()
    body = json.dumps(about, indent=1).encode()
    return StoredObject(f"unrecognized/refused/{name}.json", body, "application/json", {}, None)

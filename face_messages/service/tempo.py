"""A switch for tests: programs that they start wait for less time than in the field."""

import os
import sys

SWITCH = "FACEDETECTION_TEST_TEMPO"
_LEAST = 0.01


def _tempo() -> float:
    if not (text := os.environ.get(SWITCH)):
        return 1.0
    # pytest names the running test here. In the field, shorter waits would wear brokers and stores for nothing.
    if "PYTEST_CURRENT_TEST" not in os.environ:
        sys.stderr.write(f"{SWITCH} is for tests alone: unset it\n")
        raise SystemExit(2)
    return min(1.0, max(_LEAST, float(text)))


#: What part of its time each back-off, and each wait for a word of health, takes in this process.
TEMPO = _tempo()

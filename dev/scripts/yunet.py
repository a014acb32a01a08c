"""Fetches YuNet's model, for DETECTOR=yunet. Nothing runs this unasked.

dev/scripts/yunet.py [FOLDER]    into FOLDER, by default models/; a file that is there and whole is kept

The file is face_detection_yunet_2023mar.onnx of OpenCV Zoo, 232,589 bytes, under the MIT licence. It is kept only when
its sha256 is the one that the detector asks for. The way leads through HTTPS_PROXY where that is set.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import urllib.error
import urllib.request
from pathlib import Path

FILE = "face_detection_yunet_2023mar.onnx"
SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
SOURCE = f"https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/{FILE}"
LICENCE = "MIT, https://github.com/opencv/opencv_zoo/blob/main/models/face_detection_yunet/LICENSE"
# The file has 232,589 bytes; what is longer is something else.
MOST_BYTES = 1_000_000
TIMEOUT_SECONDS = 30


def fetch(url: str) -> bytes:
    """The model's bytes. Raises OSError where the way is barred, ValueError where something else came."""
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - the user names the URL
        content: bytes = answer.read(MOST_BYTES + 1)
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise ValueError(f"{url} gave another file: its sha256 is {found}, that of {FILE} is {SHA256}")
    return content


def is_whole(path: Path) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == SHA256


def main() -> int:
    parser = argparse.ArgumentParser(description=f"Fetches {FILE} and checks its sha256.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("models"), help="where to (%(default)s)")
    parser.add_argument("--url", default=SOURCE, help="where from (%(default)s)")
    given = parser.parse_args()
    path: Path = given.folder / FILE
    print(f"{FILE}\n  source:  {given.url}\n  licence: {LICENCE}\n  sha256:  {SHA256}")
    try:
        if not is_whole(path):
            content = fetch(given.url)
            given.folder.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_bytes(content)
            part.replace(path)
    except (OSError, ValueError) as error:
        remedy = f"fetch it with a browser, and put it to {path}"
        print(f"the model was not fetched: {error}; {remedy}", file=sys.stderr)
        return 1
    print(f"{path} is there and whole: set DETECTOR=yunet and YUNET_MODEL={path.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

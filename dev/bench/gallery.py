"""A day of 50,000 faces in the gallery: time to the first picture, and memory."""

import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import CDPSession, Page

from dev.bench.measure import Figures, Scale, mebibytes, middle
from dev.stack.browser import chromium
from dev.stack.figures import Table
from dev.stack.mosquitto import Mosquitto
from dev.stack.s3 import BUCKET, S3Server
from dev.stack.stack import Gallery
from object_store.bucket import Bucket
from object_store.keys import camera_folder
from object_store.settings import StoreSettings

_FACES, _QUICK_FACES = 50_000, 5_000
_PNG = Path(__file__).parents[2] / "cloud_mosquitto" / "face.png"
_DAY = datetime(2026, 5, 1, tzinfo=UTC)
_SCREENS = 40
_NOWHERE = "mqtt://127.0.0.1:9"


def fill_day(bucket: Path, *, cameras: int, each: int) -> str:
    """Spread `each` faces of each camera over a day, as links to one file; the prefix of the last camera's keys."""
    one = bucket / "one"
    shutil.copy(_PNG, one)
    prefix = ""
    for camera in range(cameras):
        prefix = f"{camera_folder('tx2', f'camera{camera}')}{_DAY:%Y/%m/%d}/"
        (bucket / prefix).mkdir(parents=True)
        for number in range(each):
            seen = _DAY + number * timedelta(days=1) / each + timedelta(milliseconds=camera)
            (bucket / f"{prefix}{seen:%Y%m%dT%H%M%S.%fZ}-{number:012}.png").hardlink_to(one)
    one.unlink()
    return prefix


def run(scale: Scale, folder: Path) -> list[Table]:
    """With one camera, and with five that have as many faces together."""
    faces = _FACES if scale.rounds > 1 else _QUICK_FACES
    rows = []
    for cameras in (1, 5):
        place = folder / f"{cameras}"
        s3 = S3Server(place)
        prefix = fill_day(s3.folder / BUCKET, cameras=cameras, each=faces // cameras)
        with (
            s3,
            Mosquitto(place / "broker") as broker,
            Gallery(place, s3, mqtt_url=broker.url) as gallery,
            Gallery(place / "alone", s3, mqtt_url=_NOWHERE) as alone,
            chromium() as browser,
        ):
            found: list[Figures] = []
            for _ in range(scale.rounds):
                page = browser.new_page()
                figures = {"alone": _first_view(page, alone.url), "first": _first_view(page, gallery.url)}
                figures["list"] = _list_seconds(s3, prefix)
                session = page.context.new_cdp_session(page)
                figures["heap"] = _heap(session)
                for _ in range(_SCREENS):
                    page.mouse.wheel(0, 700)
                    page.wait_for_timeout(50)
                figures["scrolled"] = _heap(session)
                figures["elements"] = page.locator(".face").count()
                found.append(figures)
                page.close()
            memory = f"{mebibytes(gallery):.0f}"
        shown = (("first", 2), ("alone", 2), ("list", 2), ("heap", 1), ("scrolled", 1), ("elements", 0))
        rows.append([str(cameras), *(middle(found, name, digits) for name, digits in shown), memory])
    about = (
        f"{faces:,} faces of one day in the bucket. The first view is from the address to the first card. Without the"
        " broker a list of each camera's objects is part of it, for which the stand-in, rclone, reads all the folder."
    )
    header = ["cameras", "first view, s", "without the broker, s", "one list alone, s"]
    return [Table("Gallery", about, [*header, "page's heap, MiB", "scrolled", "cards", "server, MiB"], rows)]


def _heap(session: CDPSession) -> float:
    session.send("HeapProfiler.collectGarbage")
    return float(session.send("Runtime.getHeapUsage")["usedSize"]) / 2**20


def _first_view(page: Page, url: str) -> float:
    began = time.monotonic()
    page.goto(url)
    page.locator(".face").first.wait_for()
    return time.monotonic() - began


def _list_seconds(s3: S3Server, prefix: str) -> float:
    bucket = Bucket(StoreSettings.model_validate({name.lower(): value for name, value in s3.settings().items()}))
    bucket.ask("get_bucket_versioning")  # makes the client
    began = time.monotonic()
    bucket.ask("list_objects_v2", Prefix=prefix, MaxKeys=1000)
    return time.monotonic() - began

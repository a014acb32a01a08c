"""A day of 50,000 faces in the gallery: how soon a person sees something, and what it takes up."""

from __future__ import annotations

import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dev.bench.measure import BenchmarkError, Figures, Scale, Table, middle
from dev.stack.gallery import Gallery
from dev.stack.mosquitto import Mosquitto
from dev.stack.s3 import S3Server
from object_store.bucket import Bucket
from object_store.keys import camera_folder
from object_store.settings import StoreSettings

if TYPE_CHECKING:
    from playwright.sync_api import Page

_BUCKET = "faces"
_FACES, _QUICK_FACES = 50_000, 5_000
_PNG = Path(__file__).parents[2] / "cloud_mosquitto" / "face.png"
_DAY = datetime(2026, 5, 1, tzinfo=UTC)
_SCREENS = 40
_NOWHERE = "mqtt://127.0.0.1:9"


def fill_day(bucket: Path, *, cameras: int, each: int) -> str:
    """Spreads so many faces of each camera over a day, as links to one file; what the last camera's keys begin with."""
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
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - of the test tools, which others do without

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise BenchmarkError("there is no Chromium: dev/scripts/need.sh chromium")
    faces = _FACES if scale.rounds > 1 else _QUICK_FACES
    rows = []
    for cameras in (1, 5):
        place = folder / f"{cameras}"
        s3 = S3Server(place)
        prefix = fill_day(s3.create_bucket(_BUCKET), cameras=cameras, each=faces // cameras)
        with (
            s3,
            Mosquitto(place / "broker") as broker,
            Gallery(place, s3, _BUCKET, mqtt_url=broker.url) as gallery,
            Gallery(place / "alone", s3, _BUCKET, mqtt_url=_NOWHERE) as alone,
            sync_playwright() as playwright,
        ):
            arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
            browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
            found: list[Figures] = []
            for _ in range(scale.rounds):
                page = browser.new_page()
                figures = {"alone": _first_view(page, alone.url), "first": _first_view(page, gallery.url)}
                figures["list"] = _list_seconds(s3, prefix)
                session = page.context.new_cdp_session(page)

                def heap(session: object = session) -> float:
                    session.send("HeapProfiler.collectGarbage")  # type: ignore[attr-defined] # a CDPSession
                    return float(session.send("Runtime.getHeapUsage")["usedSize"]) / 2**20  # type: ignore[attr-defined]

                figures["heap"] = heap()
                for _ in range(_SCREENS):
                    page.mouse.wheel(0, 700)
                    page.wait_for_timeout(50)
                figures["scrolled"] = heap()
                figures["elements"] = page.locator(".face").count()
                found.append(figures)
                page.close()
            browser.close()
            memory = f"{gallery.peak_rss_bytes() / 2**20:.0f}"
        shown = (("first", 2), ("alone", 2), ("list", 2), ("heap", 1), ("scrolled", 1), ("elements", 0))
        cells = [middle(found, name, digits) for name, digits in shown]
        rows.append([str(cameras), *cells, memory])
    about = (
        f"{faces:,} faces of one day in the bucket. The first view is from the address to the first card. Without the"
        " broker a list of each camera's objects is part of it, for which the stand-in, rclone, reads all the folder."
    )
    header = (
        "cameras",
        "first view, s",
        "without the broker, s",
        "one list alone, s",
        "page's heap, MiB",
        "scrolled",
        "cards",
        "server, MiB",
    )
    return [Table("Gallery", about, header, rows)]


def _first_view(page: Page, url: str) -> float:
    began = time.monotonic()
    page.goto(url)
    page.locator(".face").first.wait_for()
    return time.monotonic() - began


def _list_seconds(s3: S3Server, prefix: str) -> float:
    settings = StoreSettings(
        cos_endpoint=s3.endpoint,
        cos_bucket=_BUCKET,
        cos_hmac_access_key_id=s3.access_key_id,
        cos_hmac_secret_access_key=s3.secret_access_key,
    )
    bucket = Bucket(settings)
    bucket.ask("get_bucket_versioning")  # makes the client
    began = time.monotonic()
    bucket.ask("list_objects_v2", Prefix=prefix, MaxKeys=1000)
    return time.monotonic() - began

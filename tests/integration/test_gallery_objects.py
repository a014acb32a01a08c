"""Objects that cannot be shown, and links to those that can: where they lead, and for whom."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from dev.stack.s3 import S3Server
from tests.integration.test_gallery_access import HASH, NOWHERE, session
from tests.support.gallery import NOON, Gallery, face, put
from tests.support.stores import real_store, running_moto, sdk, store_at

pytest_plugins = ["tests.support.browser"]

CARDS = ".face"


def test_an_archived_face_is_told_as_such_and_all_others_are_well(page: Page, tmp_path: Path) -> None:
    """No link and no download for it; the store is well, before and after."""
    with running_moto() as endpoint, Gallery(tmp_path, NOWHERE, endpoint) as gallery:
        keys = put(store_at(endpoint), [face(NOON + timedelta(seconds=i)) for i in range(3)])
        client = sdk(endpoint)
        source = {"Bucket": "faces", "Key": keys[1]}
        client.copy_object(Bucket="faces", Key=keys[1], CopySource=source, StorageClass="GLACIER")
        page.goto(gallery.url)
        expect(page.locator(CARDS)).to_have_count(3)
        gone = page.locator(f"{CARDS}.gone")
        expect(gone).to_have_count(1)
        expect(gone).to_have_attribute("data-why", "archived")
        gone.locator("button").click()
        expect(page.locator("#failed")).to_contain_text("It can be seen after somebody restores it")
        expect(page.locator("#attributes")).to_contain_text("0.8750")
        expect(page.locator("#share")).to_be_disabled()
        expect(page.locator("#download")).to_be_hidden()
        page.locator("#newer").click()
        expect(page.locator("#share")).to_be_enabled()
        expect(page.locator("#download")).to_be_visible()
        expect(page.locator("#trouble")).to_be_hidden()
        assert gallery.request(f"/image?key={keys[1]}")[0] == 409
        assert json.loads(gallery.ask("/healthz")[1])["store"] == "well"
        assert gallery.figure("gallery_store_failures_total") == 0


def link_of(gallery: Gallery, key: str, cookie: str) -> str:
    status, _, body = gallery.request(f"/api/face?key={key}", Cookie=cookie)
    assert status == 200
    return str(json.loads(body)["link"])


@pytest.mark.parametrize(
    ("settings", "begin"),
    [
        ({}, "http://127.0.0.1:"),
        ({"GALLERY_PASSWORD": HASH, "GALLERY_URL": "https://x.example/f"}, "https://x.example/f/shared?"),
        ({"GALLERY_PASSWORD": HASH, "GALLERY_HOST": "0.0.0.0"}, "/shared?"),
        ({"COS_PUBLIC_ENDPOINT": "https://cos.example.org"}, "https://cos.example.org/faces/"),
    ],
)
def test_a_link_leads_where_the_browser_can_go(
    tmp_path: Path, s3: S3Server, settings: dict[str, str], begin: str
) -> None:
    """To the store on this machine for browsers on this machine; for others to the gallery, or where somebody says."""
    (key,) = put(real_store(s3), [face(NOON)])
    with Gallery(tmp_path, NOWHERE, s3, **settings) as gallery:
        link = link_of(gallery, key, session(gallery) if "GALLERY_PASSWORD" in settings else "")
        assert link.startswith(begin)
        assert s3.secret_access_key not in link
        if "shared?" in link:
            status, headers, body = gallery.request("/shared?" + link.partition("?")[2])
            assert (status, headers["content-type"]) == (200, "image/png")
            assert body == (s3.folder / "faces" / key).read_bytes()

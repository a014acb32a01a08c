"""Going back in time through a real bucket."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cloud_gallery.faces import UNATTRIBUTED, Face, folder_of, name_of
from cloud_gallery.history import History
from cloud_gallery.latest import Latest
from dev.stack.s3 import S3Server
from face_messages import Message
from object_store.errors import StoreError
from object_store.keys import camera_folder, object_for
from object_store.readable import ReadableBucket
from tests.support.gallery import NOON, face, png, put
from tests.support.stores import real_store, running_moto, store_at

DOOR, YARD = camera_folder("tx2", "door"), camera_folder("tx2", "yard")


@pytest.fixture
def store(s3: S3Server) -> ReadableBucket:
    return real_store(s3)


def walked(history: History, folders: Sequence[str], *, count: int, before: str = "") -> list[str]:
    """All keys, asked for page by page."""
    keys: list[str] = []
    while page := history.older(folders, before=before, count=count):
        assert len(page) <= count
        keys += [each.key for each in page]
        before = page[-1].name
    return keys


def link_many(s3: S3Server, times: Sequence[datetime], folder: str = DOOR) -> list[str]:
    """Objects at these times, quickly: one file under many names."""
    bucket = s3.folder / "faces"
    one = bucket / "one"
    one.write_bytes(png())
    keys = []
    for number, time in enumerate(times):
        key = f"{folder}{time:%Y/%m/%d/%Y%m%dT%H%M%S.%fZ}-id{number}.png"
        (bucket / key).parent.mkdir(parents=True, exist_ok=True)
        (bucket / key).hardlink_to(one)
        keys.append(key)
    one.unlink()
    return keys


def test_faces_come_the_newest_first_over_days_and_cameras(store: ReadableBucket) -> None:
    """Page by page, each once, whatever the size of a page."""
    times = [NOON + timedelta(hours=7 * i) for i in range(12)]
    keys = put(store, [face(time, camera="yard" if i % 3 else "door") for i, time in enumerate(times)])
    history = History(store)
    assert sorted(history.cameras()) == [DOOR, YARD]
    for count in (1, 5, 100):
        assert walked(history, [DOOR, YARD], count=count) == keys[::-1]
    assert walked(history, [DOOR], count=100) == keys[9::-3]
    assert history.days([DOOR, YARD])[-1] == "2026/05/01"


def test_a_list_begins_at_any_moment(store: ReadableBucket) -> None:
    """Given by the beginning of a name, as a person chooses an hour."""
    keys = put(store, [face(NOON + timedelta(minutes=20 * i)) for i in range(9)])
    history = History(store)
    assert walked(history, [DOOR], count=2, before="20260501T1300") == keys[2::-1]
    assert walked(history, [DOOR], count=2, before="20260501T") == []
    assert walked(history, [DOOR], count=2, before="20260502") == keys[::-1]
    assert walked(history, [DOOR], count=2, before="20250101T0000") == []


@pytest.fixture
def short_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers of a tenth of their size, so that a tenth of the objects is as many answers."""
    for name, size in (("_LIST", 100), ("_WANTED", 50), ("_ENOUGH", 200)):
        monkeypatch.setattr(f"cloud_gallery.history.{name}", size)


@pytest.mark.usefixtures("short_lists")
@pytest.mark.parametrize("seed", range(3))
def test_days_of_any_density_are_listed_whole(s3: S3Server, store: ReadableBucket, seed: int) -> None:
    """Bursts of several answers within a second, hours without anybody, and the edges of the day."""
    choose = random.Random(seed)
    day = NOON.replace(hour=0)
    burst = day + timedelta(hours=choose.randrange(24))
    micro = timedelta(microseconds=1)
    times = {day, day + timedelta(days=1) - micro}
    times |= {burst + micro * choose.randrange(1_000_000) for _ in range(250)}
    times |= {day + micro * choose.randrange(86_400_000_000) for _ in range(30)}
    keys = link_many(s3, sorted(times))
    assert walked(History(store), [DOOR], count=50) == keys[::-1]


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of what a list was asked."""
    asked: list[str] = []
    ask = ReadableBucket.ask

    def counted(store: ReadableBucket, operation: str, **what: Any) -> dict[str, Any]:
        asked.append(what["Prefix"])
        return ask(store, operation, **what)

    monkeypatch.setattr(ReadableBucket, "ask", counted)
    return asked


def test_the_first_view_of_a_full_day_costs_one_list_of_its_objects(
    s3: S3Server, store: ReadableBucket, lists: list[str]
) -> None:
    """Besides those of the years, months and days; so it does not matter how many there are."""
    link_many(s3, [NOON.replace(hour=0) + timedelta(seconds=4.319) * i for i in range(20_000)])
    assert len(History(store).older([DOOR], before="", count=120)) == 120
    assert lists == [DOOR, f"{DOOR}2026/", f"{DOOR}2026/05/", f"{DOOR}2026/05/01/"]


def test_a_day_of_few_faces_costs_three_lists_and_the_days_before_it_one_each(
    s3: S3Server, store: ReadableBucket, lists: list[str]
) -> None:
    """What it has learnt of a camera is of use for all its days."""
    link_many(s3, [NOON.replace(hour=0) + timedelta(days=i / 4) for i in range(40)])
    assert len(History(store).older([DOOR], before="", count=100)) == 40
    days = [prefix for prefix in lists if prefix.count("/") == 6]
    assert len(days) <= 3 + 9
    assert len(set(days)) == 10


def test_who_asks_the_same_at_the_same_time_gets_the_same(
    store: ReadableBucket, lists: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many look; a little later the store is asked again."""
    keys = put(store, [face(NOON)])
    history = History(store)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: history.older([DOOR], before="", count=5), range(8)))
    assert [[each.key for each in faces] for faces in found] == [keys] * 8
    assert lists.count(f"{DOOR}2026/05/01/") <= 3
    monkeypatch.setattr("cloud_gallery.history._KEPT_SECONDS", 0.0)
    History(store).older([DOOR], before="", count=5)
    again = History(store)
    before = len(lists)
    again.older([DOOR], before="", count=5)
    again.older([DOOR], before="", count=5)
    assert len(lists) > before + 4


class Told:
    """What is known of the newest, while a connection is there that may be another one."""

    def __init__(self, store: ReadableBucket) -> None:
        self.connection: int | None = 1
        self.latest = Latest(History(store), lambda: self.connection)

    def keys(self, count: int = 5) -> list[str]:
        return [each.key for each in self.latest.known([DOOR], count)]


def test_the_newest_are_known_without_a_list_as_long_as_all_is_told(store: ReadableBucket, lists: list[str]) -> None:
    """Of the cameras that were asked for, in the order of their names, each once, and no more than were asked for."""
    keys = put(store, [face(NOON + timedelta(seconds=i)) for i in range(6)])
    told = Told(store)
    assert told.keys() == keys[:0:-1]
    before = len(lists)
    new = [
        *(face(NOON + timedelta(seconds=s)) for s in (-9, 8, 7, 8)),
        face(NOON + timedelta(seconds=9), camera="yard"),
    ]
    for each in new:
        told.latest.hear(Face(name_of(each.key), each.key))
    told.latest.hear(Face(name_of(keys[5]), keys[5]))
    expected = [*sorted((new[1].key, new[2].key, new[3].key), reverse=True), keys[5], keys[4]]
    assert told.keys() == expected
    assert len(lists) == before


@pytest.mark.parametrize("missed", ["another connection", "no connection", "a long time", "more than is kept"])
def test_they_are_listed_where_something_may_not_have_been_told(
    store: ReadableBucket, monkeypatch: pytest.MonkeyPatch, missed: str
) -> None:
    monkeypatch.setattr("cloud_gallery.history._KEPT_SECONDS", -1.0)
    monkeypatch.setattr("cloud_gallery.latest._MAX_NEWS", 3)
    old = put(store, [face(NOON - timedelta(seconds=i)) for i in range(5)])
    told = Told(store)
    assert told.keys() == old
    (key,) = put(store, [face(NOON + timedelta(seconds=1))])
    assert told.keys() == old
    if missed == "a long time":
        monkeypatch.setattr("cloud_gallery.latest._SECONDS", -1.0)
    elif missed == "more than is kept":
        for _ in range(3):
            told.latest.hear(Face("", ""))
    else:
        told.connection = 2 if missed == "another connection" else None
    assert told.keys() == [key, *old[:4]]


def test_where_there_are_few_they_are_listed(store: ReadableBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_gallery.history._KEPT_SECONDS", -1.0)
    told = Told(store)
    assert told.keys() == []
    keys = put(store, [face(NOON)])
    assert told.keys() == keys


def test_while_the_store_is_away_what_is_known_is_told(
    s3: S3Server, store: ReadableBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However old it is, and whether the broker was there when it was learnt. Who asks for the newest hears why not."""
    monkeypatch.setattr("cloud_gallery.history._KEPT_SECONDS", -1.0)
    monkeypatch.setattr("cloud_gallery.history._CAMERAS_SECONDS", -1.0)
    told, history = Told(store), History(store)
    told.connection = None
    keys = put(store, [face(NOON - timedelta(seconds=i)) for i in range(5)])
    assert told.keys() == keys
    cameras = history.cameras()
    s3.terminate()
    assert told.keys() == keys
    told.latest.hear(Face(name_of(keys[0]), keys[0].replace("door", "yard")))
    assert told.keys() == keys
    assert history.cameras() == cameras
    with pytest.raises(StoreError):
        told.latest.listed([DOOR], 5)
    with pytest.raises(StoreError):
        history.cameras(fresh=True)
    with pytest.raises(StoreError):
        Told(store).keys()


def test_an_error_is_not_kept(s3: S3Server, store: ReadableBucket) -> None:
    """It is for those who waited for it."""
    (key,) = put(store, [face(NOON)])
    history = History(store)
    s3.terminate()
    with pytest.raises(StoreError):
        history.older([DOOR], before="", count=5)
    s3.start()
    assert [each.key for each in history.older([DOOR], before="", count=5)] == [key]


@pytest.mark.usefixtures("short_lists")
def test_more_at_one_moment_than_a_store_tells_at_once_are_all_listed(s3: S3Server, store: ReadableBucket) -> None:
    """Nothing can tell them apart but their ids."""
    keys = link_many(s3, [NOON] * 210)
    assert walked(History(store), [DOOR], count=50) == sorted(keys, reverse=True)


def test_what_has_no_sender_is_apart(store: ReadableBucket) -> None:
    """It has a day and no time, and sorts by its content within."""
    plain = [object_for(Message("t", png(i)), received_at=NOON + timedelta(days=i % 2)) for i in range(9)]
    keys = put(store, [*plain, face(NOON)])
    history = History(store)
    assert UNATTRIBUTED in history.cameras()
    assert walked(history, [UNATTRIBUTED], count=2) == sorted(keys[:9], reverse=True)
    assert walked(history, [UNATTRIBUTED], count=2, before="20260502") == sorted(
        (key for key in keys[:9] if "/05/01/" in key), reverse=True
    )


def test_among_others_what_has_no_sender_comes_at_the_end_of_its_day(store: ReadableBucket) -> None:
    """Page by page, each once, and from any moment on."""
    plain = [object_for(Message("t", png(i)), received_at=NOON + timedelta(days=i % 2)) for i in range(10)]
    seen = [face(NOON + timedelta(hours=6 * i)) for i in range(6)]
    keys = put(store, [*plain, *seen])
    ordered = sorted(keys, key=name_of, reverse=True)
    history = History(store)
    for count in (1, 3, 100):
        assert walked(history, history.cameras(), count=count) == ordered
    before = "20260502T0500"
    assert walked(history, history.cameras(), count=2, before=before) == [
        key for key in ordered if name_of(key) < before
    ]


def test_what_is_no_face_is_passed_over(s3: S3Server, store: ReadableBucket) -> None:
    """Somebody may have put it there by hand."""
    key = put(store, [face(NOON)])[0]
    for name in ("faces/tx2/door/2026/05/01/note.txt", "faces/tx2/door/thumbs/a.png", "faces/readme", "other/a.png"):
        path = s3.folder / "faces" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    s3.forget()
    assert walked(History(store), [DOOR], count=10) == [key]


def test_it_works_with_s3_as_aws_defines_it() -> None:
    """Where the order and the cut of lists are S3's own."""
    with running_moto() as endpoint:
        store = store_at(endpoint)
        keys = put(store, [face(NOON + timedelta(seconds=i)) for i in range(30)])
        assert walked(History(store), [DOOR], count=7) == keys[::-1]


def test_attributes_and_tracks_are_those_of_the_event(store: ReadableBucket) -> None:
    with_track, without = put(store, [face(NOON, track="run-7"), face(NOON + timedelta(seconds=1))])
    history = History(store)
    about = history.attributes(with_track)
    assert about is not None
    assert (about["track"], about["facebox"], about["score"]) == ("run-7", "10,20,30,40", "0.8750")
    assert about["source"] == "/edges/tx2/cameras/door"
    assert history.tracks([with_track, without]) == {with_track: "run-7"}
    assert history.attributes(with_track.replace("door", "gate")) is None


@pytest.mark.parametrize(
    "key",
    [
        "unrecognized/2026/05/01/abc",
        "faces/tx2/door/2026/05/01/../../../../../secret.png",
        "faces/../door/2026/05/01/20260501T120000.000000Z-a.png",
        "faces/tx2/door/2026/05/01/20260501T120000.000000Z-a.png?versions",
        "faces/tx2/door/2026/05/01/20260501T120000.000000Z-a.png\n",
        "faces/tx2/do or/2026/05/01/20260501T120000.000000Z-a.png",
        "faces/tx2/door/2026/05/01/note.png",
        "faces/unattributed/2026/05/01/abc.png",
        "/faces/tx2/door/2026/05/01/20260501T120000.000000Z-a.png",
        "",
    ],
)
def test_no_other_key_is_one_of_a_face(key: str) -> None:
    """Before anything is asked of the store."""
    assert name_of(key) == ""
    assert folder_of(key) == ""


@pytest.mark.parametrize("name", ["door", "..", ".x", "Ä ö/ü", "a" * 200, "<img src=x>", "~", "a.b", "x\u2027y"])
def test_whatever_a_camera_is_called_its_faces_are_known(name: str) -> None:
    """All keys that the saver makes."""
    stored = face(NOON.astimezone(UTC), edge=name, camera=name)
    assert name_of(stored.key)
    assert stored.key.startswith(folder_of(stored.key))

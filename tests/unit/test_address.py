"""A camera's URL: no part of it is told that may be secret, and what is wrong is said with the remedy."""

from __future__ import annotations

import logging
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_face_detection.sources.address import Address, shown_path
from edge_face_detection.sources.camera import CameraError
from edge_face_detection.sources.frame import SourceError
from edge_face_detection.sources.open_source import open_source
from edge_face_detection.sources.url_camera import UrlCamera

HOST = "cam.invalid"


def refusal(video_source: str) -> str:
    with pytest.raises(SourceError) as refused:
        open_source(video_source, realtime=False, loop=False)
    said = str(refused.value)
    assert said.isprintable()
    return said


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://cam", "rtsp://cam"),
        ("RTSP://cam:8554/", "RTSP://cam:8554/"),
        ("http://cam:81/live/ch0/stream1.mjpg", "http://cam:81/live/ch0/stream1.mjpg"),
        ("rtsp://cam/stream/hush", "rtsp://cam/…"),
        ("rtsp://cam/stream?hush", "rtsp://cam/…"),
        ("rtsp://cam/stream1234", "rtsp://cam/…"),
        ("rtsp://cam:/hush", "rtsp://cam/…"),
        ("rtsps://cam:7441/hush?enableSrtp", "rtsps://cam:7441/…"),
        ("rtsp://hush@cam", "rtsp://***@cam"),
        ("rtsp://admin:hush@cam:554/stream", "rtsp://***@cam:554/stream"),
        ("rtsp://admin:hu@hush@cam/s", "rtsp://***@cam/…"),
        ("rtsp://admin:hush%23%k@cam/s", "rtsp://***@cam/…"),
        ("rtsp://admin:hush@[fe80::1]:554/s", "rtsp://***@[fe80::1]:554/…"),
        ("rtsp://admin:hush:hush@[::1]", "rtsp://***@[::1]"),
        ("http://cam?token=hush", "http://cam/…"),
        ("https://cam/video?user=admin&pwd=hush", "https://cam/…"),
        ("rtsp://cam:554/user=admin&password=hush&channel=1&stream=0.sdp?real_stream", "rtsp://cam:554/…"),
        ("rtsp://cam:554/user=admin_password=hush#1_channel=1_stream=0.sdp", "rtsp://cam:554/…"),
        ("http://go2rtc:1984/api/stream.mjpeg?src=rtsp://admin:hush%40cam/s", "http://go2rtc:1984/…"),
        ("rtsp://admin:pässhush@küche.local/s", "rtsp://***@küche.local/…"),
        ("rtsp://admin:it'shush!$&()*+,;=@cam_1/s", "rtsp://***@cam_1/…"),
    ],
)
def test_scheme_host_and_port_are_shown_and_a_harmless_path(url: str, shown: str) -> None:
    """Cameras take passwords as a user's, in the path and in the query; the whole URL goes to FFmpeg, though."""
    address = Address.parse(url)
    assert address.description == shown
    assert address.url == url
    assert "hush" not in repr(address)
    assert address.doubt == ""


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        (f"rtsp://admin:hush#k@{HOST}/s", "# as %23"),
        (f"http://admin:1234hush#k@{HOST}/s", "# as %23"),
        (f"rtsp://admin:1234#hush@{HOST}/s", "# as %23"),
        (f"rtsp://admin:12/hush@{HOST}/s", "/ as %2F"),
        (f"rtsp://hush/k@{HOST}/s", "/ as %2F"),
        (f"rtsp://admin:hush?k@{HOST}/s", "? as %3F"),
        (f"rtsp://admin:hu@hush/k@{HOST}/s", "/ as %2F"),
        (f"rtsp://admin:hush@{HOST}/s?mail=hush@hush", "@ as %40"),
        ("rtsp://hush#", "%23"),
        (f"rtsp://admin:hush\uff20{HOST}/s", "%EF%BC%A0"),
        (f"rtsp://admin:hush\ufe6b{HOST}/s", "full-width"),
        (f"rtsp://admin:12\uff0fhush@{HOST}/s", "full-width"),
        (f"rtsp://admin:12/hush\uff20{HOST}/s", "full-width"),
        (f"rtsp://admin:[hush]@{HOST}/s", "%5B"),
        (f"rtsp://admin:<hush>@{HOST}/s", "%3C"),
        (f'rtsp://admin:"hush"@{HOST}/s', "%22"),
        (f"rtsp://admin:hush\\k@{HOST}/s", "%5C"),
        (f"rtsp:\\\\admin:hush@{HOST}\\s", "write /"),
        (f"'rtsp://admin:hush@{HOST}/s'", "without quotes"),
        (f'"rtsp://admin:hush@{HOST}/s"', "without quotes"),
        (f"\u201crtsp://admin:hush@{HOST}/s\u201d", "without quotes"),
        (f"rtsp://admin:hush@{HOST}/s'", "without quotes"),
        (f" rtsp://admin:hush@{HOST}/s", "%20"),
        (f"rtsp://admin:hush k@{HOST}/s", "%20"),
        (f"rtsp://admin:hush@{HOST}/s\r", "control characters"),
        (f"rtsp://admin:hush@{HOST}/s\n2026 INFO all is well", "control characters"),
        (f"rtsp://admin:hush\u200b@{HOST}/s", "control characters"),
        (f"rtsp//admin:hush@{HOST}/s", "rtsp://user:password@host/path"),
        (f"rtsp:/admin:hush@{HOST}/s", "rtsp://"),
        (f"rtsp:admin:hush@{HOST}/s", "rtsp://"),
        (f"rtsp;//admin:hush@{HOST}/s", "rtsp://"),
        (f"rtps://admin:hush@{HOST}/s", "rtsp://"),
        (f"hush://admin@{HOST}/s", "rtsp://"),
        (f"admin:hush@rtsp://{HOST}/s", "rtsp://"),
        (f"admin:hush@{HOST}/s", "rtsp://"),
        (f"{HOST}/user=admin&password=hush", "rtsp://"),
        (f"//admin:hush@{HOST}/s", "rtsp://"),
        (f"user_admin_password_hush_{HOST}", "rtsp://"),
        (f"{HOST}:554/" + "hush" * 100, "rtsp://"),
        (f"rtmp://admin:hush@{HOST}/live/hush", "cannot read rtmp: URLs"),
        (f"srt://{HOST}:9000?passphrase=hush", "cannot read srt: URLs"),
        (f"udp://hush@{HOST}:1234", "cannot read udp: URLs"),
        ("rtsp://admin:hush", "no @"),
        ("rtsp://admin:1234", "no @"),
        ("rtsp://root/s", "no @"),
        (f"rtsp://admin:hush.{HOST}/s", "no @"),
        ("rtsp://admin:hush@", "names no host"),
        ("rtsp://admin:hush@/s", r"\$ is written \$\$"),
        ("rtsp://admin:hush@:554/s", "names no host"),
        ("rtsp:///hush", "names no host"),
        (f"rtsp://admin:hush@{HOST}:hush/s", "no valid port"),
        (f"rtsp://admin:hush@{HOST}:65536/s", "no valid port"),
        ("rtsp://admin:hush@fe80::1/s", "in brackets"),
        ("rtsp://admin:hush@[hush]/s", "%5B"),
        ("rtsp://admin:hush@[::1]hush/s", "behind the ]"),
        ("rtsp://rtsp://hush/s", "cannot be one"),
        ("rtsp://admin:p@hu,sh/s", "cannot be one"),
        ("rtsp://admin:p@" + "hush" * 99, "cannot be one"),
    ],
)
def test_what_is_wrong_is_said_with_its_remedy_and_nothing_is_looked_up(
    url: str, remedy: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever part of the URL the password got into by the mistake."""
    monkeypatch.chdir(tmp_path_factory.getbasetemp())
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("a host was looked up"))
    said = refusal(url)
    assert "hush" not in said
    assert "1234" not in said
    assert remedy.replace("\\", "") in said


@given(
    st.text(alphabet="#/?@:[]\\'\"%$&= ;,.aé\uff20\uff03", max_size=6), st.sampled_from(["", "%", "/", "@", "#", ":"])
)
def test_no_password_is_ever_shown_whatever_it_holds(special: str, more: str) -> None:
    """Around the special characters stand words that are searched for."""
    for url in (
        f"rtsp://admin:hush{special}hush{more}@{HOST}/s",
        f"rtsp://{HOST}/user=admin&password=hush{special}hush{more}",
        f"http://{HOST}?pwd=hush{special}hush",
    ):
        said, host = "", HOST
        try:
            address = Address.parse(url)
            said, host = f"{address} {address.description} {address.doubt}", address.host
        except SourceError as error:
            said = str(error)
        assert "hush" not in said
        assert host == HOST


@pytest.mark.parametrize(
    ("url", "doubt"),
    [
        ("rtsp://admin:@127.0.0.1:9/s", "its password is empty"),
        ("rtsp://:hush@127.0.0.1:9/s", "its user is empty"),
        ("rtsp://@127.0.0.1:9/s", "its user is empty"),
        ("rtsp://admin:hu$$sh@127.0.0.1:9/s", "$$"),
    ],
)
def test_a_url_that_seems_cut_is_said_at_once(url: str, doubt: str, caplog: pytest.LogCaptureFixture) -> None:
    """It may be meant, so it is used."""
    caplog.set_level(logging.INFO)
    assert open_source(url, realtime=False, loop=False).live
    assert doubt in caplog.text
    assert ".env" in caplog.text
    assert "hush" not in caplog.text


def test_a_doubt_is_told_as_long_as_the_camera_is_away() -> None:
    with pytest.raises(CameraError, match=r"cannot reach .* About its URL: its password is empty.*\.env"):
        UrlCamera("rtsp://admin:@127.0.0.1:9/s").open()


def test_a_camera_that_is_away_is_told_by_host_and_port() -> None:
    with pytest.raises(CameraError, match=r"cannot reach 127\.0\.0\.1:9 ") as failed:
        UrlCamera("rtsp://admin:hush@127.0.0.1:9/hush?hush").open()
    assert "hush" not in str(failed.value)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a b.mp4", "a b.mp4"),
        ("\udcff\udcfe.mp4", r"\xff\xfe.mp4"),
        ("a\n2026 INFO\x1b[31m", r"a\n2026 INFO\x1b[31m"),
        ("ü\u202egnp.exe", r"ü\u202egnp.exe"),
    ],
)
def test_names_of_files_are_shown_in_one_printable_line(name: str, shown: str) -> None:
    assert shown_path(name) == shown


def test_long_names_are_shortened() -> None:
    assert len(shown_path("a/" * 2000 + "b.png")) < 310
    assert shown_path("a/" * 2000 + "b.png").endswith("b.png")

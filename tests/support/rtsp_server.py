"""An RTSP server such as network cameras are, by GStreamer. Run by the system's Python, which has its bindings.

`python3 rtsp_server.py PORT h264|jpeg` serves a ball that moves about, as rtsp://127.0.0.1:PORT/camera, in 320x240.
On SIGUSR1 the picture becomes 640x480 in mid-stream, on SIGUSR2 it is a test picture that stands still.
`... PORT h264|hevc|jpeg TRANSPORT` serves it over UDP or TCP alone. `... PORT CODEC TRANSPORT SECONDS` serves a picture
every so many seconds that shows when it was made: see `clock_picture`.
Without arguments it only fails where something is missing for that.
"""

import signal
import sys
import time
from fractions import Fraction
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402 - their versions are chosen above

CODECS = {
    # Parameter sets in the stream, as a new size has new ones. Few key frames: each is coded anew, and a picture that
    # stands still would look a little different after it.
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=300 ! rtph264pay name=pay0 config-interval=-1",
    "hevc": "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! rtph265pay name=pay0 config-interval=-1",
    "jpeg": "jpegenc ! rtpjpegpay name=pay0",
}
CAPS = "video/x-raw,format=I420,framerate=30/1,width={},height={}"


def clock_picture() -> bytes:
    """Sixteen stripes, white or black: the hundredths of a second of CLOCK_MONOTONIC, the highest bit on the left."""
    bits = f"{int(time.monotonic() * 100) % 2**16:016b}"
    row = b"".join(bytes([235 if bit == "1" else 16]) * 20 for bit in bits)
    return row * 240 + bytes([128]) * (320 * 120)


def main(port: str, codec: str, transport: str = "", seconds: str = "") -> None:
    pipelines: list[Any] = []
    factory = GstRtspServer.RTSPMediaFactory()
    source = f"videotestsrc is-live=true pattern=ball name=source ! capsfilter name=size caps={CAPS.format(320, 240)}"
    if seconds:
        # Without its rate an encoder waits for a picture's successor, to know how long it lasts.
        rate = 1 / Fraction(seconds)
        caps = f"video/x-raw,format=I420,framerate={rate.numerator}/{rate.denominator},width=320,height=240"
        source = f"appsrc name=source is-live=true do-timestamp=true format=time caps={caps}"
    factory.set_launch(f"( {source} ! {CODECS[codec]} )")

    def made(_factory: object, media: Any) -> None:
        pipelines.append(media.get_element())
        if seconds:
            clock = media.get_element().get_by_name("source")

            def show() -> bool:
                return bool(clock.emit("push-buffer", Gst.Buffer.new_wrapped(clock_picture())) == Gst.FlowReturn.OK)

            show()
            GLib.timeout_add(round(float(seconds) * 1000), show)

    factory.connect("media-configure", made)
    if transport:
        factory.set_protocols(getattr(GstRtsp.RTSPLowerTrans, transport.upper()))
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    server.get_mount_points().add_factory("/camera", factory)
    server.attach(None)

    def grow() -> bool:
        pipelines[-1].get_by_name("size").set_property("caps", Gst.Caps.from_string(CAPS.format(640, 480)))
        return True

    def stand_still() -> bool:
        pipelines[-1].get_by_name("source").set_property("pattern", "smpte75")
        return True

    GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGUSR1, grow)
    GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGUSR2, stand_still)
    GLib.MainLoop().run()


if __name__ == "__main__":
    Gst.init(None)
    if not all(Gst.ElementFactory.find(name) for name in ("x264enc", "rtph264pay", "jpegenc", "rtpjpegpay")):
        sys.exit("GStreamer's good and ugly plugins are missing")
    if sys.argv[1:]:
        main(*sys.argv[1:])

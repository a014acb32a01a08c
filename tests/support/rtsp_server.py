"""An RTSP server such as network cameras are, by GStreamer. Run by the system's Python, which has its bindings.

`python3 rtsp_server.py PORT h264|jpeg` serves a ball that moves about, as rtsp://127.0.0.1:PORT/camera, in 320x240.
On SIGUSR1 the picture becomes 640x480 in mid-stream, on SIGUSR2 it is a test picture that stands still.
Without arguments it only fails where something is missing for that.
"""

import signal
import sys
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - their versions are chosen above

CODECS = {
    # Parameter sets in the stream, as a new size has new ones. Few key frames: each is coded anew, and a picture that
    # stands still would look a little different after it.
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=300 ! rtph264pay name=pay0 config-interval=-1",
    "jpeg": "jpegenc ! rtpjpegpay name=pay0",
}
CAPS = "video/x-raw,format=I420,framerate=30/1,width={},height={}"


def main(port: str, codec: str) -> None:
    pipelines: list[Any] = []
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f"( videotestsrc is-live=true pattern=ball name=source ! capsfilter name=size caps={CAPS.format(320, 240)}"
        f" ! {CODECS[codec]} )"
    )
    factory.connect("media-configure", lambda _, media: pipelines.append(media.get_element()))
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

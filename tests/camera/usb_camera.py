"""A USB camera that is not there: a thread speaks USB to the kernel through its USB/IP host controller (`vhci-hcd`).

To the kernel's driver `uvcvideo` it is a camera like any: high speed, isochronous, Motion-JPEG. Sources: USB Video
Class 1.0 with its Motion-JPEG payload, and Linux, Documentation/usb/usbip_protocol.rst.
"""

from __future__ import annotations

import select
import struct
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from socket import SHUT_RDWR, SOCK_STREAM, socket, socketpair
from typing import TypeAlias

from tests.support.waiting import eventually

VHCI = Path("/sys/devices/platform/vhci_hcd.0")
BY_ID = Path("/dev/v4l/by-id")
HIGH_SPEED = 3
# USB/IP: what the kernel sends, and what it is answered.
SUBMIT, UNLINK, RET_SUBMIT, RET_UNLINK = 1, 2, 3, 4
IN = 1
EPIPE, ECONNRESET = 32, 104
# The endpoint's wMaxPacketSize: three transactions of 1024 bytes in each microframe.
MAX_PACKET = 0x1400
MANUFACTURER, PRODUCT = "Acme", "Webcam"
GET_DESCRIPTOR, SET_INTERFACE = (0x80, 6), (0x01, 11)
GET_STATUSES = {(0x80, 0), (0x81, 0), (0x82, 0)}
# Of the video streaming interface: bmRequestType and bRequest.
SET_CUR, GET_CUR, GET_MIN, GET_MAX, GET_LEN, GET_INFO, GET_DEF = (
    *((0x21, 0x01), (0xA1, 0x81), (0xA1, 0x82), (0xA1, 0x83), (0xA1, 0x85), (0xA1, 0x86), (0xA1, 0x87)),
)


Pictures: TypeAlias = Mapping[tuple[int, int], Sequence[bytes]]
"""For each size that a camera has (width and height in pixels) JPEGs."""


class UsbCamera:
    """A camera to be plugged in.

    Args:
        pictures: given one after the other, over and over; the first size is the default.
        rates: what it can do in each size, in frames a second; the first is the default.
        serial: its serial number; tells it from others.

    """

    def __init__(self, pictures: Pictures, *, rates: Sequence[int] = (30, 15), serial: str = "0001") -> None:
        self.pictures = pictures
        #: Set to False, it goes on to stream but gives no more frames.
        self.gives_frames = True
        #: Set to True, it gives the same picture over and over.
        self.is_frozen = False
        self.frames_given = 0
        self.by_id = BY_ID / f"usb-{MANUFACTURER}_{PRODUCT}_{serial}-video-index0"
        self._sizes = list(pictures)
        self._intervals = [10_000_000 // rate for rate in rates]
        self._serial = serial
        self._plug: tuple[socket, threading.Thread] | None = None
        self._forget()

    @property
    def is_streaming(self) -> bool:
        return self._alternate == 1

    @property
    def chosen(self) -> tuple[tuple[int, int], float]:
        """Size and rate as the driver has committed them."""
        return self._sizes[self._control[3] - 1], 10_000_000 / int.from_bytes(self._control[4:8], "little")

    def plug_in(self) -> Path:
        """Return its device, such as `/dev/video0`, once it is there, and linked to in `/dev/v4l/by-id` as by udev."""
        self._forget()
        ours, theirs = socketpair(type=SOCK_STREAM)
        port = next(line.split()[1] for line in _ports() if line.startswith("hs") and line.split()[2] == "004")
        (VHCI / "attach").write_text(f"{int(port)} {theirs.fileno()} {int(port) + 1} {HIGH_SPEED}")
        theirs.close()  # the kernel has it now
        thread = threading.Thread(target=self._serve, args=(ours,), name="usb camera", daemon=True)
        thread.start()
        self._plug = ours, thread
        device = Path("/dev", eventually(lambda: _devices(self._serial), within=30, what="no device comes")[0])
        BY_ID.mkdir(parents=True, exist_ok=True)
        self.by_id.symlink_to(f"../../{device.name}")
        return device

    def unplug(self) -> None:
        """Pull the plug; returns when the kernel has seen it."""
        if self._plug is None:
            return
        (ours, thread), self._plug = self._plug, None
        self.by_id.unlink(missing_ok=True)
        ours.shutdown(SHUT_RDWR)
        thread.join()
        ours.close()
        eventually(lambda: not _devices(self._serial), within=30, what="the kernel still has the camera")

    def _forget(self) -> None:
        """All that it knows while it has power."""
        self._control = self._clamp(bytes(26))
        self._alternate = 0
        self._toggle = 0  # the bit of a payload's header that changes with each frame
        self._pending: deque[tuple[int, list[int]]] = deque()

    def _serve(self, kernel: socket) -> None:
        with suppress(BrokenPipeError):  # unplugged just as something was sent
            self._serve_until_unplugged(kernel)

    def _serve_until_unplugged(self, kernel: socket) -> None:
        due = 0.0
        while True:
            wants = self.is_streaming and self.gives_frames
            readable, _, _ = select.select([kernel], [], [], max(0.0, due - time.monotonic()) if wants else 0.05)
            if readable and not self._answer(kernel):
                return
            if wants and time.monotonic() >= due:
                due = max(due, time.monotonic() - 0.1) + 1 / self.chosen[1]
                self._give_frame(kernel)

    def _give_frame(self, kernel: socket) -> None:
        pictures = self.pictures[self.chosen[0]]
        jpeg = pictures[0 if self.is_frozen else self.frames_given % len(pictures)]
        at, answers = 0, []
        while at < len(jpeg):
            if not self._pending:
                return  # as real ones do: what the host has no room for is lost
            number, lengths = self._pending.popleft()
            packets = []
            for length in lengths:
                part = jpeg[at : at + length - 2]
                at += len(part)
                ends = 2 if part and at == len(jpeg) else 0
                packets.append(bytes([2, 0x80 | ends | self._toggle]) + part if part else b"")
            answers.append(_return(number, packets=packets, lengths=lengths))
        self._toggle ^= 1
        self.frames_given += 1
        kernel.sendall(b"".join(answers))

    def _answer(self, kernel: socket) -> bool:
        """Answer what the kernel asks next; False when the plug has been pulled."""
        header = _receive(kernel, 48)
        if not header:
            return False
        command, number, _, direction, endpoint = struct.unpack_from(">5I", header)
        if command == UNLINK:
            wanted = struct.unpack_from(">I", header, 20)[0]
            left = [pending for pending in self._pending if pending[0] != wanted]
            was_pending = len(left) < len(self._pending)
            self._pending = deque(left)
            kernel.sendall(struct.pack(">5Ii24x", RET_UNLINK, number, 0, 0, 0, -ECONNRESET if was_pending else 0))
            return True
        length, _, count = struct.unpack_from(">3I", header, 24)
        setup = header[40:]
        if endpoint:
            descriptors = _receive(kernel, 16 * count)
            self._pending.append((number, [struct.unpack_from(">I", descriptors, 16 * i + 4)[0] for i in range(count)]))
            return True
        data = b"" if direction == IN else _receive(kernel, length)
        answer = self._control_request(setup, data)
        if answer is None:
            kernel.sendall(_return(number, status=-EPIPE))
        else:
            kernel.sendall(_return(number, data=answer[:length] if direction == IN else b"", written=len(data)))
        return True

    def _control_request(self, setup: bytes, data: bytes) -> bytes | None:
        """The answer to a control transfer, None for a stall: the camera does not know that."""
        kind, request, value, index, _ = struct.unpack("<BBHHH", setup)
        what = (kind, request)
        if what == GET_DESCRIPTOR:
            return self._descriptor(value >> 8, value & 0xFF)
        if what in GET_STATUSES:
            return bytes(2)
        if what == SET_INTERFACE and index == 1:
            self._alternate = value
        elif kind in (0x21, 0xA1) and (index != 1 or value >> 8 not in (1, 2)):
            return None  # all its controls are those of streaming: probe and commit
        elif what == SET_CUR:
            self._control = self._clamp(data)
        elif what == GET_LEN:
            return len(self._control).to_bytes(2, "little")
        elif what == GET_INFO:
            return b"\x03"
        elif what in (GET_CUR, GET_MIN, GET_MAX, GET_DEF):
            return self._control
        return b"" if kind & 0x80 == 0 else None

    def _clamp(self, wish: bytes) -> bytes:
        """What it makes of a wish (UVC 1.0, 4.3.1.1: video probe and commit controls)."""
        _, _, frame, interval = struct.unpack_from("<HBBI", wish)
        frame = min(max(frame, 1), len(self._sizes))
        nearest = min(self._intervals, key=lambda known: abs(known - interval)) if interval else self._intervals[0]
        return struct.pack("<HBBIHHHHHII", 1, 1, frame, nearest, 0, 0, 0, 0, 0, self._room(frame), 3072)

    def _room(self, frame: int) -> int:
        width, height = self._sizes[frame - 1]
        return width * height * 2

    def _descriptor(self, kind: int, index: int) -> bytes | None:
        if kind == 1:
            return struct.pack("<BBHBBBBHHHBBBB", 18, 1, 0x0200, 0xEF, 2, 1, 64, 0x1209, 1, 0x0100, 1, 2, 3, 1)
        if kind == 2:
            return self._configuration()
        if kind == 3 and index < 4:
            text = (MANUFACTURER, PRODUCT, self._serial)[index - 1].encode("utf-16-le") if index else b"\x09\x04"
            return bytes([2 + len(text), 3]) + text
        return None

    def _configuration(self) -> bytes:
        frames = b"".join(
            struct.pack(
                f"<BBBBBHHIIIIB{len(self._intervals)}I",
                *(26 + 4 * len(self._intervals), 0x24, 7, number, 0, width, height, 1_000_000, 100_000_000),
                *(self._room(number), self._intervals[0], len(self._intervals), *self._intervals),
            )
            for number, (width, height) in enumerate(self._sizes, 1)
        )
        formats = struct.pack("<11B", 11, 0x24, 6, 1, len(self._sizes), 1, 1, 0, 0, 0, 0) + frames
        formats += bytes([6, 0x24, 0x0D, 1, 1, 4])
        streaming = (
            struct.pack("<BBBBHBBBBBBBB", 14, 0x24, 1, 1, 14 + len(formats), 0x81, 0, 2, 0, 0, 0, 1, 0) + formats
        )
        terminals = struct.pack("<BBBBHBBHHHB3x", 18, 0x24, 2, 1, 0x0201, 0, 0, 0, 0, 0, 3)
        terminals += struct.pack("<BBBBHBBB", 9, 0x24, 3, 2, 0x0101, 0, 1, 0)
        control = struct.pack("<BBBHHIBB", 13, 0x24, 1, 0x0100, 13 + len(terminals), 48_000_000, 1, 1) + terminals
        rest = b"".join(
            [
                bytes([8, 11, 0, 2, 0x0E, 3, 0, 2]),
                *(bytes([9, 4, 0, 0, 0, 0x0E, 1, 0, 0]), control),
                *(bytes([9, 4, 1, 0, 0, 0x0E, 2, 0, 0]), streaming),
                *(bytes([9, 4, 1, 1, 1, 0x0E, 2, 0, 0]), struct.pack("<BBBBHB", 7, 5, 0x81, 5, MAX_PACKET, 1)),
            ]
        )
        return struct.pack("<BBHBBBBB", 9, 2, 9 + len(rest), 2, 1, 0, 0x80, 250) + rest


def is_open(device: Path, process: int) -> bool:
    """Whether the process has the device open."""
    for file in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            if file.readlink() == device:
                return True
    return False


def _return(
    number: int,
    *,
    status: int = 0,
    data: bytes = b"",
    written: int = 0,
    packets: Sequence[bytes] = (),
    lengths: Sequence[int] = (),
) -> bytes:
    """USBIP_RET_SUBMIT, with what was read, or how much was `written`, or isochronous packets and their places."""
    data = data or b"".join(packets)
    header = struct.pack(">5IiIIII8x", RET_SUBMIT, number, 0, 0, 0, status, len(data) or written, 0, len(packets), 0)
    offset, descriptors = 0, []
    for packet, length in zip(packets, lengths, strict=True):
        descriptors.append(struct.pack(">4I", offset, length, len(packet), 0))
        offset += length
    return header + data + b"".join(descriptors)


def _receive(kernel: socket, length: int) -> bytes:
    """So many bytes, or none when the plug has been pulled."""
    data = b""
    while len(data) < length:
        part = kernel.recv(length - len(data))
        if not part:
            return b""
        data += part
    return data


def _ports() -> list[str]:
    return (VHCI / "status").read_text().splitlines()


def _devices(serial: str) -> list[str]:
    """The names of the devices that give pictures: each camera has a second one, for metadata."""
    found = []
    for device in Path("/sys/class/video4linux").iterdir():
        try:
            if (device / "../../../serial").read_text().strip() == serial and (device / "index").read_text() == "0\n":
                found.append(device.name)
        except OSError:
            pass
    return found

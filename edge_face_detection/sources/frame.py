"""A frame, and what all sources of frames share."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from edge_face_detection.opencv import MAX_PIXELS, cv2
from edge_face_detection.sources.planes import Planes, decode_planes

Image: TypeAlias = NDArray[np.uint8]
"""H×W×3 uint8, BGR, unless said otherwise."""

# A JPEG decoder can reduce a picture's sides to 1/8, 1/4 or 1/2, and so saves most of its work.
_REDUCTIONS = {
    8: (cv2.IMREAD_REDUCED_COLOR_8, cv2.IMREAD_REDUCED_GRAYSCALE_8),
    4: (cv2.IMREAD_REDUCED_COLOR_4, cv2.IMREAD_REDUCED_GRAYSCALE_4),
    2: (cv2.IMREAD_REDUCED_COLOR_2, cv2.IMREAD_REDUCED_GRAYSCALE_2),
    1: (cv2.IMREAD_COLOR, cv2.IMREAD_GRAYSCALE),
}
_SMOOTH_SHRINK = 4.5
#: A picture that comes so long after the one before stands alone.
STILL_SECONDS = 0.5

_ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


class SourceError(Exception):
    """A source that cannot be used and never will be; the message says what is wrong and what to do."""


class UnreadableFrameError(Exception):
    """A frame that cannot be decoded: it is damaged, or of an unknown form. Only looking at it tells."""


class Jpeg:
    """A picture as the camera sent it, not decoded yet.

    Takes the bytes of a JPEG file. Raises ValueError when they are no JPEG, or one larger than OpenCV may decode.
    """

    __slots__ = ("data", "size")

    def __init__(self, data: bytes) -> None:
        self.data = np.frombuffer(data, np.uint8)
        self.size = _jpeg_size(data)
        if self.size[0] * self.size[1] > MAX_PIXELS:
            raise ValueError(f"a JPEG of {self.size[0]}x{self.size[1]} pixels is too large")


class Frame:
    """One picture of a source, decoded only as far as it is looked at.

    Args:
        picture: H×W×3 uint8, BGR, or a JPEG.
        number: counts the frames of this source from 0, skipped ones included.
        captured_at: wall clock, UTC, as close to the grab as can be.
        captured_monotonic: the same moment on `time.monotonic()`, in seconds.

    """

    __slots__ = (
        "_decoded",
        "_degrees",
        "_jpeg",
        "_paint",
        "_planes",
        "captured_at",
        "captured_monotonic",
        "is_damaged",
        "is_still",
        "moment",
        "number",
        "size",
    )

    def __init__(self, picture: Image | Jpeg, number: int, captured_at: datetime, captured_monotonic: float) -> None:
        self.number = number
        self.captured_at = captured_at
        self.captured_monotonic = captured_monotonic
        #: When it was seen, in seconds since the source's own beginning: a recording's time is not the clock's.
        self.moment = captured_monotonic
        #: Whether it is known to be no part of a video.
        self.is_still = False
        #: Whether UnreadableFrameError was raised.
        self.is_damaged = False
        # By reduction and whether in grey.
        self._decoded: dict[tuple[int, bool], Image] = {}
        # All of a JPEG, before any picture of it is made.
        self._planes: Planes | None = None
        self._paint: Callable[[Image], None] | None = None
        self._degrees = 0
        self._jpeg = picture if isinstance(picture, Jpeg) else None
        #: Width and height in pixels.
        self.size: tuple[int, int]
        if isinstance(picture, Jpeg):
            self.size = picture.size
        else:
            self.size = picture.shape[1], picture.shape[0]
            self._decoded[1, False] = picture

    def turn(self, degrees: int) -> None:
        """Turn the picture clockwise by 0, 90, 180 or 270 degrees, further than it is turned already.

        To be called before `hide()`: masks lie in the turned picture.
        """
        if not degrees:
            return
        self._degrees, self._planes = (self._degrees + degrees) % 360, None
        if degrees != 180:
            self.size = self.size[1], self.size[0]
        self._decoded = {key: turned(picture, degrees) for key, picture in self._decoded.items()}

    def hide(self, paint: Callable[[Image], None]) -> None:
        """Have `paint` paint over each picture of this frame, in place, before anybody sees it; see Mask."""
        self._paint, self._planes = paint, None
        for picture in self._decoded.values():
            paint(picture)

    @property
    def image(self) -> Image:
        """H×W×3 uint8, BGR. Raises UnreadableFrameError."""
        return self._picture(1, grey=False)

    def decode(self) -> None:
        """All of it, for looks at parts of it in grey and in colour. Raises UnreadableFrameError."""
        if (1, False) in self._decoded or self._planes is not None:
            return
        # A mask is painted on pictures, and a picture is turned: both are rare.
        if self._jpeg is not None and self._paint is None and not self._degrees:
            self._planes = decode_planes(self._jpeg.data, self.size)
        if self._planes is None:
            self._picture(1, grey=False)
        else:
            self._decoded[1, True] = self._planes.y

    def cut(self, region: tuple[int, int, int, int]) -> Image:
        """A part, x, y, width and height in the frame and inside of it: H×W×3 uint8, BGR, a picture of its own.

        Raises UnreadableFrameError.
        """
        self.decode()
        if self._planes is not None:
            return self._planes.colour(region)
        x, y, width, height = region
        return self.image[y : y + height, x : x + width].copy()

    def view(self, region: tuple[int, int, int, int], size: tuple[int, int], *, grey: bool) -> Image:
        """A part of the frame in another size. No more of a JPEG is decoded than that needs.

        `region` is x, y, width and height in the frame and inside of it, `size` width and height of the result, all in
        pixels. Returns H×W×3 uint8, BGR, or H×W in grey. Raises UnreadableFrameError.
        """
        x, y, width, height = region
        shrink = min(width / size[0], height / size[1])
        # Averaging areas takes up to 15 times as long. It is needed only where much would be passed over otherwise.
        smooth = cv2.INTER_AREA if shrink > _SMOOTH_SHRINK else cv2.INTER_LINEAR
        if self._planes is not None and not grey:
            return self._planes.view(region, size, smooth)
        picture = self._picture(_reduction(shrink), grey=grey)
        across, down = picture.shape[1] / self.size[0], picture.shape[0] / self.size[1]
        left, top = int(x * across), int(y * down)
        right, bottom = max(left + 1, round((x + width) * across)), max(top + 1, round((y + height) * down))
        part = picture[top:bottom, left:right]
        if grey and part.ndim == 3:
            # Green is most of what grey is made of (ITU-R BT.601: 0.587), and costs a third of a conversion.
            part = cast("Image", cv2.extractChannel(part, 1))
        if part.shape[:2] == (size[1], size[0]):
            return part
        return cast("Image", cv2.resize(part, size, interpolation=smooth))

    def glance(self, size: tuple[int, int], *, shrink: float) -> Image:
        """Some pixels of the whole frame, H×W in grey; `size` is width and height.

        A JPEG is decoded so far that a later `view` that shrinks by `shrink` needs no more. Raises
        UnreadableFrameError.
        """
        few = cast(
            "Image", cv2.resize(self._picture(_reduction(shrink), grey=True), size, interpolation=cv2.INTER_NEAREST)
        )
        return cast("Image", cv2.cvtColor(few, cv2.COLOR_BGR2GRAY)) if few.ndim == 3 else few

    def _picture(self, reduction: int, *, grey: bool) -> Image:
        """The picture, reduced so far at most, in colour unless `grey` will do. Decodes it only if it must."""
        for (step, is_grey), picture in sorted(self._decoded.items(), reverse=True):
            if step <= reduction and (grey or not is_grey):
                return picture
        assert self._jpeg is not None  # a picture that is no JPEG is there in full
        self.is_damaged = True
        try:
            # Orientation is for photographs: a camera's frames all lie the same way.
            decoded = cv2.imdecode(self._jpeg.data, _REDUCTIONS[reduction][grey] | cv2.IMREAD_IGNORE_ORIENTATION)
        except cv2.error as error:
            raise UnreadableFrameError(str(error).strip()) from error
        # A crafted header can tell the decoder another size than us. We would then cut faces out of the wrong place.
        size = tuple(-(-side // reduction) for side in self._jpeg.size)
        if decoded is None or decoded.shape[1::-1] != size:
            raise UnreadableFrameError("a JPEG that is damaged, or of a kind that OpenCV cannot decode")
        self.is_damaged = False
        picture = turned(cast("Image", decoded), self._degrees)
        if self._paint is not None:
            self._paint(picture)
        self._decoded[reduction, grey] = picture
        return picture


def to_bgr(image: NDArray[Any]) -> Image:
    """The picture as H×W×3 uint8, BGR, from grey (H×W, H×W×1), BGR or BGRA, of 8 or 16 bits a channel.

    Raises ValueError for anything else, and for a picture without pixels.
    """
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or channels not in (1, 3, 4) or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"no picture of 8 or 16 bits in grey, BGR or BGRA: {image.shape} {image.dtype}")
    if channels == 3:
        return image
    conversion = cv2.COLOR_GRAY2BGR if channels == 1 else cv2.COLOR_BGRA2BGR
    return cast("Image", cv2.cvtColor(image, conversion))


def turned(picture: Image, degrees: int) -> Image:
    """The picture turned clockwise by 0, 90, 180 or 270 degrees."""
    return cast("Image", cv2.rotate(picture, _ROTATIONS[degrees])) if degrees else picture


def _reduction(shrink: float) -> int:
    return next((step for step in _REDUCTIONS if step <= shrink), 1)


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height from the frame header (ITU-T T.81, B.2.2)."""
    at = 2
    while data[:2] == b"\xff\xd8" and len(data) >= at + 9 and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        # SOF0 to SOF15, without DHT, JPG and DAC, which stand among them.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
            if width and height:
                return width, height
            break
        # Before a marker any number of bytes 0xFF may stand.
        at += 1 if marker == 0xFF else 2 + length
    raise ValueError("no JPEG")

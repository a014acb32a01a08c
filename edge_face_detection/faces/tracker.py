"""Faces in a row of frames: new ones are looked for all over, known ones where they are. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, replace
from time import monotonic

from edge_face_detection.faces.change import Region
from edge_face_detection.faces.detector import Box, Face, Finder, Place, Sighting
from edge_face_detection.faces.search import Search
from edge_face_detection.faces.track import Claim, Track, Window, closer
from edge_face_detection.sources.frame import Frame

__all__ = ["Tracker"]

# Likeness (normalised correlation) at which a face is followed without a new detection, and the frames that may pass so
# while the detector does not see it.
_FOLLOW, _BRIDGE_FRAMES = 0.9, 10
# A track is detected in each frame until it has this many detections.
_PROOF = 3
# Likeness at which a detected face is still the same person; and after a longer absence or when much has changed.
_ALIKE, _ALIKE_LATE = 0.5, 0.7
# The same where the frame's edge cuts the face, of which it then shows more or less from frame to frame; for so long.
_ALIKE_CUT, _CUT_FRAMES = 0.3, 2
# Two boxes that overlap this much (IoU) are the same face.
_SAME = 0.35
# Of places that overlap this much (IoU), where a scan saw something, one is looked at.
_TRIED = 0.5
# A face that is away for longer is looked for in each third frame only.
_KEEN_FRAMES, _SELDOM = 5, 3
# A head that is followed has not tilted further than this since it was detected last, in degrees.
_TILTING = 20.0
# With few frames a second a face goes further from one to the next: it is looked for so many sides further off for each
# tick, above so many ticks.
_PLAY, _PLAY_MOST, _PLAY_FROM = 0.25, 1.5, 1.5
# Pictures that stand alone are searched up to this multiple of `max_side`.
_CARE = 3


@dataclass(eq=False)
class Tracker:
    """Tracking by detection.

    Each known face is looked for in a small window around its expected place, scaled so that a narrow band of sizes is
    enough: first by its likeness to the last detection (normalised correlation), and in each `refresh`-th frame, or
    when that fails, by the detector. For new faces, places that have changed are searched at once, and the rest of the
    frame is scanned in slices, one pass in `scan_ticks` (of 1/30 s). A find counts once the detector is sure of it in
    such a window.

    A frame that stands alone (see Change) is searched as a whole, and what is found there counts: a still with all the
    care there is, the first frame of a video with less, as others follow.

    A finder that sees no tilted faces is also shown turned pictures, one of its `tilts` after the other: of places that
    have changed, of the rest of the frame bit by bit, and of a known face that it does not see upright any more.

    A track that is not seen goes on at its speed for `patience` frames. It keeps its number when its face is found
    near there. If two tracks claim one face, it goes to the one that is like it and expected it there.

    The outline is that of SORT (A. Bewley et al., "Simple online and realtime tracking", ICIP 2016), with the detector
    used only where a track is. Following in between is template matching as in J. P. Lewis, "Fast normalized
    cross-correlation" (1995).

    Raises ValueError for what cannot work. One tracker serves one camera and one thread.
    """

    finder: Finder
    _: KW_ONLY
    #: Smaller faces are passed over; side of the face's box, pixels of the frame.
    min_face_size: int = 40
    #: Larger frames are shrunk to this largest side for the scan, in pixels.
    max_side: int = 640
    scan_ticks: int = 30
    refresh: int = 8
    patience: int = 30

    def __post_init__(self) -> None:
        for name, least in {"min_face_size": 1, "max_side": 1, "scan_ticks": 1, "refresh": 1, "patience": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, not {getattr(self, name)}")
        self._search = Search(
            self.finder, min_face_size=self.min_face_size, max_side=self.max_side, scan_ticks=self.scan_ticks
        )
        self._spent = self._busy = 0.0
        self._was_alone = False
        self._play = 0.0
        self._alike, self._alike_cut = _ALIKE, _ALIKE_CUT
        self._size = (0, 0)
        self._tracks: list[Track] = []
        self._last_number = 0

    @property
    def tracks(self) -> frozenset[int]:
        """The tracks that go on, lost ones included; any other has ended."""
        return frozenset(track.number for track in self._tracks)

    def faces(self, frame: Frame) -> list[Face]:
        """The faces in the next frame, oldest track first. Raises UnreadableFrameError."""
        began, self._size = monotonic(), frame.size
        change = self._search.next(frame, spent=self._spent, busy=self._busy)
        self._spent = 0.0
        self._play = min(_PLAY_MOST, _PLAY * (change.elapsed - 1)) if change.elapsed > _PLAY_FROM else 0.0
        self._alike = _ALIKE_LATE if change.is_stir or change.is_alone else _ALIKE
        self._alike_cut = _ALIKE_LATE if change.is_alone else _ALIKE_CUT
        if change.is_cut:
            self._tracks.clear()
        if change.is_alone:
            for track in self._tracks:
                track.miss(hidden=False)
            whole = (0, 0, *frame.size)
            # A video that only begins here goes on: what is hard to see can wait for the next frames.
            is_still = frame.is_still or self._was_alone
            self._find_all(frame, whole, is_still=is_still)
            if is_still:
                self._try(frame, self._search.tilted(frame))
            self._search.searched(whole, found=True)
            self._spent = monotonic() - began
        else:
            places = [Place(box) for box in self._follow(frame)]
            self._find_news(frame)
            self._try(frame, [*places, *self._search.turn(frame)])
        self._was_alone = change.is_alone
        self._tracks = [track for track in self._tracks if track.away <= self.patience]
        self._busy = monotonic() - began
        faces = [track.face(frame.size) for track in self._tracks if not track.away]
        return [face for face in faces if face.side >= self.min_face_size]

    def frontality(self, frame: Frame, face: Face) -> float:
        """What the finder tells of the face from a window of its own: where it was found, it may have been aside."""
        window = Window.of(frame, face.box, self.finder)
        told = window.frontality(face.box) if window else None
        return face.frontality if told is None else told

    def _find_news(self, frame: Frame) -> None:
        for region, is_suspect, places in self._search.news(frame, self._present()):
            known = self._last_number
            if is_suspect:
                self._find_all(frame, region, is_still=False)
            self._try(frame, places)
            self._search.searched(region, found=self._last_number > known)

    def _find_all(self, frame: Frame, region: Region, *, is_still: bool) -> None:
        """Find all faces there, also those that a scan does not see."""
        scale = min(1.0, _CARE * self.max_side / max(frame.size))
        size = round(region[2] * scale), round(region[3] * scale)
        if min(size) < self.finder.scan_sides[0]:
            return
        picture = frame.view(region, size, grey=self.finder.grey)
        for sighting in self.finder.whole(picture, self.min_face_size * scale, is_still=is_still):
            x, y, width, height = (value / scale for value in sighting.box)
            box = Box(region[0] + x, region[1] + y, width, height)
            if not is_still and self.finder.again and self._look(frame, Place(box)) is None:
                continue
            window = Window.of(frame, box, self.finder)
            if window and not any(box.iou(other) >= _SAME or _is_same(box, other) for other in self._present()):
                self._admit(window, replace(sighting, box=box), sure=True)

    def _try(self, frame: Frame, places: Iterable[Place]) -> None:
        tried: list[Place] = []
        for place in places:
            if any(_is_same(place.box, box) for box in self._present()):
                continue
            if not any(place.tilt == other.tilt and place.box.iou(other.box) >= _TRIED for other in tried):
                tried.append(place)
                self._discover(frame, place)

    def _present(self) -> list[Box]:
        return [track.box for track in self._tracks if not track.away]

    def _follow(self, frame: Frame) -> list[Box]:
        """Look for the known faces. Returns where others were seen in their place."""
        claims, others = [], []
        for track in self._tracks:
            claim = self._claim(track, frame)
            if claim and self._is_known(track, claim):
                claims.append((track, claim))
            elif claim:
                others.append(claim.box)
        claims.sort(key=lambda pair: -pair[1].likeness - pair[1].box.iou(pair[0].expected))
        accepted: dict[int, Claim] = {}
        for track, claim in claims:
            if all(claim.box.iou(other.box) < _SAME for other in accepted.values()):
                accepted[track.number] = claim
        for track in self._tracks:
            if track.number in accepted:
                track.accept(accepted[track.number])
            else:
                track.miss(hidden=any(track.expected.iou(claim.box) > 0 for claim in accepted.values()))
        return others

    def _claim(self, track: Track, frame: Frame) -> Claim | None:
        """Where the track has its face in this frame; None if nowhere."""
        if track.away > _KEEN_FRAMES and track.away % _SELDOM:
            return None
        window = Window.of(frame, track.expected, self.finder, play=self._play)
        if window is None:
            return None
        followed = track.followed(window)
        is_alike = followed.likeness >= _FOLLOW
        is_proved = track.detections >= _PROOF and not track.away
        may_follow = is_proved or (track.is_sure and not track.away)
        follows = may_follow and is_alike and track.undetected < _BRIDGE_FRAMES
        if not is_proved or not is_alike or track.undetected + 1 >= self.refresh:
            near = followed.box if is_alike else track.expected
            is_unproved = track.detections < _PROOF and not track.is_sure
            # A face that is cut by the frame's edge looks tilted.
            is_whole = near.is_inside(frame.size)
            for tilt in self._tilts_near(track.tilt) if is_whole and not follows else [track.tilt]:
                sighting = window.detect(near, sure=is_unproved, play=self._play, tilt=tilt)
                if sighting is not None:
                    return track.detected(*closer(frame, self.finder, window, sighting, near, sure=is_unproved))
        return followed if follows else None

    def _tilts_near(self, tilt: float) -> list[float]:
        """How a face may be tilted that was tilted so, the likeliest first."""
        by_distance = sorted((0.0, *self.finder.tilts), key=lambda other: abs(other - tilt))
        return [other for other in by_distance if abs(other - tilt) <= _TILTING]

    def _discover(self, frame: Frame, place: Place) -> None:
        """Look thoroughly where a new face may be, or a lost one."""
        seen = self._look(frame, place)
        # Again, centred on the find: what is no face often looks like one from one place only.
        seen = seen and self._look(frame, Place(seen[1].box, place.tilt), again=True)
        if seen:
            self._admit(*seen, sure=False)

    def _admit(self, window: Window, sighting: Sighting, *, sure: bool) -> None:
        """A face that no track has: a lost one's, or a new one's. `sure`: it needs no further proof."""
        lost = [track for track in self._tracks if track.may_be_at(sighting.box, play=self._play)]
        claims = [(track.detected(window, sighting), track) for track in lost]
        claim, track = max(claims, key=lambda pair: pair[0].likeness, default=(None, None))
        if claim and track and self._is_known(track, claim):
            track.accept(claim)
        else:
            self._last_number += 1
            patch = window.patch(sighting.box)
            self._tracks.append(Track(self._last_number, sighting, patch, is_sure=sure))

    def _look(self, frame: Frame, near: Place, *, again: bool = False) -> tuple[Window, Sighting] | None:
        """A face at that place, unless a known one is there. `again`: it was seen there just now."""
        window = Window.of(frame, near.box, self.finder)
        sighting = window and window.detect(near.box, sure=True, tilt=near.tilt, again=again)
        if not window or not sighting or any(sighting.box.iou(box) >= _SAME for box in self._present()):
            return None
        return window, sighting

    def _is_known(self, track: Track, claim: Claim) -> bool:
        """Whether it is the same face: the longer it was away, the more alike it must be."""
        # A face that passed behind another one is known by its place, since at first only a part of it is seen.
        if track.hidden:
            return True
        is_cut = not (track.box.is_inside(self._size) and claim.box.is_inside(self._size))
        if is_cut and track.away <= _CUT_FRAMES:
            return claim.likeness >= self._alike_cut
        return claim.likeness >= (self._alike if track.away <= _KEEN_FRAMES else _ALIKE_LATE)


def _is_same(rough: Box, box: Box) -> bool:
    x, y = rough.centre
    is_inside = box.x <= x <= box.x + box.width and box.y <= y <= box.y + box.height
    return is_inside and box.side / 2 <= rough.side <= box.side * 2

"""Scores of detectors are right: checked on cases that are counted by hand."""

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dev.bench.films import people
from dev.bench.measure import BenchmarkError
from dev.bench.truth import TrueFace, judge, judge_frames, labelled, link, match, read_labels
from edge_face_detection.faces.detector import Box

FACE = Box(100, 100, 80, 80)
OTHER = Box(300, 100, 80, 80)
ELSEWHERE = Box(500, 300, 60, 60)

boxes = st.lists(st.builds(Box, *[st.integers(0, 50)] * 2, *[st.integers(1, 40)] * 2), max_size=6)


def moved(box: Box, across: float) -> Box:
    return box._replace(x=box.x + across)


def counts(found: list[Box], faces: list[TrueFace]) -> tuple[int, int, int]:
    score, _ = judge(found, faces, smallest=40)
    return score.found, score.missed, score.wrong


def shown(hits: str, *, person: int = 0) -> tuple[list[list[Box]], list[list[TrueFace]]]:
    """A clip of one face: x where it is found, - where not, o where it does not count, a blank where it is away."""
    found = [[FACE] if hit == "x" else [] for hit in hits]
    return found, [[] if hit == " " else [TrueFace(FACE, person, hit != "o")] for hit in hits]


def test_a_box_is_a_face_from_half_of_both_in_common_on() -> None:
    """IoU 0.5 is a shift by a third of a side."""
    assert counts([moved(FACE, 26)], [TrueFace(FACE)]) == (1, 0, 0)
    assert counts([moved(FACE, 27)], [TrueFace(FACE)]) == (0, 1, 1)


def test_a_second_box_on_a_face_is_wrong() -> None:
    assert counts([FACE, moved(FACE, 5)], [TrueFace(FACE)]) == (1, 0, 1)


def test_what_does_not_count_is_neither_missed_nor_wrong() -> None:
    """Faces that do not count, boxes on them, and small boxes that are no face's."""
    assert counts([], [TrueFace(FACE, counts=False)]) == (0, 0, 0)
    assert counts([moved(FACE, 40)], [TrueFace(FACE, counts=False)]) == (0, 0, 0)
    assert counts([ELSEWHERE._replace(width=39)], []) == (0, 0, 0)
    assert counts([ELSEWHERE], []) == (0, 0, 1)


@settings(deadline=None)
@given(boxes, boxes)
def test_pairs_are_one_to_one_and_overlap_enough(some: list[Box], others: list[Box]) -> None:
    """None is used twice, and of what is left over no two would make a pair."""
    pairs = match(some, others, iou=0.5)
    assert len(set(pairs.values())) == len(pairs)
    assert all(some[one].iou(others[two]) >= 0.5 for one, two in pairs.items())
    left = [box for index, box in enumerate(others) if index not in pairs.values()]
    assert all(box.iou(other) < 0.5 for index, box in enumerate(some) if index not in pairs for other in left)


def test_those_that_overlap_most_are_paired_first() -> None:
    """Else the box between two faces could take the first one's, and one would be left over."""
    assert match([FACE, moved(FACE, 40)], [moved(FACE, 20), FACE], iou=0.5) == {0: 1, 1: 0}


def test_delay_runs_from_the_first_frame_that_shows_the_face() -> None:
    """What comes before does not count yet; after an absence the face appears anew."""
    score = judge_frames(*shown("oo---xxxxxxxxx" + " " * 11 + "xxxxxxxxxx" + " " * 11 + "----------"), smallest=40)
    assert score.delays == [3, 0, math.inf]
    assert score.delay(0.5) == 3
    assert score.delay(0.95) == math.inf


def test_short_appearances_tell_no_delay() -> None:
    assert judge_frames(*shown("---------"), smallest=40).delays == []
    assert math.isnan(judge_frames(*shown("---------"), smallest=40).delay(0.95))


def test_a_loss_goes_on_while_the_face_is_turned_away() -> None:
    """Frames that do not count neither end a loss nor lengthen it; before the first find nothing is lost."""
    score = judge_frames(*shown("----xx--ooo-xx---xx     -x"), smallest=40)
    assert score.losses == [3]
    assert judge_frames(*shown("xxxxxxxxxx-----"), smallest=40).losses == [5]
    assert judge_frames(*shown("xxxxxxxxxx"), smallest=40).losses == [0]


def test_recall_and_precision_of_several_clips_are_pooled() -> None:
    """By faces, not by clips; where there is nothing to find they are no number."""
    score = judge_frames(*shown("xxx-"), smallest=40) + judge_frames([[ELSEWHERE]], [[]], smallest=40)
    assert (score.recall, score.precision) == (3 / 4, 3 / 4)
    nothing = judge_frames([[]], [[]], smallest=40)
    assert math.isnan(nothing.recall)
    assert math.isnan(nothing.precision)


def test_a_face_without_a_name_is_who_was_there_before() -> None:
    """A gap of ten frames is bridged, one of eleven not; two keep apart; somebody elsewhere is somebody else."""
    first, second = TrueFace(FACE), TrueFace(OTHER)
    near = TrueFace(moved(FACE, 20), counts=False)
    frames = [[first, second], [second, near], *[[]] * 9, [near], *[[]] * 10, [near]]
    linked = link(frames)
    assert [[face.person for face in faces] for faces in linked if faces] == [[0, 1], [1, 0], [0], [2]]
    assert linked[1][1] == TrueFace(near.box, 0, counts=False)


def test_labels_at_the_edge_or_too_small_do_not_count() -> None:
    faces = labelled(
        [FACE, Box(0, 50, 80, 80), Box(559, 50, 80, 80), Box(560, 50, 80, 80), Box(9, 9, 39, 50)],
        (640, 480),
        smallest=40,
    )
    assert [face.counts for face in faces] == [True, False, True, False, False]


def test_labels_are_read(tmp_path: Path) -> None:
    """With or without a heading; fractions of pixels are fine, and so is a picture without faces."""
    path = tmp_path / "labels.csv"
    path.write_text("\ufeffpicture,x,y,width,height\na.png,1,2.5,3,4\n\nb c.png\na.png, 5,6,7,8\nd.png,,,,\n", "utf-8")
    assert read_labels(path) == {"a.png": [Box(1, 2.5, 3, 4), Box(5, 6, 7, 8)], "b c.png": [], "d.png": []}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("a.png,1,2,3", "4 values"),
        ("a.png,1,2,3,4,5", "6 values"),
        ("a.png,1,2,3,wide", "'wide'"),
        ("a.png,1,2,3,nan", "no box"),
        ("a.png,1,2,0,4", "no box"),
        ("a.png,0.1,0.2,0.3,0.4", "no box in pixels"),
        (",1,2,3,4", "no picture"),
    ],
)
def test_labels_that_cannot_be_are_named_with_their_line(tmp_path: Path, line: str, complaint: str) -> None:
    """And what would be right is told."""
    path = tmp_path / "labels.csv"
    path.write_text(f"b.png\n{line}\n")
    with pytest.raises(BenchmarkError, match=complaint) as raised:
        read_labels(path)
    assert f"{path}, line 2: " in str(raised.value)
    assert "picture,x,y,width,height" in str(raised.value)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00a"])
def test_a_file_without_labels_is_named(tmp_path: Path, content: bytes | None) -> None:
    """Missing, empty, or no text."""
    path = tmp_path / "labels.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BenchmarkError, match=str(path)):
        read_labels(path)


@pytest.mark.parametrize("scene", ["one person", "several people", "coming and going", "nobody"])
def test_scripts_go_forward_and_last_ten_seconds_at_most(scene: str) -> None:
    assert bool(people(scene, 480)) == (scene != "nobody")
    for person in people(scene, 480):
        seconds = [line[0] for line in person.script]
        assert seconds == sorted(seconds)
        assert 0 <= seconds[0] < seconds[-1] <= 10
        assert person.pose(seconds[0] - 0.01) is None
        assert person.pose(seconds[-1]) == person.script[-1][1:]

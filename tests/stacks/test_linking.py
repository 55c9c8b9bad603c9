"""Linking of planes to objects, against ids worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam.errors import ImageError, SamError
from napari_sam.stacks.link_params import LinkParams
from napari_sam.stacks.linking import Linker, link_planes

WIDE = 5  # pixels of a digit, each way


def plane(*rows: str) -> np.ndarray:
    """A plane of labels from a drawing; '.' is background, a digit is 5 x 5 pixels."""
    small = np.array([[0 if c == "." else int(c) for c in row] for row in rows], np.int32)
    return np.kron(small, np.ones((WIDE, WIDE), np.int32))


def relabel(planes, axis, params=None) -> tuple[list[list[str]], dict]:
    """The final ids as drawings."""
    linked = link_planes(planes, axis, params)
    drawn = [linked.relabel(k, p)[::WIDE, ::WIDE] for k, p in enumerate(planes)]
    return [["".join("." if v == 0 else str(v) for v in row) for row in d.tolist()] for d in drawn], linked


Z_CASES = [
    pytest.param(
        [["11..2"], ["33..4"], ["55..6"]],
        [["11..2"], ["11..2"], ["11..2"]],
        {},
        id="ids-stay",
    ),
    pytest.param(
        [["11.22"], ["22.11"]],
        [["11.22"], ["11.22"]],
        {},
        id="labels-of-planes-mean-nothing",
    ),
    pytest.param(
        # IoU 2/4 and 1/3: together (1-1, 2-2) they are more than 1-2 alone
        [["1112..."], [".1122.."], [".1122.."]],
        [["1112..."], [".1122.."], [".1122.."]],
        {},
        id="best-assignment",
    ),
    pytest.param(
        [["111..."], ["..1111"], ["..1111"], ["111..."]],
        [["......"], ["..1111"], ["..1111"], ["......"]],
        {},
        id="too-little-overlap-and-alone-is-dropped",
    ),
    pytest.param(
        [["111..."], ["..1111"]],
        [["111..."], ["..2222"]],
        {},
        id="two-planes-keep-what-is-in-one",
    ),
    pytest.param(
        [["11"], [".."], ["11"], ["11"]],
        [["11"], [".."], ["11"], ["11"]],
        {},
        id="gap-closed",
    ),
    pytest.param(
        [["11"], ["11"], [".."], ["11"], ["11"]],
        [["11"], ["11"], [".."], ["22"], ["22"]],
        {"max_gap": 0},
        id="gap-not-closed",
    ),
    pytest.param(
        [["11"], ["11"], [".."], [".."], ["11"], ["11"]],
        [["11"], ["11"], [".."], [".."], ["22"], ["22"]],
        {},
        id="gap-too-long",
    ),
    pytest.param(
        [["1111"], ["1111"], ["11.."], ["...."], ["..11"], ["1111"], ["1111"]],
        [["1111"], ["1111"], ["11.."], ["...."], ["..22"], ["2222"], ["2222"]],
        {"split_factor": float("inf")},
        id="no-gap-between-a-top-and-a-bottom",
    ),
    pytest.param(
        [["1111"], ["1111"], ["11.."], ["1111"], ["1111"]],
        [["1111"], ["1111"], ["11.."], ["2222"], ["2222"]],
        {},
        id="waist-is-cut",
    ),
    pytest.param(
        [["1111"], ["1111"], ["11.."], ["1111"], ["1111"]],
        [["1111"], ["1111"], ["11.."], ["1111"], ["1111"]],
        {"split_factor": 2.5},
        id="waist-is-not-deep-enough",
    ),
    pytest.param(
        [["11.."], ["1111"], ["1111"], ["11.."]],
        [["11.."], ["1111"], ["1111"], ["11.."]],
        {},
        id="a-ball-has-no-waist",
    ),
    pytest.param(
        # a crumb beside the object, over it in both neighbours
        [["11111111"], ["11111112"], ["11111111"], ["11111111"]],
        [["11111111"], ["11111111"], ["11111111"], ["11111111"]],
        {},
        id="crumb-is-of-the-object",
    ),
    pytest.param(
        [["11111111"], ["11111112"], ["11111111"], ["11111111"]],
        [["11111111"], ["11111111"], ["11111111"], ["11111111"]],
        {"repair": False},
        id="crumb-is-attached-without-repair",
    ),
    pytest.param(
        [["11.22"], ["11.22"], ["33333"], ["11.22"]],
        [["11.22"], ["11.22"], ["111??"], ["11.22"]],
        {},
        id="merged-plane-is-split",
    ),
    pytest.param(
        [["1111"], ["1122"], ["1111"], ["1111"]],
        [["1111"], ["1111"], ["1111"], ["1111"]],
        {},
        id="split-plane-is-joined",
    ),
    pytest.param([["..."], ["..."], ["..."]], [["..."], ["..."], ["..."]], {}, id="nothing-at-all"),
]


@pytest.mark.parametrize(("planes", "expected", "changes"), Z_CASES)
def test_sections_get_these_ids(planes, expected, changes):
    found, _ = relabel([plane(*p) for p in planes], "z", LinkParams(**changes))
    for row, wanted in zip(found, expected, strict=True):
        if "?" not in wanted[0]:
            assert row == wanted
            continue
        # the middle pixel lies as near to the one as to the other
        assert set(row[0][:2]) == {"1"}
        assert set(row[0][3:]) == {"2"}


T_CASES = [
    pytest.param(
        [["11......", "22......"], [".11.....", "22......"], ["..11....", "22......"]],
        [["11......", "22......"], [".11.....", "22......"], ["..11....", "22......"]],
        {},
        {},
        id="moves",
    ),
    pytest.param(
        [["1.........."], [".........1."], ["1.........."]],
        [["1.........."], ["..........."], ["1.........."]],
        {},
        {},
        id="too-far-is-another-which-alone-is-dropped",
    ),
    pytest.param(
        [["11", "11"], ["..", ".."], ["11", "11"]],
        [["11", "11"], ["..", ".."], ["11", "11"]],
        {},
        {},
        id="gap-closed",
    ),
    pytest.param(
        [["11", "11"], ["..", ".."], ["11", "11"]],
        [["11", "11"], ["..", ".."], ["22", "22"]],
        {"max_gap": 0},
        {},
        id="gap-not-closed",
    ),
    pytest.param(
        [["......", ".1111.", ".1111."]] * 2 + [["......", "11..22", "11..22"]] * 2,
        [["......", ".1111.", ".1111."]] * 2 + [["......", "22..33", "22..33"]] * 2,
        {},
        {2: (1,), 3: (1,)},
        id="division",
    ),
    pytest.param(
        [["......", ".1111.", ".1111."]] * 2 + [["......", "11..22", "11..22"]] * 2,
        [["......", ".1111.", ".1111."]] * 2 + [["......", "11..22", "11..22"]] * 2,
        {"divisions": False},
        {},
        id="division-not-looked-for",
    ),
    pytest.param(
        [[".11...", ".11..."]] * 2 + [[".11.22", ".11.22"]] * 2,
        [[".11...", ".11..."]] * 2 + [[".11.22", ".11.22"]] * 2,
        {},
        {},
        id="a-neighbour-that-appears-is-no-daughter",
    ),
    pytest.param(
        [["11.22", "11.22"], ["11111", "11111"], ["11.22", "11.22"]],
        [["11.22", "11.22"], ["111??", "111??"], ["11.22", "11.22"]],
        {},
        {},
        id="touching-for-one-frame",
    ),
    pytest.param(
        [["1111.22", "1111.22"]] * 2 + [["1111111", "1111111"]] * 3 + [["1111.22", "1111.22"]] * 2,
        [["1111.22", "1111.22"]] * 2 + [["1111111", "1111111"]] * 3 + [["1111.22", "1111.22"]] * 2,
        {},
        {},
        id="touching-for-three-frames-is-no-division",
    ),
]


@pytest.mark.parametrize(("frames", "expected", "changes", "parents"), T_CASES)
def test_frames_get_these_ids(frames, expected, changes, parents):
    found, linked = relabel([plane(*f) for f in frames], "t", LinkParams(**changes))
    for drawn, wanted in zip(found, expected, strict=True):
        for row, line in zip(drawn, wanted, strict=True):
            assert all(w in ("?", r) for r, w in zip(row, line, strict=True)), (drawn, wanted)
    assert linked.parents == parents


def test_everything_moves_between_frames_without_ids_being_exchanged():
    """Two that follow each other at a distance of one length: nearest neighbours alone would swap them."""
    frames = [plane("1.2...."), plane(".1.2..."), plane("..1.2..")]
    found, _ = relabel(frames, "t")
    assert found == [["1.2...."], [".1.2..."], ["..1.2.."]]


def test_ids_are_numbered_by_first_appearance():
    planes = [plane(".7."), plane("37."), plane("379"), plane("379")]
    assert relabel(planes, "z")[0] == [[".1."], ["21."], ["213"], ["213"]]


@pytest.mark.parametrize("max_gap", [0, 1, 2])
@pytest.mark.parametrize("axis", ["z", "t"])
def test_a_repaired_plane_is_compared_anew_with_all_that_it_was_compared_with(axis, max_gap):
    # what was counted before refers to three pieces, of which one is left
    planes = [plane("111111")] * max_gap + [plane("111111")] * 3 + [plane("112233"), plane("111111")]
    drawn, linked = relabel(planes, axis, LinkParams(max_gap=max_gap))
    assert linked.count == 1
    assert drawn == [["111111"]] * len(planes)


def test_volumes_are_linked_like_frames():
    volume = np.stack([plane("1.2."), plane("1.2.")])
    linked = link_planes([volume, np.roll(volume, 2, axis=2), volume], "t")
    assert linked.count == 2
    again = linked.relabel(1, np.roll(volume, 2, axis=2))
    assert (again == np.roll(linked.relabel(0, volume), 2, axis=2)).all()
    assert linked.table.centers.shape == (6, 3)


def test_provisional_ids_follow_objects_and_lead_to_the_same_final_ones():
    linker = Linker("z")
    planes = [plane(*p) for p in (["11.22"], ["11.22"], ["33333"], ["22.11"], ["....1"])]
    shown = [linker.add(p) for p in planes]
    assert (shown[0] == shown[1]).all()
    linked = linker.finish()
    for k, (given, provisional) in enumerate(zip(planes, shown, strict=True)):
        assert (linked.relabel(k, given) == linked.relabel_provisional(k, provisional)).all()


def test_labels_drawn_meanwhile_are_background_or_kept():
    linker = Linker("z")
    shown = [linker.add(plane("11..")) for _ in range(3)]
    linked = linker.finish()
    painted = shown[1].copy()
    painted[:, -1] = 77
    assert (linked.relabel_provisional(1, painted)[:, -1] == 0).all()
    assert (linked.relabel_provisional(1, painted, keep_unknown=True)[:, -1] == 77).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint64, np.bool_], ids=str)
def test_labels_of_any_integer_type(dtype):
    planes = [plane("11..").astype(dtype)] * 3
    linked = link_planes(planes, "z")
    assert linked.count == 1
    assert (linked.relabel(2, planes[2]) == plane("11..")).all()


def test_huge_labels():
    planes = [plane("12").astype(np.int64) * (1 << 40)] * 2
    linked = link_planes(planes, "t")
    assert (linked.relabel(1, planes[1]) == plane("12")).all()


@pytest.mark.parametrize("axis", ["z", "t"])
@pytest.mark.parametrize("count", [0, 1])
def test_stacks_of_no_or_one_plane(axis, count):
    linked = link_planes([plane("1.2")] * count, axis)
    assert len(linked) == count
    assert linked.count == 2 * count


@pytest.mark.parametrize(
    ("planes", "message"),
    [
        pytest.param([np.zeros((3, 3))], "Expected labels of 0 or more, got float64", id="float"),
        pytest.param([np.full((3, 3), -1)], "Expected labels of 0 or more", id="negative"),
        pytest.param([plane("1"), plane("11")], "Expected planes of one shape", id="shapes"),
    ],
)
def test_what_are_no_labels_is_refused(planes, message):
    with pytest.raises(ImageError, match=message):
        link_planes(planes, "z")


def test_axis_is_z_or_t():
    with pytest.raises(SamError, match=r"Expected axis 'z'.* or 't'.*, got 'x'"):
        link_planes([plane("1")], "x")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"min_overlap": 0}, id="overlap"),
        pytest.param({"max_gap": -1}, id="gap"),
        pytest.param({"max_gap": True}, id="gap-is-no-number"),
        pytest.param({"min_planes": 0}, id="planes"),
        pytest.param({"max_distance": float("inf")}, id="distance"),
        pytest.param({"max_area_change": 1}, id="change"),
        pytest.param({"split_factor": float("nan")}, id="factor"),
    ],
)
def test_impossible_thresholds(changes):
    with pytest.raises(SamError, match=f"Expected {next(iter(changes))} "):
        LinkParams(**changes)

"""The engine with a predictor whose answers are in the image: a plane's pixels are the ids of its objects."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest

from napari_sam.errors import ImageError, PromptError
from napari_sam.stacks.propagation import Anchor, PropagationParams, iter_propagate
from napari_sam.types import ObjectMask, Prompts

SHAPE = (24, 40)


def number_of(plane: Any) -> int:
    return -1 - int(plane[-1, -1])


class Reader:
    """Answers with the object whose id is under the first positive point; others' pixels are no part of it.

    A negative point takes its own row away. The score of an object of id ``k`` is ``scores[k]``.
    """

    def __init__(self, **scores: float) -> None:
        self.scores = {int(key[1:]): value for key, value in scores.items()}
        self.calls: list[tuple[int, list[Prompts]]] = []
        self.grow = 0

    def predict_many(self, image: Any, prompts: Any) -> list[ObjectMask]:
        pixels = np.asarray(image)
        self.calls.append((number_of(pixels), list(prompts)))
        return [self._answer(pixels, p) for p in prompts]

    def _answer(self, pixels: Any, prompts: Prompts) -> ObjectMask:
        row, col = prompts.points[prompts.labels == 1][0].astype(int)
        key = int(pixels[row, col])
        mask = (pixels == key) if key > 0 else np.zeros(pixels.shape, bool)
        for row, _ in prompts.points[prompts.labels == 0].astype(int):
            mask[row] = False
        return ObjectMask.from_plane(mask, predicted_iou=self.scores.get(key, 0.9))

    @property
    def planes(self) -> list[int]:
        """Numbers of the planes that were asked about, in order."""
        return [plane for plane, _ in self.calls]


def block(plane: np.ndarray, key: int, row: int, col: int, height: int = 6, width: int = 6) -> None:
    plane[row : row + height, col : col + width] = key


def make_stack(count: int = 8) -> np.ndarray:
    """Object 1 through all planes, its last pixel telling the plane's number as a negative id."""
    stack = np.zeros((count, *SHAPE), np.int32)
    for k, plane in enumerate(stack):
        block(plane, 1, 6, 6)
        plane[-1, -1] = -1 - k
    return stack


def click(plane: int, row: float = 8, col: float = 8) -> Anchor:
    return Anchor(plane, prompts=Prompts([(row, col)]))


def run(stack: Any, reader: Reader, objects: Any, **options: Any) -> tuple[dict[int, Any], list[Any]]:
    job = iter_propagate(list(stack), reader, objects, **options)
    steps = []
    while True:
        try:
            steps.append(next(job))
        except StopIteration as stop:
            return stop.value, steps


def areas(found: Any, key: int = 1) -> dict[int, int]:
    return {plane: result.area for plane, result in found.get(key, {}).items() if result.mask is not None}


def flags(found: Any, key: int = 1) -> dict[int, str]:
    return {plane: result.flag for plane, result in found[key].items() if result.flag}


@pytest.mark.parametrize(
    ("options", "planes"),
    [
        pytest.param({}, range(8), id="both"),
        pytest.param({"direction": "forward"}, range(3, 8), id="forward"),
        pytest.param({"direction": "backward"}, range(4), id="backward"),
        pytest.param({"first": 2, "last": 5}, range(2, 6), id="range"),
    ],
)
def test_an_object_is_followed(options, planes):
    found, steps = run(make_stack(), Reader(), {1: [click(3)]}, params=PropagationParams(**options))
    assert areas(found) == dict.fromkeys(planes, 36)
    assert flags(found) == {}
    assert [found[1][p].is_anchor for p in planes] == [p == 3 for p in planes]
    assert steps[-1].done == steps[-1].total == len(planes)
    told = [result.plane for step in steps for result in step.partial]
    assert sorted(told) == list(planes)


def test_every_plane_is_asked_once_about_all_objects():
    stack = make_stack()
    for plane in stack:
        block(plane, 2, 6, 20)
        block(plane, 3, 14, 30)
    reader = Reader()
    found, _ = run(stack, reader, {1: [click(2)], 2: [click(2, 8, 22)], 3: [click(2, 16, 32)]})
    assert [areas(found, key) for key in (1, 2, 3)] == [dict.fromkeys(range(8), 36)] * 3
    assert reader.planes == [2, 3, 4, 5, 6, 7, 1, 0]
    assert [len(prompts) for _, prompts in reader.calls] == [3] * 8


def test_stops_are_not_entered():
    found, _ = run(make_stack(), Reader(), {1: [click(3)]}, stops={1: [6, 0]})
    assert list(areas(found)) == [1, 2, 3, 4, 5]


def make_jump(kind: str) -> np.ndarray:
    """Something happens to object 1 in plane 5."""
    stack = make_stack()
    for plane in stack[5:]:
        plane[:12, :16] = 0
        if kind == "area":
            block(plane, 1, 0, 0, 12, 16)
        elif kind == "overlap":
            block(plane, 1, 6, 8)
            plane[6:12, 8:9] = 0
            plane[8, 8] = 1
            block(plane, 1, 6, 14, 6, 6)
        elif kind == "shrunk":
            block(plane, 1, 8, 8, 2, 2)
    return stack


@pytest.mark.parametrize(
    ("stack", "scores", "flag"),
    [
        pytest.param(make_jump("area"), {}, "area", id="grows"),
        pytest.param(make_jump("shrunk"), {}, "area", id="shrinks"),
        pytest.param(make_jump("gone"), {}, "lost", id="gone"),
        pytest.param(make_stack(), {"_1": 0.2}, "score", id="unlikely"),
    ],
)
def test_it_ends_at_jumps_and_says_why(stack, scores, flag):
    found, _ = run(stack, Reader(**scores), {1: [click(3)]}, params=PropagationParams(direction="forward"))
    end = 4 if flag == "score" else 5
    assert list(areas(found)) == list(range(3, end))
    assert flags(found) == {end: flag}
    assert found[1][end].mask is None


def test_it_ends_where_the_masks_hardly_overlap():
    class Slider(Reader):
        def predict_many(self, image, prompts):
            self.calls.append((number_of(image), list(prompts)))
            step = 5 if number_of(image) == 5 else 1
            moved = [
                p.mask.shifted(0, step) if p.mask else ObjectMask(np.ones((6, 6), bool), (6, 6))
                for p in prompts
            ]
            return moved  # fmt: skip

    found, _ = run(make_stack(), Slider(), {1: [click(3)]}, params=PropagationParams(direction="forward"))
    assert list(areas(found)) == [3, 4]
    assert found[1][4].overlap == pytest.approx(30 / 36)
    assert flags(found) == {5: "overlap"}
    assert found[1][5].overlap == pytest.approx(6 / 36)


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        pytest.param("area", {"max_area_change": 8.0, "doubt": 0.0}, id="limit-raised"),
        pytest.param("area", {"stop_at_jumps": False}, id="stops-off"),
    ],
)
def test_the_thresholds_decide(kind, params):
    found, _ = run(make_jump(kind), Reader(), {1: [click(3)]}, params=PropagationParams(**params))
    assert list(areas(found)) == list(range(8))
    assert flags(found) == ({} if "doubt" in params else {5: "area"})
    assert found[1][5].area_ratio == pytest.approx(192 / 36)


def test_what_is_doubtful_is_flagged_and_kept():
    stack = make_stack()
    for plane in stack[5:]:
        block(plane, 1, 6, 6, 6, 12)  # twice as large
    found, _ = run(stack, Reader(), {1: [click(3)]})
    assert list(areas(found)) == list(range(8))
    assert flags(found) == {5: "area"}
    assert found[1][5].area_ratio == 2
    assert found[1][5].overlap == 1


# ------------------------------------------------------------------ several anchors
def make_two_halves() -> np.ndarray:
    """Object 1 is six wide up to plane 3 and eight wide from there on."""
    stack = make_stack()
    for plane in stack[4:]:
        block(plane, 1, 6, 6, 6, 8)
    return stack


class Repeater(Reader):
    """Answers with the mask that it is given: what follows from an anchor looks like it."""

    def _answer(self, pixels: Any, prompts: Prompts) -> ObjectMask:
        return super()._answer(pixels, prompts) if prompts.mask is None else prompts.mask


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        pytest.param("nearest", [36, 36, 36, 36, 48, 48, 48, 48], id="nearest"),
        pytest.param("blend", [36, 36, 36, 36, 42, 42, 48, 48], id="blend"),
    ],
)
def test_between_two_anchors(between, expected):
    params = PropagationParams(between=between)
    found, _ = run(make_two_halves(), Repeater(), {1: [click(0), click(7)]}, params=params)
    assert list(areas(found)) == list(range(8))
    if between == "nearest":
        assert list(areas(found).values()) == expected
    else:
        widths = list(areas(found).values())
        assert widths[0] == 36
        assert widths[-1] == 48
        assert widths == sorted(widths)
        assert 36 < widths[4] <= 48


def test_where_one_half_ends_early_the_other_goes_on_until_they_meet():
    stack = make_stack()
    block(stack[2], 0, 6, 6)  # nothing there: what comes from plane 0 ends
    found, _ = run(stack, Reader(), {1: [click(0), click(7)]})
    assert list(areas(found)) == [0, 1, 3, 4, 5, 6, 7]
    assert flags(found) == {2: "lost"}


def test_a_stop_between_anchors_parts_them():
    reader = Reader()
    found, _ = run(make_stack(), reader, {1: [click(0), click(7)]}, stops={1: [5]})
    assert list(areas(found)) == [0, 1, 2, 3, 4, 6, 7]
    assert 5 not in reader.planes


def test_corrected_planes_are_never_changed():
    drawn = ObjectMask(np.ones((2, 2), bool), (8, 8))
    params = PropagationParams(stop_at_jumps=False)
    found, _ = run(make_stack(), Reader(), {1: [click(0)]}, fixed={1: {4: drawn}}, params=params)
    assert found[1][4].mask is drawn
    assert found[1][4].is_anchor
    assert list(areas(found)) == list(range(8))


def test_an_empty_corrected_plane_is_a_stop():
    nothing = ObjectMask(np.zeros((0, 0), bool), (0, 0))
    found, _ = run(make_stack(), Reader(), {1: [click(0)]}, fixed={1: {4: nothing}})
    assert list(areas(found)) == [0, 1, 2, 3]


# ------------------------------------------------------------------ many objects
def test_objects_do_not_share_pixels_and_the_better_one_keeps_them():
    stack = make_stack(4)
    for plane in stack:
        block(plane, 2, 6, 12)

    class Greedy(Reader):
        """Both objects reach two columns into the other."""

        def _answer(self, pixels, prompts):
            mask = super()._answer(pixels, prompts)
            r0, c0, r1, c1 = mask.box
            return ObjectMask(np.ones((r1 - r0, c1 - c0 + 4), bool), (r0, c0 - 2), mask.predicted_iou)

    said = {1: [click(0)], 2: [click(0, 8, 15)]}
    found, _ = run(stack, Greedy(_1=0.8, _2=0.9), said, params=PropagationParams(direction="forward"))
    for plane in (1, 2, 3):
        one, two = found[1][plane].mask, found[2][plane].mask
        assert one.intersection(two) == 0
        assert two.box[1] == 10  # all of it


def test_what_came_first_loses_to_the_better_that_comes_later():
    """Object 1 is followed forward, the better object 2 backward over the same planes."""
    stack = make_stack(4)
    for plane in stack:
        block(plane, 2, 6, 12)

    class Wide(Reader):
        def _answer(self, pixels, prompts):
            mask = super()._answer(pixels, prompts)
            r0, c0, r1, c1 = mask.box
            return mask if mask.predicted_iou > 0.85 else ObjectMask(
                np.ones((r1 - r0, c1 - c0 + 3), bool), (r0, c0), mask.predicted_iou
            )  # fmt: skip

    found, steps = run(stack, Wide(_1=0.8, _2=0.9), {1: [click(0)], 2: [click(3, 8, 14)]})
    assert found[1][2].area == 36
    told = [r.area for step in steps for r in step.partial if (r.id, r.plane) == (1, 2)]
    assert told == [54, 36]


# ------------------------------------------------------------------ again
def before_of(found: Any) -> dict[int, dict[int, ObjectMask]]:
    return {
        key: {p: r.mask for p, r in planes.items() if r.mask is not None} for key, planes in found.items()
    }


def test_a_negative_prompt_reruns_only_what_follows_from_its_plane():
    stack, reader = make_stack(), Reader()
    first, _ = run(stack, reader, {1: [click(2)]})
    reader.calls.clear()
    hint = Anchor(5, prompts=Prompts([(11, 8)], [0]))
    found, steps = run(
        stack, reader, {1: [click(2), hint]}, before=before_of(first), changed={1: [5]}
    )  # fmt: skip
    assert reader.planes == [5, 6]  # plane 6 comes out as before, so do those after it
    assert areas(found) == {5: 30, 6: 36}
    assert steps[0].total == 3


def test_nothing_changed_nothing_is_asked():
    stack, reader = make_stack(), Reader()
    first, _ = run(stack, reader, {1: [click(2)]})
    reader.calls.clear()
    found, steps = run(stack, reader, {1: [click(2)]}, before=before_of(first), changed={})
    assert (reader.calls, found, steps) == ([], {}, [])


def test_a_corrected_plane_reruns_both_sides_of_it():
    stack, reader = make_stack(), Reader()
    first, _ = run(stack, reader, {1: [click(0)]})
    reader.calls.clear()
    drawn = ObjectMask(np.ones((5, 6), bool), (6, 6))
    found, _ = run(
        stack, reader, {1: [click(0)]}, fixed={1: {5: drawn}}, before=before_of(first), changed={1: [5]}
    )  # fmt: skip
    assert sorted(set(reader.planes)) == [3, 4, 6, 7]
    assert found[1][5].mask is drawn


def test_a_stop_takes_back_what_lies_beyond_it():
    stack, reader = make_stack(), Reader()
    first, _ = run(stack, reader, {1: [click(2)]})
    reader.calls.clear()
    found, _ = run(stack, reader, {1: [click(2)]}, stops={1: [5]}, before=before_of(first), changed={1: [5]})
    assert reader.calls == []
    assert {p: r.mask for p, r in found[1].items()} == {5: None, 6: None, 7: None}


def test_an_object_that_now_ends_earlier_is_taken_back_from_there():
    stack, reader = make_stack(), Reader()
    first, _ = run(stack, reader, {1: [click(2)]})
    rows = [(row, 8) for row in range(6, 12)]
    hint = Anchor(5, prompts=Prompts(rows, [0] * 6))  # not there at all
    found, _ = run(stack, reader, {1: [click(2), hint]}, before=before_of(first), changed={1: [5]})
    assert {p: r.mask for p, r in found[1].items()} == {5: None, 6: None, 7: None}
    assert flags(found) == {5: "lost"}


# ------------------------------------------------------------------ as a job
def test_cancelled_it_has_told_what_is_done():
    reader = Reader()
    job = iter_propagate(list(make_stack()), reader, {1: [click(2)]})
    told = [result.plane for _ in range(3) for result in next(job).partial]
    job.close()
    assert told == [2, 3, 4]
    assert reader.planes == [2, 3, 4]


class Lazy:
    """A stack that makes its planes when they are asked for, and knows how many are still held."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.alive: list[weakref.ref[Any]] = []
        self.read = 0
        self.most = 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, k: int) -> Any:
        plane = make_stack(1)[0].copy()
        plane[-1, -1] = -1 - k
        self.alive = [ref for ref in self.alive if ref() is not None] + [weakref.ref(plane)]
        self.read += 1
        self.most = max(self.most, len(self.alive))
        return plane


def test_a_long_stack_is_read_a_plane_at_a_time():
    lazy = Lazy(300)
    job = iter_propagate(lazy, Reader(), {1: [click(150)]})
    found = sum(len(step.partial) for step in job)
    assert found == 300
    assert lazy.read == 302  # the clicked plane once more in each direction, to compare with
    assert lazy.most <= 2


@pytest.mark.parametrize(
    ("objects", "error"),
    [
        pytest.param({}, PromptError, id="no-object"),
        pytest.param({1: [click(8)]}, PromptError, id="no-such-plane"),
    ],
)
def test_bad_requests(objects, error):
    with pytest.raises(error):
        next(iter_propagate(list(make_stack()), Reader(), objects))


def test_a_plane_that_is_none():
    stack = [*make_stack(4), np.zeros((2, 2, 2, 2))]
    with pytest.raises(ImageError, match="plane"):
        list(iter_propagate(stack, Reader(), {1: [click(0)]}))


def test_an_anchor_without_an_answer_is_told():
    found, _ = run(make_stack(), Reader(), {1: [click(3, 0, 0)]})
    assert flags(found) == {3: "lost"}
    assert areas(found) == {}


def test_motion_follows_what_moves_further_than_its_size():
    stack = np.zeros((7, 24, 90), np.int32)
    start = 3
    for k, step in enumerate([0, 2, 4, 6, 8, 8, 8]):
        start += step
        block(stack[k], 1, 6, start)
        stack[k][-1, -1] = -1 - k
    ends = {}
    for motion in (False, True):
        params = PropagationParams(motion=motion, min_overlap=0.3)
        found, _ = run(stack, Reader(), {1: [click(0, 8, 5)]}, params=params)
        ends[motion] = max(areas(found))
    assert ends == {False: 1, True: 6}

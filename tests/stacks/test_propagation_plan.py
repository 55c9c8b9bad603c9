from __future__ import annotations

import pytest

from napari_sam.errors import PromptError
from napari_sam.inference.propagation_values import Anchor, PropagationParams, read_kinds
from napari_sam.stacks.known_objects import read_known
from napari_sam.stacks.propagation_plan import plan_chains
from napari_sam.types import ObjectMask, Prompts

CLICK = Prompts([(1, 1)])


@pytest.mark.parametrize(
    ("anchors", "stops", "options", "expected"),
    [
        pytest.param([2], [], {}, {(2, 1): [3, 4, 5], (2, -1): [1, 0]}, id="one-both-ways"),
        pytest.param([2], [], {"direction": "forward"}, {(2, 1): [3, 4, 5]}, id="forward"),
        pytest.param([2], [], {"direction": "backward"}, {(2, -1): [1, 0]}, id="backward"),
        pytest.param([0], [], {}, {(0, 1): [1, 2, 3, 4, 5]}, id="at-the-first-plane"),
        pytest.param([5], [], {}, {(5, -1): [4, 3, 2, 1, 0]}, id="at-the-last-plane"),
        pytest.param(
            [0, 5], [], {}, {(0, 1): [1, 2], (5, -1): [4, 3]}, id="even-gap-meets-in-the-middle"
        ),
        pytest.param([0, 4], [], {"last": 4}, {(0, 1): [1, 2], (4, -1): [3]}, id="middle-goes-to-the-lower"),
        pytest.param(
            [0, 5], [], {"meet": False}, {(0, 1): [1, 2, 3, 4], (5, -1): [4, 3, 2, 1]}, id="through"
        ),
        pytest.param([2, 3], [], {}, {(2, -1): [1, 0], (3, 1): [4, 5]}, id="neighbours"),
        pytest.param([2], [4], {}, {(2, 1): [3], (2, -1): [1, 0]}, id="stop"),
        pytest.param([2], [3, 1], {}, {}, id="stops-on-both-sides"),
        pytest.param([2], [2], {}, {(2, 1): [3, 4, 5], (2, -1): [1, 0]}, id="a-stop-on-the-anchor-is-none"),
        pytest.param(
            [0, 5], [1], {}, {(5, -1): [4, 3, 2]}, id="stop-between-each-side-goes-up-to-it"
        ),
        pytest.param([0, 5], [], {"direction": "forward"}, {(0, 1): [1, 2, 3, 4]}, id="forward-to-the-next"),
        pytest.param([2], [], {"first": 1, "last": 3}, {(2, 1): [3], (2, -1): [1]}, id="range"),
        pytest.param([0], [], {"first": 2, "last": 3}, {}, id="range-away-from-the-anchor"),
    ],
)  # fmt: skip
def test_chains(anchors, stops, options, expected):
    options = {"first": 0, "last": 5} | options
    chains = plan_chains(7, anchors, stops, **options)
    assert {(c.source, c.step): list(c.planes) for c in chains} == expected
    assert {c.object_id for c in chains} <= {7}


def _mask(area: int = 1) -> ObjectMask:
    import numpy as np

    return (
        ObjectMask(np.ones((1, area), bool), (0, 0)) if area else ObjectMask(np.zeros((0, 0), bool), (0, 0))
    )


def test_what_is_known_is_sorted():
    hint = Prompts([(2, 2)], [0])
    known = read_known(
        9,
        {1: [Anchor(3, prompts=CLICK), Anchor(4, prompts=hint), Anchor(5, _mask(0)), Anchor(6, _mask())]},
        {1: [8]},
        {1: {3: _mask(2), 7: _mask(0)}, 2: {0: _mask()}},
    )
    assert sorted(known) == [1, 2]
    assert sorted(known[1].anchors) == [3, 6]
    assert known[1].anchors[3].mask is not None, "a corrected plane beats the click in it"
    assert known[1].hints == {4: hint}
    assert known[1].stops == {5, 7, 8}


@pytest.mark.parametrize(
    ("objects", "stops", "message"),
    [
        pytest.param({}, {}, "Expected an object to follow", id="nothing"),
        pytest.param({4: [Anchor(9, _mask())]}, {}, "planes 0 to 8, got plane 9 for object 4", id="beyond"),
        pytest.param({4: [Anchor(-1, _mask())]}, {}, "got plane -1", id="before"),
        pytest.param({4: [Anchor(1, _mask())]}, {4: [12]}, "got plane 12", id="stop-beyond"),
        pytest.param(
            {4: [Anchor(1, prompts=Prompts([(0, 0)], [0]))]}, {}, "object 4 is known", id="only-negative"
        ),
        pytest.param({4: [Anchor(1, _mask(0))]}, {}, "object 4 is known", id="only-absent"),
    ],
)
def test_what_cannot_be_followed(objects, stops, message):
    with pytest.raises(PromptError, match=message):
        read_known(9, objects, stops, {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": "mask+circle"}, "circle"),
        ({"prompts": "mask+logits"}, "logits hold the mask"),
        ({"prompts": ""}, "joined by"),
        ({"min_overlap": 1.5}, "min_overlap"),
        ({"min_score": -0.1}, "min_score"),
        ({"doubt": float("nan")}, "doubt"),
        ({"max_area_change": 0.5}, "max_area_change"),
        ({"max_area_change": float("nan")}, "max_area_change"),
        ({"margin": -1.0}, "margin"),
        ({"direction": "up"}, "direction"),
        ({"between": "mean"}, "between"),
        ({"first": 3, "last": 2}, "first <= last"),
    ],
    ids=str,
)
def test_impossible_params(changes, message):
    from napari_sam.errors import SamError

    with pytest.raises(SamError, match=message):
        PropagationParams(**changes)


def test_kinds_are_read():
    assert read_kinds("point + logits") == {"logits", "point"}


def test_an_anchor_says_something():
    with pytest.raises(PromptError, match="neither"):
        Anchor(3, prompts=Prompts())

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.session.drawing import Drawing, Shape, label_shape
from napari_sam.session.prompt_checks import extends_prompts
from napari_sam.session.prompt_state import PromptState
from napari_sam.session.requests import ModelChoice, ObjectRef
from napari_sam.types import ObjectMask, Prompts

if TYPE_CHECKING:
    from conftest import World

A, B = (10.0, 10.0), (40.0, 40.0)
SQUARE = ObjectMask(np.ones((6, 6), bool), (20, 20))
AREAS = [29, 73, 133]  # a disc of radius 3, and what scipy dilates it to in two and in four steps


@pytest.fixture
def ambiguous(world: World) -> World:
    world.engine.alternatives = 2
    return world


def shown(world: World) -> int | None:
    preview = world.session.preview
    return None if preview is None else preview.mask.area


def refine(world: World, drawing: Drawing | None = None, mask: ObjectMask = SQUARE) -> None:
    drawing = drawing or Drawing(shapes=(label_shape(mask),))
    world.sink.layer.data[mask.slices] = 7
    world.sink.layer.largest = 7
    ref = ObjectRef("layer", 7, mask)
    plane = world.session.plane
    prompts = drawing.to_prompts(plane.shape)
    world.session.prompting.refine(PromptState(plane, prompts, mask, ref, drawing=drawing), "object 7")


# ------------------------------------------------------------------ masks to choose from
def test_the_masks_of_an_answer_are_gone_through_and_round_again(ambiguous: World) -> None:
    world = ambiguous
    world.session.set_prompts(Prompts(points=[A]))
    areas = [shown(world)]
    for by in (1, 1, 1, -1):
        world.session.prompting.choose_candidate(by)
        areas.append(shown(world))
    assert areas == [29, *AREAS[1:], 29, AREAS[2]]
    assert "mask 3 of 3, predicted IoU 0.70" in world.status[-1]


def test_the_chosen_mask_is_what_accept_writes_and_its_choice_is_a_step(ambiguous: World) -> None:
    world = ambiguous
    world.session.set_prompts(Prompts(points=[A]))
    world.session.prompting.choose_candidate()
    world.session.undo()
    assert shown(world) == AREAS[0]
    world.session.redo()
    assert shown(world) == AREAS[1]
    world.session.accept()
    assert np.count_nonzero(world.sink.layer.data) == AREAS[1]


def test_the_chosen_mask_is_what_the_next_correction_feeds_back(ambiguous: World) -> None:
    world = ambiguous
    world.session.set_prompts(Prompts(points=[A]))
    world.session.prompting.choose_candidate(2)
    chosen = world.session.preview.mask
    world.session.set_prompts(Prompts(points=[A, B], labels=[1, 0]))
    assert world.engine.asked[-1].mask is chosen
    assert world.session.prompting.state.choice == 0


@pytest.mark.parametrize(
    ("prompts", "words"),
    [(Prompts(), "click on an object first"), (Prompts(points=[A]), "one object only")],
    ids=["nothing in hand", "one mask"],
)
def test_without_a_choice_it_is_said(world: World, prompts: Prompts, words: str) -> None:
    world.session.set_prompts(prompts)
    depth = world.session.history.depth
    world.session.prompting.choose_candidate()
    assert words in world.status[-1]
    assert world.session.history.depth == depth


# ------------------------------------------------------------------ refining
def test_a_refined_object_is_shown_as_it_is_and_nothing_is_asked(world: World) -> None:
    asked = len(world.engine.asked)
    refine(world)
    assert shown(world) == 36
    assert len(world.engine.asked) == asked
    assert world.restored[-1].drawing.shapes[0].mask is SQUARE
    assert world.session.history.undo_title == "refine object 7"
    world.session.undo()
    assert shown(world) is None


def test_a_correction_starts_from_the_label_and_rewrites_its_id(world: World) -> None:
    refine(world)
    drawing = Drawing(np.array([B], np.float32), np.array([1], np.int8), (label_shape(SQUARE),))
    world.session.set_prompts(drawing.to_prompts((64, 64)), drawing)
    asked = world.engine.asked[-1]
    assert asked.mask is SQUARE
    assert asked.points.tolist() == [list(B)]
    world.session.accept()
    written = ObjectMask.from_plane(world.sink.layer.data == 7)
    assert world.sink.labels == [7]
    assert written.mask[-1, -1] or written.area > 36  # what the model answered, not the old square
    world.session.undo()
    assert ObjectMask.from_plane(world.sink.layer.data == 7).box == SQUARE.box


def test_without_corrections_left_the_label_is_shown_again(world: World) -> None:
    refine(world)
    seed = label_shape(SQUARE)
    drawing = Drawing(np.array([B], np.float32), np.array([1], np.int8), (seed,))
    world.session.set_prompts(drawing.to_prompts((64, 64)), drawing)
    assert shown(world) != 36
    alone = Drawing(shapes=(seed,))
    world.session.set_prompts(alone.to_prompts((64, 64)), alone)
    assert shown(world) == 36


def test_clearing_lets_go_of_the_object(world: World) -> None:
    refine(world)
    world.session.clear()
    world.session.set_prompts(Prompts(points=[A]))
    world.session.accept()
    assert world.sink.labels == [7, 8]


# ------------------------------------------------------------------ drawings and planes
def test_undo_brings_the_drawing_back_as_it_was(world: World) -> None:
    path = Shape("path", np.array([(10, 5), (10, 15)], float))
    drawing = Drawing(shapes=(path,))
    world.session.set_prompts(drawing.to_prompts((64, 64)), drawing)
    world.session.clear()
    world.session.undo()
    assert world.restored[-1].drawing is drawing


def test_an_object_begun_on_a_plane_is_there_when_one_comes_back(world: World) -> None:
    world.session.show_plane(world.plane(0))
    world.session.set_prompts(Prompts(points=[A]))
    first = world.session.prompting.state
    asked = len(world.engine.asked)
    world.session.show_plane(world.plane(1))
    assert shown(world) is None
    world.session.show_plane(world.plane(0), Prompts(points=[A]))
    assert world.session.prompting.state is first
    assert len(world.engine.asked) == asked
    world.session.show_plane(world.plane(1))
    world.session.show_plane(world.plane(0), Prompts(points=[B]))  # the layer was changed meanwhile
    assert world.session.prompting.state is not first


def test_another_model_leaves_an_untouched_label_as_it_is(world: World) -> None:
    refine(world)
    asked = len(world.engine.asked)
    world.session.set_model(ModelChoice("vit_t"))
    assert shown(world) == 36
    assert len(world.engine.asked) == asked


def test_an_object_of_another_plane_keeps_its_id_through_a_change_of_model(stack: World) -> None:
    world = stack
    mask, plane = SQUARE, world.session.plane
    world.sink.layer.data[0][mask.slices] = 7
    drawing = Drawing(shapes=(label_shape(mask),))
    prompts = drawing.to_prompts(plane.shape)
    ref = ObjectRef("layer", 7, mask)
    world.session.prompting.refine(PromptState(plane, prompts, mask, ref, drawing=drawing))
    world.session.show_plane(world.plane(1))
    world.session.set_model(ModelChoice("vit_t"))
    world.session.show_plane(world.plane(0), prompts, drawing)
    assert shown(world) == 36
    more = drawing.joined(Drawing(np.array([B], np.float32), np.array([1], np.int8)))
    world.session.set_prompts(more.to_prompts(plane.shape), more)
    world.session.accept()
    assert world.sink.labels == [7]


def points(*rows: tuple[float, float, int], box: Any = None, mask: Any = None) -> Prompts:
    return Prompts([row[:2] for row in rows], [row[2] for row in rows], box, mask)


@pytest.mark.parametrize(
    ("old", "new", "extends"),
    [
        pytest.param(points((1, 1, 1)), points((1, 1, 1), (2, 2, 0)), True, id="one more"),
        pytest.param(points((1, 1, 1)), points((2, 2, 0), (1, 1, 1)), True, id="a click before a scribble"),
        pytest.param(points((1, 1, 1)), points((1, 1, 0), (2, 2, 1)), False, id="another label"),
        pytest.param(points((1, 1, 1), (1, 1, 1)), points((1, 1, 1), (2, 2, 1), (3, 3, 1)), False, id="less"),
        pytest.param(points(), points((2, 2, 1)), False, id="the first"),
        pytest.param(points(box=(1, 1, 5, 5)), points((2, 2, 0), box=(1, 1, 5, 5)), True, id="a box first"),
        pytest.param(points(box=(1, 1, 5, 5)), points((2, 2, 0), box=(1, 1, 6, 5)), False, id="another box"),
        pytest.param(
            points(box=(19, 19, 26, 26), mask=SQUARE),
            points((30, 22, 1), box=(19, 19, 31, 26), mask=SQUARE),
            True,
            id="the box of a rough mask grew with the click",
        ),
        pytest.param(points(mask=SQUARE), points((2, 2, 1)), False, id="the mask is gone"),
    ],
)  # fmt: skip
def test_what_is_a_correction(old: Prompts, new: Prompts, extends: bool) -> None:
    assert extends_prompts(new, old) is extends

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.errors import ImageError, PromptError, SamError
from napari_sam.session.provenance import ObjectRecord
from napari_sam.types import ObjectMask, Prompts

if TYPE_CHECKING:
    from conftest import World

HERE = (None, None)


@pytest.fixture
def desk(world: World) -> World:
    """Objects 1 (4 x 4, a hole), 2 (beside it), 3 (two parts)."""
    data = world.sink.layer.data
    data[10:14, 10:14] = 1
    data[11, 11] = 0
    data[10:14, 14:20] = 2
    data[30:36, 30:36] = 3
    data[40, 40] = 3
    world.sink.layer.largest = 3
    world.session.book.change("layer", 1, [record(1)])
    world.session.book.change("layer", 2, [record(2)])
    return world


def record(label: int, **options: Any) -> ObjectRecord:
    mask = ObjectMask(np.ones((2, 2), bool), (0, 0))
    return ObjectRecord.of_mask(label, HERE, mask, prompts=Prompts([(1, 1)]), **options)


def undo_and_redo(world: World, before: Any) -> None:
    """One undo gives ``before`` back, with the records; one redo what was there."""
    after, records = world.sink.layer.data.copy(), dict(world.session.book._pages.get("layer", {}))
    world.session.undo()
    np.testing.assert_array_equal(world.sink.layer.data, before)
    world.session.redo()
    np.testing.assert_array_equal(world.sink.layer.data, after)
    assert world.session.book._pages.get("layer", {}) == records


def test_delete(desk: World) -> None:
    before, book = desk.sink.layer.data.copy(), desk.session.book
    first = book.get("layer", 1)
    edit = desk.session.editing.delete("layer", HERE, [1, 3])
    assert desk.sink.labels == [2]
    assert edit.title == "delete objects 1 and 3"
    assert book.get("layer", 1) == ()
    undo_and_redo(desk, before)
    desk.session.undo()
    assert book.get("layer", 1) == first


def test_merge_keeps_the_first_id_and_its_prompts(desk: World) -> None:
    before, book = desk.sink.layer.data.copy(), desk.session.book
    desk.session.editing.merge("layer", HERE, [2, 1])
    assert desk.sink.labels == [2, 3]
    assert desk.sink.mask(2).sum() == 15 + 24
    (known,) = book.get("layer", 2)
    assert (known.source, known.area, known.params["merged"]) == ("edited", 39, [1])
    assert known.prompts.points.tolist() == [[1, 1]]
    assert book.get("layer", 1) == ()
    undo_and_redo(desk, before)


def test_merging_with_what_is_not_there_changes_nothing(desk: World) -> None:
    edit = desk.session.editing.merge("layer", HERE, [2, 77])
    assert edit.is_empty
    assert desk.status[-1] == "Nothing changed: the others are not in this plane."
    assert desk.session.book.get("layer", 2)[0].source == "prompts"


def test_split_gives_the_smaller_half_the_next_id(desk: World) -> None:
    before = desk.sink.layer.data.copy()
    desk.session.editing.split("layer", HERE, 2, ((11, 14), (11, 17)))
    assert desk.sink.labels == [1, 2, 3, 4]
    assert desk.sink.mask(2).sum() + desk.sink.mask(4).sum() == 24
    assert desk.sink.mask(2).sum() > desk.sink.mask(4).sum() > 0
    assert [r.params.get("of") for r in desk.session.book.get("layer", 4)] == [2]
    undo_and_redo(desk, before)
    desk.session.undo()
    assert desk.sink.layer.next_label(HERE) == 4  # the id is free again


@pytest.mark.parametrize(
    ("tool", "label", "area"),
    [
        pytest.param("fill_holes", 1, 16, id="fill holes"),
        pytest.param("keep_largest", 3, 36, id="keep the largest part"),
    ],
)
def test_tools_on_one_object(desk: World, tool: str, label: int, area: int) -> None:
    before = desk.sink.layer.data.copy()
    edit = getattr(desk.session.editing, tool)("layer", HERE, label)
    assert desk.sink.mask(label).sum() == area
    assert edit.labels == {label}
    others = (before != label) & (before != 0)
    np.testing.assert_array_equal(desk.sink.layer.data[others], before[others])
    undo_and_redo(desk, before)


def test_filling_holes_spares_an_object_inside(desk: World) -> None:
    desk.sink.layer.data[11, 11] = 9
    edit = desk.session.editing.fill_holes("layer", HERE, 1)
    assert edit.is_empty
    assert not desk.session.history.can_undo
    assert desk.status[-1] == "Nothing changed: it has no holes."


def test_remove_small_takes_all_small_objects_of_the_plane(desk: World) -> None:
    before = desk.sink.layer.data.copy()
    desk.session.editing.remove_small("layer", HERE, 20)
    assert desk.sink.labels == [2, 3]
    assert desk.status[-1] == "Removed 1 object under 20 pixels."
    undo_and_redo(desk, before)


def test_an_edit_reads_and_writes_boxes_only(desk: World) -> None:
    desk.sink.layer.pixels_read = desk.sink.layer.pixels_written = 0
    desk.session.editing.delete("layer", HERE, [1])
    assert desk.sink.layer.pixels_written == 15
    assert desk.sink.layer.pixels_read <= 5 * 16


def test_delete_and_merge_in_all_planes(stack: World) -> None:
    data, editing = stack.sink.layer.data, stack.session.editing
    data[:, 10:14, 10:14] = 1
    data[1:, 20:24, 20:24] = 2
    before = data.copy()
    editing.merge("layer", (2, None, None), [1, 2], everywhere=True)
    assert stack.sink.labels == [1]
    assert [int((plane == 1).sum()) for plane in data] == [16, 32, 32]
    undo_and_redo(stack, before)
    editing.delete("layer", (0, None, None), [1], everywhere=True)
    assert stack.sink.labels == []
    undo_and_redo(stack, np.where(before == 2, 1, before))
    stack.session.undo()
    editing.delete("layer", (0, None, None), [1])
    assert [int((plane == 1).sum()) for plane in data] == [0, 32, 32]


@pytest.mark.parametrize("index", [(1, None, None), (None, 1, None), (None, None, 1)], ids=str)
def test_any_two_axes_may_be_the_plane(stack: World, index: Any) -> None:
    where = tuple(slice(0, 3) if value is None else value for value in index)
    stack.sink.layer.data[where] = 5
    before = stack.sink.layer.data.copy()
    stack.session.editing.delete("layer", index, [5])
    assert not stack.sink.layer.data.any()
    undo_and_redo(stack, before)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        pytest.param(lambda e: e.delete("layer", HERE, [0]), SamError, "background", id="background"),
        pytest.param(lambda e: e.merge("layer", HERE, [1]), PromptError, "two objects", id="merge one"),
        pytest.param(lambda e: e.smooth("layer", HERE, 77), PromptError, "got id 77", id="no such object"),
    ],
)
def test_what_cannot_be_done_is_told_and_changes_nothing(
    desk: World, call: Any, error: Any, words: str
) -> None:
    before = desk.sink.layer.data.copy()
    with pytest.raises(error, match=words):
        call(desk.session.editing)
    np.testing.assert_array_equal(desk.sink.layer.data, before)
    assert not desk.session.history.can_undo


def test_a_deleted_layer_is_told_and_earlier_steps_can_still_be_undone(desk: World) -> None:
    desk.session.set_prompts(Prompts([(50, 50)]))
    desk.session.editing.delete("layer", HERE, [1])
    desk.sink.gone = True
    desk.session.undo()
    assert "it was deleted" in desk.messages[-1]
    desk.session.undo()
    assert desk.session.prompts.is_empty
    with pytest.raises(ImageError, match="deleted"):
        desk.session.editing.delete("layer", HERE, [2])


def test_smooth_takes_no_pixel_of_a_neighbour(desk: World) -> None:
    data = desk.sink.layer.data
    data[:] = 0
    data[10:40, 10:40] = 1
    data[24:26, 34:40] = 2  # in a bay of object 1
    before = data.copy()
    desk.session.editing.smooth("layer", HERE, 1, 3.0)
    assert (data != before).any()
    assert ((data == 2) == (before == 2)).all()

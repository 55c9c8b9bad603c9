from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.errors import ImageError, PromptError
from napari_sam.session.accepting import AcceptRule
from napari_sam.session.edits import EditStep, LabelEdit
from napari_sam.session.history import History
from napari_sam.session.patches import Patch
from napari_sam.session.provenance import ObjectRecord
from napari_sam.types import ObjectMask, Prompts

if TYPE_CHECKING:
    from conftest import World

HERE = (None, None)


def box(r0: int, c0: int, r1: int, c1: int) -> ObjectMask:
    return ObjectMask(np.ones((r1 - r0, c1 - c0), bool), (r0, c0))


# ------------------------------------------------------------------ patches
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, np.uint64])
@pytest.mark.parametrize("seed", range(3))
def test_a_patch_gives_both_windows_back(seed: int, dtype: Any) -> None:
    rng = np.random.default_rng(seed)
    before = rng.integers(0, 4, (9, 7)).astype(dtype)
    after = np.where(rng.random((9, 7)) < 0.3, np.iinfo(dtype).max, before).astype(dtype)
    patch = Patch.between((3, None, None), (20, 30), before, after)
    r0, c0, r1, c1 = (v - o for v, o in zip(patch.box, (20, 30, 20, 30), strict=True))
    np.testing.assert_array_equal(patch.before, before[r0:r1, c0:c1])
    np.testing.assert_array_equal(patch.after, after[r0:r1, c0:c1])
    np.testing.assert_array_equal(patch.changed, (before != after)[r0:r1, c0:c1])
    assert patch.area == (before != after).sum()
    back = patch.inverse()
    np.testing.assert_array_equal(back.after, patch.before)
    assert back.inverse().labels == patch.labels


def test_windows_that_are_alike_are_no_patch() -> None:
    assert Patch.between(HERE, (0, 0), np.ones((3, 3), int), np.ones((3, 3), int)) is None


def test_a_patch_of_an_object_is_small_and_cropped() -> None:
    before = np.zeros((500, 500), np.int32)
    after = before.copy()
    rows, cols = np.ogrid[:500, :500]
    after[(rows - 250) ** 2 + (cols - 250) ** 2 <= 100**2] = 7
    patch = Patch.between(HERE, (0, 0), before, after)
    assert patch.box == (150, 150, 351, 351)
    assert patch.nbytes < 201 * 201 * 4 / 50


# ------------------------------------------------------------------ building
def test_later_changes_of_an_edit_see_earlier_ones_and_own_each_pixel_once(world: World) -> None:
    data = world.sink.layer.data
    data[0:4, 0:4] = 9
    start = data.copy()
    builder = world.session.edits.begin("layer", "draw")
    builder.set(HERE, box(2, 2, 8, 8), 1, "overwrite")
    builder.set(HERE, box(6, 6, 12, 12), 2, "pixels")
    builder.set(HERE, box(0, 0, 3, 12), 3, "overwrite")
    builder.erase(HERE, box(0, 0, 2, 2))
    assert builder.mask_of(HERE, 1).area == 30
    assert (data == start).all()  # nothing yet
    edit = builder.commit()
    expected = start.copy()
    expected[2:8, 2:8] = 1
    expected[6:12, 6:12] = np.where(expected[6:12, 6:12] == 0, 2, expected[6:12, 6:12])
    expected[0:3, 0:12] = 3
    expected[0:2, 0:2] = 0
    np.testing.assert_array_equal(data, expected)
    owners = np.zeros(data.shape, int)
    for patch in edit.patches:
        r0, c0, r1, c1 = patch.box
        owners[r0:r1, c0:c1] += patch.changed
    assert owners.max() == 1
    world.session.undo()
    np.testing.assert_array_equal(data, start)
    world.session.redo()
    np.testing.assert_array_equal(data, expected)


@pytest.mark.parametrize("seed", range(10))
def test_a_random_edit_is_what_drawing_one_after_the_other_gives(world: World, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = world.sink.layer.data
    data[:] = rng.integers(0, 3, data.shape)
    start, expected = data.copy(), data.copy()
    builder = world.session.edits.begin("layer", "draw")
    for _ in range(12):
        r, c = rng.integers(0, 60, 2)
        mask = ObjectMask(rng.random((8, 9)) < 0.6, (int(r), int(c)))  # some reach beyond the plane
        label, keep = int(rng.integers(0, 5)), ["pixels", "overwrite"][rng.integers(2)]
        builder.set(HERE, mask, label, keep)
        inside = mask.paste(data.shape)
        free = (expected == 0) | (expected == label) | (keep == "overwrite") | (label == 0)
        expected[inside & free] = label
    builder.commit()
    np.testing.assert_array_equal(data, expected)
    world.session.undo()
    np.testing.assert_array_equal(data, start)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(np.zeros((30, 30), np.int32), r"in which .* lies, got shape \(30, 30\)", id="small"),
        pytest.param(np.zeros((5, 64, 64), np.int32), r"got shape \(5, 64, 64\)", id="other axes"),
        pytest.param(np.zeros((64, 64), np.uint8), "at most 255", id="small type"),
    ],
)
def test_an_edit_of_an_array_that_was_replaced_is_not_undone(world: World, data: Any, words: str) -> None:
    layer = world.sink.layer
    layer.data[50:55, 50:55], layer.data[2:5, 2:5] = 300, 301
    builder = world.session.edits.begin("layer", "delete")
    builder.paint(HERE, (0, 0), np.zeros((64, 64), int))
    edit = builder.commit()
    layer.data = data
    with pytest.raises(ImageError, match=words):
        world.session.edits.apply(edit.inverse(), undone=True)
    assert not layer.data.any()


def test_an_edit_that_changes_nothing_is_no_step(world: World) -> None:
    builder = world.session.edits.begin("layer", "nothing")
    builder.erase(HERE, box(0, 0, 5, 5))
    builder.set(HERE, box(1, 1, 4, 4), 2)
    builder.erase(HERE, box(0, 0, 5, 5))
    assert builder.commit().is_empty
    assert not world.session.history.can_undo
    assert world.sink.layer.items == []


def test_an_id_that_does_not_fit_is_refused_before_anything_is_written(world: World) -> None:
    world.sink.layer.data = world.sink.layer.data.astype(np.uint8)
    builder = world.session.edits.begin("layer", "large")
    builder.set(HERE, box(0, 0, 2, 2), 255)
    with pytest.raises(ImageError, match="at most 255"):
        builder.set(HERE, box(4, 4, 6, 6), 256)
    assert not world.sink.layer.data.any()


def test_several_planes_are_one_native_item_and_one_step(stack: World) -> None:
    builder = stack.session.edits.begin("layer", "two planes")
    for z in (0, 2):
        builder.set((z, None, None), box(1, 1, 3, 3), 5)
    builder.commit()
    assert len(stack.sink.layer.items) == 1
    stack.session.undo()
    assert not stack.sink.layer.data.any()


def test_records_travel_with_the_edit(world: World) -> None:
    record = ObjectRecord.of_mask(1, HERE, box(0, 0, 2, 2))
    builder = world.session.edits.begin("layer", "draw")
    builder.set(HERE, box(0, 0, 2, 2), 1)
    builder.add_record(record)
    builder.commit()
    book = world.session.book
    assert book.get("layer", 1) == (record,)
    world.session.undo()
    assert book.get("layer", 1) == ()
    world.session.redo()
    assert book.get("layer", 1) == (record,)


# ------------------------------------------------------------------ undo beside others
def test_undo_spares_pixels_that_others_have_changed_and_says_so(world: World) -> None:
    world.session.set_prompts(Prompts([(10, 10)]))
    world.session.accept()
    world.sink.layer.data[10, 8:13] = 99  # a brush
    world.session.undo()
    assert (world.sink.layer.data[10, 8:13] == 99).all()
    assert world.sink.labels == [99]
    assert world.status[-1] == (
        "Undone: accept object 1. 5 pixels were changed by others since and stay as they are."
    )
    assert world.session.prompts.points.tolist() == [[10, 10]]


def test_undo_after_the_viewers_own_undo_only_brings_the_prompts(world: World) -> None:
    world.session.set_prompts(Prompts([(10, 10)]))
    world.session.accept()
    accepted = world.sink.layer.data.copy()
    world.sink.layer.undo_natively()
    world.session.undo()
    assert not world.sink.layer.data.any()
    assert world.status[-1] == "Undone: accept object 1."
    world.session.redo()
    np.testing.assert_array_equal(world.sink.layer.data, accepted)


def test_edits_outlive_the_image_and_prompts_do_not(world: World) -> None:
    world.session.set_prompts(Prompts([(10, 10)]))
    world.session.accept()
    world.session.set_prompts(Prompts([(30, 30)]))
    world.session.forget()
    assert world.session.history.depth == 1
    world.session.undo()
    assert world.sink.labels == []
    assert world.session.prompts.is_empty
    world.session.redo()
    assert world.sink.labels == [1]


# ------------------------------------------------------------------ accepting
def accept(world: World, at: tuple[int, int], **rule: Any) -> None:
    world.session.prompting.accepting.rule = AcceptRule(**rule)
    world.session.set_prompts(Prompts([at]))
    world.session.accept()
    world.session.clear()


@pytest.mark.parametrize(
    ("rules", "labels"),
    [
        pytest.param([{}, {}], [1, 2], id="next"),
        pytest.param([{}, {"ids": "same"}], [1, 1], id="same as before"),
        pytest.param([{"ids": "same"}, {"ids": "same"}], [1, 1], id="same, but nothing before"),
        pytest.param([{"ids": "chosen", "label": 7}, {}], [7, 8], id="chosen, then next"),
        pytest.param([{"ids": "class", "label": 3}, {"ids": "class", "label": 3}], [3, 3], id="class"),
    ],
)
def test_ids(world: World, rules: list[dict[str, Any]], labels: list[int]) -> None:
    for at, rule in zip(((10, 10), (40, 40)), rules, strict=True):
        accept(world, at, **rule)
    data = world.sink.layer.data
    assert [data[10, 10], data[40, 40]] == labels


def test_objects_of_a_class_keep_a_record_each(world: World) -> None:
    for at in ((10, 10), (40, 40)):
        accept(world, at, ids="class", label=3)
    assert len(world.session.book.get("layer", 3)) == 2
    world.session.undo()
    world.session.undo()
    assert len(world.session.book.get("layer", 3)) == 1


def test_the_same_object_goes_on_in_the_next_plane(stack: World) -> None:
    for z in range(3):
        stack.session.show_plane(stack.plane(z))
        accept(stack, (10, 10), ids="next" if z == 0 else "same")
    assert (stack.sink.layer.data[:, 10, 10] == 1).all()
    planes = [record.plane for record in stack.session.book.get("layer", 1)]
    assert planes == [(0, None, None), (1, None, None), (2, None, None)]


@pytest.mark.parametrize(
    ("keep", "second", "first"),
    [
        pytest.param("pixels", 17, 29, id="pixels"),
        pytest.param("overwrite", 29, 17, id="overwrite"),
        pytest.param("objects", 0, 29, id="objects"),
    ],
)
def test_what_becomes_of_objects_that_are_there(world: World, keep: Any, second: int, first: int) -> None:
    accept(world, (10, 10))
    accept(world, (10, 13), keep=keep)  # 12 of its 29 pixels lie on the first
    assert [int(world.sink.mask(label).sum()) for label in (1, 2)] == [first, second]
    assert bool(world.messages) == (keep == "objects")
    if keep == "objects":
        assert "at most 10% lie on others, got 41%" in world.messages[0]


def test_an_object_that_is_overwritten_loses_its_record(world: World) -> None:
    book = world.session.book
    for at in ((10, 10), (10, 13)):
        accept(world, at, keep="overwrite")
    assert [(r.area, r.source) for r in book.get("layer", 1)] == [(17, "edited")]
    world.engine.radius = 6
    accept(world, (10, 11), keep="overwrite")
    assert (book.get("layer", 1), book.get("layer", 2)) == ((), ())
    world.session.undo()
    world.session.undo()
    assert [r.area for r in book.get("layer", 1)] == [17]


def test_a_small_overlap_is_no_reason_to_refuse(world: World) -> None:
    accept(world, (10, 10))
    accept(world, (10, 13), keep="objects", overlap=0.5)
    assert world.sink.mask(2).sum() == 17


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        pytest.param({"ids": "any"}, "ids out of", id="ids"),
        pytest.param({"keep": "all"}, "keep out of", id="keep"),
        pytest.param({"label": 0}, "1 or more", id="background"),
        pytest.param({"overlap": 2.0}, "between 0 and 1", id="overlap"),
    ],
)
def test_impossible_rules_are_refused(rule: Any, words: str) -> None:
    with pytest.raises(PromptError, match=words):
        AcceptRule(**rule)


# ------------------------------------------------------------------ memory
def edit_of(nbytes: int) -> LabelEdit:
    after = np.arange(1, nbytes // 9 + 1).reshape(1, -1)  # no two pixels alike: runs of one
    patch = Patch.between(HERE, (0, 0), np.zeros_like(after), after)
    return LabelEdit("layer", "noise", (patch,))


def test_the_oldest_steps_go_when_the_budget_is_spent(world: World) -> None:
    history = History(budget=100_000)
    for _ in range(30):
        history.push(EditStep(world.session.edits, edit_of(10_000)))
        assert history.nbytes <= 100_000
    assert 5 <= history.depth < 30


def test_the_newest_step_is_kept_whatever_it_costs(world: World) -> None:
    history = History(budget=1000)
    for size in (100, 50_000):
        history.push(EditStep(world.session.edits, edit_of(size)))
    assert history.depth == 1
    assert history.undo() is not None


def test_a_thousand_accepted_objects_cost_little(world: World) -> None:
    for i in range(1000):
        builder = world.session.edits.begin("layer", "accept")
        builder.set(
            HERE, box(i % 50, i % 40, i % 50 + 10, i % 40 + 10), builder.next_label(HERE), "overwrite"
        )
        builder.commit()
    assert world.session.history.depth == 1000
    assert world.session.history.nbytes < 2_000_000

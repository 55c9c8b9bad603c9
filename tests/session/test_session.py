from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.errors import ImageError, PromptError, SamError
from napari_sam.session.prompt_checks import check_plane, check_prompts, same_prompts
from napari_sam.session.requests import ModelChoice, Plane
from napari_sam.types import ObjectMask, Prompts

if TYPE_CHECKING:
    from conftest import World

A, B, C = (10.0, 10.0), (40.0, 40.0), (12.0, 12.0)


def points(*positions: tuple[float, float], labels: list[int] | None = None) -> Prompts:
    return Prompts(points=np.array(positions, np.float32).reshape(-1, 2), labels=labels)


def covered(world: World) -> set[tuple[float, float]]:
    """Which of A and B the preview covers."""
    preview = world.session.preview
    if preview is None:
        return set()
    plane = preview.mask.paste((64, 64))
    return {p for p in (A, B) if plane[int(p[0]), int(p[1])]}


def centre(world: World, label: int) -> tuple[float, float]:
    return ObjectMask.from_plane(world.sink.mask(label)).centroid


# ------------------------------------------------------------------ prompts
def test_a_click_gives_a_preview(world: World) -> None:
    world.session.set_prompts(points(A))
    assert covered(world) == {A}
    assert world.session.preview.mask.area == 29  # pixels of a disc of radius 3
    assert "29 pixels" in world.status[-1]


def test_the_same_prompts_again_ask_nothing(world: World) -> None:
    world.session.set_prompts(points(A))
    asked = len(world.engine.asked)
    world.session.set_prompts(points((A[0] + 1e-5, A[1])))
    assert len(world.engine.asked) == asked
    assert world.session.undo() is None
    assert not world.session.history.can_undo  # one step, not two


def test_the_latest_prompts_win(lazy_world: World) -> None:
    world = lazy_world
    world.engine.asked.clear()
    for position in (A, C, B):
        world.session.set_prompts(points(position))
    world.runner.run()
    assert [p.points.tolist() for p in world.engine.user_requests()] == [[list(B)]]
    assert covered(world) == {B}


def test_a_stale_answer_is_dropped(lazy_world: World) -> None:
    world = lazy_world
    world.session.set_prompts(points(A))
    world.runner.run(steps=1)  # begun, not answered
    world.session.set_prompts(Prompts())
    world.runner.run()
    assert world.session.preview is None


def test_corrections_feed_the_last_answer_back(world: World) -> None:
    world.session.set_prompts(points(A))
    first = world.session.preview.mask
    world.session.set_prompts(points(A, C, labels=[1, 0]))
    assert world.engine.user_requests()[-1].mask is first
    world.session.set_prompts(points(B))
    assert world.engine.user_requests()[-1].mask is None  # another object, not a correction


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        pytest.param(points((70, 5)), "inside", id="point outside"),
        pytest.param(points((-0.6, 5)), "inside", id="point just outside"),
        pytest.param(points(A, labels=[0]), "background points only", id="background only"),
        pytest.param(Prompts(box=(70, 70, 90, 90)), "touches", id="box outside"),
        pytest.param(points(A, (5, 99)), "inside", id="one of two outside"),
    ],
)
def test_bad_prompts_give_one_message_and_no_preview(world: World, prompts: Prompts, words: str) -> None:
    world.session.set_prompts(points(B))
    asked = len(world.engine.asked)
    world.session.set_prompts(prompts)
    assert len(world.messages) == 1
    assert words in world.messages[0]
    assert world.session.preview is None
    assert len(world.engine.asked) == asked
    world.session.undo()
    assert covered(world) == {B}


def test_a_point_on_the_rim_is_inside(world: World) -> None:
    world.session.set_prompts(points((-0.5, 63.5)))
    assert world.messages == []


def test_an_engine_error_gives_one_message_and_the_session_goes_on(world: World) -> None:
    world.engine.error = RuntimeError("boom")
    world.session.set_prompts(points(A))
    assert world.messages == ["Predicting the mask: RuntimeError: boom"]
    assert not world.session.is_busy
    world.engine.error = None
    world.session.set_prompts(points(B))
    assert covered(world) == {B}


def test_an_empty_mask_is_said_and_cannot_be_accepted(world: World) -> None:
    world.session.set_prompts(points(A, A, labels=[1, 0]))
    assert world.session.preview is None
    assert "No object" in world.status[-1]
    world.session.accept()
    assert world.sink.labels == []
    assert len(world.messages) == 1


def test_a_mask_beyond_the_plane_is_clipped(world: World) -> None:
    world.engine.radius = 20
    world.session.set_prompts(points((0, 0)))
    assert world.session.preview.mask.box == (0, 0, 21, 21)


# ------------------------------------------------------------------ accept
def test_accept_writes_and_clears(world: World) -> None:
    world.session.set_prompts(points(A))
    world.session.accept()
    assert world.sink.labels == [1]
    assert world.session.prompts.is_empty
    assert world.session.preview is None
    assert world.restored[-1].prompts.is_empty


def test_accept_waits_for_a_mask_that_is_being_computed(lazy_world: World) -> None:
    world = lazy_world
    for position in (A, B):  # click, accept, click, accept, without waiting
        world.session.set_prompts(points(position))
        world.session.accept()
        assert world.session.prompts.is_empty
    assert world.sink.labels == []
    assert world.session.is_busy
    world.runner.run()
    assert [centre(world, label) for label in world.sink.labels] == [A, B]
    assert not world.session.is_busy


def test_a_later_click_does_not_cancel_an_accept(lazy_world: World) -> None:
    world = lazy_world
    world.session.set_prompts(points(A))
    world.session.accept()
    world.session.set_prompts(points(B))
    world.runner.run()
    assert [centre(world, label) for label in world.sink.labels] == [A]
    assert covered(world) == {B}


def test_an_accept_that_was_undone_in_time_writes_nothing(lazy_world: World) -> None:
    world = lazy_world
    world.session.set_prompts(points(A))
    world.session.accept()
    world.session.undo()
    world.runner.run()
    assert world.sink.labels == []
    assert covered(world) == {A}


def test_accept_of_nothing_says_so(world: World) -> None:
    world.session.accept()
    assert world.messages == ["Nothing to accept yet: click on an object first."]


def test_a_refused_object_keeps_its_prompts(world: World) -> None:
    world.sink.error = ImageError("Expected shape (64, 64), got (3, 3).")
    world.session.set_prompts(points(A))
    world.session.accept()
    assert world.messages == ["Expected shape (64, 64), got (3, 3)."]
    assert covered(world) == {A}


def test_an_error_while_accepting_is_said_and_undo_brings_the_prompts_back(lazy_world: World) -> None:
    world = lazy_world
    world.engine.error = RuntimeError("boom")
    world.session.set_prompts(points(A))
    world.session.accept()
    world.runner.run()
    assert world.sink.labels == []
    assert len(world.messages) == 1
    world.session.undo()
    assert same_prompts(world.session.prompts, points(A))


def test_undo_of_an_accept_takes_the_object_back_and_accepting_again_gives_it_the_same_id(
    world: World,
) -> None:
    world.session.set_prompts(points(A))
    world.session.accept()
    world.session.undo()
    assert covered(world) == {A}
    assert world.sink.labels == []
    assert world.session.book.layers() == ()
    world.session.set_prompts(points(A, C))
    world.session.accept()
    assert world.sink.labels == [1]
    world.session.set_prompts(points(B))
    world.session.accept()
    assert world.sink.labels == [1, 2]


def test_redo_of_an_accept_writes_the_object_again_under_its_id(world: World) -> None:
    for position in (A, B):
        world.session.set_prompts(points(position))
        world.session.accept()
    after = world.sink.layer.data.copy()
    for _ in range(4):
        world.session.undo()
    assert world.sink.labels == []
    assert world.session.prompts.is_empty
    for _ in range(4):
        world.session.redo()
    np.testing.assert_array_equal(world.sink.layer.data, after)
    assert [r.label for r in world.session.book.records("layer")] == [1, 2]
    assert world.status[-1] == "Redone: accept object 2."


def test_redo_of_an_accept_that_was_never_answered_accepts_again(lazy_world: World) -> None:
    world = lazy_world
    world.session.set_prompts(points(A))
    world.session.accept()
    world.session.undo()
    world.session.redo()
    world.runner.run()
    assert [centre(world, label) for label in world.sink.labels] == [A]
    world.session.undo()
    assert world.sink.labels == []
    assert covered(world) == {A}


# ------------------------------------------------------------------ undo
def test_undo_and_redo_go_through_many_levels_without_asking_the_model(world: World) -> None:
    states = [points(), points(A), points(A, C), points(B)]
    for prompts in states[1:]:
        world.session.set_prompts(prompts)
    asked = len(world.engine.asked)
    for prompts in reversed(states[:-1]):
        world.session.undo()
        assert same_prompts(world.restored[-1].prompts, prompts)
    assert covered(world) == set()
    for prompts in states[1:]:
        world.session.redo()
        assert same_prompts(world.restored[-1].prompts, prompts)
    assert covered(world) == {B}
    assert len(world.engine.asked) == asked


def test_undo_to_prompts_that_were_never_answered_asks_again(lazy_world: World) -> None:
    world = lazy_world
    world.session.set_prompts(points(A))
    world.session.set_prompts(points(B))
    world.session.undo()
    world.runner.run()
    assert covered(world) == {A}


def test_clear_can_be_undone(world: World) -> None:
    world.session.set_prompts(points(A))
    world.session.clear()
    assert world.restored[-1].prompts.is_empty
    assert covered(world) == set()
    world.session.undo()
    assert covered(world) == {A}


def test_undo_at_the_beginning_only_says_so(world: World) -> None:
    world.session.undo()
    world.session.redo()
    assert world.messages == []
    assert world.status[-1] == "Nothing to undo or redo."


def test_undo_returns_to_the_plane_of_the_step(world: World) -> None:
    one, two = world.plane(1), world.plane(2)
    world.session.show_plane(one)
    world.session.set_prompts(points(A))
    world.session.show_plane(two)
    assert world.session.preview is None
    world.session.undo()
    assert world.session.plane == one
    assert world.restored[-1].prompts.is_empty


def test_forget_ends_the_history(world: World) -> None:
    world.session.set_prompts(points(A))
    world.session.forget()
    assert not world.session.history.can_undo
    assert world.session.preview is None


# ------------------------------------------------------------------ models and planes
def test_warm_up_loads_the_model_and_encodes_what_is_in_view(world: World) -> None:
    assert world.engine.loads == [ModelChoice("nuclei")]
    assert world.engine.encoded == [(0, 0, 64, 64)]
    assert world.engine.asked == []
    assert world.status[-1] == "Ready: click on an object."


def test_without_an_image_a_model_that_is_ready_says_what_to_do(world: World) -> None:
    world.session.show_plane(None)
    world.session.set_model(ModelChoice("vit_t"))
    assert world.status[-1] == "Ready: open an image, or the sample."


def test_another_model_answers_the_prompts_anew(world: World) -> None:
    world.session.set_prompts(points(A))
    world.engine.asked.clear()
    world.session.set_model(ModelChoice("vit_t"))
    assert world.engine.loads[-1] == ModelChoice("vit_t")
    assert same_prompts(world.engine.user_requests()[-1], points(A))
    assert covered(world) == {A}
    assert world.status[-1].startswith("29 pixels")  # not that something is still being prepared


def test_a_model_that_cannot_be_loaded_gives_a_message(world: World) -> None:
    world.session.set_model(ModelChoice("broken"))
    assert world.messages == ["Expected a checkpoint of a known architecture, got 'broken'."]
    world.session.set_model(ModelChoice("nuclei"))
    world.session.set_prompts(points(A))
    assert covered(world) == {A}


def test_a_model_that_cannot_be_loaded_is_told_once_and_not_tried_at_every_click(world: World) -> None:
    world.session.set_model(ModelChoice("broken"))
    for position in (A, B):
        world.session.set_prompts(points(position))
        assert world.status[-1].startswith("Expected a checkpoint of a known")
        assert world.status[-1].endswith("Choose the model again to try once more.")
    world.session.show_plane(world.plane(1))
    assert world.engine.tried.count("broken") == 1
    assert len(world.messages) == 1


def test_requests_queued_before_a_model_failed_add_no_message(lazy_world: World) -> None:
    world = lazy_world
    world.session.set_model(ModelChoice("broken"))
    world.session.set_prompts(points(A))
    world.session.accept()
    world.session.set_prompts(points(B))
    world.session.segment_everything()
    world.runner.run()
    assert world.engine.tried.count("broken") == 1
    assert world.messages == ["Expected a checkpoint of a known architecture, got 'broken'."]
    assert not world.session.is_segmenting


@pytest.mark.parametrize(
    ("command", "words"),
    [
        pytest.param(lambda session: session.accept(), "Nothing to accept: Expected", id="accept"),
        pytest.param(lambda session: session.segment_everything(), "Nothing was segmented: Exp", id="all"),
    ],
)
def test_a_command_that_needs_a_failed_model_says_so(world: World, command: Any, words: str) -> None:
    world.session.set_model(ModelChoice("broken"))
    world.session.set_prompts(points(A))
    command(world.session)
    assert len(world.messages) == 2
    assert world.messages[-1].startswith(words)
    assert world.engine.tried.count("broken") == 1


@pytest.mark.parametrize(
    "again", [ModelChoice("broken"), ModelChoice("broken", "cpu")], ids=["same", "device"]
)
def test_a_failed_model_is_tried_again_when_it_is_chosen_again(world: World, again: ModelChoice) -> None:
    world.session.set_model(ModelChoice("broken"))
    world.session.set_prompts(points(A))
    world.session.set_model(again)
    assert world.engine.tried.count("broken") == 2
    assert len(world.messages) == 2
    world.engine.broken = ""
    world.session.set_model(again)
    assert covered(world) == {A}
    assert len(world.messages) == 2


def test_any_error_of_loading_becomes_one_clear_message(world: World) -> None:
    world.engine.load_error = RuntimeError("CUDA out of memory")
    world.session.set_model(ModelChoice("vit_t"))
    world.session.set_prompts(points(A))
    assert world.messages == [
        "Loading model vit_t: RuntimeError: CUDA out of memory; choose the device 'cpu' or a smaller model"
    ]


def test_models_are_listed(world: World) -> None:
    found: list[Any] = []
    world.session.models_listed.connect(lambda models, devices: found.append((models, devices)))
    world.session.list_models()
    assert [[info.name for info in models] for models, _ in found] == [["nuclei", "vit_t", "vit_h"]] * 2
    assert [devices for _, devices in found] == [("auto", "cpu")] * 2


def test_the_image_of_a_plane_is_made_once(world: World) -> None:
    reads: list[int] = []

    def read() -> Any:
        reads.append(1)
        return np.zeros((64, 64))

    world.session.show_plane(Plane("lazy", (None, None), (64, 64), read))
    for position in (A, B, C):
        world.session.set_prompts(points(position))
    assert len(reads) == 1


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
def test_a_plane_without_pixels_is_refused(shape: tuple[int, int]) -> None:
    plane = Plane("image", (None, None), shape, lambda: np.zeros(shape))
    with pytest.raises(ImageError, match="Expected an image with pixels"):
        check_plane(plane)


def test_check_prompts_names_the_point_and_what_to_do() -> None:
    plane = Plane("image", (None, None), (8, 9), lambda: np.zeros((8, 9)), name="cells")
    with pytest.raises(
        SamError, match=r"'cells' \(8 x 9 pixels\), got a point at row 3.0, column 12.0; move"
    ):
        check_prompts(points((1, 1), (3, 12)), plane)


# ------------------------------------------------------------------ everything
def test_segment_everything_shows_objects(world: World) -> None:
    world.session.segment_everything("grid")
    (shown,) = world.board.shown
    assert shown.request.plane == world.session.plane
    assert shown.request.method == "grid"
    assert shown.kept.tolist() == [0, 1]
    assert not world.session.is_segmenting
    assert world.status[-1] == "2 objects segmented."


def test_a_click_goes_before_the_rest_of_a_segmentation(lazy_world: World) -> None:
    world = lazy_world
    world.session.segment_everything()
    world.runner.run(steps=3)  # loading, step 0, step 1
    world.session.set_prompts(points(A))
    world.runner.run(steps=3)
    assert covered(world) == {A}
    assert world.session.is_segmenting
    world.runner.run()
    assert len(world.board.shown) == 1


def test_cancel_adds_nothing(lazy_world: World) -> None:
    world = lazy_world
    world.session.segment_everything()
    world.runner.run(steps=2)
    world.session.cancel()
    world.runner.run()
    assert world.board.shown == []
    assert world.status[-1] == "Cancelled; nothing was changed."
    assert not world.session.is_segmenting
    world.session.segment_everything()
    world.runner.run()
    assert len(world.board.shown) == 1


def test_a_failing_segmentation_gives_one_message(world: World) -> None:
    world.engine.segment_error = RuntimeError("boom")
    world.session.segment_everything()
    assert world.messages == ["Segment everything: RuntimeError: boom"]
    assert not world.session.is_segmenting


def test_segmenting_twice_at_once_is_refused(lazy_world: World) -> None:
    world = lazy_world
    world.session.segment_everything()
    world.session.segment_everything()
    assert world.messages == ["Segmentation is running already: cancel it first."]
    world.runner.run()
    assert len(world.board.shown) == 1


def test_without_an_image_there_is_one_message(world: World) -> None:
    world.session.show_plane(None)
    world.session.segment_everything()
    assert len(world.messages) == 1
    world.session.set_prompts(points(A))
    world.session.clear()
    assert len(world.messages) == 1


def test_nothing_is_announced_after_close(lazy_world: World) -> None:
    world = lazy_world
    world.session.set_prompts(points(A))
    world.session.segment_everything()
    before = len(world.status)
    world.session.close()
    world.runner.run()
    assert len(world.status) == before
    assert not world.session.is_busy


def test_an_accepted_object_has_a_record_of_what_made_it(world):
    world.session.set_prompts(Prompts([(20, 20)]))
    world.session.set_prompts(Prompts([(20, 20), (24, 20)], [1, 0]))
    world.session.accept()
    (record,) = world.session.book.get("layer", 1)
    assert record.plane == (None, None)
    assert (record.source, record.model, record.digest) == ("prompts", "nuclei", "fa4e")
    assert record.settings["percentiles"] == (1.0, 99.8)
    assert record.prompts.points.tolist() == [[20, 20], [24, 20]]
    assert record.prompts.mask is None
    assert [p.points.tolist() for p in record.earlier] == [[[20, 20]]]
    assert record.predicted_iou == 0.9
    assert record.area == world.sink.mask(1).sum()


def test_an_object_accepted_before_its_answer_has_a_record_too(lazy_world):
    lazy_world.session.set_prompts(Prompts([(20, 20)]))
    lazy_world.session.accept()
    assert lazy_world.session.book.layers() == ()
    lazy_world.runner.run()
    (record,) = lazy_world.session.book.get("layer", 1)
    assert (record.digest, record.earlier) == ("fa4e", ())


def test_an_accept_that_was_refused_is_not_tried_again_by_redo(lazy_world, monkeypatch):
    session, accepting = lazy_world.session, lazy_world.session.prompting.accepting

    def refuse(*_):
        raise PromptError("no room")

    monkeypatch.setattr(accepting, "write", refuse)
    session.set_prompts(Prompts([(20, 20)]))
    session.accept()
    lazy_world.runner.run()
    assert lazy_world.messages == ["no room"]
    monkeypatch.undo()
    for travel in (session.undo, session.undo, session.redo, session.redo):
        travel()
        lazy_world.runner.run()
    assert session.book.layers() == ()

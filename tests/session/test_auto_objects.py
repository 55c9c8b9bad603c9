"""Automatic objects: found once, chosen by thresholds, taken back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.errors import ImageError, SamError
from napari_sam.inference.candidates import Candidates, FilterParams
from napari_sam.inference.region import Region
from napari_sam.session.auto_requests import AutoRequest, RegionChoice
from napari_sam.session.candidate_cache import CandidateCache
from napari_sam.session.requests import ModelChoice
from napari_sam.types import ObjectMask

if TYPE_CHECKING:
    from conftest import Board, World


def square(r: int, c: int, side: int, score: float) -> ObjectMask:
    return ObjectMask(np.ones((side, side), bool), (r, c), predicted_iou=score)


FOUR = [square(0, 0, 3, 0.9), square(10, 10, 5, 0.8), square(30, 30, 10, 0.7), square(50, 50, 4, 0.4)]


@pytest.fixture
def board(world: World) -> Board:
    return look(world)


def look(world: World) -> Board:
    world.engine.objects = list(FOUR)
    return world.board


def test_the_default_thresholds_choose_and_each_object_gets_its_row(world: World, board: Board) -> None:
    world.session.segment_everything()
    assert board.shown[-1].kept.tolist() == [0, 1, 2]
    assert world.status[-1] == "3 objects segmented."
    state = world.session.auto.state
    assert (state.note, state.active, state.count) == ("3 of 4 objects", True, 3)
    assert state.areas.tolist() == [9, 25, 100, 16]
    table = board.tables[-1]
    assert table["index"].tolist() == [1, 2, 3]
    assert table["area"].tolist() == [9, 25, 100]
    np.testing.assert_allclose(table["predicted_iou"], [0.9, 0.8, 0.7])
    assert table["mean_intensity"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        pytest.param({"predicted_iou": 0.75}, [0, 1], id="stricter"),
        pytest.param({"predicted_iou": 0.0}, [0, 1, 2, 3], id="laxer"),
        pytest.param({"min_area": 20}, [1, 2], id="min"),
        pytest.param({"max_area": 20, "predicted_iou": 0}, [0, 3], id="max"),
        pytest.param({"keep_border": False}, [1, 2], id="border"),
        pytest.param({"predicted_iou": 1.0}, [], id="nothing"),
    ],
)
def test_thresholds_choose_anew_without_asking_the_model(
    world: World, board: Board, changes: dict[str, Any], kept: list[int]
) -> None:
    world.session.segment_everything()
    world.session.auto.set_params(changes)
    assert board.shown[-1].kept.tolist() == kept
    assert world.session.auto.state.note == f"{len(kept)} of 4 objects"
    assert len(world.engine.searched) == 1
    assert board.tables[-1]["index"].tolist() == list(range(1, len(kept) + 1))
    world.session.auto.reset()
    assert board.shown[-1].kept.tolist() == [0, 1, 2]


def test_objects_are_measured_when_the_thresholds_rest(world: World, board: Board) -> None:
    world.session.segment_everything()
    for value in (0.1, 0.2, 0.3):
        world.session.auto.set_params({"predicted_iou": value}, settle=False)
    assert len(board.tables) == 1
    world.session.auto.settle()
    assert len(board.tables) == 2
    assert len(board.tables[-1]["index"]) == 4


def test_thresholds_are_kept_for_the_next_run_of_the_same_model_and_method(
    world: World, board: Board
) -> None:
    session = world.session
    session.segment_everything()
    session.auto.set_params({"min_area": 20})
    session.show_plane(world.plane(1))
    session.segment_everything()
    assert board.shown[-1].kept.tolist() == [1, 2]
    session.segment_everything("grid")
    assert board.shown[-1].kept.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"iou": 0.5}, "Expected thresholds out of", id="unknown"),
        pytest.param({"stability": 2}, "from 0 to 1, got 2", id="impossible"),
        pytest.param({"min_area": 5, "max_area": 4}, "at most max_area", id="contradiction"),
    ],
)
def test_impossible_thresholds_change_nothing(
    world: World, board: Board, changes: dict[str, Any], words: str
) -> None:
    world.session.segment_everything()
    before = world.session.auto.params
    with pytest.raises(SamError, match=words):
        world.session.auto.set_params(changes)
    assert world.session.auto.params == before


def test_what_was_found_is_not_looked_for_again(world: World, board: Board) -> None:
    session = world.session
    session.segment_everything()
    session.segment_everything()
    assert len(world.engine.searched) == 1
    assert len(board.begun) == len(board.shown) == 2
    session.show_plane(world.plane(1))
    session.segment_everything()
    session.segment_everything("grid")
    session.set_model(ModelChoice("vit_t"))
    session.segment_everything("grid")
    assert len(world.engine.searched) == 4
    session.forget()
    session.show_plane(world.plane())
    session.segment_everything()
    assert len(world.engine.searched) == 5


def test_settings_that_change_before_a_run_begins_are_those_that_it_is_kept_under(lazy_world: World) -> None:
    look(lazy_world)
    session, engine = lazy_world.session, lazy_world.engine
    before, after = session.settings, replace(session.settings, object_size=12.0)
    session.segment_everything()
    session.set_settings(after)
    lazy_world.runner.run()
    for settings, searched in ((after, 1), (before, 2), (after, 2), (before, 2)):
        session.set_settings(settings)
        session.segment_everything()
        lazy_world.runner.run()
        assert len(engine.searched) == searched
        (record, *_) = session.book.records("auto layer")
        assert record.settings["object_size"] == settings.object_size


def test_parts_appear_as_they_finish_and_a_cancelled_run_keeps_them(lazy_world: World) -> None:
    board, session = look(lazy_world), lazy_world.session
    session.segment_everything()
    lazy_world.runner.run(4)  # the model, and three steps of the engine, the last two with one object each
    assert board.parts == [[0], [0]]
    assert session.auto.state.note == "2 objects so far"
    assert not session.auto.state.active
    session.cancel()
    lazy_world.runner.run()
    assert board.shown[-1].kept.tolist() == [0, 1]
    assert lazy_world.status[-1] == "Cancelled; 2 objects of the finished part are kept."
    assert session.auto.state.active
    session.segment_everything()
    lazy_world.runner.run()
    assert len(lazy_world.engine.searched) == 2, "an unfinished result must not be taken for the whole"


def test_a_failing_run_keeps_its_parts_and_says_why(lazy_world: World) -> None:
    board, session = look(lazy_world), lazy_world.session
    session.segment_everything()
    lazy_world.runner.run(3)
    lazy_world.engine.steps = 2

    def fail(*_: Any) -> Any:
        raise RuntimeError("boom")

    session.auto._segmenting.progressed.connect(lambda _: None)
    job = lazy_world.runner._queue._jobs[0]
    job.generator.close()
    job.generator = (fail() for _ in range(1))
    lazy_world.runner.run()
    assert board.shown[-1].kept.tolist() == [0]
    assert lazy_world.messages == ["Segment everything: RuntimeError: boom"]


def test_cancelling_before_anything_is_found_changes_nothing(lazy_world: World) -> None:
    board, session = look(lazy_world), lazy_world.session
    session.segment_everything()
    lazy_world.runner.run(2)
    session.cancel()
    lazy_world.runner.run()
    assert board.shown == []
    assert board.ended == 1
    assert lazy_world.status[-1] == "Cancelled; nothing was changed."


def test_thresholds_that_exclude_everything_are_told_and_can_be_lowered(world: World, board: Board) -> None:
    world.session.segment_everything()
    world.session.auto.set_params({"predicted_iou": 0.95})
    world.session.segment_everything()
    assert len(world.messages) == 1
    assert "the thresholds exclude all 4 candidates, predicted IoU 0.95" in world.messages[0]
    world.session.auto.reset()
    assert board.shown[-1].kept.tolist() == [0, 1, 2]


def test_no_candidates_at_all_are_told(world: World, board: Board) -> None:
    world.engine.objects = []
    world.session.segment_everything()
    [message] = world.messages
    assert message.startswith("No objects were found in 'image'; no layer was added. Set the object size")
    assert not world.session.auto.state.active


def test_a_released_result_has_no_thresholds(world: World, board: Board) -> None:
    world.session.segment_everything()
    world.session.auto.release("The layer was edited.")
    world.session.auto.set_params({"predicted_iou": 0.0})
    assert len(board.shown) == 1
    assert not world.session.auto.state.active
    assert world.session.auto.state.note == "The layer was edited."
    world.session.segment_everything()
    assert world.session.auto.state.active
    assert len(world.engine.searched) == 1


def test_a_result_that_can_no_longer_be_shown_is_released(world: World, board: Board) -> None:
    world.session.segment_everything()
    board.error = ImageError("Expected the layer, got none.")
    world.session.auto.set_params({"predicted_iou": 0.0})
    assert world.messages == ["Expected the layer, got none."]
    assert not world.session.auto.state.active


def test_a_result_without_a_place_is_not_computed(world: World, board: Board) -> None:
    board.error = ImageError("Expected a target that can be written, got none.")
    world.session.segment_everything()
    assert world.messages == ["Expected a target that can be written, got none."]
    assert world.engine.searched == []
    assert not world.session.is_segmenting


def test_deleting_the_layer_during_a_run_leaves_no_thresholds(lazy_world: World) -> None:
    board, session = look(lazy_world), lazy_world.session
    session.segment_everything()
    lazy_world.runner.run(4)
    board.gone = True
    session.cancel()
    lazy_world.runner.run()
    assert lazy_world.status[-1] == "Cancelled; nothing was changed."
    assert not session.auto.state.active


def test_undo_takes_the_result_back_as_one_step_and_redo_brings_its_thresholds(
    world: World, board: Board
) -> None:
    session = world.session
    session.segment_everything()
    session.auto.set_params({"predicted_iou": 0.75})
    session.undo()
    assert board.steps == ["undo"]
    assert not session.auto.state.active
    assert world.status[-1] == "taken back"
    session.redo()
    assert board.steps == ["undo", "redo"]
    assert session.auto.state.note == "2 of 4 objects"
    session.auto.set_params({"predicted_iou": 0.0})
    assert board.shown[-1].kept.tolist() == [0, 1, 2, 3]
    session.undo()
    session.undo()
    assert board.steps == ["undo", "redo", "undo"], "there is one step of the result"


def test_regions_are_part_of_the_request(world: World, board: Board) -> None:
    region = Region.from_box((0, 0, 20, 20), (64, 64))
    world.session.segment_everything(region=RegionChoice("a", region))
    assert board.shown[-1].candidates.areas.tolist() == [9, 25]
    world.session.segment_everything(region=RegionChoice("b", Region.from_box((25, 25, 64, 64), (64, 64))))
    assert board.shown[-1].candidates.areas.tolist() == [100, 16]
    world.session.segment_everything(region=RegionChoice("a", region))
    assert len(world.engine.searched) == 2


def test_a_foreground_mask_cuts_objects_also_those_of_parts(world: World, board: Board) -> None:
    region = Region.from_box((0, 0, 13, 64), (64, 64))
    world.session.segment_everything(region=RegionChoice("a", region, cut=True))
    assert board.shown[-1].candidates.areas.tolist() == [9, 15]
    assert board.parts == [[0], [0]]


def test_an_empty_region_is_refused(world: World, board: Board) -> None:
    empty = Region.from_mask(np.zeros((64, 64)))
    world.session.segment_everything(region=RegionChoice("e", empty, name="my mask"))
    assert "got none in 'my mask'" in world.messages[0]
    assert world.engine.searched == []


# ------------------------------------------------------------------ the cache
def request(world: World, z: int) -> AutoRequest:
    return AutoRequest(world.plane(z), ModelChoice("nuclei"))


def test_the_cache_holds_as_much_as_it_may(world: World) -> None:
    candidates = Candidates.from_objects(FOUR, (64, 64))
    cache = CandidateCache(int(2.5 * candidates.nbytes))
    for z in (0, 1):
        cache.put(request(world, z), candidates, FilterParams())
    assert cache.get(request(world, 0)) is not None
    cache.put(request(world, 2), candidates, FilterParams())
    assert [cache.get(request(world, z)) is not None for z in range(3)] == [True, False, True]
    assert cache.nbytes == 2 * candidates.nbytes
    cache.clear()
    assert len(cache) == 0


def test_automatic_objects_have_records_that_follow_the_thresholds(world):
    world.session.segment_everything("grid")
    world.session.auto.set_params({"predicted_iou": 0.85})
    book = world.session.book
    (record,) = book.records("auto layer")
    assert (record.source, record.model, record.digest) == ("automatic", "nuclei", "fa4e")
    assert (record.label, record.area, record.predicted_iou) == (1, 32 * 64, pytest.approx(0.9))
    assert record.params["method"] == "grid"
    assert record.params["candidate"] == 0
    assert record.params["filter"]["predicted_iou"] == 0.85
    assert record.params["filter"]["max_area"] is None  # JSON knows no infinity
    world.session.auto.set_params({"predicted_iou": 0.5})
    assert book.labels("auto layer") == (1, 2)
    world.session.auto.set_params({"predicted_iou": 0.95})
    assert book.labels("auto layer") == ()


def test_records_of_automatic_objects_go_and_come_with_them(world):
    world.session.segment_everything()
    book = world.session.book
    assert book.labels("auto layer") == (1, 2)
    world.session.undo()
    assert book.labels("auto layer") == ()
    world.session.redo()
    assert book.labels("auto layer") == (1, 2)


def test_thresholds_and_redo_go_on_after_another_image_without_its_pixels(world, board):
    world.session.segment_everything()
    book = world.session.book
    world.session.forget()
    world.session.auto.set_params({"predicted_iou": 0.75})
    assert [record.digest for record in book.records("auto layer")] == ["fa4e", "fa4e"]
    assert "area" in board.tables[-1]
    assert "mean_intensity" not in board.tables[-1]
    world.session.undo()
    world.session.forget()
    assert book.labels("auto layer") == ()
    world.session.redo()
    assert [record.digest for record in book.records("auto layer")] == ["fa4e", "fa4e"]
    assert world.session.auto.state.note == "2 of 4 objects"


def test_what_is_being_measured_when_the_image_changes_gets_its_records(lazy_world):
    lazy_world.engine.objects = list(FOUR)
    lazy_world.session.segment_everything()
    while not lazy_world.board.shown:
        lazy_world.runner.run(1)
    lazy_world.session.forget()
    lazy_world.runner.run()
    records = lazy_world.session.book.records("auto layer")
    assert [record.model for record in records] == ["nuclei"] * 3


def test_a_result_that_comes_back_after_a_search_in_vain_brings_its_records(world):
    world.session.segment_everything()
    world.session.undo()
    world.engine.objects = []
    world.session.segment_everything("grid")
    assert "No objects were found" in world.messages[-1]
    world.session.redo()
    assert world.session.book.labels("auto layer") == (1, 2)

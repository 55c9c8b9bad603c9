"""Images whose planes are too large for label arrays, end to end on a bare viewer model."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.inference import label_store
from napari_sam.session.jobs import SynchronousRunner
from napari_sam.session.requests import ModelChoice
from napari_sam.session.session import Session
from napari_sam.types import ObjectMask
from napari_sam.viewer import large_labels
from napari_sam.viewer.controller import Controller

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Bench


@pytest.fixture
def large(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    """A pyramid of 300 x 200 pixels, which counts as large."""
    monkeypatch.setattr(large_labels, "LARGEST_PLANE", 100)
    monkeypatch.setattr(label_store, "COARSEST", 100)
    monkeypatch.setenv("NAPARI_SAM_LABEL_DIR", str(tmp_path))
    data = np.zeros((300, 200), np.uint8)
    bench.open([data, data[::2, ::2]], multiscale=True, name="slide 1", scale=(0.5, 0.5))
    return bench


def labels(bench: Bench) -> Any:
    return np.asarray(bench.viewer.layers["SAM objects"].data[0])


def test_objects_are_kept_on_disk_and_said_to_be(large: Bench, tmp_path: Path) -> None:
    large.points.add((250, 150))
    assert large.preview.data.shape == (7, 7)
    np.testing.assert_allclose(large.preview.data_to_world((3, 3)), (125, 75))
    large.session.accept()
    large.points.add((20, 30))
    large.session.accept()
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("slide_1-")
    told = [message for message in large.messages if str(folder) in message]
    assert len(told) == 1
    data = labels(large)
    assert (data.shape, data[250, 150], data[20, 30], np.count_nonzero(data)) == ((300, 200), 1, 2, 58)


def test_others_are_kept_and_an_object_can_be_replaced(large: Bench) -> None:
    large.points.add((100, 100))
    large.session.accept()
    large.points.add((100, 103))
    large.session.accept()
    first = labels(large)
    assert (first[100, 101], first[100, 104]) == (1, 2)
    assert np.count_nonzero(first == 1) == 29
    large.session.undo()  # the prompts of the second object are back
    large.points.add((110, 103))
    large.session.accept()
    second = labels(large)
    assert np.unique(second).tolist() == [0, 1, 2]
    assert second[110, 103] == 2
    assert np.count_nonzero(second == 1) == 29


def test_an_object_without_free_pixels_is_refused(large: Bench) -> None:
    for _ in range(2):
        large.points.add((100, 100))
        large.session.accept()
    assert "choose 'overwrite'" in large.messages[-1]
    large.controller.overwrite = True
    large.session.accept()
    assert np.unique(labels(large)).tolist() == [0, 2]


def test_a_folder_that_cannot_be_written_is_told(
    large: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NAPARI_SAM_LABEL_DIR", str(tmp_path / "file"))
    large.points.add((100, 100))
    large.session.accept()
    assert "NAPARI_SAM_LABEL_DIR" in large.messages[-1]
    assert "SAM objects" not in large.viewer.layers
    assert large.session.preview is not None


def test_objects_of_a_pyramid_are_edited_and_undone_at_every_level(large: Bench) -> None:
    for at in ((100, 100), (200, 50)):
        large.points.add(at)
        large.session.accept()
    levels = large.viewer.layers["SAM objects"].data
    large.session.editing.merge(large.session.target, (None, None), [1, 2])
    merged = [np.asarray(level) for level in levels]
    assert [int(level.max()) for level in merged] == [1, 1, 1]
    for _ in range(5):
        large.session.undo()
    assert not any(np.asarray(level).any() for level in levels)
    for _ in range(5):
        large.session.redo()
    for level, expected in zip(levels, merged, strict=True):
        np.testing.assert_array_equal(np.asarray(level), expected)


def test_a_dock_that_is_opened_again_goes_on_with_the_pyramid(large: Bench, tmp_path: Path) -> None:
    large.points.add((100, 100))
    large.session.accept()
    layer = large.viewer.layers["SAM objects"]
    large.session.close()
    large.controller.disable()
    large.session = Session(large.engine, SynchronousRunner(), ModelChoice("nuclei"))
    large.controller = Controller(large.viewer, large.session)
    large.controller.enable()
    large.controller.target_layer = layer
    large.points.add((200, 50))
    large.session.accept()
    assert np.unique(labels(large)).tolist() == [0, 1, 2]
    token = large.controller.target.token(layer)
    large.session.editing.delete(token, (None, None), [1])  # of the objects before
    assert np.unique(labels(large)).tolist() == [0, 2]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_copy_of_the_layer_is_not_the_pyramid(large: Bench) -> None:
    """Both would show the same folder, and each know only of what was written through itself."""
    large.points.add((100, 100))
    large.session.accept()
    data, options, _ = large.viewer.layers["SAM objects"].as_layer_data_tuple()
    large.controller.target_layer = large.viewer.add_labels(deepcopy(data), **{**options, "name": "copy"})
    large.points.add((200, 50))
    large.session.accept()
    assert "Expected a single-scale Labels layer" in large.messages[-1]


def test_an_object_that_is_refined_leaves_its_neighbour_as_it_is(large: Bench) -> None:
    large.points.add((100, 100))
    large.session.accept()
    large.points.add((100, 107))
    large.session.accept()
    before = labels(large)
    layer = large.viewer.layers["SAM objects"]
    large.controller.refiner.refine(layer, 1)
    large.points.add((103, 97))
    large.session.accept()
    after = labels(large)
    assert (after == 2).sum() == (before == 2).sum()
    large.session.undo()
    np.testing.assert_array_equal(labels(large), before)


def test_undo_spares_what_others_wrote_into_a_pyramid(large: Bench) -> None:
    large.points.add((100, 100))
    large.session.accept()
    layer = large.viewer.layers["SAM objects"]
    layer.data[0][97, 97] = 77  # inside the object's box, outside of the object
    layer.data[0][100, 100] = 78  # on it
    large.session.undo()
    data = labels(large)
    assert (data[97, 97], data[100, 100], np.count_nonzero(data)) == (77, 78, 2)


def test_overlapping_windows_of_one_edit(large: Bench) -> None:
    large.points.add((100, 100))
    large.session.accept()
    token = large.controller.target.token(large.viewer.layers["SAM objects"])
    builder = large.session.edits.begin(token, "draw")
    tri = np.tri(9, 9, dtype=bool)
    expected = labels(large)
    for label, mask in ((5, tri), (6, ~tri)):
        builder.set((None, None), ObjectMask(mask, (150, 150)), label, "overwrite")
        expected[150:159, 150:159][mask] = label
    builder.commit()
    np.testing.assert_array_equal(labels(large), expected)


def test_what_counts_as_large() -> None:
    assert large_labels.is_large((100_000, 100_000))
    assert large_labels.is_large((3, 16385, 16384))
    assert not large_labels.is_large((16384, 16384))
    assert not large_labels.is_large((3000, 2000, 2000))

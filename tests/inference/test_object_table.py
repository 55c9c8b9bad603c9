from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from skimage.measure import regionprops_table
from skimage.morphology import label as label_components

from napari_sam.errors import SamError
from napari_sam.inference import object_table
from napari_sam.inference.candidates import Candidates, draw_with_indices
from napari_sam.inference.object_table import measure_objects
from napari_sam.types import ObjectMask


def _make_labels(shape=(90, 130), seed=0, keep=0.45):
    rng = np.random.default_rng(seed)
    return label_components(rng.random(shape) < keep).astype(np.int32)


def _reference(labels, image):
    return regionprops_table(labels, image, properties=("label", "area", "centroid", "mean_intensity"))


IMAGES = {
    "grey": lambda rng: rng.integers(0, 60000, (90, 130)).astype(np.uint16),
    "colour": lambda rng: rng.integers(0, 255, (90, 130, 3)).astype(np.uint8),
    "dask": lambda rng: da.from_array(rng.random((90, 130)), chunks=32),
    "bool": lambda rng: rng.random((90, 130)) < 0.5,
}


@pytest.mark.parametrize("stripe", [1 << 22, 700], ids=["one stripe", "many stripes"])
@pytest.mark.parametrize("name", IMAGES)
def test_labels_are_measured_like_scikit_image_does(name, stripe, monkeypatch):
    monkeypatch.setattr(object_table, "STRIPE", stripe)
    labels, image = _make_labels(), IMAGES[name](np.random.default_rng(1))
    table = measure_objects(labels, image)
    expected = _reference(labels, np.asarray(image))
    np.testing.assert_array_equal(table["index"], expected["label"])
    np.testing.assert_array_equal(table["area"], expected["area"])
    np.testing.assert_allclose(table["centroid-row"], expected["centroid-0"])
    np.testing.assert_allclose(table["centroid-col"], expected["centroid-1"])
    for column in [c for c in expected if c.startswith("mean_intensity")]:
        np.testing.assert_allclose(table[column], expected[column])
    assert sum(c.startswith("mean_intensity") for c in table) == (3 if name == "colour" else 1)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    np.testing.assert_array_equal(table["on_border"], np.isin(table["index"], edge))


def test_a_mask_is_one_object():
    table = measure_objects(np.eye(6, dtype=bool), np.full((6, 6), 3.0))
    assert (table["index"].tolist(), table["area"].tolist()) == ([1], [6])
    assert table["mean_intensity"].tolist() == [3.0]


def test_sparse_and_large_ids():
    labels = np.zeros((6, 6), np.int64)
    labels[1, 1:3], labels[4, 4] = 2**31 + 5, 3
    table = measure_objects(labels)
    assert table["index"].tolist() == [3, 2**31 + 5]
    assert table["area"].tolist() == [1, 2]


def test_nothing_gives_empty_columns():
    table = measure_objects(np.zeros((7, 5), np.int32), np.zeros((7, 5)))
    assert {len(column) for column in table.values()} == {0}
    assert {"index", "area", "mean_intensity", "predicted_iou", "on_border"} <= table.keys()


def test_a_single_pixel_image():
    table = measure_objects(np.ones((1, 1), np.uint8), np.full((1, 1), 9.0))
    assert {name: column.tolist() for name, column in table.items() if name not in object_table.SCORES} == {
        "index": [1],
        "area": [1],
        "centroid-row": [0.0],
        "centroid-col": [0.0],
        "on_border": [True],
        "mean_intensity": [9.0],
    }


def test_intensities_that_are_not_finite_are_left_out():
    labels = np.array([[1, 1, 1], [2, 2, 0]])
    image = np.array([[1.0, np.nan, 3.0], [np.inf, np.nan, 7.0]])
    mean = measure_objects(labels, image)["mean_intensity"]
    assert mean[0] == 2.0
    assert np.isnan(mean[1])


def test_scores_are_those_of_the_drawn_candidates():
    squares = [np.pad(np.ones((4, 4), bool), ((0, 4), (i, 4 - i))) for i in range(3)]
    ious = [0.7, 0.9, 0.8]
    objects = [ObjectMask.from_plane(s, predicted_iou=i) for s, i in zip(squares, ious, strict=True)]
    candidates = Candidates.from_objects(objects, (8, 8))
    labels, indices = draw_with_indices(candidates, np.array([1, 2, 0]))  # the best first
    table = measure_objects(labels, scores=candidates.take(indices))
    np.testing.assert_allclose(table["predicted_iou"], [0.9, 0.8, 0.7])
    assert table["area"].tolist() == [16, 4, 4]
    labels[7, 7] = 11  # not one of them
    table = measure_objects(labels, scores=candidates.take(indices))
    assert table["index"].tolist() == [1, 2, 3, 11]
    np.testing.assert_allclose(table["stability"], [1, 1, 1, np.nan])


class _Recorder:
    """An image that remembers how much of it was read at once."""

    def __init__(self, data):
        self.data, self.shape, self.dtype, self.largest = data, data.shape, data.dtype, 0

    def __getitem__(self, index):
        part = self.data[index]
        self.largest = max(self.largest, part.size)
        return part


def _make_candidates(labels):
    rng = np.random.default_rng(4)
    objects = [
        ObjectMask.from_plane(labels == i, predicted_iou=rng.random(), stability_score=rng.random())
        for i in range(1, labels.max() + 1)
    ]
    return Candidates.from_objects(objects, labels.shape, rng.random(len(objects)))


@pytest.mark.parametrize("tile", [512, 16], ids=["one read", "many reads"])
def test_candidates_give_what_their_labels_give(tile, monkeypatch):
    monkeypatch.setattr(object_table, "TILE", tile)
    labels = _make_labels(keep=0.5)
    image = np.random.default_rng(2).random((90, 130, 2))
    candidates = _make_candidates(labels)
    kept = np.random.default_rng(5).permutation(labels.max())
    table = measure_objects(candidates, image, kept=kept)
    whole = measure_objects(labels, image)
    for name in whole.keys() - {"index", *object_table.SCORES}:
        np.testing.assert_allclose(table[name], whole[name][kept], err_msg=name)
    np.testing.assert_array_equal(table["index"], np.arange(1, len(kept) + 1))
    np.testing.assert_array_equal(table["stability"], candidates.stability[kept])


def test_of_the_image_only_the_boxes_are_read():
    labels = np.zeros((3000, 3000), np.int32)
    labels[10:20, 10:20], labels[2500:2530, 2900:2920] = 1, 2
    image = _Recorder(np.zeros((3000, 3000), np.uint8))
    table = measure_objects(_make_candidates(labels), image, kept=[0, 1])
    assert table["area"].tolist() == [100, 600]
    assert image.largest == 600


def test_no_candidates():
    candidates = _make_candidates(np.array([[1]]))
    table = measure_objects(candidates, np.zeros((1, 1)), kept=[])
    assert {len(column) for column in table.values()} == {0}


def test_of_a_pyramid_the_finest_level_is_measured():
    labels = np.eye(4, dtype=np.int32)
    table = measure_objects(labels, [np.full((4, 4), 5.0), np.zeros((2, 2))])
    assert table["mean_intensity"].tolist() == [5.0]


@pytest.mark.parametrize(
    ("labels", "image", "message"),
    [
        (np.zeros((2, 3, 4), int), None, "one plane of integer labels"),
        (np.zeros((3, 4)), None, "one plane of integer labels"),
        (np.zeros((3, 4), int), np.zeros((4, 3)), "like the objects"),
    ],
    ids=["a stack", "floats", "another shape"],
)
def test_bad_input_is_refused(labels, image, message):
    with pytest.raises(SamError, match=message):
        measure_objects(labels, image)

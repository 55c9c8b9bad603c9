"""A whole stack with the bundled model: every kind of array, lazily, and what is no stack."""

from __future__ import annotations

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
import zarr

import napari_sam as ns
from napari_sam.errors import ImageError, SamError
from napari_sam.evaluation import evaluate_labels, evaluate_tracks
from napari_sam.inference.region import Region
from napari_sam.sample_data import make_nuclei
from napari_sam.sample_series import make_dividing_nuclei
from napari_sam.stacks.image_io import ImageStack
from napari_sam.stacks.plane_writer import PlaneWriter
from napari_sam.stacks.segment_stack import iter_segment_stack, segment_stack

SIDE = 96


@pytest.fixture(scope="module")
def model():
    return ns.load_model("nuclei", device="cpu")


@pytest.fixture(scope="module")
def volume():
    return make_nuclei((8, SIDE, SIDE), spacing=(1.0, 0.25, 0.25), count=5, seed=1)


@pytest.fixture(scope="module")
def expected(model, volume):
    return segment_stack(volume[0], model)


def finish(job):
    partial = []
    while True:
        try:
            step = next(job)
        except StopIteration as end:
            return end.value, partial
        if step.partial is not None:
            partial.append(step.partial)


def test_objects_of_a_volume_have_one_id_each(volume, expected):
    assert (expected.dtype, expected.shape) == (np.int32, (8, SIDE, SIDE))
    ids = np.unique(expected)
    assert ids.tolist() == list(range(len(ids)))
    assert evaluate_labels(volume[1], expected).ap[0.5] >= 0.8


def test_a_series_is_tracked_with_its_divisions(model):
    image, truth, parents = make_dividing_nuclei((8, SIDE, 120), count=5, divisions=0.6, seed=2)
    result, partial = finish(iter_segment_stack(image, model, "t"))
    scores = evaluate_tracks(truth, parents, result.labels, result.parents)
    assert scores.right_links == scores.true_links
    assert scores.right_divisions == scores.true_divisions > 0
    assert [number for number, _ in partial] == list(range(8))
    assert result.tracks.shape[1] == 4
    assert set(result.graph) == set(result.parents)
    for number, frame, row, col in result.tracks.tolist():
        rows, cols = np.nonzero(result.labels[int(frame)] == number)
        assert (rows.mean(), cols.mean()) == pytest.approx((row, col))
    assert (result.columns["predicted_iou"] > 0.3).all()


KINDS = [
    pytest.param(lambda image, _: da.from_array(image, chunks=(1, 50, 50)), id="dask"),
    pytest.param(lambda image, _: list(image), id="list-of-planes"),
    pytest.param(lambda image, _: ImageStack(image, "ZYX"), id="image-stack"),
    pytest.param(lambda image, _: image.astype(np.uint64) << 40, id="uint64"),
    pytest.param(lambda image, _: image.astype(np.float64) * -1e-300 * -1, id="tiny-floats"),
    pytest.param(lambda image, path: save_zarr(image, path), id="zarr"),
    pytest.param(lambda image, path: save_memmap(image, path), id="memmap"),
]


def save_zarr(image, path):
    stored = zarr.create_array(path / "a.zarr", shape=image.shape, chunks=(3, 50, 50), dtype=image.dtype)
    stored[:] = image
    return stored


def save_memmap(image, path):
    np.save(path / "a.npy", image)
    return np.load(path / "a.npy", mmap_mode="r")


@pytest.mark.parametrize("make", KINDS)
def test_every_kind_of_array_gives_the_same(make, model, volume, expected, tmp_path):
    assert (segment_stack(make(volume[0], tmp_path), model) == expected).all()


def test_channels_are_last(model, volume, expected):
    image = np.stack([np.zeros_like(volume[0]), volume[0]], axis=-1)
    predictor = ns.CachedPredictor(model, channels=[1])
    assert (segment_stack(image, predictor) == expected).all()


class Counting:
    """Says which planes were read, and never how they lie in memory."""

    def __init__(self, data):
        self.data, self.shape, self.dtype, self.ndim = data, data.shape, data.dtype, data.ndim
        self.read = []

    def __getitem__(self, key):
        self.read.append(key)
        return self.data[key]


@pytest.mark.parametrize("depth", [1, 3, 8])
def test_out_is_written_by_the_chunk_and_planes_are_read_one_by_one(depth, model, volume, expected, tmp_path):
    out = zarr.create_array(
        tmp_path / "out.zarr", shape=volume[0].shape, chunks=(depth, 40, 40), dtype="int32"
    )
    stack = Counting(volume[0])
    assert segment_stack(stack, model, out=out) is out
    assert (out[:] == expected).all()
    assert all(isinstance(key, tuple) and len(key) == 1 for key in stack.read)
    assert max(stack.read.count((k,)) for k in range(8)) <= 3  # intensities, size, objects


def test_what_is_finished_is_in_out_when_the_job_is_closed(model, volume, tmp_path):
    out = zarr.create_array(tmp_path / "out.zarr", shape=volume[0].shape, chunks=(4, 96, 96), dtype="int32")
    job = iter_segment_stack(volume[0], model, out=out)
    shown = {}
    for step in job:
        if step.partial is not None:
            shown[step.partial[0]] = step.partial[1]
        if len(shown) == 6:
            break
    job.close()
    for k, labels in shown.items():
        assert (out[k] == labels).all()
    assert (out[6:] == 0).all()
    assert any((labels > 0).any() for labels in shown.values())


def test_empty_planes_stay_empty(model, volume):
    """Percentiles of each plane would make objects of their noise."""
    rng = np.random.default_rng(0)
    noise = rng.normal(110, 3, (8, SIDE, SIDE)).clip(0).astype(np.uint16)
    image = np.concatenate([noise, volume[0], noise])
    labels = segment_stack(image, model)
    assert labels[8:16].max() > 0
    assert labels[:7].max() == labels[17:].max() == 0
    settings = ns.CachedPredictor(model).settings
    fixed = replace(settings, limits=((0.0, 4000.0),))
    result, _ = finish(iter_segment_stack(image, ns.CachedPredictor(model, settings=fixed)))
    assert result.settings.limits == ((0.0, 4000.0),)


@pytest.mark.parametrize(("diameter", "settled"), [(10, True), (28, False), (90, True)])
def test_one_object_size_is_settled_where_objects_are_small_or_large(diameter, settled, model):
    pitch = 2 * diameter
    side = pitch * max(2, 128 // pitch)  # no disk is cut
    y, x = np.mgrid[:side, :side] % pitch - pitch / 2
    soft = 1 / (1 + np.exp((np.hypot(y, x) - diameter / 2) / 0.5))
    image = (30 + 170 * np.stack([soft] * 4)).astype(np.uint8)
    result, _ = finish(iter_segment_stack(image, ns.CachedPredictor(model)))
    size = result.settings.object_size
    assert (size is not None) == settled
    assert size is None or abs(size - diameter) < 0.2 * diameter


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(np.zeros((4, 40, 40), np.uint8), id="zeros"),
        pytest.param(np.full((4, 40, 40), 7.5), id="constant"),
        pytest.param(np.full((4, 40, 40), np.nan), id="nan"),
        pytest.param(np.zeros((4, 40, 40), bool), id="bool"),
        pytest.param(np.full((4, 40, 40), 2**63, np.uint64), id="uint64"),
    ],
)
@pytest.mark.parametrize("axis", ["z", "t"])
def test_nothing_is_found_in_nothing(image, axis, model):
    result, _ = finish(iter_segment_stack(image, model, axis))
    assert result.labels.max() == result.count == 0
    assert result.tracks.shape == (0, 4)
    assert result.parents == {}


@pytest.mark.parametrize("cut", [False, True])
def test_only_a_region_of_every_plane(cut, model, volume, expected):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[:, : SIDE // 2] = True
    region = Region.from_mask(mask, (SIDE, SIDE))
    labels = finish(iter_segment_stack(volume[0], model, region=region, cut=cut))[0].labels
    assert 0 < labels.max() < expected.max()
    assert (labels[:, :, SIDE // 2 :] > 0).any() != cut


def test_planes_of_nan_among_others(model, volume):
    image = volume[0].astype(np.float32)
    image[3] = np.nan
    labels = segment_stack(image, model)
    assert labels[3].max() == 0
    assert labels[2].max() > 0
    assert set(np.unique(labels[2])) & set(np.unique(labels[4])) - {0}  # the gap is closed


def test_one_plane_is_a_stack_too(model, volume):
    labels = segment_stack(volume[0][4:5], model)
    assert labels.shape == (1, SIDE, SIDE)
    assert labels.max() >= 3


def test_volumes_at_several_times(model, volume):
    image = np.stack([volume[0][:4], volume[0][:4], volume[0][4:]])
    along_z = segment_stack(image, model, "z", axes="TZYX")
    times = [set(np.unique(labels)) - {0} for labels in along_z]
    assert not times[0] & times[1]  # each volume has ids of its own
    assert (np.unique(along_z) == np.arange(along_z.max() + 1)).all()
    result, _ = finish(iter_segment_stack(image, model, "t"))
    assert result.labels.shape == image.shape
    assert (result.labels[0] == result.labels[1]).all()
    assert result.tracks.shape[1] == 5
    assert set(result.columns["plane"].tolist()) == {0, 1, 2}


BAD = [
    pytest.param(np.zeros((5, 5)), {}, "use segment_image for a single plane", id="one-plane"),
    pytest.param(np.zeros((5, 0, 5)), {}, "Expected a stack with pixels", id="no-pixels"),
    pytest.param(np.zeros((0, 5, 5)), {}, "Expected a stack with pixels", id="no-planes"),
    pytest.param([], {}, "got an empty sequence", id="empty-list"),
    pytest.param([np.zeros((5, 5)), np.zeros((5, 6))] * 9, {}, "Expected planes of one shape", id="shapes"),
    pytest.param(np.zeros((2, 2, 2, 9, 9)), {}, "name its axes", id="five-axes"),
    pytest.param(np.zeros((2, 2, 2, 2, 9, 9)), {}, "name its axes", id="six-axes"),
    pytest.param(np.zeros((4, 40, 40, 5)), {}, "axes='ZYXC', or axes='TZYX'", id="five-channels"),
    pytest.param(
        np.zeros((40, 60, 3)), {}, "name its axes, axes='ZYX'.*use segment_image", id="one-plane-of-colours"
    ),
    pytest.param(np.zeros((3, 9, 9), complex), {}, "Expected real numbers", id="complex"),
    pytest.param(np.zeros((3, 9, 9)), {"axes": "YXZ"}, "Y, X and perhaps C last", id="axes-order"),
    pytest.param(np.zeros((3, 9, 9)), {"axes": "TZYX"}, "Expected a letter per axis", id="axes-count"),
    pytest.param(np.zeros((9, 9, 3)), {"axes": "YXC"}, "planes before Y and X", id="axes-without-planes"),
    pytest.param(
        np.zeros((3, 9, 9)), {"out": np.zeros((3, 9, 8), int)}, "to write labels to", id="out-shape"
    ),
    pytest.param(np.zeros((3, 9, 9)), {"out": np.zeros((3, 9, 9))}, "Expected integers", id="out-dtype"),
    pytest.param(np.zeros((3, 9, 9)), {"normalize": "row"}, "Expected normalize", id="normalize"),
    pytest.param(np.zeros((3, 9, 9)), {"wrong": 1}, "no such option: 'wrong'", id="option"),
    pytest.param(np.zeros((3, 9, 9)), {"method": "best"}, "Expected a method", id="method"),
    pytest.param(np.zeros((3, 9, 9)), {"axis": "x"}, "Expected axis 'z'", id="axis"),
]


@pytest.mark.parametrize(("image", "options", "message"), BAD)
def test_what_cannot_be_segmented_says_why(image, options, message, model):
    with pytest.raises(SamError, match=message):
        segment_stack(image, model, **options)


def test_a_plane_that_cannot_be_read_is_named(model):
    class Broken(Counting):
        def __getitem__(self, key):
            if key == (2,):
                raise OSError("disk on fire")
            return super().__getitem__(key)

    with pytest.raises(ImageError, match=r"Plane 2 could not be read.*disk on fire"):
        segment_stack(Broken(np.zeros((4, 30, 30))), model)


def test_ids_that_do_not_fit_into_out():
    writer = PlaneWriter(np.zeros((2, 4, 4), np.uint8))
    writer.write((0,), np.full((4, 4), 255, np.int32))
    with pytest.raises(ImageError, match="Expected room for id 256 in the output, got uint8; use int32"):
        writer.write((1,), np.full((4, 4), 256, np.int32))

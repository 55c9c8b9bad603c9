"""Planes larger than the model's field: tiles, seams, pyramids, lazy arrays, and what is read of them."""

from __future__ import annotations

import time
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

from napari_sam.errors import ImageError
from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.checkpoints import load_model
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.inference.object_scale import expected_object_size
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.region import Region
from napari_sam.types import ObjectMask, Prompts

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_sam.inference.checkpoints import LoadedModel
    from napari_sam.inference.embedding import ImageEmbedding
    from napari_sam.types import Progress

SPACING, RADIUS = 48, 10


def disks(rows: NDArray[Any], cols: NDArray[Any]) -> NDArray[np.uint16]:
    """Bright disks of radius 10 every 48 pixels, at any coordinates of an endless plane."""
    r = (rows + SPACING / 2) % SPACING - SPACING / 2
    c = (cols + SPACING / 2) % SPACING - SPACING / 2
    texture = (rows * 7919 + cols * 104729 + rows * cols * 31) % 97
    return (400 + 3000 * (np.hypot(r, c) < RADIUS) + texture).astype(np.uint16)


def disk_at(row: int, col: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(rows - row, cols - col) < RADIUS


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


def run(job: Generator[Progress, None, int]) -> tuple[list[Progress], int]:
    steps = []
    while True:
        try:
            steps.append(next(job))
        except StopIteration as end:
            return steps, end.value


@pytest.fixture(scope="module")
def plane() -> NDArray[np.uint16]:
    """(432, 528), larger than the field of `nuclei`"""
    return disks(*np.mgrid[:432, :528])


@pytest.fixture(scope="module")
def nuclei() -> LoadedModel:
    """The bundled model with a field of 256, so that its tiles cost little."""
    model = load_model("nuclei", "cpu")
    return replace(model, config=replace(model.config, image_size=256))


@pytest.fixture
def read_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[NDArray[np.bool_]], list[tuple[int, ...]]]:
    """Puts one that knows the truth, but sees its crop alone, in the decoder's place; lists the crops."""

    def install(truth: NDArray[np.bool_]) -> list[tuple[int, ...]]:
        crops: list[tuple[int, ...]] = []

        def decode(
            _: Predictor, embedding: ImageEmbedding, prompts: Sequence[Prompts], only_best: bool = False
        ) -> list[list[ObjectMask]]:
            r0, c0, r1, c1 = embedding.frame.crop
            crops.append(embedding.frame.crop)
            return [
                [ObjectMask.from_plane(truth[r0:r1, c0:c1], (r0, c0))] * (1 if only_best else 4)
                for _ in prompts
            ]

        monkeypatch.setattr(Predictor, "decode_candidates", decode)
        return crops

    return install


# ---- masks ------------------------------------------------------------------------------------------------


def test_masks_agree_with_those_of_the_whole_image(nuclei: LoadedModel, plane: NDArray[np.uint16]) -> None:
    # at one scale: of itself each tile would be enlarged by what is found in it
    settings = EncodeSettings(object_size=expected_object_size(nuclei))
    whole = CachedPredictor(
        replace(nuclei, config=replace(nuclei.config, image_size=1024)), settings=settings
    )
    tiled = CachedPredictor(nuclei, settings=settings)
    # in the middle of a tile, near the seams at 168 and 264, in a corner, at the last border
    prompts = [
        Prompts([point]) for point in ((96, 96), (192, 192), (192, 336), (0, 0), (431, 336), (288, 528 - 1))
    ]
    for p, one, other in zip(
        prompts, whole.predict_many(plane, prompts), tiled.predict_many(plane, prompts), strict=True
    ):
        assert iou(one.paste(plane.shape), other.paste(plane.shape)) > 0.95, p.points
        assert one.area > 50


def test_no_seam_is_seen_from_either_side(nuclei: LoadedModel) -> None:
    image = disks(*np.mgrid[:256, :384])
    truth = disk_at(96, 192, image.shape)  # the first tile answers up to column 192
    predictor = CachedPredictor(nuclei)
    tiles = predictor.list_tiles(image.shape)
    assert [core[3] for _, core in tiles] == [192, 384]
    left, right = (predictor.predict(image, Prompts([(96, c)])).paste(image.shape) for c in (188, 196))
    assert iou(left, right) > 0.95
    assert iou(left, truth) > 0.85


@pytest.mark.parametrize(
    ("box", "click", "count"),
    [
        pytest.param((40, 40, 90, 100), (60, 60), 1, id="within a tile"),
        pytest.param((40, 180, 90, 300), (60, 182), 2, id="cut off by its edge"),
        pytest.param((0, 180, 60, 300), (20, 182), 2, id="at the border of the plane"),
        pytest.param((40, 60, 400, 420), (60, 185), 2, id="larger than the field"),
    ],
)
def test_an_object_that_a_seam_cuts_is_looked_at_again(
    conv_model: LoadedModel,
    read_disk: Callable[..., list[tuple[int, ...]]],
    box: tuple[int, int, int, int],
    click: tuple[int, int],
    count: int,
) -> None:
    truth = np.zeros((600, 700), bool)
    truth[box[0] : box[2], box[1] : box[3]] = True
    crops = read_disk(truth)
    obj = CachedPredictor(conv_model).predict(np.zeros(truth.shape, np.uint8), Prompts([click]))
    assert obj.box == box
    assert len(crops) == count
    assert (crops[-1][2] - crops[-1][0] > 256) == (max(box[2] - box[0], box[3] - box[1]) > 200)


def test_an_endless_object_ends_the_search(
    conv_model: LoadedModel, read_disk: Callable[..., list[tuple[int, ...]]]
) -> None:
    crops = read_disk(np.ones((3000, 3000), bool))
    CachedPredictor(conv_model).predict(np.zeros((3000, 3000), np.uint8), Prompts([(1500, 1500)]))
    assert [crop[2] - crop[0] for crop in crops] == [256, 512, 1024]


def test_prompts_in_two_tiles_share_one_crop(
    conv_model: LoadedModel, read_disk: Callable[..., list[tuple[int, ...]]]
) -> None:
    crops = read_disk(np.pad(np.ones((20, 20), bool), 100))
    image = np.zeros((600, 700), np.uint8)
    CachedPredictor(conv_model).predict(image, Prompts([(100, 100), (110, 330)], box=(90, 90, 120, 340)))
    assert len(crops) == 1
    assert (crops[0][1] <= 90, crops[0][3] >= 340) == (True, True)


# ---- the size of objects, and pyramids ---------------------------------------------------------------------


def test_the_size_of_objects_chooses_the_scale_and_the_level(
    nuclei: LoadedModel, recording: Callable[..., Any]
) -> None:
    small = disks(*np.mgrid[:160, :208])
    levels = [small.repeat(4, axis=0).repeat(4, axis=1), small.repeat(2, axis=0).repeat(2, axis=1), small]
    settings = EncodeSettings(object_size=4 * expected_object_size(nuclei))
    click = Prompts([(4 * 96 + 2, 4 * 96 + 2)])
    flat = CachedPredictor(nuclei, settings=settings)
    pyramid = [recording(level) for level in levels]
    first = flat.predict(levels[0], click)
    second = flat.predict(pyramid, click)
    assert [bool(level.reads) for level in pyramid] == [True, False, True]  # the finest for the sample alone
    truth = disk_at(96, 96, small.shape).repeat(4, axis=0).repeat(4, axis=1)
    assert iou(first.paste(truth.shape), second.paste(truth.shape)) > 0.97
    assert iou(first.paste(truth.shape), truth) > 0.85
    embedding = flat.encode(levels[0], (0, 0, 640, 832))
    assert embedding.frame.scale == 0.25
    assert embedding.maps is not None
    assert embedding.maps.shape[1:] == (160, 208)


def test_tiles_grow_with_the_objects(conv_model: LoadedModel) -> None:
    predictor = CachedPredictor(conv_model).with_settings(EncodeSettings(object_size=40))
    assert predictor.field == 512
    tiles = predictor.list_tiles((1000, 500, 3))
    assert [crop for crop, _ in tiles] == [(0, 0, 512, 500), (244, 0, 756, 500), (488, 0, 1000, 500)]
    assert predictor.tier(np.zeros((1000, 500)), tiles[0][0]) is None


# ---- every kind of array ----------------------------------------------------------------------------------


def test_every_kind_of_array_shares_one_embedding(
    conv_model: LoadedModel, tmp_path: Path, encode_calls: list[tuple[int, ...]]
) -> None:
    data = disks(*np.mgrid[:300, :400])
    tifffile.imwrite(tmp_path / "image.tif", data)
    stored = zarr.create_array({}, shape=data.shape, chunks=(64, 90), dtype=data.dtype)
    stored[:] = data
    predictor, click = CachedPredictor(conv_model), Prompts([(60, 70)])
    images = {
        "numpy": data,
        "memmap": tifffile.memmap(tmp_path / "image.tif", mode="r"),
        "dask": da.from_array(data, chunks=77),
        "zarr": stored,
        "pyramid": [data, data[::2, ::2]],
        "dask from zarr": da.from_zarr(stored),
    }
    first = predictor.predict(data, click)
    count = len(encode_calls)
    for name, image in images.items():
        obj = predictor.predict(image, click)
        assert (obj.origin, obj.mask.tobytes()) == (first.origin, first.mask.tobytes()), name
    assert len(encode_calls) == count


def test_later_clicks_on_a_dask_image_compute_nothing(
    conv_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_sam.inference.cached_predictor.LARGER_CROPS", 0)
    computed = []

    def make(block_info: Any = None) -> NDArray[np.uint16]:
        (r0, r1), (c0, c1) = block_info[None]["array-location"]
        computed.append((r0, c0))
        return disks(*np.mgrid[r0:r1, c0:c1])

    image = da.map_blocks(
        make, chunks=((500,) * 8, (500,) * 8), dtype=np.uint16, meta=np.zeros((0, 0), np.uint16)
    )
    computed.clear()  # dask may try the function
    predictor = CachedPredictor(conv_model)
    predictor.predict(image, Prompts([(1200, 1300)]))
    assert 0 < len(set(computed)) <= 36 + 4  # of 64; the middle of the five places lies on a chunk's edge
    computed.clear()
    for point in ((1200, 1300), (1210, 1290)):
        predictor.predict(image, Prompts([point]))
        assert predictor.is_cached(image, Prompts([point]))
    assert computed == []


@pytest.mark.parametrize("keep", [False, True], ids=["closed", "still open"])
def test_a_zarr_that_was_rewritten_and_opened_again_by_dask(
    conv_model: LoadedModel, tmp_path: Path, keep: bool
) -> None:
    before, click = disks(*np.mgrid[:100, :120]), Prompts([(48, 48)])
    after = before[::-1].copy()
    opened = []

    def rewrite(data: NDArray[np.uint16]) -> da.Array:
        stored = zarr.create_array(
            tmp_path / "image.zarr", shape=data.shape, chunks=(64, 64), dtype=data.dtype, overwrite=True
        )
        stored[:] = data
        image = da.from_zarr(tmp_path / "image.zarr")
        opened.append(image if keep else image.name)
        return image

    predictor = CachedPredictor(conv_model)
    for data in (before, after):
        obj = predictor.predict(rewrite(data), click)
        expected = CachedPredictor(conv_model).predict(data, click)
        assert (obj.origin, obj.mask.tobytes()) == (expected.origin, expected.mask.tobytes())
        assert obj.predicted_iou == expected.predicted_iou
    assert len({image.name if keep else image for image in opened}) == 1


def test_pixels_that_changed_unseen_are_not_kept_under_the_key_of_the_old(
    conv_model: LoadedModel, tmp_path: Path
) -> None:
    """A dask array is taken for unchanging, but the cache outlives the session."""
    before, click = disks(*np.mgrid[:100, :120]), Prompts([(48, 48)])
    data = before.copy()
    image = da.map_blocks(lambda: data.copy(), chunks=data.shape, dtype=data.dtype, name="file")
    predictor = CachedPredictor(conv_model, tmp_path, memory_bytes=0)
    predictor.predict(image, click)
    predictor.cache.flush()
    assert predictor.cache.store is not None
    predictor.cache.store.clear()
    data[:] = 5 * before[::-1]  # another range of intensities, too
    for images in ((image, data), (before, before)):
        obj, expected = (
            predictor.predict(images[0], click),
            CachedPredictor(conv_model).predict(images[1], click),
        )
        assert (obj.origin, obj.mask.tobytes()) == (expected.origin, expected.mask.tobytes())
        assert obj.predicted_iou == expected.predicted_iou
        predictor.cache.flush()


class Unreliable:
    """A lazy image of which the n-th read fails."""

    dtype = np.dtype(np.uint16)

    def __init__(self, data: NDArray[np.uint16], fails: int) -> None:
        self.data, self.shape, self.fails, self.reads = data, data.shape, fails, 0

    def __getitem__(self, index: Any) -> NDArray[np.uint16]:
        self.reads += 1
        if self.reads == self.fails:
            raise OSError("connection lost")
        return self.data[index]


@pytest.mark.parametrize("fails", [1, 2], ids=["the crop", "the sample"])
def test_the_next_click_after_a_failing_read_is_answered(conv_model: LoadedModel, fails: int) -> None:
    data = disks(*np.mgrid[:200, :220])
    predictor, image, click = CachedPredictor(conv_model), Unreliable(data, fails), Prompts([(48, 48)])
    with pytest.raises(ImageError, match="connection lost"):
        predictor.predict(image, click)
    obj, expected = predictor.predict(image, click), CachedPredictor(conv_model).predict(data, click)
    assert (obj.origin, obj.mask.tobytes()) == (expected.origin, expected.mask.tobytes())


def test_a_lazy_image_that_changes_in_place_is_seen_as_it_is(
    conv_model: LoadedModel, recording: Callable[..., Any]
) -> None:
    data = disks(*np.mgrid[:200, :220])
    predictor, image, click = CachedPredictor(conv_model), recording(data.copy()), Prompts([(48, 48)])
    predictor.predict(image, click)
    image.data[:] = 5 * data[::-1]  # another range of intensities, too
    assert not predictor.is_cached(image, click)
    obj, expected = predictor.predict(image, click), CachedPredictor(conv_model).predict(image.data, click)
    assert (obj.origin, obj.mask.tobytes()) == (expected.origin, expected.mask.tobytes())


def test_a_lazy_image_that_changes_in_place_is_measured_again_for_the_next_tile(
    conv_model: LoadedModel, recording: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = disks(*np.mgrid[:200, :600])
    predictor, image, click = CachedPredictor(conv_model), recording(data.copy()), Prompts([(48, 528)])
    predictor.predict(image, Prompts([(48, 48)]))
    image.data[:] = 5 * data  # nobody has looked at the other tile yet
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 2)
    obj, expected = predictor.predict(image, click), CachedPredictor(conv_model).predict(image.data, click)
    assert (obj.origin, obj.mask.tobytes()) == (expected.origin, expected.mask.tobytes())
    assert obj.predicted_iou == expected.predicted_iou


class Endless:
    """100,000 x 100,000 pixels that are made when they are read."""

    shape, dtype, ndim = (100_000, 100_000), np.dtype(np.uint16), 2

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __getitem__(self, index: tuple[slice, slice]) -> NDArray[np.uint16]:
        rows, cols = index
        self.sizes.append((rows.stop - rows.start) * (cols.stop - cols.start))
        lines = (np.r_[s] % 1009 for s in (rows, cols))
        return np.add.outer(*lines).astype(np.uint16)


@pytest.mark.parametrize("lazily", ["a reader", "dask"])
def test_a_plane_of_ten_gigapixels(
    conv_model: LoadedModel, lazily: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_sam.inference.cached_predictor.LARGER_CROPS", 0)
    reader = Endless()
    image: Any = reader
    if lazily == "dask":
        image = da.from_array(reader, chunks=1000, asarray=False, name="endless")
    predictor = CachedPredictor(conv_model, memory_bytes=1 << 26)
    tracemalloc.start()
    try:
        for point in ((50_016, 70_032), (50_020, 70_030), (99_999, 99_999)):
            predictor.predict(image, Prompts([point]))
        predictor.predict(image, Prompts([(500, 500), (500, 1500)]))  # a coarser crop
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1e9  # of 20
    if lazily == "a reader":
        crops = 3 * 256**2 + 2048**2
        assert sum(reader.sizes) <= 4 * 512**2 + crops  # each crop may want a fresh sample
    reader.sizes.clear()
    predictor.predict(image, Prompts([(50_020, 70_030)]))
    assert reader.sizes == ([256**2] if lazily == "a reader" else [])


# ---- settings, disk and precomputing ----------------------------------------------------------------------


def test_settings_share_the_cache_but_not_the_embeddings(
    conv_model: LoadedModel, encode_calls: list[tuple[int, ...]]
) -> None:
    image = disks(*np.mgrid[:100, :120])
    predictor = CachedPredictor(conv_model)
    predictor.encode(image)
    other = predictor.with_settings(EncodeSettings(limits=((0, 60000),)))
    assert (predictor.tier(image), other.tier(image)) == ("memory", None)
    other.encode(image)
    assert predictor.with_settings(predictor.settings).tier(image) == "memory"
    assert (len(encode_calls), len(predictor.cache)) == (2, 2)


def test_the_same_pixels_elsewhere_are_not_encoded_again(
    conv_model: LoadedModel, encode_calls: list[tuple[int, ...]]
) -> None:
    image = disks(*np.mgrid[:400, :300])
    predictor = CachedPredictor(conv_model, settings=EncodeSettings(limits=((0, 4000),)))
    first = predictor.encode(image, (150, 40, 300, 160))
    second = predictor.encode(image[140:, 10:], (10, 30, 160, 150))
    assert len(encode_calls) == 1
    assert second.frame.crop == (10, 30, 160, 150)
    assert (first.plane_shape, second.plane_shape) == ((400, 300), (260, 290))
    one = predictor.predictor.decode(first, Prompts([(192, 96)]))
    other = predictor.predictor.decode(second, Prompts([(52, 86)]))
    assert (one.origin[0] - 140, one.origin[1] - 10) == other.origin
    np.testing.assert_array_equal(one.mask, other.mask)


def test_what_is_on_disk_is_found_by_the_next_predictor(
    model: LoadedModel, tmp_path: Path, encode_calls: list[tuple[int, ...]]
) -> None:
    image, click = disks(*np.mgrid[:100, :120]), Prompts([(48, 48)])
    writing = CachedPredictor(model, tmp_path / "cache")
    first = writing.predict(image, click)
    writing.cache.flush()
    count = len(encode_calls)
    again = CachedPredictor(model, tmp_path / "cache")
    assert again.tier(image) == "disk"
    second = again.predict(image, click)
    assert (len(encode_calls), again.tier(image)) == (count, "memory")
    assert first.iou(second) > 0.95 or first.area == second.area == 0


def test_a_damaged_entry_is_encoded_again(
    conv_model: LoadedModel, tmp_path: Path, encode_calls: list[tuple[int, ...]]
) -> None:
    image, click = disks(*np.mgrid[:100, :120]), Prompts([(48, 48)])
    writing = CachedPredictor(conv_model, tmp_path)
    first = writing.predict(image, click)
    writing.cache.flush()
    (entry,) = tmp_path.glob("*.zip")
    damaged = bytearray(entry.read_bytes())
    damaged[len(damaged) // 2 :: 97] = bytes(len(damaged[len(damaged) // 2 :: 97]))
    entry.write_bytes(damaged)
    count = len(encode_calls)
    second = CachedPredictor(conv_model, tmp_path).predict(image, click)
    assert len(encode_calls) == count + 1
    assert (first.origin, first.mask.tobytes()) == (second.origin, second.mask.tobytes())


def test_the_default_folder_can_be_set(
    conv_model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAPARI_SAM_CACHE_DIR", str(tmp_path / "kept"))
    predictor = CachedPredictor(conv_model, "default")
    predictor.encode(np.eye(64))
    predictor.cache.flush()
    assert any((tmp_path / "kept").iterdir())


def test_encoding_ahead_skips_what_is_cached_and_keeps_what_is_done(
    conv_model: LoadedModel, encode_calls: list[tuple[int, ...]]
) -> None:
    image = np.random.default_rng(0).integers(0, 255, (256, 600), np.uint8)
    predictor = CachedPredictor(conv_model)
    job = predictor.embed(image)
    assert [next(job).done for _ in range(3)] == [0, 1, 2]
    job.close()  # cancelled
    assert len(encode_calls) == 2
    steps, encoded = run(predictor.embed(image))
    count = len(predictor.list_tiles(image.shape))
    assert (steps[-1].done, steps[-1].total, encoded) == (count, count, count - 2)
    assert all(predictor.is_cached(image, Prompts([(100, c)])) for c in range(5, 600, 40))
    assert [end.done for end in predictor.embed(image, tiles=[])] == [0]


@pytest.mark.parametrize("source", ["encoded", "from disk, in part"])
def test_encoding_ahead_after_the_disk_was_cleared(
    conv_model: LoadedModel, tmp_path: Path, encode_calls: list[tuple[int, ...]], source: str
) -> None:
    image, click = disks(*np.mgrid[:100, :120]), Prompts([(48, 48)])
    predictor = CachedPredictor(conv_model, tmp_path)
    predictor.predict(image, click)
    predictor.cache.flush()
    if source != "encoded":
        predictor = CachedPredictor(conv_model, tmp_path)
        predictor.predict(image, click)
    (entry,) = tmp_path.glob("*.zip")
    entry.unlink()
    encode_calls.clear()
    _, encoded = run(predictor.embed(image))
    predictor.cache.flush()
    assert encoded == len(encode_calls) == (0 if source == "encoded" else 1)
    assert entry.exists()


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(np.array, id="an array"),
        pytest.param(lambda tiles: [tuple(tile) for tile in np.array(tiles)], id="numbers of NumPy"),
        pytest.param(lambda tiles: [list(tile) for tile in tiles], id="lists"),
    ],
)
@pytest.mark.parametrize("lazily", [False, True], ids=["numpy", "lazily read"])
def test_tiles_may_be_rows_of_an_array(
    conv_model: LoadedModel, recording: Callable[..., Any], tmp_path: Path, kind: Any, lazily: bool
) -> None:
    image = np.random.default_rng(0).integers(0, 255, (100, 300), np.uint8)
    predictor = CachedPredictor(conv_model, tmp_path)
    tiles = [crop for crop, _ in predictor.list_tiles(image.shape)]
    _, encoded = run(predictor.embed(recording(image) if lazily else image, kind(tiles)))
    predictor.cache.flush()
    assert (encoded, len(list(tmp_path.glob("*.zip")))) == (len(tiles), len(tiles))
    assert all(predictor.tier(image, tile) == "memory" for tile in (*tiles, *kind(tiles)))
    assert CachedPredictor(conv_model, tmp_path).tier(image, tiles[0]) == "disk"


def test_encoding_ahead_in_a_region(conv_model: LoadedModel, encode_calls: list[tuple[int, ...]]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (256, 600), np.uint8)
    predictor = CachedPredictor(conv_model)
    list(predictor.embed(image, region=Region.from_box((10, 320, 60, 340), image.shape)))
    assert [crop for crop, _ in predictor.list_tiles(image.shape) if predictor.tier(image, crop)] == [
        next(crop for crop, core in predictor.list_tiles(image.shape) if core[1] <= 320 and core[3] >= 340)
    ]
    assert len(encode_calls) == 1


def test_the_picture_of_what_the_model_sees(conv_model: LoadedModel) -> None:
    image = disks(*np.mgrid[:300, :400])
    predictor = CachedPredictor(conv_model, settings=EncodeSettings(limits=((400, 3400),)))
    picture = predictor.render_input(image, (0, 0, 96, 96))
    assert (picture.shape, picture.dtype) == ((96, 96, 3), np.uint8)
    np.testing.assert_array_equal(picture[48, 48], [255] * 3)
    assert picture[24, 24].max() < 10


def test_the_second_look_holds_all_prompts(
    conv_model: LoadedModel, read_disk: Callable[..., list[tuple[int, ...]]]
) -> None:
    truth = np.zeros((900, 1200), bool)
    truth[40:90, 180:300] = True
    crops = read_disk(truth)
    prompts = Prompts([(60, 182), (160, 60)], [1, 1])
    CachedPredictor(conv_model).predict(np.zeros(truth.shape, np.uint8), prompts)
    r0, c0, r1, c1 = crops[-1]
    assert len(crops) > 1
    assert r0 <= 60 < 160 < r1
    assert c0 <= 60 < 182 < c1

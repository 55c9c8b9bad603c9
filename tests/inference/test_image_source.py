from __future__ import annotations

import gc
import time
import weakref
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

from napari_sam.errors import ImageError
from napari_sam.inference import image_source, plane_sample
from napari_sam.inference.area_averages import average_area
from napari_sam.inference.image_source import ImageSource, check_plane
from napari_sam.inference.source_memory import FRESH, LASTS, WORTH, MemoryPool, is_dask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 4000, (96, 160), dtype=np.uint16)
COLOURS = RNG.integers(0, 255, (60, 80, 5), dtype=np.uint8)


def halve(image: NDArray[Any], rows: int = 2, cols: int = 2) -> NDArray[np.float32]:
    """Means of blocks."""
    h, w = image.shape[0] // rows, image.shape[1] // cols
    trimmed = image[: h * rows, : w * cols]
    return trimmed.reshape(h, rows, w, cols, *image.shape[2:]).mean((1, 3), dtype=np.float32)


def as_kind(data: NDArray[Any], kind: str, folder: Path) -> Any:
    if kind == "dask":
        return da.from_array(data, chunks=(37, 41, *data.shape[2:]))
    if kind == "zarr":
        array = zarr.create_array({}, shape=data.shape, chunks=(32, 50, *data.shape[2:]), dtype=data.dtype)
        array[:] = data
        return array
    if kind == "memmap":
        tifffile.imwrite(folder / "image.tif", data, photometric="minisblack")
        return tifffile.memmap(folder / "image.tif", mode="r")
    return data


# ---- what is read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["numpy", "dask", "zarr", "memmap"])
@pytest.mark.parametrize("data", [NOISE, COLOURS], ids=["gray", "channels"])
def test_every_kind_of_array_gives_the_same_pixels(kind: str, data: NDArray[Any], tmp_path: Path) -> None:
    source = ImageSource(as_kind(data, kind, tmp_path))
    assert source.shape == data.shape[:2]
    assert source.channels == (data.shape[2] if data.ndim == 3 else 0)
    assert source.dtype == data.dtype
    pixels = source.read((3, 30, 58, 77))
    assert (type(pixels).__array_priority__, pixels.dtype) == (np.ndarray.__array_priority__, data.dtype)
    np.testing.assert_array_equal(pixels, data[3:58, 30:77])
    np.testing.assert_array_equal(source.sample(), ImageSource(data).sample())


@pytest.mark.parametrize("kind", ["numpy", "dask", "zarr", "memmap"])
def test_the_sample_of_a_large_plane_is_the_same_for_every_kind(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(plane_sample, "STRIDE_SIDE", 64)
    monkeypatch.setattr(plane_sample, "SAMPLE_SIDE", 20)
    # 5 places of 4 pixels in the middle of fifths
    rows = np.concatenate([np.arange(4) + start for start in (7, 26, 46, 65, 84)])  # 9.6 - 2, 28.8 - 2, ...
    cols = np.concatenate([np.arange(4) + start for start in (14, 46, 78, 110, 142)])
    sample = ImageSource(as_kind(NOISE, kind, tmp_path)).sample()
    np.testing.assert_array_equal(sample, NOISE[np.ix_(rows, cols)])


def test_a_plane_of_medium_size_is_sampled_evenly() -> None:
    image = np.arange(1500 * 7).reshape(1500, 7)
    np.testing.assert_array_equal(ImageSource(image).sample(), image[::3])


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        pytest.param((3,), [3], id="one"),
        pytest.param((1, 3), [1, 3], id="with a gap"),
        pytest.param((4, 0), [4, 0], id="in another order"),
    ],
)
def test_only_the_channels_asked_for(channels: tuple[int, ...], expected: list[int]) -> None:
    pixels = ImageSource(COLOURS).read((0, 0, 9, 9), channels=channels)
    np.testing.assert_array_equal(pixels, COLOURS[:9, :9, expected])


def test_only_the_crop_is_read(recording: Callable[..., Any]) -> None:
    image = recording(COLOURS)
    ImageSource(image).read((5, 6, 25, 46), channels=(2, 3))
    assert image.reads == [((20, 40, 2), 1600)]


# ---- pyramids ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "level"), [(4.0, 0), (1.0, 0), (0.6, 0), (0.5, 1), (0.3, 1), (0.25, 2), (0.01, 2)], ids=str
)
def test_the_coarsest_level_that_is_fine_enough(scale: float, level: int) -> None:
    pyramid = [NOISE, halve(NOISE), halve(halve(NOISE))]
    assert ImageSource(pyramid).choose_level(scale) == level


def test_levels_whose_sides_were_rounded() -> None:
    # 1001 / 500 is 2.002: meant to be half
    levels = [np.broadcast_to(np.uint8(0), shape) for shape in ((1001, 999), (500, 499), (250, 249))]
    assert [ImageSource(levels).choose_level(s) for s in (1, 0.5, 0.25)] == [0, 1, 2]


def test_a_level_is_read_where_the_crop_lies() -> None:
    source = ImageSource([NOISE, halve(NOISE), halve(halve(NOISE))])
    np.testing.assert_array_equal(source.read((8, 16, 48, 96), 0.25), halve(halve(NOISE))[2:12, 4:24])
    # rows 10 and 50 lie in the middle of the coarsest level's pixels: averaged onto the crop's grid
    coarse = halve(halve(NOISE))
    expected = (coarse[2:12, 4:24] + coarse[3:13, 4:24]) / 2
    np.testing.assert_allclose(source.read((10, 16, 50, 96), 0.25), expected, rtol=1e-5)


def test_levels_that_are_coarser_along_one_axis_only() -> None:
    source = ImageSource([NOISE, halve(NOISE, 1, 2)])
    assert source.choose_level(0.5) == 1
    np.testing.assert_array_equal(source.read((3, 10, 20, 30), 0.5), halve(NOISE, 1, 2)[3:20, 5:15])


def test_a_factor_that_is_not_whole() -> None:
    """A plane that rises evenly is known between the pixels as well."""
    rows, cols = np.mgrid[:300, :450] + 0.5
    coarse = (np.mgrid[:200, :180][0] + 0.5) * 1.5 + (np.mgrid[:200, :180][1] + 0.5) * 2.5
    pixels = ImageSource([rows + cols, coarse]).read((31, 52, 211, 332), 0.4)
    assert pixels.shape == (120, 112)
    r = 31 + (np.arange(120) + 0.5) * 180 / 120
    c = 52 + (np.arange(112) + 0.5) * 280 / 112
    np.testing.assert_allclose(pixels, r[:, None] + c[None], atol=2)


def test_a_very_large_crop_of_a_flat_image_is_averaged_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_source, "LARGEST_READ", 1000)
    monkeypatch.setattr(image_source, "BLOCK_SIDE", 24)
    found = ImageSource(NOISE).read((0, 0, 96, 160), 0.25)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, halve(NOISE, 4, 4), rtol=1e-5)
    colours = ImageSource(COLOURS).read((0, 0, 60, 80), 0.5, (1, 4))
    np.testing.assert_allclose(colours, halve(COLOURS)[..., [1, 4]], rtol=1e-5)


def test_blocks_bound_what_is_read_at_once(
    recording: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_source, "LARGEST_READ", 1000)
    monkeypatch.setattr(image_source, "BLOCK_SIDE", 24)
    image = recording(NOISE)
    ImageSource(image).read((0, 0, 96, 160), 0.25)
    assert max(size for _, size in image.reads) <= 25 * 25
    assert sum(size for _, size in image.reads) < 1.2 * NOISE.size


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.int64, np.float64, bool], ids=str)
def test_averages_over_cells(dtype: type) -> None:
    pixels = RNG.integers(0, 2 if dtype is bool else 200, (7, 9, 2)).astype(dtype)
    rows, cols = np.array([0.5, 1.25, 4, 7]), np.array([0, 2.5, 2.75, 9])
    fine = pixels.astype(float).repeat(4, axis=0).repeat(4, axis=1)  # quarters of pixels are exact here
    r, c = (rows * 4).astype(int), (cols * 4).astype(int)
    expected = np.array(
        [[fine[r[i] : r[i + 1], c[j] : c[j + 1]].mean((0, 1)) for j in range(3)] for i in range(3)]
    )
    np.testing.assert_allclose(average_area(pixels, rows, cols), expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64], ids=str)
@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf], ids=str)
def test_a_hole_takes_no_part_in_averages(hole: float, dtype: type) -> None:
    pixels = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [0, 0, 0, 9], [0, 0, 0, 9]], dtype)
    edges = np.array([0.0, 2, 3.5])
    whole = average_area(pixels, edges, edges)
    pixels[0, 1], pixels[2:, 3] = hole, hole
    found = average_area(pixels, edges, edges)
    expected = np.array([[4, (3 * 2 + 7 * 2 + 4 + 8) / 6], [0, 0]])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert (found.dtype, found[0, 1], found[1, 0]) == (whole.dtype, whole[0, 1], whole[1, 0])
    pixels[:2, :2] = hole
    np.testing.assert_array_equal(average_area(pixels, edges, edges)[0, 0], dtype(hole))


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        pytest.param([NOISE, np.zeros((200, 10))], "finest level first", id="larger"),
        pytest.param([NOISE, NOISE, NOISE], "use segment_stack for planes", id="planes of a stack"),
        pytest.param([COLOURS, np.zeros((30, 40, 2))], "channels alike", id="other channels"),
        pytest.param([NOISE, np.zeros((0, 10))], "with pixels", id="an empty level"),
        pytest.param([NOISE, np.zeros(9)], "got 1-D", id="one-dimensional"),
        pytest.param([], "got 0-D", id="no levels"),
    ],
)
def test_no_pyramid(levels: list[Any], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        ImageSource(levels)


def test_levels_that_are_coarser_along_z_alone_are_as_good_as_the_first() -> None:
    """Planes of a volume whose first step leaves y and x alone."""
    source = ImageSource([NOISE, NOISE, halve(NOISE)])
    assert [source.choose_level(scale) for scale in (1.0, 0.5)] == [0, 2]


def test_the_shape_of_a_pyramid_is_that_of_its_finest_level() -> None:
    assert check_plane([COLOURS, halve(COLOURS)]) == (60, 80, 5)
    assert check_plane(ImageSource([NOISE, halve(NOISE)])) == (96, 160, 0)


# ---- reads that fail --------------------------------------------------------------------------------------


class Failing:
    """An image whose file is gone now and then."""

    shape, dtype, ndim = (40, 50), np.dtype(np.uint16), 2

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def __getitem__(self, index: Any) -> NDArray[np.uint16]:
        if self.error is not None:
            raise self.error
        return NOISE[:40, :50][index]


@pytest.mark.parametrize("error", [OSError("disk gone"), RuntimeError("codec"), MemoryError()], ids=repr)
def test_a_failing_read_is_reported_with_its_cause_and_not_remembered(error: Exception) -> None:
    image = Failing(error)
    source = ImageSource(image)
    for call in (lambda: source.read((0, 0, 9, 9)), source.sample):
        with pytest.raises(ImageError, match=f"could not be read .{type(error).__name__}") as caught:
            call()
        assert caught.value.__cause__ is error
    image.error = None
    np.testing.assert_array_equal(source.read((0, 0, 9, 9)), NOISE[:9, :9])
    np.testing.assert_array_equal(source.sample(), NOISE[:40, :50])


def test_fewer_pixels_than_the_shape_promises() -> None:
    class Short(Failing):
        def __getitem__(self, index: Any) -> NDArray[np.uint16]:
            return NOISE[:5, :50][index]

    with pytest.raises(ImageError, match=r"Expected 20 x 50 pixels .* got shape \(5, 50\)"):
        ImageSource(Short(None)).read((0, 0, 20, 50))


# ---- what is remembered -----------------------------------------------------------------------------------


def test_a_lazy_image_is_known_again_and_not_kept_alive(recording: Callable[..., Any]) -> None:
    pool, image = MemoryPool(), recording(NOISE)
    memory = pool.find([image])
    assert pool.find([image]) is memory
    assert pool.find([recording(NOISE)]) is not memory
    gone = weakref.ref(image)
    del image
    gc.collect()
    assert gone() is None


def test_dask_arrays_are_known_by_name() -> None:
    pool = MemoryPool()
    first, again = (da.from_array(NOISE, chunks=50)[:40] for _ in range(2))
    assert first is not again
    assert pool.find([first]) is pool.find([again])
    assert pool.find([first[:20]]) is not pool.find([first])


def test_slices_of_one_dask_array_share_what_is_remembered() -> None:
    pool, stack = MemoryPool(), da.stack([da.from_array(NOISE, chunks=50)] * 3)
    memory = pool.find([stack[1]])
    memory.note_digest("crop", "a")
    assert stack[1] is not stack[1]
    assert pool.find([stack[1]]) is memory
    assert memory.known_digest("crop") == "a"


@pytest.mark.parametrize("keep", [False, True], ids=["closed", "still open"])
def test_a_dask_array_that_is_made_anew_is_read_anew(keep: bool) -> None:
    """What is named after a path has the same name when the file has been rewritten."""
    pool = MemoryPool()
    first = da.map_blocks(lambda: NOISE, chunks=NOISE.shape, dtype=NOISE.dtype, name="file")
    pool.find([first[:40]]).note_digest("crop", "a")
    kept = first if keep else None
    del first
    gc.collect()
    again = da.map_blocks(lambda: NOISE[::-1], chunks=NOISE.shape, dtype=NOISE.dtype, name="file")
    memory = pool.find([again[:40]])
    assert memory.known_digest("crop") is None
    memory.note_digest("crop", "b")
    # while there are two of one name, neither is trusted
    assert pool.find([again[:40]]).known_digest("crop") == (None if keep else "b")
    del kept
    gc.collect()
    pool.find([again[:40]]).note_digest("crop", "b")
    assert pool.find([again[:40]]).known_digest("crop") == "b"


class KeepsFileOpen(da.Array):
    """As readers of microscope files make them."""


def test_arrays_derived_from_those_of_dask_are_known_by_name() -> None:
    plain = da.from_array(NOISE, chunks=50)
    image = KeepsFileOpen(plain.dask, plain.name, plain.chunks, dtype=plain.dtype)
    memory = MemoryPool().find([image])
    assert memory.immutable
    assert is_dask(image)


class Labelled:
    """Has of an xarray.DataArray what it shares with a dask array, whatever array it holds."""

    def __init__(self, data: Any) -> None:
        self.data, self.dims, self.name = data, ("y", "x"), None
        self.shape, self.dtype, self.ndim = data.shape, data.dtype, data.ndim
        self.chunks = getattr(data, "chunks", None)

    def __dask_graph__(self) -> Any:
        return None if self.chunks is None else self.data.__dask_graph__()

    def __getitem__(self, index: Any) -> Labelled:
        return Labelled(self.data[index])

    def __array__(self, *_: Any, **__: Any) -> NDArray[Any]:
        return np.asarray(self.data)


def label_axes(kind: str, data: Any) -> Any:
    return Labelled(data) if kind == "like xarray" else pytest.importorskip("xarray").DataArray(data)


@pytest.mark.parametrize("kind", ["like xarray", "xarray"])
def test_arrays_with_labelled_axes_are_told_apart(kind: str) -> None:
    """They have what a dask array has, and are all called None."""
    pool = MemoryPool()
    first, second = label_axes(kind, NOISE), label_axes(kind, NOISE[::-1])
    memory = pool.find([first])
    assert pool.find([first]) is memory
    assert pool.find([second]) is not memory
    assert not memory.immutable
    for image, data in ((first, NOISE), (second, NOISE[::-1])):
        np.testing.assert_array_equal(ImageSource(image).read((3, 30, 58, 77)), data[3:58, 30:77])
        np.testing.assert_array_equal(ImageSource(image).sample(), data)


@pytest.mark.parametrize("kind", ["like xarray", "xarray"])
def test_a_dask_array_with_labelled_axes_is_one(kind: str) -> None:
    data = da.from_array(NOISE, chunks=50)
    source = ImageSource(label_axes(kind, data))
    assert source.levels[0] is data
    np.testing.assert_array_equal(source.sample(), NOISE)


def test_other_pixels_in_a_known_crop_mean_another_sample(recording: Callable[..., Any]) -> None:
    source = ImageSource(recording(NOISE.copy()))
    memory = source.memory
    assert memory is not None
    before = source.sample()
    memory.note_digest("crop", "a")
    memory.note_digest("other", "b")
    memory.note_digest("crop", "a")
    assert source.sample() is before
    source.levels[0].data[:] = 7
    assert source.sample() is before  # nothing says that it changed
    memory.note_digest("crop", "c")
    assert (source.sample() == 7).all()
    assert memory.known_digest("crop") is None  # it may change again


def test_a_sample_is_taken_anew_after_a_while(
    recording: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plane that is still being acquired changes where nobody has looked before."""
    source = ImageSource(recording(NOISE.copy()))
    steady = ImageSource(da.from_array(NOISE, chunks=50))
    before, known = source.sample(), steady.sample()
    source.levels[0].data[:] = 7
    assert source.sample() is before
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + LASTS + 1)
    assert (source.sample() == 7).all()
    assert steady.sample() is known


def test_a_crop_that_nobody_has_looked_at_before_wants_a_fresh_sample(
    recording: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image may have been overwritten, and no crop from before says so."""
    source = ImageSource(recording(NOISE.copy()))
    steady = ImageSource(da.from_array(NOISE, chunks=50))
    before, known = source.sample(), steady.sample()
    assert source.memory is not None
    assert steady.memory is not None
    source.memory.note_digest("crop", "a")
    source.levels[0].data[:] = 7
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + FRESH + 1)
    source.memory.note_digest("crop", "a")
    assert source.sample() is before
    source.memory.note_digest("other", "b")
    steady.memory.note_digest("other", "b")
    assert (source.sample() == 7).all()
    assert steady.sample() is known


def test_a_sample_that_took_long_to_read_is_good_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an image far away would be sampled anew for every tile."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    class Far(Failing):
        def __getitem__(self, index: Any) -> NDArray[np.uint16]:
            clock[0] += 0.5
            return super().__getitem__(index)

    source = ImageSource(Far(None))
    before, memory = source.sample(), source.memory
    assert memory is not None
    clock[0] = 0.5 * WORTH - 1
    memory.note_digest("one", "a")
    assert source.sample() is before
    clock[0] = 0.5 * WORTH + 1
    memory.note_digest("other", "b")
    assert source.sample() is not before


def test_the_pool_is_bounded(recording: Callable[..., Any]) -> None:
    pool, images = MemoryPool(limit=3), [recording(NOISE) for _ in range(5)]
    first = pool.find([images[0]])
    for image in images:
        pool.find([image])
    assert len(pool._known) == 3
    assert pool.find([images[0]]) is not first

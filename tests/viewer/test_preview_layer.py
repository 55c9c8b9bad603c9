from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.layers import Image

from napari_sam.session.requests import Plane, Preview
from napari_sam.types import ObjectMask
from napari_sam.viewer import large_labels, preview_layer
from napari_sam.viewer.preview_layer import OnePlane, make_preview, paint_preview

SHAPE = (4, 10, 12)
IMAGE = Image(np.zeros(SHAPE))


def preview(z: int, r: int, c: int, size: int = 3) -> Preview:
    plane = Plane("s", (z, None, None), SHAPE[1:], lambda: np.zeros(SHAPE[1:]))
    return Preview(plane, ObjectMask(np.ones((size, size), bool), (r, c)))


def pixels(*shown: Preview) -> Any:
    full = np.zeros(SHAPE, bool)
    for each in shown:
        full[each.plane.index[0]] |= each.mask.paste(SHAPE[1:])
    return full


@pytest.fixture(params=["index arrays", "regions", "one plane"])
def layer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "regions":
        monkeypatch.setattr(preview_layer, "FEW_PIXELS", 0)
    if request.param == "one plane":
        monkeypatch.setattr(preview_layer, "MAX_BYTES", 0)
    return make_preview(IMAGE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(None, preview(1, 2, 3), id="first"),
        pytest.param(preview(1, 2, 3), preview(1, 3, 4), id="overlapping"),
        pytest.param(preview(1, 0, 0), preview(1, 7, 9), id="apart"),
        pytest.param(preview(1, 2, 3, 6), preview(1, 3, 4, 2), id="smaller"),
        pytest.param(preview(1, 2, 3), preview(2, 2, 3), id="another slice"),
        pytest.param(preview(1, 2, 3), None, id="gone"),
        pytest.param(preview(1, 2, 3), preview(1, 2, 3, 0), id="empty"),
    ],
)
def test_only_the_new_preview_is_left(layer: Any, old: Preview | None, new: Preview | None) -> None:
    paint_preview(layer, None, old, IMAGE)
    paint_preview(layer, old, new, IMAGE)
    shown = [] if new is None else [new]
    np.testing.assert_array_equal(np.asarray(layer.data) != 0, pixels(*shown))


def test_no_undo_history_piles_up(layer: Any) -> None:
    paint_preview(layer, None, preview(1, 2, 3), IMAGE)
    layer.undo()
    np.testing.assert_array_equal(np.asarray(layer.data) != 0, pixels(preview(1, 2, 3)))
    assert not layer.editable


@pytest.mark.parametrize(
    "key",
    [
        (2,), (1,), (2, slice(1, 6)), (slice(None), 4), (2, 4), (2, 4, 5), (..., 5),
        (slice(1, 3), slice(2, 5), slice(0, 9)),
        (slice(None, None, 2), slice(None, None, 3)), ...,
    ],
    ids=str,
)  # fmt: skip
def test_one_plane_reads_as_the_full_array(key: Any) -> None:
    array, full = OnePlane(SHAPE), np.zeros(SHAPE, np.uint8)
    region = (2, slice(3, 6), slice(4, 9))
    array[region] = full[region] = np.arange(15).reshape(3, 5) + 1
    np.testing.assert_array_equal(array[key], full[key])


def test_one_plane_is_the_size_of_a_plane() -> None:
    array = OnePlane((10**6, 10**5, 10**5))
    assert (array.ndim, array.dtype, array.size) == (3, np.uint8, 10**16)
    assert array[5, :10, :10].sum() == 0


# ------------------------------------------------------------------ planes too large to mirror
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="pixels"),
        pytest.param({"scale": (2, 0.5, 0.25), "translate": (1, -3, 7)}, id="scale and translate"),
        pytest.param({"scale": (2, 0.5, 0.25), "rotate": (0, 0, 30), "shear": (0.1, 0, 0.2)}, id="all"),
        pytest.param({"affine": np.diag([3.0, 2.0, 0.5, 1.0])}, id="affine"),
    ],
)
def test_on_a_large_plane_a_patch_moves_to_the_mask(monkeypatch: Any, options: dict[str, Any]) -> None:
    monkeypatch.setattr(large_labels, "LARGEST_PLANE", 100)
    image = Image(np.zeros(SHAPE), **options)
    layer = make_preview(image)
    assert layer.data.size == 1
    new = preview(1, 2, 3, 4)
    paint_preview(layer, None, new, image)
    assert layer.data.shape == (1, 4, 4)
    assert layer.data.all()
    for corner, place in (((0, 0, 0), (1, 2, 3)), ((0, 3, 3), (1, 5, 6))):
        np.testing.assert_allclose(layer.data_to_world(corner), image.data_to_world(place), atol=1e-9)
    assert not layer.editable
    paint_preview(layer, new, None, image)
    assert not layer.data.any()

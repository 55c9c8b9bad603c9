from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Points

from napari_sam.errors import ImageError
from napari_sam.inference.image_source import ImageSource
from napari_sam.viewer.planes import layer_map, layer_transform, locate_plane, spatial_shape

RAMP = np.arange(3 * 4 * 5 * 6).reshape(3, 4, 5, 6)


def show(
    layer: Any, point: tuple[float, ...] | None = None, order: tuple[int, ...] | None = None
) -> ViewerModel:
    viewer = ViewerModel()
    viewer.add_layer(layer)
    if order is not None:
        viewer.dims.order = order
    if point is not None:
        viewer.dims.point = point
    return viewer


@pytest.mark.parametrize(
    ("shape", "scale", "point", "order", "index"),
    [
        pytest.param((5, 6), None, None, None, (None, None), id="2-D"),
        pytest.param((4, 5, 6), None, (2, 0, 0), None, (2, None, None), id="3-D"),
        pytest.param(
            (4, 5, 6), (2.5, 1, 1), (5, 0, 0), None, (2, None, None), id="scaled: world 5 is slice 2"
        ),
        pytest.param((4, 5, 6), None, (0, 3, 0), (1, 0, 2), (None, 3, None), id="second axis sliced"),
        pytest.param(
            (4, 5, 6), None, (0, 3, 0), (1, 2, 0), (None, 3, None), id="transposed display, same plane"
        ),
        pytest.param((4, 5, 6), None, (0, 0, 4), (2, 0, 1), (None, None, 4), id="last axis sliced"),
        pytest.param((3, 4, 5, 6), None, (1, 2, 0, 0), None, (1, 2, None, None), id="4-D"),
        pytest.param((2, 3, 4, 5, 6), None, (1, 2, 3, 0, 0), None, (1, 2, 3, None, None), id="5-D"),
    ],
)
def test_the_plane_that_is_shown(
    shape: tuple[int, ...], scale: Any, point: Any, order: Any, index: tuple[int | None, ...]
) -> None:
    data = np.random.default_rng(0).integers(0, 99, shape)
    layer = Image(data, scale=scale)
    plane = locate_plane(layer, show(layer, point, order).dims, "source")
    assert plane.index == index
    expected = data[tuple(slice(None) if i is None else i for i in index)]
    np.testing.assert_array_equal(plane.read(), expected)
    assert plane.shape == expected.shape


@pytest.mark.parametrize("channels", [3, 4])
def test_rgb_planes_have_three_channels(channels: int) -> None:
    data = np.random.default_rng(0).integers(0, 255, (4, 5, 6, channels), dtype=np.uint8)
    layer = Image(data, rgb=True)
    plane = locate_plane(layer, show(layer, (3, 0, 0)).dims, "s")
    assert plane.index == (3, None, None)
    np.testing.assert_array_equal(plane.read(), data[3, ..., :3])
    assert spatial_shape(layer) == (4, 5, 6)


def test_multiscale_gives_all_levels_finest_first() -> None:
    data = np.arange(64).reshape(8, 8)
    layer = Image([data, data[::2, ::2]], multiscale=True)
    plane = locate_plane(layer, show(layer).dims, "s")
    assert plane.shape == (8, 8)
    fine, coarse = plane.read()
    np.testing.assert_array_equal(fine, data)
    np.testing.assert_array_equal(coarse, data[::2, ::2])


@pytest.mark.parametrize("rgb", [False, True], ids=["gray", "rgb"])
def test_levels_that_are_coarser_along_other_axes_only_are_left_out(rgb: bool) -> None:
    colours = (3,) if rgb else ()
    data = np.arange(8 * 8 * 6 * 3).astype(np.uint8).reshape(8, 8, 6, 3)
    data = data if rgb else data[..., 0]
    layer = Image([data, data[::2], data[::4, ::2, ::2], data[::8, ::2, ::2]], multiscale=True, rgb=rgb)
    plane = locate_plane(layer, show(layer, (3, 0, 0)).dims, "s")
    fine, coarse = plane.read()
    assert (fine.shape, coarse.shape) == ((8, 6, *colours), (4, 3, *colours))
    np.testing.assert_array_equal(fine, data[3])
    ImageSource(plane.read())  # takes no two levels of one size


def test_dask_reads_only_the_plane() -> None:
    blocks: list[Any] = []

    def block(block_info: Any = None) -> Any:
        blocks.append(block_info[None]["chunk-location"][0])
        return np.full((1, 5, 6), block_info[None]["chunk-location"][0])

    data = da.map_blocks(block, chunks=((1,) * 4, (5,), (6,)), dtype=int, meta=np.zeros((0, 0, 0), int))
    layer = Image(data, contrast_limits=(0, 4))
    viewer = show(layer, (2, 0, 0))
    plane = locate_plane(layer, viewer.dims, "s")
    blocks.clear()
    image = plane.read()
    assert (image.shape, image.ndim, image.dtype) == ((5, 6), 2, np.dtype(int))
    assert blocks == []
    assert (np.asarray(image) == 2).all()
    assert set(blocks) == {2}


def test_an_image_of_fewer_dimensions_than_the_viewer() -> None:
    layer = Image(np.zeros((5, 6)))
    viewer = show(layer)
    viewer.add_image(RAMP)
    assert locate_plane(layer, viewer.dims, "s").index == (None, None)
    viewer.dims.order = (2, 3, 0, 1)
    with pytest.raises(ImageError, match="Expected a view that shows two axes"):
        locate_plane(layer, viewer.dims, "s")


def test_a_3d_view_is_refused_with_what_to_do() -> None:
    layer = Image(np.zeros((4, 5, 6)))
    viewer = show(layer)
    viewer.dims.ndisplay = 3
    with pytest.raises(ImageError, match="switch to 2-D"):
        locate_plane(layer, viewer.dims, "s")


def test_a_slice_outside_the_image_is_refused() -> None:
    layer = Image(np.zeros((4, 5, 6)))
    viewer = show(layer)
    viewer.add_image(np.zeros((9, 5, 6)))
    viewer.dims.set_point(0, 7)
    with pytest.raises(ImageError, match=r"\(0 to 3 on axis 0\), got 7"):
        locate_plane(layer, viewer.dims, "s")


def test_planes_of_other_pixels_differ() -> None:
    layer = Image(np.zeros((4, 5, 6)))
    viewer = show(layer)
    assert locate_plane(layer, viewer.dims, "a") == locate_plane(layer, viewer.dims, "a")
    assert locate_plane(layer, viewer.dims, "a") != locate_plane(layer, viewer.dims, "b")


def test_layer_map_equals_the_layers_own_transforms() -> None:
    options: dict[str, Any] = {"scale": (3, 0.5, 2), "translate": (1, -2, 5)}
    image = Image(np.zeros((4, 5, 6)), **options)
    points = Points(ndim=3, scale=(1, 2, 3), translate=(7, 7, 7))
    positions = np.random.default_rng(0).uniform(-5, 5, (7, 3))
    expected = [image.world_to_data(points.data_to_world(position)) for position in positions]
    np.testing.assert_allclose(layer_map(points, image, (0, 0, 0))(positions), expected)


def test_layer_map_takes_missing_dimensions_from_the_viewer() -> None:
    image, points = Image(np.zeros((4, 5, 6)), scale=(2, 1, 1)), Points(ndim=2)
    np.testing.assert_allclose(layer_map(points, image, (6, 0, 0))([(1, 2)]), [(3, 1, 2)])
    np.testing.assert_allclose(layer_map(image, points, (6, 0, 0))([(3, 1, 2)]), [(1, 2)])


def test_layer_transform_makes_layers_coincide() -> None:
    image = Image(np.zeros((5, 6)), scale=(2, 3), translate=(4, 5), rotate=30, shear=[0.1])
    points = Points(ndim=2, **layer_transform(image))
    for position in ((0, 0), (1, 0), (0, 1)):
        np.testing.assert_allclose(points.data_to_world(position), image.data_to_world(position))


@pytest.mark.parametrize("scale", [0.1, 0.3, 0.7, 1.1, 2.54])
@pytest.mark.parametrize("translate", [0, 0.05, 13.7])
def test_every_slice_is_the_one_that_the_slider_says(scale: float, translate: float) -> None:
    layer = Image(np.zeros((50, 5, 6)), scale=(scale, 1, 1), translate=(translate, 0, 0))
    viewer = show(layer)
    wrong = []
    for z in range(50):
        viewer.dims.set_current_step(0, z)
        if locate_plane(layer, viewer.dims, "s").index[0] != z:
            wrong.append(z)
    assert wrong == []

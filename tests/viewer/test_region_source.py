from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.layers import Image, Labels, Shapes

from napari_sam.errors import PromptError
from napari_sam.session.requests import Plane
from napari_sam.viewer.region_source import read_region, read_view

SIZE = (12, 16)
BOX = [(2, 3), (2, 8), (7, 8), (7, 3)]  # the corners of rows 2 to 7, columns 3 to 8


def plane(*index: int | None) -> Plane:
    return Plane("s", index or (None, None), SIZE, lambda: np.zeros(SIZE), name="cells")


def image(*shape: int, **options: Any) -> Image:
    return Image(np.zeros(shape or SIZE), **options)


def inside(layer: Any, base: Any, where: Plane | None = None, **options: Any) -> Any:
    where = where or plane()
    point = [value or 0 for value in where.index]  # unscaled along the axes that are not shown
    choice = read_region(layer, base, where, point, **options)
    return choice.region.mask((0, 0, *where.shape))


def expected(rows: slice, cols: slice) -> Any:
    mask = np.zeros(SIZE, bool)
    mask[rows, cols] = True
    return mask


@pytest.mark.parametrize("kind", ["rectangle", "polygon"])
def test_shapes_hold_the_pixels_whose_centre_they_hold(kind: str) -> None:
    np.testing.assert_array_equal(
        inside(Shapes([np.array(BOX)], shape_type=kind), image()), expected(slice(2, 8), slice(3, 9))
    )


def test_an_ellipse_touches_the_middle_of_its_sides() -> None:
    mask = inside(Shapes([np.array([(1, 2), (1, 12), (9, 12), (9, 2)])], shape_type="ellipse"), image())
    rows, cols = np.mgrid[: SIZE[0], : SIZE[1]]
    distance = ((rows - 5) / 4) ** 2 + ((cols - 7) / 5) ** 2
    assert mask[distance < 0.97].all()
    assert not mask[distance > 1.001].any()


def test_several_shapes_are_one_region_and_open_ones_are_none() -> None:
    layer = Shapes(
        [np.array(BOX), np.array([(10, 12), (10, 14), (11, 14), (11, 12)]), np.array([(0, 0), (11, 15)])],
        shape_type=["rectangle", "polygon", "line"],
    )
    wanted = expected(slice(2, 8), slice(3, 9)) | expected(slice(10, 12), slice(12, 15))
    np.testing.assert_array_equal(inside(layer, image()), wanted)


@pytest.mark.parametrize(
    ("of_image", "of_layer"),
    [
        pytest.param({"scale": (0.5, 0.25)}, {}, id="the image is scaled"),
        pytest.param({}, {"scale": (2, 2), "translate": (1, -1)}, id="the layer is scaled and moved"),
        pytest.param({"rotate": 30, "translate": (5, 5)}, {"rotate": -20}, id="both are rotated"),
    ],
)
def test_shapes_lie_where_they_are_seen(of_image: dict[str, Any], of_layer: dict[str, Any]) -> None:
    base = image(**of_image)
    layer = Shapes(ndim=2, **of_layer)
    corners = [layer.world_to_data(base.data_to_world(np.array(corner))) for corner in BOX]
    layer.add_polygons([np.array(corners)])
    # the corners are moved back by floats, so pixels on the edge may fall on either side
    mask = inside(layer, base)
    assert mask[3:7, 4:8].all()
    assert not (mask & ~expected(slice(2, 8), slice(3, 9))).any()


def test_only_shapes_of_the_shown_plane_count() -> None:
    base = image(3, *SIZE)
    vertices = [np.array([(z, *corner) for corner in BOX]) for z in (0, 2)]
    layer = Shapes(vertices, shape_type="polygon")
    assert inside(layer, base, plane(2, None, None)).sum() == 36
    layer.name = "rois"
    with pytest.raises(PromptError, match="Expected a closed shape of 'rois' on the plane that is shown"):
        inside(layer, base, plane(1, None, None))


def test_a_flat_shapes_layer_holds_for_every_plane() -> None:
    layer = Shapes([np.array(BOX)], shape_type="polygon")
    assert inside(layer, image(3, *SIZE), plane(1, None, None)).sum() == 36


def test_labels_are_a_region_wherever_they_are_not_0() -> None:
    data = np.zeros(SIZE, int)
    data[2:5, 3:6] = 7
    data[9, 9] = 2
    np.testing.assert_array_equal(inside(Labels(data), image()), data != 0)


def test_labels_of_a_stack_give_the_shown_plane() -> None:
    data = np.zeros((3, *SIZE), int)
    data[1, 2:5, 3:6] = 1
    np.testing.assert_array_equal(inside(Labels(data), image(3, *SIZE), plane(1, None, None)), data[1] != 0)
    with pytest.raises(PromptError, match="got none in 'tissue'"):
        inside(Labels(data, name="tissue"), image(3, *SIZE), plane(0, None, None))


def test_coarse_labels_cover_what_they_are_seen_on() -> None:
    data = np.zeros((6, 8), int)
    data[1, 2] = 1
    # pixel (1, 2) of twice the size is centred between pixels (2, 4) and (3, 5)
    layer = Labels(data, scale=(2, 2), translate=(0.5, 0.5))
    np.testing.assert_array_equal(inside(layer, image()), expected(slice(2, 4), slice(4, 6)))


def test_labels_that_lie_beside_the_image_end_where_they_end() -> None:
    layer = Labels(np.ones((5, 5), int), translate=(-2, 10))
    np.testing.assert_array_equal(inside(layer, image()), expected(slice(0, 3), slice(10, 15)))


def test_rotated_labels_are_looked_up_pixel_by_pixel() -> None:
    layer = Labels(np.ones((40, 40), int), rotate=45, translate=(6, 8))
    base = image()
    rows, cols = np.mgrid[: SIZE[0], : SIZE[1]]
    seen = np.array([layer.world_to_data((r, c)) for r, c in zip(rows.flat, cols.flat, strict=True)])
    held = ((np.rint(seen) >= 0) & (np.rint(seen) < 40)).all(axis=1).reshape(SIZE)
    assert 0 < held.sum() < held.size
    np.testing.assert_array_equal(inside(layer, base), held)


def test_equal_regions_have_equal_digests_and_others_do_not() -> None:
    base, here = image(), plane()
    one, same, other = (Labels(np.eye(*SIZE, k=k, dtype=int)) for k in (0, 0, 1))
    digests = [read_region(layer, base, here, (0, 0)).digest for layer in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]
    shapes = [Shapes([np.array(BOX) + k], shape_type="polygon") for k in (0, 0, 1)]
    digests = [read_region(layer, base, here, (0, 0)).digest for layer in shapes]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("multiscale", [False, True])
def test_the_visible_region_is_in_pixels_of_the_finest_level(multiscale: bool) -> None:
    levels = [np.zeros(SIZE), np.zeros((6, 8))]
    base = Image(levels, multiscale=True) if multiscale else Image(levels[0])
    factor = base.downsample_factors[base.data_level][0] if multiscale else 1
    base.corner_pixels = np.array([(2, 4), (6, 8)]) // int(factor)
    choice = read_view(base, plane())
    r0, c0, r1, c1 = choice.region.box
    assert (r0, c0) == (2, 4)
    assert 7 <= r1 <= 8 + factor
    assert 9 <= c1 <= 10 + factor

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.errors import SamError
from napari_sam.inference import instance_maps
from napari_sam.inference.instance_maps import InstanceParams, segment_maps, tidy_labels
from napari_sam.inference.label_image import read_objects
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.tiling import cover_plane
from napari_sam.inference.transforms import measure_normalization
from napari_sam.modeling.instance_decoder import OFFSET_UNIT
from napari_sam.training.instance_targets import make_instance_targets

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_sam.inference.checkpoints import LoadedModel


def perfect_maps(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """What a perfect instance decoder would say, activated."""
    targets, _ = make_instance_targets(labels)
    targets[3:] *= OFFSET_UNIT
    return targets


def draw_discs(shape: tuple[int, int], discs: list[tuple[float, float, float]]) -> NDArray[np.int32]:
    """Every pixel goes to the disc whose middle is nearest, so that touching ones meet in a line."""
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    gaps = np.array([np.hypot(rows - r, cols - c) - radius for r, c, radius in discs])
    return np.where(gaps.min(axis=0) < 0, gaps.argmin(axis=0) + 1, 0).astype(np.int32)


def draw_ellipse(shape: tuple[int, int]) -> NDArray[np.int32]:
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    return (((rows - 40) / 8) ** 2 + ((cols - 40) / 30) ** 2 < 1).astype(np.int32)


rng = np.random.default_rng(0)
GRID = [(12.0 + 20 * i, 12.0 + 20 * j, float(rng.uniform(8, 10.4))) for i in range(6) for j in range(6)]


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(draw_discs((80, 80), [(40, 40, 15)]), id="one disc"),
        pytest.param(draw_discs((80, 80), [(40, 25, 16), (40, 55, 16)]), id="two that touch"),
        pytest.param(draw_discs((80, 80), [(30, 25, 16), (30, 52, 14), (54, 38, 15)]), id="three that touch"),
        pytest.param(draw_discs((80, 80), [(40, 22, 20), (40, 50, 9)]), id="large and small"),
        pytest.param(draw_discs((124, 124), GRID), id="a crowd"),
        pytest.param(draw_discs((80, 80), [(0, 0, 15), (79, 40, 12), (40, 79.5, 9)]), id="cut by the edge"),
        pytest.param(draw_ellipse((80, 80)), id="long"),
        pytest.param(draw_discs((60, 300), [(30, 150, 28), (20, 10, 4), (50, 290, 4)]), id="all sizes"),
    ],
)
def test_perfect_maps_give_back_the_objects(labels: NDArray[np.int32]) -> None:
    found = segment_maps(perfect_maps(labels))
    assert found.dtype == np.int32
    true, ours = read_objects(labels), read_objects(found)
    assert sorted(ours) == list(range(1, len(true) + 1))
    for number, obj in true.items():
        best = max(obj.iou(other) for other in ours.values())
        assert best > 0.9, f"object {number} is found with IoU {best:.2f}"


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (30, 30)], ids=str)
def test_no_foreground_gives_no_objects(shape: tuple[int, int]) -> None:
    labels = segment_maps(np.zeros((5, *shape), np.float32))
    assert (labels.shape, labels.dtype, labels.any()) == (shape, np.int32, False)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 40)], ids=str)
def test_all_foreground_without_offsets_ends(shape: tuple[int, int]) -> None:
    """Every pixel votes for itself: nothing sensible can come out, but an answer does."""
    maps = np.zeros((5, *shape), np.float32)
    maps[0] = 1
    assert segment_maps(maps).shape == shape


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"foreground": 2}, "foreground from 0 to 1, got 2"),
        ({"foreground": "x"}, "foreground from 0 to 1, got 'x'"),
        ({"score": float("nan")}, "score from 0 to 1, got nan"),
        ({"vote_sigma": -1}, "vote_sigma as a finite number of 0 or more, got -1"),
        ({"vote_sigma": "x"}, "vote_sigma as a finite number"),
        ({"vote_peak": -0.1}, "vote_peak as a finite number"),
        ({"merge_distance": float("nan")}, "merge_distance as a finite number"),
        ({"merge_distance": float("inf")}, "merge_distance as a finite number"),
        ({"min_area": -1}, "min_area as a finite number"),
    ],
    ids=str,
)
def test_impossible_thresholds_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SamError, match=message):
        InstanceParams(**values)


def test_thresholds_may_be_numbers_of_any_kind() -> None:
    params = InstanceParams(foreground=0, vote_sigma=np.float32(0), vote_peak=1, min_area=np.int64(3))
    labels = draw_discs((60, 60), [(20, 20, 8)])
    np.testing.assert_array_equal(segment_maps(perfect_maps(labels), params) > 0, labels > 0)


def test_small_objects_are_dropped() -> None:
    labels = draw_discs((60, 60), [(20, 20, 10), (45, 45, 2.1)])
    area = int((labels == 2).sum())
    for least, expected in ((area, 2), (area + 1, 1)):
        found = segment_maps(perfect_maps(labels), InstanceParams(min_area=least, vote_peak=0.1))
        assert found.max() == expected


@pytest.mark.parametrize(
    ("before", "least", "after"),
    [
        pytest.param(["5509", "5500"], 1, ["1102", "1100"], id="compact ids"),
        pytest.param(["5509", "5500"], 2, ["1100", "1100"], id="small ones dropped"),
        pytest.param(["5505", "5500"], 1, ["1100", "1100"], id="the largest part stays"),
        pytest.param(["5500", "0000", "5550"], 1, ["0000", "0000", "1110"], id="also with a gap between"),
        pytest.param(["5500", "0055", "0055"], 1, ["0000", "0011", "0011"], id="also corner to corner"),
        pytest.param(["3333", "3003", "3333"], 1, ["1111", "1111", "1111"], id="holes filled"),
        pytest.param(["3333", "3773", "3333"], 1, ["1111", "1221", "1111"], id="but not with others in them"),
        pytest.param(["0000"], 1, ["0000"], id="nothing"),
    ],
)
def test_tidy_labels(before: list[str], least: int, after: list[str]) -> None:
    def to_labels(drawing: list[str]) -> NDArray[np.int32]:
        return np.array([[int(c) for c in line] for line in drawing], np.int32)

    np.testing.assert_array_equal(tidy_labels(to_labels(before), least), to_labels(after))


def test_maps_of_tiles_equal_those_of_the_plane(
    conv_model: LoadedModel, make_blobs: Callable[..., NDArray[Any]]
) -> None:
    """Beyond the encoder's reach (123 pixels) from a tile's border nobody can tell that there is one."""
    image, reach = make_blobs(288, 560), 124
    norm, predictor = measure_normalization(image), Predictor(conv_model)

    def encode(crop: tuple[int, int, int, int]) -> NDArray[np.float32]:
        r0, c0, r1, c1 = crop
        maps = predictor.encode(image[r0:r1, c0:c1], norm, predictor.make_frame(crop, 1.0), (288, 560)).maps
        assert maps is not None
        return maps.astype(np.float32)

    whole = encode((0, 0, 288, 560))
    assert whole[0].std() > 1e-3
    compared = 0
    for crop, _ in cover_plane((288, 560), 256 + 32, 64):
        tile = encode(crop)
        inner = [
            slice(low + (reach if low else 0), high - (reach if high < size else 0))
            for low, high, size in ((crop[0], crop[2], 288), (crop[1], crop[3], 560))
        ]
        own = tile[:, inner[0].start - crop[0] : inner[0].stop - crop[0], inner[1].start - crop[1] :]
        own = own[:, :, : inner[1].stop - inner[1].start]
        np.testing.assert_allclose(own, whole[:, inner[0], inner[1]], atol=4e-3)  # float16
        compared += own[0].size
    assert compared > 0.4 * image.size


def test_pixels_beside_the_doubtful_ones_flood_them_as_all_would(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(3)
    maps = perfect_maps(draw_discs((124, 124), GRID))
    maps[2] += noise.normal(0, 0.1, maps.shape[1:])
    far = noise.random(maps.shape[1:]) < 0.3
    maps[3:, far] += noise.normal(0, 12, (2, int(far.sum())))  # votes that no seed gets
    found = segment_maps(maps)
    asked = []
    monkeypatch.setattr(
        instance_maps, "binary_dilation", lambda mask: asked.append(mask) or np.ones_like(mask)
    )
    np.testing.assert_array_equal(segment_maps(maps), found)
    assert asked[0].any()
    assert found.max() == len(GRID)

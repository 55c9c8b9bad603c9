"""Objects from UNETR maps: hand-made ones, and the reference's segmentation of the same maps."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt, gaussian_filter

from napari_sam.errors import SamError
from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.checkpoints import LoadedModel
from napari_sam.inference.segment_image import filter_defaults, segment_image
from napari_sam.inference.unetr_instances import UnetrParams, decode_maps, segment_unetr_maps
from napari_sam.modeling import build_sam

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

PLAIN = UnetrParams(foreground_sigma=0, distance_sigma=0, min_area=0)


def draw_maps(size: int, seed: int, noise: float) -> NDArray[np.float32]:
    """Maps (3, size, size) of overlapping discs, with smooth noise as a network's."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:size, :size]
    maps = np.stack([np.zeros((size, size)), np.ones((size, size)), np.ones((size, size))])
    for _ in range(size * size // 600):
        r, c, radius = rng.uniform(0, size), rng.uniform(0, size), rng.uniform(5, 13)
        distance = np.hypot(rows - r, cols - c) / radius
        disc = distance < 1
        maps[0][disc] = 1
        maps[1][disc] = distance[disc]
        depth = distance_transform_edt(disc)
        maps[2][disc] = 1 - depth[disc] / depth.max()
    blurred = gaussian_filter(rng.normal(size=maps.shape), (0, 2, 2))
    return np.clip(maps + noise * blurred / blurred.std(), 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def reference() -> Iterator[Callable[..., NDArray[Any]]]:
    """torch-em's watershed, which micro-sam calls; of the packages it imports only one is needed for it."""
    for needed in ("torch_em", "bioimage_cpp"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(
                f"{needed} is not installed: pip install --no-deps -r tests/requirements-reference.txt"
            )
    spec = importlib.util.find_spec("torch_em")
    folder = next(iter(spec.submodule_search_locations or []) if spec else iter(()))
    with pytest.MonkeyPatch.context() as patch:
        for name, attributes in {
            "torch_em": {"__path__": [folder]},
            "torch_em.util": {"__path__": [f"{folder}/util"]},
            "elf": {},
            "elf.segmentation": {},
            "elf.segmentation.utils": {"normalize_input": None},
            "elf.segmentation.mutex_watershed": {"mutex_watershed": None},
        }.items():
            module = ModuleType(name)
            vars(module).update(attributes)
            patch.setitem(sys.modules, name, module)
        loaded = importlib.import_module("torch_em.util.segmentation")
        yield loaded.watershed_from_center_and_boundary_distances
        del sys.modules["torch_em.util.segmentation"]


@pytest.mark.parametrize(
    ("noise", "params"),
    [
        pytest.param(0.0, UnetrParams(min_area=0), id="clean maps, defaults of micro-sam"),
        pytest.param(0.1, UnetrParams(min_area=0), id="noisy maps"),
        pytest.param(0.1, UnetrParams(0.6, 0.4, 0.55, 2.0, 0.8, 25), id="other thresholds"),
        pytest.param(0.05, PLAIN, id="no smoothing"),
    ],
)
def test_segmentation_equals_reference(
    reference: Callable[..., NDArray[Any]], noise: float, params: UnetrParams
) -> None:
    from bioimage_cpp.filters import gaussian_smoothing  # micro-sam's own step before that function

    maps = draw_maps(160, 3, noise)
    foreground = maps[0]
    if params.foreground_sigma:
        foreground = gaussian_smoothing(foreground, params.foreground_sigma)
    expected = reference(
        center_distances=maps[1],
        boundary_distances=maps[2],
        foreground_map=foreground,
        center_distance_threshold=params.center_distance,
        boundary_distance_threshold=params.boundary_distance,
        foreground_threshold=params.foreground,
        distance_smoothing=params.distance_sigma,
        min_size=params.min_area,
    ).astype(np.int32)
    assert expected.max() > 15  # there is something to compare

    found = segment_unetr_maps(maps, params)

    assert found.max() == len(np.unique(expected)) - 1
    # Their watershed rounds heights to 65,536 levels and leaves the order within one open.
    np.testing.assert_array_equal(found > 0, expected > 0)
    pairs, counts = np.unique(np.stack([found.ravel(), expected.ravel()]), axis=1, return_counts=True)
    best = {int(number): counts[pairs[0] == number].max() for number in np.unique(found)}
    assert found.size - sum(best.values()) <= 5


@pytest.mark.parametrize(
    ("params", "areas"),
    [
        pytest.param(PLAIN, [25, 9], id="all"),
        pytest.param(replace(PLAIN, min_area=9), [25, 9], id="just large enough"),
        pytest.param(replace(PLAIN, min_area=10), [25], id="small ones dropped"),
        pytest.param(replace(PLAIN, center_distance=0.2), [25], id="no seed"),
        pytest.param(replace(PLAIN, foreground=1.0), [], id="no foreground"),
    ],
)
def test_thresholds(params: UnetrParams, areas: list[int]) -> None:
    maps = np.ones((3, 12, 12), np.float32)
    maps[0] = 0
    maps[0, 1:6, 1:6], maps[0, 7:10, 7:10] = 1, 1
    maps[1:, 3, 3], maps[1:, 8, 8] = 0.1, 0.3

    assert np.bincount(segment_unetr_maps(maps, params).ravel())[1:].tolist() == areas


def test_empty_maps_give_no_objects() -> None:
    labels = segment_unetr_maps(np.zeros((3, 8, 9), np.float16))
    assert labels.shape == (8, 9)
    assert labels.dtype == np.int32
    assert not labels.any()


@pytest.fixture(scope="module")
def unetr_model() -> LoadedModel:
    torch.manual_seed(5)
    config = replace(build_sam("vit_test").config, instance_decoder="unetr")
    return LoadedModel("unetr_test", "0" * 64, config, torch.device("cpu"), build_sam(config).eval())


def test_doubtful_objects_are_kept_as_micro_sam_does(unetr_model: LoadedModel) -> None:
    predictor = CachedPredictor(unetr_model)
    for options in ({}, {"foreground": 0.3}):
        assert filter_defaults(predictor, "instances", **options).foreground == 0
    assert filter_defaults(predictor, "instances", min_area=30).min_area == 30


@pytest.mark.parametrize("crop", [(0, 0, 120, 150), (10, 20, 90, 84)], ids=["plane", "crop"])
def test_maps_of_a_crop_are_on_its_pixels(
    unetr_model: LoadedModel, blobs: NDArray[np.uint8], crop: tuple[int, int, int, int]
) -> None:
    maps = decode_maps(unetr_model, CachedPredictor(unetr_model).encode(blobs, crop))
    assert maps.shape == (3, crop[2] - crop[0], crop[3] - crop[1])
    assert maps.dtype == np.float16
    assert maps.min() >= 0
    assert maps.max() <= 1


def test_maps_follow_the_objects_of_the_plane(
    unetr_model: LoadedModel, blobs: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a decoder that gives the place in the frame, each map value says where its pixel lies."""

    def draw_places(embedding: torch.Tensor) -> torch.Tensor:
        ramp = torch.arange(128.0) / 128
        return torch.stack([ramp[:, None].expand(128, 128), ramp.expand(128, 128), torch.zeros(128, 128)])[
            None
        ]

    monkeypatch.setattr(unetr_model.module, "decode_maps", draw_places)
    maps = decode_maps(unetr_model, CachedPredictor(unetr_model).encode(blobs)).astype(np.float32)
    # 120 x 150 pixels were resized to 102 x 128 of the frame's.
    rows, cols = ((np.arange(n) + 0.5) * inner / n - 0.5 for n, inner in ((120, 102), (150, 128)))
    np.testing.assert_allclose(maps[0, 2:-2, 60] * 128, rows[2:-2], atol=0.1)
    np.testing.assert_allclose(maps[1, 60, 2:-2] * 128, cols[2:-2], atol=0.1)


def test_segment_everything_uses_them(
    unetr_model: LoadedModel, blobs: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder that draws two discs in the frame: they come out as two objects of the plane."""
    discs = np.ones((3, 128, 128), np.float32)
    discs[0] = 0
    rows, cols = np.mgrid[:128, :128]
    for row, col in ((30, 40), (70, 90)):
        distance = np.hypot(rows - row, cols - col) / 16
        discs[0][distance < 1], discs[1:, distance < 1] = 1, distance[distance < 1]
    monkeypatch.setattr(unetr_model.module, "decode_maps", lambda embedding: torch.from_numpy(discs)[None])

    square = blobs[:, :120]  # one tile
    labels = segment_image(square, unetr_model)

    assert labels.shape == square.shape
    assert len(np.unique(labels)) == 3
    found = [np.argwhere(labels == number).mean(axis=0) for number in (1, 2)]
    np.testing.assert_allclose(
        sorted(map(tuple, found)), np.array([(30, 40), (70, 90)]) * 120 / 128, atol=1.5
    )


def test_thresholds_that_cannot_be_are_refused() -> None:
    with pytest.raises(SamError, match="center_distance from 0 to 1, got 2"):
        UnetrParams(center_distance=2)
    with pytest.raises(SamError, match="distance_sigma as a finite number of 0 or more, got nan"):
        UnetrParams(distance_sigma=float("nan"))

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_sam.cli.labelled_files import read_labelled_images
from napari_sam.errors import SamError
from napari_sam.inference.object_scale import measure_rescale
from napari_sam.training.config import CONFIGS, TrainConfig
from napari_sam.training.dataset import CropDataset, LabelledImage, prepare_image, split_holdout
from napari_sam.training.instance_targets import CONTACT_WEIGHT

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


CONFIG = replace(CONFIGS["smoke"], crop=64)


def labelled(name: str, group: str = "", side: int = 8) -> LabelledImage:
    return LabelledImage(name, group, np.zeros((side, side, 3), np.float16), np.zeros((side, side), np.int32))


# ---- preparing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param(np.array([[0, 7], [3, 7]], np.uint8), [[0, 2], [1, 2]], id="gaps"),
        pytest.param(
            np.array([[0, 2**24 + 1], [2**24 + 2, 2**31 + 5]], np.uint32),
            [[0, 1], [2, 3]],
            id="beyond float32",
        ),
        pytest.param(np.array([[5, 5], [5, 6]], np.uint16), [[1, 1], [1, 2]], id="no background"),
        pytest.param(np.array([[-1, -2], [0, 4]], np.int16), [[0, 0], [0, 1]], id="negative is background"),
        pytest.param(np.zeros((2, 2), np.uint8), [[0, 0], [0, 0]], id="nothing"),
    ],
)
def test_ids_are_made_compact(labels: NDArray[Any], expected: list[list[int]]) -> None:
    image = prepare_image("a", "fluo", np.eye(2), labels)
    assert (image.labels.tolist(), image.labels.dtype) == (expected, np.int32)
    assert (image.name, image.group, image.pixels.shape) == ("a", "fluo", (2, 2, 3))


def test_a_stack_cannot_be_prepared() -> None:
    with pytest.raises(SamError, match="4-D"):
        prepare_image("a", "", np.zeros((2, 2, 9, 9)), np.eye(9, dtype=np.uint8))


# ---- holding out ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "fraction", "held"),
    [
        pytest.param({"a": 20, "b": 5}, 0.1, {"a": 2, "b": 1}, id="a tenth of each group, rounded up"),
        pytest.param({"a": 1, "b": 2}, 0.1, {"b": 1}, id="one is left to train on"),
        pytest.param({"a": 3}, 1.0, {"a": 2}, id="even where all are asked for"),
        pytest.param({"a": 9}, 0.0, {}, id="none"),
    ],
)
def test_split_holdout(sizes: dict[str, int], fraction: float, held: dict[str, int]) -> None:
    images = [labelled(f"{group}{i}", group) for group, size in sizes.items() for i in range(size)]
    train, out = split_holdout(images, fraction)
    count: dict[str, int] = {}
    for image in out:
        count[image.group] = count.get(image.group, 0) + 1
    assert count == held
    assert sorted(i.name for i in train + out) == sorted(i.name for i in images)
    again = split_holdout(images[::-1], fraction)[1]
    assert {i.name for i in again} == {i.name for i in out}


# ---- crops ------------------------------------------------------------------------------------------------


@pytest.fixture
def dataset(data_folder: Path) -> CropDataset:
    return CropDataset(read_labelled_images(data_folder), CONFIG, 20, seed=3)


def test_a_crop_depends_on_seed_and_index_alone(dataset: CropDataset, data_folder: Path) -> None:
    forward = [dataset[i] for i in range(6)]
    backward = [dataset[i] for i in reversed(range(6))][::-1]
    anew = CropDataset(read_labelled_images(data_folder), CONFIG, 999, seed=3)
    for i, (one, two) in enumerate(zip(forward, backward, strict=True)):
        for key, value in one.items():
            assert torch.equal(value, two[key]), key
            assert torch.equal(value, anew[i][key]), key
    assert not torch.equal(forward[0]["pixels"], forward[1]["pixels"])
    other = CropDataset(dataset.images, CONFIG, 20, seed=4)
    assert not torch.equal(forward[0]["pixels"], other[0]["pixels"])


def test_what_a_crop_holds(dataset: CropDataset) -> None:
    assert len(dataset) == 20
    item = dataset[0]
    found = {key: (tuple(value.shape), value.dtype) for key, value in item.items()}
    assert found == {
        "pixels": ((3, 64, 64), torch.float32),
        "labels": ((64, 64), torch.int32),
        "targets": ((5, 64, 64), torch.float32),
        "weight": ((64, 64), torch.float32),
    }
    assert torch.equal(item["targets"][0] > 0, item["labels"] > 0)


@pytest.mark.parametrize("option", ["rescale", "recolour"])
def test_a_part_of_the_augmentation_can_be_left_out(option: str) -> None:
    """A square of 12 pixels and 0.6 keeps its area, or its brightness, and does not where it is varied."""
    labels = np.zeros((64, 64), np.int32)
    labels[26:38, 26:38] = 1
    image = LabelledImage("square", "", np.repeat(0.6 * labels[..., None], 3, 2).astype(np.float16), labels)

    def look(config: TrainConfig) -> list[float]:
        items = [CropDataset([image], config, 20, seed=0)[i] for i in range(12)]
        if option == "recolour":
            return [float(item["pixels"].max()) / 0.6 for item in items]
        return [float((item["labels"] == item["labels"].max()).sum()) / 144 for item in items]

    kept = look(replace(CONFIG, **{option: False}))
    assert np.abs(np.array(kept) - 1).max() < 0.2
    assert np.abs(np.array(look(CONFIG)) - 1).max() > 0.2


def test_plain_crops_keep_their_intensities() -> None:
    """A square of 0.6: drawn crops and varied ones have other maxima."""
    labels = np.zeros((64, 64), np.int32)
    labels[16:48, 16:48] = 1
    image = LabelledImage("square", "", np.repeat(0.6 * labels[..., None], 3, 2).astype(np.float16), labels)
    config = replace(CONFIG, synthetic=0.5)

    def count_kept(plain: float) -> int:
        items = [CropDataset([image], config, 40, seed=0, plain=plain)[i] for i in range(40)]
        return sum(abs(float(item["pixels"].max()) - 0.6) < 1e-3 for item in items)

    assert count_kept(1) == 40
    assert count_kept(0) < 10 < count_kept(0.5) < 35


def test_crops_can_be_crowded() -> None:
    """Of nine lone squares no two touch; in crowded crops some do."""
    labels = np.zeros((96, 96), np.int32)
    for i in range(9):
        row, col = 8 + 32 * (i // 3), 8 + 32 * (i % 3)
        labels[row : row + 12, col : col + 12] = i + 1
    pixels = np.repeat((0.1 + 0.5 * (labels > 0))[..., None], 3, 2).astype(np.float16)
    image = LabelledImage("squares", "", pixels, labels)

    def count_touching(crowded: float) -> int:
        config = replace(CONFIG, crop=96, recolour=False, synthetic=0, rescale=False, crowded=crowded)
        items = [CropDataset([image], config, 20, seed=0)[i] for i in range(20)]
        return sum(bool((item["weight"] == CONTACT_WEIGHT).any()) for item in items)

    assert count_touching(0) == 0
    assert 0 < count_touching(0.5) < count_touching(1)


def test_crops_in_use_have_the_scale_of_use() -> None:
    """Squares of 12 pixels are shown enlarged, by two and never by anything else."""
    labels = np.zeros((64, 64), np.int32)
    labels[26:38, 26:38] = 1
    image = LabelledImage("square", "", np.zeros((64, 64, 3), np.float16), labels)
    config = replace(CONFIG, crop=192)

    def measure_sides(in_use: bool) -> list[float]:
        items = [CropDataset([image], config, 30, seed=0, in_use=in_use)[i] for i in range(30)]
        return [float(torch.bincount(item["labels"].ravel())[1:].max()) ** 0.5 / 12 for item in items]

    factor = measure_rescale(2 * (144 / math.pi) ** 0.5)
    assert np.abs(np.array(measure_sides(True)) / factor - 1).max() < 0.06
    assert np.abs(np.array(measure_sides(False)) / factor - 1).max() > 0.3


def test_groups_are_balanced() -> None:
    """16 of one kind and 4 of another: by the square root, 2 to 1; within a group larger images more."""
    images = [labelled(f"a{i}", "a") for i in range(16)] + [labelled(f"b{i}", "b") for i in range(3)]
    images.append(labelled("large", "b", side=16))
    chance = CropDataset(images, replace(CONFIG, crop=8), 1, 0).probabilities
    np.testing.assert_allclose(chance.sum(), 1)
    np.testing.assert_allclose(chance[:16], 2 / 3 / 16)
    np.testing.assert_allclose(chance[16:], np.array([1, 1, 1, 2]) / 5 / 3)

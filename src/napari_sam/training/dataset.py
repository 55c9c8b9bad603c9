"""Labelled images for training: normalised once, cropped and augmented anew for every step."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from napari_sam.inference.transforms import measure_normalization
from napari_sam.training.augment import augment_geometry, augment_intensity
from napari_sam.training.crowding import crowd_objects
from napari_sam.training.instance_targets import make_instance_targets
from napari_sam.training.synthetic import make_synthetic_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.training.config import TrainConfig

SYNTHETIC_WEIGHT = 0.3
"""Of synthetic crops in the dense loss: they are there for prompts; what is found without one stays real."""
NORMALIZED = ((0.0, 1.0),)
"""``EncodeSettings.limits`` for the pixels of ``LabelledImage``: measured again, colours would change."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImage:
    """One normalised image with its instance labels.

    Attributes
    ----------
    name, group : str
        ``group`` is the kind of image, "" where unknown.
    pixels : (H, W, 3) float16
        0 to 1.
    labels : (H, W) int32
        0 is background.
    """

    name: str
    group: str
    pixels: NDArray[np.float16]
    labels: NDArray[np.int32]


def prepare_image(name: str, group: str, image: NDArray[Any], labels: NDArray[Any]) -> LabelledImage:
    """Normalise an image for training, and number its objects anew.

    Parameters
    ----------
    name, group : str
    image : (H, W) or (H, W, C) array
    labels : (H, W) integer or bool array
        0 and below are background.

    Raises
    ------
    ImageError
        When the image is not one plane of real numbers.
    """
    pixels = measure_normalization(image).apply(image).astype(np.float16)
    # Compact ids: augmentation moves them as float32, which holds whole numbers up to 2 ** 24 only.
    ids, compact = np.unique(np.maximum(labels, 0), return_inverse=True)
    numbered = (compact.reshape(labels.shape) + int(ids[0] > 0)).astype(np.int32)
    return LabelledImage(name, group, pixels, numbered)


def split_holdout(
    images: list[LabelledImage], fraction: float
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Split into images to train on and images held out: of each group those with the lowest hash.

    One image of each group is always left to train on.
    """
    groups: dict[str, list[LabelledImage]] = {}
    for image in images:
        groups.setdefault(image.group, []).append(image)
    held: set[str] = set()
    for members in groups.values():
        ranked = sorted(members, key=lambda i: hashlib.sha256(i.name.encode()).hexdigest())
        held.update(i.name for i in ranked[: min(math.ceil(fraction * len(ranked)), len(ranked) - 1)])
    return [i for i in images if i.name not in held], [i for i in images if i.name in held]


class CropDataset(Dataset[dict[str, Tensor]]):
    """An endless sequence of augmented crops: item ``i`` depends on the seed and ``i`` alone.

    So a run that was interrupted goes on with just the crops that it would have seen. A share
    ``synthetic`` of them is drawn (``training.synthetic``) instead of cut from an image. A share ``plain``
    of all is neither drawn nor varied in its intensities. With ``in_use`` all are scaled as in use.
    """

    def __init__(
        self,
        images: list[LabelledImage],
        config: TrainConfig,
        length: int,
        seed: int,
        *,
        plain: float = 0.0,
        in_use: bool = False,
    ) -> None:
        self.images = images
        self.config = config
        self.length = length
        self.seed = seed
        self.plain = plain
        self.in_use = in_use
        self.probabilities = _balance(images, config.crop, config.group_power)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        plain = bool(self.plain) and rng.random() < self.plain
        share = 0.0 if plain else self.config.synthetic
        synthetic = bool(share) and rng.random() < share
        if synthetic:
            pixels, labels = make_synthetic_image(rng, self.config.crop)
        else:
            pixels, labels = self._cut_crop(rng)
            if self.config.crowded and rng.random() < self.config.crowded:
                pixels, labels = crowd_objects(pixels, labels, rng)
        if self.config.recolour and not plain:
            pixels = augment_intensity(pixels, rng)
        targets, weight = make_instance_targets(labels)
        if synthetic:
            weight = weight * SYNTHETIC_WEIGHT
        return {
            "pixels": torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))),  # (3, H, W)
            "labels": torch.from_numpy(labels),  # (H, W)
            "targets": torch.from_numpy(targets),  # (5, H, W)
            "weight": torch.from_numpy(weight),  # (H, W)
        }

    def _cut_crop(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        image = self.images[rng.choice(len(self.images), p=self.probabilities)]
        for _ in range(3):  # a crop without objects teaches little
            pixels, labels = augment_geometry(
                image.pixels,
                image.labels,
                self.config.crop,
                rng,
                rescale=self.config.rescale,
                in_use=self.in_use,
            )
            if labels.any():
                break
        return pixels, labels


def _balance(images: list[LabelledImage], crop: int, power: float) -> NDArray[np.float64]:
    """Chance of each image: groups by their count to ``power``, within one by the number of crops."""
    groups: dict[str, list[int]] = {}
    for i, image in enumerate(images):
        groups.setdefault(image.group, []).append(i)
    chance = np.zeros(len(images))
    for members in groups.values():
        crops = np.array([max(1.0, images[i].labels.size / crop**2) ** 0.5 for i in members])
        chance[members] = len(members) ** power * crops / crops.sum()
    chance /= chance.sum()
    return chance

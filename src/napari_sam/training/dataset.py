"""Labelled images for training: read once, cropped and augmented anew for every step."""

from __future__ import annotations

import csv
import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from skimage.io import imread
from torch import Tensor
from torch.utils.data import Dataset

from napari_sam.errors import SamError
from napari_sam.inference.transforms import measure_normalization
from napari_sam.training.augment import augment_geometry, augment_intensity
from napari_sam.training.crowding import crowd_objects
from napari_sam.training.instance_targets import make_instance_targets
from napari_sam.training.synthetic import make_synthetic_image

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_sam.training.config import TrainConfig

SYNTHETIC_WEIGHT = 0.3
"""Of synthetic crops in the dense loss: they are there for prompts; what is found without one stays real."""
SUFFIXES = (".png", ".tif", ".tiff")
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


def read_labelled_images(folder: Path, split: str = "train") -> list[LabelledImage]:
    """Read ``folder/images`` and ``folder/labels``, paired by file name without suffix.

    Parameters
    ----------
    folder : Path
        May hold ``index.csv`` with columns ``id`` and optionally ``split`` and ``kind``; then only
        rows of the wanted split are read, and no image that is not in it.
    split : str

    Raises
    ------
    SamError
        When nothing can be paired, or labels do not fit their image.
    ImageError
        When an image is not one plane of real numbers.
    """
    rows = _read_index(folder)
    images = {p.stem: p for p in sorted((folder / "images").glob("*")) if p.suffix.lower() in SUFFIXES}
    labels = {p.stem: p for p in sorted((folder / "labels").glob("*")) if p.suffix.lower() in SUFFIXES}
    found = []
    for name in sorted(images.keys() & labels.keys()):
        row = rows.get(name, {})
        if rows and (name not in rows or row.get("split", split) != split):
            continue
        image = np.asarray(imread(images[name]))
        pixels = measure_normalization(image).apply(image).astype(np.float16)
        found.append(LabelledImage(name, row.get("kind", ""), pixels, _read_labels(labels[name], pixels)))
    if not found:
        raise SamError(
            f"Expected pairs of {folder / 'images'}/NAME.png and {folder / 'labels'}/NAME.png (or .tif) "
            f"of split {split!r}, found none."
        )
    return found


def _read_labels(path: Path, pixels: NDArray[np.float16]) -> NDArray[np.int32]:
    labels = np.asarray(imread(path))
    if labels.shape != pixels.shape[:2] or labels.dtype.kind not in "bui":
        raise SamError(
            f"Expected whole numbers of shape {pixels.shape[:2]} in {path}, as its image has, "
            f"got {labels.dtype} of shape {labels.shape}."
        )
    # Compact ids: augmentation moves them as float32, which holds whole numbers up to 2 ** 24 only.
    ids, compact = np.unique(np.maximum(labels, 0), return_inverse=True)
    return (compact.reshape(labels.shape) + int(ids[0] > 0)).astype(np.int32)


def _read_index(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / "index.csv"
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file)
        columns = table.fieldnames or ()
        if "id" not in columns:
            raise SamError(f"Expected a column id in {path}, got {', '.join(columns) or 'none'}.")
        return {row["id"]: row for row in table}


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

"""A tiny folder of labelled images, and one thread, so that runs can be compared bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from skimage.io import imsave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def draw_cells() -> Callable[..., tuple[NDArray[np.uint8], NDArray[np.int32]]]:
    """An image of bright discs, some of them touching, with its labels."""

    def draw(
        height: int, width: int, seed: int = 0, count: int = 12
    ) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        rng = np.random.default_rng(seed)
        rows, cols = np.mgrid[:height, :width]
        labels = np.zeros((height, width), np.int32)
        image = rng.normal(30, 4, (height, width))
        for i in range(1, count + 1):
            r, c, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(5, 13)
            disc = (np.hypot(rows - r, cols - c) < radius) & (labels == 0)
            labels[disc] = i
            image[disc] += rng.uniform(80, 180)
        return np.clip(image, 0, 255).astype(np.uint8), labels

    return draw


@pytest.fixture(scope="session")
def data_folder(
    tmp_path_factory: pytest.TempPathFactory, draw_cells: Callable[..., tuple[NDArray, NDArray]]
) -> Path:  # type: ignore[type-arg]
    """Four images of 128 x 128 pixels with labels."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    for i in range(4):
        image, labels = draw_cells(128, 128, seed=i)
        imsave(folder / "images" / f"cell{i}.png", image, check_contrast=False)
        imsave(folder / "labels" / f"cell{i}.png", labels.astype(np.uint16), check_contrast=False)
    return folder

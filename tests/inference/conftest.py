"""Small models with random weights, read back from files as any model is, and images that show blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.checkpoints import LoadedModel, load_model, write_checkpoint
from napari_sam.modeling import build_sam

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray


class RecordingArray:
    """An array like those of zarr: it has a shape and a dtype, and remembers what is sliced out of it."""

    def __init__(self, data: NDArray[Any]) -> None:
        self.data = data
        self.shape, self.dtype, self.ndim = data.shape, data.dtype, data.ndim
        self.reads: list[tuple[tuple[int, ...], int]] = []

    def __getitem__(self, index: Any) -> NDArray[Any]:
        piece = self.data[index]
        self.reads.append((piece.shape, piece.size))
        return piece

    def __array__(self, *_: Any, **__: Any) -> NDArray[Any]:
        pytest.fail("the whole array was read")


@pytest.fixture
def recording() -> type[RecordingArray]:
    return RecordingArray


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order, so that results can be compared closely."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def checkpoint_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of two small models, by architecture."""
    folder = tmp_path_factory.mktemp("checkpoints")
    paths = {}
    for seed, name in enumerate(("conv_test", "vit_test")):
        torch.manual_seed(seed)
        paths[name] = folder / f"{name}.safetensors"
        write_checkpoint(build_sam(name), paths[name], name=name, record={"seed": seed})
    return paths


@pytest.fixture(scope="session")
def conv_model(checkpoint_files: dict[str, Path]) -> LoadedModel:
    """Convolutional, any frame size, decodes in windows, with an instance decoder; field 256 pixels."""
    return load_model(checkpoint_files["conv_test"], "cpu")


@pytest.fixture(scope="session")
def vit_model(checkpoint_files: dict[str, Path]) -> LoadedModel:
    """A transformer with a square frame of 128 pixels, decodes in the whole frame."""
    return load_model(checkpoint_files["vit_test"], "cpu")


@pytest.fixture(params=["conv", "vit"])
def model(request: pytest.FixtureRequest) -> LoadedModel:
    """Each of the two."""
    found: LoadedModel = request.getfixturevalue(f"{request.param}_model")
    return found


@pytest.fixture
def predictor(model: LoadedModel) -> CachedPredictor:
    return CachedPredictor(model)


@pytest.fixture(scope="session")
def make_blobs() -> Callable[..., NDArray[np.uint8]]:
    """An image of bright blobs on a dim, noisy ground."""

    def make(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
        rng = np.random.default_rng(seed)
        image = rng.normal(20, 5, (height, width))
        rows, cols = np.mgrid[:height, :width]
        for _ in range(max(1, height * width // 1500)):
            r, c, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(5, 12)
            image += 120 * (np.hypot(rows - r, cols - c) < radius)
        return np.clip(image, 0, 255).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def blobs(make_blobs: Callable[..., NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """(120, 150) uint8"""
    return make_blobs(120, 150)


@pytest.fixture
def encode_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of what is encoded, in order."""
    from napari_sam.inference.predictor import Predictor

    calls: list[tuple[int, ...]] = []
    original = Predictor.encode

    def encode(self: Predictor, pixels: NDArray[Any], *rest: Any, **options: Any) -> Any:
        calls.append(pixels.shape)
        return original(self, pixels, *rest, **options)

    monkeypatch.setattr(Predictor, "encode", encode)
    return calls

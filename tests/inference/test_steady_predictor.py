"""A GPU without memory is played by a model that says so; the meta device stands for the GPU."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_sam.errors import SamError
from napari_sam.inference import device as device_module
from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.device import choose_device
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.steady_predictor import (
    MemoryExhaustedWarning,
    SteadyPredictor,
    is_memory_exhausted,
)
from napari_sam.types import Prompts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.inference.checkpoints import LoadedModel

PROMPTS = [Prompts(points=[(20 + 9 * i, 30 + 7 * i)]) for i in range(5)]


class Gpu:
    """Makes a model fail as on a GPU with room for so many prompts at once, until it is on the CPU."""

    def __init__(self, model: LoadedModel, monkeypatch: pytest.MonkeyPatch, room: int, encodes: bool) -> None:
        self.model = replace(model)
        self.room = room
        self.encodes = encodes
        self.batches: list[int] = []
        object.__setattr__(self.model, "device", torch.device("meta"))
        monkeypatch.setattr(type(self.model), "move_to", lambda _, device: self._move_to(device))
        encode, decode = Predictor._encode, Predictor._decode_chunk
        monkeypatch.setattr(Predictor, "_encode", lambda *args: self._encode(encode, *args))
        monkeypatch.setattr(Predictor, "_decode_chunk", lambda *args: self._decode(decode, *args))

    @property
    def is_left(self) -> bool:
        return self.model.device.type == "cpu"

    def _move_to(self, device: torch.device) -> None:
        object.__setattr__(self.model, "device", device)

    def _encode(self, encode: Any, predictor: Any, *args: Any) -> Any:
        if not self.is_left and not self.encodes:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return self._compute(encode, predictor, *args)

    def _decode(self, decode: Any, predictor: Any, embedding: Any, prompts: Any, windows: Any) -> Any:
        self.batches.append(len(prompts))
        if not self.is_left and len(prompts) > self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return self._compute(decode, predictor, embedding, prompts, windows)

    def _compute(self, function: Any, predictor: Any, *args: Any) -> Any:
        """Compute where there is something to compute with."""
        before = self.model.device
        object.__setattr__(self.model, "device", torch.device("cpu"))
        try:
            return function(predictor, *args)
        finally:
            object.__setattr__(self.model, "device", before)


@pytest.fixture
def expected(vit_model: LoadedModel, blobs: NDArray[np.uint8]) -> list[Any]:
    return CachedPredictor(vit_model).predict_many(blobs, PROMPTS)


def same(found: list[Any], expected: list[Any]) -> bool:
    return all(
        a.box == b.box and np.array_equal(a.mask, b.mask) for a, b in zip(found, expected, strict=True)
    )


def test_smaller_batches(
    vit_model: LoadedModel, blobs: NDArray[np.uint8], expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Gpu(vit_model, monkeypatch, room=2, encodes=True)
    monkeypatch.setattr(SteadyPredictor, "_bring", lambda self, embedding: embedding)
    assert same(CachedPredictor(gpu.model).predict_many(blobs, PROMPTS), expected)
    assert gpu.batches == [5, 2, 3, 1, 2]
    assert not gpu.is_left


def test_an_embedding_that_is_where_the_model_is_stays_the_same(
    vit_model: LoadedModel, blobs: NDArray[np.uint8]
) -> None:
    """Devices have two names, "cuda" and "cuda:0"; here the CPU stands for the GPU."""
    model = replace(vit_model, device=torch.device("cpu", 0))
    predictor = SteadyPredictor(model)
    embedding = CachedPredictor(vit_model).encode(blobs)
    assert predictor._bring(embedding) is embedding


@pytest.mark.parametrize(("encodes", "room"), [(False, 0), (True, 0)], ids=["encoding", "decoding"])
def test_the_cpu_goes_on(
    encodes: bool,
    room: int,
    vit_model: LoadedModel,
    blobs: NDArray[np.uint8],
    expected: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = Gpu(vit_model, monkeypatch, room, encodes)
    bring = SteadyPredictor._bring
    monkeypatch.setattr(SteadyPredictor, "_bring", lambda self, e: bring(self, e) if gpu.is_left else e)
    predictor = CachedPredictor(gpu.model)
    with pytest.warns(
        MemoryExhaustedWarning, match="memory of meta is exhausted: vit_test goes on with the CPU"
    ):
        found = predictor.predict_many(blobs, PROMPTS)
    assert same(found, expected)
    assert gpu.is_left
    assert same(predictor.predict_many(blobs, PROMPTS), expected)  # without a second warning
    assert isinstance(predictor.predictor.engine.encode(torch.zeros(1, 3, 128, 128)).embedding, torch.Tensor)


def test_on_the_cpu_there_is_nowhere_to_go(
    vit_model: LoadedModel, blobs: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise torch.cuda.OutOfMemoryError("out of memory")

    monkeypatch.setattr(Predictor, "_encode", fail)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        CachedPredictor(vit_model).predict(blobs, PROMPTS[0])


def test_other_errors_are_not_taken_for_it(
    vit_model: LoadedModel, blobs: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(Predictor, "_decode_chunk", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        CachedPredictor(vit_model).predict(blobs, PROMPTS[0])


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 18.13 GB)"), True),
        (RuntimeError("shapes do not match"), False),
        (MemoryError(), False),
    ],
    ids=["cuda", "mps", "shapes", "main memory"],
)
def test_what_is_memory_exhausted(error: BaseException, expected: bool) -> None:
    assert is_memory_exhausted(error) is expected


@pytest.mark.parametrize(
    ("name", "devices", "count", "message"),
    [
        ("cuda", ("auto", "cpu"), 0, r"Expected a device out of auto, cpu, got 'cuda': .*or use 'cpu'\.$"),
        ("mps", ("auto", "cpu"), 0, "got 'mps': it needs a Mac with Apple silicon; use 'cpu'"),
        ("cuda:3", ("auto", "cpu", "cuda"), 2, "Expected cuda:0 to cuda:1, got 'cuda:3'; use 'cuda'"),
        ("cuda:x", ("auto", "cpu", "cuda"), 2, "Expected cuda:0 to cuda:1, got 'cuda:x'"),
        ("tpu", ("auto", "cpu"), 0, r"Expected a device out of auto, cpu, got 'tpu'\.$"),
    ],
)
def test_devices_that_are_not_there(
    name: str, devices: tuple[str, ...], count: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_module, "list_devices", lambda: devices)
    monkeypatch.setattr(device_module.torch.cuda, "device_count", lambda: count)
    with pytest.raises(SamError, match=message):
        choose_device(name)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.engines import TorchEngine
from napari_sam.inference.shared_work import KEPT, SharedWork, choose_batch
from napari_sam.types import Prompts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.inference.checkpoints import LoadedModel


def test_it_is_computed_once_for_the_embeddings_in_use(vit_model: LoadedModel) -> None:
    work = SharedWork(TorchEngine(vit_model.module))
    embeddings = [torch.randn(1, 32, 8, 8) for _ in range(KEPT + 1)]
    first = work.of(embeddings[0])
    assert work.of(embeddings[0]) is first
    assert work.of(embeddings[0].clone()) is not first  # another tensor, whatever its values
    assert work.of(embeddings[0]) is first
    for embedding in embeddings[1:]:
        work.of(embedding)
    assert work.of(embeddings[0]) is not first  # long unused


def test_clicks_on_one_embedding_share_their_work(
    vit_model: LoadedModel, blobs: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    share = vit_model.module.share

    def count(embedding: torch.Tensor) -> Any:
        calls.append(embedding)
        return share(embedding)

    monkeypatch.setattr(vit_model.module, "share", count)
    predictor = CachedPredictor(vit_model)
    square = blobs[:, :120]
    for row in (20, 60, 90):
        predictor.predict(square, Prompts(points=np.array([[row, 50]], np.float32)))
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("device", "tokens", "size"),
    [
        pytest.param("cpu", 4096, 4, id="a whole frame"),
        pytest.param("cpu", 256, 64, id="windows"),
        pytest.param("cpu", 100_000, 1, id="at least one"),
        pytest.param("cuda", 4096, 64, id="a GPU takes them all"),
    ],
)
def test_batches(device: str, tokens: int, size: int) -> None:
    assert choose_batch(torch.device(device), tokens, 64) == size

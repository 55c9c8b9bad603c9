from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from napari_sam.inference.paged_tensor import PagedTensor

SHAPE = (1, 3, 20, 34)
VALUES = torch.arange(float(np.prod(SHAPE))).reshape(SHAPE)


def make_paged(page: tuple[int, int] = (8, 16)) -> PagedTensor:
    """VALUES in float16 pages, those at the end filled up with something else."""
    padded = torch.full((1, 3, 24, 48), -1.0)
    padded[..., :20, :34] = VALUES

    def read_page(row: int, col: int) -> np.ndarray:
        r, c = row * page[0], col * page[1]
        return padded[..., r : r + page[0], c : c + page[1]].contiguous().half().numpy()

    return PagedTensor(SHAPE, page, read_page)


@pytest.mark.parametrize(
    ("index", "pages"),
    [
        pytest.param((..., slice(0, 8), slice(0, 16)), 1, id="one page"),
        pytest.param((..., slice(7, 9), slice(15, 17)), 4, id="corners of four"),
        pytest.param((..., slice(16, 20), slice(32, 34)), 1, id="the last page, cut"),
        pytest.param((..., slice(16, 99), slice(-2, None)), 1, id="beyond the end"),
        pytest.param((..., slice(5, 5), slice(0, 9)), 0, id="nothing"),
        pytest.param((..., slice(None), slice(None)), 9, id="all"),
        pytest.param(..., 9, id="ellipsis"),
        pytest.param((0, 1), 9, id="a channel"),
        pytest.param((..., slice(0, 8, 2), slice(0, 8)), 9, id="with steps"),
        pytest.param((0, slice(None), 3, 4), 9, id="a pixel"),
    ],
)
def test_it_gives_what_a_tensor_gives(index: Any, pages: int) -> None:
    paged = make_paged()
    for _ in range(2):  # what was read is not read again
        assert torch.equal(paged[index], VALUES.half().float()[index])
        assert paged.pages_read == pages


def test_it_looks_like_a_tensor() -> None:
    paged = make_paged()
    assert (paged.shape, paged.dtype, paged.device) == (VALUES.shape, VALUES.dtype, VALUES.device)
    assert paged.nbytes == VALUES.nbytes
    assert paged.pages_read == 0


def test_threads_read_a_page_once() -> None:
    paged = make_paged()
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda i: paged[..., i : i + 3, i : i + 20], range(14)):
            assert found.shape == (1, 3, 3, 20)
    assert paged.pages_read == 5
    assert torch.equal(paged[...], VALUES.half().float())
    assert paged.pages_read == 9

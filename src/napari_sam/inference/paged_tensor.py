"""A tensor whose pieces are read when they are first looked at.

A click decodes in a window of 128 pixels; of a stored frame of 1024 nothing else needs to be unpacked.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class PagedTensor:
    """Stands in for a (1, C, H, W) float32 tensor where one is cut into windows. Thread-safe.

    Parameters
    ----------
    shape : (1, C, H, W)
    page : (rows, columns)
        Size of a page.
    read_page : callable
        Takes row and column in the grid of pages, and gives the values (1, C, rows, columns), of any real
        dtype; beyond the tensor's end they do not matter.
    device : str or torch.device
        Where the values go.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        page: tuple[int, int],
        read_page: Callable[[int, int], NDArray[np.generic]],
        device: str | torch.device = "cpu",
    ) -> None:
        self.shape = torch.Size(shape)
        self.dtype = torch.float32
        self.pages_read = 0
        self.device = torch.device(device)
        self._page = page
        self._read_page = read_page
        self._pages: dict[tuple[int, int], Tensor] = {}
        self._whole: Tensor | None = None
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes once everything has been read."""
        return 4 * self.shape.numel()

    def __getitem__(self, index: Any) -> Tensor:
        """What a tensor gives for this index.

        ``[..., rows, columns]``, two slices of step 1, reads the pages that they touch; anything else all.
        """
        wanted = isinstance(index, tuple) and len(index) == 3 and index[0] is Ellipsis
        if not wanted or not all(isinstance(part, slice) and part.step in (None, 1) for part in index[1:]):
            return self._read(0, self.shape[-2], 0, self.shape[-1])[index]
        (top, bottom, _), (left, right, _) = (
            part.indices(n) for part, n in zip(index[1:], self.shape[-2:], strict=True)
        )
        if bottom <= top or right <= left:
            return torch.empty(
                (*self.shape[:-2], max(0, bottom - top), max(0, right - left)), device=self.device
            )
        return self._read(top, bottom, left, right)

    def _read(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        if self._whole is not None:
            return self._whole[..., top:bottom, left:right]
        height, width = self._page
        # In inference mode, as what an encoder gives: such tensors cannot be written to outside of it.
        with torch.inference_mode():
            out = torch.empty((*self.shape[:-2], bottom - top, right - left), device=self.device)
            for row in range(top // height, -(-bottom // height)):
                for col in range(left // width, -(-right // width)):
                    r0, c0 = row * height, col * width
                    r1, c1 = min(r0 + height, bottom), min(c0 + width, right)
                    first_row, first_col = max(r0, top), max(c0, left)
                    out[..., first_row - top : r1 - top, first_col - left : c1 - left] = self._get_page(
                        row, col
                    )[..., first_row - r0 : r1 - r0, first_col - c0 : c1 - c0]
        if out.shape == self.shape:
            self._whole, self._pages = out, {}
        return out

    def _get_page(self, row: int, col: int) -> Tensor:
        with self._lock:
            if (row, col) not in self._pages:
                values = torch.from_numpy(self._read_page(row, col))
                self._pages[row, col] = values.to(self.device, torch.float32)
                self.pages_read += 1
            return self._pages[row, col]

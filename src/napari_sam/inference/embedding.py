"""The embedding of a piece of a plane, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_sam.inference.instance_maps import Instances
    from napari_sam.inference.paged_tensor import PagedTensor
    from napari_sam.types import Box


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the model's input frame lies in its plane.

    Attributes
    ----------
    crop : (r0, c0, r1, c1)
        Half-open plane pixels that the frame shows.
    scale : float
        Frame pixels per plane pixel.
    size : (height, width)
        Of the frame with its padding, in frame pixels.
    """

    crop: tuple[int, int, int, int]
    scale: float
    size: tuple[int, int]

    @property
    def inner(self) -> tuple[int, int]:
        """(height, width) of what shows the crop, in frame pixels; the rest of ``size`` is padding."""
        r0, c0, r1, c1 = self.crop
        return max(1, round((r1 - r0) * self.scale)), max(1, round((c1 - c0) * self.scale))

    def to_frame(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Plane (row, col) to frame (x, y), pixel centres at integers in both."""
        origin = np.array(self.crop[:2], np.float32)
        moved: NDArray[np.float32] = ((points - origin + 0.5) * self.scale - 0.5)[..., ::-1]
        return moved

    def to_plane(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """The inverse: frame (x, y) to plane (row, col)."""
        origin = np.array(self.crop[:2], np.float32)
        moved: NDArray[np.float32] = (points[..., ::-1] + 0.5) / self.scale - 0.5 + origin
        return moved

    def edges_to_plane(self, edges: Box) -> Box:
        """A rectangle of frame pixel edges (top, left, bottom, right) in plane pixel edges."""
        r0, c0 = self.crop[:2]
        top, left, bottom, right = edges
        s = self.scale
        return r0 + top / s, c0 + left / s, r0 + bottom / s, c0 + right / s


@dataclass(frozen=True, slots=True, eq=False)
class ImageEmbedding:
    """What the image encoder made of one frame; everything that decoding needs.

    Attributes
    ----------
    features : (1, C, h, w) tensor
        On the model's device. Of an embedding read from disk a stand-in that can be cut like a tensor.
    detail : (1, D, 4 h, 4 w) tensor or None
        One compact map for the mask decoder's boundaries, where the model has it.
    maps : (5, height, width) float16 or None
        The instance decoder's maps on the ``frame.inner`` pixels that show the crop: foreground,
        distance to centre and boundary (0 to 1), row and column offset to the centre (in these pixels).
    instances : Instances or None
        What the maps say without a prompt, on the same pixels; proposed where a prompt brings no mask.
    frame : Frame
    plane_shape : (H, W)
    """

    features: Tensor | PagedTensor
    detail: Tensor | PagedTensor | None
    maps: NDArray[np.float16] | None
    instances: Instances | None
    frame: Frame
    plane_shape: tuple[int, int]

    @property
    def tokens(self) -> tuple[int, int]:
        """Rows and columns of the embedding."""
        return self.features.shape[-2], self.features.shape[-1]

    @property
    def nbytes(self) -> int:
        """Memory that it holds, in bytes."""
        tensors = [t for t in (self.features, self.detail) if t is not None]
        held = sum(t.nbytes for t in tensors)
        held += self.maps.nbytes if self.maps is not None else 0
        return held + (self.instances.labels.nbytes if self.instances is not None else 0)

    def load(self) -> None:
        """Read and check what is still on disk; here nothing is."""


def round_to_half(values: Tensor) -> Tensor:
    """The nearest values that float16 has, as float32: what the disk keeps, so that it gives the same masks.

    Unchanged where a value is beyond the range of float16; the disk keeps float32 then.
    """
    half = values.half()
    return half.to(values.dtype) if bool(half.isfinite().all()) else values

"""What edits need of the outside: label images that can be read and written box by box, and their records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_sam.session.patches import Box, Index
    from napari_sam.session.provenance import ObjectRecord

__all__ = ["LabelSurface", "LabelSurfaces", "RecordKeeper", "Write"]


@dataclass(frozen=True, slots=True, eq=False)
class Write:
    """Pixels to be written into one plane.

    Attributes
    ----------
    index, origin
        As in ``Patch``.
    mask : (h, w) bool
        Which pixels.
    values : (h, w) int
        Their new labels.
    """

    index: Index
    origin: tuple[int, int]
    mask: NDArray[np.bool_]
    values: NDArray[np.integer]


class LabelSurface(Protocol):
    """A label image that can be read and written box by box."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole image, all axes."""

    def read(self, index: Index, box: Box) -> NDArray[np.integer]:
        """(h, w) labels of a box that lies inside the plane; not to be written to."""

    def write(self, writes: Sequence[Write]) -> None:
        """Write pixels, all of them as one item of the viewer's own undo.

        Raises
        ------
        ImageError
            When it cannot be written.
        """

    def next_label(self, index: Index) -> int:
        """An id above all others.

        Raises
        ------
        ImageError
            When the type has none left.
        """

    def check_label(self, label: int) -> None:
        """Raise ImageError when an id does not fit into the layer's type."""

    def release(self, first: int, last: int) -> None:
        """The ids ``first`` to ``last`` are not in use any more: the next object may have the first."""

    def look_again(self, index: Index) -> None:
        """What is known of a plane may be wrong: look through it before the next answer."""

    def find(self, label: int, index: Index) -> Box | None:
        """A box of the plane outside which there is no pixel of an object; None when it is not there."""

    def planes_of(self, label: int, like: Index) -> Sequence[Index]:
        """The planes, parallel to ``like``, that hold pixels of an object."""

    def areas_in(self, index: Index) -> dict[int, int]:
        """Pixels of each object of a plane, for which all of the plane is read."""


class LabelSurfaces(Protocol):
    """Where surfaces come from."""

    def surface(self, layer: Hashable) -> LabelSurface:
        """The surface of a layer.

        Raises
        ------
        ImageError
            When the layer is gone or cannot be written.
        """


class RecordKeeper(Protocol):
    """What edits need of ``ObjectBook``."""

    def get(self, layer: Hashable, label: int) -> tuple[ObjectRecord, ...]:
        """What is known of an object."""

    def records(self, layer: Hashable) -> tuple[ObjectRecord, ...]:
        """What is known of all objects of a layer."""

    def change_many(
        self, layer: Hashable, records: Mapping[int, Iterable[ObjectRecord]]
    ) -> dict[int, tuple[ObjectRecord, ...]]:
        """Replace the records of objects; those before."""

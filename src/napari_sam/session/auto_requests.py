"""The values of automatic segmentation that travel between viewer, session and worker."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_sam.inference.object_table import SCORES

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from numpy.typing import ArrayLike, NDArray

    from napari_sam.inference.candidates import Candidates, FilterParams
    from napari_sam.inference.region import Region
    from napari_sam.session.requests import ModelChoice, Plane

__all__ = [
    "AutoRequest",
    "AutoState",
    "Fill",
    "ObjectsSink",
    "RegionChoice",
    "Shown",
    "Written",
    "without_pixels",
]

WHAT_HELPS = (
    "Set the object size (section Image), press 'Model's view' there to see what the model sees, or choose "
    "another model."
)
"""For the user, where nothing was found."""


def without_pixels(plane: Plane) -> Plane:
    """The same plane, whose pixels are None: what is kept of a result must not hold a closed image."""
    return replace(plane, read=_read_nothing, stack=None)


def _read_nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class RegionChoice:
    """Where in a plane objects are looked for.

    Attributes
    ----------
    digest : str
        Equal for equal regions.
    region : Region
        The pixels.
    cut : bool
        Cut objects at the region's edge, as with a foreground mask; else the objects whose centre is
        inside are kept whole.
    name : str
        For messages.
    """

    digest: str
    region: Region = field(compare=False, repr=False)
    cut: bool = False
    name: str = field(default="region", compare=False)


@dataclass(frozen=True, slots=True)
class AutoRequest:
    """Everything that decides which candidates are found; equal requests find the same.

    Attributes
    ----------
    plane : Plane
        Where.
    model : ModelChoice
        With what.
    method : str
        One of the engine's methods.
    region : RegionChoice or None
        None for the whole plane.
    settings : Hashable
        What else the model is told about the image.
    """

    plane: Plane
    model: ModelChoice
    method: str = "auto"
    region: RegionChoice | None = None
    settings: Hashable = None


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """Candidates and which of them are objects at present.

    Attributes
    ----------
    request : AutoRequest
        How they were found.
    candidates : Candidates
        All of them.
    kept : (K,) int64
        Indices of the objects, the best first.
    params : FilterParams
        The thresholds that chose them.
    """

    request: AutoRequest
    candidates: Candidates
    kept: NDArray[np.int64]
    params: FilterParams

    def without_pixels(self) -> Shown:
        """The same, but it does not hold the image; its objects are measured without intensities then."""
        plane = without_pixels(self.request.plane)
        return replace(self, request=replace(self.request, plane=plane))


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """What became of ``Shown`` in a layer.

    Attributes
    ----------
    labels : (H, W) int
        The plane's new objects under the ids that they have in the layer; not written to any more.
    ids, indices : (K,) int
        The id of each object and the candidate that it shows.
    fill : Fill
        Takes it back; the same one while the thresholds of one result change.
    note : str
        What the user should know of how it was written; empty when nothing.
    layer : Hashable
        Token of the layer, as in ``ObjectRef.layer``; None where nobody knows it.
    """

    labels: NDArray[np.integer]
    ids: NDArray[np.integer]
    indices: NDArray[np.integer]
    fill: Fill
    note: str = ""
    layer: Hashable = None


class Fill(Protocol):
    """Automatic objects in a layer, as one step that can be undone.

    Both raise SamError, and change nothing, where the layer is gone or was edited since.
    """

    def undo(self) -> str:
        """Take the objects back; what was done, for the status line."""

    def redo(self) -> str:
        """Write them again."""


class ObjectsSink(Protocol):
    """Where automatic objects are shown; raises SamError where it cannot be, with nothing changed."""

    def begin(self, request: AutoRequest) -> None:
        """Settle where the result of a request goes."""

    def add_part(self, part: Candidates, kept: NDArray[np.int64]) -> None:
        """Show the objects of a part that was finished, beside those of earlier parts."""

    def show(self, shown: Shown) -> Written | None:
        """Show exactly these objects instead of what was shown of the request; None when none ever was."""

    def write_table(self, written: Written, columns: Mapping[str, ArrayLike]) -> None:
        """Give each object its row of measurements, while nobody else has changed them."""

    def write_rest(self, written: Written, columns: Mapping[str, ArrayLike]) -> NDArray[np.integer]:
        """Give their rows to the objects that others have left of a result; the ids of these."""

    def end(self) -> None:
        """Nothing was found, or nothing more is shown: let go of the layer."""


@dataclass(frozen=True, slots=True, eq=False)
class AutoState:
    """What a panel shows of the last automatic result.

    Attributes
    ----------
    note : str
        One line: how many objects, or why the thresholds have no effect.
    active : bool
        Whether thresholds change anything.
    params : FilterParams
        The thresholds.
    defaults : FilterParams
        What "Reset" goes back to.
    areas : (N,) int64
        Sizes of all candidates, in pixels.
    kept : (N,) bool
        Which of them are objects.
    known : frozenset of str
        Which scores the candidates have at all.
    """

    note: str
    active: bool
    params: FilterParams
    defaults: FilterParams
    areas: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    kept: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    known: frozenset[str] = frozenset()

    @classmethod
    def of(cls, shown: Shown, note: str, params: FilterParams, defaults: FilterParams) -> AutoState:
        """The state of a result that is shown; without a note it says how many objects there are."""
        candidates = shown.candidates
        kept = np.zeros(len(candidates), bool)
        kept[shown.kept] = True
        known = frozenset(name for name in SCORES if np.isfinite(getattr(candidates, name)).any())
        note = note or f"{len(shown.kept)} of {len(candidates)} objects"
        return cls(note, True, params, defaults, candidates.areas, kept, known)

    @property
    def count(self) -> int:
        """Number of objects."""
        return int(np.count_nonzero(self.kept))

"""What would be lost if nobody saved it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from napari_sam.session.provenance import ObjectRecord
    from napari_sam.types import Prompts

__all__ = ["LayerWork", "Work", "WorkSource"]


@dataclass(frozen=True, slots=True, eq=False)
class LayerWork:
    """The state of one Labels layer.

    Attributes
    ----------
    key : str
        The same from one save to the next.
    head : dict
        JSON: name, path, shape, dtype, transform, whether it is the target.
    data : array or None
        Its labels, in memory; None where they lie in a file already.
    planes : set of tuple of int, or None
        Planes of the last two axes that may have changed since they were saved; None for all.
    records : tuple of ObjectRecord
        What is known of its objects.
    """

    key: str
    head: Mapping[str, Any]
    data: NDArray[Any] | None
    planes: frozenset[tuple[int, ...]] | None
    records: tuple[ObjectRecord, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Everything that would be lost.

    Attributes
    ----------
    layers : tuple of LayerWork
        Those with something that is not saved.
    describe_image : callable
        Gives what is known of the image as JSON; for the worker, because it reads samples of it.
    settings : dict
        As in the settings file.
    prompts : Prompts
        What is not accepted yet; may be empty.
    plane : tuple of int or None
        Where they lie.
    is_accepted : bool
        They are accepted already, and only wait for their mask.
    """

    layers: tuple[LayerWork, ...]
    describe_image: Callable[[], Mapping[str, Any]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    prompts: Prompts | None = None
    plane: tuple[int | None, ...] = ()
    is_accepted: bool = False

    @property
    def is_empty(self) -> bool:
        """True when there is nothing that anybody would miss."""
        return not self.layers and (self.prompts is None or self.prompts.is_empty)


class WorkSource(Protocol):
    """Knows what is not saved yet."""

    def take(self) -> Work:
        """What is there now; quick, on the main thread."""

    def put_back(self, work: Work) -> None:
        """It could not be saved: what had changed then counts as changed still."""

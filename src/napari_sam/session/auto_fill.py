"""An automatic result as a step of the history: its thresholds act on it only while it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Hashable

    from psygnal import SignalInstance

    from napari_sam.session.auto_requests import Fill, Shown, Written
    from napari_sam.session.provenance import ObjectRecord

__all__ = ["AutoFill", "FillOwner"]


class FillOwner(Protocol):
    """Whose result it is; ``AutoObjects``.

    Attributes
    ----------
    recorded : psygnal.SignalInstance
        Layer token, records by label, none for those that are gone.
    """

    recorded: SignalInstance

    def held_by(self, fill: AutoFill) -> tuple[Shown, Written] | None:
        """What is shown of a step of the history, where that is the present result."""
        ...

    def let_go(self, fill: AutoFill, shown: Shown, written: Written, reason: str) -> None:
        """The present result was taken back."""
        ...

    def resume(self, fill: AutoFill) -> bool:
        """A result that was taken back is there again; whether it is the present one once more."""
        ...


class AutoFill:
    """An automatic result as a step of the history.

    Parameters
    ----------
    owner : FillOwner
    fill : Fill
        What takes it back.

    Attributes
    ----------
    records : tuple
        The layer's token, and what is known of its objects by label.
    due : Written or None
        What was drawn of it last, as long as it was not measured.
    is_there : bool
        False while it is taken back.
    """

    def __init__(self, owner: FillOwner, fill: Fill) -> None:
        self.fill = fill
        self.records: tuple[Hashable, dict[int, tuple[ObjectRecord, ...]]] = (None, {})
        self.due: Written | None = None
        self.is_there = True
        self._owner = owner

    @property
    def nbytes(self) -> int:
        """Bytes of what the fill needs to be taken back."""
        return int(getattr(self.fill, "nbytes", 0)) + 1000 * len(self.records[1])

    @property
    def is_gone(self) -> bool:
        """True when its layer is gone, and not because it was taken back."""
        return bool(getattr(self.fill, "is_gone", False))

    def record(self, layer: Hashable, records: dict[int, tuple[ObjectRecord, ...]]) -> None:
        """Write down what is known of the objects, and strike out what was known of those before."""
        (before, known), self.records = self.records, (layer, records)
        if not self.is_there:
            return
        gone: dict[int, tuple[ObjectRecord, ...]] = {label: () for label in known if label not in records}
        if before != layer and known:
            self._tell(before, dict.fromkeys(known, ()))
            gone = {}
        self._tell(layer, {**gone, **records})

    def undo(self) -> str:
        """Take the objects back; the thresholds then have no effect.

        Raises
        ------
        SamError
            When they are not taken back: what is known of them stays with them.
        """
        held = self._owner.held_by(self)
        said = self.fill.undo()
        self.is_there = False
        layer, records = self.records
        self._tell(layer, dict.fromkeys(records, ()))
        if held is not None:
            self._owner.let_go(self, *held, said)
        return said

    def redo(self) -> str:
        """Write them again; raises SamError when they are not."""
        said = self.fill.redo()
        self.is_there = True
        if not self._owner.resume(self):
            self._tell(*self.records)
        return said

    def _tell(self, layer: Hashable, records: dict[int, tuple[ObjectRecord, ...]]) -> None:
        if layer is not None and records:
            self._owner.recorded.emit(layer, records)

"""What a batch asks of whatever works on its units."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_sam.stacks.work_units import Unit

__all__ = ["MOST_DEATHS", "Event", "Executor"]

MOST_DEATHS = 3
"""How often a unit may be in work in a process that dies, before it is given up."""


@dataclass(frozen=True, slots=True)
class Event:
    """What an executor has to tell.

    Attributes
    ----------
    kind : str
        "ready": a worker has loaded the model. "broken": none can be; the batch ends. Of one unit: "step"
        (how far it is), "done", "failed", and "stopped": its outputs cannot be written, nor can any others.
    source : str
        Of the unit.
    message : str
        The error; of a step what is being done.
    values : dict
        Of a unit that is done its result as JSON; of a step ``done`` and ``total``; the engine when ready.
    """

    kind: Literal["ready", "broken", "step", "done", "failed", "stopped"]
    source: str = ""
    message: str = ""
    values: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """What travels between processes."""
        return {"kind": self.kind, "source": self.source, "message": self.message, "values": self.values}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Event:
        """What ``to_json`` gave."""
        return cls(values["kind"], values["source"], values["message"], dict(values["values"]))


class Executor(Protocol):
    """Works on units, as many at a time as its memory allows; used from one thread."""

    @property
    def room(self) -> int:
        """How many units more it takes now."""
        ...

    def submit(self, unit: Unit) -> None:
        """Take a unit; exactly one event says how it ended."""
        ...

    def wait(self, seconds: float) -> list[Event]:
        """What happened, after waiting for it at most that long."""
        ...

    def close(self) -> None:
        """Give up what is in work and end; when this returns nothing is written any more."""
        ...

"""The values of propagation: what is known of an object, what is wanted, and what was found.

They lie below ``stacks``, which works with them, and ``session``, which asks for that work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from napari_sam.errors import PromptError, SamError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam.types import ObjectMask, Prompts

__all__ = [
    "KINDS",
    "SHRUNK",
    "Anchor",
    "Direction",
    "Flag",
    "PlaneObject",
    "PlanePredictor",
    "PropagationParams",
    "read_kinds",
]

KINDS: Final = ("mask", "logits", "box", "point")
"""What can be handed on; "mask" are its pixels, "logits" what the decoder said, of which the mask was cut."""
SHRUNK: Final = 0.6
"""Of its largest area: an object that has become smaller is near its end, along z."""
Direction = Literal["both", "forward", "backward"]
Flag = Literal["", "area", "overlap", "score", "faded", "lost"]


def read_kinds(text: str) -> frozenset[str]:
    """Read a combination such as "mask+box+point".

    Raises
    ------
    PromptError
        When it names something else, or nothing.

    Examples
    --------
    >>> sorted(read_kinds("box+mask"))
    ['box', 'mask']
    """
    kinds = frozenset(part.strip() for part in text.split("+"))
    if not kinds <= set(KINDS):
        raise PromptError(f"Expected kinds of prompts out of {', '.join(KINDS)} joined by '+', got {text!r}.")
    if {"mask", "logits"} <= kinds:
        raise PromptError(f"Expected mask or logits, got both in {text!r}; logits hold the mask.")
    return kinds


class PlanePredictor(Protocol):
    """What propagation needs of a predictor; ``CachedPredictor`` is one."""

    def predict_many(self, image: Any, prompts: Sequence[Prompts]) -> list[ObjectMask]:
        """The best mask of each of many prompts on one plane."""


@dataclass(frozen=True, slots=True)
class PropagationParams:
    """How objects are followed, and when that ends.

    Attributes
    ----------
    prompts : str
        What is handed from plane to plane: "mask" (pixels) or "logits" (the decoder's own), "box", "point",
        or several joined by "+".
    direction : "both", "forward" or "backward"
        From the anchors towards both ends, larger or smaller plane numbers.
    first, last : int or None
        Planes outside are left alone; None for the stack's ends.
    min_overlap : float
        The share of the smaller of two neighbouring masks that both have, 0 to 1. Below it an object ends.
    max_area_change : float
        Factor between the areas of neighbouring masks, at least 1. Beyond it, up or down, an object ends.
    max_regrowth : float
        Factor, at least 1, by which an object that had shrunk to less than ``SHRUNK`` of its largest area may
        grow again. Beyond it, it ends: along z it is another object, lying behind. Infinity along t.
    min_contrast : float
        Share of the contrast with its surroundings, 0 to 1, that an object has where it is known. Below it,
        it ends: along z it is out of focus. 0 where intensities change, as by bleaching; objects that do not
        differ from their surroundings are not judged by it.
    min_score : float
        Predicted IoU, 0 to 1, below which there is no object.
    doubt : float
        Where to look again: planes whose overlap is below, whose area changes by more than the inverse, or
        whose predicted IoU is below this are flagged but kept; 0 to 1, 0 for none.
    stop_at_jumps : bool
        Whether objects end as described; without, such planes are flagged and the object goes on.
    between : "nearest" or "blend"
        Between two anchors, each half follows from its nearer one, or both are followed through and blended
        by distance.
    motion : bool
        Expect an object to move on as it did from the plane before, for time series.
    margin : float
        Pixels by which the box is enlarged.

    Raises
    ------
    SamError
        When a value is impossible.
    """

    prompts: str = "logits+point"
    direction: Direction = "both"
    first: int | None = None
    last: int | None = None
    min_overlap: float = 0.5
    max_area_change: float = 2.5
    max_regrowth: float = 1.5
    min_contrast: float = 0.4
    min_score: float = 0.4
    doubt: float = 0.6
    stop_at_jumps: bool = True
    between: Literal["nearest", "blend"] = "nearest"
    motion: bool = False
    margin: float = 1.0

    @classmethod
    def for_series(cls, **changes: Any) -> PropagationParams:
        """Those for time series: cells move on, round up and divide, and dyes bleach.

        Parameters
        ----------
        **changes
            Fields that are to be otherwise.
        """
        return cls(**{"motion": True, "max_regrowth": math.inf, "min_contrast": 0.0, **changes})

    def __post_init__(self) -> None:
        read_kinds(self.prompts)
        for name in ("min_overlap", "min_contrast", "min_score", "doubt"):
            if not 0 <= getattr(self, name) <= 1:
                raise SamError(f"Expected {name} from 0 to 1, got {getattr(self, name)!r}.")
        for name in ("max_area_change", "max_regrowth"):
            if not getattr(self, name) >= 1:
                raise SamError(f"Expected {name} of 1 or more, got {getattr(self, name)!r}.")
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise SamError(f"Expected a margin of 0 or more pixels, got {self.margin!r}.")
        for name, allowed in (
            ("direction", ("both", "forward", "backward")),
            ("between", ("nearest", "blend")),
        ):
            if getattr(self, name) not in allowed:
                raise SamError(f"Expected {name} out of {', '.join(allowed)}, got {getattr(self, name)!r}.")
        if self.first is not None and self.last is not None and self.first > self.last:
            raise SamError(f"Expected first <= last, got planes {self.first} to {self.last}.")


@dataclass(frozen=True, slots=True, eq=False)
class Anchor:
    """A plane in which the user said something about an object.

    Attributes
    ----------
    plane : int
        Number in the stack, from 0.
    mask : ObjectMask or None
        The object there, which nothing changes; an empty one says that it is not in this plane.
    prompts : Prompts or None
        Where there is no mask, what it is decoded from. Prompts without any foreground (negative points
        alone) make no anchor: they join what is asked in this plane.

    Raises
    ------
    PromptError
        When there is neither a mask nor a prompt.
    """

    plane: int
    mask: ObjectMask | None = None
    prompts: Prompts | None = None

    def __post_init__(self) -> None:
        if self.mask is None and (self.prompts is None or self.prompts.is_empty):
            raise PromptError(f"Expected a mask or prompts in plane {self.plane}, got neither.")

    @property
    def is_hint(self) -> bool:
        """True for prompts that say only where the object is not."""
        return self.mask is None and not (self.prompts is not None and self.prompts.has_foreground)


@dataclass(frozen=True, slots=True, eq=False)
class PlaneObject:
    """What was found of one object in one plane.

    Attributes
    ----------
    id : int
        Of the object.
    plane : int
        Number in the stack.
    mask : ObjectMask or None
        Its pixels; None where it ended, and where an earlier run had it but this one has not.
    overlap : float
        Share of the smaller of this and the mask it follows from that both have, 0 to 1; 1 at an anchor.
    area_ratio : float
        Area of this mask over that of the mask it follows from; 1 at an anchor.
    flag : str
        Why to look here: "area" or "overlap" jumped, a low "score", "faded", or "lost" (nothing was found);
        "" where all is well.
    is_anchor : bool
        True where the mask is the user's, or the answer to their prompts.
    """

    id: int
    plane: int
    mask: ObjectMask | None
    overlap: float = 1.0
    area_ratio: float = 1.0
    flag: Flag = ""
    is_anchor: bool = False

    @property
    def area(self) -> int:
        """Pixels; 0 where there is no mask."""
        return 0 if self.mask is None else self.mask.area

    @property
    def is_suspicious(self) -> bool:
        """Whether somebody should look here; an object that fades has come to its natural end."""
        return self.flag not in ("", "faded")

"""The objects that the user has begun on planes that are not shown."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_sam.session.prompt_checks import same_prompts
from napari_sam.session.prompt_state import PromptState, unanswered

if TYPE_CHECKING:
    from napari_sam.session.drawing import Drawing
    from napari_sam.session.requests import Plane
    from napari_sam.types import Prompts

__all__ = ["LeftPrompts"]


class LeftPrompts:
    """Keeps what is begun on a plane while another one is shown."""

    def __init__(self) -> None:
        self._states: dict[Plane, PromptState] = {}

    def leave(self, state: PromptState | None) -> None:
        """The plane of a state is shown no more."""
        if state is not None and not state.prompts.is_empty:
            self._states[state.plane] = state

    def come_back(self, plane: Plane, prompts: Prompts, drawing: Drawing | None) -> PromptState:
        """What is begun on a plane that is shown now; as it was left, where the prompts are the same."""
        left = self._states.pop(plane, None)
        if left is not None and left.plane.measure != plane.measure:
            left = unanswered(replace(left, plane=plane))
        if left is not None and same_prompts(left.prompts, prompts):
            return left
        known = None if left is None or prompts.is_empty else left.accepted
        mask = None if drawing is None else drawing.untouched
        return PromptState(plane, prompts, mask, known, drawing=drawing)

    def forget(self, plane: Plane) -> None:
        """Nothing of a plane is come back to."""
        self._states.pop(plane, None)

    def unanswer(self) -> None:
        """The answers hold no more."""
        self._states = {plane: unanswered(state) for plane, state in self._states.items()}

    def clear(self) -> None:
        """Another image."""
        self._states.clear()

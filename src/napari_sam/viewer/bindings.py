"""Keyboard shortcuts, through the public keymaps of viewer and layer, given back on closing.

The keys are free in napari's own viewer and layer bindings but for one: ``T`` takes the path tool in a
Shapes layer, and a layer's keys go before the viewer's. A path is no prompt, so in our own Shapes layer
the key does what it does elsewhere; in the user's layers napari's binding stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["KEYS", "SHAPES_KEYS", "SHORTCUTS", "Bindings", "Shortcut"]


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A key of ours.

    Attributes
    ----------
    key : str
        In napari's spelling, "Shift-U".
    does : str
        What it does, for the table of shortcuts.
    group : str
        Under which heading it is listed.
    """

    key: str
    does: str
    group: str


SHORTCUTS = {
    "toggle_label": Shortcut("T", "next click: object or background", "Prompts"),
    "accept": Shortcut("N", "accept the object", "Prompts"),
    "undo": Shortcut("U", "undo", "Prompts"),
    "redo": Shortcut("Shift-U", "redo", "Prompts"),
    "clear": Shortcut("Shift-C", "clear the prompts of this plane", "Prompts"),
}
KEYS = {name: shortcut.key for name, shortcut in SHORTCUTS.items()}
SHAPES_KEYS = ("toggle_label",)  # what napari uses otherwise in a Shapes layer


class Bindings:
    """The session's keys on one viewer, and on one Shapes layer of ours.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Whose keymap is used.
    actions : mapping of str to callable
        An action for names of ``SHORTCUTS``; ``add`` takes more of them.
    """

    def __init__(self, viewer: Any, actions: Mapping[str, Callable[[], object]]) -> None:
        self._viewer = viewer
        self._actions = dict(actions)
        self._shapes: Any = None
        self._replaced: list[tuple[Any, str, Any]] = []  # keymap's owner, key, what was bound before

    def add(self, actions: Mapping[str, Callable[[], object]]) -> None:
        """Take more actions, before ``enable``; each name is one of ``SHORTCUTS``."""
        unknown = sorted(actions.keys() - SHORTCUTS.keys())
        if unknown:
            raise ValueError(f"Expected names of SHORTCUTS, got {unknown}; give each a key there first.")
        self._actions.update(actions)

    def enable(self) -> None:
        """Bind the keys, remembering what was bound before."""
        for name in self._actions:
            self._bind(self._viewer, name)

    def use_shapes(self, layer: Any) -> None:
        """Bind the keys of a Shapes layer of ours too, and give those of the last one back; None for none."""
        if layer is self._shapes:
            return
        if self._shapes is not None:
            self._give_back(self._shapes)
        self._shapes = layer
        if layer is not None:
            for name in SHAPES_KEYS:
                self._bind(layer, name)

    def disable(self) -> None:
        """Give the keys back."""
        for owner in (self._viewer, self._shapes):
            self._give_back(owner)
        self._shapes = None

    def _bind(self, owner: Any, name: str) -> None:
        before = owner.bind_key(KEYS[name], self._call(self._actions[name]), overwrite=True)
        self._replaced.append((owner, KEYS[name], before))

    def _give_back(self, owner: Any) -> None:
        for key, before in [(key, before) for bound, key, before in self._replaced if bound is owner]:
            owner.bind_key(key, before, overwrite=True)
        self._replaced = [replaced for replaced in self._replaced if replaced[0] is not owner]

    @staticmethod
    def _call(action: Callable[[], object]) -> Callable[[Any], None]:
        def run(_owner: Any) -> None:
            action()

        return run

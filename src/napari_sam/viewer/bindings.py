"""Keyboard shortcuts, through the viewer's public keymap, given back on closing.

The keys are free in napari's own viewer, Points, Labels and Image bindings. ``T`` draws paths in a
Shapes layer; there napari's binding wins, because a layer's keys go before the viewer's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["KEYS", "Bindings"]

KEYS = {
    "toggle_label": "T",
    "accept": "N",
    "undo": "U",
    "redo": "Shift-U",
    "clear": "Shift-C",
}


class Bindings:
    """The session's keys on one viewer.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Whose keymap is used.
    actions : mapping of str to callable
        One action for each name in ``KEYS``.
    """

    def __init__(self, viewer: Any, actions: Mapping[str, Callable[[], object]]) -> None:
        self._viewer = viewer
        self._actions = actions
        self._replaced: dict[str, Any] = {}

    def enable(self) -> None:
        """Bind the keys, remembering what was bound before."""
        for name, key in KEYS.items():
            self._replaced[key] = self._viewer.bind_key(key, self._call(self._actions[name]), overwrite=True)

    def disable(self) -> None:
        """Give the keys back."""
        for key, before in self._replaced.items():
            self._viewer.bind_key(key, before, overwrite=True)
        self._replaced.clear()

    @staticmethod
    def _call(action: Callable[[], object]) -> Callable[[Any], None]:
        def run(_viewer: Any) -> None:
            action()

        return run

"""Keyboard shortcuts, through the public keymaps of viewer and layer, given back on closing.

The keys are free in napari's own viewer and layer bindings but for one: ``T`` takes the path tool in a
Shapes layer, and a layer's keys go before the viewer's. In our own Shapes layer the key does what it does
elsewhere; in the user's layers napari's binding stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_sam.viewer.shortcuts import KEYS, SHORTCUTS, Shortcut, ShortcutActions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["KEYS", "SHAPES_KEYS", "SHORTCUTS", "Bindings", "Shortcut"]

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

    changed = Signal(str, object)  # name, its keys as a tuple of str

    def __init__(self, viewer: Any, actions: Mapping[str, Callable[[], object]]) -> None:
        self._viewer = viewer
        self._actions = dict(actions)
        self._shapes: Any = None
        self._keys: dict[str, tuple[str, ...]] = {}
        self._replaced: list[
            tuple[Any, str, str, Any]
        ] = []  # keymap's owner, name, key, what was there before
        self._preferences = ShortcutActions(self._run, self._use_keys)

    @property
    def keys(self) -> Mapping[str, tuple[str, ...]]:
        """The keys that are bound, by the name of what they do."""
        return self._keys

    def add(self, actions: Mapping[str, Callable[[], object]]) -> None:
        """Take more actions, before ``enable``; each name is one of ``SHORTCUTS``."""
        unknown = sorted(actions.keys() - SHORTCUTS.keys())
        if unknown:
            raise ValueError(f"Expected names of SHORTCUTS, got {unknown}; give each a key there first.")
        self._actions.update(actions)

    def enable(self) -> None:
        """Bind the keys, remembering what was bound before."""
        self._preferences.enable(name for name in SHORTCUTS if name in self._actions)

    def use_shapes(self, layer: Any) -> None:
        """Bind the keys of a Shapes layer of ours too, and give those of the last one back; None for none."""
        if layer is self._shapes:
            return
        if self._shapes is not None:
            self._give_back(self._shapes)
        self._shapes = layer
        if layer is not None:
            for name in SHAPES_KEYS:
                for key in self._keys.get(name, ()):
                    self._bind(layer, name, key)

    def disable(self) -> None:
        """Give the keys back."""
        self._preferences.disable()
        for owner in (self._viewer, self._shapes):
            self._give_back(owner)
        self._shapes = None
        self._keys.clear()
        self._actions.clear()

    def _use_keys(self, name: str, keys: tuple[str, ...]) -> None:
        """Bind other keys than before to an action."""
        owners = [self._viewer]
        if self._shapes is not None and name in SHAPES_KEYS:
            owners.append(self._shapes)
        for owner in owners:
            self._give_back(owner, name)
            for key in keys:
                self._bind(owner, name, key)
        self._keys[name] = keys
        self.changed.emit(name, keys)

    def _bind(self, owner: Any, name: str, key: str) -> None:
        before = owner.bind_key(key, self._call(name), overwrite=True)
        self._replaced.append((owner, name, key, before))

    def _give_back(self, owner: Any, name: str | None = None) -> None:
        kept = []
        for replaced in self._replaced:
            bound, its_name, key, before = replaced
            if bound is owner and name in (None, its_name):
                owner.bind_key(key, before, overwrite=True)
            else:
                kept.append(replaced)
        self._replaced = kept

    def _run(self, name: str) -> None:
        action = self._actions.get(name)
        if action is not None:
            action()

    def _call(self, name: str) -> Callable[[Any], None]:
        def run(_owner: Any) -> None:
            self._run(name)

        return run

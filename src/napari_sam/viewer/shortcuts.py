"""The keys of this plugin: what each does, and how they get into napari's preferences.

napari reads no keybindings from a plugin's manifest, but what is registered with its action manager is listed
under Preferences > Shortcuts > Viewer key bindings, can be changed there, and is kept with napari's settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakSet

from napari.settings import get_settings
from napari.utils.action_manager import action_manager
from napari.utils.key_bindings import KeymapProvider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["KEYS", "SHORTCUTS", "Shortcut", "ShortcutActions", "action_id"]


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A key of ours.

    Attributes
    ----------
    key : str
        As it is to begin with, in napari's spelling: "Shift-U".
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
    "next_mask": Shortcut("Q", "next of the model's masks", "Prompts"),
    "previous_mask": Shortcut("Shift-Q", "previous of the model's masks", "Prompts"),
    "refine": Shortcut("W", "refine the object under the cursor", "Prompts"),
    "rapid": Shortcut("Shift-N", "rapid mode: each click an object", "Prompts"),
    "hover": Shortcut("H", "hover preview: what a click would give", "Prompts"),
    "edit_delete": Shortcut("Shift-X", "delete the object under the cursor", "Edit"),
    "edit_merge": Shortcut("Shift-M", "merge objects by clicks", "Edit"),
    "edit_split": Shortcut("Shift-S", "split an object by two clicks", "Edit"),
    "edit_fill": Shortcut("Shift-F", "fill the holes of the object under the cursor", "Edit"),
    "propagate": Shortcut("Shift-G", "follow the object through the stack", "Stack"),
    "stop_here": Shortcut("Shift-E", "the object ends before this plane", "Stack"),
    "flag_next": Shortcut("Shift-J", "next flagged plane", "Stack"),
    "flag_previous": Shortcut("Shift-K", "previous flagged plane", "Stack"),
    "review_next": Shortcut("J", "next object that is not done", "Review"),
    "review_previous": Shortcut("K", "previous object", "Review"),
    "review_accept": Shortcut("G", "object is right: done, and go on", "Review"),
    "review_refine": Shortcut("Shift-R", "refine the object", "Review"),
    "review_delete": Shortcut("Shift-D", "delete the object, and go on", "Review"),
}
"""All of them; a feature that has a key adds a line here, and hands its action to the dock."""

KEYS = {name: shortcut.key for name, shortcut in SHORTCUTS.items()}


def action_id(name: str) -> str:
    """What napari calls an action of ours."""
    return f"napari-sam-workbench:{name}"


class _SamKeys(KeymapProvider):  # type: ignore[misc]
    """Where the action manager puts our keys; no viewer looks here, each widget binds its own viewer."""

    users: ClassVar[WeakSet[ShortcutActions]] = WeakSet()


class ShortcutActions:
    """Our actions in napari's preferences, for as long as a widget is open.

    Parameters
    ----------
    run : callable
        Does an action, given its name.
    show : callable
        Is told (name, keys) when keys are others than before.
    """

    def __init__(self, run: Callable[[str], object], show: Callable[[str, tuple[str, ...]], object]) -> None:
        self._run = run
        self._show = show
        self._keys: dict[str, tuple[str, ...]] = {}

    def enable(self, names: Iterable[str]) -> None:
        """Register actions, with the keys that the user has chosen or else those of ``SHORTCUTS``."""
        first = not _SamKeys.users
        chosen = get_settings().shortcuts.shortcuts
        for name in names:
            keys = chosen.get(action_id(name), [KEYS[name]])
            self._keys[name] = tuple(filter(None, map(_spell, keys)))
            self._show(name, self._keys[name])
            if first:
                description = f"SAM: {SHORTCUTS[name].does}"
                action_manager.register_action(action_id(name), _make_command(name), description, _SamKeys)
                for key in filter(_spell, keys):
                    action_manager.bind_shortcut(action_id(name), key)
        _SamKeys.users.add(self)
        _changes().connect(self._on_shortcut_changed)

    def disable(self) -> None:
        """Take the actions out of the preferences when this was the last widget."""
        if self not in _SamKeys.users:
            return
        _changes().disconnect(self._on_shortcut_changed)
        _SamKeys.users.discard(self)
        if not _SamKeys.users:
            for name in self._keys:
                action_manager.unbind_shortcut(action_id(name))
                # without a provider it is not listed; napari has no way to forget an action
                description = f"SAM: {SHORTCUTS[name].does}"
                action_manager.register_action(action_id(name), _make_command(name), description, None)
            _tidy_settings(self._keys)
        self._keys.clear()

    def run(self, name: str) -> None:
        """Do an action."""
        self._run(name)

    def _on_shortcut_changed(self, event: Any) -> None:
        """The user changes keys in the preferences: first all of an action go, then come the new ones."""
        name = event.name.rpartition(":")[2]
        if event.name != action_id(name) or name not in self._keys:
            return
        key = _spell(event.shortcut)
        self._keys[name] = (*self._keys[name], key) if key else ()
        self._show(name, self._keys[name])


def _changes() -> Any:
    """What tells that keys were changed; napari before 0.7 wrote it with one letter less."""
    events = action_manager.events
    return events.shortcut_changed if hasattr(events, "shortcut_changed") else events.shorcut_changed


def _spell(key: Any) -> str:
    """A key as in ``SHORTCUTS``; empty for one that was cleared."""
    return str(key).replace("+", "-")


def _tidy_settings(names: Iterable[str]) -> None:
    """Take keys that nobody changed out of napari's settings.

    napari keeps those of all actions as soon as one is changed, and at its next start warns of each that is
    not registered yet.
    """
    settings = get_settings().shortcuts
    same = {
        action_id(name)
        for name in names
        if [_spell(key) for key in settings.shortcuts.get(action_id(name), ())] == [KEYS[name]]
    }
    if same:
        settings.shortcuts = {name: keys for name, keys in settings.shortcuts.items() if name not in same}


def _make_command(name: str) -> Callable[[], None]:
    """What napari calls when the action is triggered by other means than a key: acts in the newest widget."""

    def run() -> None:
        for user in list(_SamKeys.users)[-1:]:
            user.run(name)

    run.__name__ = f"sam_{name}"
    return run

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Points, Shapes, Surface, Tracks, Vectors
from napari.settings import get_settings
from napari.utils.action_manager import action_manager
from napari.utils.key_bindings import KeyBinding, coerce_keybinding
from napari.utils.shortcuts import default_shortcuts

from napari_sam.viewer.bindings import SHAPES_KEYS, Bindings
from napari_sam.viewer.shortcuts import KEYS, SHORTCUTS, action_id

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = (ViewerModel, Image, Labels, Points, Shapes, Surface, Tracks, Vectors)
TAKEN = {(Shapes, "toggle_label")}  # the path tool, in the user's own Shapes layers


@pytest.fixture
def pressed() -> list[str]:
    return []


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def bindings(viewer: ViewerModel, pressed: list[str]) -> Iterator[Bindings]:
    made = Bindings(viewer, {name: (lambda name=name: pressed.append(name)) for name in SHORTCUTS})
    made.enable()
    yield made
    made.disable()


def press(owner: Any, key: str) -> None:
    owner.keymap[coerce_keybinding(key)](owner)


def spelled(shortcut: Any) -> str:
    return str(coerce_keybinding(shortcut))


# ------------------------------------------------------------------ clashes
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_key_is_napari_s(kind: type) -> None:
    """Neither of the class's own keymap, nor of what the preferences bind to it to begin with."""
    taken = {str(key) for cls in kind.__mro__ for key in getattr(cls, "class_keymap", {})}
    free = {name for name, key in KEYS.items() if spelled(key) not in taken}
    assert {(kind, name) for name in KEYS.keys() - free} <= TAKEN


def test_no_key_is_in_napari_s_table_of_shortcuts() -> None:
    theirs = {str(key): name for name, keys in default_shortcuts.items() for key in keys}
    clashes = {name: theirs[spelled(key)] for name, key in KEYS.items() if spelled(key) in theirs}
    assert clashes == {"toggle_label": "napari:activate_add_path_mode"}


def test_no_two_of_ours_are_the_same() -> None:
    assert len({spelled(key) for key in KEYS.values()}) == len(KEYS)


def test_every_shortcut_says_what_it_does() -> None:
    assert all(shortcut.does and shortcut.group for shortcut in SHORTCUTS.values())
    assert set(SHAPES_KEYS) <= SHORTCUTS.keys()


# ------------------------------------------------------------------ binding
def test_keys_do_what_they_are_bound_to(viewer: ViewerModel, bindings: Bindings, pressed: list[str]) -> None:
    for name, key in KEYS.items():
        press(viewer, key)
        assert pressed[-1] == name
    assert len(viewer.keymap) == len(KEYS)


def test_keys_are_given_back(viewer: ViewerModel) -> None:
    def theirs(_viewer: Any) -> None:
        """Bound by somebody else before."""

    viewer.bind_key(KEYS["accept"], theirs)
    shapes = Shapes()
    made = Bindings(viewer, dict.fromkeys(SHORTCUTS, lambda: None))
    made.enable()
    made.use_shapes(shapes)
    assert viewer.keymap[coerce_keybinding(KEYS["accept"])] is not theirs
    assert len(shapes.keymap) == len(SHAPES_KEYS)
    made.disable()
    assert list(viewer.keymap.values()) == [theirs]
    assert shapes.keymap == {}


def test_a_layer_s_keys_go_with_the_layer(bindings: Bindings, pressed: list[str]) -> None:
    one, other = Shapes(), Shapes()
    bindings.use_shapes(one)
    bindings.use_shapes(other)
    assert one.keymap == {}
    press(other, KEYS["toggle_label"])
    assert pressed == ["toggle_label"]


def test_only_known_names_have_actions(viewer: ViewerModel) -> None:
    with pytest.raises(ValueError, match=r"Expected names of SHORTCUTS, got \['fly'\]"):
        Bindings(viewer, {}).add({"fly": lambda: None})


# ------------------------------------------------------------------ napari's preferences
def test_a_key_that_is_changed_in_the_preferences_is_bound_at_once(
    viewer: ViewerModel, bindings: Bindings, pressed: list[str]
) -> None:
    shapes = Shapes()
    bindings.use_shapes(shapes)
    told: list[Any] = []
    bindings.changed.connect(lambda *args: told.append(args))
    # what the editor of the preferences does
    action_manager.unbind_shortcut(action_id("toggle_label"))
    action_manager.bind_shortcut(action_id("toggle_label"), "Alt-F")
    action_manager.bind_shortcut(action_id("toggle_label"), KeyBinding.from_str("Ctrl+Alt+T"))
    assert told[-1] == ("toggle_label", ("Alt-F", "Ctrl-Alt-T"))
    assert coerce_keybinding(KEYS["toggle_label"]) not in viewer.keymap
    for owner in (viewer, shapes):
        press(owner, "Alt-F")
        press(owner, "Ctrl-Alt-T")
    assert pressed == ["toggle_label"] * 4
    assert bindings.keys["accept"] == (KEYS["accept"],)
    bindings.disable()
    assert viewer.keymap == {}
    assert shapes.keymap == {}


def test_a_key_that_was_chosen_before_is_used(viewer: ViewerModel, pressed: list[str]) -> None:
    chosen = get_settings().shortcuts.shortcuts
    chosen[action_id("accept")] = [KeyBinding.from_str("Alt+G")]
    made = Bindings(viewer, {"accept": lambda: pressed.append("accept")})
    try:
        made.enable()
        assert made.keys == {"accept": ("Alt-G",)}
        press(viewer, "Alt+G")
        assert pressed == ["accept"]
    finally:
        made.disable()
        del chosen[action_id("accept")]


def test_keys_that_were_cleared_stay_so_and_those_as_they_were_are_not_kept(viewer: ViewerModel) -> None:
    settings = get_settings().shortcuts
    before = dict(settings.shortcuts)
    made = Bindings(
        viewer, {name: (lambda name=name: pressed.append(name)) for name in ("undo", "redo", "clear")}
    )
    # what the preferences keep as soon as one key is changed
    settings.shortcuts = {
        **before,
        action_id("undo"): [KeyBinding.from_str("")],
        action_id("redo"): [KeyBinding.from_str("Shift+U")],
        action_id("clear"): [KeyBinding.from_str("Alt+C")],
    }
    try:
        made.enable()
        assert made.keys == {"undo": (), "redo": ("Shift-U",), "clear": ("Alt-C",)}
        made.disable()
        kept = {name for name in settings.shortcuts if "napari-sam" in name}
        assert kept == {action_id("undo"), action_id("clear")}
    finally:
        settings.shortcuts = before


def test_actions_can_be_triggered_and_end_with_the_last_widget(viewer: ViewerModel) -> None:
    pressed: list[str] = []
    one = Bindings(viewer, {"undo": lambda: pressed.append("one")})
    other = Bindings(ViewerModel(), {"undo": lambda: pressed.append("other")})
    one.enable()
    other.enable()
    other.disable()
    action_manager.trigger(action_id("undo"))
    assert pressed == ["one"]
    one.disable()
    action_manager.trigger(action_id("undo"))
    assert pressed == ["one"]
    action_manager.bind_shortcut(action_id("undo"), "Alt-H")  # the editor may still be open
    assert viewer.keymap == {}
    action_manager.unbind_shortcut(action_id("undo"))


def test_nothing_is_held_after_closing(viewer: ViewerModel) -> None:
    made = Bindings(viewer, {"undo": np.zeros})
    made.enable()
    gone = weakref.ref(made)
    made.disable()
    del made
    gc.collect()
    assert gone() is None

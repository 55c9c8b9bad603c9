"""Random user actions in a real widget, and what must hold whatever they are.

Every action gets a random number of its own, so that a list of (action, number) can be done again, and made
shorter while it still fails.
"""

from __future__ import annotations

import gc
import threading
import traceback
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from actions import ACTIONS
from qtpy.QtWidgets import QApplication
from watching import Watch, count_callbacks, settle_garbage
from world import World

from napari_sam.widgets.dock import SamWidget

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["Failure", "Monkey", "Step", "plan", "shrink"]

EPISODE = "episode"
"""In a list of steps: forget the history, and from here on undo must bring everything back; see ``END``."""
END = "end of episode"
HELD = ("widget", "session", "controller")
CHECKED = 0.8
"""Share of the actions after which the monkey waits and looks."""

Step = tuple[str, int]


class Failure(AssertionError):
    """Something that must hold does not."""


def plan(seed: int, count: int) -> list[Step]:
    """A list of so many random steps, among them some stretches in which undo is watched."""
    rng = np.random.default_rng(seed)
    names = list(ACTIONS)
    weights = np.array([ACTIONS[name].weight for name in names])
    pure = np.array([ACTIONS[name].pure for name in names])
    steps: list[Step] = []
    left = 0
    while len(steps) < count:
        if left == 0 and rng.random() < 0.02:
            left = int(rng.integers(10, 40))
            steps.append((EPISODE, 0))
        chances = weights * pure if left else weights
        name = str(rng.choice(names, p=chances / chances.sum()))
        steps.append((name, int(rng.integers(1 << 31))))
        if left:
            left -= 1
            if left == 0:
                steps.append((END, 0))
    if left:
        steps.append((END, 0))
    return steps


@dataclass
class Monkey:
    """Does steps in a viewer and looks after each of them.

    Parameters
    ----------
    make_viewer : callable
        Gives an empty viewer.
    folder : Path
        For files.
    real : bool
        Use the bundled model.
    """

    make_viewer: Callable[[], Any]
    folder: Path
    real: bool = False
    done: list[Step] = field(default_factory=list)

    def run(self, steps: Sequence[Step]) -> None:
        """Do the steps.

        Raises
        ------
        Failure
            With what went wrong, at the step that is the last of ``done``.
        """
        self.done = []
        threads = set(threading.enumerate())
        viewer = self.make_viewer()
        settle_garbage()
        before = count_callbacks(viewer)
        with Watch() as watch:
            world = World(viewer, self.folder, self.real)
            held: list[tuple[str, weakref.ref[Any]]] = []
            try:
                for kind in ("plane", "stack", "colours"):
                    world.add_image(kind)
                world.widget.image_layer = "stack"
                world.settle()
                self._do(world, steps, watch, held)
                world.settle()
            except Failure:
                raise
            except Exception:  # noqa: BLE001 - whatever it is, the steps that led to it are told
                raise Failure(f"raised:\n{traceback.format_exc()}") from None
            finally:
                self._end(world)
            self._check_leaks(world, viewer, before, threads, held)
            world.viewer = None
            _raise(watch.look(), "at the end")

    def _do(self, world: World, steps: Sequence[Step], watch: Watch, held: list[Any]) -> None:
        start: Any = None
        known: Any = None
        for number, (name, seed) in enumerate(steps):
            self.done.append((name, seed))
            if world.widget is not known:
                known = world.widget
                held += [(what, weakref.ref(getattr(world, what))) for what in HELD]
            if name == EPISODE:
                start = self._begin_episode(world)
            elif name == END:
                if start is not None:
                    self._end_episode(world, *start)
                start = None
            else:
                self._act(world, name, seed, number)
            _raise(watch.look(), f"after {name}")

    def _act(self, world: World, name: str, seed: int, number: int) -> None:
        action, rng = ACTIONS[name], np.random.default_rng(seed)
        effect = action.effect
        if effect == "prompts":
            effect = "any" if world.is_rapid else "none"
        if rng.random() > CHECKED:
            action.do(world, rng)
            return
        world.settle()
        before = world.pixels()
        keep = world.session.prompting.accepting.rule.keep
        action.do(world, rng)
        world.settle()
        if effect == "any":
            return
        changed = []
        for layer, old in before.items():
            if layer not in world.viewer.layers:
                continue
            new = np.asarray(layer.data)
            if new.shape != old.shape or not np.array_equal(new, old):
                changed.append((layer, old, new))
        names = [layer.name for layer, _, _ in changed]
        if effect == "none" and changed:
            raise Failure(f"{name} changed the labels of {names}, which it has no business with")
        if len(changed) > 1:
            raise Failure(f"{name} changed several layers: {names}")
        if effect == "accept" and changed:
            _, old, new = changed[0]
            where = old != new
            touched = set(np.unique(new[where]).tolist()) - {0}
            robbed = set(np.unique(old[where]).tolist()) - {0} - touched
            if len(touched) > 1 or (
                robbed and keep != "overwrite" and not world.is_rapid and len(touched | robbed) > 1
            ):
                raise Failure(
                    f"{name} wrote {touched} and took pixels of {robbed}, though others were to be kept"
                )

    # ------------------------------------------------------------- undo
    def _begin_episode(self, world: World) -> Any:
        world.widget.clear()
        world.settle()
        if world.is_rapid:
            world.widget._bindings._run("rapid")
        world.settle()
        world.session.history.clear()
        return world.pixels(), world.records()

    def _end_episode(self, world: World, first: Any, first_records: Any) -> None:
        session = world.session
        world.settle()
        last, last_records = world.pixels(), world.records()
        steps = 0
        while session.history.can_undo and steps < 1000:
            world.widget.undo()
            world.settle()
            steps += 1
        self._compare(world, first, first_records, "undo to the start")
        for layer, pixels in world.pixels().items():
            if layer not in first and pixels.any():
                raise Failure(f"undo to the start left objects in the new layer {layer.name!r}")
        for _ in range(steps):
            world.widget.redo()
            world.settle()
        self._compare(world, last, last_records, "redo to the end")

    @staticmethod
    def _compare(world: World, expected: Any, records: Any, what: str) -> None:
        found, known = world.pixels(), world.records()
        for layer, pixels in expected.items():
            if layer not in found:
                raise Failure(f"{what} has not brought back the layer {layer.name!r}")
            if not np.array_equal(found[layer], pixels):
                ids = np.unique(
                    np.concatenate([found[layer][found[layer] != pixels], pixels[found[layer] != pixels]])
                )
                raise Failure(f"{what} has not restored {layer.name!r}: ids {ids.tolist()} differ")
            if known.get(layer, {}) != records.get(layer, {}):
                differ = {
                    label
                    for label in {*known.get(layer, {}), *records.get(layer, {})}
                    if known.get(layer, {}).get(label) != records.get(layer, {}).get(label)
                }
                raise Failure(f"{what} has not restored the records of {sorted(differ)} in {layer.name!r}")

    # ------------------------------------------------------------- the end
    @staticmethod
    def _end(world: World) -> None:
        if world.widget is not None:
            world.close_widget()
        for runner in world.runners:
            if not runner.join(30):
                raise Failure("a worker thread did not end")
        world.runners.clear()

    @staticmethod
    def _check_leaks(
        world: World, viewer: Any, before: dict[str, int], threads: Any, held: list[Any]
    ) -> None:
        viewer.layers.clear()
        settle_garbage()
        after = count_callbacks(viewer)
        grown = {name: (before.get(name, 0), n) for name, n in after.items() if n > before.get(name, 0)}
        if grown:
            raise Failure(f"listeners stayed behind (before, after): {grown}")
        left = [thread.name for thread in set(threading.enumerate()) - threads if "napari-sam" in thread.name]
        if left:
            raise Failure(f"threads stayed behind: {left}")
        widgets = [widget for widget in QApplication.allWidgets() if isinstance(widget, SamWidget)]
        if widgets:
            raise Failure(f"{len(widgets)} widgets stayed behind")
        alive = [(what, ref()) for what, ref in held if ref() is not None]
        if alive:
            what, thing = alive[-1]
            holders = [
                type(r).__name__ for r in gc.get_referrers(thing) if r is not alive and type(r) is not tuple
            ]
            raise Failure(
                f"{len(alive)} of {[w for w, _ in alive]} are still in memory; {what} is held by {holders}"
            )


def shrink(fails: Callable[[Sequence[Step]], bool], steps: list[Step], tries: int = 60) -> list[Step]:
    """A shorter list of steps that fails too: parts are left out for as long as that is so.

    Parameters
    ----------
    fails : callable
        Does steps and tells whether they fail.
    steps : list of (str, int)
        Steps that fail.
    tries : int
        How often they may be done.
    """
    size = max(len(steps) // 2, 1)
    while tries > 0:
        start = 0
        while start < len(steps) and tries > 0:
            shorter = steps[:start] + steps[start + size :]
            tries -= 1
            if shorter and fails(shorter):
                steps = shorter
            else:
                start += size
        if size == 1:
            break
        size = max(size // 2, 1)
    return steps


def _raise(problems: list[str], when: str) -> None:
    if problems:
        text = "\n".join(problems)
        problems.clear()
        raise Failure(f"{when}:\n{text}")

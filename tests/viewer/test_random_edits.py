"""Random sequences of actions, with napari's own undo and the brush in between."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.errors import SamError
from napari_sam.session.accepting import AcceptRule
from napari_sam.types import ObjectMask

if TYPE_CHECKING:
    from conftest import Bench

SIDE = 40
EDITS = ("accept", "delete", "merge", "split", "fill_holes", "smooth", "keep_largest", "remove_small", "auto")


class User:
    """Does at random what a user can do to the objects of one layer.

    ``ctrl_z`` counts the items that napari's own undo may take back without bringing back what SAM's undo has
    taken: once another step has replaced that in the history, nothing but Ctrl+Z knows of it any more.
    """

    def __init__(self, bench: Bench, seed: int, shape: tuple[int, ...]) -> None:
        self.bench = bench
        self.random = random.Random(seed)
        self.shape = shape
        bench.open(np.zeros(shape, np.uint8))
        data = np.zeros(shape, np.uint16)
        data[..., 5:15, 5:15] = 4
        data[..., 20:30, 8:20] = 9
        self.layer = bench.viewer.add_labels(data)
        bench.controller.target_layer = self.layer
        bench.controller.objects.fill_gaps = True
        bench.viewer.layers.selection.active = bench.points
        self.ctrl_z = self.ctrl_y = 0
        self.painted = np.zeros(shape, bool)

    @property
    def session(self) -> Any:
        return self.bench.session

    @property
    def token(self) -> Any:
        return self.session.layer_token(self.layer)

    def place(self) -> tuple[int, int]:
        return self.random.randrange(SIDE), self.random.randrange(SIDE)

    def labels(self) -> list[int]:
        plane = self.layer.data[tuple(slice(None) if v is None else v for v in self.session.plane.index)]
        return np.unique(plane[plane > 0]).tolist() or [1]

    def act(self, name: str) -> None:
        before, steps = self.layer.data.copy(), self.session.history.depth
        truncates = self.session.history.can_redo
        getattr(self, name)()
        if name == "undo" or (name in EDITS and self.session.history.depth > steps and truncates):
            self.ctrl_z = self.ctrl_y = 0
            return
        if not np.array_equal(self.layer.data, before) and name not in ("undo_natively", "redo_natively"):
            self.ctrl_z, self.ctrl_y = self.ctrl_z + 1, 0

    def accept(self) -> None:
        keep = self.random.choice(["pixels", "objects", "overwrite"])
        ids = self.random.choice(["next", "same", "chosen", "class"])
        self.session.prompting.accepting.rule = AcceptRule(ids, self.random.randint(1, 30), keep, 0.3)
        self.bench.points.add((*self.bench.viewer.dims.current_step[:-2], *self.place()))
        self.session.accept()
        self.session.clear()

    def edit(self, name: str, *args: Any, **options: Any) -> None:
        with suppress(SamError):
            getattr(self.session.editing, name)(self.token, self.session.plane.index, *args, **options)

    def delete(self) -> None:
        self.edit("delete", [self.random.choice(self.labels())], everywhere=self.random.random() < 0.5)

    def merge(self) -> None:
        labels = self.random.sample(self.labels(), min(3, len(self.labels())))
        self.edit("merge", labels, everywhere=self.random.random() < 0.5)

    def split(self) -> None:
        self.edit("split", self.random.choice(self.labels()), (self.place(), self.place()))

    def fill_holes(self) -> None:
        self.edit("fill_holes", self.random.choice(self.labels()))

    def smooth(self) -> None:
        self.edit("smooth", self.random.choice(self.labels()), 1.0)

    def keep_largest(self) -> None:
        self.edit("keep_largest", self.random.choice(self.labels()))

    def remove_small(self) -> None:
        self.edit("remove_small", self.random.randint(1, 30))

    def auto(self) -> None:
        self.bench.engine.objects = [
            ObjectMask(np.ones((4, 5), bool), (self.random.randrange(36), self.random.randrange(35)), 0.9)
            for _ in range(3)
        ]
        self.session.auto.forget()
        self.session.segment_everything()

    def undo(self) -> None:
        self.session.undo()

    def redo(self) -> None:
        self.session.redo()

    def undo_natively(self) -> None:
        if self.ctrl_z:
            self.layer.undo()
            self.ctrl_z, self.ctrl_y = self.ctrl_z - 1, self.ctrl_y + 1

    def redo_natively(self) -> None:
        if self.ctrl_y:
            self.layer.redo()
            self.ctrl_z, self.ctrl_y = self.ctrl_z + 1, self.ctrl_y - 1

    def move(self) -> None:
        if len(self.shape) == 3:
            self.bench.viewer.dims.set_point(0, self.random.randrange(self.shape[0]))

    def travel(self, redo: bool = False) -> None:
        history = self.session.history
        while history.can_redo if redo else history.can_undo:
            (self.session.redo if redo else self.session.undo)()


def state(user: User) -> Any:
    records = user.session.book.records(user.token)
    return user.layer.data.copy(), sorted((r.label, str(r.plane), r.area, r.source) for r in records)


@pytest.mark.parametrize("shape", [(SIDE, SIDE), (3, SIDE, SIDE)], ids=["plane", "stack"])
@pytest.mark.parametrize("seed", range(8))
def test_undo_to_the_start_and_redo_to_the_end_are_exact(bench: Bench, seed: int, shape: Any) -> None:
    user = User(bench, seed, shape)
    start, records = state(user)
    for _ in range(40):
        user.act(user.random.choice([*EDITS, *EDITS, "undo", "undo", "redo", "move"]))
    user.travel(redo=True)
    end, known = state(user)
    user.travel()
    np.testing.assert_array_equal(state(user)[0], start)
    assert state(user)[1] == records == []
    user.travel(redo=True)
    np.testing.assert_array_equal(state(user)[0], end)
    assert state(user)[1] == known


@pytest.mark.parametrize("shape", [(SIDE, SIDE), (3, SIDE, SIDE)], ids=["plane", "stack"])
@pytest.mark.parametrize("seed", range(100, 108))
def test_naparis_own_undo_in_between_spoils_nothing(bench: Bench, seed: int, shape: Any) -> None:
    user = User(bench, seed, shape)
    start = user.layer.data.copy()
    actions = [*(name for name in EDITS if name != "auto"), "undo", "redo"]
    for _ in range(60):
        user.act(user.random.choice([*actions, "undo_natively", "undo_natively", "redo_natively", "move"]))
    user.travel(redo=True)
    user.travel()
    np.testing.assert_array_equal(user.layer.data, start)
    user.travel(redo=True)
    end = user.layer.data.copy()
    user.travel()
    np.testing.assert_array_equal(user.layer.data, start)
    user.travel(redo=True)
    np.testing.assert_array_equal(user.layer.data, end)


@pytest.mark.parametrize("seed", range(200, 208))
def test_what_the_user_painted_survives_every_undo(bench: Bench, seed: int) -> None:
    user = User(bench, seed, (SIDE, SIDE))
    ink = 60_000
    painted = np.zeros((SIDE, SIDE), bool)
    for _ in range(50):
        if user.random.random() < 0.3:
            row, col = user.place()
            strokes = np.zeros((SIDE, SIDE), bool)
            strokes[row : row + 3, col : col + 3] = True
            user.layer.data_setitem(np.nonzero(strokes), ink)
            painted |= strokes
        else:
            before = user.layer.data == ink
            user.act(user.random.choice(["accept", "undo", "undo", "redo", "split", "fill_holes"]))
            painted &= ~before | (user.layer.data == ink)  # what an edit took, it may give back
            painted |= user.layer.data == ink
    for redo in (False, True, False):
        kept = user.layer.data == ink
        user.travel(redo)
        if not redo:
            assert (user.layer.data[kept] == ink).all()

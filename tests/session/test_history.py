from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from napari_sam.session.history import History, Step
from napari_sam.session.prompt_state import PromptState
from napari_sam.session.requests import Plane
from napari_sam.types import ObjectMask, Prompts

PLANE = Plane("image", (None, None), (8, 8), lambda: np.zeros((8, 8)))


def state(*points: tuple[float, float]) -> PromptState:
    return PromptState(PLANE, Prompts(points=np.array(points, np.float32).reshape(-1, 2)))


def test_undo_gives_the_inverse_and_redo_the_step() -> None:
    a, b = state(), state((1, 1))
    history = History()
    history.push(Step(a, b))
    undone = history.undo()
    assert (undone.before, undone.after) == (b, a)
    assert not history.can_undo
    assert history.can_redo
    redone = history.redo()
    assert (redone.before, redone.after) == (a, b)
    assert history.can_undo
    assert not history.can_redo


def test_inverse_of_inverse_is_the_step() -> None:
    step = Step(state(), state((1, 1)))
    back = step.inverse().inverse()
    assert (back.before, back.after) == (step.before, step.after)


def test_empty_history_has_nothing() -> None:
    assert History().undo() is None
    assert History().redo() is None


def test_a_new_step_forgets_what_was_undone() -> None:
    history = History()
    history.push(Step(state(), state((1, 1))))
    history.undo()
    history.push(Step(state(), state((2, 2))))
    assert history.redo() is None
    assert history.undo().before.prompts.points.tolist() == [[2, 2]]


def test_limit_drops_the_oldest() -> None:
    history = History(limit=2)
    states = [state((i, i)) for i in range(4)]
    for before, after in pairwise(states):
        history.push(Step(before, after))
    assert history.undo().after is states[2]
    assert history.undo().after is states[1]
    assert history.undo() is None


def test_a_late_answer_is_put_into_both_neighbouring_steps() -> None:
    a, b, c = state(), state((1, 1)), state((1, 1), (2, 2))
    history = History()
    history.push(Step(a, b))
    history.push(Step(b, c))
    answered = replace(b, mask=ObjectMask(np.ones((1, 1), bool), (1, 1)))
    history.substitute(b, answered)
    assert history.undo().after is answered
    assert history.undo().before is answered


@dataclass(frozen=True)
class Weight:
    """A step of so many bytes, which counts how often it is weighed."""

    size: int
    weighed: list[int] = field(default_factory=list, compare=False)
    title: str = "weigh"

    @property
    def nbytes(self) -> int:
        self.weighed.append(self.size)
        return self.size

    def inverse(self) -> Weight:
        return self

    def apply(self) -> str:
        return ""


def test_bytes_are_counted_once_a_step_and_never_drift() -> None:
    rng, weighed = np.random.default_rng(0), []
    history = History(limit=30, budget=2000)
    for _ in range(40):
        for kind in rng.integers(5, size=10):
            size = int(rng.integers(1, 200))
            if kind < 2:
                history.push(Weight(size, weighed))
            elif kind == 2:
                history.undo()
            elif kind == 3:
                history.redo()
            else:
                history.revise(lambda step, s=size: Weight(step.size + 1, weighed) if step.size > s else step)
        while history.undo() is not None:
            pass
        steps = []
        while (step := history.redo()) is not None:
            steps.append(step)
        assert history.nbytes == sum(step.size for step in steps)
        assert history.nbytes <= 2000 or len(steps) == 1
    before = len(weighed)
    history.push(Weight(5, weighed))
    assert len(weighed) == before + 1

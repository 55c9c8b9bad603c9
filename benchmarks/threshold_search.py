"""The search for thresholds that several benchmarks share: one parameter after the other, twice."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Params = TypeVar("Params")


def search_thresholds(
    start: Params,
    choices: Mapping[str, Sequence[float]],
    score: Callable[[Params], tuple[float, str]],
) -> Params:
    """The best parameters by the number that ``score`` gives; its words are printed beside each."""
    best: Any = start
    reached, said = score(best)
    print(f"start {reached:.4f} {said}")
    for _ in range(2):
        for name, values in choices.items():
            for value in values:
                if value == getattr(best, name):
                    continue
                trial = replace(best, **{name: value})
                got, words = score(trial)
                print(f"  {name} {value}: {got:.4f} {words}", flush=True)
                if got > reached:
                    best, reached, said = trial, got, words
    print(f"best {reached:.4f} {said}\n{best}")
    found: Params = best
    return found

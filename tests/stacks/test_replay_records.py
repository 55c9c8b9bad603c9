"""Objects are repeated in the order, under the rule and with the settings of the session that made them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.session.provenance import ObjectRecord
from napari_sam.stacks.replay_records import replay_records
from napari_sam.types import ObjectMask, Prompts

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGE = np.zeros((20, 20), np.uint8)
DAYS = "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"


class Squares:
    """Every click gives a square of 5 x 5 around it; remembers the settings that were asked for."""

    digest = "d"

    def __init__(self) -> None:
        self.asked: list[EncodeSettings] = []

    def with_settings(self, settings: EncodeSettings) -> Squares:
        self.asked.append(settings)
        return self

    def predict_candidates(self, image: NDArray[Any], prompts: Prompts) -> list[ObjectMask]:
        row, col = (int(value) for value in prompts.points[0])
        return [ObjectMask(np.ones((5, 5), bool), (row - 2, col - 2), 0.9, 0.9)]


def record(
    label: int, at: tuple[int, int], created: str, keep: str = "pixels", **settings: Any
) -> ObjectRecord:
    mask = ObjectMask(np.ones((5, 5), bool), (at[0] - 2, at[1] - 2))
    made = ObjectRecord.of_mask(label, (None, None), mask, prompts=Prompts([at]), params={"keep": keep})
    return replace(made, created=created, digest="d", settings=settings)


def areas(records: list[ObjectRecord]) -> list[int]:
    labels = replay_records(IMAGE, Squares(), records)
    return [int(np.count_nonzero(labels == label)) for label in (1, 2)]


def test_what_was_made_first_is_repeated_first() -> None:
    assert areas([record(1, (5, 5), DAYS[1]), record(2, (5, 8), DAYS[0])]) == [15, 25]
    assert areas([record(1, (5, 5), DAYS[0]), record(2, (5, 8), DAYS[1])]) == [25, 15]


def test_an_object_that_replaced_others_does_so_again() -> None:
    assert areas([record(1, (5, 5), DAYS[0]), record(2, (5, 8), DAYS[1], "overwrite")]) == [15, 25]


def test_all_settings_are_those_of_then() -> None:
    saw = {
        "object_size": 40.0,
        "channels": [2, 0],
        "percentiles": [2.0, 98.0],
        "limits": [[0.0, 9.0], [1.0, 5.0]],
    }
    predictor = Squares()
    replay_records(IMAGE, predictor, [record(1, (5, 5), DAYS[0], **saw)])
    assert predictor.asked == [EncodeSettings(40.0, (2, 0), (2.0, 98.0), ((0.0, 9.0), (1.0, 5.0)))]

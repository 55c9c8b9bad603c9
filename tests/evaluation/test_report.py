from __future__ import annotations

import math

import numpy as np
import pytest

from napari_sam.evaluation import (
    ClickScores,
    ClickTimes,
    Estimate,
    ImageScores,
    evaluate_labels,
    format_table,
    group_scores,
    summarize,
    time_click,
)
from napari_sam.types import ObjectMask, Prompts


def make_clicks(*first_iou: float) -> ClickScores:
    iou = np.array(first_iou)
    return ClickScores(
        counts=(1, 2),
        targets=(0.85,),
        max_clicks=20,
        areas=np.full(len(iou), 100),
        iou=np.stack([iou, iou + 0.1], axis=1),
        clicks_to=np.where(iou >= 0.85, 1, 20)[:, None],
        box_iou=iou,
        anywhere_iou=iou,
        best_iou=iou,
        iou_error=np.full(len(iou), 0.25),
    )


def make_labels(true: int, found: int) -> np.ndarray:
    """One row; object i lies at columns 3 i and 3 i + 1."""
    row = np.zeros((1, 3 * true), int)
    for i in range(found):
        row[0, 3 * i : 3 * i + 2] = i + 1
    return row


def score(name: str, group: str, true: int, found: int, *first_iou: float) -> ImageScores:
    labels = evaluate_labels(make_labels(true, true), make_labels(true, found))
    return ImageScores(name, group, make_clicks(*first_iou), labels, ClickTimes(0.02, 0.004), 0.1)


def test_objects_are_pooled_not_images() -> None:
    summary = summarize([score("a", "x", 4, 1, 0.9, 0.8, 0.7), score("b", "x", 1, 1, 0.4)])
    values = {name: estimate.value for name, estimate in summary.items()}
    assert values == pytest.approx(
        {
            "images": 2,
            "objects": 5,
            "mIoU, 1 click": 2.8 / 4,
            "mIoU, 2 clicks": 3.2 / 4,
            "mIoU, box": 2.8 / 4,
            "mIoU, 1 click anywhere": 2.8 / 4,
            "mIoU, best of 3": 2.8 / 4,
            "NoC@85 (cap 20)": (1 + 20 * 3) / 4,
            "IoU prediction error": 0.25,
            "AP@0.5": 2 / 5,
            "AP@0.75": 2 / 5,
            "mSA": 2 / 5,
            "F1@0.5": 4 / 7,
            "precision": 1,
            "recall": 2 / 5,
            "recall < 50 px": 2 / 5,
            "ms per encode": 20,
            "ms per click": 4,
            "ms automatic": 100,
        }
    )
    assert summary["AP@0.5"].low == 0.25  # image a alone
    assert summary["AP@0.5"].high == 1.0  # image b alone


def test_only_what_was_measured() -> None:
    summary = summarize([ImageScores("a", "x")])
    assert list(summary) == ["images"]
    assert summary["images"].value == 1
    assert math.isnan(summary["images"].low)


def test_unknown_times_do_not_count() -> None:
    cached, fresh = ClickTimes(float("nan"), 0.004), ClickTimes(0.03, 0.006)
    summary = summarize([ImageScores("a", "x", times=cached), ImageScores("b", "x", times=fresh)])
    assert summary["ms per encode"].value == pytest.approx(30)
    assert summary["ms per click"].value == pytest.approx(5)


def test_groups_after_all() -> None:
    scores = [ImageScores("a", "y"), ImageScores("b", "x"), ImageScores("c", "y")]
    groups = {name: [s.name for s in members] for name, members in group_scores(scores).items()}
    assert groups == {"all": ["a", "b", "c"], "x": ["b"], "y": ["a", "c"]}
    assert list(groups) == ["all", "x", "y"]
    assert list(group_scores([ImageScores("a", "all")])) == ["all"]


def test_table() -> None:
    nan = float("nan")
    every = {"images": Estimate(90, nan, nan), "mSA": Estimate(0.5, 0.4, 0.6), "F1": Estimate(0, 0, 0)}
    one = {"images": Estimate(1, nan, nan), "mSA": Estimate(0.5, nan, nan), "F1": Estimate(nan, nan, nan)}
    table = format_table({"all": every, "one": one})
    assert table.splitlines() == [
        "        all                   one",
        "images  90                    1",
        "mSA     0.500 [0.400, 0.600]  0.500",
        "F1      0.000 [0.000, 0.000]  -",
    ]


class Slow:
    """Takes 30 ms to encode, and nothing to click."""

    def __init__(self, clock: list[float]) -> None:
        self.clock, self.cached = clock, False

    def is_cached(self, image: object, prompts: Prompts) -> bool:
        return self.cached

    def predict(self, image: object, prompts: Prompts) -> ObjectMask:
        self.clock[0] += 0.005 if self.cached else 0.035
        self.cached = True
        return ObjectMask(np.ones((1, 1), bool), (0, 0))


def test_encode_is_what_the_first_click_takes_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("napari_sam.evaluation.latency.time.perf_counter", lambda: clock[0])
    predictor, prompts = Slow(clock), Prompts(points=np.zeros((1, 2), np.float32))
    first = time_click(predictor, None, prompts)
    assert (first.encode, first.click) == pytest.approx((0.03, 0.005))
    again = time_click(predictor, None, prompts)
    assert math.isnan(again.encode)
    assert again.click == pytest.approx(0.005)

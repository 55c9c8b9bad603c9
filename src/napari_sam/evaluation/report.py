"""Scores of many images, summed up by group (kind of image, say) as estimates with intervals.

Interactive numbers are pooled over objects, automatic ones over objects' counts: an image weighs as much
as it has objects. The intervals draw images (see `bootstrap`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.evaluation.bootstrap import Estimate, bootstrap_ratio

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_sam.evaluation.clicks import ClickScores
    from napari_sam.evaluation.latency import ClickTimes
    from napari_sam.evaluation.matching import LabelScores

__all__ = ["SMALL_AREA", "ImageScores", "format_table", "group_scores", "summarize"]

SMALL_AREA = 50  # px; below it recall is reported apart


@dataclass(frozen=True, slots=True, eq=False)
class ImageScores:
    """Everything measured on one image.

    Attributes
    ----------
    name : str
        The image's file stem.
    group : str
        What it is reported under.
    clicks : ClickScores or None
        Interactive scores, where asked for.
    labels : LabelScores or None
        Scores of the automatic segmentation, where asked for.
    times : ClickTimes or None
        Seconds to encode and to click.
    automatic_seconds : float
        Wall time of the automatic segmentation with its encoding; nan where not asked for.
    """

    name: str
    group: str
    clicks: ClickScores | None = None
    labels: LabelScores | None = None
    times: ClickTimes | None = None
    automatic_seconds: float = float("nan")


def group_scores(scores: Iterable[ImageScores]) -> dict[str, list[ImageScores]]:
    """Sort images into their groups, alphabetically, after one group ``all`` of every image.

    Parameters
    ----------
    scores : iterable of ImageScores
        In any order.
    """
    every = list(scores)
    names = sorted({score.group for score in every} - {"all"})
    return {"all": every} | {name: [score for score in every if score.group == name] for name in names}


def summarize(scores: Sequence[ImageScores], *, seed: int = 0) -> dict[str, Estimate]:
    """Sum a group up.

    Parameters
    ----------
    scores : sequence of ImageScores
        One group.
    seed : int
        Of the intervals' random numbers.

    Returns
    -------
    dict
        Name of the measure -> estimate, in the order of reporting; only what was measured. Counts and times
        (medians over images, milliseconds) have no interval.
    """
    clicks = [score.clicks for score in scores if score.clicks is not None]
    labels = [score.labels for score in scores if score.labels is not None]
    summary = {"images": _plain(len(scores))}
    if clicks:
        summary |= {"objects": _plain(sum(c.n_objects for c in clicks)), **_summarize_clicks(clicks, seed)}
    if labels:
        summary |= {"objects": _plain(sum(s.n_true for s in labels)), **_summarize_labels(labels, seed)}
    times = [score.times for score in scores if score.times is not None]
    for name, values in (
        ("ms per encode", [1000 * t.encode for t in times]),
        ("ms per click", [1000 * t.click for t in times]),
        ("ms automatic", [1000 * score.automatic_seconds for score in scores]),
    ):
        known = [value for value in values if not math.isnan(value)]
        if known:
            summary[name] = _plain(float(np.median(known)))
    return summary


def _summarize_clicks(clicks: Sequence[ClickScores], seed: int) -> dict[str, Estimate]:
    first = clicks[0]
    sizes = [c.n_objects for c in clicks]

    def pooled(sums: Iterable[float]) -> Estimate:
        return bootstrap_ratio(list(sums), sizes, seed=seed)

    summary = {}
    for i, count in enumerate(first.counts):
        name = f"mIoU, {count} click{'s' if count > 1 else ''}"
        summary[name] = pooled(c.iou[:, i].sum() for c in clicks)
    summary["mIoU, box"] = pooled(c.box_iou.sum() for c in clicks)
    summary["mIoU, 1 click anywhere"] = pooled(c.anywhere_iou.sum() for c in clicks)
    summary["mIoU, best of 3"] = pooled(c.best_iou.sum() for c in clicks)
    for i, target in enumerate(first.targets):
        name = f"NoC@{100 * target:.0f} (cap {first.max_clicks})"
        summary[name] = pooled(c.clicks_to[:, i].sum() for c in clicks)
    summary["IoU prediction error"] = pooled(c.iou_error.sum() for c in clicks)
    return summary


def _summarize_labels(labels: Sequence[LabelScores], seed: int) -> dict[str, Estimate]:
    thresholds = labels[0].thresholds
    tp = np.array([s.true_positives for s in labels])  # (N, T)
    n_true = np.array([s.n_true for s in labels])
    n_predicted = np.array([s.n_predicted for s in labels])
    union = (n_true + n_predicted)[:, None] - tp
    small = np.array([s.recall_by_area(high=SMALL_AREA) for s in labels])

    summary = {
        f"AP@{threshold:g}": bootstrap_ratio(tp[:, i], union[:, i], seed=seed)
        for i, threshold in enumerate(thresholds)
        if threshold in (0.5, 0.75)
    }
    summary["mSA"] = bootstrap_ratio(tp, union, seed=seed)
    summary[f"F1@{thresholds[0]:g}"] = bootstrap_ratio(2 * tp[:, 0], n_true + n_predicted, seed=seed)
    summary["precision"] = bootstrap_ratio(tp[:, 0], n_predicted, seed=seed)
    summary["recall"] = bootstrap_ratio(tp[:, 0], n_true, seed=seed)
    summary[f"recall < {SMALL_AREA} px"] = bootstrap_ratio(small[:, 0], small[:, 1], seed=seed)
    return summary


def format_table(summaries: Mapping[str, Mapping[str, Estimate]]) -> str:
    """A plain text table: one row per measure, one column per group.

    Parameters
    ----------
    summaries : mapping
        Group -> what `summarize` gave.

    Examples
    --------
    >>> nan = float("nan")
    >>> print(format_table({"fluo": {"images": Estimate(72, nan, nan), "mSA": Estimate(0.5, 0.4, 0.625)}}))
            fluo
    images  72
    mSA     0.500 [0.400, 0.625]
    """
    names = list(dict.fromkeys(name for summary in summaries.values() for name in summary))
    rows = [["", *summaries]]
    for name in names:
        cells = [_format(name, summary[name]) if name in summary else "-" for summary in summaries.values()]
        rows.append([name, *cells])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _format(name: str, estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "-"
    if name in ("images", "objects"):
        return f"{estimate.value:.0f}"
    if name.startswith("ms "):
        return f"{estimate.value:.1f}"
    if math.isnan(estimate.low):
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _plain(value: float) -> Estimate:
    """A count or a median: a number without an interval."""
    return Estimate(value, float("nan"), float("nan"))

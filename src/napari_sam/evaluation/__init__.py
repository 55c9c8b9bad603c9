"""Measures of segmentation quality: instance matching and simulated clicks; no torch, no viewer."""

from __future__ import annotations

from napari_sam.evaluation.bootstrap import Estimate, bootstrap_ratio
from napari_sam.evaluation.clicks import ClickPredictor, ClickScores, evaluate_clicks, pool_clicks
from napari_sam.evaluation.latency import ClickTimes, time_click
from napari_sam.evaluation.matching import THRESHOLDS, LabelScores, evaluate_labels, pool_scores
from napari_sam.evaluation.report import ImageScores, format_table, group_scores, summarize
from napari_sam.evaluation.tracking import TrackScores, evaluate_tracks

__all__ = [
    "THRESHOLDS",
    "ClickPredictor",
    "ClickScores",
    "ClickTimes",
    "Estimate",
    "ImageScores",
    "LabelScores",
    "TrackScores",
    "bootstrap_ratio",
    "evaluate_clicks",
    "evaluate_labels",
    "evaluate_tracks",
    "format_table",
    "group_scores",
    "pool_clicks",
    "pool_scores",
    "summarize",
    "time_click",
]

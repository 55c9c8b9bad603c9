"""Measures of segmentation quality: instance matching and simulated clicks; no torch, no viewer."""

from __future__ import annotations

from napari_sam.evaluation.bootstrap import Estimate, bootstrap_ratio
from napari_sam.evaluation.clicks import ClickPredictor, ClickScores, evaluate_clicks, pool_clicks
from napari_sam.evaluation.matching import THRESHOLDS, LabelScores, evaluate_labels, pool_scores

__all__ = [
    "THRESHOLDS",
    "ClickPredictor",
    "ClickScores",
    "Estimate",
    "LabelScores",
    "bootstrap_ratio",
    "evaluate_clicks",
    "evaluate_labels",
    "pool_clicks",
    "pool_scores",
]

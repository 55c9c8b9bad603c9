"""Foreground or background: the text feature ``label`` of a Points or Shapes layer, and its colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "BACKGROUND",
    "COLOURS",
    "FOREGROUND",
    "OWN_NAMES",
    "labels_of",
    "next_label",
    "recolour",
    "set_next_label",
    "toggle_selected",
]

FOREGROUND = "foreground"
BACKGROUND = "background"
COLOURS = {FOREGROUND: "#1fb6ff", BACKGROUND: "#ff6a00"}  # blue and orange: told apart by every eye
OWN_NAMES = ("SAM points", "SAM shapes")


def labels_of(layer: Any) -> list[str]:
    """Foreground or background for each point or shape; without the feature all are foreground."""
    if "label" not in layer.features:
        return [FOREGROUND] * len(layer.data)
    return [BACKGROUND if _is_background(label) else FOREGROUND for label in layer.features["label"]]


def next_label(layer: Any) -> str:
    """What the next point or shape will be."""
    defaults = layer.feature_defaults
    if "label" not in defaults or not len(defaults):
        return FOREGROUND
    return BACKGROUND if _is_background(defaults["label"].iloc[0]) else FOREGROUND


def set_next_label(layer: Any, label: str) -> None:
    """Choose what the next point or shape will be."""
    if "label" not in layer.features:
        layer.features = {
            **{name: list(layer.features[name]) for name in layer.features},
            "label": np.full(len(layer.data), FOREGROUND, dtype=object),
        }
    if next_label(layer) != label or layer.feature_defaults["label"].iloc[0] != label:
        others = {name: layer.feature_defaults[name].iloc[0] for name in layer.feature_defaults}
        layer.feature_defaults = {**others, "label": label}


def toggle_selected(layer: Any) -> bool:
    """Flip what is selected between foreground and background; False when nothing is."""
    selected = sorted(layer.selected_data)
    if not selected or "label" not in layer.features:
        return False
    labels = labels_of(layer)
    for i in selected:
        labels[i] = FOREGROUND if labels[i] == BACKGROUND else BACKGROUND
    recolour(layer, labels)
    return True


def recolour(layer: Any, labels: Sequence[str]) -> None:
    """Give points or shapes these labels; colours follow in our layers, the user's keep what they have."""
    default = next_label(layer)
    features: dict[str, Any] = {name: list(layer.features[name]) for name in layer.features}
    features["label"] = np.array(labels, dtype=object)
    layer.features = features
    if layer.name.startswith(OWN_NAMES):
        layer.refresh_colors(update_color_mapping=False)  # they follow changed features only when asked
    set_next_label(layer, default)


def _is_background(label: Any) -> bool:
    return str(label).strip().lower() in ("background", "bg", "negative", "0", "0.0", "false", "-1")

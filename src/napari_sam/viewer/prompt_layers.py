"""Points and Shapes layers as prompts: making, reading and writing them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Points, Shapes

from napari_sam.types import Box, Prompts
from napari_sam.viewer.planes import layer_map, layer_transform, spatial_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.session.requests import Plane

__all__ = [
    "BACKGROUND",
    "FOREGROUND",
    "POINTS_NAME",
    "SHAPES_NAME",
    "make_points",
    "make_shapes",
    "next_label",
    "read_prompts",
    "set_next_label",
    "toggle_selected",
    "write_prompts",
]

POINTS_NAME = "SAM points"
SHAPES_NAME = "SAM shapes"
FOREGROUND = "foreground"
BACKGROUND = "background"
COLOURS = {FOREGROUND: "#1fb6ff", BACKGROUND: "#ff6a00"}  # blue and orange: told apart by every eye
CLOSED_SHAPES = ("rectangle", "ellipse", "polygon")


def make_points(image: Any) -> Points:
    """An empty Points layer on top of an image, with a text feature ``label``.

    Parameters
    ----------
    image : napari.layers.Image
        The image; its transform is copied.
    """
    shape = spatial_shape(image)
    # napari assigns colours to categories in order of appearance: both must appear before any point does
    layer = Points(
        np.zeros((2, image.ndim)),
        ndim=image.ndim,
        name=POINTS_NAME,
        features={"label": np.array([FOREGROUND, BACKGROUND], dtype=object)},
        face_color="label",
        face_color_cycle=[COLOURS[FOREGROUND], COLOURS[BACKGROUND]],
        border_color="white",
        border_width=0.15,
        size=float(np.clip(max(shape[-2:]) / 50, 3, 20)),
        **layer_transform(image),
    )
    layer.data = np.zeros((0, image.ndim))
    set_next_label(layer, FOREGROUND)
    return layer


def make_shapes(image: Any) -> Shapes:
    """An empty Shapes layer on top of an image, for box prompts."""
    shape = spatial_shape(image)
    return Shapes(
        ndim=image.ndim,
        name=SHAPES_NAME,
        edge_color=COLOURS[FOREGROUND],
        face_color="transparent",
        edge_width=float(np.clip(max(shape[-2:]) / 250, 0.5, 5)),
        **layer_transform(image),
    )


def next_label(layer: Any) -> str:
    """What the next point will be."""
    defaults = layer.feature_defaults
    if "label" not in defaults or not len(defaults):
        return FOREGROUND
    return BACKGROUND if _is_background(defaults["label"].iloc[0]) else FOREGROUND


def set_next_label(layer: Any, label: str) -> None:
    """Choose what the next point will be."""
    if "label" not in layer.features:
        layer.features = {
            **{name: list(layer.features[name]) for name in layer.features},
            "label": np.full(len(layer.data), FOREGROUND, dtype=object),
        }
    if next_label(layer) != label or layer.feature_defaults["label"].iloc[0] != label:
        layer.feature_defaults = {"label": label}


def toggle_selected(layer: Any) -> bool:
    """Flip the selected points between foreground and background; False when none is selected."""
    selected = sorted(layer.selected_data)
    if not selected or "label" not in layer.features:
        return False
    labels = np.array(list(layer.features["label"]), dtype=object)
    for i in selected:
        labels[i] = FOREGROUND if _is_background(labels[i]) else BACKGROUND
    _set_labels(layer, labels)
    return True


def read_prompts(
    points: Any, shapes: Any, image: Any, plane: Plane, world: Any
) -> tuple[Prompts, tuple[str, ...]]:
    """The prompts that lie on a plane.

    Parameters
    ----------
    points, shapes : napari.layers.Points, napari.layers.Shapes or None
        The prompt layers.
    image : napari.layers.Image
        The image that the plane belongs to.
    plane : Plane
        The plane that is shown.
    world : (D,) array-like
        The viewer's current point.

    Returns
    -------
    prompts : Prompts
        In plane coordinates.
    notes : tuple of str
        What was left out and why, for the user.
    """
    found, labels = np.zeros((0, 2)), np.zeros(0, int)
    if points is not None and len(points.data):
        inside = layer_map(points, image, world)(points.data)
        here = _on_plane(inside, plane)
        found = inside[here][:, plane.axes]
        labels = np.array([0 if _is_background(label) else 1 for label in _labels(points)])[here]
    boxes, notes = _read_boxes(shapes, image, plane, world)
    if len(boxes) > 1:
        notes.append(f"{len(boxes)} boxes are on this plane: only the newest is used.")
    box = boxes[-1][1] if boxes else None
    return Prompts(found.astype(np.float32), labels.astype(np.int8), box), tuple(notes)


def write_prompts(points: Any, shapes: Any, image: Any, plane: Plane, world: Any, prompts: Prompts) -> None:
    """Make the layers say exactly ``prompts`` on a plane; what lies on other planes stays."""
    if points is not None:
        _write_points(points, image, plane, world, prompts)
    if shapes is not None:
        _write_box(shapes, image, plane, world, prompts.box)


def _write_points(points: Any, image: Any, plane: Plane, world: Any, prompts: Prompts) -> None:
    here = _on_plane(layer_map(points, image, world)(points.data), plane)
    if not here.any() and not len(prompts.points):
        return
    points.selected_data = set()
    kept = np.asarray(points.data)[~here]
    added = layer_map(image, points, world)(_in_image(prompts.points, plane))
    labels = [label for label, gone in zip(_labels(points), here, strict=True) if not gone]
    labels += [FOREGROUND if label == 1 else BACKGROUND for label in prompts.labels]
    others: dict[str, Any] = {
        name: list(points.features[name][~here]) + [points.feature_defaults[name].iloc[0]] * len(added)
        for name in points.features
        if name != "label"
    }
    default = next_label(points)
    points.data = np.concatenate([kept, added])
    if "label" in points.features or BACKGROUND in labels:
        others["label"] = np.array(labels, dtype=object)
    if others and len(points.data):
        points.features = others
        _recolour(points)
    set_next_label(points, default)


def _write_box(shapes: Any, image: Any, plane: Plane, world: Any, box: Box | None) -> None:
    boxes, _ = _read_boxes(shapes, image, plane, world)
    if [found for _, found in boxes] == ([] if box is None else [box]):
        return
    if boxes:
        shapes.selected_data = {index for index, _ in boxes}
        shapes.remove_selected()
    if box is not None:
        r0, c0, r1, c1 = box
        corners = _in_image(np.array([(r0, c0), (r0, c1), (r1, c1), (r1, c0)]), plane)
        shapes.add_rectangles([layer_map(image, shapes, world)(corners)])


def _read_boxes(shapes: Any, image: Any, plane: Plane, world: Any) -> tuple[list[tuple[int, Box]], list[str]]:
    """(index, box) of each closed shape on the plane, and notes on the others."""
    boxes: list[tuple[int, Box]] = []
    notes: list[str] = []
    if shapes is None or not len(shapes.data):
        return boxes, notes
    to_image = layer_map(shapes, image, world)
    for index, (vertices, kind) in enumerate(zip(shapes.data, shapes.shape_type, strict=True)):
        inside = to_image(vertices)
        if not _on_plane(inside, plane).all():
            continue
        if kind not in CLOSED_SHAPES:
            notes.append(f"A {kind} is no prompt: draw a rectangle around the object.")
            continue
        r0, c0 = (float(value) for value in inside[:, plane.axes].min(axis=0))
        r1, c1 = (float(value) for value in inside[:, plane.axes].max(axis=0))
        if r0 == r1 or c0 == c1:
            notes.append("A box without area was ignored: drag a rectangle around the object.")
            continue
        boxes.append((index, (r0, c0, r1, c1)))
    return boxes, notes


def _on_plane(inside: NDArray[np.float64], plane: Plane) -> NDArray[np.bool_]:
    """Which of (N, D) image coordinates lie on the plane."""
    here = np.isfinite(inside).all(axis=1)
    for axis, value in enumerate(plane.index):
        if value is not None:
            here &= np.round(inside[:, axis]) == value
    return np.asarray(here, bool)


def _in_image(positions: NDArray[Any], plane: Plane) -> NDArray[np.float64]:
    """(N, 2) plane coordinates as (N, D) image coordinates."""
    inside = np.empty((len(positions), len(plane.index)))
    for axis, value in enumerate(plane.index):
        inside[:, axis] = 0 if value is None else value
    inside[:, plane.axes] = positions
    return inside


def _labels(points: Any) -> list[Any]:
    if "label" in points.features:
        return list(points.features["label"])
    return [FOREGROUND] * len(points.data)


def _is_background(label: Any) -> bool:
    return str(label).strip().lower() in ("background", "bg", "negative", "0", "0.0", "false", "-1")


def _set_labels(points: Any, labels: NDArray[Any]) -> None:
    default = next_label(points)
    features: dict[str, Any] = {name: list(points.features[name]) for name in points.features}
    features["label"] = labels
    points.features = features
    _recolour(points)
    set_next_label(points, default)


def _recolour(points: Any) -> None:
    """Colours follow changed features only when asked; user layers keep the colours they have."""
    if points.name.startswith(POINTS_NAME):
        points.refresh_colors(update_color_mapping=False)

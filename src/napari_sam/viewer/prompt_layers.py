"""Points and Shapes layers as a drawing of the user's: making, reading and writing them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Points

from napari_sam.session.drawing import Drawing
from napari_sam.viewer.planes import layer_map, layer_transform, spatial_shape
from napari_sam.viewer.prompt_labels import (
    BACKGROUND,
    COLOURS,
    FOREGROUND,
    labels_of,
    next_label,
    recolour,
    set_next_label,
)
from napari_sam.viewer.prompt_places import in_image, on_plane
from napari_sam.viewer.shape_layers import read_shapes, write_shapes

if TYPE_CHECKING:
    from napari_sam.session.requests import Plane

__all__ = ["POINTS_NAME", "make_points", "read_drawing", "write_drawing"]

POINTS_NAME = "SAM points"


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


def read_drawing(
    points: Any, shapes: Any, image: Any, plane: Plane, world: Any
) -> tuple[Drawing, tuple[str, ...]]:
    """What lies on a plane.

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
    drawing : Drawing
        In plane coordinates.
    notes : tuple of str
        What was left out and why, for the user.
    """
    found, labels = np.zeros((0, 2)), np.zeros(0, int)
    if points is not None and len(points.data):
        inside = layer_map(points, image, world)(points.data)
        here = on_plane(inside, plane)
        found = inside[here][:, plane.axes]
        labels = np.array([int(label == FOREGROUND) for label in labels_of(points)])[here]
    drawn, notes = read_shapes(shapes, image, plane, world)
    return Drawing(found.astype(np.float32), labels.astype(np.int8), drawn), tuple(notes)


def write_drawing(points: Any, shapes: Any, image: Any, plane: Plane, world: Any, drawing: Drawing) -> None:
    """Make the layers show exactly a drawing on a plane; what lies on other planes stays."""
    if points is not None:
        _write_points(points, image, plane, world, drawing)
    if shapes is not None:
        write_shapes(shapes, image, plane, world, drawing.shapes)


def _write_points(points: Any, image: Any, plane: Plane, world: Any, drawing: Drawing) -> None:
    here = on_plane(layer_map(points, image, world)(points.data), plane)
    if not here.any() and not len(drawing.points):
        return
    points.selected_data = set()
    kept = np.asarray(points.data)[~here]
    added = layer_map(image, points, world)(in_image(drawing.points, plane))
    labels = [label for label, gone in zip(labels_of(points), here, strict=True) if not gone]
    labels += [FOREGROUND if label == 1 else BACKGROUND for label in drawing.labels]
    others: dict[str, Any] = {
        name: list(points.features[name][~here]) + [points.feature_defaults[name].iloc[0]] * len(added)
        for name in points.features
        if name != "label"
    }
    default = next_label(points)
    has_labels = "label" in points.features or BACKGROUND in labels
    points.data = np.concatenate([kept, added])
    if others and len(points.data):
        points.features = {**{n: list(points.features[n]) for n in points.features}, **others}
    if has_labels and len(points.data):
        recolour(points, labels)
    if has_labels:
        set_next_label(points, default)

"""Shapes layers as prompts: boxes, polygons, ellipses and scribbles; making, reading and writing them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes

from napari_sam.session.drawing import CLOSED, Shape
from napari_sam.viewer.planes import layer_map, layer_transform, spatial_shape
from napari_sam.viewer.prompt_labels import (
    BACKGROUND,
    COLOURS,
    FOREGROUND,
    labels_of,
    recolour,
    set_next_label,
)
from napari_sam.viewer.prompt_places import in_image, on_plane

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam.session.requests import Plane

__all__ = ["SHAPES_NAME", "make_shapes", "read_shapes", "remove_shapes", "write_shapes"]

SHAPES_NAME = "SAM shapes"


def make_shapes(image: Any) -> Shapes:
    """An empty Shapes layer on top of an image, with a text feature ``label``.

    Parameters
    ----------
    image : napari.layers.Image
        The image; its transform is copied.
    """
    shape = spatial_shape(image)
    # napari gives out colours when it meets categories, here in alphabetical order: both must have been there
    layer = Shapes(
        [np.zeros((2, image.ndim)), np.ones((2, image.ndim))],
        shape_type="line",
        ndim=image.ndim,
        name=SHAPES_NAME,
        features={"label": np.array([FOREGROUND, BACKGROUND], dtype=object)},
        edge_color="label",
        edge_color_cycle=[COLOURS[label] for label in sorted(COLOURS)],
        face_color="transparent",
        edge_width=float(np.clip(max(shape[-2:]) / 250, 0.5, 5)),
        **layer_transform(image),
    )
    layer.remove([0, 1])
    set_next_label(layer, FOREGROUND)
    return layer


def read_shapes(shapes: Any, image: Any, plane: Plane, world: Any) -> tuple[tuple[Shape, ...], list[str]]:
    """The shapes that lie on a plane, and notes on those that are none.

    Parameters
    ----------
    shapes : napari.layers.Shapes or None
        The layer.
    image : napari.layers.Image
        The image that the plane belongs to.
    plane : Plane
        The plane that is shown.
    world : (D,) array-like
        The viewer's current point.
    """
    notes: list[str] = []
    found = tuple(shape for _, shape in _read(shapes, image, plane, world, notes) if shape is not None)
    return found, notes


def write_shapes(shapes: Any, image: Any, plane: Plane, world: Any, wanted: Sequence[Shape]) -> None:
    """Make a layer hold exactly these shapes on a plane; what lies on other planes stays."""
    wanted = [shape for shape in wanted if shape.kind != "label"]
    there = _read(shapes, image, plane, world, [])
    present = [shape for _, shape in there]
    if len(present) == len(wanted) and all(
        one is not None and one.same(two) for one, two in zip(present, wanted, strict=True)
    ):
        return
    remove_shapes(shapes, [index for index, _ in there])
    if not wanted:
        return
    to_layer = layer_map(image, shapes, world)
    shapes.add([(to_layer(in_image(shape.vertices, plane)), shape.kind) for shape in wanted])
    if "label" in shapes.features or not all(shape.is_object for shape in wanted):
        labels = labels_of(shapes)
        labels[len(labels) - len(wanted) :] = [FOREGROUND if s.is_object else BACKGROUND for s in wanted]
        recolour(shapes, labels)
    shapes.selected_data = set()


def remove_shapes(shapes: Any, indices: Sequence[int]) -> None:
    """Take shapes out of a layer."""
    if len(indices):
        shapes.selected_data = set()
        shapes.remove(list(indices))


def _read(
    shapes: Any, image: Any, plane: Plane, world: Any, notes: list[str]
) -> list[tuple[int, Shape | None]]:
    """Index of each shape on the plane, and the shape where it is a prompt."""
    found: list[tuple[int, Shape | None]] = []
    if shapes is None or not len(shapes.data):
        return found
    to_image = layer_map(shapes, image, world)
    labels = labels_of(shapes)
    for index, (vertices, kind) in enumerate(zip(shapes.data, shapes.shape_type, strict=True)):
        inside = to_image(vertices)
        if not on_plane(inside, plane).all():
            continue
        shape = Shape(kind, inside[:, plane.axes], labels[index] == FOREGROUND)
        r0, c0, r1, c1 = shape.box
        if kind in CLOSED and (r0 == r1 or c0 == c1):
            notes.append("A shape without area was ignored: drag it around the object.")
            found.append((index, None))
        else:
            found.append((index, shape))
    return found

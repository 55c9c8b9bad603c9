"""The prompts that lie on all planes of a stack, taken out of the layers and put back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.session.drawing import Drawing
from napari_sam.viewer.planes import layer_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam.session.propagation_tracks import Stack
    from napari_sam.session.requests import Plane
    from napari_sam.types import Prompts
    from napari_sam.viewer.controller import Controller

__all__ = ["collect_prompts", "make_clearing"]


def collect_prompts(controller: Controller, stack: Stack) -> dict[int, tuple[Prompts, Drawing]]:
    """By plane number, what lies on the planes of a stack; planes with nothing are left out."""
    found = {}
    for number in sorted(set(_numbers(controller, stack))):
        prompts, drawing = controller.flow.read(stack.planes[number])
        if not prompts.is_empty:
            found[number] = prompts, drawing
    return found


def make_clearing(
    controller: Controller, stack: Stack, found: dict[int, tuple[Prompts, Drawing]]
) -> Callable[[bool], None]:
    """A function that takes these prompts out of the layers, or with True puts back what it took.

    What was drawn beside them meanwhile stays.
    """
    drawings = {stack.planes[number]: drawing for number, (_, drawing) in found.items()}
    taken: dict[Plane, Drawing] = {}

    def clear(back: bool) -> None:
        image, world = controller.image_layer, controller.viewer.dims.point
        if image is None or not drawings:
            return
        with controller.silently():
            for plane, drawing in drawings.items():
                there = controller.prompts.read(image, plane, world)
                if back:
                    left = taken.pop(plane, Drawing()).joined(there)
                else:
                    left = there.without(drawing)
                    taken[plane] = there.without(left)
                if not left.same(there):
                    controller.prompts.write(image, plane, world, left)
        shown = controller.find_plane()
        if shown is not None and shown in drawings:  # no step of its own: it belongs to the propagation's
            controller.session.show_plane(shown, *controller.flow.read(shown))

    return clear


def _numbers(controller: Controller, stack: Stack) -> Iterator[int]:
    """Planes that may hold prompts: the one shown, and those of points and shapes."""
    shown = controller.find_plane()
    if shown is not None and (number := stack.number(shown.index)) is not None:
        yield number
    image, world = controller.image_layer, controller.viewer.dims.point
    points, shapes = controller.prompts.points, controller.prompts.shapes
    for layer, positions in (
        (points, None if points is None else points.data),
        (shapes, _vertices(shapes)),
    ):
        if positions is None or not len(positions):
            continue
        along = layer_map(layer, image, world)(positions)[:, stack.axis]
        for value in np.unique(np.round(along[np.isfinite(along)])):
            if 0 <= value < len(stack):
                yield int(value)


def _vertices(shapes: Any) -> Any:
    return None if shapes is None or not len(shapes.data) else np.concatenate(list(shapes.data))

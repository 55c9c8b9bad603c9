"""Taking an existing label of any Labels layer into hand: its pixels are the first prompt.

Whoever made it, a click or another program, its corrections are written under the same id.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from napari_sam.errors import ImageError, PromptError, SamError
from napari_sam.session.drawing import Drawing, label_shape
from napari_sam.session.prompt_state import PromptState
from napari_sam.session.requests import ObjectRef
from napari_sam.types import ObjectMask
from napari_sam.viewer.planes import same_transform, spatial_shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.layers import Labels

    from napari_sam.session.provenance import ObjectRecord
    from napari_sam.session.requests import Plane
    from napari_sam.session.session import Session

__all__ = ["Refiner"]


class Host(Protocol):
    """What refining needs of the controller."""

    viewer: Any
    target_layer: Any

    @property
    def image_layer(self) -> Any:
        """The image that is segmented, or None."""

    def targets(self) -> Iterator[Labels]:
        """Labels layers that the user may choose."""


class Refiner:
    """Finds labels and hands them to the session.

    Parameters
    ----------
    host : Host
        Whose layers are used.
    session : Session
        Takes the object into hand.
    """

    def __init__(self, host: Host, session: Session) -> None:
        self._host = host
        self._session = session

    def refine_here(self) -> bool:
        """Refine the object under the cursor; where there is none, the selected label of the layer in hand.

        Returns
        -------
        bool
            False when there is nothing to refine, which the user was told.
        """
        viewer = self._host.viewer
        found = self._find(viewer.cursor.position)
        if found is None:
            active = viewer.layers.selection.active
            layer = active if active in list(self._host.targets()) else self._host.target_layer
            if layer is not None and layer.visible and self._has(layer, int(layer.selected_label)):
                found = layer, int(layer.selected_label)
        return self._refine_found(found)

    def refine_at(self, position: Any) -> bool:
        """Refine the object at a position of the world, that of the topmost layer that has one there."""
        return self._refine_found(self._find(position))

    def refine(self, layer: Any, label: int) -> None:
        """Take a label of the plane that is shown into hand.

        Parameters
        ----------
        layer : napari.layers.Labels
            Becomes the target layer.
        label : int
            The object's id.

        Raises
        ------
        SamError
            When no plane is shown, the layer does not fit the image, or the label is not on the plane.
        """
        plane, image = self._session.plane, self._host.image_layer
        if plane is None or image is None:
            raise ImageError("Expected an image that is shown in 2-D, got none; choose one to refine on.")
        if spatial_shape(layer) != spatial_shape(image) or not same_transform(layer, image):
            raise ImageError(
                f"Expected labels that coincide with {image.name!r} (shape {spatial_shape(image)}), got "
                f"{layer.name!r} of shape {spatial_shape(layer)}; choose the image that they belong to."
            )
        token = self._session.layer_token(layer)
        mask = self._read(token, plane, label)
        if not mask.area:
            raise PromptError(
                f"Expected object {label} of {layer.name!r} on the plane that is shown, got none there; go "
                "to its plane."
            )
        record = self._record(token, label, plane)
        drawing = Drawing(shapes=(label_shape(mask),))
        if record is not None and record.prompts is not None:
            mask = replace(mask, predicted_iou=record.predicted_iou, stability_score=record.stability)
            # a box beside a rough mask was made of that mask, as one is made of the label now
            box = record.prompts.box if record.prompts.mask is None else None
            drawing = Drawing(shapes=(label_shape(mask),)).joined(
                Drawing.of_prompts(replace(record.prompts, mask=None, box=box))
            )
        self._host.target_layer = layer
        prompts = drawing.to_prompts(plane.shape, self._session.settings.rough_use)
        ref = ObjectRef(token, label, mask)
        self._session.prompting.refine(
            PromptState(plane, prompts, mask, accepted=ref, drawing=drawing), f"object {label}"
        )

    def _refine_found(self, found: tuple[Any, int] | None) -> bool:
        if found is None:
            self._session.status_changed.emit("No object here to refine: click on one of a Labels layer.")
            return False
        try:
            self.refine(*found)
        except SamError as error:
            self._session.warned.emit(str(error))
            return False
        return True

    def _find(self, position: Any) -> tuple[Any, int] | None:
        """The topmost visible layer with an object at a position, and its id."""
        targets = list(self._host.targets())
        for layer in reversed(list(self._host.viewer.layers)):
            if layer not in targets or not layer.visible:
                continue
            value = layer.get_value(position, world=True)
            if isinstance(value, tuple):  # of a pyramid: the level, and the value there
                value = value[-1]
            if value is not None and int(value) > 0:
                return layer, int(value)
        return None

    def _has(self, layer: Any, label: int) -> bool:
        plane = self._session.plane
        if plane is None or label < 1:
            return False
        try:
            return (
                self._session.edits.surface(self._session.layer_token(layer)).find(label, plane.index)
                is not None
            )
        except SamError:
            return False

    def _read(self, token: Any, plane: Plane, label: int) -> ObjectMask:
        """An object's pixels on a plane."""
        surface = self._session.edits.surface(token)
        box = surface.find(label, plane.index)
        if box is None:
            box = (0, 0, 0, 0)
        return ObjectMask.from_plane(surface.read(plane.index, box) == label, (box[0], box[1]))

    def _record(self, token: Any, label: int, plane: Plane) -> ObjectRecord | None:
        """What is known of an object on a plane."""
        records = (r for r in self._session.book.get(token, label) if r.plane == plane.index)
        return next(records, None)

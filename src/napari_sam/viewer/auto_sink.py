"""Shows automatic objects in the viewer, as the session's ``ObjectsSink``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_sam.errors import ImageError
from napari_sam.viewer.auto_gaps import TargetGaps
from napari_sam.viewer.auto_places import Host, NewLayer, Place
from napari_sam.viewer.planes import spatial_shape

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from napari_sam.inference.candidates import Candidates
    from napari_sam.session.auto_objects import AutoObjects
    from napari_sam.session.auto_requests import AutoRequest, Shown, Written

__all__ = ["AutoSink"]


class AutoSink:
    """Draws the last automatic result, and tells when its layer is no longer ours to change.

    Parameters
    ----------
    host : Controller
        Whose layers are used.
    auto : AutoObjects
        Whose result is drawn; its sink becomes this.

    Attributes
    ----------
    fill_gaps : bool
        Fill the gaps of the target layer, where there is one, instead of making a new layer.
    """

    drawn = Signal(object, object)  # Labels, leading indices of its planes that changed or None for all

    def __init__(self, host: Host, auto: AutoObjects) -> None:
        self.fill_gaps = False
        self._host: Any = host
        self._auto = auto
        self._place: Place | None = None
        self._planes: set[tuple[int | None, ...]] | None = None
        auto.sink = self

    def begin(self, request: AutoRequest) -> None:
        """Settle where the result of a request goes.

        Raises
        ------
        ImageError
            When the image is gone or the target cannot be written.
        """
        image, target = self._host.image_layer, self._host.target_layer
        if image is None:
            raise ImageError("Expected the image that is to be segmented, got none: it was removed.")
        shape, plane = spatial_shape(image), request.plane
        place: Place
        if self.fill_gaps and target is not None:
            place = TargetGaps(self._host, plane, shape, target, self._on_place_edited)
        else:
            place = NewLayer(self._host, plane, shape, f"{plane.name} objects", self._on_place_edited)
        self._close()
        self._place = place
        *leading, rows, cols = plane.index
        self._planes = {tuple(leading)} if rows is cols is None else None

    def add_part(self, part: Candidates, kept: NDArray[np.int64]) -> None:
        """Show the objects of a part beside those of earlier parts."""
        if self._place is not None:
            self._place.add_part(part, kept)
            self._tell()

    def show(self, shown: Shown) -> Written | None:
        """Show exactly these objects."""
        written = None if self._place is None else self._place.show(shown)
        self._tell()
        return written

    def write_table(self, written: Written, columns: Mapping[str, ArrayLike]) -> None:
        """Give each object its row of measurements."""
        if self._place is not None and self._place is written.fill:
            self._place.write_table(written, columns)

    def write_rest(self, written: Written, columns: Mapping[str, ArrayLike]) -> NDArray[np.integer]:
        """Give their rows to the objects that others have left of a result; the ids of these."""
        place: Any = written.fill  # perhaps not the present one any more
        left: NDArray[np.integer] = place.write_rest(written, columns)
        return left

    def end(self) -> None:
        """Nothing more is shown."""
        self._close()

    def discard(self, layer: Any) -> None:
        """Somebody removed a layer, perhaps the result's."""
        place = self._place
        if place is None or not place.uses(layer):
            return
        place.drop()
        self._place = None
        self._auto.cancel()
        self._auto.release(f"{layer.name!r} was deleted: the thresholds apply to the next result.")

    def close(self) -> None:
        """Let go of everything; all layers stay."""
        self._close()

    def _tell(self) -> None:
        if self._place is not None and self._place.layer is not None:
            self.drawn.emit(self._place.layer, self._planes)

    def _close(self) -> None:
        if self._place is not None:
            self._place.close()
        self._place = None

    def _on_place_edited(self, reason: str) -> None:
        self._auto.release(reason)

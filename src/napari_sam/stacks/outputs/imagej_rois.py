"""ImageJ ROIs: a zip of one region per object and plane, for ImageJ's ROI Manager.

An object in one piece without holes is a traced region, whose corners are whole pixels; any other is a
composite path. Both fill to exactly the object's pixels. The id is the region's name and its property
``label``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.errors import ImageError
from napari_sam.stacks.outputs.label_objects import iter_objects
from napari_sam.stacks.outputs.outlines import trace_outlines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_sam.stacks.image_io import ImageStack
    from napari_sam.stacks.outputs.content import Content
    from napari_sam.stacks.outputs.outlines import Polygon

__all__ = ["write_rois"]

LARGEST: Final = 32767
"""Corners are 16-bit numbers."""
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0


def write_rois(path: Path, content: Content) -> None:
    """Write a zip of ImageJ ROIs.

    Parameters
    ----------
    path : Path
        The zip file.
    content : Content
        At most the axes T and Z beside Y and X.

    Raises
    ------
    ImageError
        When a side is longer than ImageJ's 32,767 pixels, or an axis is none that ImageJ knows.
    """
    import zipfile

    labels = content.labels
    if max(labels.data.shape[-2:]) > LARGEST:
        raise ImageError(
            f"Expected at most {LARGEST} rows and columns for ImageJ ROIs, got {labels.data.shape[-2:]}; "
            "write GeoJSON or OME-Zarr instead."
        )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for roi in _make_rois(labels):
            archive.writestr(f"{roi.name}.roi", roi.tobytes())


def _make_rois(labels: ImageStack) -> Iterator[Any]:
    leading = labels.leading
    several = len([n for n in labels.plane_shape if n > 1]) > 1
    for index, plane in labels.planes():
        place = dict(zip(leading, index, strict=True))
        ending = "".join(f"-{letter.lower()}{n + 1:04d}" for letter, n in place.items())
        for label, mask in iter_objects(plane):
            roi = _make_roi(trace_outlines(mask.mask, mask.origin))
            roi.name = f"{label:04d}{ending}"
            roi.props = f"label: {label}\n"
            if several:  # a hyperstack: ImageJ counts from 1, and 0 is every channel
                roi.z_position = place.get("Z", 0) + 1
                roi.t_position = place.get("T", 0) + 1
            elif leading:
                roi.position = max(index) + 1
            yield roi


def _make_roi(polygons: list[Polygon]) -> Any:
    from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi

    if len(polygons) == 1 and len(polygons[0]) == 1:
        roi = ImagejRoi.frompoints(polygons[0][0][:, ::-1])
        roi.roitype = ROI_TYPE.TRACED
        (left, top), (right, bottom) = polygons[0][0].min(axis=0)[::-1], polygons[0][0].max(axis=0)[::-1]
    else:
        roi = ImagejRoi()
        roi.roitype = ROI_TYPE.RECT
        corners = np.concatenate([ring for polygon in polygons for ring in polygon])
        (top, left), (bottom, right) = corners.min(axis=0), corners.max(axis=0)
        path: list[float] = []
        for ring in (ring for polygon in polygons for ring in polygon):
            for number, (row, col) in enumerate(ring.tolist()):
                path += [_LINE if number else _MOVE, col, row]
            path.append(_CLOSE)
        roi.multi_coordinates = np.asarray(path, np.float32)
        roi.shape_roi_size = len(path)
    roi.left, roi.top, roi.right, roi.bottom = int(left), int(top), int(right), int(bottom)
    roi.options = ROI_OPTIONS.NONE
    return roi

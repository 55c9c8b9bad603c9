"""COCO JSON: every plane an image, every object in it an annotation with run lengths (RLE).

Format: https://cocodataset.org/#format-data. The runs are counted in the object's own box, so that an object
costs its size and not the plane's; pycocotools packs them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.stacks.outputs.label_objects import iter_objects

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam.stacks.outputs.content import Content
    from napari_sam.types import ObjectMask

__all__ = ["write_coco"]

CATEGORY = {"id": 1, "name": "object", "supercategory": "object"}


def write_coco(path: Path, content: Content) -> None:
    """Write one data set that pycocotools reads.

    Parameters
    ----------
    path : Path
    content : Content
        An image's entry has its ``plane`` beside its ``file_name``; an annotation has the object's id as
        ``label`` and its properties as ``attributes``.
    """
    from pycocotools import mask as coco_mask

    labels = content.labels
    name = content.image.name if content.image is not None else labels.name
    height, width = (int(n) for n in labels.data.shape[-2:])
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (index, plane) in enumerate(labels.planes(), start=1):
        image: dict[str, Any] = {"id": number, "file_name": name, "height": height, "width": width}
        if index:
            image["plane"] = {axis.lower(): n for axis, n in zip(labels.leading, index, strict=True)}
        images.append(image)
        for label, mask in iter_objects(plane):
            counts = _count_runs(mask, height, width)
            packed = coco_mask.frPyObjects({"counts": counts, "size": [height, width]}, height, width)
            r0, c0, r1, c1 = mask.box
            entry: dict[str, Any] = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": CATEGORY["id"],
                "segmentation": {"size": [height, width], "counts": packed["counts"].decode("ascii")},
                "area": mask.area,
                "bbox": [c0, r0, c1 - c0, r1 - r0],
                "iscrowd": 0,
                "label": label,
            }
            known = {k: v for k, v in content.properties.get(label, {}).items() if v == v}
            if known:
                entry["attributes"] = known
            annotations.append(entry)
    data = {
        "info": {"description": f"Objects of {labels.name}", "version": "1.0"},
        "images": images,
        "annotations": annotations,
        "categories": [CATEGORY],
    }
    with path.open("w", encoding="utf-8", newline="\n") as file:
        json.dump(data, file, allow_nan=False)


def _count_runs(mask: ObjectMask, height: int, width: int) -> list[int]:
    """Lengths of runs of 0 and 1 in turn, down the columns of the whole plane.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_sam.types import ObjectMask
    >>> _count_runs(ObjectMask.from_plane(np.ones((2, 1), bool), (1, 1)), 3, 3)
    [4, 2, 3]
    """
    columns = np.zeros((mask.mask.shape[1], mask.mask.shape[0] + 2), np.int8)
    columns[:, 1:-1] = mask.mask.T
    steps = np.diff(columns, axis=1)
    col, start = np.nonzero(steps == 1)
    _, stop = np.nonzero(steps == -1)
    offset = (col + mask.origin[1]) * height + mask.origin[0]
    starts, stops = start + offset, stop + offset
    joined = np.flatnonzero(starts[1:] == stops[:-1])  # a column filled to the end goes on in the next
    starts, stops = np.delete(starts, joined + 1), np.delete(stops, joined)
    edges = np.column_stack([starts, stops]).reshape(-1)
    return np.diff(edges, prepend=0, append=height * width).tolist()

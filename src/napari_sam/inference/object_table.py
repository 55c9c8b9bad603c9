"""What is known of each object of a plane, as columns: scores, size, place and intensity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import SamError
from napari_sam.inference.candidates import Candidates
from napari_sam.inference.transforms import check_plane

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["SCORES", "measure_objects"]

SCORES = ("predicted_iou", "stability", "foreground")
"""Columns that only the model knows; NaN where it did not say."""
STRIPE = 1 << 22
"""Pixels of a label image that are measured at once."""
TILE = 512
"""Objects whose boxes start in the same square of this side share one read of the image."""

Columns = dict[str, "NDArray[Any]"]


def measure_objects(
    objects: Any,
    image: Any = None,
    *,
    kept: Sequence[int] | NDArray[np.integer[Any]] | None = None,
    scores: Candidates | None = None,
) -> Columns:
    """Measure the objects of a label image, or candidates.

    A label image is read once, in stripes; candidates cost nothing but their own pixels, and of the
    image only their boxes are read.

    Parameters
    ----------
    objects : (H, W) integer array or Candidates
        Labels may be any numbers; 0 is background. Also dask or zarr.
    image : (H, W) or (H, W, C) array, or a sequence of those, finest first, optional
        Numpy, dask or zarr. Without it there are no intensities.
    kept : (K,) int, optional
        Which candidates, in this order; default all. Label k is the k-th of them.
    scores : Candidates, optional
        Where the scores of a label image's objects come from: label k is the k-th of these, as
        ``draw_with_indices`` tells. Labels beyond get NaN.

    Returns
    -------
    dict of str to (N,) array
        ``index`` (the label, ascending), ``area`` in pixels, ``centroid-row`` and ``centroid-col``,
        ``on_border`` (touches the plane's edge), the ``SCORES``, and ``mean_intensity``, or
        ``mean_intensity-0``, ``-1`` ... of an image with channels: over the finite pixels. Made for
        napari's ``Labels.features``, for which ``index`` says whose row it is.

    Raises
    ------
    SamError
        When the labels are not one plane of integers, or the image is of another shape.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([[0, 0, 0, 0], [0, 5, 5, 0], [0, 0, 0, 2]])
    >>> table = measure_objects(labels, labels * 10)
    >>> table["index"].tolist(), table["area"].tolist(), table["mean_intensity"].tolist()
    ([2, 5], [1, 2], [20.0, 50.0])
    >>> table["centroid-col"].tolist(), table["on_border"].tolist()
    ([3.0, 1.5], [True, False])
    """
    if isinstance(image, (list, tuple)):
        image = image[0]
    is_labels = not isinstance(objects, Candidates)
    plane = tuple(objects.shape) if is_labels else objects.plane_shape
    channels = _check_image(image, plane)
    if is_labels:
        if len(plane) != 2 or np.dtype(objects.dtype).kind not in "bui":
            raise SamError(
                f"Expected one plane of integer labels, got {objects.dtype} of shape {plane}; "
                "pick a plane of the stack first."
            )
        table, sums, counts = _measure_labels(objects, image, channels)
        table |= _pick_scores(scores, table["index"])
    else:
        table, sums, counts = _measure_candidates(objects, image, channels, kept)
    with np.errstate(invalid="ignore"):
        means = sums / counts
    for channel in range(channels or 0):
        name = "mean_intensity" if _is_flat(image) else f"mean_intensity-{channel}"
        table[name] = means[:, channel]
    return table


def _is_flat(image: Any) -> bool:
    return len(image.shape) == 2


def _check_image(image: Any, plane: tuple[int, ...]) -> int:
    """Number of channels, 0 without an image."""
    if image is None:
        return 0
    height, width, channels = check_plane(image)
    if (height, width) != plane:
        raise SamError(f"Expected an image of {plane} pixels like the objects, got {(height, width)}.")
    return max(channels, 1)


def _pick_scores(scores: Candidates | None, index: NDArray[np.int64]) -> Columns:
    """The candidates' scores at the labels' places; NaN where there is none."""
    known = (index >= 1) & (index <= (0 if scores is None else len(scores)))
    columns: Columns = {name: np.full(len(index), np.nan, np.float32) for name in SCORES}
    for name, column in columns.items():
        if scores is not None:
            column[known] = getattr(scores, name)[index[known] - 1]
    return columns


def _measure_labels(
    labels: Any, image: Any, channels: int
) -> tuple[Columns, NDArray[np.float64], NDArray[np.int64]]:
    """Columns of a label image, with sums and counts (N, C) of finite intensities."""
    height, width = labels.shape
    found: list[tuple[NDArray[Any], ...]] = []
    border: list[NDArray[np.int64]] = []
    step = max(1, STRIPE // width)
    for start in range(0, height, step):
        stripe = np.asarray(labels[start : start + step])
        stripe = stripe.view(np.uint8) if stripe.dtype == bool else stripe
        border += [stripe[:, 0], stripe[:, -1]]
        border += [stripe[0]] if start == 0 else []
        border += [stripe[-1]] if start + step >= height else []
        place = np.flatnonzero(stripe)
        if place.size == 0:
            continue
        ids, which = _number(stripe.reshape(-1)[place])
        rows, cols = np.divmod(place, width)
        sums = np.zeros((len(ids), channels))
        counts = np.zeros((len(ids), channels), np.int64)
        if image is not None:
            pixels = np.asarray(image[start : start + step]).reshape(stripe.size, channels)
            for channel in range(channels):
                values = pixels[place, channel].astype(np.float64)
                finite = np.isfinite(values)
                sums[:, channel] = np.bincount(which[finite], values[finite], len(ids))
                counts[:, channel] = np.bincount(which[finite], minlength=len(ids))
        area = np.bincount(which, minlength=len(ids))
        rows_sum = np.bincount(which, rows + start, len(ids))
        found.append((ids, area, rows_sum, np.bincount(which, cols, len(ids)), sums, counts))
    if not found:
        found = [(np.zeros(0, np.int64),) * 4 + (np.zeros((0, channels)), np.zeros((0, channels), np.int64))]
    # The same object in several stripes is summed up.
    index, which = np.unique(np.concatenate([part[0] for part in found]), return_inverse=True)
    parts = [np.concatenate([part[i] for part in found]) for i in range(1, 6)]
    areas, row_sum, col_sum, total, finite = (_add_up(part, which, len(index)) for part in parts)
    on_border = np.isin(index, np.unique(np.concatenate([b.astype(np.int64) for b in border])))
    table: Columns = {
        "index": index.astype(np.int64),
        "area": areas.astype(np.int64),
        "centroid-row": row_sum / areas,
        "centroid-col": col_sum / areas,
        "on_border": on_border,
    }
    return table, total, finite.astype(np.int64)


def _number(values: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Like ``np.unique(values, return_inverse=True)``, without sorting where the values are small."""
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 8 * values.size:
        ids, which = np.unique(values, return_inverse=True)
        return ids.astype(np.int64), which
    ids = np.flatnonzero(np.bincount(values))
    place = np.zeros(high + 1, np.int64)
    place[ids] = np.arange(len(ids))
    return ids, place[values]


def _add_up(values: NDArray[Any], which: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    total = np.zeros((count, *values.shape[1:]))
    np.add.at(total, which, values)
    return total


def _measure_candidates(
    candidates: Candidates,
    image: Any,
    channels: int,
    kept: Sequence[int] | NDArray[np.integer[Any]] | None,
) -> tuple[Columns, NDArray[np.float64], NDArray[np.int64]]:
    """Columns of the kept candidates, with sums and counts (N, C) of finite intensities."""
    chosen = np.arange(len(candidates)) if kept is None else np.asarray(kept, np.int64)
    sums = np.zeros((len(chosen), channels))
    counts = np.zeros((len(chosen), channels), np.int64)
    for position, mask, pixels in _read_objects(candidates, chosen, image):
        values = pixels.reshape(*mask.shape, channels)[mask].astype(np.float64)
        finite = np.isfinite(values)
        sums[position] = np.where(finite, values, 0).sum(axis=0)
        counts[position] = finite.sum(axis=0)
    table: Columns = {
        "index": np.arange(1, len(chosen) + 1),
        "area": candidates.areas[chosen].astype(np.int64),
        "centroid-row": candidates.centers[chosen, 0].astype(np.float64),
        "centroid-col": candidates.centers[chosen, 1].astype(np.float64),
        "on_border": candidates.on_border[chosen],
        **{name: getattr(candidates, name)[chosen] for name in SCORES},
    }
    return table, sums, counts


def _read_objects(
    candidates: Candidates, chosen: NDArray[np.int64], image: Any
) -> Iterator[tuple[int, NDArray[np.bool_], NDArray[Any]]]:
    """Each chosen candidate's position, mask and pixels; neighbours share one read of the image."""
    if image is None or len(chosen) == 0:
        return
    boxes = candidates.boxes[chosen].astype(np.int64)
    square = boxes[:, :2] // TILE
    large = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) > TILE  # on its own, lest it widens others' reads
    order = np.lexsort((np.where(large, np.arange(len(boxes)), -1), square[:, 1], square[:, 0]))
    keys = np.column_stack([square, np.where(large, np.arange(len(boxes)), -1)])[order]
    starts = np.flatnonzero(np.any(np.diff(keys, axis=0, prepend=keys[:1] - 1) != 0, axis=1))
    for group in np.split(order, starts[1:]):
        (r0, c0), (r1, c1) = boxes[group, :2].min(axis=0), boxes[group, 2:].max(axis=0)
        window = np.asarray(image[r0:r1, c0:c1])
        for position in group.tolist():
            top, left, bottom, right = boxes[position] - (r0, c0, r0, c0)
            mask = candidates.mask(int(chosen[position])).mask
            yield position, mask, window[top:bottom, left:right]

"""Automatic segmentation of a whole stack: every plane on its own, then linked to objects along z or t."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_sam.errors import SamError
from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.checkpoints import LoadedModel
from napari_sam.inference.fitting import cut_candidates
from napari_sam.inference.segment_image import filter_defaults, iter_candidates
from napari_sam.stacks.linking import LinkParams, check_axis
from napari_sam.stacks.plane_writer import PlaneWriter, check_output
from napari_sam.stacks.stack_planes import StackPlanes, measure_stack_limits
from napari_sam.stacks.stack_scale import iter_settle_scale
from napari_sam.stacks.stack_series import StackSeries
from napari_sam.stacks.trackastra_links import check_tracker
from napari_sam.stacks.tracks import make_graph, make_tracks
from napari_sam.types import Progress, finish

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy as np
    from numpy.typing import NDArray

    from napari_sam.inference.candidates import Candidates
    from napari_sam.inference.encode_settings import EncodeSettings
    from napari_sam.inference.filter_params import FilterParams
    from napari_sam.inference.region import Region
    from napari_sam.stacks.linking import Linked

__all__ = ["StackLabels", "iter_segment_stack", "segment_stack"]


@dataclass(frozen=True, slots=True, eq=False)
class StackLabels:
    """The objects of a stack.

    Attributes
    ----------
    labels : (..., H, W) integer array
        int32 with ids 1, 2, ... that are constant along the axis, or what was passed as ``out``.
    parents : dict of int to tuple of int
        Of an object that came from a division the one that divided; empty along z.
    columns : dict of str to (m,) array
        One row per object and plane, see ``measure_tracks``.
    linked : tuple of Linked
        How each series of planes was linked; one of a plain stack.
    settings : EncodeSettings
        What the model saw: the intensities that were black and white, and of tiny objects the size.
    """

    labels: Any
    parents: dict[int, tuple[int, ...]] = field(default_factory=dict)
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    linked: tuple[Linked, ...] = ()
    settings: EncodeSettings | None = None

    @property
    def count(self) -> int:
        """Number of objects."""
        return int(self.columns["id"].max(initial=0)) if "id" in self.columns else 0

    @property
    def tracks(self) -> NDArray[np.float64]:
        """(m, 4) [id, plane, y, x], or (m, 5) with z before y."""
        return make_tracks(self.columns)

    @property
    def graph(self) -> dict[int, list[int]]:
        """The divisions, as a napari Tracks layer takes them."""
        return make_graph(self.parents)


def iter_segment_stack(
    stack: Any,
    predictor: CachedPredictor | LoadedModel,
    axis: str = "z",
    method: str = "auto",
    *,
    out: Any = None,
    axes: str | None = None,
    params: LinkParams | None = None,
    filters: FilterParams | None = None,
    region: Region | None = None,
    cut: bool = False,
    normalize: str = "stack",
    tracker: Any = "overlap",
    **options: Any,
) -> Generator[Progress, None, StackLabels]:
    """Segment a stack; a job that reads one plane at a time.

    Takes what ``segment_stack`` takes. ``Progress.partial`` of a plane that was finished is ``(k, labels)``:
    its number (or its index, where there is more than one axis of planes) and (H, W) int32 with provisional
    ids, which follow an object from plane to plane but know nothing of later planes yet. ``out`` holds the
    same, where the job is cancelled.

    Parameters
    ----------
    filters : FilterParams, optional
        Thresholds, instead of the model's and of those among ``options``.
    cut : bool
        Cut objects at the region's edge; else those whose centre is inside are kept whole.
    """
    link_axis = check_axis(axis)
    if normalize not in ("stack", "plane"):
        raise SamError(f"Expected normalize 'stack' or 'plane', got {normalize!r}.")
    check_tracker(tracker, link_axis)
    planes = StackPlanes(stack, axes)
    if tracker != "overlap" and len(planes.leading) > 1:
        raise SamError("Expected a series of planes (T, H, W) for Trackastra, got volumes; track by overlap.")
    if isinstance(predictor, LoadedModel):
        predictor = CachedPredictor(predictor, memory_bytes=0)  # no plane is looked at twice
    thresholds = filters or filter_defaults(predictor, method, **options)
    result = check_output(out, (*planes.leading, *planes.shape))
    if normalize == "stack" and predictor.settings.limits is None:
        yield Progress(0, len(planes), "Measuring intensities")
        limits = measure_stack_limits(planes, predictor.settings)
        predictor = predictor.with_settings(replace(predictor.settings, limits=limits))

    def find(chosen: CachedPredictor, plane: Any) -> Generator[Progress, None, Candidates]:
        found = yield from iter_candidates(plane, chosen, method, region=region, **options)
        return cut_candidates(found, region) if cut and region is not None else found

    settled, known = yield from iter_settle_scale(planes, predictor, find, thresholds)
    series = StackSeries(
        planes,
        lambda plane: find(settled, plane),
        thresholds,
        PlaneWriter(result),
        params or LinkParams(),
        known,
        tracker,
    )
    yield from series.link(link_axis)
    columns, parents = series.columns, series.parents
    count = int(columns["id"].max(initial=0))
    yield Progress(len(planes), len(planes), f"{count} objects in {len(planes)} planes")
    return StackLabels(result, parents, columns, tuple(series.linked), settled.settings)


def segment_stack(
    stack: Any,
    model: CachedPredictor | LoadedModel,
    axis: str = "z",
    method: str = "auto",
    *,
    out: Any = None,
    axes: str | None = None,
    params: LinkParams | None = None,
    region: Region | None = None,
    normalize: str = "stack",
    tracker: Any = "overlap",
    **options: Any,
) -> NDArray[np.int32]:
    """Segment every object of a stack, with ids that are constant along z or t.

    Parameters
    ----------
    stack : (N, H, W) or (N, H, W, C) array of any real dtype, or sequence of planes
        Numpy, memory-mapped, dask or zarr; one plane is read at a time. More leading axes: see ``axes``.
    model : LoadedModel or CachedPredictor
    axis : str
        ``"z"``: the planes are sections of one volume. ``"t"``: they are frames of a series.
    method : str
        How the objects of a plane are found, as ``segment_image`` takes it.
    out : (N, H, W) integer array, optional
        Numpy, zarr or alike, to which labels are written plane by plane: with it a volume may be larger
        than memory. Default a new array.
    axes : str, optional
        One letter per axis of the array, such as "TZYX" or "ZYXC"; needed where there are more than four
        channels. Without it, a last axis of at most four is taken for channels where there are four axes or
        more, and two leading ones for T and Z. Along "z" each volume is linked for itself, under ids of its
        own; along "t" whole volumes are.
    params : LinkParams, optional
        Thresholds of linking.
    region : Region, optional
        Where in each plane to look for objects.
    normalize : str
        ``"stack"``: black and white are the same intensities in all planes, percentiles over the stack, so
        that empty planes stay empty. ``"plane"``: percentiles of each plane, for a series that bleaches.
        Limits among a predictor's settings go before both.
    tracker : str or trackastra.model.Trackastra
        Who links the frames of a series (H, W): ``"overlap"``, or ``"trackastra"``, which needs the extra of
        that name and holds the whole series in memory.
    **options
        What ``segment_image`` takes.

    Returns
    -------
    (N, H, W) int32
        Or ``out``. Ids 1, 2, ... by first appearance; 0 is background. What came from what by division is in
        the result of ``iter_segment_stack``.

    Raises
    ------
    ImageError
        When the stack cannot be used or read, or ``out`` does not fit.
    SamError
        When axis, method or an option is unknown.

    Examples
    --------
    >>> import napari_sam as ns
    >>> model = ns.load_model("nuclei")  # doctest: +SKIP
    >>> labels = ns.segment_stack(stack, model, axis="z")  # doctest: +SKIP
    """
    job = iter_segment_stack(
        stack,
        model,
        axis,
        method,
        out=out,
        axes=axes,
        params=params,
        region=region,
        normalize=normalize,
        tracker=tracker,
        **options,
    )
    labels: NDArray[np.int32] = finish(job).labels
    return labels

"""Automatic segmentation of a whole plane, whatever the method."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final

from napari_sam.errors import SamError
from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.candidates import (
    FILTER_DEFAULTS,
    FILTER_OPTIONS,
    FilterParams,
    draw_candidates,
    explain_nothing,
    filter_candidates,
)
from napari_sam.inference.checkpoints import LoadedModel
from napari_sam.inference.grid_segmenter import EXACT, GridParams, iter_grid_candidates
from napari_sam.inference.instance_maps import InstanceParams
from napari_sam.inference.instance_segmenter import iter_instance_candidates
from napari_sam.inference.region import read_region
from napari_sam.inference.transforms import check_channels, check_plane
from napari_sam.inference.unetr_instances import UnetrParams
from napari_sam.types import Progress, finish

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy as np
    from numpy.typing import NDArray

    from napari_sam.inference.candidates import Candidates
    from napari_sam.inference.region import Region

METHODS: Final = ("auto", "instances", "grid")
Params = GridParams | InstanceParams | UnetrParams


def choose_method(model: LoadedModel, method: str = "auto") -> str:
    """``"instances"`` or ``"grid"``: for ``"auto"`` the best that the model offers.

    Raises
    ------
    SamError
        When the method is unknown, or needs an instance decoder that the model does not have.
    """
    if method not in METHODS:
        raise SamError(f"Expected a method out of {', '.join(METHODS)}, got {method!r}.")
    has_decoder = bool(model.config.instance_decoder)
    if method == "auto":
        return "instances" if has_decoder else "grid"
    if method == "instances" and not has_decoder:
        raise SamError(f"The model {model.name!r} has no instance decoder; use the method 'grid'.")
    return method


def filter_defaults(
    model: CachedPredictor | LoadedModel, method: str = "auto", **options: Any
) -> FilterParams:
    """The thresholds that a method starts with: options, before the model's record, before general ones."""
    return _read_options(_find_model(model), method, options)[1]


def iter_candidates(
    image: Any,
    predictor: CachedPredictor | LoadedModel,
    method: str = "auto",
    *,
    region: Region | NDArray[Any] | None = None,
    **options: Any,
) -> Generator[Progress, None, Candidates]:
    """Find what may be objects, to be filtered as often as one likes; a job.

    Each ``Progress.partial`` that is not None are the ``Candidates`` of a tile that was finished; those
    that are returned are all of them.

    Parameters
    ----------
    image : (H, W), (H, W, 3) or (H, W, C) array, also dask or zarr, of any real dtype
    predictor : CachedPredictor or LoadedModel
    method : str
        As ``segment_image`` takes it.
    region : Region or (H, W) mask, optional
        Where to look.
    **options
        Fields of ``InstanceParams`` or ``GridParams``, and of ``FilterParams``.

    Raises
    ------
    ImageError
        When the image cannot be used or read.
    PromptError
        When the region is not one of this image.
    SamError
        When the model is none, or the method or an option is unknown.
    """
    params, _ = _read_options(_find_model(predictor), method, options)
    if isinstance(predictor, LoadedModel):
        predictor = CachedPredictor(predictor)
    height, width, channels = check_plane(image)
    if predictor.settings.channels is None and predictor.settings.limits is None:
        check_channels(height, width, channels)
    region = read_region(region, (height, width))
    if isinstance(params, GridParams):
        return (yield from iter_grid_candidates(image, predictor, params, region))
    return (yield from iter_instance_candidates(image, predictor, params, region))


def iter_segment_image(
    image: Any,
    predictor: CachedPredictor | LoadedModel,
    method: str = "auto",
    *,
    region: Region | NDArray[Any] | None = None,
    **options: Any,
) -> Generator[Progress, None, NDArray[np.int32]]:
    """Segment every object of one plane; a job that can be stopped at every step.

    Parameters
    ----------
    image : (H, W), (H, W, 3) or (H, W, C) array, also dask or zarr, of any real dtype
    predictor : CachedPredictor or LoadedModel
        With a ``CachedPredictor`` embeddings are shared with prompts.
    method : str
        As ``segment_image`` takes it.
    region : Region or (H, W) mask, optional
        Where to look for objects; the whole plane without.
    **options
        As ``segment_image`` takes them.

    Yields
    ------
    Progress
        Its ``partial`` are the ``Candidates`` of a tile that was finished, before they are filtered.

    Returns
    -------
    (H, W) int32
        Labels 1, 2, ...; 0 is background.

    Raises
    ------
    ImageError
        When the image cannot be used or read.
    PromptError
        When the region is not one of this image.
    SamError
        When the model is none, or the method or an option is unknown.
    """
    filters = filter_defaults(predictor, method, **options)
    job = iter_candidates(image, predictor, method, region=region, **options)
    total = 1
    try:
        while True:
            step = next(job)
            total = step.total
            yield step
    except StopIteration as end:
        candidates = end.value
    finally:
        job.close()
    kept = filter_candidates(candidates, filters)
    labels = draw_candidates(candidates, kept)
    said = f"{int(labels.max())} objects" if len(kept) else explain_nothing(candidates, filters)
    yield Progress(total, total, said)
    return labels


def segment_image(
    image: Any,
    model: CachedPredictor | LoadedModel,
    method: str = "auto",
    *,
    region: Region | NDArray[Any] | None = None,
    **options: Any,
) -> NDArray[np.int32]:
    """Segment every object of one plane.

    Parameters
    ----------
    image : (H, W), (H, W, 3) or (H, W, C) array, also dask or zarr, of any real dtype
    model : LoadedModel or CachedPredictor
    method : str
        ``"instances"`` (dense decoder), ``"grid"`` (point prompts, any model), or ``"auto"``: the
        best that the model offers.
    region : Region or (H, W) mask, optional
        Where to look for objects; the whole plane without.
    **options
        Fields of ``InstanceParams`` or ``GridParams`` say how objects are looked for (``exact=True`` is
        the original grid method, step by step), those of ``FilterParams`` what is kept.

    Returns
    -------
    (H, W) int32
        Labels 1, 2, ...; 0 is background.

    Raises
    ------
    ImageError
        When the image cannot be used or read.
    PromptError
        When the region is not one of this image.
    SamError
        When the model is none, or the method or an option is unknown.
    """
    return finish(iter_segment_image(image, model, method, region=region, **options))


def _find_model(model: CachedPredictor | LoadedModel) -> LoadedModel:
    found = model if isinstance(model, LoadedModel) else getattr(model, "model", None)
    if found is None:
        raise SamError(f"Expected a model or a predictor of one, got {model!r:.60}; see load_model.")
    return found


def _read_options(model: LoadedModel, method: str, options: dict[str, Any]) -> tuple[Params, FilterParams]:
    """How the method looks for objects, and what is kept of what it finds.

    A threshold that both know is given to both, but for the foreground of a pixel, which is another thing
    than that of an object: there it is called ``score``.
    """
    method = choose_method(model, method)
    defaults = model.record.get("defaults", {}).get(method, {})
    params: Params = GridParams()
    filters = FILTER_DEFAULTS[method]
    if method == "instances":
        params = UnetrParams() if model.config.reads_embedding_only else InstanceParams()
    elif options.get("exact"):
        params, filters, defaults = EXACT, FILTER_DEFAULTS["exact"], {}
    own = {f.name for f in fields(params)}
    thresholds = set(FILTER_OPTIONS) - (own & {"foreground"})
    unknown = sorted(set(options) - own - thresholds)
    if unknown:
        raise SamError(
            f"The method {method!r} has no such option: {', '.join(map(repr, unknown))}; "
            f"expected one of {', '.join(sorted(own | thresholds))}."
        )
    values = {name: value for name, value in defaults.items() if name in own | thresholds} | options
    params = replace(params, **{name: value for name, value in values.items() if name in own})
    chosen = {name: value for name, value in values.items() if name in thresholds}
    if isinstance(params, InstanceParams):
        chosen = {"foreground": params.score, "min_area": params.min_area} | chosen
    elif isinstance(params, UnetrParams):  # micro-sam keeps doubtful objects
        chosen = {"foreground": 0.0, "min_area": params.min_area} | chosen
    filters = replace(filters, **chosen)
    if isinstance(params, GridParams):  # what will be filtered out keeps no other point from being asked
        certain = (
            max(params.certain_iou, filters.predicted_iou),
            max(params.certain_stability, filters.stability),
        )
        params = replace(params, certain_iou=certain[0], certain_stability=certain[1])
    return params, filters

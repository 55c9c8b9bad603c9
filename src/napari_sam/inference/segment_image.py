"""Automatic segmentation of a whole plane, whatever the method."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from napari_sam.errors import SamError
from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.checkpoints import LoadedModel
from napari_sam.inference.grid_segmenter import GridParams, iter_grid
from napari_sam.inference.instance_maps import InstanceParams
from napari_sam.inference.instance_segmenter import iter_instances

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy as np
    from numpy.typing import NDArray

    from napari_sam.types import Progress

METHODS: Final = ("auto", "instances", "grid")


def iter_segment_image(
    image: Any, predictor: CachedPredictor | LoadedModel, method: str = "auto", **options: Any
) -> Generator[Progress, None, NDArray[np.int32]]:
    """Segment every object; a job that yields ``Progress`` and returns the labels.

    Takes what ``segment_image`` takes; with a ``CachedPredictor`` embeddings are shared with prompts.
    """
    if method not in METHODS:
        raise SamError(f"Expected a method out of {', '.join(METHODS)}, got {method!r}.")
    if isinstance(predictor, LoadedModel):
        predictor = CachedPredictor(predictor)
    if method == "auto":
        method = "instances" if predictor.model.config.instance_decoder else "grid"
    defaults = predictor.model.record.get("defaults", {}).get(method, {})
    try:
        if method == "instances":
            return (
                yield from iter_instances(image, predictor, replace(InstanceParams(**defaults), **options))
            )
        return (yield from iter_grid(image, predictor, replace(GridParams(**defaults), **options)))
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        raise SamError(f"The method {method!r} has no such option: {error}.") from error


def segment_image(
    image: Any, model: CachedPredictor | LoadedModel, method: str = "auto", **options: Any
) -> NDArray[np.int32]:
    """Segment every object of one plane.

    Parameters
    ----------
    image : (H, W), (H, W, 3) or (H, W, C) array, also dask or zarr, of any real dtype
    model : LoadedModel or CachedPredictor
    method : str
        ``"instances"`` (dense decoder), ``"grid"`` (point prompts, any model), or ``"auto"``: the
        best that the model offers.
    **options
        Fields of ``InstanceParams`` or ``GridParams``.

    Returns
    -------
    (H, W) int32
        Labels 1, 2, ...; 0 is background.

    Raises
    ------
    ImageError
        When the image cannot be used.
    SamError
        When the method or an option is unknown.
    """
    job = iter_segment_image(image, model, method, **options)
    while True:
        try:
            next(job)
        except StopIteration as end:
            labels: NDArray[np.int32] = end.value
            return labels

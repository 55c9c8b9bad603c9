"""One scale for all planes of a stack whose objects are small or large.

A plane by itself is shown to the model enlarged where its objects are small and shrunk where they are large,
and how much depends on what is found in it first: from plane to plane the outlines then change. Looking at a
few planes settles it for all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.inference.candidates import filter_candidates
from napari_sam.inference.object_scale import LARGE, SMALL
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari_sam.inference.cached_predictor import CachedPredictor
    from napari_sam.inference.candidates import Candidates
    from napari_sam.inference.filter_params import FilterParams
    from napari_sam.stacks.stack_planes import StackPlanes

    Index = tuple[int, ...]
    Steps = Generator[Progress, None, Candidates]

__all__ = ["iter_settle_scale"]

LOOKS: Final = 3
FEWEST: Final = 5
"""Objects from which on a median says something."""


def iter_settle_scale(
    planes: StackPlanes,
    predictor: CachedPredictor,
    find: Callable[[CachedPredictor, Any], Steps],
    filters: FilterParams,
) -> Generator[Progress, None, tuple[CachedPredictor, dict[Index, Candidates]]]:
    """Look at three planes, and set the object size where objects are small or large; a job.

    Parameters
    ----------
    planes : StackPlanes
    predictor : CachedPredictor
    find : callable
        Takes predictor and plane, and gives the job that finds its candidates.
    filters : FilterParams
        Which of them are objects.

    Returns
    -------
    predictor : CachedPredictor
        The same one where the size is known already, or objects are neither small nor large.
    found : dict of index to Candidates
        What was found, where it is good for use.
    """
    known = predictor.settings.object_size is not None or not predictor.model.config.any_frame_size
    if known or len(planes) <= LOOKS:
        return predictor, {}
    chosen = np.unique(((np.arange(LOOKS) + 0.5) * len(planes) / LOOKS).astype(int)).tolist()
    found: dict[Index, Candidates] = {}
    sizes = []
    for done, number in enumerate(chosen):
        index = tuple(int(i) for i in np.unravel_index(number, planes.leading))
        job = find(predictor, planes.plane(index))
        try:
            while True:
                next(job)
                yield Progress(done, len(chosen), "Looking at the objects' size, plane")
        except StopIteration as end:
            found[index] = end.value
        finally:
            job.close()
        areas = found[index].areas[filter_candidates(found[index], filters)]
        sizes.append(2 * np.sqrt(areas / np.pi))
    diameters = np.concatenate(sizes)
    if len(diameters) < FEWEST or SMALL <= np.median(diameters) <= LARGE:
        return predictor, found
    settings = replace(predictor.settings, object_size=float(np.median(diameters)))
    return predictor.with_settings(settings), {}

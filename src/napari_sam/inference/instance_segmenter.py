"""Automatic segmentation of a plane of any size from the instance decoder's maps, tile by tile.

Each tile is segmented on its own and its objects are stitched to those of the neighbours, so memory holds
one tile and what lies in unfinished overlaps, whatever the size of the plane. A tile whose objects are too
small to be outlined well in one frame is gone through in parts, from nearer, in the same way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import SamError
from napari_sam.inference.candidates import Candidates
from napari_sam.inference.image_source import ImageSource
from napari_sam.inference.instance_candidates import read_instances
from napari_sam.inference.instance_maps import InstanceParams
from napari_sam.inference.object_scale import expected_object_size
from napari_sam.inference.scale_search import find_crowded_size
from napari_sam.inference.stitching import Stitcher, meets
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from napari_sam.inference.cached_predictor import CachedPredictor
    from napari_sam.inference.region import Region
    from napari_sam.inference.unetr_instances import UnetrParams

__all__ = ["iter_instance_candidates"]

Crop = tuple[int, int, int, int]
STRIPE = 1 << 22
"""Pixels that are compared at once."""


def iter_instance_candidates(
    image: Any,
    predictor: CachedPredictor,
    params: InstanceParams | UnetrParams | None = None,
    region: Region | None = None,
) -> Generator[Progress, None, Candidates]:
    """Find every object of a plane; a job that hands out objects as soon as no tile can change them.

    Each ``Progress.partial`` that is not None are ``Candidates`` that are finished; those that are returned
    are all of them. Tiles of a single value are background and are not encoded.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array, or a pyramid
        Read by the tile.
    predictor : CachedPredictor
    params : InstanceParams or UnetrParams, optional
        How maps become objects; ``score`` and ``min_area`` are left to the filter.
    region : Region, optional
        Tiles that do not meet it are encoded only where an object of it is cut off, and objects whose centre
        of mass is outside are dropped.

    Raises
    ------
    SamError
        When the model has no instance decoder.
    """
    params = params or InstanceParams()
    source = image if isinstance(image, ImageSource) else ImageSource(image)
    model, shape = predictor.model, source.shape
    if not model.config.instance_decoder:
        raise SamError(f"The model {model.name!r} has no instance decoder; use the method 'grid'.")
    tiles = predictor.list_tiles(shape)
    wanted = np.array([region is None or region.covers(crop) for crop, _ in tiles], bool)
    crops = np.array([crop for crop, _ in tiles], np.int64).reshape(-1, 4)
    stitcher = Stitcher(shape, tiles)
    parts = [Candidates.empty(shape)]
    total, done = int(wanted.sum()), 0
    reached = np.zeros(len(tiles), bool)
    yield Progress(0, total, "encoding")
    # Tiles outside the region come last: by then it is known which objects reach into them.
    for n in sorted(range(len(tiles)), key=lambda n: not wanted[n]):
        crop, core = tiles[n]
        is_read = bool(wanted[n] or reached[n])
        total += bool(reached[n])
        found = Candidates.empty(shape)
        if is_read and not _is_constant(source, crop):
            meanwhile = Progress(done, total, f"{sum(map(len, parts))} objects found")
            found = yield from _iter_tile(image, source, predictor, crop, params, meanwhile)
        if region is not None and wanted[n]:
            near = np.flatnonzero(~(wanted | reached) & meets(crops, np.add(crop, (-1, -1, 1, 1))))
            beyond = _list_cut(found.boxes, crop, region) if near.size else crops[:0]
            reached[near] = [meets(beyond, crops[i]).any() for i in near]
        part = stitcher.add(found, crop, core)
        if region is not None:
            part = part.take(region.holds(part.centers))
        parts.append(part)
        if is_read or len(part):
            done += is_read
            yield Progress(done, total, f"{sum(map(len, parts))} objects found", part)
    return Candidates.concatenate(parts)


def _iter_tile(
    image: Any,
    source: ImageSource,
    predictor: CachedPredictor,
    crop: Crop,
    params: InstanceParams | UnetrParams,
    meanwhile: Progress,
) -> Generator[Progress, None, Candidates]:
    """What a crop shows: at one look, or part by part where its objects are too small for that."""
    embedding = predictor.encode(image, crop)
    model, settings = predictor.model, predictor.settings
    size = None
    if settings.object_size is None and model.config.any_frame_size:
        size = find_crowded_size(embedding, model.config.image_size, expected_object_size(model))
    if size is None:
        return read_instances(model, embedding, params)
    nearer = predictor.with_settings(replace(settings, object_size=size))
    r0, c0, r1, c1 = crop
    offset = np.array([r0, c0, r0, c0])
    tiles = [
        (tuple((offset + part).tolist()), tuple((offset + core).tolist()))
        for part, core in nearer.list_tiles((r1 - r0, c1 - c0))
    ]
    stitcher = Stitcher(source.shape, tiles)
    parts = [Candidates.empty(source.shape)]
    for part, core in tiles:
        yield meanwhile
        found = Candidates.empty(source.shape)
        if not _is_constant(source, part):
            found = read_instances(model, nearer.encode(image, part), params)
        parts.append(stitcher.add(found, part, core))
    return Candidates.concatenate(parts)


def _list_cut(boxes: NDArray[np.integer[Any]], crop: Crop, region: Region) -> NDArray[np.int64]:
    """The pixels just beyond a crop where it cuts off objects of a region, as (K, 4) boxes."""
    strips = []
    for box in boxes[(boxes == np.array(crop)).any(axis=1)].tolist():
        if region.covers(tuple(box)):
            r0, c0, r1, c1 = box
            sides = (r0 - 1, c0, r0, c1), (r0, c0 - 1, r1, c0), (r1, c0, r1 + 1, c1), (r0, c1, r1, c1 + 1)
            strips += [side for side, ours, edge in zip(sides, box, crop, strict=True) if ours == edge]
    return np.array(strips, np.int64).reshape(-1, 4)


def _is_constant(source: ImageSource, crop: Crop) -> bool:
    """Whether all pixels of a crop have one value; most crops are told by their middle row."""
    r0, c0, r1, c1 = crop
    step = max(1, STRIPE // (c1 - c0))
    rows = [((r0 + r1) // 2, (r0 + r1) // 2 + 1), *((r, min(r + step, r1)) for r in range(r0, r1, step))]
    first = source.read((r0, c0, r0 + 1, c0 + 1))[0, 0]
    return all((source.read((start, c0, stop, c1)) == first).all() for start, stop in rows)

"""At which scale an image is shown to a model whose objects' size nobody has told.

A first look is taken at the image as it is. Where its objects are not clear, one part of it is looked at from
nearer and the whole from farther away, and the clearest look tells how large the objects are.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from napari_sam.inference.instance_maps import drop_doubtful
from napari_sam.inference.object_scale import measure_rescale

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam.inference.embedding import ImageEmbedding
    from napari_sam.inference.tiling import Crop

__all__ = ["Look", "choose_rescale", "find_crowd", "find_crowded_size", "measure_look", "search_scale"]

CLEAR: Final = 0.85
"""A look of this clarity needs no other, and ..."""
CLEARER: Final = 0.03
"""... another one tells more only if it is clearer by this."""
HAZY: Final = 0.6
"""Where a look from nearer is less clear, one from farther away may tell more ..."""
USELESS: Final = 0.45
"""... and if it is even less clear, nothing is learned from it: it shows the texture of large objects."""
TELLING: Final = 1.5
"""A hazy look from farther away has to be this many times as clear as the clearest before."""
FULL: Final = 0.9
"""Share of a frame from which on foreground is none: a texture, or objects far too small, run into one."""
ROOM: Final = 1.5
"""How many times larger than the largest image a frame may get by enlarging what is small in it."""
STEP: Final = 1.25
"""A frame that cannot be enlarged by this any more is as large as it may be ..."""
CROWDED: Final = 1.15
"""... and too small for its objects, if they should be this many times as large in it."""
LEAST: Final = 64
"""Pixels of a frame's longest side below which nothing is looked at from farther away."""
PART: Final = 128
"""Frame pixels a side of what is looked at from nearer, or half of the frame's side if that is more."""
SURE: Final = 0.85
"""Mean foreground probability of the objects that a look is judged by, ..."""
SMALLEST: Final = 12
"""... and their least area, in pixels of the frame."""
FEWEST: Final = 3
"""Objects from which on a frame is enlarged: fewer small ones may be chance."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the automatic instances of a frame say about the scale at which it is shown.

    Attributes
    ----------
    count : int
        Objects found, without the doubtful ones.
    diameter : float
        Their median, in frame pixels; 0 without any.
    clarity : float
        Share of the foreground that is in objects, times how sure the model is of these and of the whole
        frame; 0 to 1. Objects too large or too small for the model leave foreground that is in no object.
    """

    count: int
    diameter: float
    clarity: float

    def beats(self, other: Look) -> bool:
        """Whether this look tells more than another one; of one or two objects it has to be clear itself."""
        enough = self.count >= FEWEST or (self.count > 0 and self.clarity >= CLEAR)
        return enough and self.clarity > other.clarity + CLEARER


def measure_look(embedding: ImageEmbedding, part: Crop | None = None) -> Look:
    """Take stock of the instances of an embedding, or of a part of its crop (r0, c0, r1, c1)."""
    maps, instances = embedding.maps, embedding.instances
    if maps is None or instances is None:
        return Look(0, 0.0, 0.0)
    rows, cols = _find_pixels(embedding, part or embedding.frame.crop)
    foreground = maps[0, rows, cols].astype(np.float32)
    labels = drop_doubtful(instances.labels[rows, cols], foreground, SURE)
    areas = [int(area) for area in np.bincount(labels.ravel())[1:] if area >= SMALLEST]
    if not areas:
        return Look(0, 0.0, 0.0)
    inside = labels > 0
    if inside.mean() > FULL:
        return Look(0, 0.0, 0.0)
    share = float(inside.sum()) / max(1.0, float((foreground > 0.5).sum()))
    sure = 2 * float(np.abs(foreground - 0.5).mean())
    clarity = min(1.0, share) * float(foreground[inside].mean()) * sure
    return Look(len(areas), 2 * math.sqrt(statistics.median(areas) / math.pi), clarity)


def find_crowd(embedding: ImageEmbedding) -> Crop | None:
    """The part of an embedding's crop that holds most foreground: of nine places, in pixels of the plane.

    None where there is no foreground.
    """
    if embedding.maps is None:
        return None
    foreground = embedding.maps[0] > 0.5
    r0, c0, r1, c1 = embedding.frame.crop
    least = round(PART / embedding.frame.scale)
    height, width = (min(n, max(least, n // 2)) for n in (r1 - r0, c1 - c0))
    found, most = None, 0
    for row in np.linspace(r0, r1 - height, 3).astype(int).tolist():
        for col in np.linspace(c0, c1 - width, 3).astype(int).tolist():
            place = row, col, row + height, col + width
            count = int(np.count_nonzero(foreground[_find_pixels(embedding, place)]))
            if count > most:
                found, most = place, count
    return found


def _find_pixels(embedding: ImageEmbedding, part: Crop) -> tuple[slice, slice]:
    """Rows and columns of an embedding's maps that show a part of its crop."""
    scale, (r0, c0, *_) = embedding.frame.scale, embedding.frame.crop
    ends = [round((end - start) * scale) for end, start in zip(part, (r0, c0, r0, c0), strict=True)]
    return slice(ends[0], max(ends[2], ends[0] + 1)), slice(ends[1], max(ends[3], ends[1] + 1))


def search_scale(
    first: ImageEmbedding, encode: Callable[[Crop, float], ImageEmbedding], image_size: int
) -> ImageEmbedding:
    """The embedding of the same crop at the scale at which its objects are outlined best.

    Parameters
    ----------
    first : ImageEmbedding
        With maps; it is returned where its scale is a good one.
    encode : callable
        Takes a crop (r0, c0, r1, c1) inside the one of ``first``, and frame pixels per plane pixel.
    image_size : int
        Largest side of a frame, which enlarging may exceed by ``ROOM``.
    """
    crop, scale = first.frame.crop, first.frame.scale
    best, look = first, measure_look(first)
    if look.clarity < CLEAR:
        part = find_crowd(first)
        same = nearer = Look(0, 0.0, 0.0)
        if part is not None:
            same, nearer = measure_look(first, part), measure_look(encode(part, 2 * scale))
        if nearer.count >= FEWEST and nearer.clarity > USELESS and nearer.beats(same):
            look = Look(nearer.count, nearer.diameter / 2, nearer.clarity)
        elif nearer.count < FEWEST or nearer.clarity < HAZY or same.beats(nearer):
            # From nearer, large objects fall to pieces.
            tried = scale / 2
            while max(first.frame.inner) * tried >= scale * LEAST:
                farther = encode(crop, tried)
                seen = measure_look(farther)
                if seen.beats(look) and (seen.clarity > HAZY or seen.clarity > TELLING * look.clarity):
                    best, look = farther, seen
                tried /= 2
    factor = choose_rescale(look, ROOM * image_size / max(best.frame.inner))
    return best if factor == 1 else encode(crop, best.frame.scale * factor)


def choose_rescale(look: Look, room: float) -> float:
    """By how much a frame is to be enlarged or shrunk, after a look at it; 1 for not at all.

    Parameters
    ----------
    look : Look
    room : float
        By how much it may grow.
    """
    factor = measure_rescale(look.diameter, room) if look.count else 1.0
    return factor if factor < 1 or look.count >= FEWEST else 1.0


def find_crowded_size(embedding: ImageEmbedding, image_size: int, wanted: float) -> float | None:
    """The diameter of objects that are too small in a frame because it had no room to show them larger.

    Parameters
    ----------
    embedding : ImageEmbedding
        Whose scale was searched.
    image_size : int
        Largest side of a frame, which enlarging may exceed by ``ROOM``.
    wanted : float
        Diameter in frame pixels at which objects are shown whose size is known.

    Returns
    -------
    float or None
        Their median, in pixels of the plane; None where the objects are large enough, or are few.
    """
    frame = embedding.frame
    if STEP * max(frame.inner) <= ROOM * image_size:
        return None
    look = measure_look(embedding)
    if look.count < FEWEST or CROWDED * look.diameter > wanted:
        return None
    return look.diameter / frame.scale

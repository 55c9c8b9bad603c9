"""How well *Split* cuts touching objects: two of them are joined, clicked once each anywhere, and cut again.

    python benchmarks/split_quality.py --data DIR [--pairs 15]

Pairs of objects that touch in the label images of the ``train`` split, at most ``--pairs`` of an image.
Prints the IoU of the halves with the two objects, for cuts by shape alone and along edges of the image too.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_sam.cli.labelled_files import read_labelled_images
from napari_sam.session.edit_tools import split
from napari_sam.types import ObjectMask

if TYPE_CHECKING:
    from numpy.typing import NDArray


def find_pairs(labels: NDArray[np.integer]) -> list[tuple[int, int]]:
    """Objects that touch in a row or a column."""
    found: set[tuple[int, int]] = set()
    for one, other in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])):
        touch = (one != other) & (one > 0) & (other > 0)
        found |= {(min(p), max(p)) for p in zip(one[touch].tolist(), other[touch].tolist(), strict=True)}
    return sorted(found)


def main() -> None:
    """Join, cut and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=15, help="of an image, at most")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    found: dict[str, list[float]] = {"shape alone": [], "edges of the image too": []}
    for image in read_labelled_images(args.data):
        gray = image.pixels.astype(np.float32).mean(axis=-1)
        pairs = find_pairs(image.labels)
        for i in rng.permutation(len(pairs))[: args.pairs]:
            pair = [image.labels == label for label in pairs[i]]
            joined = ObjectMask.from_plane(pair[0] | pair[1])
            clicks = [tuple(rng.choice(np.argwhere(each)).tolist()) for each in pair]
            r0, c0, r1, c1 = joined.box
            for name, pixels in zip(found, (None, gray[r0:r1, c0:c1]), strict=True):
                halves = split(joined, clicks[0], clicks[1], pixels)
                truth = [ObjectMask.from_plane(each) for each in pair]
                found[name] += [half.iou(mask) for half, mask in zip(halves, truth, strict=True)]
    for name, ious in found.items():
        low, middle = np.percentile(ious, [5, 50])
        print(f"{name}: {len(ious) // 2} pairs, IoU {np.mean(ious):.3f}, median {middle:.3f}, 5% {low:.3f}")


if __name__ == "__main__":
    main()

"""Measure a model on the images that training holds out: what everything is chosen on, instead of ``test``.

    python benchmarks/held_out.py --data DIR [--holdout 0.1] [any option of napari-sam evaluate]

The table of ``napari-sam evaluate`` for a part of the ``train`` split, by ``split_holdout``.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from pathlib import Path

from napari_sam.cli.labelled_files import read_labelled_images
from napari_sam.cli.main import main as run_cli
from napari_sam.training.dataset import split_holdout


def main() -> int:
    """Write an index of the held-out images and evaluate them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--holdout", type=float, default=0.1, help="fraction held out, as in training")
    args, options = parser.parse_known_args()
    _, held = split_holdout(read_labelled_images(args.data), args.holdout)
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index.csv"
        with index.open("w", newline="") as file:
            csv.writer(file).writerows(
                [("id", "kind", "split"), *((image.name, image.group, "held-out") for image in held)]
            )
        paths = ["--images", str(args.data / "images"), "--labels", str(args.data / "labels")]
        chosen = ["--index", str(index), "--split", "held-out", "--group", "kind"]
        return run_cli(["evaluate", *paths, *chosen, *options])


if __name__ == "__main__":
    sys.exit(main())

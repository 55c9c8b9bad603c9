"""One table of speeds, with ratios to the reference packages in the same run: ``make bench``.

    python benchmarks/bench.py [--quick] [--models conv_s vit_t vit_b] [--batches 1 16 64 256]

Encoders and the decoder per engine and precision, a cached click of ViT-B against ``SamPredictor`` on planes
of 1024 and 4096 pixels a side, and the import of the package beside an empty interpreter. Everything that
is compared takes turns; times are CPU-milliseconds, those of clicks milliseconds of the clock. ``--quick``
leaves ViT-B and large batches out.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import decode
import encode
import import_time
import large_images
import torch
from timing import describe_machine, print_table

from napari_sam.inference.device import choose_device

if TYPE_CHECKING:
    import argparse

HEAD = ["what", "with", "ms", "ratio", "rate", "matmul", "rms error", "peak MiB"]


def collect_clicks(options: argparse.Namespace) -> list[list[object]]:
    planes, places = large_images.make_planes((1024, 4096))
    synchronize = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    device = choose_device(options.device)
    found = large_images.compare_clicks(
        planes, places[0], device, repeats=options.rounds, synchronize=synchronize
    )
    rows: list[list[object]] = []
    for side, (theirs, ours) in found.items():
        for name, taken in (("SamPredictor", theirs), ("CachedPredictor", ours)):
            rows.append([f"click, vit_b, {side} px", name, taken, theirs / taken, "", "", "", ""])
    return rows


def main() -> None:
    parser = encode.make_parser(__doc__)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16, 64, 256])
    parser.add_argument("--quick", action="store_true", help="no ViT-B, small batches")
    options = parser.parse_args()
    if options.quick:
        options.models, options.batches = ["conv_s", "vit_t"], [1, 16]
    warnings.filterwarnings("ignore")  # of the reference packages
    print(describe_machine())
    rows: list[list[object]] = []
    for name, side, engine, taken, ratio, rate, *rest in encode.collect(options):
        rows.append([f"encode {name}, {side} px", engine, taken, ratio, f"{rate:.3g} GFLOP/s", *rest])
    for count, engine, taken, ratio, rate, peak in decode.collect(options):
        rows.append([f"decode, batch {count}", engine, taken, ratio, f"{rate:.3g} prompts/s", "", "", peak])
    if not options.quick:
        rows += collect_clicks(options)
    for name, taken in import_time.measure(9).items():
        rows.append(["start", name, taken, "", "", "", "", ""])
    print_table(HEAD, rows)
    heavy = import_time.find_heavy()
    print(f"import napari_sam loads {', '.join(heavy) or 'nothing heavy'}")


if __name__ == "__main__":
    main()

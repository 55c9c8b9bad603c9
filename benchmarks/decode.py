"""Time of the mask decoder per prompt at several batch sizes, against the reference decoder in the same run.

    python benchmarks/decode.py [--batches 1 4 16] [--rounds 5]

The same random weights on an embedding of 64 x 64 tokens, as of a frame of 1024 pixels; the two take turns.
Ours is timed with the work that all prompts share done before, as it is from the second click on; "first"
includes it.
"""

from __future__ import annotations

import argparse
import warnings
from typing import TYPE_CHECKING

import torch
from timing import describe_machine, measure_peak_memory, print_table, time_in_turns

from napari_sam.inference.device import choose_device
from napari_sam.modeling import SamConfig, TinyViTConfig, build_sam

if TYPE_CHECKING:
    from collections.abc import Callable

TOKENS, PIXELS = 64, 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")  # of the reference packages
    from mobilesam_lite.mobile_sam import sam_model_registry  # its decoder is the original one

    torch.manual_seed(0)
    device = choose_device(options.device)
    ours = build_sam(SamConfig(TinyViTConfig())).eval().to(device)
    reference = sam_model_registry["vit_t"]()
    reference.load_state_dict(ours.state_dict())
    reference = reference.eval().to(device)
    rows: list[list[object]] = []
    with torch.inference_mode():
        embedding = torch.randn(1, 256, TOKENS, TOKENS, device=device)
        shared = ours.share(embedding)
        for count in options.batches:
            points = torch.rand(count, 1, 2, device=device) * (PIXELS - 1)
            coords = torch.cat([points, torch.zeros_like(points)], dim=1)
            labels = torch.tensor([[1, -1]], device=device).expand(count, -1)

            def decode_reference(points: torch.Tensor = points, labels: torch.Tensor = labels) -> object:
                sparse, dense = reference.prompt_encoder((points, labels[:, :1]), None, None)
                return reference.mask_decoder(
                    embedding, reference.prompt_encoder.get_dense_pe(), sparse, dense, True
                )

            def decode(coords: torch.Tensor = coords, labels: torch.Tensor = labels) -> object:
                return ours.decode(embedding, coords, labels, shared=shared)

            def decode_first(coords: torch.Tensor = coords, labels: torch.Tensor = labels) -> object:
                return ours.decode(embedding, coords, labels, shared=ours.share(embedding))

            functions: dict[str, Callable[[], object]] = {"reference": decode_reference, "ours": decode}
            if count == 1:
                functions["ours, first"] = decode_first
            seconds = time_in_turns(functions, options.rounds)
            rows += [
                [
                    count,
                    name,
                    1000 * taken / count,
                    seconds["reference"] / taken,
                    count / taken,
                    measure_peak_memory(),
                ]
                for name, taken in seconds.items()
            ]
    print(describe_machine())
    print_table(["batch", "decoder", "CPU-ms / prompt", "ratio", "prompts / CPU-s", "peak MiB so far"], rows)


if __name__ == "__main__":
    main()

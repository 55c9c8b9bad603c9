"""Time of the mask decoder per prompt at several batch sizes, against the reference decoder in the same run.

    python benchmarks/decode.py [--batches 1 16 64 256] [--rounds 5]

The same random weights on an embedding of 64 x 64 tokens, as of a frame of 1024 pixels; all take turns. Ours
are timed with the work that all prompts share done before, as it is from the second click on; "first"
includes it. Ours are decoded as many at a time as ``choose_batch`` says, the reference's at most 64, as its
mask generator does. The peak of memory is that of a process that does nothing else.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from references import import_reference
from timing import describe_machine, measure_peak_alone, measure_peak_memory, print_table, time_in_turns

from napari_sam.inference.checkpoints import LoadedModel
from napari_sam.inference.device import choose_device
from napari_sam.inference.engines.choice import build_engine
from napari_sam.inference.engines.openvino_models import convert, has_openvino
from napari_sam.inference.shared_work import choose_batch
from napari_sam.modeling import SamConfig, TinyViTConfig, build_sam

TOKENS, PIXELS = 64, 1024
AT_ONCE = 64
"""Prompts that the reference decodes at once, at most."""
ENGINES = ("torch float32", "torch bfloat16", "openvino f32", "openvino bf16")
REFERENCE, FIRST = "reference", "torch float32, first"
HEAD = ["batch", "decoder", "CPU-ms / prompt", "ratio", "prompts / CPU-s", "peak MiB"]

Decode = Callable[[torch.Tensor], object]


def make_model(device: str) -> LoadedModel:
    torch.manual_seed(0)
    module = build_sam(SamConfig(TinyViTConfig())).eval()
    target = choose_device(device)
    return LoadedModel("vit_t", "0" * 64, module.config, target, module.to(target))


def make_reference(model: LoadedModel, embedding: torch.Tensor) -> Decode:
    # its decoder is the original one
    reference = import_reference("mobilesam_lite.mobile_sam").sam_model_registry["vit_t"]()
    reference.load_state_dict(model.module.state_dict())
    reference = reference.eval().to(model.device)

    def decode(points: torch.Tensor) -> object:
        found = None
        for part in points.split(AT_ONCE):
            labels = torch.ones(part.shape[:2], dtype=torch.int64, device=part.device)
            sparse, dense = reference.prompt_encoder((part, labels), None, None)
            pe = reference.prompt_encoder.get_dense_pe()
            found = reference.mask_decoder(embedding, pe, sparse, dense, True)
        return found

    return decode


def make_ours(model: LoadedModel, embedding: torch.Tensor, key: str, folder: Path) -> Decode:
    engine = build_engine(model, "torch float32", key.removesuffix(", first"), folder)
    kept = engine.share(embedding)
    at_once = choose_batch(model.device, TOKENS**2, AT_ONCE)

    def decode(points: torch.Tensor) -> object:
        found, shared = None, engine.share(embedding) if key == FIRST else kept
        for part in points.split(at_once):
            coords = torch.cat([part, torch.zeros_like(part)], dim=1)
            labels = torch.tensor([[1, -1]], device=part.device).repeat(len(part), 1)
            found = engine.decode(embedding, coords, labels, None, None, shared)
        return found

    return decode


def make(key: str, model: LoadedModel, folder: Path) -> Decode:
    embedding = torch.randn(1, 256, TOKENS, TOKENS, device=model.device)
    if key == REFERENCE:
        return make_reference(model, embedding)
    return make_ours(model, embedding, key, folder)


def make_points(count: int, device: torch.device) -> torch.Tensor:
    return torch.rand(count, 1, 2, device=device) * (PIXELS - 1)


def collect(options: argparse.Namespace) -> list[list[object]]:
    """One row for each batch size and engine, see ``HEAD``."""
    model = make_model(options.device)
    keys = [REFERENCE, *ENGINES[: 4 if has_openvino() and model.device.type == "cpu" else 2], FIRST]
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        if len(keys) > 4:
            convert(model, Path(folder))
        decoders: dict[str, Any] = {key: make(key, model, Path(folder)) for key in keys}
        for decode in decoders.values():
            decode(make_points(1, model.device))
        for count in options.batches:
            points = make_points(count, model.device)
            functions = {
                key: lambda decode=decode, points=points: decode(points)
                for key, decode in decoders.items()
                if key != FIRST or count == 1
            }
            rounds = max(1, options.rounds // count) if count > 1 else 2 * options.rounds
            seconds = time_in_turns(functions, rounds, warm=count <= AT_ONCE)
            for key, taken in seconds.items():
                ratio = seconds[REFERENCE] / taken
                peak = measure_peak_alone(__file__, key, count, options.device, folder)
                rows.append([count, key, 1000 * taken / count, ratio, count / taken, peak])
    return rows


def run_alone(key: str, count: str, device: str, folder: str) -> None:
    """Decode once and print the largest memory of this process."""
    model = make_model(device)
    with torch.inference_mode():
        make(key, model, Path(folder))(make_points(min(int(count), AT_ONCE), model.device))
    print(measure_peak_memory())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16, 64, 256])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--alone", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")  # of the reference packages
    if options.alone:
        run_alone(*options.alone)
        return
    rows = collect(options)
    print(describe_machine())
    print_table(HEAD, rows)


if __name__ == "__main__":
    main()

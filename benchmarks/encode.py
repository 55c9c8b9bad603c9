"""Time of the image encoders per engine and precision, against the reference packages in the same run.

    python benchmarks/encode.py [--models vit_b vit_t conv_s] [--engines torch openvino] [--rounds 3]

All have the same random weights where they have the same architecture, and take turns. ``matmul`` is the
part of the measured rate of large matrix products (of that precision) that is reached; ``ratio`` is how
many times faster than the reference in float32: ``segment-anything`` for the ViTs, ``mobilesam-lite`` for
TinyViT; for the bundled model's encoder it is the plain PyTorch module. OpenVINO converts first, which
takes minutes, into a temporary folder. The peak of memory is that of a process that does nothing else.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from references import import_reference
from timing import (
    describe_machine,
    measure_matmul,
    measure_peak_alone,
    measure_peak_memory,
    print_table,
    time_in_turns,
)
from torch.utils.flop_counter import FlopCounterMode

from napari_sam.inference.checkpoints import LoadedModel
from napari_sam.inference.device import choose_device
from napari_sam.inference.engines.choice import build_engine
from napari_sam.inference.engines.openvino_models import convert, has_openvino
from napari_sam.modeling import build_sam

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ENGINES = ("torch float32", "torch bfloat16", "openvino f32", "openvino bf16")
HEAD = ["model", "px", "engine", "CPU-ms", "ratio", "GFLOP/s", "matmul", "rms error", "peak MiB"]


def make_model(name: str, device: str) -> LoadedModel:
    torch.manual_seed(0)
    target = choose_device(device)
    module = build_sam(name).eval().to(target)
    return LoadedModel(name, "0" * 64, module.config, target, module)


def make_reference(name: str, model: LoadedModel) -> tuple[str, Callable[[Any], object]]:
    if not name.startswith("vit_"):
        return "plain module", model.module.encode
    package = "mobilesam-lite" if name == "vit_t" else "segment-anything"
    registry = import_reference(
        "mobilesam_lite.mobile_sam" if name == "vit_t" else "segment_anything"
    ).sam_model_registry
    reference = registry[name]()
    reference.load_state_dict(model.module.state_dict())
    return package, reference.eval().to(model.device).image_encoder


def make_function(key: str, name: str, model: LoadedModel, folder: Path) -> Callable[[Any], object]:
    """What encodes frames: an engine, or the reference."""
    if key in ENGINES:
        return build_engine(model, key, "torch float32", folder).encode
    return make_reference(name, model)[1]


def make_frames(model: LoadedModel, size: int) -> Any:
    side = size if model.config.any_frame_size else model.config.image_size
    return torch.randn(1, 3, side, side, device=model.device)


def measure(
    name: str, engines: Iterable[str], options: argparse.Namespace, rates: dict[str, float], folder: Path
) -> list[list[object]]:
    model = make_model(name, options.device)
    engines = [e for e in engines if e.startswith("torch") or (has_openvino() and model.device.type == "cpu")]
    if any(engine.startswith("openvino") for engine in engines):
        convert(model, folder)
    frames = make_frames(model, options.size)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        expected = model.module.encode(frames).embedding
    work = counter.get_total_flops() / 1e9
    package, reference = make_reference(name, model)
    run = {package: reference} | {key: make_function(key, name, model, folder) for key in engines}
    with torch.inference_mode():
        functions = {key: lambda function=function: function(frames) for key, function in run.items()}
        seconds = time_in_turns(functions, options.rounds)
    rows: list[list[object]] = []
    for key, taken in seconds.items():
        error: object = ""
        if key in engines:
            found: Any = run[key](frames)
            error = float((found.embedding - expected).norm() / expected.norm())
        rate = work / taken
        share = rate / rates["bfloat16" if key.endswith("16") else "float32"]
        peak = measure_peak_alone(__file__, name, key, options.size, options.device, folder)
        rows.append(
            [name, frames.shape[-1], key, 1000 * taken, seconds[package] / taken, rate, share, error, peak]
        )
    return rows


def collect(options: argparse.Namespace) -> list[list[object]]:
    """One row for each model and engine, see ``HEAD``."""
    device = choose_device(options.device).type
    rates = {name: measure_matmul(getattr(torch, name), device) for name in ("float32", "bfloat16")}
    print(", ".join(f"matrix products in {p}: {rate:.0f} GFLOP/s" for p, rate in rates.items()))
    engines = [engine for engine in ENGINES if engine.split()[0] in options.engines]
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            rows += measure(name, engines, options, rates, Path(folder))
    return rows


def run_alone(name: str, key: str, size: str, device: str, folder: str) -> None:
    """Encode one frame and print the largest memory of this process."""
    model = make_model(name, device)
    with torch.inference_mode():
        make_function(key, name, model, Path(folder))(make_frames(model, int(size)))
    print(measure_peak_memory())


def make_parser(text: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["conv_s", "vit_t", "vit_b"])
    parser.add_argument("--engines", nargs="+", default=["torch", "openvino"], choices=["torch", "openvino"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=256, help="edge of the frame where it is free")
    parser.add_argument("--device", default="auto")
    return parser


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--alone", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")  # of the reference packages
    if options.alone:
        run_alone(*options.alone)
        return
    print(describe_machine())
    print_table(HEAD, collect(options))


if __name__ == "__main__":
    main()

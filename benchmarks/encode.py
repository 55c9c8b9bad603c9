"""Time of the image encoders per engine and precision, against the reference packages in the same run.

    python benchmarks/encode.py [--models vit_b vit_t conv_s] [--engines torch openvino] [--rounds 3]

All have the same random weights where they have the same architecture, and take turns. ``matmul`` is the
part of the measured rate of large matrix products (of that precision) that is reached; ``ratio`` is how
many times faster than the reference in float32: ``segment-anything`` for the ViTs, ``mobilesam-lite`` for
TinyViT; for the bundled model's encoder it is the plain PyTorch module. OpenVINO converts first, which
takes minutes, into a temporary folder.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from timing import describe_machine, measure_matmul, measure_peak_memory, print_table, time_in_turns
from torch.utils.flop_counter import FlopCounterMode

from napari_sam.inference.checkpoints import LoadedModel
from napari_sam.inference.device import choose_device
from napari_sam.inference.engines import TorchEngine
from napari_sam.inference.engines.openvino_engine import OpenVinoEngine
from napari_sam.inference.engines.openvino_models import convert, has_openvino
from napari_sam.modeling import build_sam

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from napari_sam.inference.engines import Engine

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
OPENVINO = {"float32": "f32", "bfloat16": "bf16"}


def make_reference(name: str, model: LoadedModel) -> tuple[str, Callable[[Tensor], object]]:
    if name.startswith("vit_") and name != "vit_t":
        from segment_anything import sam_model_registry
    elif name == "vit_t":
        from mobilesam_lite.mobile_sam import sam_model_registry
    else:
        return "plain module", model.module.encode
    reference = sam_model_registry[name]()
    reference.load_state_dict(model.module.state_dict())
    package = "mobilesam-lite" if name == "vit_t" else "segment-anything"
    return package, reference.eval().to(model.device).image_encoder


def measure(
    name: str, options: argparse.Namespace, rates: dict[str, float], folder: Path
) -> list[list[object]]:
    torch.manual_seed(0)
    device = choose_device(options.device)
    module = build_sam(name).eval().to(device)
    model = LoadedModel(name, "0" * 64, module.config, device, module)
    side = options.size if module.config.any_frame_size else module.config.image_size
    frames = torch.randn(1, 3, side, side, device=device)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        module.encode(frames)
    work = counter.get_total_flops() / 1e9
    engines: dict[str, Engine] = {}
    for precision in options.precisions:
        if "torch" in options.engines:
            engines[f"torch {precision}"] = TorchEngine(module, PRECISIONS[precision])
        if (
            "openvino" in options.engines
            and has_openvino()
            and device.type == "cpu"
            and precision in OPENVINO
        ):
            place = convert(model, folder)
            engines[f"openvino {precision}"] = OpenVinoEngine(model, place, OPENVINO[precision], None)
    package, reference = make_reference(name, model)
    with torch.inference_mode():
        functions: dict[str, Callable[[], object]] = {package: lambda: reference(frames)}
        functions |= {key: lambda engine=engine: engine.encode(frames) for key, engine in engines.items()}
        seconds = time_in_turns(functions, options.rounds)
        expected = module.encode(frames).embedding
        errors = {key: engine.encode(frames).embedding - expected for key, engine in engines.items()}
    rows: list[list[object]] = []
    for key, taken in seconds.items():
        precision = key.split()[-1] if key in engines else "float32"
        error = float(errors[key].norm() / expected.norm()) if key in errors else ""
        rate = work / taken
        share = rate / rates[precision]
        rows.append(
            [
                name,
                side,
                key,
                1000 * taken,
                seconds[package] / taken,
                rate,
                share,
                error,
                measure_peak_memory(),
            ]
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["conv_s", "vit_t", "vit_b"])
    parser.add_argument("--engines", nargs="+", default=["torch"], choices=["torch", "openvino"])
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"], choices=list(PRECISIONS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=256, help="edge of the frame where it is free")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")  # of the reference packages
    device = choose_device(options.device).type
    print(describe_machine())
    rates = {p: measure_matmul(PRECISIONS[p], device) for p in {"float32", *options.precisions}}
    print(", ".join(f"matrix products in {p}: {rate:.0f} GFLOP/s" for p, rate in rates.items()))
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            rows += measure(name, options, rates, Path(folder))
    head = ["model", "px", "engine", "CPU-ms", "ratio", "GFLOP/s", "matmul", "rms error", "peak MiB so far"]
    print_table(head, rows)


if __name__ == "__main__":
    main()

"""How far the masks of other engines and precisions are from those of PyTorch in float32.

    python benchmarks/engine_accuracy.py [--model nuclei] [--engines bfloat16 openvino] [--keep]

Clicks on a grid over the sample images; the IoU of each best mask with the one of PyTorch in float32 must
be 0.99 or more at the median and 0.97 at the 5th percentile. With ``--keep`` the converted model stays
where the program looks for it, with the verdict beside it: an engine that is accurate and faster is then
used from the next start on.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from timing import describe_machine, print_table, time_in_turns

from napari_sam import sample_data
from napari_sam.inference.checkpoints import load_model
from napari_sam.inference.engines import TorchEngine
from napari_sam.inference.engines.choice import default_engine_dir, passes_guard, write_verdict
from napari_sam.inference.engines.openvino_engine import OpenVinoEngine, convert
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.transforms import measure_normalization
from napari_sam.types import ObjectMask, Prompts

if TYPE_CHECKING:
    from napari_sam.inference.checkpoints import LoadedModel
    from napari_sam.inference.engines import Engine

LOADERS = ("load_nuclei_2d", "load_stained_tissue", "load_immunohistochemistry", "load_cell", "load_coins")


def decode_grid(model: LoadedModel, engine: Engine, image: np.ndarray, step: int) -> list[ObjectMask]:
    predictor = Predictor(model, engine)
    height, width = image.shape[:2]
    frame = predictor.make_frame((0, 0, height, width))
    embedding = predictor.encode(image, measure_normalization(image), frame, (height, width))
    places = [(r, c) for r in range(step // 2, height, step) for c in range(step // 2, width, step)]
    prompts = [Prompts(points=np.array([place], np.float32)) for place in places]
    return predictor.decode_many(embedding, prompts)


def overlap(one: ObjectMask, other: ObjectMask, shape: tuple[int, int]) -> float:
    a, b = one.paste(shape), other.paste(shape)
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nuclei")
    parser.add_argument(
        "--engines", nargs="+", default=["bfloat16"], choices=["bfloat16", "float16", "openvino"]
    )
    parser.add_argument("--step", type=int, default=48, help="pixels between clicks")
    parser.add_argument("--keep", action="store_true", help="keep the converted model and the verdict")
    options = parser.parse_args()
    model = load_model(options.model, "cpu")
    images: list[Any] = [getattr(sample_data, name)()[0][0] for name in LOADERS]
    plain = TorchEngine(model.module, torch.float32)
    expected = [decode_grid(model, plain, image, options.step) for image in images]
    side = 256 if model.config.any_frame_size else model.config.image_size
    frames = torch.randn(1, 3, side, side)
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.engines:
            place = None
            if name == "openvino":
                place = convert(model, default_engine_dir() if options.keep else Path(temporary))
                engine: Engine = OpenVinoEngine(model, place)
            else:
                engine = TorchEngine(model.module, getattr(torch, name))
            overlaps = [
                overlap(a, b, image.shape[:2])
                for image, truth in zip(images, expected, strict=True)
                for a, b in zip(truth, decode_grid(model, engine, image, options.step), strict=True)
            ]
            functions = {"plain": lambda: plain.encode(frames), "other": lambda e=engine: e.encode(frames)}
            taken = time_in_turns(functions, 5)
            if place is not None and options.keep:
                write_verdict(place, overlaps, taken["other"], taken["plain"])
            low, middle = np.percentile(overlaps, (5, 50))
            verdict = "passes" if passes_guard(overlaps) else "fails"
            rows.append([engine.name, len(overlaps), middle, low, verdict, taken["plain"] / taken["other"]])
            del engine
    print(describe_machine())
    print_table(["engine", "masks", "median IoU", "5th percentile", "guard", "times faster"], rows)


if __name__ == "__main__":
    main()

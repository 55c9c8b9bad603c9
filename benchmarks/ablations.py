"""What each part of the training recipe brings: short runs, each without one part, and one with more of it.

    python benchmarks/ablations.py --data DIR --out RUNS [--only NAME ...] [--scale 1] [--every 3]

Two tables. *Encoder and instance decoder* go on from the bundled model by the dense loss alone, and are
measured by automatic segmentation: what a part brings at the end of a training. *Prompt encoder and mask
decoder* are trained from random weights on the bundled model's frozen encoder, and measured by clicks and
boxes. All runs of a table have the same seed and number of steps, unless their length is what is compared;
they are measured on images that ``split_holdout`` takes out of the ``train`` split. Finished runs that lie in
RUNS are not done again, so the tables can be made in several sittings.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from robustness import finish
from timing import print_table

import napari_sam as ns
from napari_sam.cli.labelled_files import read_labelled_images
from napari_sam.evaluation.clicks import evaluate_clicks, pool_clicks
from napari_sam.evaluation.matching import evaluate_labels, pool_scores
from napari_sam.inference.checkpoints import write_checkpoint
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.inference.object_scale import WANTED
from napari_sam.inference.segment_image import iter_segment_image
from napari_sam.modeling import ConvConfig, build_sam, get_config
from napari_sam.training.config import CONFIGS, Phase, TrainConfig
from napari_sam.training.dataset import NORMALIZED, LabelledImage, split_holdout
from napari_sam.training.loop import train

if TYPE_CHECKING:
    from collections.abc import Mapping

DENSE = Phase("dense", 120, dense=True, prompts=False, encoder_lr=1e-3)
PROMPTS = Phase("prompts", 150, dense=False, prompts=True, decoder_lr=1e-3)
NATIVE = "no rescaling, and none in use"
"""The run that is measured without enlargement, as it was trained."""


def list_dense_runs() -> dict[str, TrainConfig]:
    """The dense part of the recipe in short, then without each of its parts."""
    base = replace(CONFIGS["nuclei"], phases=(DENSE,), crop=192, warmup=20, ema=0.98)
    model = get_config("conv_s")
    deeper = replace(model, encoder=ConvConfig(blocks=(0, 2, 3, 3, 4)))
    return {
        "as it is": base,
        "three more blocks in the encoder": replace(base, architecture=deeper),
        NATIVE: replace(base, rescale=False),
        "intensities not varied": replace(base, recolour=False),
        "no synthetic images": replace(base, synthetic=0.0),
        "nothing crowded": replace(base, crowded=0.0),
        "weights not averaged": replace(base, ema=0.0),
        "half as long": replace(base, phases=(replace(DENSE, steps=DENSE.steps // 2),)),
    }


def list_prompt_runs() -> dict[str, TrainConfig]:
    """The same for what answers prompts."""
    base = replace(CONFIGS["nuclei"], phases=(PROMPTS,), crop=192, warmup=20, ema=0.98)
    model = get_config("conv_s")
    plain = replace(model, detail_channels=0, detail_refinement=False)
    return {
        "prompts as they are": base,
        "one prompt, never a correction": replace(base, rounds=1),
        "instances not proposed": replace(base, proposed=0.0),
        "without refinement": replace(base, architecture=replace(model, detail_refinement=False)),
        "without detail and prompt maps": replace(base, architecture=plain),
        "prompts without synthetic images": replace(base, synthetic=0.0),
    }


def measure(path: Path, images: list[LabelledImage], enlarge: bool, prompts: bool) -> dict[str, float]:
    """Automatic segmentation, or clicks and boxes, on the held-out images."""
    model = ns.load_model(path, "cpu")
    settings = EncodeSettings(limits=NORMALIZED, object_size=None if enlarge else WANTED)
    clicks, scores = [], []
    for image in images:
        pixels = image.pixels.astype(np.float32)
        predictor = ns.CachedPredictor(model, settings=settings)
        if prompts:
            job = evaluate_clicks(pixels, image.labels, predictor, counts=(1, 4), max_clicks=4)
            clicks.append(finish(job))
        else:
            scores.append(evaluate_labels(image.labels, finish(iter_segment_image(pixels, predictor))))
    if prompts:
        pooled = pool_clicks(clicks)
        found = {"1 click": pooled.miou[1], "4 clicks": pooled.miou[4], "box": pooled.box_miou}
        return found | {"IoU error": pooled.iou_mae}
    matched = pool_scores(scores)
    return {"AP@0.5": matched.ap[0.5], "AP@0.75": matched.ap[0.75], "mSA": matched.msa}


def keep_encoder(config: TrainConfig, path: Path) -> Path:
    """Write a start for prompt runs: the bundled encoder and instance decoder, the rest at random."""
    torch.manual_seed(0)
    module = build_sam(config.architecture)
    known = ns.load_model("nuclei", "cpu").module.state_dict()
    kept = {k: v for k, v in known.items() if k.startswith(("image_encoder.", "instance_decoder."))}
    module.load_state_dict(kept, strict=False)
    write_checkpoint(module, path, name="encoder", record={})
    return path


def run(name: str, config: TrainConfig, options: argparse.Namespace) -> Mapping[str, float]:
    """Train and measure, or read what was found before."""
    folder = options.out / name.replace(" ", "-").replace(",", "")
    found = folder / "scores.json"
    if not found.exists():
        folder.mkdir(parents=True, exist_ok=True)
        prompts = config.phases[0].prompts
        init: str | Path = keep_encoder(config, folder / "start.safetensors") if prompts else "nuclei"
        resume = (folder / "last.pt").exists()
        path = train(options.data, config, folder, resume=resume, scale=options.scale, init=init)
        _, held = split_holdout(read_labelled_images(options.data), config.holdout)
        scores = measure(path, held[:: options.every], name != NATIVE, prompts)
        found.write_text(json.dumps(scores))
    read: dict[str, float] = json.loads(found.read_text())
    return read


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", help="names of runs")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the steps")
    parser.add_argument("--every", type=int, default=1, help="measure every n-th held-out image")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for runs in (list_dense_runs(), list_prompt_runs()):
        rows: list[list[object]] = []
        head: list[str] = []
        for name, config in runs.items():
            if options.only is None or name in options.only:
                scores = run(name, config, options)
                head = ["run", *scores]
                rows.append([name, *(f"{value:.3f}" for value in scores.values())])
        print_table(head, rows)
        print()


if __name__ == "__main__":
    main()

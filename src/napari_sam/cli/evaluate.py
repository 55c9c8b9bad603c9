"""``napari-sam evaluate``: how good and how fast a model is on labelled images."""

from __future__ import annotations

import json
import math
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam import __version__
from napari_sam.cli.console import complain, run_job, say
from napari_sam.cli.file_run import FileRun
from napari_sam.cli.labelled_files import pair_files, read_index, read_pair, warn_of_masks
from napari_sam.cli.models import load_with_bar
from napari_sam.cli.options import (
    add_image_options,
    add_method_option,
    add_model_option,
    add_seed_option,
)
from napari_sam.errors import ImageError
from napari_sam.inference.whole_files import replace_file

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator

    import numpy as np
    from numpy.typing import NDArray

    from napari_sam.evaluation import Estimate, ImageScores
    from napari_sam.inference.checkpoints import LoadedModel
    from napari_sam.inference.encode_settings import EncodeSettings
    from napari_sam.types import Progress

__all__ = ["Sample", "add_command", "pair_samples", "run_evaluate"]

_EPILOG = """\
examples:
  napari-sam evaluate --images images --labels labels
  napari-sam evaluate --images images --labels labels --automatic --method grid --limit 10
  napari-sam evaluate --images data/images --labels data/labels \\
      --index data/index.csv --split test --group kind --json scores.json

Images and labels belong together by file name (without suffix). Clicks are simulated: first in the middle
of each object, then in the middle of the largest error. Numbers in brackets are 95% intervals over images.
A file that cannot be measured is reported and the others go on; the exit code is then 2.
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image: its files, and the group under which it is reported."""

    name: str
    image: Path
    labels: Path
    group: str


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command to ``commands``, what ``add_subparsers`` gave."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "evaluate",
        help="measure a model on labelled images",
        description="Measure clicks, boxes and automatic segmentation against label images.",
        epilog=_EPILOG,
    )
    parser.add_argument("--images", required=True, type=Path, metavar="DIR", help="folder of images")
    parser.add_argument("--labels", required=True, type=Path, metavar="DIR", help="folder of label images")
    add_model_option(parser)
    add_method_option(parser)
    add_image_options(parser)
    parser.add_argument("--prompts", action="store_true", help="clicks and boxes (default: both parts)")
    parser.add_argument(
        "--automatic", action="store_true", help="automatic segmentation (default: both parts)"
    )
    parser.add_argument("--index", type=Path, metavar="CSV", help="table with a column id (the file stems)")
    parser.add_argument("--split", help="only rows of the index whose column split is this")
    parser.add_argument("--group", metavar="COLUMN", help="report by this column of the index")
    parser.add_argument("--limit", type=int, metavar="N", help="only N images, evenly spread over the list")
    add_seed_option(parser, "of the intervals' random numbers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers here")
    parser.set_defaults(run=run_evaluate)
    return parser


def run_evaluate(options: argparse.Namespace) -> int:
    """Measure every image and print a table by group; 2 when one of them could not be, else 0."""
    samples = pair_samples(options)
    both = options.prompts == options.automatic

    from napari_sam.evaluation import format_table, group_scores, summarize
    from napari_sam.inference.encode_settings import EncodeSettings
    from napari_sam.inference.label_image import is_mask

    settings = EncodeSettings(object_size=options.object_size)
    model = load_with_bar(options.model, options.device)
    scores: list[ImageScores] = []
    masks: list[str] = []
    start = time.perf_counter()
    with FileRun(len(samples), verbose=options.verbose) as run:
        for sample in samples:
            with run.file(sample.image):
                image, true = read_pair(sample.image, sample.labels, options.channels)
                masks += [sample.name] if is_mask(true) else []
                job = _evaluate_sample(
                    sample,
                    image,
                    true,
                    model,
                    settings,
                    method=options.method if both or options.automatic else None,
                    prompts=both or options.prompts,
                )
                scores.append(run_job(job, run.bar, sample.name))
    warn_of_masks(masks)
    code = run.conclude()
    if not scores:
        return code
    groups = group_scores(scores)
    summaries = {name: summarize(members, seed=options.seed) for name, members in groups.items()}
    say(f"model {model.name} ({model.sha256[:12]}) on {model.device}, method {options.method}")
    say(format_table(summaries))
    if options.json:
        record = {
            "version": __version__,
            "model": model.name,
            "sha256": model.sha256,
            "device": str(model.device),
            "platform": platform.platform(),
            "method": options.method,
            "object_size": options.object_size,
            "channels": options.channels,
            "split": options.split,
            "seed": options.seed,
            "seconds": round(time.perf_counter() - start, 1),
            "groups": {name: _to_json(summary) for name, summary in summaries.items()},
            "images": [_image_to_json(score) for score in scores],
        }
        text = json.dumps(record, indent=1, allow_nan=False)
        replace_file(options.json, lambda path: path.write_text(text + "\n"))
    return code


def pair_samples(options: argparse.Namespace) -> list[Sample]:
    """Find the labelled images that the options ask for.

    Raises
    ------
    ImageError
        When there is none, or the index has no such column, or one of its images is missing.
    """
    pairs, alone = pair_files(options.images, options.labels)
    if options.index:
        groups = _read_groups(options.index, options.split, options.group)
        missing = [name for name in groups if name not in pairs]
        if missing:
            raise ImageError(
                f"Expected all images of {options.index} in {options.images} and {options.labels}, got no "
                f"{missing[0]}."
            )
    elif options.split or options.group:
        raise ImageError("Expected --index with --split or --group, got none; name the table.")
    else:
        groups = dict.fromkeys(pairs, "all")
        if alone and groups:
            complain(f"warning: {alone} files have no partner of the same name and are left out")
    if not groups:
        raise ImageError(
            f"Expected files of the same names in {options.images} and {options.labels}, got no pair."
        )
    samples = [Sample(name, *pairs[name], group) for name, group in groups.items()]
    if options.limit is not None:
        if options.limit < 1:
            raise ImageError(f"Expected --limit of at least 1, got {options.limit}.")
        count = min(options.limit, len(samples))
        samples = [samples[i * len(samples) // count] for i in range(count)]
    return samples


def _read_groups(path: Path, split: str | None, group: str | None) -> dict[str, str]:
    """Name -> group of the rows of a split."""
    columns, rows = read_index(path)
    for column in filter(None, ("split" if split else None, group)):
        if column.lower() not in columns:
            raise ImageError(f"Expected a column {column} in {path}, got {', '.join(columns)}.")
    chosen = {name: row for name, row in rows.items() if not split or row["split"] == split}
    if not chosen:
        raise ImageError(f"Expected rows{f' of split {split}' if split else ''} in {path}, got none.")
    return {name: row[group.lower()] if group else "all" for name, row in chosen.items()}


def _evaluate_sample(
    sample: Sample,
    image: NDArray[Any],
    true: NDArray[np.integer[Any]],
    model: LoadedModel,
    settings: EncodeSettings,
    *,
    method: str | None,
    prompts: bool,
) -> Generator[Progress, None, ImageScores]:
    from napari_sam.evaluation import ImageScores, evaluate_clicks, evaluate_labels, time_click
    from napari_sam.evaluation.simulated_user import first_click, read_objects
    from napari_sam.inference.cached_predictor import CachedPredictor
    from napari_sam.inference.segment_image import iter_segment_image
    from napari_sam.types import Prompts

    clicks = labels = times = None
    automatic_seconds = float("nan")
    objects = read_objects(true)  # also says what is wrong with labels before anything is measured
    if prompts:
        predictor = CachedPredictor(model, settings=settings)
        if objects:
            click: Any = [first_click(max(objects, key=lambda obj: obj.area))]
            times = time_click(predictor, image, Prompts(points=click))
        clicks = yield from evaluate_clicks(image, true, predictor)
    if method is not None:
        predictor = CachedPredictor(model, settings=settings)  # encoding is part of it
        start = time.perf_counter()
        predicted = yield from iter_segment_image(image, predictor, method)
        automatic_seconds = time.perf_counter() - start
        labels = evaluate_labels(true, predicted)
    return ImageScores(sample.name, sample.group, clicks, labels, times, automatic_seconds)


def _to_json(summary: dict[str, Estimate]) -> dict[str, dict[str, float | None]]:
    return {
        name: {key: None if math.isnan(value) else value for key, value in asdict(estimate).items()}
        for name, estimate in summary.items()
    }


def _image_to_json(score: ImageScores) -> dict[str, Any]:
    """One image's own numbers, so that two models can be compared image by image."""
    from napari_sam.evaluation import summarize

    values = {name: estimate.value for name, estimate in summarize([score]).items()}
    known = {name: value for name, value in values.items() if not math.isnan(value)}
    return {"name": score.name, "group": score.group, **known}

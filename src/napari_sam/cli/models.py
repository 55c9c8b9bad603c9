"""``napari-sam models``: which models there are, getting them onto this computer, and what runs them best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_sam.cli.console import complain, make_bar, run_job, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator, Iterable, Sequence

    from napari_sam.inference.checkpoints import LoadedModel
    from napari_sam.inference.registry import ModelCard
    from napari_sam.types import Progress

__all__ = ["add_command", "fetch_with_bar", "load_with_bar", "run_models"]

_EPILOG = """\
examples:
  napari-sam models
  napari-sam models download vit_b_lm vit_t
  napari-sam models tune nuclei
  napari-sam models --dir
  napari-sam segment nuclei.tif --out labels --model vit_b_lm

A path to a checkpoint file works wherever a model's name does. Downloads go to the folder that --dir prints,
which NAPARI_SAM_MODEL_DIR changes; a file that is put there by hand, under any name, is recognised.

`tune` tries what can run a model on this computer on the sample images, and notes the fastest whose masks are
as good as those of PyTorch in float32; it is used from then on. A minute for the bundled model, several for
large ones. With OpenVINO (pip install napari-sam-workbench[openvino]) there is more to choose from.
"""


def add_command(commands: Any) -> argparse.ArgumentParser:
    """Add the command to ``commands``, what ``add_subparsers`` gave."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "models",
        help="list and download models",
        description="List models, download them, or find what runs them fastest.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "action", nargs="?", default="list", choices=["list", "download", "check", "tune"],
        help="what to do (default: list); check compares the files that are here with what they should hold, "
        "tune finds the fastest engine",
    )  # fmt: skip
    parser.add_argument("names", nargs="*", metavar="NAME", help="models to download, check or tune")
    parser.add_argument("--download", nargs="+", metavar="NAME", help="the same as: download NAME ...")
    parser.add_argument("--device", default="auto", help="what to tune for (default: auto)")
    parser.add_argument("--dir", action="store_true", help="print the folder of downloaded models")
    parser.set_defaults(run=run_models)
    return parser


def run_models(options: argparse.Namespace) -> int:
    """Print a table of the registry, or do what was asked; 2 when a file is not what it should be."""
    from napari_sam.inference.registry import list_models, require_card
    from napari_sam.inference.weight_files import WeightFolder

    if options.dir:
        say(str(WeightFolder().path))
        return 0
    names = [*options.names, *(options.download or [])]
    if options.action == "tune":
        return _tune(names, options.device)
    cards = [require_card(name) for name in names]
    if options.action == "download" or options.download:
        if not cards:
            complain("error: no model named; `napari-sam models` lists them")
            return 2
        for card in cards:
            paths = fetch_with_bar(card)
            say(f"{card.name}: {', '.join(map(str, paths)) or 'comes with the package'}")
        return 0
    folder = WeightFolder()
    if options.action == "check":
        return _check(cards or [card for card in list_models() if not card.bundled], folder)
    _run_with_bar(folder.iter_scan())
    rows = [("name", "here", "size", "licence", "title", "description" if options.verbose else "")]
    for card in cards or list_models():
        here = "bundled" if card.bundled else "yes" if folder.has(card) else "no"
        size = f"{card.megabytes} MB" if card.megabytes else ""
        text = card.description if options.verbose else ""
        rows.append((card.name, here, size, card.license, card.title, text))
    _say_table(rows)
    return 0


def load_with_bar(name: str, device: str) -> LoadedModel:
    """Load a model by name or path, downloading it first, with a progress bar, where it has to be."""
    from napari_sam.inference.checkpoints import load_model
    from napari_sam.inference.registry import find_card

    card = find_card(name)
    if card is not None and not card.bundled:
        fetch_with_bar(card)
    return load_model(name, device=device)


def fetch_with_bar(card: ModelCard) -> tuple[Any, ...]:
    """Download what is not here of a model, with a progress bar; where its files are."""
    from napari_sam.inference.fetch import iter_fetch

    paths: tuple[Any, ...] = _run_with_bar(iter_fetch(card))
    return paths


def _run_with_bar(job: Generator[Progress, None, Any]) -> Any:
    """Run a job that counts megabytes."""
    bar = None
    try:
        while True:
            step = next(job)
            if bar is None:
                bar = make_bar(step.total, "MB")
            bar.total, bar.n = step.total, step.done
            bar.set_description(step.description.split(",")[0])
    except StopIteration as stop:
        return stop.value
    finally:
        job.close()
        if bar is not None:
            bar.close()


def _tune(names: Sequence[str], device: str) -> int:
    """Find the fastest engine of each model, and print what was tried."""
    from napari_sam.inference.engines.tuning import iter_tune

    if not names:
        complain("error: no model named; `napari-sam models` lists them")
        return 2
    for name in names:
        model = load_with_bar(name, device)
        with make_bar(0, "step") as bar:
            verdict = run_job(iter_tune(model), bar, name)
        rows = [("part", "engine", "ms", "faster", "IoU", "")]
        for trial in verdict.trials:
            chosen = "chosen" if trial.engine == getattr(verdict, trial.part) else ""
            rows.append(
                (
                    trial.part,
                    trial.engine,
                    f"{1000 * trial.seconds:.3g}",
                    f"{trial.ratio:.2f}x",
                    f"{trial.median:.3f}, {trial.low:.3f}",
                    chosen if trial.passes else "not accurate enough",
                )
            )
        say(f"{model.name} on {model.device}: milliseconds a frame and a click; IoU: median, 5th percentile")
        _say_table(rows)
    return 0


def _say_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _check(cards: Iterable[ModelCard], folder: Any) -> int:
    """Hash every file of these models that was found before, and say what it holds."""
    before = {file.name: folder.find(file) for card in cards for file in card.files}
    for card in cards:
        for file in card.files:
            folder.forget(file)
    _run_with_bar(folder.iter_scan())
    damaged = 0
    for card in cards:
        for file in card.files:
            path, now = before[file.name], folder.find(file)
            if now is not None:
                say(f"{card.name}: {now} is whole")
            elif path is not None or (folder.path / file.name).is_file():
                damaged += 1
                complain(f"error: {path or folder.path / file.name} is not what it should be; delete it")
    return 2 if damaged else 0

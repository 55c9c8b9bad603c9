"""What a batch has to do: which images there are, what is done already, and what to call the rest."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from xxhash import xxh3_128

from napari_sam.errors import BatchError, CheckpointError, MissingWeightsError
from napari_sam.inference.registry import describe_choice, find_card
from napari_sam.inference.weight_files import WeightFolder
from napari_sam.stacks.image_io import describe_unreadable, list_images, name_image, strip_common
from napari_sam.stacks.manifest import MANIFEST_NAME, Manifest, UnitEntry, read_manifest
from napari_sam.stacks.output_folder import UNFINISHED
from napari_sam.stacks.outputs import FORMATS, list_output_names
from napari_sam.stacks.work_units import BatchJob, Unit, UnitResult, same_path

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

__all__ = ["BatchPlan", "PlannedUnit", "digest_model", "keep_formats", "make_plan", "name_units"]

_HOW_TO_OVERWRITE: Final = "'Overwrite other results' in the panel, --overwrite on the command line"


@dataclass(frozen=True, slots=True)
class PlannedUnit:
    """A unit, and whether there is anything to do.

    Attributes
    ----------
    unit : Unit
    to_do : bool
    why : str
        "new", "done before", "failed before: ...", "the image was changed" and the like.
    entry : UnitEntry or None
        What the manifest says of it.
    """

    unit: Unit
    to_do: bool
    why: str
    entry: UnitEntry | None = None


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """All units of a batch.

    Attributes
    ----------
    job : BatchJob
    job_id : str
    model_digest : str
    units : tuple of PlannedUnit
        In the order of the inputs.
    manifest : Manifest
        As it was read.
    """

    job: BatchJob
    job_id: str
    model_digest: str
    units: tuple[PlannedUnit, ...]
    manifest: Manifest = field(repr=False)

    @property
    def to_do(self) -> tuple[PlannedUnit, ...]:
        """Those that are to be done."""
        return tuple(planned for planned in self.units if planned.to_do)

    @property
    def failed_before(self) -> tuple[PlannedUnit, ...]:
        """Those that failed in an earlier run and are left as they are."""
        return tuple(
            p for p in self.units if not p.to_do and p.entry is not None and p.entry.status == "failed"
        )


def make_plan(
    job: BatchJob,
    inputs: Iterable[str | os.PathLike[str]],
    folder: Path,
    *,
    retry_failed: bool = False,
    overwrite: bool = False,
) -> BatchPlan:
    """Compare the inputs with what the manifest in the output folder says.

    Parameters
    ----------
    job : BatchJob
    inputs : iterable of paths
        As ``list_images`` takes them. What batches have written to the output folder is passed over.
    folder : Path
        The output folder; it need not exist.
    retry_failed : bool
        Whether images that failed before are tried again.
    overwrite : bool
        Whether results of other settings, and files that are of no batch, may be replaced.

    Raises
    ------
    BatchError
        When there is no image, or what is there may not be replaced.
    CheckpointError
        When there is no such model, or not on this computer.
    ManifestError
        When the manifest cannot be read.
    """
    _check_formats(job.formats)
    inputs = list(inputs)
    manifest = read_manifest(folder / MANIFEST_NAME)
    written = _list_written(manifest, folder)
    sources = [os.path.abspath(path) for path in list_images(inputs) if not _is_output(path, folder, written)]
    if not sources:
        why = describe_unreadable(inputs) or "name files, or folders or patterns that hold images"
        raise BatchError(f"Expected images, got none; {why}.")
    digest = digest_model(job.model)
    job_id = job.identify(digest)
    units = name_units(sources, manifest.stems)
    planned = tuple(_judge(unit, job, job_id, manifest, folder, retry_failed) for unit in units)
    if not overwrite:
        _refuse_other_settings(planned, job, job_id, manifest, folder)
        _refuse_foreign_files(planned, job, manifest, folder)
    return BatchPlan(job, job_id, digest, planned, manifest)


def name_units(sources: Sequence[str], taken: Mapping[str, str]) -> list[Unit]:
    """A name for the outputs of each image, all different.

    Parameters
    ----------
    sources : sequence of str
        Absolute paths, all different.
    taken : mapping
        Names that were given before, by source; they stay.

    Returns
    -------
    list of Unit
        Images of equal name get the parts of their paths that differ in front: ``a/x.tif`` and ``b/x.tif``
        give ``a_x`` and ``b_x``; ``x.png`` beside ``x.tif`` keep their suffixes.

    Examples
    --------
    >>> [unit.stem for unit in name_units(["/d/a/x.tif", "/d/b/x.tif", "/d/y.tif"], {})]
    ['a_x', 'b_x', 'y']
    """
    paths = [Path(source) for source in sources]
    names = [name_image(path) for path in paths]
    for group in same_path(names):
        inside = strip_common([paths[i] for i in group])
        longer = ["_".join([*path.parts[:-1], name_image(path)]) for path in inside]
        if same_path(longer):
            longer = ["_".join(path.parts).replace(".", "_") for path in inside]
        for i, name in zip(group, longer, strict=True):
            names[i] = name
    names = [taken.get(source, name) for source, name in zip(sources, names, strict=True)]
    others = {stem.casefold() for source, stem in taken.items() if source not in set(sources)}
    doubtful = {i for group in same_path(names) for i in group}
    doubtful |= {i for i, name in enumerate(names) if name.casefold() in others}
    for i in doubtful:
        if sources[i] not in taken:  # the same digits in every run
            names[i] += "_" + xxh3_128(sources[i].encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return [Unit(source, name) for source, name in zip(sources, names, strict=True)]


def digest_model(name: str) -> str:
    """What identifies a model's weights, as ``LoadedModel.sha256`` does, without loading them.

    Raises
    ------
    MissingWeightsError
        When they are not on this computer yet.
    CheckpointError
        When there is no such model or file.
    """
    card = find_card(name)
    if card is None:
        path = Path(name).expanduser()
        if not path.is_file():
            raise CheckpointError(
                f"Expected the name of a model or the path of a checkpoint, got {name!r}. "
                f"{describe_choice(path.name)}"
            )
        return _hash(path)
    if card.bundled:
        with as_file(files("napari_sam").joinpath("weights", f"{card.name}.safetensors")) as path:
            return _hash(path)
    folder = WeightFolder()
    for _ in folder.iter_scan():
        pass
    paths = [folder.find(file) for file in card.files]
    if not folder.has(card) or None in paths:
        raise MissingWeightsError(
            f"The model {card.title} is not on this computer yet; download it ({card.megabytes} MB) in the "
            f"section Model of the widget SAM, or with `napari-sam models download {card.name}`."
        )
    digests = [folder.sha256(path) or _hash(path) for path in paths if path is not None]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"Cannot read the checkpoint {path}: {error.strerror}.") from error


def _judge(
    unit: Unit, job: BatchJob, job_id: str, manifest: Manifest, folder: Path, retry_failed: bool
) -> PlannedUnit:
    entry = manifest.units.get(unit.source)
    if entry is None:
        return PlannedUnit(unit, True, "new" if unit.source not in manifest.stems else "not done yet")
    if entry.job != job_id:
        return PlannedUnit(unit, True, f"{entry.status} with other settings", entry)
    if entry.status == "failed" or entry.result is None:
        return PlannedUnit(unit, retry_failed, f"failed before: {entry.error}", entry)
    result = entry.result
    if not set(job.formats) <= set(result.formats):
        return PlannedUnit(unit, True, "another format is wanted", entry)
    if not result.input.still_holds(Path(unit.source), is_image=True):
        return PlannedUnit(unit, True, "the image was changed", entry)
    for path, state in result.outputs:
        if not state.still_holds(folder / path):
            gone = not (folder / path).exists()
            return PlannedUnit(unit, True, f"{path} {'is missing' if gone else 'was changed'}", entry)
    return PlannedUnit(unit, False, "done before", entry)


def keep_formats(result: UnitResult, earlier: UnitResult, unit: Unit, folder: Path) -> UnitResult:
    """A result with what an earlier run wrote of the same labels in other formats, and what is still there.

    Parameters
    ----------
    result, earlier : UnitResult
        With the same settings.
    unit : Unit
    folder : Path
        The output folder.
    """
    if (earlier.labels, earlier.input.digest) != (result.labels, result.input.digest):
        return result
    new = {path for path, _ in result.outputs}
    kept = {p: state for p, state in earlier.outputs if p not in new and state.still_holds(folder / p)}
    formats = [
        name for name in earlier.formats if not kept.keys().isdisjoint(list_output_names(unit.stem, [name]))
    ]
    return replace(
        result,
        formats=(*result.formats, *(name for name in formats if name not in result.formats)),
        outputs=(*result.outputs, *kept.items()),
    )


def _refuse_other_settings(
    planned: Iterable[PlannedUnit], job: BatchJob, job_id: str, manifest: Manifest, folder: Path
) -> None:
    for unit in planned:
        if unit.entry is None or unit.entry.job == job_id or unit.entry.status == "failed":
            continue
        before = manifest.jobs.get(unit.entry.job)
        old, new = ({} if before is None else _list_settings(before.job)), _list_settings(job)
        changes = [
            f"{name} {_show(old.get(name))} then, {_show(new.get(name))} now"
            for name in {**new, **old}
            if old.get(name) != new.get(name)
        ]
        said = "; ".join(changes) or "another model"
        raise BatchError(
            f"{folder} holds results of other settings ({said}). Choose another folder, or overwrite them "
            f"({_HOW_TO_OVERWRITE})."
        )


def _list_settings(job: BatchJob) -> dict[str, Any]:
    """What decides the labels, each threshold by its own name."""
    settings = job.settings()
    thresholds: dict[str, Any] = settings.pop("options")
    return settings | thresholds


def _refuse_foreign_files(
    planned: Iterable[PlannedUnit], job: BatchJob, manifest: Manifest, folder: Path
) -> None:
    if not folder.is_dir():
        return
    there = {path.name for path in folder.iterdir()}
    for unit in planned:
        if unit.unit.source in manifest.stems:
            continue
        for name in list_output_names(unit.unit.stem, job.formats):
            if name in there:
                raise BatchError(
                    f"{folder / name} exists already and is of no batch. Choose another folder, or "
                    f"overwrite it ({_HOW_TO_OVERWRITE})."
                )


def _check_formats(names: Iterable[str]) -> None:
    for name in names:
        if name not in FORMATS:
            raise BatchError(f"Expected formats among {', '.join(FORMATS)}, got {name!r}.")
        package = FORMATS[name].package
        if package and find_spec(package) is None:
            raise BatchError(
                f"The format {name!r} needs the package {package.replace('_', '-')}, which is not installed; "
                "pip install 'napari-sam-workbench[formats]'."
            )


def _show(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "none" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)


def _list_written(manifest: Manifest, folder: Path) -> set[str]:
    """What batches have written here, also in other formats, or before they were ended or failed."""
    known = {path for entry in manifest.units.values() if entry.result for path, _ in entry.result.outputs}
    likely = {name for stem in manifest.stems.values() for name in list_output_names(stem, FORMATS)}
    return known | {name for name in likely if os.path.abspath(folder / name) not in manifest.stems}


def _is_output(path: Path, folder: Path, written: Container[str]) -> bool:
    """Whether it was written here by a batch, as it may be where images and outputs share a folder."""
    try:
        inside = path.resolve().relative_to(folder.resolve())
    except ValueError:
        return False
    top = inside.parts[0] if inside.parts else ""
    return top in written or top == UNFINISHED

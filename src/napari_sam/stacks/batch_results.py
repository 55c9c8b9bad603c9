"""What a folder holds of a batch, for those who look at it afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from napari_sam.errors import BatchError
from napari_sam.stacks.image_io import ImageStack, open_image
from napari_sam.stacks.manifest import MANIFEST_NAME, read_manifest

if TYPE_CHECKING:
    from napari_sam.stacks.manifest import UnitEntry
    from napari_sam.stacks.work_units import BatchJob, Unit

__all__ = ["EarlierBatch", "read_earlier", "read_result"]

_LABEL_ENDINGS: Final = ("_labels.tif", "_labels.ome.tif", "_labels.zarr")


@dataclass(frozen=True, slots=True)
class EarlierBatch:
    """What was done in a folder before.

    Attributes
    ----------
    job : BatchJob
        The settings that were used last.
    sources : tuple of str
        Of all images, in their order.
    units : dict of str to UnitEntry
        By source, of those that are done or failed.
    """

    job: BatchJob
    sources: tuple[str, ...]
    units: dict[str, UnitEntry]


def read_earlier(folder: Path) -> EarlierBatch | None:
    """What a folder's manifest says; None where there is none.

    Raises
    ------
    ManifestError
        When it cannot be read.
    """
    found = read_manifest(folder / MANIFEST_NAME)
    if not found.jobs:
        return None
    job = list(found.jobs.values())[-1].job
    return EarlierBatch(job, tuple(found.stems), found.units)


def read_result(unit: Unit, folder: Path) -> tuple[ImageStack, ImageStack]:
    """Open an image and its labels.

    Parameters
    ----------
    unit : Unit
    folder : Path
        The output folder.

    Returns
    -------
    image, labels : ImageStack

    Raises
    ------
    BatchError
        When no label image was written.
    ImageError, OSError
        When one of them cannot be read.
    """
    for ending in _LABEL_ENDINGS:
        path = folder / (unit.stem + ending)
        if path.exists():
            return open_image(Path(unit.source)), open_image(path)
    raise BatchError(
        f"Expected a label image of {unit.name} in {folder}, got none; choose the format tiff or ome-zarr."
    )

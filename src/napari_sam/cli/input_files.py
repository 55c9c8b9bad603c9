"""What the user named, as images; what cannot be read of it is not passed over in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam.cli.console import complain
from napari_sam.errors import ImageError
from napari_sam.stacks.image_io import describe_unreadable, list_images

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["list_inputs", "warn_of_unreadable"]


def list_inputs(inputs: Sequence[str]) -> list[Path]:
    """The images that the user named, as ``list_images`` finds them.

    Raises
    ------
    ImageError
        When there is none.
    """
    found = list_images(inputs)
    if not found:
        why = describe_unreadable(inputs) or "name files, or a folder that holds images"
        raise ImageError(f"no image files found; {why}")
    warn_of_unreadable(inputs)
    return found


def warn_of_unreadable(inputs: Sequence[str]) -> None:
    """Say what lies in the folders among the inputs and cannot be read."""
    unreadable = describe_unreadable(inputs)
    if unreadable:
        complain(f"warning: {unreadable}")

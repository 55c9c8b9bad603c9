"""Prompts and masks as JSON, and careful reading of JSON that anybody may have written.

Nothing here trusts a file: kinds and ranges are checked, and packed pixels never unfold to more than their
shape allows, so that a hostile file costs neither memory nor time.
"""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import PromptError, SamError
from napari_sam.types import ObjectMask, Prompts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = [
    "RecordError",
    "dump_mask",
    "dump_prompts",
    "pack_bits",
    "read_float",
    "read_list",
    "read_mapping",
    "read_mask",
    "read_prompts",
    "read_text",
    "read_whole",
    "unpack_bits",
]

MOST_PIXELS = 1 << 28
"""Pixels of a mask's box; a plane of 16,384 pixels a side."""
MOST_POINTS = 100_000
MOST_TEXT = 1 << 14
LARGEST = 1 << 53
"""Beyond it a number in JSON is no longer exact."""


class RecordError(SamError):
    """A record of objects is damaged, or no record at all."""


def pack_bits(mask: NDArray[np.bool_]) -> str:
    """A boolean array as text: eight pixels a byte, compressed, base64."""
    return base64.b64encode(zlib.compress(np.packbits(mask).tobytes(), 6)).decode("ascii")


def unpack_bits(text: str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The array that ``pack_bits`` packed.

    Raises
    ------
    RecordError
        When the text holds anything but so many pixels.
    """
    count = math.prod(shape)
    size = -(-count // 8)
    try:
        unfolding = zlib.decompressobj()
        packed = unfolding.decompress(base64.b64decode(text, validate=True), size + 1)  # never more than that
    except (binascii.Error, ValueError, zlib.error) as error:
        raise RecordError(f"Expected packed pixels, got text that is none ({error}).") from error
    if len(packed) != size:
        raise RecordError(f"Expected packed pixels of shape {shape} ({size} bytes), got {len(packed)} bytes.")
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=count)
    return bits.reshape(shape).astype(bool)


def dump_mask(mask: ObjectMask) -> dict[str, Any]:
    """A mask as JSON; its logits are left out."""
    return {
        "origin": [int(value) for value in mask.origin],
        "shape": list(mask.mask.shape),
        "bits": pack_bits(mask.mask),
        "predicted_iou": float(mask.predicted_iou),
        "stability": float(mask.stability_score),
    }


def read_mask(values: Any) -> ObjectMask:
    """The mask that ``dump_mask`` wrote."""
    found = read_mapping(values, "a mask")
    shape = tuple(read_whole({"shape": v}, "shape", low=0) for v in read_list(found, "shape", 2))
    origin = tuple(read_whole({"origin": v}, "origin") for v in read_list(found, "origin", 2))
    if len(shape) != 2 or len(origin) != 2 or math.prod(shape) > MOST_PIXELS:
        raise RecordError(
            f"Expected a mask of at most {MOST_PIXELS} pixels with an origin (row, col), got shape {shape} "
            f"at {origin}."
        )
    bits = found.get("bits")
    if not isinstance(bits, str):
        raise RecordError(f"Expected packed pixels as text, got {type(bits).__name__}.")
    return ObjectMask(
        unpack_bits(bits, shape),
        (origin[0], origin[1]),
        read_float(found, "predicted_iou", 1.0),
        read_float(found, "stability", 1.0),
    )


def dump_prompts(prompts: Prompts) -> dict[str, Any]:
    """Prompts as JSON: points as [row, col], labels, box, and a rough mask in few bytes."""
    values: dict[str, Any] = {}
    if len(prompts.points):
        values["points"] = [[float(row), float(col)] for row, col in prompts.points]
        values["labels"] = [int(label) for label in prompts.labels]
    if prompts.box is not None:
        values["box"] = [float(value) for value in prompts.box]
    if prompts.mask is not None:
        values["mask"] = dump_mask(prompts.mask)
    return values


def read_prompts(values: Any) -> Prompts:
    """The prompts that ``dump_prompts`` wrote.

    Raises
    ------
    RecordError
        When they are none.
    """
    found = read_mapping(values, "prompts")
    points, labels = read_list(found, "points", MOST_POINTS), read_list(found, "labels", MOST_POINTS)
    box, mask = found.get("box"), found.get("mask")
    if box is not None:
        box = read_list(found, "box", 4)
    try:
        return Prompts(points, labels or None, box, None if mask is None else read_mask(mask))
    except (PromptError, TypeError, ValueError, OverflowError) as error:
        raise RecordError(f"Expected prompts, got some that cannot be: {error}") from error


def read_mapping(values: Any, what: str) -> Mapping[str, Any]:
    """A JSON object."""
    if not isinstance(values, dict):
        raise RecordError(f"Expected {what} by name, got {type(values).__name__}.")
    return values


def read_list(found: Mapping[str, Any], name: str, most: int) -> list[Any]:
    """A list of at most so many values; empty where there is none."""
    values = found.get(name)
    if values is None:
        return []
    if not isinstance(values, list) or len(values) > most:
        size = f"{len(values)} values" if isinstance(values, list) else type(values).__name__
        raise RecordError(f"Expected {name!r} as a list of at most {most} values, got {size}.")
    return values


def read_text(found: Mapping[str, Any], name: str, default: str = "") -> str:
    """A text of reasonable length."""
    value = found.get(name, default)
    if not isinstance(value, str) or len(value) > MOST_TEXT:
        raise RecordError(f"Expected {name!r} as a short text, got {type(value).__name__}.")
    return value


def read_whole(found: Mapping[str, Any], name: str, default: int | None = None, low: int = -LARGEST) -> int:
    """A whole number within reason."""
    value = found.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= LARGEST:
        raise RecordError(f"Expected {name!r} as a whole number from {low}, got {value!r:.80}.")
    return value


def read_float(found: Mapping[str, Any], name: str, default: float) -> float:
    """A finite number."""
    value = found.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RecordError(f"Expected {name!r} as a finite number, got {value!r:.80}.")
    return float(value)

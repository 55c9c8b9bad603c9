"""How large a pixel is, from what TIFF files say of it: OME-XML, ImageJ, LSM, Aperio, resolution tags."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from typing import Any, Final

from napari_sam.stacks.image_io.units import convert_length, name_length, to_seconds

__all__ = ["calibrate_tiff"]

MICROMETER: Final = "micrometer"
CENTIMETER: Final = 3
"""The value of the tag ResolutionUnit. Inches are what picture programs write without knowing."""


def calibrate_tiff(file: Any, number: int = 0) -> tuple[dict[str, float], str]:
    """Read the scale of one image of a TIFF file.

    Parameters
    ----------
    file : tifffile.TiffFile
    number : int
        Of the series.

    Returns
    -------
    scale : dict of str to float
        World units per step along Z, Y and X; seconds along T. Only what the file says.
    unit : str
        Of Z, Y and X; "pixel" when the file says nothing.
    """
    for read in (_from_ome, _from_imagej, _from_lsm, _from_aperio, _from_tags):
        try:
            scale, unit = read(file, number)
        except (ValueError, TypeError, KeyError, AttributeError, ElementTree.ParseError, ZeroDivisionError):
            continue  # metadata that nobody can read are no reason to refuse the pixels
        usable = {axis: float(step) for axis, step in scale.items() if step and math.isfinite(step)}
        usable = {axis: step for axis, step in usable.items() if step > 0}
        if usable:
            return usable, unit
    return {}, "pixel"


def _from_ome(file: Any, number: int) -> tuple[dict[str, float], str]:
    if not file.is_ome:
        return {}, "pixel"
    pixels = [e for e in ElementTree.fromstring(file.ome_metadata).iter() if e.tag.endswith("}Pixels")]
    chosen = pixels[number] if number < len(pixels) else pixels[0]
    lengths = {}
    for axis in "XYZ":
        size = chosen.get(f"PhysicalSize{axis}")
        if size is not None:
            lengths[axis] = float(size), name_length(chosen.get(f"PhysicalSize{axis}Unit", "µm"))
    unit = lengths.get("X", lengths.get("Y", (0, MICROMETER)))[1]
    scale = {axis: convert_length(size, own, unit) for axis, (size, own) in lengths.items()}
    step = chosen.get("TimeIncrement")
    if step is not None:
        scale["T"] = to_seconds(float(step), chosen.get("TimeIncrementUnit", "s"))
    return scale, unit


def _from_imagej(file: Any, number: int) -> tuple[dict[str, float], str]:
    meta = file.imagej_metadata if file.is_imagej else None
    if not meta:
        return {}, "pixel"
    unit = name_length(str(meta.get("unit", "")))
    scale: dict[str, float] = {}
    if unit != "pixel":
        tags = file.pages[0].tags
        for axis, name in (("X", "XResolution"), ("Y", "YResolution")):
            if name in tags:
                count, per = tags[name].value
                scale[axis] = per / count
        if "spacing" in meta:
            own = name_length(str(meta.get("zunit", unit)))
            scale["Z"] = convert_length(abs(float(meta["spacing"])), own, unit)
    if meta.get("finterval"):
        scale["T"] = to_seconds(float(meta["finterval"]), str(meta.get("tunit", "s")))
    return scale, unit


def _from_lsm(file: Any, number: int) -> tuple[dict[str, float], str]:
    meta = file.lsm_metadata if file.is_lsm else None
    if not meta:
        return {}, "pixel"
    scale = {axis: float(meta[f"VoxelSize{axis}"]) * 1e6 for axis in "XYZ"}  # from metres
    scale["T"] = float(meta.get("TimeInterval") or 0.0)
    return scale, MICROMETER


def _from_aperio(file: Any, number: int) -> tuple[dict[str, float], str]:
    if not file.is_svs:
        return {}, "pixel"
    parts = (part.partition("=") for part in str(file.pages[0].description).split("|"))
    sizes = [float(value) for name, _, value in parts if name.strip() == "MPP"]
    return ({"X": sizes[0], "Y": sizes[0]}, MICROMETER) if sizes else ({}, "pixel")


def _from_tags(file: Any, number: int) -> tuple[dict[str, float], str]:
    tags = file.pages[0].tags
    if "ResolutionUnit" not in tags or int(tags["ResolutionUnit"].value) != CENTIMETER:
        return {}, "pixel"
    scale = {}
    for axis, name in (("X", "XResolution"), ("Y", "YResolution")):
        count, per = tags[name].value
        scale[axis] = 1e4 * per / count
    return scale, MICROMETER

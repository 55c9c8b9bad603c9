"""Names of units, as image files spell them and as NGFF does."""

from __future__ import annotations

from typing import Final

__all__ = ["LENGTHS", "convert_length", "imagej_unit", "name_length", "ome_unit", "to_seconds"]

LENGTHS: Final = {
    "angstrom": 1e-10,
    "nanometer": 1e-9,
    "micrometer": 1e-6,
    "millimeter": 1e-3,
    "centimeter": 1e-2,
    "meter": 1.0,
    "inch": 0.0254,
}
"""Metres, by the name that NGFF recommends."""

_SPELLINGS: Final = {
    "a": "angstrom",
    "å": "angstrom",
    "nm": "nanometer",
    "um": "micrometer",
    "µm": "micrometer",  # U+00B5, micro sign
    "\u03bcm": "micrometer",  # U+03BC, Greek small letter mu
    "\\u00b5m": "micrometer",  # as ImageJ escapes it
    "micron": "micrometer",
    "microns": "micrometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "m": "meter",
    "in": "inch",
}
_SECONDS: Final = {
    "nanosecond": 1e-9,
    "ns": 1e-9,
    "microsecond": 1e-6,
    "us": 1e-6,
    "µs": 1e-6,
    "\u03bcs": 1e-6,
    "millisecond": 1e-3,
    "ms": 1e-3,
    "second": 1.0,
    "sec": 1.0,
    "s": 1.0,
    "minute": 60.0,
    "min": 60.0,
    "hour": 3600.0,
    "h": 3600.0,
    "day": 86400.0,
    "d": 86400.0,
}


def name_length(text: str | None) -> str:
    """NGFF's name of a unit of length; "pixel" for what is none.

    Examples
    --------
    >>> name_length("µm"), name_length("Micron"), name_length("pixel"), name_length(None)
    ('micrometer', 'micrometer', 'pixel', 'pixel')
    """
    plain = (text or "").strip().lower()
    plain = plain.replace("metre", "meter")
    name = _SPELLINGS.get(plain, plain.removesuffix("s") if plain.endswith("meters") else plain)
    return name if name in LENGTHS else "pixel"


def convert_length(value: float, unit: str, to: str) -> float:
    """A length in another unit; unchanged where either is none ("pixel")."""
    if unit == to or unit not in LENGTHS or to not in LENGTHS:
        return value
    return value * LENGTHS[unit] / LENGTHS[to]


def to_seconds(value: float, unit: str | None) -> float:
    """A time in seconds; taken for seconds where the unit is not known."""
    plain = (unit or "second").strip().lower()
    return value * _SECONDS.get(plain, _SECONDS.get(plain.removesuffix("s"), 1.0))


def imagej_unit(name: str) -> str:
    """How ImageJ spells a unit of length; "um" is what it reads in every encoding."""
    short = {"micrometer": "um", "nanometer": "nm", "millimeter": "mm", "centimeter": "cm", "meter": "m"}
    return short.get(name, name)


def ome_unit(name: str) -> str:
    """How OME-XML spells a unit of length."""
    short = {"micrometer": "µm", "angstrom": "Å", "inch": "in"}
    return short.get(name, imagej_unit(name))

"""A made time series of nuclei that move and divide, with the truth of who came from whom."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    LayerData = tuple[NDArray[Any], dict[str, Any], str]

__all__ = ["load_dividing_nuclei", "make_dividing_nuclei"]

GROWTH = 10
"""Frames that a daughter takes to grow up."""


def load_dividing_nuclei() -> list[LayerData]:
    """Nuclei that move and divide: (T, Y, X) = (24, 220, 260) uint16, 0.5 µm a pixel."""
    image, _, _ = make_dividing_nuclei((24, 220, 260), seed=5)
    return [(image, {"name": "Dividing nuclei", "scale": (1.0, 0.5, 0.5)}, "image")]


@dataclass(frozen=True, slots=True)
class _Nucleus:
    """One nucleus in one frame; lengths in pixels."""

    number: int
    place: NDArray[np.float64]
    speed: NDArray[np.float64]
    angle: float
    stretch: float
    area: float  # of a grown one
    divides_at: int
    light: float
    texture: NDArray[np.int64]


def make_dividing_nuclei(
    shape: tuple[int, int, int],
    *,
    count: int = 18,
    radius: float = 10.0,
    speed: float = 1.5,
    divisions: float = 0.5,
    seed: int = 0,
) -> tuple[NDArray[np.uint16], NDArray[np.int32], dict[int, tuple[int, ...]]]:
    """Make a time series of fluorescent nuclei with known tracks.

    Parameters
    ----------
    shape : (T, H, W)
        Frames and their size in pixels.
    count : int
        Nuclei in the first frame; fewer where they do not fit.
    radius : float
        Mean radius in pixels.
    speed : float
        Typical step from frame to frame in pixels.
    divisions : float
        The part of the nuclei in the first frame that divide, 0 to 1.
    seed : int
        The same seed gives the same series.

    Returns
    -------
    image : uint16 array of ``shape``
    labels : int32 array of ``shape``
        The truth: an id per nucleus and its track; daughters have ids of their own.
    parents : dict of int to tuple of int
        By the id of each daughter the id of her mother.

    Examples
    --------
    >>> image, labels, parents = make_dividing_nuclei((8, 96, 96), count=4, divisions=1, seed=1)
    >>> image.dtype, labels.shape, sorted(set(parents.values())) != []
    (dtype('uint16'), (8, 96, 96), True)
    """
    frames, height, width = shape
    rng = np.random.default_rng(seed)
    size = np.array([height, width], np.float64)
    nuclei = _place(size, count, radius, speed, divisions, frames, rng)
    texture = gaussian_filter(rng.normal(size=(128, 128)), 2.2, mode="wrap")
    texture /= texture.std()
    parents: dict[int, tuple[int, ...]] = {}
    free = len(nuclei) + 1
    image, labels = np.zeros(shape, np.uint16), np.zeros(shape, np.int32)
    haze = 1 + 0.1 * _stretch_noise(size, rng)
    for frame in range(frames):
        after: list[_Nucleus] = []
        for nucleus in nuclei:
            if frame != nucleus.divides_at:
                after.append(nucleus)
                continue
            after += _divide(nucleus, (free, free + 1), radius, rng)
            parents |= {free: (nucleus.number,), free + 1: (nucleus.number,)}
            free += 2
        nuclei = after
        labels[frame], signal = _draw(nuclei, frame, (height, width), radius, texture)
        photons = 30 + 300 * gaussian_filter(signal, 0.8) * haze
        noisy = 100 + 4 * (rng.poisson(photons) + rng.normal(0, 2, (height, width)))
        image[frame] = np.clip(noisy, 0, 4095).astype(np.uint16)
        nuclei = _move(nuclei, size, radius, speed, rng)
    seen = set(np.unique(labels).tolist())
    return image, labels, {child: parent for child, parent in parents.items() if child in seen}


def _place(
    size: NDArray[np.float64],
    count: int,
    radius: float,
    speed: float,
    divisions: float,
    frames: int,
    rng: Generator,
) -> list[_Nucleus]:
    places: list[NDArray[np.float64]] = []
    for _ in range(200 * count):
        dart = rng.uniform(radius, np.maximum(size - radius, radius + 1))
        if len(places) < count and all(np.linalg.norm(dart - p) > 2.3 * radius for p in places):
            places.append(dart)
    dividing = set(rng.permutation(len(places))[: round(divisions * len(places))].tolist())
    return [
        _Nucleus(
            number=n + 1,
            place=place,
            speed=rng.normal(0, speed, 2),
            angle=float(rng.uniform(0, np.pi)),
            stretch=float(rng.uniform(1.0, 1.35)),
            area=float(rng.uniform(0.75, 1.2)),
            divides_at=int(rng.integers(3, max(frames - 3, 4))) if n in dividing else -1,
            light=float(rng.lognormal(0, 0.2)),
            texture=rng.integers(0, 128, 2),
        )
        for n, place in enumerate(places)
    ]


def _divide(mother: _Nucleus, numbers: tuple[int, int], radius: float, rng: Generator) -> list[_Nucleus]:
    """Two daughters beside each other across the mother's long axis, half as large."""
    axis = np.array([np.sin(mother.angle), np.cos(mother.angle)])
    reach = 0.62 * radius * np.sqrt(mother.area)
    return [
        replace(
            mother,
            number=number,
            place=mother.place + side * reach * axis,
            speed=mother.speed / 2 + side * 1.6 * axis,
            angle=mother.angle + np.pi / 2 + rng.normal(0, 0.2),
            stretch=1.25,
            area=mother.area * 0.5,
            divides_at=-1,
            texture=rng.integers(0, 128, 2),
        )
        for number, side in zip(numbers, (-1, 1), strict=True)
    ]


def _move(
    nuclei: list[_Nucleus], size: NDArray[np.float64], radius: float, speed: float, rng: Generator
) -> list[_Nucleus]:
    """One frame on: persistent steps; neighbours and walls push."""
    places = np.array([n.place for n in nuclei]).reshape(-1, 2)
    moved = []
    for n in nuclei:
        push = np.zeros(2)
        apart = n.place - places
        distance = np.linalg.norm(apart, axis=1)
        for offset, d in zip(apart, distance, strict=True):
            if 0 < d < 2.1 * radius:
                push += 0.12 * (2.1 * radius - d) * offset / d
        push += np.clip(radius - n.place, 0, None) * 0.3 - np.clip(n.place - (size - radius), 0, None) * 0.3
        new = 0.75 * n.speed + rng.normal(0, 0.5 * speed, 2) + push
        step = float(np.linalg.norm(new))
        new *= min(1.0, 2.5 * speed / max(step, 1e-9))
        grown = n.area + (0.04 if n.area < 0.75 else 0.0) * 10 / GROWTH
        moved.append(
            replace(n, place=n.place + new, speed=new, angle=n.angle + rng.normal(0, 0.06), area=grown)
        )
    return moved


def _draw(
    nuclei: list[_Nucleus],
    frame: int,
    shape: tuple[int, int],
    radius: float,
    texture: NDArray[np.float64],
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """The labels of one frame, and its light."""
    labels, signal = np.zeros(shape, np.int32), np.zeros(shape)
    nearest = np.full(shape, np.inf)
    for n in nuclei:
        until = n.divides_at - frame
        near = 0 < until <= 2  # it rounds up, contracts and becomes brighter before it divides
        area, light = n.area * (0.85 if near else 1.0), n.light * (1.5 if near else 1.0)
        stretch = 1.15 if near else n.stretch
        axes = radius * np.sqrt(area) * np.array([np.sqrt(stretch), 1 / np.sqrt(stretch)])
        low = np.maximum(np.floor(n.place - 1.5 * axes[0]).astype(int), 0)
        high = np.minimum(np.ceil(n.place + 1.5 * axes[0]).astype(int) + 1, shape)
        if (low >= high).any():
            continue
        rows, cols = np.mgrid[low[0] : high[0], low[1] : high[1]]
        dy, dx = rows - n.place[0], cols - n.place[1]
        along = dx * np.cos(n.angle) + dy * np.sin(n.angle)
        across = -dx * np.sin(n.angle) + dy * np.cos(n.angle)
        # the texture moves along with the nucleus
        r = (np.round(across).astype(int) + n.texture[0]) % 128
        c = (np.round(along).astype(int) + n.texture[1]) % 128
        distance = np.hypot(along / axes[0], across / axes[1]) + 0.04 * texture[c, r]
        window = slice(low[0], high[0]), slice(low[1], high[1])
        won = (distance < 1) & (distance < nearest[window])
        labels[window][won] = n.number
        nearest[window][won] = distance[won]
        signal[window][won] = light * np.clip(1 + 0.18 * texture[r, c][won], 0.3, None)
    return labels, signal


def _stretch_noise(size: NDArray[np.float64], rng: Generator) -> NDArray[np.float64]:
    """Noise as smooth as the whole plane, mean 0 and standard deviation 1."""
    noise = gaussian_filter(rng.normal(size=size.astype(int)), size / 4, mode="wrap")
    return np.asarray((noise - noise.mean()) / (noise.std() + 1e-12))

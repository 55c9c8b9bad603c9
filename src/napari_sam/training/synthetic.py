"""Synthetic microscopy with known objects, so that clicking works on more than nuclei.

Not a simulator of any one instrument: shapes, optics and noise are drawn at random within wide limits
(domain randomisation, Tobin et al. 2017), in six styles that differ in how an object stands out:
``blobs`` (filled, as stained nuclei or cells), ``membranes`` (touching cells with bright or dark borders),
``phase`` (halos, as in phase contrast), ``relief`` (shaded edges, as in DIC), ``organelles`` (dark rims in a
rough texture, as in electron microscopy) and ``vesicles`` (small rings and spots). Filaments, debris and
uneven illumination are drawn as what must not be found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates, zoom
from scipy.spatial import cKDTree

from napari_sam.training.instance_targets import find_inner_boundary

if TYPE_CHECKING:
    from numpy.typing import NDArray

STYLES: Final = ("blobs", "membranes", "phase", "relief", "organelles", "vesicles")


def make_synthetic_image(
    rng: np.random.Generator, side: int = 256, style: str | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Draw an image and its objects.

    Parameters
    ----------
    rng : numpy Generator
        The same state gives the same image.
    side : int
        Height and width in pixels.
    style : str, optional
        One of ``STYLES``; drawn when left out.

    Returns
    -------
    pixels : (side, side, 3) float32
        0 to 1; gray in most images.
    labels : (side, side) int32
        Objects 1, 2, ...; 0 is background.

    Raises
    ------
    ValueError
        When the style is unknown.
    """
    style = str(rng.choice(STYLES)) if style is None else style
    if style not in STYLES:
        raise ValueError(f"Expected a style out of {', '.join(STYLES)}, got {style!r}.")
    labels = _draw_tissue(rng, side) if style == "membranes" else _scatter_objects(rng, side, style)
    gray = _PAINTERS[style](rng, labels)
    gray = _add_distractors(rng, gray, labels)
    gray = _take_picture(rng, gray)
    return _colour(rng, gray), labels


# -- shapes ----------------------------------------------------------------------------------------


def _scatter_objects(rng: np.random.Generator, side: int, style: str) -> NDArray[np.int32]:
    """Star-convex objects of similar size, isolated to crowded; later ones lie behind earlier ones."""
    labels = np.zeros((side, side), np.int32)
    largest = 0.06 if style == "vesicles" else 0.25
    radius = float(np.exp(rng.uniform(np.log(3.5), np.log(largest * side))))
    spread, roughness = rng.uniform(0.05, 0.35), rng.uniform(0.0, 0.18)
    elongation = rng.uniform(0.0, 0.5)
    count = int(np.clip(rng.uniform(0.1, 1.1) * side**2 / (np.pi * radius**2), 1, 220))
    centers = _draw_centers(rng, side, count, radius)
    number = 0
    for row, col in centers:
        mask, r0, c0 = _draw_shape(rng, radius * np.exp(rng.normal(0, spread)), roughness, elongation)
        top, left = int(row) - r0, int(col) - c0
        part = labels[max(top, 0) : top + mask.shape[0], max(left, 0) : left + mask.shape[1]]
        cut = mask[max(-top, 0) :, max(-left, 0) :][: part.shape[0], : part.shape[1]]
        free = cut & (part == 0)
        if np.count_nonzero(free) > max(12, 0.6 * np.count_nonzero(cut)):
            number += 1
            part[free] = number
    return labels


def _draw_centers(rng: np.random.Generator, side: int, count: int, radius: float) -> NDArray[np.float64]:
    if rng.random() < 0.5:
        return rng.uniform(0, side, (count, 2))
    # In clusters: neighbours touch.
    seeds = rng.uniform(0, side, (max(1, count // 6), 2))
    near = seeds[rng.integers(len(seeds), size=count)] + rng.normal(0, 2.5 * radius, (count, 2))
    return np.clip(near, 0, side - 1)


def _draw_shape(
    rng: np.random.Generator, radius: float, roughness: float, elongation: float
) -> tuple[NDArray[np.bool_], int, int]:
    """A mask with its centre: an ellipse whose outline is waved by a few harmonics."""
    radius = max(radius, 2.5)
    stretch = 1 + elongation * rng.uniform(0, 1.5)
    reach = int(np.ceil(radius * stretch * (1 + 2 * roughness))) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    angle = rng.uniform(0, np.pi)
    u = (np.cos(angle) * x + np.sin(angle) * y) / stretch
    v = (-np.sin(angle) * x + np.cos(angle) * y) * np.sqrt(stretch)
    theta = np.arctan2(v, u)
    outline = np.ones_like(theta)
    for k in range(2, 6):
        outline += roughness / (k - 1) * rng.normal() * np.cos(k * theta + rng.uniform(0, 2 * np.pi))
    return np.hypot(u, v) < radius * np.maximum(outline, 0.3), reach, reach


def _draw_tissue(rng: np.random.Generator, side: int) -> NDArray[np.int32]:
    """Touching cells: a Voronoi partition of warped space, with gaps."""
    spacing = float(np.exp(rng.uniform(np.log(12), np.log(0.3 * side))))
    steps = np.arange(-spacing, side + spacing, spacing)
    points = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
    points = points + rng.uniform(-0.45, 0.45, points.shape) * spacing
    grid = np.moveaxis(np.mgrid[:side, :side], 0, -1).astype(np.float64)
    for axis in range(2):
        grid[..., axis] += rng.uniform(0, 0.35) * spacing * _smooth_noise(rng, side, spacing / 2)
    _, nearest = cKDTree(points).query(grid)
    kept = np.where(rng.random(len(points)) < rng.uniform(0.6, 1.0), np.arange(1, len(points) + 1), 0)
    labels = kept[nearest]
    _, compact = np.unique(np.append(0, labels.ravel()), return_inverse=True)
    return compact[1:].reshape(side, side).astype(np.int32)


# -- how objects look ------------------------------------------------------------------------------


def _paint_blobs(rng: np.random.Generator, labels: NDArray[np.int32]) -> NDArray[np.float64]:
    depth, _ = _distances(labels)
    brightness = _per_object(rng, labels, 0.25, 1.0)
    dome = 1 - rng.uniform(0, 0.7) * np.exp(-depth / rng.uniform(1, 6))
    texture = 1 + rng.uniform(0, 0.35) * _smooth_noise(rng, len(labels), rng.uniform(0.8, 4))
    haze = gaussian_filter((labels > 0).astype(float), rng.uniform(4, 15)) * rng.uniform(0, 0.3)
    gray = rng.uniform(0, 0.2) + haze + np.where(labels > 0, brightness * dome * texture, 0)
    return _maybe_invert(rng, gray, 0.3)


def _paint_membranes(rng: np.random.Generator, labels: NDArray[np.int32]) -> NDArray[np.float64]:
    depth, _ = _distances(labels)
    width = rng.uniform(0.7, 2.5)
    rim = np.exp(-((depth / width) ** 2)) * (labels > 0)
    gaps = np.clip(1 + rng.uniform(0, 0.8) * _smooth_noise(rng, len(labels), 5), 0.1, 2)
    gray = 0.15 + rng.uniform(0.4, 0.8) * rim * gaps + rng.uniform(0, 0.2) * _per_object(rng, labels, 0, 1)
    if rng.random() < 0.4:  # nuclei inside the cells belong to them
        middle = depth / np.maximum(_per_object_max(labels, depth), 1)
        gray = gray + rng.uniform(-0.1, 0.4) * np.clip(3 * (middle - rng.uniform(0.4, 0.7)), 0, 1)
    return _maybe_invert(rng, gray, 0.35)


def _paint_phase(rng: np.random.Generator, labels: NDArray[np.int32]) -> NDArray[np.float64]:
    depth, outside = _distances(labels)
    halo = np.exp(-outside / rng.uniform(1.5, 6)) * (labels == 0) * rng.uniform(0.15, 0.5)
    rim = np.exp(-depth / rng.uniform(1, 3)) * (labels > 0) * rng.uniform(-0.4, 0.3)
    body = (labels > 0) * (rng.uniform(-0.3, 0.1) + rng.uniform(0.02, 0.15) * _texture(rng, len(labels)))
    gray: NDArray[np.float64] = 0.5 + halo + rim + body + 0.03 * _texture(rng, len(labels))
    return gray


def _paint_relief(rng: np.random.Generator, labels: NDArray[np.int32]) -> NDArray[np.float64]:
    depth, _ = _distances(labels)
    top = max(float(depth.max()), 1.0)
    height = gaussian_filter(np.sqrt(depth / top), rng.uniform(0.7, 2)) * (labels > 0)
    height = height + rng.uniform(0, 0.1) * _texture(rng, len(labels)) * (labels > 0)
    rows, cols = np.gradient(height)
    angle = rng.uniform(0, 2 * np.pi)
    shade = np.cos(angle) * rows + np.sin(angle) * cols
    gray: NDArray[np.float64] = 0.5 + shade / max(float(np.abs(shade).max()), 1e-6) * rng.uniform(0.25, 0.5)
    return gray


def _paint_organelles(rng: np.random.Generator, labels: NDArray[np.int32]) -> NDArray[np.float64]:
    depth, _ = _distances(labels)
    side = len(labels)
    rough = 0.55 + rng.uniform(0.03, 0.1) * _texture(rng, side) + 0.04 * _smooth_noise(rng, side, 0.6)
    rim = np.exp(-((depth / rng.uniform(0.8, 2.0)) ** 2)) * (labels > 0)
    inside = (labels > 0) * (rng.uniform(-0.25, 0.2) + 0.1 * _smooth_noise(rng, side, rng.uniform(1, 3)))
    if rng.random() < 0.4:  # folds within, as in mitochondria
        phase = 2 * np.pi * _smooth_noise(rng, side, 8) + np.mgrid[:side, :side][0] * rng.uniform(0.5, 1.2)
        inside = inside - 0.2 * (labels > 0) * (np.sin(phase) > 0.5)
    gray: NDArray[np.float64] = rough + inside - rng.uniform(0.25, 0.5) * rim
    return gray


def _paint_vesicles(rng: np.random.Generator, labels: NDArray[np.int32]) -> NDArray[np.float64]:
    depth, _ = _distances(labels)
    ring = np.exp(-((depth / rng.uniform(0.8, 1.8)) ** 2)) * (labels > 0)
    filled = (labels > 0) * rng.uniform(0, 0.5)
    sign = rng.choice([-1.0, 1.0])
    base = 0.2 if sign > 0 else 0.8
    gray: NDArray[np.float64] = base + sign * _per_object(rng, labels, 0.4, 0.8) * np.maximum(ring, filled)
    return gray


_PAINTERS: Final = {
    "blobs": _paint_blobs,
    "membranes": _paint_membranes,
    "phase": _paint_phase,
    "relief": _paint_relief,
    "organelles": _paint_organelles,
    "vesicles": _paint_vesicles,
}


# -- what is no object, and the camera -------------------------------------------------------------


def _add_distractors(
    rng: np.random.Generator, gray: NDArray[np.float64], labels: NDArray[np.int32]
) -> NDArray[np.float64]:
    side = len(labels)
    if rng.random() < 0.25:  # filaments: level lines of smooth noise
        field = _smooth_noise(rng, side, rng.uniform(8, 25))
        line = np.exp(-((field - rng.normal(0, 0.5)) ** 2) / rng.uniform(0.002, 0.02))
        gray = gray + rng.choice([-1, 1]) * rng.uniform(0.1, 0.35) * line
    if rng.random() < 0.25:  # debris: specks smaller than any object
        specks = gaussian_filter((rng.random((side, side)) < 0.0008).astype(float), rng.uniform(0.5, 1.0))
        gray = gray + rng.choice([-1, 1]) * rng.uniform(0.2, 0.6) * specks / max(float(specks.max()), 1e-9)
    return gray


def _take_picture(rng: np.random.Generator, gray: NDArray[np.float64]) -> NDArray[np.float64]:
    side = len(gray)
    if rng.random() < 0.4:
        gray = gray * (1 + rng.uniform(0.1, 0.5) * _smooth_noise(rng, side, side / 3))
    gray = gaussian_filter(gray, rng.uniform(0.3, 1.6))
    low, high = np.percentile(gray, (0.5, 99.8))
    gray = np.clip((gray - low) / max(high - low, 1e-6), 0, None)
    photons = float(np.exp(rng.uniform(np.log(15), np.log(4000))))
    gray = rng.poisson(np.clip(gray, 0, 4) * photons) / photons + rng.normal(
        0, rng.uniform(0, 0.05), gray.shape
    )
    low, high = np.percentile(gray, (1.0, 99.8))  # as images are normalised before the model sees them
    scaled: NDArray[np.float64] = np.clip((gray - low) / max(high - low, 1e-6), 0, 1)
    return scaled


def _colour(rng: np.random.Generator, gray: NDArray[np.float64]) -> NDArray[np.float32]:
    if rng.random() < 0.75:
        return np.repeat(gray[..., None], 3, axis=2).astype(np.float32)
    dark, light = rng.uniform(0, 1, (2, 3))
    if abs(float(light.mean() - dark.mean())) < 0.25:
        light = 1 - dark
    coloured: NDArray[np.float32] = (dark + gray[..., None] * (light - dark)).astype(np.float32)
    return coloured


def _maybe_invert(rng: np.random.Generator, gray: NDArray[np.float64], chance: float) -> NDArray[np.float64]:
    return 1 - gray if rng.random() < chance else gray


def _distances(labels: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of every pixel, the distance to its object's boundary, and outside to the nearest object."""
    inside = labels > 0
    if not inside.any():
        return np.zeros(labels.shape), np.full(labels.shape, 1e3)
    deep = inside & ~find_inner_boundary(labels)
    depth = np.full(labels.shape, 1e3) if deep.all() else distance_transform_edt(deep)
    outside = np.zeros(labels.shape) if inside.all() else distance_transform_edt(~inside)
    return depth, outside


def _per_object(
    rng: np.random.Generator, labels: NDArray[np.int32], low: float, high: float
) -> NDArray[np.float64]:
    values = rng.uniform(low, high, int(labels.max()) + 1)
    values[0] = 0
    picked: NDArray[np.float64] = values[labels]
    return picked


def _per_object_max(labels: NDArray[np.int32], values: NDArray[np.float64]) -> NDArray[np.float64]:
    largest = np.zeros(int(labels.max()) + 1)
    np.maximum.at(largest, labels.ravel(), values.ravel())
    picked: NDArray[np.float64] = largest[labels]
    return picked


def _smooth_noise(rng: np.random.Generator, side: int, sigma: float) -> NDArray[np.float64]:
    """Noise of unit variance, its features about ``sigma`` pixels wide; coarse noise is drawn coarsely."""
    factor = max(1, int(sigma / 2))
    small = -(-side // factor) + 2
    noise = gaussian_filter(rng.standard_normal((small, small)), sigma / factor, mode="wrap")
    if factor > 1:
        noise = zoom(noise, factor, order=1)
    noise = noise[:side, :side]
    centred: NDArray[np.float64] = noise - noise.mean()
    return centred / max(float(centred.std()), 1e-12)


def _texture(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    """Noise on several scales, warped: grainy as cytoplasm."""
    noise = sum(_smooth_noise(rng, side, s) * w for s, w in ((1.0, 0.5), (3.0, 0.6), (9.0, 0.6)))
    shift = 3 * np.stack([_smooth_noise(rng, side, 6) for _ in range(2)])
    warped: NDArray[np.float64] = map_coordinates(
        noise, np.mgrid[:side, :side] + shift, order=1, mode="reflect"
    )
    return warped

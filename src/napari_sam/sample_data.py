"""Sample images for File > Open Sample: real ones from scikit-image's wheel and made ones, none downloaded.

The made images come with their true labels, so that tutorials and tests can measure on them:
`make_nuclei` and `make_stained_tissue` return both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    LayerData = tuple[NDArray[Any], dict[str, Any], str]

__all__ = [
    "load_cell",
    "load_coins",
    "load_immunohistochemistry",
    "load_nuclei_2d",
    "load_nuclei_3d",
    "load_stained_tissue",
    "make_nuclei",
    "make_stained_tissue",
]


def load_nuclei_2d() -> list[LayerData]:
    """Fluorescent nuclei in one plane: (400, 480) uint16, 0.25 µm a pixel."""
    spacing = (0.25, 0.25)
    image, _ = make_nuclei((400, 480), spacing=spacing, count=70, seed=7)
    return [(image, {"name": "Nuclei 2-D", "scale": spacing}, "image")]


def load_nuclei_3d() -> list[LayerData]:
    """A stack of fluorescent nuclei: (Z, Y, X) = (20, 200, 240) uint16, 1.0 x 0.25 x 0.25 µm a voxel."""
    spacing = (1.0, 0.25, 0.25)
    image, _ = make_nuclei((20, 200, 240), spacing=spacing, count=45, seed=11)
    return [(image, {"name": "Nuclei 3-D", "scale": spacing}, "image")]


def load_stained_tissue() -> list[LayerData]:
    """Tissue stained with haematoxylin and eosin: (400, 480, 3) uint8, 0.25 µm a pixel."""
    image, _ = make_stained_tissue((400, 480), seed=3)
    return [(image, {"name": "Stained tissue", "scale": (0.25, 0.25), "rgb": True}, "image")]


def load_immunohistochemistry() -> list[LayerData]:
    """Colonic glands, DAB and haematoxylin, from scikit-image: (512, 512, 3) uint8."""
    from skimage.data import immunohistochemistry

    return [(immunohistochemistry(), {"name": "Immunohistochemistry", "rgb": True}, "image")]


def load_cell() -> list[LayerData]:
    """One cell in quantitative phase imaging, from scikit-image: (660, 550) uint8, 0.107 µm a pixel."""
    from skimage.data import cell

    return [(cell(), {"name": "Cell", "scale": (0.107, 0.107)}, "image")]


def load_coins() -> list[LayerData]:
    """Greek coins from Pompeii on an uneven background, from scikit-image: (303, 384) uint8."""
    from skimage.data import coins

    return [(coins(), {"name": "Coins"}, "image")]


def make_nuclei(
    shape: tuple[int, ...],
    *,
    spacing: tuple[float, ...] | None = None,
    count: int = 50,
    radius: float = 4.5,
    seed: int = 0,
) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
    """Make fluorescent nuclei: crumpled ellipsoids with chromatin, some touching, blurred and noisy.

    Parameters
    ----------
    shape : (H, W) or (D, H, W)
        Size of the image in pixels.
    spacing : tuple of float, optional
        Size of a pixel along each axis in µm, default 0.25 each.
    count : int
        Number of nuclei asked for; where they no longer fit there are fewer.
    radius : float
        Mean radius in µm.
    seed : int
        The same seed gives the same image.

    Returns
    -------
    image : uint16 array of ``shape``
        About 12 bits are used.
    labels : int32 array of ``shape``
        The truth; 0 is background.

    Examples
    --------
    >>> image, labels = make_nuclei((128, 128), count=5, seed=1)
    >>> image.shape, image.dtype, int(labels.max())
    ((128, 128), dtype('uint16'), 5)
    """
    pixel = np.asarray(spacing if spacing is not None else (0.25,) * len(shape))
    rng = np.random.default_rng(seed)
    labels = _place_nuclei(shape, pixel, count, radius, rng)
    brightness = np.concatenate([[0.0], rng.lognormal(0.0, 0.3, int(labels.max()))])
    chromatin = (
        1 + 0.22 * _smooth_noise(shape, 0.9 / pixel, rng) + 0.12 * _smooth_noise(shape, 0.35 / pixel, rng)
    )
    signal = brightness[labels] * np.clip(chromatin, 0.2, None)
    # the optics: sharper in the plane than along the optical axis
    blur = np.full(len(shape), 0.3) / pixel
    blur[:-2] *= 3
    haze = 0.06 * gaussian_filter(signal, 4 / pixel)
    light = 1 + 0.12 * _smooth_noise(shape, np.asarray(shape) / 3, rng)
    photons = 25 + 330 * (gaussian_filter(signal, blur) + haze) * light
    image = 100 + 4 * (rng.poisson(np.clip(photons, 0, None)) + rng.normal(0, 2, shape))
    return np.clip(image, 0, 4095).astype(np.uint16), labels


def make_stained_tissue(
    shape: tuple[int, int], *, count: int = 110, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Make a tissue section in haematoxylin (nuclei, violet) and eosin (stroma, pink).

    Parameters
    ----------
    shape : (H, W)
        Size of the image in pixels of 0.25 µm.
    count : int
        Number of nuclei asked for; where they no longer fit there are fewer.
    seed : int
        The same seed gives the same image.

    Returns
    -------
    image : (H, W, 3) uint8
        RGB.
    labels : (H, W) int32
        The truth; 0 is background.
    """
    from skimage.color import hed2rgb

    pixel = np.array([0.25, 0.25])
    rng = np.random.default_rng(seed)
    labels = _place_nuclei(shape, pixel, count, 3.6, rng)
    depth = np.concatenate([[0.0], rng.uniform(0.6, 1.1, int(labels.max()))])
    chromatin = 1 + 0.25 * _smooth_noise(shape, 0.5 / pixel, rng)
    fibres = 0.7 * _smooth_noise(shape, np.array([1.0, 4.0]) / pixel, rng) + 0.7 * _smooth_noise(
        shape, 1.2 / pixel, rng
    )
    lumen = 1 / (1 + np.exp(8 * (_smooth_noise(shape, 12 / pixel, rng) - 1.1)))  # 0 in the gaps of the tissue
    haematoxylin = gaussian_filter(0.085 * depth[labels] * chromatin, 0.3 / pixel)
    eosin = gaussian_filter((0.03 + 0.008 * fibres) * np.maximum(lumen, labels > 0), 0.3 / pixel)
    stains = np.stack([haematoxylin + 0.01, np.clip(eosin, 0, None), np.zeros(shape)], axis=-1)
    image = hed2rgb(stains) * 255 + rng.normal(0, 3, (*shape, 3))
    return np.clip(image, 0, 255).astype(np.uint8), labels


def _place_nuclei(
    shape: tuple[int, ...], pixel: NDArray[np.float64], count: int, radius: float, rng: Generator
) -> NDArray[np.int32]:
    """Labels of randomly placed, turned and crumpled ellipsoids; neighbours may touch but hardly overlap."""
    size = np.asarray(shape) * pixel
    centres: list[NDArray[np.float64]] = []
    for _ in range(200 * count):  # darts: most land early, so the bound is never near in a sane request
        if len(centres) == count:
            break
        dart = rng.uniform(0, size)
        if not centres or np.linalg.norm(np.asarray(centres) - dart, axis=1).min() > 1.65 * radius:
            centres.append(dart)
    crumple = 0.16 * _smooth_noise(shape, 0.55 * radius / pixel, rng)
    nearest = np.full(shape, np.inf)
    labels = np.zeros(shape, np.int32)
    for index, centre in enumerate(centres, start=1):
        radii = radius * rng.uniform(0.75, 1.2, len(shape))
        turn, _ = np.linalg.qr(rng.normal(size=(len(shape), len(shape))))
        low = np.clip(np.floor((centre - 1.6 * radius) / pixel), 0, None).astype(int)
        high = np.minimum(np.ceil((centre + 1.6 * radius) / pixel) + 1, shape).astype(int)
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        grid = np.stack(
            np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), -1
        )
        offset = (grid * pixel - centre) @ turn / radii
        distance = np.linalg.norm(offset, axis=-1) + crumple[window]
        won = (distance < 1) & (distance < nearest[window])
        labels[window][won] = index
        nearest[window][won] = distance[won]
    return _renumber(labels)


def _renumber(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Close gaps in the numbering, left by nuclei that their neighbours covered whole."""
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int32)


def _smooth_noise(shape: tuple[int, ...], sigma: NDArray[np.float64], rng: Generator) -> NDArray[np.float64]:
    """Gaussian noise with structures of about ``sigma`` pixels, mean 0 and standard deviation 1."""
    noise: NDArray[np.float64] = gaussian_filter(rng.normal(size=shape), sigma, mode="wrap")
    noise -= noise.mean()
    noise /= noise.std() + 1e-12
    return noise

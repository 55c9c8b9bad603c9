"""Augmentation: what a microscope or its user might have done differently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, zoom
from skimage.measure import label as relabel
from torch.nn.functional import affine_grid, grid_sample, interpolate

from napari_sam.inference.object_scale import WANTED, measure_rescale

if TYPE_CHECKING:
    from numpy.typing import NDArray


def augment_geometry(
    pixels: NDArray[Any],
    labels: NDArray[np.int32],
    crop: int,
    rng: np.random.Generator,
    *,
    rescale: bool = True,
    in_use: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Cut a randomly placed, scaled, rotated and flipped crop; beyond the image it is mirrored.

    Parameters
    ----------
    pixels : (H, W, 3) float
    labels : (H, W) int
    crop : int
        Side of the result.
    rng : numpy Generator
    rescale : bool
        False for crops at the image's own scale.
    in_use : bool
        True for just the scale at which the model would be shown the image.

    Returns
    -------
    pixels : (crop, crop, 3) float32
    labels : (crop, crop) int32
        Relabelled, since a mirrored object is another object.
    """
    height, width = labels.shape
    scale = _draw_scale(labels, rng, in_use) if rescale else 1.0
    angle = rng.integers(4) * np.pi / 2 + (rng.uniform(-0.6, 0.6) if rng.random() < 0.3 else 0.0)
    stretch = float(np.exp(rng.normal(0, 0.1))) if rng.random() < 0.3 else 1.0
    flip = rng.choice([-1.0, 1.0])
    half = np.array([crop / width, crop / height]) / scale  # of the crop in normalised coordinates
    # Crop coordinates (-1 .. 1) are rotated as pixels, then scaled to the image's own.
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    rotation = rotation @ np.diag([flip * stretch, 1 / stretch])
    matrix = np.diag(half) @ rotation
    room = np.maximum(1 - half, 0.0)
    center = rng.uniform(-1, 1, 2) * room
    theta = torch.from_numpy(np.column_stack([matrix, center]).astype(np.float32))[None]
    grid = affine_grid(theta, [1, 1, crop, crop], align_corners=False)
    source = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32))[None]
    if scale < 1:  # shrunk as in use, without what a coarser grid cannot show
        shape = [max(1, round(n * scale)) for n in (height, width)]
        source = interpolate(source, shape, mode="bilinear", align_corners=False, antialias=True)
    image = grid_sample(source, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    ids = torch.from_numpy(labels.astype(np.float32))[None, None]
    moved = grid_sample(ids, grid, mode="nearest", padding_mode="reflection", align_corners=False)
    components = relabel(moved[0, 0].numpy().astype(np.int32), connectivity=2)
    return image[0].permute(1, 2, 0).numpy(), components.astype(np.int32)


def _draw_scale(labels: NDArray[np.int32], rng: np.random.Generator, in_use: bool) -> float:
    """Frame pixels per image pixel: mostly as in use, or about it, else so that objects get any size.

    In use, small objects are enlarged and large ones shrunk (``inference.scale_search``), after a first look
    at them as they are.
    """
    areas = np.bincount(labels.ravel())[1:]
    areas = areas[areas > 0]
    diameter = 2 * float(np.sqrt(np.median(areas) / np.pi)) if len(areas) else WANTED
    if in_use:
        return measure_rescale(diameter)
    choice = rng.random()
    if choice < 0.15:
        return 1.0
    if choice < 0.75:
        about = 1.0 if choice < 0.5 else float(np.exp(rng.uniform(np.log(0.65), np.log(1.5))))
        return measure_rescale(diameter) * about
    wanted = np.exp(rng.uniform(np.log(12), np.log(64)))
    return float(np.clip(wanted / diameter, 0.4, 4.0))


def augment_intensity(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Vary colours, contrast, illumination, focus and noise of (H, W, 3) pixels in 0 .. 1."""
    out = pixels
    gray = bool(np.ptp(out.reshape(-1, 3), axis=1).max() < 1e-3)
    if not gray:
        out = _augment_colour(out, rng)
    if rng.random() < 0.12:
        out = 1 - out
    if rng.random() < 0.5:
        out = np.clip(out, 0, 1) ** float(np.exp(rng.normal(0, 0.35)))
    if rng.random() < 0.5:
        out = (out - 0.5) * float(np.exp(rng.normal(0, 0.2))) + 0.5 + float(rng.normal(0, 0.08))
    if rng.random() < 0.15:
        field = zoom(rng.normal(0, 1, (3, 3)), np.array(out.shape[:2]) / 3, order=1)
        out = out * (1 + 0.25 * field[: out.shape[0], : out.shape[1], None])
    if rng.random() < 0.15:
        sigma = float(rng.uniform(0.4, 1.5))
        out = gaussian_filter(out, (sigma, sigma, 0))
    if rng.random() < 0.3:
        strength = float(rng.exponential(0.04))
        shape = (*out.shape[:2], 1 if gray else 3)
        out = out + rng.standard_normal(shape, dtype=np.float32) * strength
    if rng.random() < 0.05:
        hot = rng.random(out.shape[:2]) < 0.001
        out = np.where(hot[..., None], 1.0, out)
    return np.clip(out, 0, 1.0).astype(np.float32)


def _augment_colour(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    choice = rng.random()
    if choice < 0.15:
        return np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2)
    if choice < 0.25:
        return pixels[..., rng.permutation(3)]
    if choice < 0.75:
        # Stain variation: shift and stretch optical density per channel.
        density = -np.log(np.clip(pixels, 1e-2, 1))
        density = density * np.exp(rng.normal(0, 0.2, 3)) + rng.normal(0, 0.03, 3)
        varied: NDArray[np.float32] = np.exp(-density).astype(np.float32)
        return varied
    return pixels

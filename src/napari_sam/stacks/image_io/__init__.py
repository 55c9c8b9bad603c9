"""Image files of every kind: which there are, and their planes with axes and scale."""

from __future__ import annotations

from napari_sam.stacks.image_io.image_stack import ImageStack, arrange_axes, fit_axes, pick_channels
from napari_sam.stacks.image_io.lazy_array import LazyArray
from napari_sam.stacks.image_io.listing import (
    IMAGE_SUFFIXES,
    LABELS_ENDING,
    TIFF_SUFFIXES,
    describe_unreadable,
    is_image_file,
    is_zarr,
    list_by_stem,
    list_images,
    name_image,
    strip_common,
)
from napari_sam.stacks.image_io.reading import open_image, read_image, read_labels

__all__ = [
    "IMAGE_SUFFIXES",
    "LABELS_ENDING",
    "TIFF_SUFFIXES",
    "ImageStack",
    "LazyArray",
    "arrange_axes",
    "describe_unreadable",
    "fit_axes",
    "is_image_file",
    "is_zarr",
    "list_by_stem",
    "list_images",
    "name_image",
    "open_image",
    "pick_channels",
    "read_image",
    "read_labels",
    "strip_common",
]

"""Labels in the formats of other programs, one file per format."""

from __future__ import annotations

from napari_sam.inference.whole_files import replace_file
from napari_sam.stacks.outputs.content import Content
from napari_sam.stacks.outputs.ome_zarr_labels import add_labels
from napari_sam.stacks.outputs.writing import (
    FORMATS,
    check_format,
    list_output_names,
    make_content,
    write_format,
    write_outputs,
)

__all__ = [
    "FORMATS",
    "Content",
    "add_labels",
    "check_format",
    "list_output_names",
    "make_content",
    "replace_file",
    "write_format",
    "write_outputs",
]

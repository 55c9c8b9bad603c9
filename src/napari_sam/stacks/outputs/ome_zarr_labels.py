"""Labels as OME-Zarr: a ``labels`` group, in a new zarr or beside the image they are of.

Pixels are copied block by block, so that labels of any size are written with little memory; the metadata are
ome-zarr's. An image that is there already keeps its version (0.4 in zarr 2, 0.5 in zarr 3).
"""

from __future__ import annotations

import warnings
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.errors import ImageError
from napari_sam.inference.whole_files import replace_folder
from napari_sam.stacks.image_io.units import LENGTHS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_sam.stacks.image_io import ImageStack
    from napari_sam.stacks.outputs.content import Content

__all__ = ["NAME", "add_labels", "write_ome_zarr"]

NAME: Final = "objects"
"""What a group of labels is called unless its user says so."""
CHUNK: Final = 512
COARSEST: Final = 1024
"""Levels are added until none of the plane's sides is longer."""
BLOCK: Final = 2048


def write_ome_zarr(folder: Path, content: Content, name: str = NAME) -> None:
    """Write a new zarr with nothing but labels: ``folder/labels/NAME``.

    Viewers that look for an image find the labels themselves: the metadata of the folder name their arrays.

    Parameters
    ----------
    folder : Path
        Must not exist.
    content : Content
    name : str
        Of the labels.
    """
    import zarr

    writer, (fmt, _) = _load_ome_zarr()
    root = zarr.open_group(folder, mode="w-", zarr_format=3)
    holder = root.create_group("labels")
    shapes = _plan_levels(tuple(int(n) for n in content.labels.data.shape))
    group = holder.create_group(name)
    datasets = _write_levels(group, content.labels, shapes)
    axes = _describe_axes(content.labels)
    writer.write_multiscales_metadata(group, datasets, fmt=fmt, axes=axes, name=name)
    writer.write_label_metadata(
        holder, name, properties=_list_properties(content), fmt=fmt, source={"image": "../../"}
    )
    inside = [{**level, "path": f"labels/{name}/{level['path']}"} for level in datasets]
    writer.write_multiscales_metadata(root, inside, fmt=fmt, axes=axes, name=content.labels.name or name)


def add_labels(image: Path, content: Content, name: str = NAME, *, overwrite: bool = False) -> Path:
    """Write labels into the OME-Zarr image that they are of, as ``image/labels/NAME``.

    Parameters
    ----------
    image : Path
        An OME-Zarr image, also one inside a plate.
    content : Content
        Labels of the image's shape without channels.
    name : str
        Of the labels; one word that can be a folder's name.
    overwrite : bool
        Whether labels of this name may be replaced.

    Returns
    -------
    Path
        The new group, complete or not there.

    Raises
    ------
    ImageError
        When it is no OME-Zarr image, or one of another shape.
    FileExistsError
        When there are labels of this name that may not be replaced.
    """
    import zarr

    writer, (modern, old) = _load_ome_zarr()
    if not name or any(sign in name for sign in "/\\:") or name.startswith((".", "_")):
        raise ImageError(f"Expected a name for the labels that can be a folder's, got {name!r}.")
    shapes = _read_shapes(image, content.labels)
    is_consolidated = zarr.open_group(image, mode="r").metadata.consolidated_metadata is not None
    root = zarr.open_group(image, mode="r+", use_consolidated=False)  # as it is, and will be with the labels
    version = int(root.metadata.zarr_format)
    fmt = modern if version == 3 else old
    holder = root["labels"] if "labels" in root else root.create_group("labels")

    def write(folder: Path) -> None:
        group = zarr.open_group(folder, mode="w-", zarr_format=version)
        datasets = _write_levels(group, content.labels, shapes)
        writer.write_multiscales_metadata(
            group, datasets, fmt=fmt, axes=_describe_axes(content.labels), name=name
        )

    target = image / "labels" / name
    replace_folder(target, write, overwrite=overwrite)
    attributes = dict(holder.attrs)
    listed = attributes.get("ome", attributes).get("labels", [])
    if name in listed:  # ome-zarr would list it twice
        _set_labels(holder, version, [other for other in listed if other != name])
    writer.write_label_metadata(
        holder, name, properties=_list_properties(content), fmt=fmt, source={"image": "../../"}
    )
    if is_consolidated:
        with warnings.catch_warnings():
            # that they are not in the specification of zarr 3
            warnings.simplefilter("ignore", UserWarning)
            zarr.consolidate_metadata(image, zarr_format=version)
    return target


def _load_ome_zarr() -> tuple[Any, tuple[Any, Any]]:
    """ome-zarr's writer and its formats 0.5 and 0.4; importing it warns of what only it uses itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from ome_zarr import writer
        from ome_zarr.format import FormatV04, FormatV05
    return writer, (FormatV05(), FormatV04())


def _set_labels(holder: Any, version: int, names: list[str]) -> None:
    if version == 3:
        holder.attrs["ome"] = {**holder.attrs["ome"], "labels": names}
    else:
        holder.attrs["labels"] = names


def _read_shapes(image: Path, labels: ImageStack) -> list[tuple[int, ...]]:
    """Shapes of the labels' levels: those of the image, without channels."""
    import zarr

    try:
        node = zarr.open_group(image, mode="r")
        metadata = dict(node.attrs)
        multiscale = metadata.get("ome", metadata)["multiscales"][0]
        axes = [str(a["name"] if isinstance(a, dict) else a).upper() for a in multiscale["axes"]]
        levels = [tuple(node[level["path"]].shape) for level in multiscale["datasets"]]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ImageError(f"Expected an OME-Zarr image to add labels to, got {image}.") from error
    shapes = [tuple(int(n) for axis, n in zip(axes, level, strict=True) if axis != "C") for level in levels]
    mine, own = tuple(int(n) for n in labels.data.shape), "".join(a for a in axes if a != "C")
    if not shapes or shapes[0] != mine or own != labels.axes:
        raise ImageError(
            f"Expected labels of the image's shape {shapes[0] if shapes else ()} ({own}) for {image}, got "
            f"{mine} ({labels.axes})."
        )
    return shapes


def _plan_levels(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    shapes, factor = [shape], 1
    while max(shapes[-1][-2:]) > COARSEST:
        factor *= 2
        shapes.append((*shape[:-2], *(-(-n // factor) for n in shape[-2:])))
    return shapes


def _write_levels(group: Any, labels: ImageStack, shapes: Sequence[tuple[int, ...]]) -> list[dict[str, Any]]:
    """Copy the labels into arrays "0", "1" ...; what ``multiscales`` says of them."""
    dtype = np.dtype(labels.data.dtype)
    dtype = np.dtype(np.uint8) if dtype == np.bool_ else dtype
    modern = int(group.metadata.zarr_format) == 3
    arrays, datasets = [], []
    for number, shape in enumerate(shapes):
        options: dict[str, Any] = (
            {"dimension_names": list(labels.axes.lower())}
            if modern
            else {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
        )
        leading = [1] * (len(shape) - 2)
        chunks = [*leading, *(min(CHUNK, n) for n in shape[-2:])]
        arrays.append(
            group.create_array(str(number), shape=shape, chunks=chunks, dtype=dtype, fill_value=0, **options)
        )
        steps = [
            labels.scale.get(axis, 1.0) * full / n
            for axis, full, n in zip(labels.axes, shapes[0], shape, strict=True)
        ]
        datasets.append(
            {"path": str(number), "coordinateTransformations": [{"type": "scale", "scale": steps}]}
        )
    # pixel i of a coarse level is the fine pixel at the middle of what it covers
    picks = [[_pick(full, n) for full, n in zip(shapes[0], shape, strict=True)] for shape in shapes]
    for index, plane in labels.planes():
        for rows, cols in _iter_blocks(shapes[0][-2:]):
            block = np.asarray(plane[rows, cols]).astype(dtype, copy=False)
            if block.any():
                for array, chosen in zip(arrays, picks, strict=True):
                    _write_block(array, chosen, index, (rows, cols), block)
    return datasets


def _write_block(
    array: Any,
    picks: list[NDArray[np.int64]],
    index: tuple[int, ...],
    place: tuple[slice, slice],
    block: NDArray[Any],
) -> None:
    """Write the pixels of a block that a level has picked."""
    hits = [np.flatnonzero(line == number) for line, number in zip(picks, index, strict=False)]
    for where in product(*hits):
        parts, targets = [], []
        for line, part in zip(picks[-2:], place, strict=True):
            low, high = (int(i) for i in np.searchsorted(line, [part.start, part.stop]))
            parts.append(line[low:high] - part.start)
            targets.append(slice(low, high))
        values = block[np.ix_(*parts)]
        if values.size:
            array[(*(int(i) for i in where), *targets)] = values


def _pick(full: int, count: int) -> NDArray[np.int64]:
    return ((np.arange(count) + 0.5) * full / count).astype(np.int64)


def _iter_blocks(shape: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    for row, col in product(range(0, shape[0], BLOCK), range(0, shape[1], BLOCK)):
        yield slice(row, min(row + BLOCK, shape[0])), slice(col, min(col + BLOCK, shape[1]))


def _describe_axes(labels: ImageStack) -> list[dict[str, str]]:
    axes = []
    for axis in labels.axes:
        described = {"name": axis.lower(), "type": "time" if axis == "T" else "space"}
        if axis == "T" and "T" in labels.scale:
            described["unit"] = "second"
        elif axis != "T" and labels.unit in LENGTHS:
            described["unit"] = labels.unit
        axes.append(described)
    return axes


def _list_properties(content: Content) -> list[dict[str, Any]] | None:
    return [
        {"label-value": int(label), **{k: v for k, v in known.items() if v == v}}
        for label, known in sorted(content.properties.items())
    ] or None

"""Deleting and merging many objects at once, each as one step of the history."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from napari_sam.session.edits import Edits, LabelEdit
    from napari_sam.session.patches import Index

__all__ = ["delete_objects", "merge_objects"]


def delete_objects(edits: Edits, layer: Hashable, labels: Sequence[int], like: Index) -> LabelEdit:
    """Take objects away, in every plane.

    Parameters
    ----------
    edits : Edits
        Writes and remembers it.
    layer : Hashable
        Token of the layer.
    labels : sequence of int
        Ids of the objects.
    like : tuple of int or None
        Index of any plane: which axes are rows and columns.

    Raises
    ------
    SamError
        When the layer is gone or cannot be written; nothing has changed then.
    """
    title = f"delete object {labels[0]}" if len(labels) == 1 else f"delete {len(labels)} objects"
    builder = edits.begin(layer, title)
    for label in labels:
        for index in builder.surface.planes_of(label, like):
            builder.erase(index, builder.mask_of(index, label), label)
        builder.records(label, ())
    return builder.commit()


def merge_objects(edits: Edits, layer: Hashable, labels: Sequence[int], like: Index) -> LabelEdit:
    """Make objects one, in every plane, under the lowest of their ids.

    Parameters
    ----------
    edits, layer, like
        As for ``delete_objects``.
    labels : sequence of int
        Ids of the objects, two or more.

    Raises
    ------
    SamError
        When the layer is gone or cannot be written; nothing has changed then.
    """
    kept, *others = sorted(labels)
    builder = edits.begin(layer, f"merge {len(labels)} objects into {kept}")
    for label in others:
        for index in builder.surface.planes_of(label, like):
            builder.set(index, builder.mask_of(index, label), kept, keep="overwrite")
        builder.records(label, ())
    builder.records(kept, [record.touched() for record in builder.records_of(kept)])
    return builder.commit()

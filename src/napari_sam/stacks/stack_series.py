"""The planes of a stack segmented and linked, series by series, and written as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.inference.candidates import draw_with_indices, filter_candidates
from napari_sam.stacks.linking import Linker
from napari_sam.stacks.trackastra_links import find_links, load_tracker
from napari_sam.stacks.tracks import measure_tracks
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from numpy.typing import NDArray

    from napari_sam.inference.candidates import Candidates
    from napari_sam.inference.filter_params import FilterParams
    from napari_sam.stacks.link_params import LinkParams
    from napari_sam.stacks.linking import Axis, Linked
    from napari_sam.stacks.plane_writer import PlaneWriter
    from napari_sam.stacks.stack_planes import StackPlanes

    Index = tuple[int, ...]
    Steps = Generator[Progress, None, None]

__all__ = ["StackSeries"]

SCORES = ("predicted_iou", "stability")


class StackSeries:
    """All series of planes along one axis of a stack; of most stacks there is just one.

    Parameters
    ----------
    planes : StackPlanes
        What is segmented.
    find : callable
        Takes a plane and gives the job that finds its candidates.
    filters : FilterParams
        Which candidates are objects.
    writer : PlaneWriter
        Where labels go.
    params : LinkParams
        How they are linked.
    known : dict of index to Candidates
        What was found in some planes already.
    tracker : str or trackastra.model.Trackastra
        Who links frames.

    Attributes
    ----------
    linked : list of Linked
        One per series that is finished.
    columns : dict of str to (m,) array
        One row per object and plane, see ``measure_tracks``; of all series.
    parents : dict of int to tuple of int
    """

    def __init__(
        self,
        planes: StackPlanes,
        find: Callable[[Any], Generator[Progress, None, Candidates]],
        filters: FilterParams,
        writer: PlaneWriter,
        params: LinkParams,
        known: dict[Index, Candidates] | None = None,
        tracker: Any = "overlap",
    ) -> None:
        self.linked: list[Linked] = []
        self.parents: dict[int, tuple[int, ...]] = {}
        self._tables: list[dict[str, NDArray[Any]]] = []
        self._planes = planes
        self._find = find
        self._filters = filters
        self._writer = writer
        self._params = params
        self._known = dict(known or {})
        self._tracker = tracker
        self._done = 0
        self._count = 0

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        """The tables of all series, one after the other."""
        names = self._tables[0] if self._tables else ()
        return {name: np.concatenate([table[name] for table in self._tables]) for name in names}

    def link(self, axis: Axis) -> Steps:
        """Segment and link everything, as a job."""
        leading = self._planes.leading
        place = self._planes.find_axis(axis)
        others = [n for n in range(len(leading)) if n != place]
        inner = self._planes.find_axis("z") if axis == "t" and others else None
        if inner == place:
            inner = others[-1]
        outer = [n for n in others if n != inner]
        for chosen in np.ndindex(*(leading[n] for n in outer)):
            fixed = dict(zip(outer, chosen, strict=True))
            if inner is None:
                yield from self._link_planes(axis, place, fixed)
            else:
                yield from self._link_volumes(place, inner, fixed)

    def _link_planes(self, axis: Axis, place: int, fixed: dict[int, int]) -> Steps:
        """One series of planes."""
        linker, scores = Linker(axis, self._params), []
        indices = self._indices(place, fixed)
        try:
            for index in indices:
                labels, known = yield from self._segment(index)
                scores.append(known)
                yield self._finish_plane(index, linker.add(labels))
        finally:
            self._writer.flush()
        linked = yield from self._finish(linker, indices)
        for number, index in enumerate(indices):
            final = linked.relabel_provisional(number, self._read(index))
            self._write(index, final)
            yield Progress(number + 1, len(indices), "Linking plane")
        self._writer.flush()
        self._take(linked, {name: [known[name] for known in scores] for name in SCORES}, fixed)

    def _finish(self, linker: Linker, indices: Sequence[Index]) -> Generator[Progress, None, Linked]:
        """Link what was added, by whom the user chose."""
        if self._tracker == "overlap":
            return linker.finish()
        yield Progress(self._done, len(self._planes), "Tracking with Trackastra")
        tracker = load_tracker(self._tracker)

        def find(apart: Linked) -> Any:
            planes = [np.asarray(self._planes.plane(index)) for index in indices]
            images = np.stack([plane if plane.ndim == 2 else plane.mean(axis=2) for plane in planes])
            masks = [apart.relabel_provisional(n, self._read(index)) for n, index in enumerate(indices)]
            return find_links(tracker, images, np.stack(masks), divisions=self._params.divisions)

        return linker.finish(find)

    def _link_volumes(self, place: int, inner: int, fixed: dict[int, int]) -> Steps:
        """One series of volumes, each linked along z before."""
        linker = Linker("t", self._params)
        times = range(self._planes.leading[place])
        for time in times:
            sections = Linker("z", self._params)
            indices = self._indices(inner, fixed | {place: time})
            for index in indices:
                labels, _ = yield from self._segment(index)
                yield self._finish_plane(index, sections.add(labels))
            self._writer.flush()
            linked = sections.finish()
            volume = np.stack(
                [linked.relabel_provisional(n, self._read(index)) for n, index in enumerate(indices)]
            )
            yield Progress(time + 1, len(times), "Linking volume")
            for index, labels in zip(indices, linker.add(volume), strict=True):
                self._write(index, labels)
            self._writer.flush()
        found = linker.finish()
        for time in times:
            indices = self._indices(inner, fixed | {place: time})
            volume = np.stack([self._read(index) for index in indices])
            for index, labels in zip(indices, found.relabel_provisional(time, volume), strict=True):
                self._write(index, labels)
            self._writer.flush()
            yield Progress(time + 1, len(times), "Linking volume")
        self._take(found, {}, fixed)

    def _segment(
        self, index: Index
    ) -> Generator[Progress, None, tuple[NDArray[np.int32], dict[str, NDArray[Any]]]]:
        """Labels of one plane, and the scores of each."""
        total = len(self._planes)
        candidates = self._known.pop(index, None)
        if candidates is None:
            job = self._find(self._planes.plane(index))
            try:
                while True:
                    step = next(job)
                    part = f" part {step.done + 1} of {step.total} of plane" if step.total > 1 else " plane"
                    yield Progress(self._done, total, "Segmenting" + part)
            except StopIteration as end:
                candidates = end.value
            finally:
                job.close()
        labels, shown = draw_with_indices(candidates, filter_candidates(candidates, self._filters))
        return labels, {score: getattr(candidates, score)[shown] for score in SCORES}

    def _finish_plane(self, index: Index, shown: NDArray[np.int32]) -> Progress:
        self._write(index, shown)
        self._done += 1
        total = len(self._planes)
        number = index[0] if len(index) == 1 else index
        return Progress(self._done, total, "Segmenting plane", (number, self._offset(shown)))

    def _indices(self, along: int, fixed: dict[int, int]) -> Sequence[Index]:
        """The planes along one axis."""
        leading = self._planes.leading
        return [
            tuple(k if n == along else fixed[n] for n in range(len(leading))) for k in range(leading[along])
        ]

    def _offset(self, labels: NDArray[np.int32]) -> NDArray[np.int32]:
        """Ids after those of the series before."""
        return np.where(labels > 0, labels + np.int32(self._count), np.int32(0)) if self._count else labels

    def _write(self, index: Index, labels: NDArray[np.int32]) -> None:
        self._writer.write(index, self._offset(labels))

    def _read(self, index: Index) -> NDArray[np.int64]:
        """A plane as it was written, with the ids of this series."""
        labels = self._writer.read(index).astype(np.int64)
        return np.where(labels > 0, labels - self._count, 0)

    def _take(self, linked: Linked, scores: dict[str, Any], fixed: dict[int, int]) -> None:
        """Keep what is known of a series, under the ids that it has among all."""
        table = measure_tracks(linked, scores)
        letters = self._planes.letters.lower()
        for n, value in fixed.items():
            if n < len(letters) and letters[n] not in table:
                table[letters[n]] = np.full(len(table["id"]), value)
        table["id"] = table["id"] + self._count
        self._tables.append(table)
        for daughter, mothers in linked.parents.items():
            self.parents[daughter + self._count] = tuple(mother + self._count for mother in mothers)
        self.linked.append(linked)
        self._count += linked.count

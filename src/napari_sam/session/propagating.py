"""Following objects through the planes of a stack: what the user asks, and what becomes of the answer.

All that a run finds is written into the layer as one edit, one item of the history, when it ends; also when
it is cancelled or fails, with what was found until then.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_sam.errors import SamError
from napari_sam.inference.propagation_values import Anchor, PlaneObject, PropagationParams
from napari_sam.session.decoding import maker_of
from napari_sam.session.jobs import LONG, Job, JobRunner
from napari_sam.session.propagation_tracks import Known, PlaneImages, Stack, Track, read_object
from napari_sam.session.propagation_writing import Memory, PropagationStep, write_objects
from napari_sam.session.provenance import Maker
from napari_sam.types import Progress, Prompts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Hashable, Mapping, Sequence

    from napari_sam.session.edits import Edits
    from napari_sam.session.history import History
    from napari_sam.session.predictors import PredictorPool
    from napari_sam.session.requests import Engine, ModelChoice

__all__ = ["NEW", "Propagating", "PropagationRequest", "Run"]

SLOT = "propagate"
NEW = 0
"""Stands for the object under work, which gets its id when it is written."""


@dataclass(frozen=True, slots=True, eq=False)
class PropagationRequest:
    """What the user asked for.

    Attributes
    ----------
    stack : Stack
        The planes.
    layer : Hashable
        Token of the Labels layer that is written to.
    model : ModelChoice
        Which model answers.
    labels : tuple of int
        Objects of the layer to be followed; ``NEW`` for the one that ``prompts`` mean.
    prompts : dict of int to Prompts
        By plane number: those of the new object, or corrections of the only label.
    params : PropagationParams
        How they are followed.
    overwrite : bool
        Whether other objects lose their pixels to them.
    clear : callable or None
        Takes the prompts away (False) or puts them back (True), when they have become an object.
    """

    stack: Stack
    layer: Hashable
    model: ModelChoice
    labels: tuple[int, ...]
    prompts: Mapping[int, Prompts] = field(default_factory=dict)
    params: PropagationParams = field(default_factory=PropagationParams)
    overwrite: bool = False
    clear: Callable[[bool], None] | None = None


@dataclass(eq=False, slots=True)
class Run:
    """A request under way.

    Attributes
    ----------
    request : PropagationRequest
        What was asked.
    known : dict of int to Known
        By label, what was known before.
    stops : dict of int to frozenset of int
        By label, where it ends.
    earlier : dict of int to mapping of int to PlaneObject
        By label, how it was found before.
    found : dict of int to dict of int to PlaneObject
        By label and plane number, what was found so far.
    last : tuple or None
        What the user looked at before.
    maker : Maker
        The model that answers.
    progress : Progress
        How far it is.
    """

    request: PropagationRequest
    known: dict[int, Known]
    stops: dict[int, frozenset[int]]
    earlier: dict[int, Mapping[int, PlaneObject]] = field(default_factory=dict)
    found: dict[int, dict[int, PlaneObject]] = field(default_factory=dict)
    last: tuple[Hashable, tuple[int, ...], Stack] | None = None
    maker: Maker = field(default_factory=Maker)
    progress: Progress = field(default_factory=lambda: Progress(0, 0))
    dropped: bool = False


class Propagating:
    """Runs propagations, one at a time, and remembers what they did.

    Parameters
    ----------
    engine : Engine
        What follows objects.
    runner : JobRunner
        What computes.
    pool : PredictorPool
        Where the worker finds the predictor.
    edits : Edits
        What writes.
    history : History
        Where each run is one step.
    """

    progressed = Signal(object)  # Progress, or None when it is over
    changed = Signal()  # tracks, stops or what was found
    written = Signal(object, object)  # token of the layer, labels of the objects that a run has written
    said = Signal(str)
    warned = Signal(str)
    failed = Signal(str)

    def __init__(
        self, engine: Engine, runner: JobRunner, pool: PredictorPool, edits: Edits, history: History
    ) -> None:
        self._engine = engine
        self._runner = runner
        self._pool = pool
        self._edits = edits
        self._history = history
        self._run: Run | None = None
        self._tracks: dict[tuple[Hashable, int, Hashable], Track] = {}
        self._stops: dict[tuple[Hashable, int, Hashable], frozenset[int]] = {}
        self.last: tuple[Hashable, tuple[int, ...], Stack] | None = None

    # ------------------------------------------------------------- what is
    @property
    def is_running(self) -> bool:
        """True while a run is under way."""
        return self._run is not None

    @property
    def run(self) -> Run | None:
        """What is under way."""
        return self._run

    def track(self, layer: Hashable, label: int, stack: Stack) -> Track | None:
        """What is known of an object that was propagated."""
        return self._tracks.get((layer, label, stack.key))

    def stops(self, layer: Hashable, label: int, stack: Stack) -> frozenset[int]:
        """Planes that an object does not enter."""
        return self._stops.get((layer, label, stack.key), frozenset())

    def results(self, layer: Hashable, label: int, stack: Stack) -> dict[int, PlaneObject]:
        """By plane number, how an object was found; of the run under way what it has so far."""
        track, run = self.track(layer, label, stack), self._run
        found = {} if track is None else dict(track.results)
        if run is not None and run.request.layer == layer and run.request.stack.key == stack.key:
            found |= run.found.get(label, {})
        return dict(sorted(found.items()))

    def set_stops(self, layer: Hashable, label: int, stack: Stack, planes: Collection[int]) -> None:
        """Choose the planes that an object does not enter; the next run heeds them."""
        self._stops[layer, label, stack.key] = frozenset(planes)
        self.changed.emit()

    # ------------------------------------------------------------- running
    def start(self, request: PropagationRequest) -> None:
        """Read what is known of the objects, and follow them as a job.

        Raises
        ------
        SamError
            When a run is under way, the layer cannot be written, or nothing is known of an object.
        """
        if self._run is not None:
            raise SamError("Propagation is running already: cancel it first.")
        if not request.labels:
            raise SamError(
                "Nothing to propagate: click on an object, or select a label that is in the stack."
            )
        builder = self._edits.begin(request.layer, "propagate")
        known, stops, earlier = {}, {}, {}
        for label in request.labels:
            stops[label] = self.stops(request.layer, label, request.stack)
            if label == NEW:
                anchors = tuple(Anchor(n, prompts=p) for n, p in sorted(request.prompts.items()))
                known[label] = Known(anchors)
                continue
            track = self.track(request.layer, label, request.stack)
            earlier[label] = {} if track is None else track.results
            said = request.prompts if len(request.labels) == 1 else {}
            known[label] = read_object(builder, request.stack, label, track, said, stops[label])
            if track is not None and track.params != request.params:
                known[label] = replace(known[label], changed=None)
            if not known[label].anchors and not any(mask.area for mask in known[label].fixed.values()):
                raise SamError(f"Expected object {label} in a plane of this stack, got none; choose another.")
        self._run = run = Run(request, known, stops, earlier, last=self.last)
        self.last = (request.layer, request.labels, request.stack)
        self.progressed.emit(Progress(0, 0, "Propagating"))
        self._runner.submit(
            Job(
                "Propagating",
                lambda: self._steps(run),
                slot=SLOT,
                priority=LONG,
                on_progress=lambda progress: self._on_progress(run, progress),
                on_done=lambda _: self._end(run),
                on_failed=lambda message: self._end(run, "Stopped", message),
                on_cancelled=lambda _: self._end(run, "Cancelled"),
            )
        )

    def cancel(self) -> None:
        """Stop at the next plane; what is found is written."""
        self._runner.cancel(SLOT)

    def end(self) -> None:
        """Stop now, for nobody waits for the next plane any more; what is found is written."""
        run = self._run
        if run is not None:
            self.cancel()
            self._end(run, "Ended")

    def forget(self) -> None:
        """Another image: nothing that was found belongs to it."""
        if self._run is not None:
            self._run.dropped = True
            self.cancel()
        self._tracks.clear()
        self._stops.clear()
        self.last = None
        self.changed.emit()

    def _steps(self, run: Run) -> Generator[Progress, None, Any]:
        request = run.request
        yield Progress(0, 0, f"Loading model {request.model.name}")
        predictor = self._pool.predictor(request.model, request.stack.planes[0])
        run.maker = maker_of(request.model, predictor)
        images = PlaneImages(request.stack.planes)
        full = {label for label, known in run.known.items() if known.changed is None}
        for labels, partly in ((full, False), (set(run.known) - full, True)):
            if labels:
                yield from self._follow(run, images, predictor, labels, partly)

    def _follow(
        self, run: Run, images: Sequence[Any], predictor: Any, labels: set[int], partly: bool
    ) -> Generator[Progress, None, Any]:
        chosen = {label: run.known[label] for label in run.known if label in labels}
        return (
            yield from self._engine.iter_propagate(
                images,
                predictor,
                {label: known.anchors for label, known in chosen.items()},
                stops={label: run.stops[label] for label in chosen},
                fixed={label: known.fixed for label, known in chosen.items()},
                params=run.request.params,
                before={label: known.before for label, known in chosen.items()},
                changed={label: known.changed or () for label, known in chosen.items()} if partly else None,
            )
        )

    # ------------------------------------------------------------- answers
    def _on_progress(self, run: Run, progress: Progress) -> None:
        run.progress = progress
        if run.dropped or run is not self._run:
            return
        for result in progress.partial or ():
            run.found.setdefault(result.id, {})[result.plane] = result
        try:
            self._edits.surface(run.request.layer)
        except SamError as error:  # its layer was deleted: nothing that is found has a place any more
            run.dropped = True
            self.cancel()
            self.warned.emit(str(error))
        self.progressed.emit(progress)
        self.changed.emit()

    def _end(self, run: Run, ending: str = "", failure: str = "") -> None:
        if run is not self._run:  # it was ended before
            return
        self._run = None
        self.progressed.emit(None)
        if run.dropped:
            self.said.emit("Propagation stopped: nothing was written.")
        else:
            try:
                self.said.emit(self._write(run, ending))
            except SamError as error:
                self.said.emit(str(error))
                self.warned.emit(str(error))
            if failure:
                self.failed.emit(failure)
        self.changed.emit()

    def _write(self, run: Run, ending: str) -> str:
        """Write what was found, as one step; what to say of it."""
        request = run.request
        wrote = write_objects(self._edits, run)
        lost = ""
        if wrote is not None and wrote.gone:
            lost = f"; {_name(wrote.gone)} {'was' if len(wrote.gone) == 1 else 'were'} gone"
        if wrote is None or not wrote.labels:
            return f"{ending or 'Propagated'}: nothing was changed{lost}."
        keys = {label: (request.layer, label, request.stack.key) for label in (NEW, *wrote.tracks)}
        stops, moved = {}, {}
        if NEW in wrote.labels:  # what was said of the object under work is said of its id from now on
            new, own = keys[NEW], keys[wrote.labels[NEW]]
            stops = {key: self._stops.get(key, frozenset()) for key in (new, own)}
            moved = {new: frozenset[int](), own: stops[new]}
        labels = tuple(wrote.labels.values())
        tracks = {keys[label]: track for label, track in wrote.tracks.items()}
        before = Memory({key: self._tracks.get(key) for key in tracks}, stops, run.last)
        after = Memory(tracks, moved, (request.layer, labels, request.stack))
        self._put(after)
        if not wrote.edit.is_empty:
            clear = request.clear if NEW in request.labels or request.prompts else None
            if clear is not None:
                clear(False)
            self._history.push(PropagationStep(self._edits, wrote.edit, before, after, self._put, clear))
        self.written.emit(request.layer, labels)
        text = f"{ending + ': ' if ending else ''}{_name(labels)} in {wrote.planes} planes"
        flags = f", {wrote.flags} flagged" if wrote.flags else ""
        return f"{text[:1].upper()}{text[1:]}{flags}{lost}."

    def _put(self, memory: Memory) -> None:
        for key, track in memory.tracks.items():
            if track is None:
                self._tracks.pop(key, None)
            else:
                self._tracks[key] = track
        self._stops |= memory.stops
        self.last = memory.last
        self.changed.emit()


def _name(labels: tuple[int, ...]) -> str:
    return f"object {labels[0]}" if len(labels) == 1 else f"{len(labels)} objects"

"""Automatic objects: found once, then chosen by thresholds that may be changed at any time.

The candidates of the last result stay here, so that another threshold only filters and draws them
anew. Where they are drawn is the business of the ``sink``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_sam.errors import SamError
from napari_sam.inference.candidates import explain_nothing, filter_candidates
from napari_sam.session.auto_fill import AutoFill
from napari_sam.session.auto_measuring import Measuring
from napari_sam.session.auto_requests import (
    WHAT_HELPS,
    AutoRequest,
    AutoState,
    ObjectsSink,
    Shown,
    Written,
    without_pixels,
)
from napari_sam.session.auto_thresholds import Thresholds
from napari_sam.session.candidate_cache import CandidateCache
from napari_sam.session.provenance import now
from napari_sam.session.segmenting import Run, Segmenting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_sam.inference.candidates import Candidates, FilterParams
    from napari_sam.session.jobs import JobRunner
    from napari_sam.session.predictors import PredictorPool
    from napari_sam.session.provenance import Maker, ObjectRecord
    from napari_sam.session.requests import Engine

__all__ = ["AutoObjects"]

NOTHING_YET = "The thresholds change the result live, once there is one."


class AutoObjects:
    """The last automatic result, its thresholds, and what was found before.

    Parameters
    ----------
    engine : Engine
        What segments.
    runner : JobRunner
        What computes.
    pool : PredictorPool
        Where the worker finds predictor and pixels.

    Attributes
    ----------
    sink : ObjectsSink or None
        Where objects are shown.
    """

    progressed = Signal(object)  # Progress, or None when it is over
    changed = Signal()  # ``state`` has
    said = Signal(str)  # for the status line
    warned = Signal(str)  # for a notification as well
    failed = Signal(str)
    filled = Signal(object)  # AutoFill, a result that was just written
    recorded = Signal(object, object)  # layer token, records by label, none for those that are gone

    def __init__(self, engine: Engine, runner: JobRunner, pool: PredictorPool) -> None:
        self.sink: ObjectsSink | None = None
        self._cache = CandidateCache()
        self._thresholds = Thresholds()
        self._shown: Shown | None = None
        self._written: Written | None = None
        self._fill: AutoFill | None = None
        self._taken: tuple[AutoFill, Shown, Written] | None = None  # of the result, while it is taken back
        self._note = NOTHING_YET
        self._so_far = 0
        self._outdated = False  # another image was chosen since the run began
        self._makers: dict[AutoRequest, tuple[Maker | None, str]] = {}
        self._measuring = Measuring(runner, pool)
        self._measuring.done.connect(self._on_measured)
        self._measuring.failed.connect(self.warned.emit)
        self._segmenting = Segmenting(engine, runner, pool)
        self._segmenting.progressed.connect(self.progressed.emit)
        self._segmenting.grown.connect(self._on_segmenting_grown)
        self._segmenting.done.connect(self._on_segmenting_done)
        self._segmenting.failed.connect(self._on_segmenting_failed)
        self._segmenting.cancelled.connect(self._on_segmenting_cancelled)

    # ------------------------------------------------------------- what is
    @property
    def is_running(self) -> bool:
        """True while a plane is being segmented."""
        return self._segmenting.is_running

    @property
    def params(self) -> FilterParams:
        """The thresholds in use."""
        return self._thresholds.params

    @property
    def state(self) -> AutoState:
        """What a panel shows."""
        shown, defaults = self._shown, self._thresholds.defaults
        if shown is None:
            return AutoState(self._note, False, self.params, defaults)
        return AutoState.of(shown, self._note, self.params, defaults)

    def thresholds_of(self, model: str, method: str) -> dict[str, Any]:
        """What the user has set for a model and a method."""
        return self._thresholds.of(model, method)

    # ------------------------------------------------------------- finding
    def start(self, request: AutoRequest) -> None:
        """Find the objects of a plane, or show at once what was found before.

        Raises
        ------
        SamError
            When there is nothing to segment, or the result could not be shown.
        """
        if request.region is not None and request.region.region.is_empty:
            raise SamError(
                f"Expected a region with pixels of {request.plane.name!r}, got none in "
                f"{request.region.name!r}; draw it on this plane, or choose the whole plane."
            )
        if self.sink is not None:
            self.sink.begin(request)
        self._release("Looking for objects …")
        self._taken = None
        self._so_far = 0
        self._outdated = False
        self._thresholds.use(request)
        self.changed.emit()
        found = self._cache.get(request)
        if found is None:
            self._segmenting.start(request)
        else:
            self._take(Run(request, found[1]), found[0])

    def cancel(self) -> None:
        """Stop at the next step; what is finished is kept, and measured."""
        self._segmenting.cancel()

    def forget(self) -> None:
        """Another image: what was found is not used again; thresholds go on, but hold no pixels any more."""
        self._cache.clear()
        self._outdated = True
        if self._shown is not None:
            self._shown = self._shown.without_pixels()
        if self._taken is not None:
            fill, shown, written = self._taken
            self._taken = fill, shown.without_pixels(), written
        kept = [shown.request for shown in (self._shown, self._taken and self._taken[1]) if shown is not None]
        self._makers = {request: self._makers[request] for request in kept if request in self._makers}

    # ------------------------------------------------------------- thresholds
    def set_params(self, changes: Mapping[str, Any], *, settle: bool = True) -> None:
        """Change thresholds and show the objects that pass them.

        Parameters
        ----------
        changes : mapping of str to value
            Fields of ``FilterParams``.
        settle : bool
            Measure the objects too; False while more changes are coming, see ``settle``.

        Raises
        ------
        SamError
            When there is no such threshold, or a value is impossible.
        """
        self._thresholds.change(changes)
        self._filter(settle)

    def reset(self) -> None:
        """Back to the thresholds of the method."""
        self._thresholds.reset()
        self._filter(settle=True)

    def settle(self) -> None:
        """Measure the objects that are shown, in the worker; their table follows."""
        if self._fill is not None and self._shown is not None:
            self._measure(self._fill, self._shown)

    def release(self, reason: str) -> None:
        """The result's layer is no longer ours to change: thresholds have no effect any more."""
        if self._shown is not None:
            self._release(reason)
            self.said.emit(reason)
            self.changed.emit()

    def _release(self, reason: str) -> None:
        fill, shown = self._fill, self._shown
        self._shown = self._written = self._fill = None
        self._note = reason
        if fill is not None and shown is not None and fill.due is not None:
            fill.record(fill.due.layer, {})  # what is drawn next may have the id of an object that is gone
            self._measure(fill, shown)

    def _filter(self, settle: bool) -> None:
        shown = self._shown
        if shown is not None:
            params = self.params
            kept = filter_candidates(shown.candidates, params)
            self._show(replace(shown, kept=kept, params=params))
            if settle:
                self.settle()
        self.changed.emit()

    def _show(self, shown: Shown) -> None:
        """Draw; a result that cannot be drawn any more is let go of."""
        try:
            written = None if self.sink is None else self.sink.show(shown)
        except SamError as error:
            self._release(str(error))
            self.warned.emit(str(error))
            return
        self._shown, self._written = shown, written
        self._note = ""
        if written is None:
            return
        count, passed = len(written.ids), len(shown.kept)
        if count < passed:
            self._note = f"{count} of {len(shown.candidates)} objects ({passed - count} have no room)"
        if self._fill is None or self._fill.fill is not written.fill:
            self._fill = AutoFill(self, written.fill)
            self.filled.emit(self._fill)
        self._fill.due = written

    def _measure(self, fill: AutoFill, shown: Shown) -> None:
        self._measuring.start(fill, shown, *self._makers.get(shown.request, (None, now())))

    # ------------------------------------------------------------- answers
    def _take(self, run: Run, candidates: Candidates, ending: str = "") -> None:
        """Show the result of a run, all of it or what was finished."""
        self._thresholds.use(run.request, run.defaults)
        if self._outdated:
            run.request = replace(run.request, plane=without_pixels(run.request.plane))
        if run.maker is not None:  # else it comes from the cache, and was made then
            self._makers[run.request] = run.maker, run.created
        name = run.request.plane.name
        if len(candidates) == 0:
            if self.sink is not None:
                self.sink.end()
            if ending:
                self.said.emit(f"{ending}; nothing was changed.")
                self._note = NOTHING_YET
            else:
                self._note = "No objects were found."
                self.said.emit("0 objects segmented.")
                self.warned.emit(f"No objects were found in {name!r}; no layer was added. {WHAT_HELPS}")
            self.changed.emit()
            return
        params = self.params
        shown = Shown(run.request, candidates, filter_candidates(candidates, params), params)
        self._show(shown)
        self.changed.emit()
        if self._shown is None:
            return
        written = self._written
        if written is None and len(shown.kept):  # its layer was deleted meanwhile
            self._release(NOTHING_YET)
            self.said.emit(f"{ending or 'Stopped'}; nothing was changed.")
            self.changed.emit()
            return
        count = 0 if written is None else len(written.ids)
        note = "" if written is None or not written.note else f" {written.note}"
        if ending:
            self.said.emit(f"{ending}; {count} objects of the finished part are kept.{note}")
        else:
            self.said.emit(f"{count} objects segmented.{note}")
        if len(shown.kept) == 0:
            text = explain_nothing(candidates, self.params)
            self.warned.emit(f"{text[:1].upper()}{text[1:]}.")
        elif count == 0:
            self.warned.emit(f"There is no room for any of {len(shown.kept)} objects of {name!r}.")
        self.settle()

    def _on_segmenting_grown(self, run: Run, part: Candidates) -> None:
        self._thresholds.use(run.request, run.defaults)
        kept = filter_candidates(part, self.params)
        self._so_far += len(kept)
        self._note = f"{self._so_far} objects so far"
        if self.sink is not None:
            try:
                self.sink.add_part(part, kept)
            except SamError as error:  # a result that cannot be shown is not worth computing
                self.cancel()
                self.warned.emit(str(error))
        self.changed.emit()

    def _on_segmenting_done(self, run: Run, candidates: Candidates) -> None:
        if not self._outdated:
            self._cache.put(run.request, candidates, run.defaults)
        self._take(run, candidates)

    def _on_segmenting_cancelled(self, run: Run) -> None:
        self._take(run, run.so_far, "Cancelled")

    def _on_segmenting_failed(self, run: Run, message: str) -> None:
        self._take(run, run.so_far, "Stopped")
        self.failed.emit(message)

    def _on_measured(
        self,
        fill: AutoFill,
        written: Written,
        columns: dict[str, NDArray[Any]],
        records: dict[int, tuple[ObjectRecord, ...]],
    ) -> None:
        if fill.due is not written or self.sink is None:  # what was drawn since is measured next
            return
        fill.due = None
        if self._written is written:
            self.sink.write_table(written, columns)
        elif fill.is_there:
            left = self.sink.write_rest(written, columns)
            records = {label: records[label] for label in left.tolist()}
        fill.record(written.layer, records)

    # ------------------------------------------------------------- steps of the history
    def held_by(self, fill: AutoFill) -> tuple[Shown, Written] | None:
        """What is shown of a step of the history, where that is the present result."""
        shown, written = self._shown, self._written
        return (shown, written) if self._fill is fill and shown is not None and written is not None else None

    def let_go(self, fill: AutoFill, shown: Shown, written: Written, reason: str) -> None:
        """The present result was taken back: its thresholds have no effect until it is there again."""
        self._taken = fill, shown, written
        self.release(reason)

    def resume(self, fill: AutoFill) -> bool:
        """A result that was taken back is there again; whether its thresholds have an effect."""
        taken = self._taken
        if taken is None or taken[0] is not fill or self.is_running:
            return False
        self._taken = None
        self._fill, self._shown, self._written = taken
        self._thresholds.use(self._shown.request)
        self._filter(settle=True)
        return True

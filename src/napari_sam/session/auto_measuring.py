"""Measuring automatic objects in the worker, so that their table and records follow what is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_sam.session.auto_records import make_auto_records, measure_shown
from napari_sam.session.jobs import CLICK, Job, JobRunner
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from napari_sam.session.auto_fill import AutoFill
    from napari_sam.session.auto_requests import Shown, Written
    from napari_sam.session.predictors import PredictorPool
    from napari_sam.session.provenance import Maker, ObjectRecord

__all__ = ["Measuring"]


class Measuring:
    """Measures what was drawn last of each result.

    Parameters
    ----------
    runner : JobRunner
        What computes.
    pool : PredictorPool
        Where the worker finds pixels.
    """

    done = Signal(object, object, object, object)  # AutoFill, Written, columns of the table, records by label
    failed = Signal(str)

    def __init__(self, runner: JobRunner, pool: PredictorPool) -> None:
        self._runner = runner
        self._pool = pool

    def start(self, fill: AutoFill, shown: Shown, maker: Maker | None, created: str) -> None:
        """Measure what is due of a result; ``done`` follows, unless it is started again before."""
        written = fill.due
        if written is None:
            return
        self._runner.submit(
            Job(
                "Measuring objects",
                lambda: self._steps(shown, written, maker, created),
                slot=f"measure {id(fill)}",  # other results are measured too
                priority=CLICK,
                on_done=lambda found: self.done.emit(fill, written, *found),
                on_failed=self.failed.emit,
            )
        )

    def _steps(
        self, shown: Shown, written: Written, maker: Maker | None, created: str
    ) -> Generator[Progress, None, tuple[dict[str, NDArray[Any]], dict[int, tuple[ObjectRecord, ...]]]]:
        yield Progress(0, 1, "Measuring objects")
        columns = measure_shown(shown, written, self._pool.pixels(shown.request.plane))
        areas = dict(zip(columns["index"].tolist(), columns["area"].tolist(), strict=True))
        return columns, make_auto_records(shown, written, areas, maker, created)

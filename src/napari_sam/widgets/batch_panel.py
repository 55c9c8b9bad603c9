"""The dock widget *SAM batch*: many images with the same settings, while the viewer stays free."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_sam.errors import SamError
from napari_sam.session.jobs import LONG, Job
from napari_sam.viewer.batch_results import add_result
from napari_sam.widgets.batch_form import SEPARATOR, BatchForm
from napari_sam.widgets.batch_table import BatchTable, Row
from napari_sam.widgets.batch_work import describe_report, fold_sources, iter_earlier, iter_result, iter_run
from napari_sam.widgets.column import Column
from napari_sam.widgets.job_runner import QtJobRunner
from napari_sam.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from napari_sam.stacks.batch import BatchReport
    from napari_sam.stacks.batch_control import BatchControl
    from napari_sam.stacks.batch_plan import BatchPlan
    from napari_sam.stacks.batch_results import EarlierBatch
    from napari_sam.stacks.work_units import UnitStep
    from napari_sam.types import Progress

__all__ = ["BatchWidget"]

_RUN, _LOOK, _OPEN = "batch", "look", "open"


class BatchWidget(QWidget):
    """Segment a folder of images, with a line for each.

    Scripts use the same methods as the buttons; each returns when its request is queued, and ``wait`` returns
    when everything is done.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Where results are shown.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._runner = QtJobRunner()
        self._control: BatchControl | None = None
        self._plan: BatchPlan | None = None
        self._folder = Path()
        self._before = 0
        self._docked = False
        self.form = BatchForm()
        self.start_button = QPushButton("Start")
        self.cancel_button = QPushButton("Stop")
        self.progress = QProgressBar()
        self.progress.setMaximumHeight(8)
        self.progress.setTextVisible(False)
        self.progress.setVisible(False)
        self.table = BatchTable()
        self.open_button = QPushButton("Open result")
        self.open_button.setToolTip("Add the selected image and its objects to the viewer.")
        self._status = StatusLine("Choose images, and a folder for the results.")
        self._lay_out()
        self.start_button.clicked.connect(lambda: self.start())
        self.cancel_button.clicked.connect(lambda: self.cancel())
        self.open_button.clicked.connect(lambda: self.open_result())
        self.table.doubleClicked.connect(lambda _index: self.open_result())
        self.table.chosen.connect(self._on_row_chosen)
        self.form.output_chosen.connect(self._on_output_chosen)
        # a closed window takes its widgets along without a close event for each
        self.destroyed.connect(partial(_close, self._runner))
        self._show_running(False)

    # ------------------------------------------------------------- for scripts
    @property
    def inputs(self) -> list[str]:
        """Images, folders, patterns and plates; set a list or one of them."""
        return self.form.read_inputs()

    @inputs.setter
    def inputs(self, values: Any) -> None:
        values = [values] if isinstance(values, str | Path) else values
        self.form.inputs.setText(SEPARATOR.join(str(value) for value in values))

    @property
    def output(self) -> str:
        """The folder for the results; one that holds a manifest brings its settings along."""
        return self.form.output.text().strip()

    @output.setter
    def output(self, folder: Any) -> None:
        self.form.output.setText(str(folder))
        self._on_output_chosen(str(folder))

    @property
    def status(self) -> str:
        """The status line."""
        return self._status.said

    @property
    def is_running(self) -> bool:
        """Whether a batch runs."""
        return self._control is not None

    def start(self) -> None:
        """Begin the batch, or go on with it."""
        if self._control is not None:
            return
        try:
            job = self.form.read_job()
        except SamError as error:
            self._status.say(str(error))
            return
        if not self.inputs or not self.output:
            self._status.say(
                "Choose images first." if not self.inputs else "Choose a folder for the results."
            )
            return
        from napari_sam.stacks.batch_control import BatchControl

        self._control = BatchControl()
        self._plan = None
        self._folder = Path(self.output).expanduser()
        steps = partial(
            iter_run,
            job,
            [str(Path(text).expanduser()) for text in self.inputs],
            self._folder,
            workers=self.form.workers.value() or None,
            retry_failed=self.form.retry.isChecked(),
            overwrite=self.form.overwrite.isChecked(),
            control=self._control,
        )
        self._runner.submit(
            Job(
                "Batch",
                steps,
                _RUN,
                LONG,
                on_progress=self._on_run_progressed,
                on_done=self._on_run_done,
                on_failed=self._on_run_failed,
                on_cancelled=self._on_run_cancelled,
            )
        )
        self._status.say("Looking at the images …")
        self._show_running(True)

    def cancel(self) -> None:
        """Finish the images in work and stop; the second time drop them."""
        if self._control is None:
            return
        if self._control.is_finishing:
            self._runner.cancel(_RUN)
            self._status.say("Dropping the images in work …")
            return
        self._control.finish()
        self.cancel_button.setText("Drop")
        self.cancel_button.setToolTip("Do not wait for the images in work; they are done again next time.")
        self._status.say("Finishing the images in work …")

    def open_result(self, row: int | None = None) -> None:
        """Add an image that is done and its objects to the viewer: that of a row, or the selected one."""
        chosen = self.table.current if row is None else self.table.rows[row]
        if chosen is None or chosen.status != "done":
            self._status.say("Select an image that is done." if chosen is None else "It is not done yet.")
            return
        self._runner.submit(
            Job(
                f"Open {chosen.unit.name}",
                partial(iter_result, chosen.unit, self._folder),
                _OPEN,
                on_done=self._on_result_read,
                on_failed=self._status.say,
                lane="reading",  # not behind the batch
            )
        )

    def wait(self, timeout: float | None = None) -> bool:
        """Pump the Qt loop until nothing is queued or running; False when time (in seconds) ran out."""
        return self._runner.wait(timeout)

    # ------------------------------------------------------------- life
    def shutdown(self) -> None:
        """Drop what is in work, and let the worker end; results stay."""
        self._runner.close()
        self._control = None
        self.setEnabled(False)

    def closeEvent(self, event: Any) -> None:
        """Qt closes the widget itself, not a dock around it."""
        self.shutdown()
        super().closeEvent(event)

    def event(self, event: Any) -> bool:
        """Notice when napari takes the widget out of its dock, which is how a dock is closed."""
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                self._docked = True
            elif self._docked:
                self.shutdown()
        return bool(super().event(event))

    # ------------------------------------------------------------- wiring
    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        buttons.setSpacing(6)
        buttons.addWidget(self.start_button, 2)
        buttons.addWidget(self.cancel_button, 1)
        scroll = Column()  # a low window scrolls, instead of growing
        inner = scroll.widget()
        assert inner is not None
        layout = inner.layout()
        assert isinstance(layout, QVBoxLayout)
        layout.setSpacing(6)
        layout.addWidget(self.form)
        layout.addLayout(buttons)
        layout.addWidget(self.progress)
        layout.addWidget(self._status)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.open_button)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)

    def _show_running(self, running: bool) -> None:
        self.form.setEnabled(not running)
        self.start_button.setEnabled(not running)
        self.cancel_button.setEnabled(running)
        self.progress.setVisible(running)
        self.start_button.setToolTip("Segment what is not done yet, or go on with a batch that was stopped.")
        self.cancel_button.setText("Stop")
        self.cancel_button.setToolTip("Finish the images in work, then stop; Start goes on from there.")
        if running:
            self.progress.setRange(0, 0)
        else:
            self._control = None

    # ------------------------------------------------------------- handlers
    def _on_row_chosen(self, row: Row) -> None:
        if row.status == "failed" and self._control is None:
            self._status.say(f"{row.unit.name}: {row.text}")

    def _on_output_chosen(self, text: str) -> None:
        if self._control is not None or not text:
            return
        self._runner.submit(
            Job(
                "Look at the folder",
                partial(iter_earlier, Path(text).expanduser()),
                _LOOK,
                on_done=self._on_folder_read,
                on_failed=self._status.say,
            )
        )

    def _on_folder_read(self, found: tuple[Path, EarlierBatch | None]) -> None:
        folder, earlier = found
        if self._control is not None:
            return
        self._folder = folder
        if earlier is None:
            self.table.set_rows([])
            return
        self.form.show_job(earlier.job)
        if not self.inputs:
            self.inputs = fold_sources(earlier.sources)
        self.table.set_rows(Row.from_entry(entry) for entry in earlier.units.values())
        done = sum(entry.status == "done" for entry in earlier.units.values())
        failed = len(earlier.units) - done
        self._status.say(
            f"This folder holds a batch: {done} of {len(earlier.sources)} done"
            + (f", {failed} failed" if failed else "")
            + ". Its settings are shown; Start goes on."
        )

    def _on_run_progressed(self, progress: Progress) -> None:
        if self._control is None:
            return
        news: Any = progress.partial
        if hasattr(news, "units"):
            self._show_plan(news)
        elif news is not None:
            self._show_step(news)
        self.progress.setRange(0, progress.total)
        self.progress.setValue(progress.done)
        if self._control.is_finishing:
            return
        parts = [f"{progress.done} of {progress.total} done"]
        if self._before:
            parts.append(f"{self._before} before")
        if progress.description.endswith(" left"):
            parts.append(progress.description)
        elif progress.done == 0:
            parts.append("loading the model")
        self._status.say(", ".join(parts))

    def _show_plan(self, plan: BatchPlan) -> None:
        self._plan = plan
        self._before = len(plan.units) - len(plan.to_do) - len(plan.failed_before)
        self.table.set_rows(Row.from_plan(planned) for planned in plan.units)

    def _show_step(self, step: UnitStep) -> None:
        text = step.message or "begun"
        if step.result is not None:
            text = f"{step.result.objects} objects"
        self.table.show_step(step.unit, step.status, text, follow=step.status == "running")

    def _on_run_done(self, report: BatchReport) -> None:
        self._end(describe_report(report))

    def _on_run_failed(self, message: str) -> None:
        self._end(message)

    def _on_run_cancelled(self, _: None) -> None:
        done = sum(row.status == "done" for row in self.table.rows)
        self._end(f"{done} of {len(self.table.rows)} done; the images in work were dropped. Start goes on.")

    def _end(self, text: str) -> None:
        for row in self.table.rows:
            if row.status == "running":
                self.table.show_step(row.unit, "waiting", "not done yet", follow=False)
        self._show_running(False)
        self._status.say(text)

    def _on_result_read(self, found: tuple[Any, Any]) -> None:
        image, _ = add_result(self._viewer, *found)
        self._status.say(f"{image.name} and its objects were added to the viewer.")


def _close(runner: QtJobRunner, *_: Any) -> None:
    """End the worker; can run when the widget's Qt part is gone already."""
    runner.close()

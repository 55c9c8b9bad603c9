"""What the status line says of the work that goes on in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam.session.prompt_state import describe_answer

if TYPE_CHECKING:
    from napari_sam.session.models import Models
    from napari_sam.session.precomputing import Precomputing
    from napari_sam.session.prompting import Prompting
    from napari_sam.session.warming import Warming
    from napari_sam.types import Progress

__all__ = ["Reports"]


class Reports:
    """Listens to models, warming and precomputing, and says in a sentence what happened.

    Parameters
    ----------
    models : Models
        Load models.
    prompting : Prompting
        The object at hand.
    warming : Warming
        Encodes what is in view.
    precomputing : Precomputing
        Encodes planes and stacks.
    """

    said = Signal(str)

    def __init__(
        self, models: Models, prompting: Prompting, warming: Warming, precomputing: Precomputing
    ) -> None:
        self._models = models
        self._prompting = prompting
        self._warming = warming
        models.warmed.connect(self._on_models_warmed)
        models.progressed.connect(self._on_step_begun)
        warming.failed.connect(self._on_warming_failed)
        precomputing.progressed.connect(self._on_precomputing_progressed)
        precomputing.done.connect(self._on_precomputing_done)
        precomputing.cancelled.connect(self._on_precomputing_cancelled)

    def _on_models_warmed(self) -> None:
        state = self._prompting.state
        if state is not None and state.mask is not None:
            self.said.emit(describe_answer(state))
        elif self._prompting.prompts.is_empty:
            todo = "open an image, or the sample" if self._prompting.plane is None else "click on an object"
            self.said.emit(f"Ready: {todo}.")

    def _on_step_begun(self, progress: Progress) -> None:
        self.said.emit(f"{progress.description} …")

    def _on_warming_failed(self, message: str) -> None:
        if self._models.failure is None:  # else it was told when the model failed
            self.said.emit(f"{message} The next click tries again.")

    def _on_precomputing_progressed(self, progress: Progress | None) -> None:
        if progress is not None:
            self.said.emit(f"{progress.description} {progress.done}/{progress.total or '?'} …")

    def _on_precomputing_done(self, tiles: int, planes: int) -> None:
        where = "all was cached" if tiles == 0 else f"{tiles} tiles are new"
        self.said.emit(f"{planes} planes are encoded, {where}." if planes > 1 else f"Encoded: {where}.")
        self._warming.retry()

    def _on_precomputing_cancelled(self) -> None:
        self.said.emit("Encoding was cancelled; what is encoded stays cached.")
        self._warming.retry()

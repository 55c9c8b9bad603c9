"""What the worker keeps between two requests: the loaded model and the last lazily read plane."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from napari_sam.errors import CheckpointError
from napari_sam.session.jobs import failure_message

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.session.requests import Engine, MaskPredictor, ModelChoice, Plane

__all__ = ["PredictorPool"]

logger = logging.getLogger(__name__)


class PredictorPool:
    """One predictor and one plane's pixels, used by the worker; the main thread asks for ``failure`` only.

    Parameters
    ----------
    engine : Engine
        Where models come from.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loaded: tuple[ModelChoice, MaskPredictor] | None = None
        self._read: tuple[Plane, NDArray[Any]] | None = None
        self._failed: tuple[ModelChoice, str] | None = None

    def predictor(self, choice: ModelChoice) -> MaskPredictor:
        """The predictor for a choice, loaded when another one was used last.

        Parameters
        ----------
        choice : ModelChoice
            The model.

        Raises
        ------
        CheckpointError
            When it cannot be loaded; at once when it could not be loaded before, see ``retry``.
        """
        failure = self.failure(choice)
        if failure is not None:
            raise CheckpointError(failure)
        if self._loaded is None or self._loaded[0] != choice:
            self._loaded = None  # frees the old model before the new one needs its memory
            try:
                self._loaded = (choice, self._engine.load(choice))
            except Exception as error:
                logger.debug("loading %r failed", choice.name, exc_info=True)
                message = failure_message(f"Loading model {choice.name}", error)
                self._failed = (choice, message)
                raise CheckpointError(message) from error
        return self._loaded[1]

    def failure(self, choice: ModelChoice) -> str | None:
        """Why a model could not be loaded, None where it was not tried or is loaded."""
        failed = self._failed  # one reading: the worker may set it meanwhile
        return failed[1] if failed is not None and failed[0] == choice else None

    def retry(self) -> None:
        """Forget what could not be loaded."""
        self._failed = None

    def pixels(self, plane: Plane) -> NDArray[Any]:
        """The plane's pixels; those of dask and zarr images are kept, so that a click reads nothing."""
        if not plane.lazy:
            return plane.read()
        if self._read is None or self._read[0] != plane:
            self._read = None
            self._read = (plane, plane.read())
        return self._read[1]

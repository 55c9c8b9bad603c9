"""What the worker keeps between two requests: the loaded model and the last lazily read plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_sam.session.requests import Engine, MaskPredictor, ModelChoice, Plane

__all__ = ["PredictorPool"]


class PredictorPool:
    """One predictor and one plane's pixels, used by the worker only.

    Parameters
    ----------
    engine : Engine
        Where models come from.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loaded: tuple[ModelChoice, MaskPredictor] | None = None
        self._read: tuple[Plane, NDArray[Any]] | None = None

    def predictor(self, choice: ModelChoice) -> MaskPredictor:
        """The predictor for a choice, loaded when another one was used last."""
        if self._loaded is None or self._loaded[0] != choice:
            self._loaded = None  # frees the old model before the new one needs its memory
            self._loaded = (choice, self._engine.load(choice))
        return self._loaded[1]

    def pixels(self, plane: Plane) -> NDArray[Any]:
        """The plane's pixels; those of dask and zarr images are kept, so that a click reads nothing."""
        if not plane.lazy:
            return plane.read()
        if self._read is None or self._read[0] != plane:
            self._read = None
            self._read = (plane, plane.read())
        return self._read[1]

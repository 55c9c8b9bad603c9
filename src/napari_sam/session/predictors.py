"""What the worker keeps between two requests: the loaded model, as the settings want it."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam.errors import CheckpointError
from napari_sam.session.jobs import failure_message
from napari_sam.session.settings import Settings, encode_settings_of

if TYPE_CHECKING:
    from collections.abc import Hashable

    from napari_sam.session.requests import Engine, MaskPredictor, ModelChoice, Plane
    from napari_sam.session.settings import CacheChoice, Limits

__all__ = ["PredictorPool"]

logger = logging.getLogger(__name__)

SAMPLED_PLANES = 16
"""Over a stack, percentiles are taken from at most so many planes, evenly spaced."""


class PredictorPool:
    """The predictor in use; ``predictor`` and ``pixels`` are for the workers, all else for anybody.

    Parameters
    ----------
    engine : Engine
        Where models come from.

    Attributes
    ----------
    settings : Settings
        The user's; set on the main thread, read by the worker at the next request.
    """

    def __init__(self, engine: Engine) -> None:
        self.settings = Settings()
        self._engine = engine
        self._loaded: tuple[ModelChoice, CacheChoice, MaskPredictor] | None = None
        self._plane: tuple[Plane, Any] | None = None
        self._limits: tuple[Hashable, Limits] | None = None
        self._failed: tuple[ModelChoice, str] | None = None
        self._writes = 0  # so often the image was written while it was open
        self._lock = threading.RLock()  # a click and what is encoded meanwhile ask from two threads

    def predictor(
        self, choice: ModelChoice, plane: Plane | None = None, settings: Settings | None = None
    ) -> MaskPredictor:
        """The predictor for a choice and for the settings.

        Parameters
        ----------
        choice : ModelChoice
            The model; loaded when another one, or another cache, was used last.
        plane : Plane or None
            Where it will predict, which decides what settings in world units or over a stack mean; None
            when it is about the model alone.
        settings : Settings or None
            The user's; None for those of this moment.

        Raises
        ------
        CheckpointError
            When the model cannot be loaded; at once when it could not be loaded before, see ``retry``.
        """
        with self._lock:
            return self._predictor(choice, plane, settings or self.settings)  # one reading: they may be set

    def _predictor(self, choice: ModelChoice, plane: Plane | None, settings: Settings) -> MaskPredictor:
        failure = self.failure(choice)
        if failure is not None:
            raise CheckpointError(failure)
        if self._loaded is None or self._loaded[:2] != (choice, settings.cache):
            self._loaded = None  # frees the old model before the new one needs its memory
            try:
                self._loaded = (choice, settings.cache, self._engine.load(choice, settings.cache))
            except Exception as error:
                logger.debug("loading %r failed", choice.name, exc_info=True)
                message = failure_message(f"Loading model {choice.name}", error)
                self._failed = (choice, message)
                raise CheckpointError(message) from error
        limits = self._measure_limits(settings, plane)
        return self._loaded[2].with_settings(encode_settings_of(settings, plane, limits))

    def seen(self, plane: Plane, settings: Settings | None = None) -> Hashable:
        """What else than pixels and model decides what is found in a plane; equal where it is the same.

        Parameters
        ----------
        plane : Plane
            Where.
        settings : Settings or None
            The user's; None for those of this moment.
        """
        settings = settings or self.settings
        return encode_settings_of(settings, plane, None), settings.scope, self._writes

    def failure(self, choice: ModelChoice) -> str | None:
        """Why a model could not be loaded, None where it was not tried or is loaded."""
        failed = self._failed  # one reading: the worker may set it meanwhile
        return failed[1] if failed is not None and failed[0] == choice else None

    def retry(self) -> None:
        """Forget what could not be loaded."""
        self._failed = None

    def pixels(self, plane: Plane) -> Any:
        """The plane's image for the engine; nothing is read yet.

        The last one is kept: by its identity the engine knows what it has seen of it.
        """
        with self._lock:
            kept = self._plane  # one reading: the main thread may forget it meanwhile
            if kept is None or kept[0] != plane:
                kept = self._plane = (plane, plane.read())
            return kept[1]

    def forget(self) -> None:
        """Another image: the pixels of the last one are not held any longer."""
        self._plane = None  # without the lock, under which models are loaded

    def look_again(self) -> None:
        """The image's pixels are others now: what was found in them, or measured over its stack, is stale."""
        self._writes += 1

    def _measure_limits(self, settings: Settings, plane: Plane | None) -> Limits | None:
        """The intensity range of the plane's stack, where the settings ask for it."""
        if plane is None or settings.scope != "stack" or settings.limits is not None:
            return None
        channels = encode_settings_of(settings, plane, None).channels
        key = (plane.source, channels, settings.percentiles, self._writes)
        if self._limits is None or self._limits[0] != key:
            planes = plane.planes
            chosen = np.unique(np.linspace(0, len(planes) - 1, SAMPLED_PLANES).round().astype(int))
            images = [planes[i].read() for i in chosen]
            self._limits = (key, self._engine.measure_limits(images, channels, settings.percentiles))
        return self._limits[1]

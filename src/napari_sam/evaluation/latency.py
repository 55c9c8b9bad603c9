"""How long a click takes: the first one, which encodes the image, and every later one, which does not."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from napari_sam.types import ObjectMask, Prompts

__all__ = ["ClickTimes", "TimedPredictor", "time_click"]


class TimedPredictor(Protocol):
    """What `time_click` measures; `napari_sam.CachedPredictor` is one."""

    def predict(self, image: Any, prompts: Prompts) -> ObjectMask:
        """The object, encoding the image first where it is not cached."""
        ...

    def is_cached(self, image: Any, prompts: Prompts) -> bool:
        """Whether `predict` would find the image's embedding."""
        ...


@dataclass(frozen=True, slots=True)
class ClickTimes:
    """Wall times in seconds.

    Attributes
    ----------
    encode : float
        What the first click took longer than the second; nan where the image was cached before.
    click : float
        One click on a cached image.
    """

    encode: float
    click: float


def time_click(predictor: TimedPredictor, image: Any, prompts: Prompts) -> ClickTimes:
    """Ask the same twice and tell encoding from decoding.

    Parameters
    ----------
    predictor : TimedPredictor
        With an empty cache for this image, else ``encode`` is nan.
    image : (H, W) or (H, W, C) array-like
        Handed on as it is.
    prompts : Prompts
        One click.

    Returns
    -------
    ClickTimes
    """
    fresh = not predictor.is_cached(image, prompts)
    start = time.perf_counter()
    if fresh:
        predictor.predict(image, prompts)
    middle = time.perf_counter()
    predictor.predict(image, prompts)
    click = time.perf_counter() - middle
    return ClickTimes(max(middle - start - click, 0.0) if fresh else float("nan"), click)

"""The real engine, imported by the worker on first use: torch takes seconds to import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_sam.session.requests import MaskPredictor, ModelChoice
    from napari_sam.session.settings import CacheChoice
    from napari_sam.types import Progress

__all__ = ["InferenceEngine"]


class InferenceEngine:
    """``napari_sam.inference`` behind the session's ``Engine`` protocol; every call is for the worker."""

    def list_models(self) -> Sequence[tuple[str, str]]:
        """(name, description) of each registered model, those that need no download first."""
        from napari_sam.inference.checkpoints import list_models

        cards = sorted(list_models(), key=lambda card: not card.bundled)
        return [(card.name, card.description or card.title) for card in cards]

    def list_devices(self) -> Sequence[str]:
        """Names of the devices that this machine has, "auto" first."""
        from napari_sam.inference.device import list_devices

        return list_devices()

    def load(self, choice: ModelChoice, cache: CacheChoice) -> MaskPredictor:
        """Load a model, and open its cache."""
        from napari_sam.inference.cached_predictor import CachedPredictor
        from napari_sam.inference.checkpoints import load_model

        return cast("MaskPredictor", CachedPredictor(load_model(choice.name, device=choice.device)))

    def iter_segment(
        self, image: Any, predictor: MaskPredictor, method: str
    ) -> Generator[Progress, None, NDArray[np.int32]]:
        """Segment every object, as a job."""
        from napari_sam.inference.segment_image import iter_segment_image

        return (yield from iter_segment_image(image, cast("Any", predictor), method=method))

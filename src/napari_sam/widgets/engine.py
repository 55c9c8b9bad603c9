"""The real engine, imported by the worker on first use: torch takes seconds to import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from napari_sam.session.models import ModelInfo

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_sam.inference.candidates import Candidates, FilterParams
    from napari_sam.inference.propagation_values import Anchor
    from napari_sam.inference.region import Region
    from napari_sam.inference.zarr_store import ZarrStore
    from napari_sam.session.requests import Crop, MaskPredictor, ModelChoice
    from napari_sam.session.settings import CacheChoice
    from napari_sam.types import Progress

__all__ = ["InferenceEngine"]


class InferenceEngine:
    """``napari_sam.inference`` behind the session's ``Engine`` protocol; every call is for the worker."""

    def iter_models(self) -> Generator[Progress, None, Sequence[ModelInfo]]:
        """The registered models and whether they are here, as a job; torch is not needed."""
        from napari_sam.inference.registry import list_models
        from napari_sam.inference.weight_files import WeightFolder

        folder = WeightFolder()
        yield from folder.iter_scan()
        return [
            ModelInfo(
                name=card.name,
                title=card.title,
                description=card.description,
                license=card.license,
                domain=card.domain,
                megabytes=card.megabytes,
                is_here=folder.has(card),
                urls=tuple(file.url for file in card.files),
                folder=str(folder.path),
            )
            for card in list_models()
        ]

    def iter_fetch(self, name: str) -> Generator[Progress, None, Any]:
        """Download the weights of a model, as a job that counts megabytes."""
        from napari_sam.inference.fetch import iter_fetch
        from napari_sam.inference.registry import require_card

        return (yield from iter_fetch(require_card(name)))

    def list_devices(self) -> Sequence[str]:
        """Names of the devices that this machine has, "auto" first."""
        from napari_sam.inference.device import list_devices

        return list_devices()

    def load(self, choice: ModelChoice, cache: CacheChoice) -> MaskPredictor:
        """Load a model, and open its cache."""
        from napari_sam.inference.cached_predictor import CachedPredictor
        from napari_sam.inference.checkpoints import load_model

        predictor = CachedPredictor(
            load_model(choice.name, device=choice.device, download=False),
            (cache.folder or "default") if cache.on_disk else None,
            cache.memory_bytes,
            disk_bytes=cache.disk_bytes,
        )
        return cast("MaskPredictor", predictor)

    def iter_tune(self, predictor: MaskPredictor) -> Generator[Progress, None, str]:
        """Find what runs a model fastest here and use it, as a job; what that is, in words."""
        from napari_sam.inference.engines.tuning import iter_tune

        runs = cast("Any", predictor).predictor
        verdict = yield from iter_tune(runs.model)
        runs.choose_again()
        return verdict.describe()

    def measure_limits(
        self, images: Sequence[Any], channels: tuple[int, ...] | None, percentiles: tuple[float, float]
    ) -> tuple[tuple[float, float], ...]:
        """Percentiles over several planes, from the sample of each that a plane alone would get."""
        from napari_sam.stacks.stack_planes import measure_limits

        return measure_limits(images, channels, percentiles)

    def render_input(
        self, image: Any, predictor: MaskPredictor, crop: Crop, max_side: int
    ) -> NDArray[np.uint8]:
        """A crop normalised as the model sees it, thinned out to ``max_side`` pixels."""
        picture: NDArray[np.uint8] = cast("Any", predictor).render_input(image, crop, max_side)
        return picture

    def measure_cache(self, cache: CacheChoice) -> tuple[str, int]:
        """Where the disk cache is, and the bytes that it holds."""
        store = _open_store(cache)
        return str(store.folder), store.nbytes

    def clear_cache(self, cache: CacheChoice) -> None:
        """Empty the disk cache."""
        _open_store(cache).clear()

    def filter_defaults(self, predictor: MaskPredictor, method: str) -> FilterParams:
        """The thresholds of the method, those that were tuned for the model before the general ones."""
        from napari_sam.inference import segment_image

        return segment_image.filter_defaults(cast("Any", predictor), method)

    def iter_candidates(
        self, image: Any, predictor: MaskPredictor, method: str, region: Region | None
    ) -> Generator[Progress, None, Candidates]:
        """Find what may be an object, as a job."""
        from napari_sam.inference import segment_image

        return (
            yield from segment_image.iter_candidates(image, cast("Any", predictor), method, region=region)
        )

    def iter_segment_stack(
        self,
        planes: Sequence[Any],
        predictor: MaskPredictor,
        axis: str,
        method: str,
        region: Region | None,
        filters: FilterParams,
        cut: bool = False,
    ) -> Generator[Progress, None, Any]:
        """Segment planes and link their objects along z or t, as a job."""
        from napari_sam.stacks.segment_stack import iter_segment_stack

        job = iter_segment_stack(
            planes, cast("Any", predictor), axis, method, filters=filters, region=region, cut=cut
        )
        return (yield from job)

    def iter_propagate(
        self,
        planes: Sequence[Any],
        predictor: MaskPredictor,
        objects: Mapping[int, Sequence[Anchor]],
        **options: Any,
    ) -> Generator[Progress, None, Any]:
        """Follow objects through the planes of a stack, as a job."""
        from napari_sam.stacks.propagation import iter_propagate

        return (yield from iter_propagate(planes, cast("Any", predictor), objects, **options))


def _open_store(cache: CacheChoice) -> ZarrStore:
    from napari_sam.inference.zarr_store import ZarrStore, default_cache_dir

    return ZarrStore(cache.folder or default_cache_dir(), cache.disk_bytes)

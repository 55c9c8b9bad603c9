"""The values that travel between the viewer, the session and the worker.

All are frozen: a request captures its inputs on the main thread, so the worker needs no locks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Hashable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_sam.inference.candidates import Candidates, FilterParams
    from napari_sam.inference.encode_settings import EncodeSettings
    from napari_sam.inference.propagation_values import Anchor, PropagationParams
    from napari_sam.inference.region import Region
    from napari_sam.session.edits import LabelSurface
    from napari_sam.session.models import ModelInfo
    from napari_sam.session.settings import CacheChoice
    from napari_sam.types import ObjectMask, Progress, Prompts

__all__ = [
    "Crop",
    "DecodeRequest",
    "Embedding",
    "Engine",
    "MaskPredictor",
    "ModelChoice",
    "ObjectRef",
    "ObjectSink",
    "Plane",
    "Preview",
]


Crop = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Plane:
    """One 2-D plane of an image and how to read its pixels.

    Attributes
    ----------
    source : Hashable
        What identifies the image; a new one when the image's data are replaced.
    index : tuple of int or None
        Data index on every spatial axis of the image; None on the plane's own two axes (rows first).
    shape : (H, W)
        Size of the plane in pixels.
    read : callable
        Returns the image for the engine: an array-like (H, W) or (H, W, C), of which only what is indexed is
        read, or the levels of a pyramid, finest first. Called in the worker only.
    name : str
        The image's name, for messages.
    channels : int
        Channels on a last axis that is not spatial; 0 where there is none.
    pixel_size : float
        World units per pixel, the geometric mean of rows and columns.
    unit : str
        Name of the world unit; empty where the image is measured in pixels.
    stack : callable or None
        Returns all planes that the image has along its other axes; None for this one alone.
    """

    source: Hashable
    index: tuple[int | None, ...]
    shape: tuple[int, int]
    read: Callable[[], Any] = field(compare=False, repr=False)
    name: str = field(default="image", compare=False)
    channels: int = field(default=0, compare=False)
    pixel_size: float = field(default=1.0, compare=False)
    unit: str = field(default="", compare=False)
    stack: Callable[[], Sequence[Plane]] | None = field(default=None, compare=False, repr=False)

    @property
    def axes(self) -> tuple[int, int]:
        """The image's axes that are the plane's rows and columns."""
        rows, cols = (axis for axis, value in enumerate(self.index) if value is None)
        return rows, cols

    @property
    def measure(self) -> tuple[float, str]:
        """What one of its pixels measures; the same plane may be measured anew."""
        return self.pixel_size, self.unit

    @property
    def planes(self) -> Sequence[Plane]:
        """All planes of the image, this one among them."""
        return (self,) if self.stack is None else self.stack()


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which model answers (a registry name or a checkpoint's path), on which device."""

    name: str
    device: str = "auto"


@dataclass(frozen=True, slots=True, eq=False)
class DecodeRequest:
    """Prompts of one plane, to be answered by one mask."""

    request_id: int
    plane: Plane
    prompts: Prompts
    model: ModelChoice


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """The mask that answers the current prompts, and where it lies."""

    plane: Plane
    mask: ObjectMask


@dataclass(frozen=True, slots=True, eq=False)
class ObjectRef:
    """An object that was accepted: in which layer, under which label, with which pixels.

    Attributes
    ----------
    layer : Hashable
        Identity of the Labels layer.
    label : int
        The object's id there.
    mask : ObjectMask
        The mask as it was accepted.
    """

    layer: Hashable
    label: int
    mask: ObjectMask


class Embedding(Protocol):
    """What the session needs to know of an embedding: how much memory it takes."""

    @property
    def nbytes(self) -> int:
        """Bytes."""


class MaskPredictor(Protocol):
    """What the session needs of a loaded model; ``CachedPredictor`` is one.

    An image is an array-like (H, W) or (H, W, C), or the levels of a pyramid, finest first; crops are
    half-open (r0, c0, r1, c1) in pixels of the finest level.
    """

    settings: EncodeSettings

    @property
    def digest(self) -> str:
        """SHA-256 of the weights."""

    @property
    def device(self) -> str:
        """Where the model runs."""

    def predict(self, image: Any, prompts: Prompts) -> ObjectMask:
        """Answer one set of prompts on one image."""

    def predict_candidates(self, image: Any, prompts: Prompts) -> Sequence[ObjectMask]:
        """All masks for one set of prompts: the single mask, then the alternatives."""

    def peek(self, image: Any, prompts: Prompts) -> ObjectMask | None:
        """Answer from what is in memory; None where anything would have to be encoded or read."""

    def with_settings(self, settings: EncodeSettings) -> MaskPredictor:
        """The same model and cache for other settings."""

    def list_tiles(self, shape: tuple[int, int]) -> Sequence[tuple[Crop, Crop]]:
        """(crop, core) of each tile of a plane; the cores are disjoint and cover it."""

    def tier(self, image: Any, crop: Crop) -> Literal["memory", "disk"] | None:
        """Where the embedding of a crop is kept."""

    def encode(self, image: Any, crop: Crop) -> Embedding:
        """The embedding of a crop, from the cache or new."""

    def embed(self, image: Any) -> Generator[Progress, None, int]:
        """Encode all tiles that are not cached yet, as a job; their number."""


class Engine(Protocol):
    """Where models come from; every method runs in the worker, because it may import torch."""

    def iter_models(self) -> Generator[Progress, None, Sequence[ModelInfo]]:
        """The models that have a name, as a job: files that are new in their folder are looked at."""

    def iter_fetch(self, name: str) -> Generator[Progress, None, Any]:
        """Download the weights of a model, as a job that counts megabytes."""

    def list_devices(self) -> Sequence[str]:
        """Names of devices, "auto" first."""

    def load(self, choice: ModelChoice, cache: CacheChoice) -> MaskPredictor:
        """Load a model, and open its cache."""

    def iter_tune(self, predictor: MaskPredictor) -> Generator[Progress, None, str]:
        """Find what runs a model fastest here and use it, as a job; what that is, in words."""

    def measure_limits(
        self, images: Sequence[Any], channels: tuple[int, ...] | None, percentiles: tuple[float, float]
    ) -> tuple[tuple[float, float], ...]:
        """The intensities of several planes that become black and white, one pair per channel seen."""

    def render_input(
        self, image: Any, predictor: MaskPredictor, crop: Crop, max_side: int
    ) -> NDArray[np.uint8]:
        """(h, w, 3) pixels of a crop as the model sees them, no side longer than ``max_side``."""

    def measure_cache(self, cache: CacheChoice) -> tuple[str, int]:
        """Where the disk cache is, and the bytes that it holds."""

    def clear_cache(self, cache: CacheChoice) -> None:
        """Empty the disk cache."""

    def filter_defaults(self, predictor: MaskPredictor, method: str) -> FilterParams:
        """The thresholds to begin with, by which candidates become objects."""

    def iter_candidates(
        self, image: Any, predictor: MaskPredictor, method: str, region: Region | None
    ) -> Generator[Progress, None, Candidates]:
        """Find what may be an object, as a job; ``Progress.partial`` holds what was finished since."""

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
        """Segment planes and link them, as a job; ``Progress.partial`` is (number, labels) of a plane."""

    def iter_propagate(
        self,
        planes: Sequence[Any],
        predictor: MaskPredictor,
        objects: Mapping[int, Sequence[Anchor]],
        *,
        stops: Mapping[int, Collection[int]],
        fixed: Mapping[int, Mapping[int, ObjectMask]],
        params: PropagationParams,
        before: Mapping[int, Mapping[int, ObjectMask]],
        changed: Mapping[int, Collection[int]] | None,
    ) -> Generator[Progress, None, Any]:
        """Follow objects through the planes of a stack, as a job; ``Progress.partial`` holds PlaneObjects."""


class ObjectSink(Protocol):
    """Where accepted objects go, and the layers that edits are applied to."""

    @property
    def chosen(self) -> Hashable | None:
        """Token of the layer that was chosen; None for a new one."""

    def token(self, layer: object) -> Hashable:
        """What a Labels layer is called in edits and records."""

    def target(self, plane: Plane) -> Hashable:
        """Token of the layer that takes objects of a plane, made where there is none.

        Raises
        ------
        SamError
            When there is no such layer and none can be made.
        """

    def surface(self, layer: Hashable) -> LabelSurface:
        """A layer to be read and written; ImageError when it is gone or cannot be written."""

"""A predictor that encodes what it has not seen and remembers what it has."""

from __future__ import annotations

import copy
import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from napari_sam.errors import SamError
from napari_sam.inference.ambiguity import choose_best
from napari_sam.inference.cache import DamagedEntryError, EmbeddingCache
from napari_sam.inference.checkpoints import LoadedModel
from napari_sam.inference.embedding_key import KeyMaker
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.inference.object_scale import choose_scale, field_size
from napari_sam.inference.prompt_checks import check_crop, check_prompts, list_prompts
from napari_sam.inference.steady_predictor import SteadyPredictor
from napari_sam.inference.tiling import HALO, choose_crop, choose_larger_crop, cover_plane
from napari_sam.inference.transforms import render_model_input
from napari_sam.inference.zarr_store import DEFAULT_BUDGET, ZarrStore, default_cache_dir
from napari_sam.types import ObjectMask, Progress, Prompts

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_sam.inference.embedding import Frame, ImageEmbedding
    from napari_sam.inference.image_source import ImageSource
    from napari_sam.inference.predictor import Predictor
    from napari_sam.inference.region import Region
    from napari_sam.inference.tiling import Crop

LARGER_CROPS: Final = 2
"""How often an object that is cut off by a seam is looked at again in another crop."""
SEAM: Final = 2
"""Frame pixels from a seam within which a mask counts as cut off."""


class CachedPredictor:
    """Predicts objects of images of any size, encoding each piece of an image once.

    The key of an embedding is made of the pixels themselves, so an image that changed is encoded
    anew and one that was closed and opened again is not. Safe to use from several threads.

    Wherever an image is asked for it is (H, W), (H, W, 3) or (H, W, C) of any real dtype: numpy,
    memory-mapped, dask, zarr or alike, or a sequence of those, a pyramid with the finest level first.
    Coordinates are those of the finest level. Only the pixels of a crop are read, and for the intensity range
    a sample of at most 512 x 512 of the image. A dask array is taken for unchanging, with all that is cut out
    of it; one that is made anew is read anew. All else is looked at again at every call, and sampled again
    where a crop has changed or was never looked at before; in the latter case the sample may be a second old,
    or 20 times as old as reading it takes.

    Parameters
    ----------
    model : LoadedModel
        From ``load_model``.
    cache_dir : None, "default" or path
        Where embeddings are kept on disk: nowhere, in the platform's cache directory, or there.
    memory_bytes : int
        Budget of the memory cache.
    settings : EncodeSettings, optional
        What the model sees of an image.
    disk_bytes : int
        Budget of the disk cache.
    channels : sequence of int, optional
        Short for settings with these channels.

    Raises
    ------
    CacheError
        When a budget is negative.
    SamError
        When the model is none.

    Examples
    --------
    >>> import napari_sam as ns
    >>> predictor = ns.CachedPredictor(ns.load_model("nuclei"))  # doctest: +SKIP
    >>> obj = predictor.predict(image, ns.Prompts(points=[(40, 52)]))  # doctest: +SKIP
    """

    def __init__(
        self,
        model: LoadedModel,
        cache_dir: str | Path | None = None,
        memory_bytes: int = 1 << 30,
        *,
        settings: EncodeSettings | None = None,
        disk_bytes: int = DEFAULT_BUDGET,
        channels: Sequence[int] | None = None,
    ) -> None:
        if not isinstance(model, LoadedModel):
            raise SamError(f"Expected a model, got {model!r:.60}; see load_model.")
        self.model = model
        self.predictor: Predictor = SteadyPredictor(model)
        self.settings = settings or EncodeSettings()
        if channels is not None:
            self.settings = replace(self.settings, channels=tuple(channels))
        store = None
        if cache_dir is not None:
            folder = default_cache_dir() if cache_dir == "default" else cache_dir
            store = ZarrStore(folder, disk_bytes, model.device)
        self.cache = EmbeddingCache(memory_bytes, store)
        self._keys = KeyMaker(model)
        self._encoding = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process gets the model, the settings and the folder, and a memory of its own."""
        store = self.cache.store
        options: dict[str, Any] = {"settings": self.settings}
        if isinstance(store, ZarrStore):
            options |= {"cache_dir": store.folder, "disk_bytes": store.budget_bytes}
        return partial(type(self), memory_bytes=self.cache.budget, **options), (self.model,)

    def __copy__(self) -> CachedPredictor:
        """One that shares model and cache."""
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        return other

    @property
    def digest(self) -> str:
        """SHA-256 of the checkpoint, by which a record knows the model that answered."""
        return self.model.sha256

    @property
    def device(self) -> str:
        """Where the model runs."""
        return str(self.model.device)

    def with_settings(self, settings: EncodeSettings) -> CachedPredictor:
        """The same model and cache with other settings."""
        other = copy.copy(self)
        other.settings = settings
        return other

    # -- predict ----------------------------------------------------------------------------------

    def predict(self, image: Any, prompts: Prompts) -> ObjectMask:
        """Segment the object that the prompts mean.

        Parameters
        ----------
        image : array or pyramid
        prompts : Prompts
            In pixels of ``image``.

        Returns
        -------
        ObjectMask
            In plane coordinates; possibly empty.

        Raises
        ------
        PromptError
            When nothing says where the object is, or it is outside the image.
        ImageError
            When the image cannot be used or read.
        """
        return self.predict_many(image, [prompts])[0]

    def predict_candidates(self, image: Any, prompts: Prompts) -> list[ObjectMask]:
        """All masks of the model for these prompts, to choose from.

        Parameters
        ----------
        image : array or pyramid
        prompts : Prompts
            In pixels of ``image``.

        Returns
        -------
        list of ObjectMask
            The single mask, then the alternatives; in plane coordinates, possibly empty. ``predict`` gives
            the one that ``choose_best`` takes.

        Raises
        ------
        PromptError
            When nothing says where the object is, or it is outside the image.
        ImageError
            When the image cannot be used or read.
        """
        return self._predict(self._keys.open(image), [prompts])[0]

    def peek(self, image: Any, prompts: Prompts) -> ObjectMask | None:
        """What one click would give, if that is known at once; None where a crop would have to be encoded.

        Only embeddings in memory are used, and an object that a seam cuts off is not looked at again. Takes
        the same, and raises the same, as ``predict``.
        """
        source = self._keys.open(image)
        checked = check_prompts(prompts, *source.shape)
        frame = self._choose_frame(source, checked)
        if self._tier(source, frame) != "memory":
            return None
        return self.predictor.decode(self._encode(source, frame), checked)

    def predict_many(self, image: Any, prompts: Iterable[Prompts]) -> list[ObjectMask]:
        """Segment many objects of one image, decoded in batches.

        Parameters
        ----------
        image : array or pyramid
        prompts : iterable of Prompts
            One for each object, in pixels of ``image``.

        Returns
        -------
        list of ObjectMask
            The best mask of each, in the order of the prompts.

        Raises
        ------
        PromptError
            When one of the prompts says nowhere where the object is, or is outside the image.
        ImageError
            When the image cannot be used or read.
        """
        asked = list_prompts(prompts)
        return [best for (best,) in self._predict(self._keys.open(image), asked, only_best=True)]

    def is_cached(self, image: Any, prompts: Prompts) -> bool:
        """Whether ``predict`` would answer without encoding; raises what ``predict`` would.

        An object that reaches over a seam of the tiles may need another crop, which is not looked for.
        """
        source = self._keys.open(image)
        checked = check_prompts(prompts, *source.shape)
        return self._tier(source, self._choose_frame(source, checked)) is not None

    def _predict(
        self, source: ImageSource, prompts: Sequence[Prompts], only_best: bool = False
    ) -> list[list[ObjectMask]]:
        checked = [check_prompts(p, *source.shape) for p in prompts]
        results: list[list[ObjectMask]] = [[] for _ in prompts]
        pending = {i: self._choose_frame(source, p) for i, p in enumerate(checked)}
        for _ in range(1 + LARGER_CROPS):
            groups: dict[Frame, list[int]] = {}
            for i, frame in pending.items():
                groups.setdefault(frame, []).append(i)
            pending = {}
            for frame, indices in groups.items():
                wanted = [checked[i] for i in indices]
                try:
                    embedding = self._encode(source, frame, partial=True)
                    answers = self.predictor.decode_candidates(embedding, wanted, only_best)
                except DamagedEntryError:  # what the click needs of the file is damaged, or gone
                    embedding = self._encode(source, frame)
                    answers = self.predictor.decode_candidates(embedding, wanted, only_best)
                for i, answer in zip(indices, answers, strict=True):
                    results[i] = answer
                    best = choose_best(answer, checked[i])
                    larger = choose_larger_crop(
                        source.shape, frame.crop, checked[i].extent, best, self.field, SEAM / frame.scale
                    )
                    if larger is not None:
                        pending[i] = self._make_frame(larger)
        return results

    # -- encode -----------------------------------------------------------------------------------

    @property
    def field(self) -> int:
        """Side, in pixels of the image's finest level, of what is encoded at once."""
        return field_size(self.model, self.settings.object_size)

    def list_tiles(self, shape: Sequence[int]) -> list[tuple[Crop, Crop]]:
        """The tiles that cover a plane, from which clicks are answered.

        Parameters
        ----------
        shape : (H, W)
            Of the finest level; what follows is ignored.

        Returns
        -------
        list of (crop, core)
            (r0, c0, r1, c1) each, half-open. The crops overlap, their cores do not.
        """
        return cover_plane((int(shape[0]), int(shape[1])), self.field, self._halo)

    def encode(self, image: Any, crop: Crop | None = None) -> ImageEmbedding:
        """The embedding of a crop (r0, c0, r1, c1), default the whole image, from the cache or new.

        Raises
        ------
        ImageError
            When the image cannot be used or read, or the crop is not within it.
        """
        source = self._keys.open(image)
        return self._encode(source, self._make_frame(check_crop(crop, *source.shape)))

    def embed(
        self, image: Any, tiles: Iterable[Crop] | None = None, region: Region | None = None
    ) -> Generator[Progress, None, int]:
        """Encode ahead what clicks will need; a job that returns how many tiles were not cached before.

        What is encoded when it is cancelled stays encoded. What is only in memory is written to the disk.

        Parameters
        ----------
        image : array or pyramid
        tiles : iterable of (r0, c0, r1, c1), optional
            Crops of ``list_tiles``, in this order; default all.
        region : Region, optional
            Tiles that answer for nothing in it are left out.

        Raises
        ------
        ImageError
            When the image cannot be used or read, or a tile is not within it.
        """
        source = self._keys.open(image)
        if tiles is None:
            covering = self.list_tiles(source.shape)
            tiles = [crop for crop, core in covering if region is None or region.covers(core)]
        else:
            checked = (check_crop(crop, *source.shape) for crop in tiles)
            tiles = [crop for crop in checked if region is None or region.covers(crop)]
        wanted, encoded = list(tiles), 0
        for done, crop in enumerate(wanted):
            yield Progress(done, len(wanted), "Encoding")
            frame = self._make_frame(crop)
            key = self._keys.make(source, frame, self.settings).key
            self.cache.write_missing(key)
            if self.cache.tier(key) is None:
                self._encode(source, frame)
                encoded += 1
        yield Progress(len(wanted), len(wanted), "Encoding")
        return encoded

    def tier(self, image: Any, crop: Crop | None = None) -> Literal["memory", "disk"] | None:
        """Where the embedding of a crop is; None where it would have to be encoded; raises as ``encode``."""
        source = self._keys.open(image)
        return self._tier(source, self._make_frame(check_crop(crop, *source.shape)))

    def render_input(self, image: Any, crop: Crop | None = None, max_side: int = 1024) -> NDArray[np.uint8]:
        """What the model sees of a crop, as an (h, w, 3) picture; see ``render_model_input``."""
        source = self._keys.open(image)
        normalization = self._keys.normalize(source, self.settings)
        return render_model_input(source, self.settings, crop, max_side, normalization)

    @property
    def _halo(self) -> int:
        return max(1, round(HALO * self.field / self.model.config.image_size))

    def _choose_frame(self, source: ImageSource, prompts: Prompts) -> Frame:
        return self._make_frame(choose_crop(source.shape, prompts.extent, self.field, self._halo))

    def _make_frame(self, crop: Crop) -> Frame:
        return self.predictor.make_frame(crop, choose_scale(self.model, self.settings.object_size, crop))

    def _tier(self, source: ImageSource, frame: Frame) -> Literal["memory", "disk"] | None:
        return self.cache.tier(self._keys.make(source, frame, self.settings).key)

    def _encode(self, source: ImageSource, frame: Frame, partial: bool = False) -> ImageEmbedding:
        made = self._keys.make(source, frame, self.settings)
        found = self.cache.get(made.key, partial)
        if found is None:
            with self._encoding:  # two threads that want the same crop encode it once
                found = self.cache.get(made.key, partial)
                if found is None:
                    made = self._keys.settle(made, source, frame, self.settings)
                    found = self.cache.get(made.key, partial)
                if found is None:
                    found = self.predictor.encode(
                        made.read(source, frame),
                        made.normalization,
                        frame,
                        source.shape,
                        adapt=self.settings.object_size is None,  # a size that was set is kept
                    )
                    self.cache.put(made.key, found)
        if found.frame.crop == frame.crop and found.plane_shape == source.shape:
            return found
        # The same pixels lay elsewhere; the model may have chosen another scale than was asked for.
        return replace(found, frame=replace(found.frame, crop=frame.crop), plane_shape=source.shape)

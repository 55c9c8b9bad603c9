from __future__ import annotations

import copy
import pickle
import threading
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import torch

from napari_sam.errors import CacheError, ImageError, PromptError
from napari_sam.inference.cached_predictor import CachedPredictor, EmbeddingCache
from napari_sam.inference.checkpoints import load_model, write_checkpoint
from napari_sam.inference.embedding import Frame, ImageEmbedding
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.modeling import build_sam
from napari_sam.types import ObjectMask, Prompts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_sam.inference.checkpoints import LoadedModel

CLICK = Prompts(points=[(40, 52)])


@pytest.fixture
def one_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks of random weights reach all over the crop; do not look again where a seam cuts them off."""
    monkeypatch.setattr("napari_sam.inference.cached_predictor.LARGER_CROPS", 0)


def describe(obj: ObjectMask) -> tuple[Any, ...]:
    assert obj.logits is not None
    return obj.origin, obj.mask.tobytes(), obj.predicted_iou, obj.logits.values.tobytes()


def test_a_predictor_goes_to_other_processes(
    model: LoadedModel, blobs: NDArray[np.uint8], tmp_path: Path
) -> None:
    for options in ({}, {"cache_dir": tmp_path, "disk_bytes": 1 << 20, "memory_bytes": 1 << 25}):
        predictor = CachedPredictor(model, settings=EncodeSettings(limits=((0, 200),)), **options)
        expected = predictor.predict(blobs, CLICK)
        predictor.cache.flush()
        again = pickle.loads(pickle.dumps(predictor))
        assert (again.settings, again.cache.budget) == (predictor.settings, predictor.cache.budget)
        assert again.is_cached(blobs, CLICK) == bool(options)
        assert describe(again.predict(blobs, CLICK)) == describe(expected)
        assert getattr(again.cache.store, "budget_bytes", None) == options.get("disk_bytes")


def test_a_copy_of_a_predictor_shares_its_cache(predictor: CachedPredictor, blobs: NDArray[np.uint8]) -> None:
    predictor.predict(blobs, CLICK)
    assert copy.copy(predictor).is_cached(blobs, CLICK)
    assert not copy.deepcopy(predictor).is_cached(blobs, CLICK)


# ---- what is encoded --------------------------------------------------------------------------------------


def test_a_second_click_does_not_encode(
    predictor: CachedPredictor, blobs: NDArray[np.uint8], encode_calls: list[tuple[int, ...]]
) -> None:
    assert not predictor.is_cached(blobs, CLICK)
    first = predictor.predict(blobs, CLICK)
    assert len(encode_calls) == 1
    assert predictor.is_cached(blobs, CLICK)
    assert describe(predictor.predict(blobs.copy(), CLICK)) == describe(first)
    predictor.predict(da.from_array(blobs, chunks=50), Prompts(points=[(90, 20), (1, 1)], labels=[1, 0]))
    predictor.predict_many(blobs, [CLICK, Prompts(box=(3, 3, 40, 40))])
    assert len(encode_calls) == 1


def test_a_peek_answers_from_memory_alone(
    model: LoadedModel, blobs: NDArray[np.uint8], encode_calls: list[tuple[int, ...]], tmp_path: Path
) -> None:
    CachedPredictor(model, tmp_path).predict(blobs, CLICK)
    predictor = CachedPredictor(model, tmp_path)  # what is on disk would have to be read
    assert predictor.peek(blobs, CLICK) is None
    answer = predictor.predict(blobs, CLICK)
    calls = len(encode_calls)
    seen = predictor.peek(blobs, CLICK)
    assert seen is not None
    assert describe(seen) == describe(answer)
    assert predictor.peek(blobs[::-1], CLICK) is None
    assert len(encode_calls) == calls


def test_cached_equals_uncached(
    model: LoadedModel, blobs: NDArray[np.uint8], encode_calls: list[tuple[int, ...]]
) -> None:
    cached, forgetful = CachedPredictor(model), CachedPredictor(model, memory_bytes=0)
    prompts = [CLICK, Prompts(box=(10, 20, 50, 80)), Prompts(points=[(9, 9), (50, 50)], labels=[1, 0])]
    cached.predict(blobs, prompts[0])
    for p in prompts:
        assert describe(cached.predict(blobs, p)) == describe(forgetful.predict(blobs, p))
    assert len(encode_calls) == 1 + len(prompts)


def test_an_embedding_larger_than_the_budget_still_answers(
    model: LoadedModel, blobs: NDArray[np.uint8]
) -> None:
    predictor = CachedPredictor(model, memory_bytes=1000)
    assert isinstance(predictor.predict(blobs, CLICK), ObjectMask)
    assert not predictor.is_cached(blobs, CLICK)


def test_a_changed_pixel_is_encoded_anew(
    predictor: CachedPredictor, blobs: NDArray[np.uint8], encode_calls: list[tuple[int, ...]]
) -> None:
    image = blobs.copy()
    predictor.predict(image, CLICK)
    image[100, 100] ^= 1
    assert not predictor.is_cached(image, CLICK)
    predictor.predict(image, CLICK)
    image[100, 100] ^= 1
    predictor.predict(image, CLICK)
    assert len(encode_calls) == 2


@pytest.mark.parametrize("changes", ["before", "during"])
def test_pixels_that_change_while_they_are_encoded(
    changes: str, predictor: CachedPredictor, blobs: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next frame of a camera arrives between the key and the encoder, or while that works."""
    image, encode, settle = blobs.copy(), predictor.predictor.encode, predictor._keys.settle

    def change_then(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            image[:] = 255 - blobs
            return function(*arguments, **options)

        return call

    if changes == "before":
        monkeypatch.setattr(predictor._keys, "settle", change_then(settle))
    else:
        monkeypatch.setattr(predictor.predictor, "encode", change_then(encode))
    during = predictor.predict(image, CLICK)
    monkeypatch.undo()
    old, new = (CachedPredictor(predictor.model).predict(i, CLICK) for i in (blobs, 255 - blobs))
    assert describe(during) == describe(new if changes == "before" else old)
    assert describe(predictor.predict(blobs, CLICK)) == describe(old)
    assert describe(predictor.predict(image, CLICK)) == describe(new)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda image: image.astype(np.uint16), id="dtype"),
        pytest.param(lambda image: image[::-1], id="flipped"),
        pytest.param(lambda image: np.ascontiguousarray(image.T), id="transposed"),
        pytest.param(lambda image: image[..., None], id="one channel"),
    ],
)
def test_another_image_has_another_key(
    conv_model: LoadedModel, blobs: NDArray[np.uint8], change: Callable[..., NDArray[Any]]
) -> None:
    predictor = CachedPredictor(conv_model)
    predictor.predict(blobs, CLICK)
    assert not predictor.is_cached(change(blobs), CLICK)


def test_the_plane_around_a_crop_counts_by_its_normalization(
    vit_model: LoadedModel, make_blobs: Callable[..., NDArray[np.uint8]]
) -> None:
    predictor, image = CachedPredictor(vit_model), make_blobs(400, 400)
    click = Prompts(points=[(20, 20)])
    predictor.predict(image, click)
    one_pixel = image.copy()
    one_pixel[399, 399] = 255
    assert predictor.is_cached(one_pixel, click)
    brighter = image.copy()
    brighter[200:] = 255
    assert not predictor.is_cached(brighter, click)


def test_channels_and_model_are_in_the_key(
    vit_model: LoadedModel, blobs: NDArray[np.uint8], tmp_path: Path
) -> None:
    image = np.dstack([blobs] * 5)
    image[..., 4] //= 2
    keys = set()
    torch.manual_seed(99)
    write_checkpoint(build_sam("vit_test"), tmp_path / "other.safetensors", name="other", record={})
    other = load_model(tmp_path / "other.safetensors", "cpu")
    for model, channels in ((vit_model, None), (vit_model, (4,)), (vit_model, (0, 4)), (other, None)):
        predictor = CachedPredictor(model, channels=channels)
        predictor.predict(image, CLICK)
        keys.update(predictor.cache._entries)
    assert len(keys) == 4


@pytest.mark.usefixtures("one_crop")
def test_a_prompt_on_a_large_lazy_image_reads_a_crop_and_a_sample(
    model: LoadedModel, recording: Callable[..., Any]
) -> None:
    image = recording(np.random.default_rng(0).integers(0, 255, (3000, 4000), np.uint8))
    side = model.config.image_size
    predictor = CachedPredictor(model)
    click = Prompts(points=[(1700, 800)])
    predictor.predict(image, click)
    assert {shape for shape, _ in image.reads} == {(102, 102), (side, side)}
    assert sum(size for _, size in image.reads) <= 512 * 512 + side * side
    image.reads.clear()
    predictor.predict(image, Prompts(points=[(1705, 790), (1700, 800)]))
    assert [shape for shape, _ in image.reads] == [(side, side)]  # what the digest needs


@pytest.mark.usefixtures("one_crop")
def test_prompts_far_apart_are_answered_each_in_its_crop(
    vit_model: LoadedModel,
    make_blobs: Callable[..., NDArray[np.uint8]],
    encode_calls: list[tuple[int, ...]],
) -> None:
    image, predictor = make_blobs(300, 1000), CachedPredictor(vit_model)
    prompts = [Prompts([(150, c)]) for c in (880, 70, 885, 75)]
    together = predictor.predict_many(image, prompts)
    assert len(encode_calls) == 2
    for p, obj in zip(prompts, together, strict=True):
        alone = predictor.predict(image, p)
        assert alone.iou(obj) > 0.99 or alone.area == obj.area == 0
    assert len(encode_calls) == 2


def test_a_box_over_the_edge_is_cached_as_well(
    vit_model: LoadedModel, make_blobs: Callable[..., NDArray[np.uint8]]
) -> None:
    predictor, image = CachedPredictor(vit_model), make_blobs(300, 300)
    box = Prompts(box=(-150, 150, 60, 190))  # clipped it is small, unclipped it asks for another crop
    predictor.predict(image, box)
    assert predictor.is_cached(image, box)
    with pytest.raises(PromptError, match="inside the image"):
        predictor.is_cached(image, Prompts([(999, 0)]))


# ---- answers ----------------------------------------------------------------------------------------------


def test_previous_answers_are_fed_back(predictor: CachedPredictor, blobs: NDArray[np.uint8]) -> None:
    candidates = predictor.predict_candidates(blobs, CLICK)
    previous = next((c for c in candidates if c.area), candidates[0])
    clicks = {"points": [(40, 52), (60, 60)], "labels": [1, 0]}
    with_mask = predictor.predict(blobs, Prompts(**clicks, mask=previous))  # type: ignore[arg-type]
    without = predictor.predict(blobs, Prompts(**clicks))  # type: ignore[arg-type]
    assert describe(with_mask) != describe(without)


def test_threads_get_what_one_alone_gets(
    model: LoadedModel,
    make_blobs: Callable[..., NDArray[np.uint8]],
    encode_calls: list[tuple[int, ...]],
) -> None:
    images = [make_blobs(90, 110, seed) for seed in range(3)]
    prompts = [Prompts([(30, 40)]), Prompts(box=(20, 20, 60, 70))]
    alone = CachedPredictor(model)
    expected = {(i, j): describe(alone.predict(images[i], prompts[j])) for i in range(3) for j in range(2)}
    shared, found, lock = CachedPredictor(model), [], threading.Lock()
    start = threading.Barrier(4)
    encode_calls.clear()

    def work(number: int) -> None:
        start.wait()
        for n in range(6):
            key = ((n + number) % 3, n % 2)
            answer = describe(shared.predict(images[key[0]], prompts[key[1]]))
            with lock:
                found.append((key, answer))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 24
    assert all(expected[key] == answer for key, answer in found)
    assert len(encode_calls) == 3


# ---- the cache --------------------------------------------------------------------------------------------


def make_embedding(nbytes: int) -> ImageEmbedding:
    return ImageEmbedding(
        torch.zeros(nbytes, dtype=torch.uint8), None, None, None, Frame((0, 0, 1, 1), 1.0, (1, 1)), (1, 1)
    )


def test_the_least_recently_used_is_dropped() -> None:
    cache = EmbeddingCache(100)
    for key in "abc":
        cache.put(key, make_embedding(30))
    assert (len(cache), cache.nbytes) == (3, 90)
    assert cache.get("a") is not None  # now "b" is the oldest
    cache.put("d", make_embedding(30))
    assert [key in cache for key in "abcd"] == [True, False, True, True]
    assert (len(cache), cache.nbytes) == (3, 90)
    assert cache.get("b") is None
    cache.put("e", make_embedding(75))
    assert [key in cache for key in "acde"] == [False, False, False, True]
    assert cache.nbytes == 75


def test_replacing_counts_once() -> None:
    cache = EmbeddingCache(100)
    cache.put("a", make_embedding(60))
    cache.put("a", make_embedding(40))
    assert (len(cache), cache.nbytes) == (1, 40)


def test_what_exceeds_the_budget_drops_nothing() -> None:
    cache = EmbeddingCache(100)
    cache.put("a", make_embedding(60))
    cache.put("b", make_embedding(101))
    assert ("a" in cache, "b" in cache, cache.nbytes) == (True, False, 60)
    cache.put("c", make_embedding(100))
    assert ("a" in cache, "c" in cache) == (False, True)


@pytest.mark.parametrize(
    "options",
    [{"memory_bytes": -1}, {"cache_dir": "somewhere", "disk_bytes": -1}],
    ids=["memory", "disk"],
)
def test_impossible_caches(conv_model: LoadedModel, options: dict[str, Any]) -> None:
    with pytest.raises(CacheError, match="Expected"):
        CachedPredictor(conv_model, **options)


def test_impossible_channels(conv_model: LoadedModel) -> None:
    with pytest.raises(ImageError, match="one to three channels"):
        CachedPredictor(conv_model, channels=(7,)).predict(np.zeros((9, 9, 4)), Prompts([(1, 1)]))

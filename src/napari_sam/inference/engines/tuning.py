"""Finding the engine that is fastest on this machine among those whose masks are as good as float32's."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from napari_sam import sample_data
from napari_sam.inference.engines.choice import build_engine, default_engine_dir
from napari_sam.inference.engines.openvino_models import decodes, has_openvino, iter_convert
from napari_sam.inference.engines.verdict import (
    MOST_ERROR,
    PLAIN,
    Trial,
    Verdict,
    passes_guard,
    summarize,
    write_verdict,
)
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.transforms import measure_normalization
from napari_sam.types import ObjectMask, Progress, Prompts

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_sam.inference.checkpoints import LoadedModel
    from napari_sam.inference.embedding import ImageEmbedding
    from napari_sam.inference.engines.engine import Engine
    from napari_sam.modeling.sam import Features
    from napari_sam.modeling.transformer import SharedImage

    Job = Generator[Progress, None, Any]

LOADERS: Final = (
    sample_data.load_nuclei_2d,
    sample_data.load_stained_tissue,
    sample_data.load_immunohistochemistry,
    sample_data.load_cell,
    sample_data.load_coins,
)
TIMED: Final = 3
"""How often a frame is timed: so many images, or each image so many times where they are small."""
GAIN: Final = 1.05
"""How many times faster than float32 PyTorch another engine must be to be worth it."""
_log = logging.getLogger(__name__)


def iter_tune(
    model: LoadedModel, folder: Path | None = None, images: Sequence[NDArray[Any]] | None = None
) -> Generator[Progress, None, Verdict]:
    """Try all engines on sample images and note the fastest accurate one, which is used from then on.

    Encoder and decoder are tried apart, each against float32 PyTorch in turns, so that a busy machine slows
    both alike. An engine is accurate when the masks of clicks on a grid pass ``passes_guard``, those of the
    decoder together with the encoder that was chosen, and when the embeddings of frames of one size are off
    by at most ``MOST_ERROR``.

    Parameters
    ----------
    model : LoadedModel
    folder : Path, optional
        Of converted models and verdicts, by default ``default_engine_dir()``.
    images : sequence of (H, W) or (H, W, 3), optional
        By default the sample images of the package.

    Yields
    ------
    Progress

    Returns
    -------
    Verdict

    Raises
    ------
    SamError
        When nothing can be written to the folder.
    """
    folder = folder or default_engine_dir()
    images = [load()[0][0] for load in LOADERS] if images is None else images
    engines, with_openvino = _list_torch(model.device), model.device.type == "cpu" and has_openvino()
    if with_openvino:
        try:
            yield from iter_convert(model, folder)
            engines += ["openvino f32", "openvino bf16"]
        except RuntimeError as error:  # what its converter raises for a model that it does not know
            _log.warning("OpenVINO does not convert %s: %s", model.name, error)
    decoders = [e for e in engines if e.startswith("torch") or decodes(model.config)]
    tuning = _Tuning(model, folder, images, len(engines) + len(decoders) - 1)
    yield from tuning.iter_truth()
    for name in engines[1:]:
        yield from tuning.iter_try("encoder", name)
    for name in decoders[1:]:
        yield from tuning.iter_try("decoder", name)
    verdict = Verdict(tuning.best("encoder"), tuning.best("decoder"), tuple(tuning.trials))
    write_verdict(model, folder, verdict)
    return verdict


class _Tuning:
    """The images, what float32 PyTorch makes of them, and the trials so far."""

    def __init__(self, model: LoadedModel, folder: Path, images: Sequence[NDArray[Any]], parts: int) -> None:
        self.trials: list[Trial] = []
        self._model, self._folder, self._images = model, folder, images
        self._done, self._total = 0, parts * len(images)
        self._whole = not model.config.any_frame_size
        self._clicks = 5 if self._whole else 8  # a side
        self._plain, self._clock = self._predictor(PLAIN, PLAIN)
        self._truth: list[tuple[list[ObjectMask], Tensor]] = []
        self._embeddings: list[ImageEmbedding] = []  # of the best encoder so far

    def best(self, part: str) -> str:
        """The engine of the trials of a part that is fastest and passes."""
        fast = [t for t in self.trials if t.part == part and t.passes and t.ratio >= GAIN]
        return max(fast, key=lambda trial: trial.ratio).engine if fast else PLAIN

    def iter_truth(self) -> Job:
        seconds: dict[str, list[float]] = {"encoder": [], "decoder": []}
        for image in self._images:
            yield self._step("Encoding with PyTorch in float32")
            embedding, encoding = self._count(self._clock, partial(self._encode, self._plain, image))
            masks, decoding = self._count(self._clock, partial(self._decode, self._plain, embedding, image))
            self._embeddings.append(embedding)
            self._truth.append((masks, embedding.features[...]))
            seconds["encoder"].append(encoding)
            seconds["decoder"].append(decoding / self._clicks**2)
        for part, taken in seconds.items():
            self.trials.append(Trial(part, PLAIN, float(np.median(taken)), 1.0, 1.0, 1.0, 0.0, True))

    def iter_try(self, part: str, name: str) -> Job:
        """Try an engine for the encoder, or on what the best encoder made for the decoder."""
        encodes = part == "encoder"
        try:
            predictor, clock = self._predictor(*((name, PLAIN) if encodes else (PLAIN, name)))
        except RuntimeError as error:
            _log.warning("%s does not run here: %s", name, error)
            self._done += len(self._images)
            return
        overlaps: list[float] = []
        errors: list[float] = []
        times: list[tuple[float, float]] = []
        embeddings = []
        for i, image in enumerate(self._images):
            yield self._step(f"Trying {name}" + ("" if encodes else " on clicks"))
            masks, features = self._truth[i]
            if encodes:
                embedding, taken = self._take_turns(i, clock, predictor, partial(self._encode, image=image))
                found = embedding.features[...]
                errors.append(float((found - features).norm() / features.norm()))
                answers = self._decode(predictor, embedding, image)
                embeddings.append(embedding)
            else:
                run = partial(self._decode, embedding=self._embeddings[i], image=image)
                answers, taken = self._take_turns(i, clock, predictor, run)
            overlaps += [_overlap(a, b, image) for a, b in zip(masks, answers, strict=True)]
            times += taken
        off = max(errors, default=0.0)
        self.trials.append(
            Trial(
                part,
                name,
                float(np.median([other for _, other in times])) / (1 if encodes else self._clicks**2),
                float(np.median([one / other for one, other in times])),
                *summarize(overlaps),
                off,
                passes_guard(overlaps) and (off <= MOST_ERROR or not self._whole),
            )
        )
        if encodes and self.best(part) == name:
            self._embeddings = embeddings

    def _take_turns(
        self, i: int, clock: _Timed, predictor: Predictor, run: Callable[[Predictor], Any]
    ) -> tuple[Any, list[tuple[float, float]]]:
        """Seconds of float32 PyTorch and of an engine on an image, and what the engine gives."""
        if self._whole and i < len(self._images) - TIMED:  # the frames are of one size, and take long
            return run(predictor), []
        times = []
        for _ in range(1 if self._whole else TIMED):
            _, plain = self._count(self._clock, partial(run, self._plain))
            found, taken = self._count(clock, partial(run, predictor))
            times.append((plain, taken))
        return found, times

    def _count(self, clock: _Timed, run: Callable[[], Any]) -> tuple[Any, float]:
        clock.seconds = 0.0
        found = run()
        return found, clock.seconds

    def _predictor(self, encoder: str, decoder: str) -> tuple[Predictor, _Timed]:
        clock = _Timed(build_engine(self._model, encoder, decoder, self._folder))
        return Predictor(self._model, clock), clock

    def _encode(self, predictor: Predictor, image: NDArray[Any]) -> ImageEmbedding:
        height, width = image.shape[:2]
        frame = predictor.make_frame((0, 0, height, width))
        return predictor.encode(image, measure_normalization(image), frame, (height, width))

    def _decode(
        self, predictor: Predictor, embedding: ImageEmbedding, image: NDArray[Any]
    ) -> list[ObjectMask]:
        rows, cols = ((np.arange(self._clicks) + 0.5) / self._clicks * n for n in image.shape[:2])
        prompts = [Prompts(points=np.array([[r, c]], np.float32)) for r in rows for c in cols]
        return predictor.decode_many(embedding, prompts)

    def _step(self, description: str) -> Progress:
        self._done += 1
        return Progress(self._done - 1, self._total, description)


class _Timed:
    """An engine that counts the seconds it takes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.seconds = 0.0

    @property
    def name(self) -> str:
        return self._engine.name

    def encode(self, frames: Tensor) -> Features:
        start = _now(frames.device)
        found = self._engine.encode(frames)
        self.seconds += _now(frames.device) - start
        return found

    def share(self, embedding: Tensor) -> SharedImage | None:
        return self._engine.share(embedding)

    def decode(self, embedding: Tensor, *prompts: Any) -> tuple[Tensor, Tensor]:
        start = _now(embedding.device)
        found = self._engine.decode(embedding, *prompts)
        self.seconds += _now(embedding.device) - start
        return found


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    # With one thread the processor's time is what one waits for, less what other programs take.
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time() if alone else time.perf_counter()


def _list_torch(device: torch.device) -> list[str]:
    if device.type == "cpu":
        return [PLAIN, "torch bfloat16"]
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return [PLAIN, "torch bfloat16", "torch float16"]
    return [PLAIN, "torch float16"]


def _overlap(one: ObjectMask, other: ObjectMask, image: NDArray[Any]) -> float:
    a, b = one.paste(image.shape[:2]), other.paste(image.shape[:2])
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 1.0

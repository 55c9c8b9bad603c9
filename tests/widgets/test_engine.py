"""The real engine behind the session, with a small model of random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.session.jobs import SynchronousRunner
from napari_sam.session.requests import ModelChoice, Plane
from napari_sam.session.session import Session
from napari_sam.types import ObjectMask, Progress, Prompts
from napari_sam.widgets.engine import InferenceEngine

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from napari_sam.inference.checkpoints import write_checkpoint
    from napari_sam.modeling import build_sam

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "random.safetensors"
    write_checkpoint(build_sam("conv_test"), path, name="random", record={})
    return path


def open_session(choice: ModelChoice) -> tuple[Session, list[str]]:
    session = Session(InferenceEngine(), SynchronousRunner(), choice)
    messages: list[str] = []
    session.warned.connect(lambda message: messages.append(message))
    image = np.random.default_rng(0).integers(0, 255, (48, 56), dtype=np.uint8)
    session.show_plane(Plane("image", (None, None), image.shape, lambda: image))
    return session, messages


def test_the_engine_that_was_found_is_used_at_once(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_sam.inference.engines import choice, engine, tuning, verdict

    monkeypatch.setattr(choice, "default_engine_dir", lambda: tmp_path)
    monkeypatch.setattr(engine, "multiplies_bfloat16", lambda: False)

    def iter_tune(model: Any) -> Generator[Progress, None, verdict.Verdict]:
        yield Progress(0, 1, "Trying")
        trial = verdict.Trial("encoder", "torch bfloat16", 0.1, 2.0, 1.0, 1.0, 0.0, True)
        found = verdict.Verdict("torch bfloat16", "torch float32", (trial,))
        verdict.write_verdict(model, tmp_path, found)
        return found

    monkeypatch.setattr(tuning, "iter_tune", iter_tune)
    chosen = ModelChoice(str(checkpoint), "cpu")
    session, messages = open_session(chosen)
    runs = session._pool.predictor(chosen).predictor  # type: ignore[attr-defined]
    assert runs.engine.name == "torch float32"
    said: list[str] = []
    session.status_changed.connect(lambda text: said.append(text))
    session.work.tune()
    words = "encoder torch bfloat16 (2.0 times as fast as torch float32), decoder torch float32."
    assert said[-1].endswith(words)
    assert runs.engine.name == "torch bfloat16"
    assert messages == []


def test_a_click_reaches_the_real_predictor(checkpoint: Path) -> None:
    session, messages = open_session(ModelChoice(str(checkpoint), "cpu"))
    answers: list[Any] = []
    session.preview_changed.connect(lambda preview: answers.append(preview))
    session.set_prompts(Prompts(points=np.array([(20, 30)], np.float32)))
    assert messages == []
    if session.preview is not None:  # random weights may find nothing
        assert isinstance(session.preview.mask, ObjectMask)
        assert session.preview.mask.logits is not None
    session.set_prompts(
        Prompts(points=np.array([(20, 30), (5, 5)], np.float32), labels=np.array([1, 0], np.int8))
    )
    assert messages == []


def test_everything_is_segmented_by_the_real_job(checkpoint: Path) -> None:
    session, messages = open_session(ModelChoice(str(checkpoint), "cpu"))
    session.segment_everything()
    assert not session.is_segmenting
    assert len(messages) <= 1  # random weights may find nothing, or nothing that passes
    if not messages:
        assert session.auto.state.count > 0


@pytest.mark.parametrize(
    ("content", "suffix"), [(b"", ".safetensors"), (b"no checkpoint", ".pt"), (None, ".pt")],
    ids=["empty", "not a checkpoint", "missing"],
)  # fmt: skip
def test_a_checkpoint_that_cannot_be_used_gives_one_message(
    tmp_path: Path, content: bytes | None, suffix: str
) -> None:
    path = tmp_path / f"model{suffix}"
    if content is not None:
        path.write_bytes(content)
    session, messages = open_session(ModelChoice(str(path), "cpu"))
    assert len(messages) == 1
    assert "model" in messages[0]
    session.close()


def test_models_and_devices_are_listed() -> None:
    engine = InferenceEngine()
    job = engine.iter_models()
    with pytest.raises(StopIteration) as stop:
        next(job)
    infos = {info.name: info for info in stop.value.value}
    assert infos["nuclei"].is_here
    assert not infos["vit_b_lm"].is_here
    assert (infos["vit_b_lm"].megabytes, len(infos["vit_b_lm"].urls)) == (413, 2)
    assert engine.list_devices()[0] == "auto"

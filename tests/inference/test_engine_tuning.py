from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_sam.errors import SamError
from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.engines import TorchEngine, choose_engine, tuning, verdict
from napari_sam.inference.engines.openvino_models import DECODER, find_converted
from napari_sam.inference.engines.verdict import (
    PLAIN,
    Trial,
    Verdict,
    passes_guard,
    read_verdict,
    write_verdict,
)
from napari_sam.types import Prompts

from .fake_decoder import run_job  # noqa: TID252 - the tests are no package

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_sam.inference.checkpoints import LoadedModel

BF16 = "torch bfloat16"


def make_trial(part: str, engine: str, passes: bool = True) -> Trial:
    return Trial(part, engine, 1.0, 2.0, 1.0, 1.0, 0.0, passes)


GOOD = Verdict(BF16, PLAIN, (make_trial("encoder", BF16),))


@pytest.mark.parametrize(
    ("overlaps", "expected"),
    [
        pytest.param([], False, id="nothing compared"),
        pytest.param([1.0] * 10, True, id="equal"),
        pytest.param([0.5] + [1.0] * 99, True, id="one in a hundred"),
        pytest.param([0.96] * 10 + [1.0] * 90, False, id="ten in a hundred"),
        pytest.param([0.985] * 100, False, id="all a little"),
    ],
)
def test_guard(overlaps: list[float], expected: bool) -> None:
    assert passes_guard(overlaps) is expected


def test_what_was_found_is_used(vit_model: LoadedModel, tmp_path: Path) -> None:
    assert choose_engine(vit_model, tmp_path).name == TorchEngine(vit_model.module).name
    write_verdict(vit_model, tmp_path / "new", GOOD)
    assert read_verdict(vit_model, tmp_path / "new") == GOOD
    assert choose_engine(vit_model, tmp_path / "new").name == BF16
    assert choose_engine(replace(vit_model, sha256="1" * 64), tmp_path / "new").name != GOOD  # other weights


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: "", id="empty"),
        pytest.param(lambda text: text[: len(text) // 2], id="cut off"),
        pytest.param(lambda text: "[1]", id="a list"),
        pytest.param(lambda text: "{}", id="nothing in it"),
        pytest.param(lambda text: text.replace(torch.__version__, "0.1"), id="another PyTorch"),
        pytest.param(lambda text: text.replace("true", "false"), id="the guard failed"),
        pytest.param(lambda text: text.replace(BF16, "abacus"), id="an unknown engine"),
        pytest.param(lambda text: text.replace('"ratio"', '"speed"'), id="another format"),
    ],
)
def test_a_verdict_of_anything_else_is_none(change: Any, vit_model: LoadedModel, tmp_path: Path) -> None:
    path = write_verdict(vit_model, tmp_path, GOOD)
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert read_verdict(vit_model, tmp_path) is None
    assert choose_engine(vit_model, tmp_path).name == TorchEngine(vit_model.module).name


def test_another_processor_asks_anew(
    vit_model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_verdict(vit_model, tmp_path, GOOD)
    monkeypatch.setattr(verdict, "_name_processor", lambda: "another one")
    assert read_verdict(vit_model, tmp_path) is None


def test_it_says_where_it_cannot_write(vit_model: LoadedModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SamError, match="Cannot note the fastest engine"):
        write_verdict(vit_model, tmp_path / "file", GOOD)


class Clock:
    """Seconds as an engine's name says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], spoils: str = "") -> None:
        class Timed(tuning._Timed):
            def encode(self, frames: torch.Tensor) -> Any:
                found = super().encode(frames)
                self.seconds = seconds.get(self.name, 1.0)
                return replace(found, embedding=-found.embedding) if self.name == spoils else found

            def decode(self, *args: Any) -> Any:
                found = super().decode(*args)
                self.seconds = seconds.get(self.name, 1.0)
                return found

        monkeypatch.setattr(tuning, "_Timed", Timed)
        monkeypatch.setattr(tuning, "has_openvino", lambda: False)


@pytest.mark.parametrize(
    ("seconds", "spoils", "expected"),
    [
        pytest.param({BF16: 0.5}, "", (BF16, PLAIN), id="faster"),
        pytest.param({BF16: 0.99}, "", (PLAIN, PLAIN), id="hardly faster"),
        pytest.param({BF16: 2.0}, "", (PLAIN, PLAIN), id="slower"),
        pytest.param({BF16: 0.1}, BF16, (PLAIN, PLAIN), id="inaccurate"),
        pytest.param({f"{PLAIN}, decoder {BF16}": 0.5}, "", (PLAIN, BF16), id="the decoder"),
    ],
)
def test_the_fastest_accurate_engine_wins(
    seconds: dict[str, float],
    spoils: str,
    expected: tuple[str, str],
    vit_model: LoadedModel,
    blobs: NDArray[np.uint8],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Clock(monkeypatch, seconds, spoils)
    monkeypatch.setattr(verdict, "LEAST_MEDIAN", 0.5)  # the masks of random weights are no masks
    monkeypatch.setattr(verdict, "LEAST_LOW", 0.0)
    steps, found = run_job(tuning.iter_tune(vit_model, tmp_path, [blobs, blobs[:80]]))
    assert (found.encoder, found.decoder) == expected
    assert read_verdict(vit_model, tmp_path) == found
    assert [step.done for step in steps] == list(range(steps[0].total))
    trials = {(trial.part, trial.engine): trial for trial in found.trials}
    assert len(trials) == 4
    assert trials["encoder", BF16].passes is (spoils != BF16)


def test_nothing_is_noted_when_it_is_cancelled(
    conv_model: LoadedModel, blobs: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock(monkeypatch, {})
    job = tuning.iter_tune(conv_model, tmp_path, [blobs])
    for _ in range(2):
        next(job)
    job.close()
    assert not list(tmp_path.iterdir())


def test_a_predictor_in_use_takes_the_new_engine(
    vit_model: LoadedModel, blobs: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_sam.inference.engines.choice.default_engine_dir", lambda: tmp_path)
    predictor = CachedPredictor(vit_model)
    prompts = Prompts(points=np.array([[60, 60]], np.float32))
    predictor.predict(blobs, prompts)
    before = predictor.predictor.engine.name
    write_verdict(vit_model, tmp_path, Verdict(PLAIN, BF16, (make_trial("decoder", BF16),)))
    assert predictor.predictor.engine.name == before
    predictor.predictor.choose_again()
    assert predictor.predictor.engine.name == f"{PLAIN}, decoder {BF16}"
    predictor.predict(blobs, prompts)


@pytest.mark.slow
def test_openvino_is_tried_and_used(
    vit_model: LoadedModel, blobs: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    fast = dict.fromkeys(("openvino f32", f"{PLAIN}, decoder openvino f32"), 0.1)
    Clock(monkeypatch, fast)
    monkeypatch.setattr(tuning, "has_openvino", lambda: True)
    _, found = run_job(tuning.iter_tune(vit_model, tmp_path, [blobs]))
    assert (found.encoder, found.decoder) == ("openvino f32", "openvino f32")
    assert len(found.trials) == 8
    assert choose_engine(vit_model, tmp_path).name == "openvino f32"

    place = find_converted(vit_model, tmp_path)
    assert place is not None
    (place / DECODER).write_text("damaged", encoding="utf-8")
    assert choose_engine(vit_model, tmp_path).name == PLAIN  # and not what was found to be inaccurate
    (place / DECODER).unlink()
    assert choose_engine(vit_model, tmp_path).name == PLAIN

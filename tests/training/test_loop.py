from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import torch

from napari_sam.cli.labelled_files import read_labelled_images
from napari_sam.errors import CheckpointError, SamError
from napari_sam.inference.checkpoints import load_model, write_checkpoint
from napari_sam.inference.segment_image import segment_image
from napari_sam.modeling import ConvConfig, build_sam
from napari_sam.training import loop, precision
from napari_sam.training.config import CONFIGS, Phase, TrainConfig
from napari_sam.training.dataset import split_holdout
from napari_sam.training.loop import Trainer, train
from napari_sam.training.precision import choose_training_precision
from napari_sam.training.prompt_rounds import measure_iou
from napari_sam.training.run_files import read_curve, read_initial_weights

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SMOKE = CONFIGS["smoke"]
STEPS = (2, 2, 2, 2)
SHORT = replace(
    SMOKE, phases=tuple(replace(p, steps=n, images=1) for p, n in zip(SMOKE.phases, STEPS, strict=True))
)


def make_trainer(data: Path, out: Path, config: TrainConfig = SHORT, seed: int = 0) -> Trainer:
    out.mkdir(exist_ok=True)
    return Trainer(read_labelled_images(data), config, "tiny", out, seed, torch.device("cpu"))


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    ours = {f"model.{k}": v.clone() for k, v in trainer.model.state_dict().items()}
    return ours | {f"averaged.{k}": v.clone() for k, v in trainer.averaged.state_dict().items()}


def assert_equal_weights(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    different = [key for key, value in one.items() if not torch.equal(value, two[key])]
    assert different == []


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, data_folder: Path) -> Path:
    """Folder of a run of the recipe "smoke", to its end."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("finished")
    assert train(read_labelled_images(data_folder), "smoke", out) == out / "smoke.safetensors"
    return out


# ---- a whole run ------------------------------------------------------------------------------------------


def test_a_run_leaves_model_state_and_log(finished: Path) -> None:
    assert sorted(p.name for p in finished.iterdir()) == ["last.pt", "log.jsonl", "smoke.safetensors"]
    lines = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["phase"]) for line in lines] == [
        (8, "dense"),
        (12, "prompts"),
        (16, "joint"),
        (18, "scores"),
    ]
    assert set(lines[0]) == {"step", "seconds", "dense", "phase"}
    assert {"prompts", "iou1", "iou_last"} <= set(lines[1])
    assert {"dense", "prompts"} <= set(lines[2])


def test_the_model_holds_its_record(finished: Path, data_folder: Path) -> None:
    model = load_model(finished / "smoke.safetensors", "cpu")
    record = model.record
    assert record["config"] == json.loads(json.dumps(asdict(SMOKE)))
    assert (record["seed"], record["processes"], record["images"]) == (0, 1, 3)
    assert len(record["held_out"]) == 1
    assert [line["step"] for line in record["curve"]] == [8, 12, 16, 18]
    state = torch.load(finished / "last.pt", weights_only=True)
    assert state["step"] == SMOKE.steps
    for key, value in model.module.state_dict().items():
        torch.testing.assert_close(value, state["averaged"][key], rtol=1e-3, atol=1e-6, msg=key)
    image = read_labelled_images(data_folder)[0].pixels.astype(np.float32)
    assert segment_image(image, model).shape == (128, 128)


def test_a_finished_run_is_not_overwritten(finished: Path, data_folder: Path) -> None:
    with pytest.raises(CheckpointError, match="pass --resume to go on, or another --out"):
        train(read_labelled_images(data_folder), "smoke", finished)


def test_resuming_a_finished_run_exports_again(finished: Path, data_folder: Path) -> None:
    before = load_model(finished / "smoke.safetensors", "cpu").module.state_dict()
    (finished / "smoke.safetensors").unlink()
    train(read_labelled_images(data_folder), "smoke", finished, resume=True)
    after = load_model(finished / "smoke.safetensors", "cpu").module.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_scale_multiplies_the_steps(data_folder: Path, tmp_path: Path) -> None:
    path = train(read_labelled_images(data_folder), SMOKE, tmp_path / "new" / "folder", scale=0.1)
    steps = [phase["steps"] for phase in load_model(path, "cpu").record["config"]["phases"]]
    assert (path.name, steps) == ("model.safetensors", [1, 1, 1, 1])


def test_only_the_phases_that_were_chosen_are_trained(
    finished: Path, data_folder: Path, tmp_path: Path
) -> None:
    start = finished / "smoke.safetensors"
    images = read_labelled_images(data_folder)
    path = train(images, "smoke", tmp_path / "scores", phases=["scores"], init=start)
    before, model = load_model(start, "cpu"), load_model(path, "cpu")
    assert [phase["name"] for phase in model.record["config"]["phases"]] == ["scores"]
    others = before.module.state_dict()
    changed = {key for key, value in model.module.state_dict().items() if not torch.equal(value, others[key])}
    assert changed
    assert all("quality" in key or "iou" in key for key in changed), changed


def test_a_recipe_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SamError, match="out of nuclei, smoke"):
        train([], "cells", tmp_path / "out")


@pytest.mark.parametrize(
    ("left", "resume"),
    [("smoke.safetensors", False), ("smoke.safetensors", True), ("log.jsonl", False)],
)
def test_files_of_a_run_whose_state_is_gone_are_kept(
    left: str, resume: bool, data_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / left).write_text("{}")
    with pytest.raises(CheckpointError, match=f"got {left} without the last.pt"):
        train(read_labelled_images(data_folder), "smoke", tmp_path, resume=resume)
    assert (tmp_path / left).read_text() == "{}"


def test_what_is_trained_on_is_said(
    data_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = replace(SMOKE, phases=(Phase("dense", 1, dense=True, prompts=False, images=1),))
    with caplog.at_level("INFO", "napari_sam.training"):
        train(read_labelled_images(data_folder), config, tmp_path)
    images = read_labelled_images(data_folder)
    kept, held = split_holdout(images, config.holdout)
    assert len(held) == 1
    objects = sum(len(np.unique(image.labels)) - 1 for image in kept)
    assert f"3 images with {objects} objects; 1 more are held out" in caplog.text


def test_a_foundation_model_is_refused_before_it_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="architecture that is to be trained, got vit_b"):
        read_initial_weights(build_sam("conv_test"), "vit_b")


@pytest.mark.slow
def test_two_processes(data_folder: Path, tmp_path: Path) -> None:
    path = train(read_labelled_images(data_folder), SHORT, tmp_path, processes=2)
    assert load_model(path, "cpu").record["processes"] == 2
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8]


TOGETHER = """
import sys
from pathlib import Path
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn
from napari_sam.training.config import CONFIGS
from napari_sam.cli.labelled_files import read_labelled_images
from napari_sam.training.loop import Trainer

def work(rank, data, out):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{out}/meeting", rank=rank, world_size=2)
    images = read_labelled_images(Path(data))
    trainer = Trainer(images, CONFIGS["smoke"], "tiny", Path(out), 0, torch.device("cpu"), rank, 2)
    steps = trainer.run()
    for _ in range(10):  # into the phase of everything
        next(steps)
    state = {"model": trainer.model.state_dict(), "averaged": trainer.averaged.state_dict()}
    torch.save(state, Path(out) / f"{rank}.pt")
    dist.barrier()

if __name__ == "__main__":
    spawn(work, sys.argv[1:], nprocs=2)
"""


@pytest.mark.slow
def test_processes_have_one_model(data_folder: Path, tmp_path: Path) -> None:
    """The running statistics of norms too: what resumes has those of the first process."""
    script = tmp_path / "run.py"
    script.write_text(TOGETHER)
    subprocess.run([sys.executable, script, data_folder, tmp_path], check=True, timeout=300)
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert_equal_weights(one["model"], two["model"])
    assert_equal_weights(one["averaged"], two["averaged"])


KILLED = """
import signal, sys
from dataclasses import replace
from pathlib import Path
from napari_sam.training.config import CONFIGS, Phase
from napari_sam.cli.labelled_files import read_labelled_images
from napari_sam.training.loop import train

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as of a job in the background of a script
    phase = Phase("dense", 100000, dense=True, prompts=False, images=1)
    config = replace(CONFIGS["smoke"], phases=(phase,), crop=64)
    train(read_labelled_images(Path(sys.argv[1])), config, Path(sys.argv[2]), processes=2)
"""


@pytest.mark.parametrize("how", ["killed", "interrupted alone"])
def test_processes_end_with_the_one_that_started_them(how: str, data_folder: Path, tmp_path: Path) -> None:
    script, out = tmp_path / "run.py", tmp_path / "out"
    text = KILLED if how == "killed" else KILLED.replace("signal.SIG_IGN", "signal.default_int_handler")
    script.write_text(text)
    run = psutil.Popen([sys.executable, script, data_folder, out], stderr=subprocess.DEVNULL)
    workers: list[psutil.Process] = []
    try:
        wait_until(lambda: (out / "last.pt").exists() or run.poll() is not None)
        workers = run.children(recursive=True)
        assert len(workers) >= 2
        if how == "killed":
            run.kill()
        else:  # as a notebook does: Ctrl+C in a terminal reaches all
            run.send_signal(signal.SIGINT)
        wait_until(lambda: run.poll() is not None)
        wait_until(lambda: not any(map(is_alive, workers)))
        assert not any(map(is_alive, workers))
        assert run.poll() is not None
    finally:
        for process in (run, *workers):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(is_so: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not is_so() and time.monotonic() < end:
        time.sleep(0.2)


def test_a_run_can_start_from_another_model(finished: Path, data_folder: Path, tmp_path: Path) -> None:
    config = replace(SHORT, phases=(Phase("joint", 1, True, True, images=1),))  # learning rates of 0
    path = train(read_labelled_images(data_folder), config, tmp_path, init=finished / "smoke.safetensors")
    source, model = load_model(finished / "smoke.safetensors", "cpu"), load_model(path, "cpu")
    assert model.record["init"] == {"name": "smoke", "sha256": source.sha256}
    assert model.record["init_record"] == source.record
    theirs = source.module.state_dict()
    trained = dict(model.module.named_parameters())
    assert trained
    assert all(torch.equal(value, theirs[key]) for key, value in trained.items())


def test_a_deeper_model_starts_as_the_one_it_grew_from() -> None:
    small, frames = build_sam("conv_test").eval(), torch.randn(1, 3, 64, 64)
    config = replace(small.config, encoder=ConvConfig((8, 8, 16, 16, 16), (0, 1, 1, 2, 3)))
    deep = build_sam(config).eval()
    deep.load_state_dict(small.state_dict(), strict=False)
    torch.testing.assert_close(deep.encode(frames).embedding, small.encode(frames).embedding)


@pytest.mark.parametrize("init", ["nuclei", "vit_test", "no such model"])
def test_what_does_not_fit_is_no_start(init: str, tmp_path: Path) -> None:
    model = build_sam("conv_test")
    start = init
    if init == "vit_test":
        start = str(tmp_path / "other.safetensors")
        write_checkpoint(build_sam("vit_test"), tmp_path / "other.safetensors", name="other", record={})
    with pytest.raises(CheckpointError, match="Expected"):
        read_initial_weights(model, start)


@pytest.mark.parametrize(
    ("device", "capable", "expected"),
    [("cpu", True, torch.bfloat16), ("cpu", False, torch.float32), ("mps", True, torch.float32)],
)
def test_training_precision(
    device: str, capable: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: capable)
    assert choose_training_precision(torch.device(device)) == expected


# ---- stopping and going on --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uninterrupted(
    tmp_path_factory: pytest.TempPathFactory, data_folder: Path
) -> list[dict[str, torch.Tensor]]:
    """The weights before the first and after every step of a run that was never stopped."""
    torch.set_num_threads(1)
    trainer = make_trainer(data_folder, tmp_path_factory.mktemp("uninterrupted"))
    states = [weights(trainer)]
    for done, progress in enumerate(trainer.run(), 1):
        assert (progress.done, progress.total) == (done, SHORT.steps)
        states.append(weights(trainer))
    return states


@pytest.mark.parametrize(
    "stop", [1, 2, 3, 5, 6, 7], ids=["dense", "after dense", "prompts", "joint", "after joint", "scores"]
)
def test_a_resumed_run_equals_one_that_was_never_stopped(
    stop: int,
    uninterrupted: list[dict[str, torch.Tensor]],
    data_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 1)
    first = make_trainer(data_folder, tmp_path)
    job = first.run()
    for _ in range(stop):
        next(job)
    job.close()
    torch.rand(100)  # a new process has drawn other numbers
    second = make_trainer(data_folder, tmp_path)
    second.load()
    assert second.step == stop
    assert_equal_weights(weights(second), uninterrupted[stop])
    assert [p.done for p in second.run()] == list(range(stop + 1, SHORT.steps + 1))
    assert_equal_weights(weights(second), uninterrupted[-1])


def test_a_run_follows_its_seed(data_folder: Path, tmp_path: Path) -> None:
    trainers = [make_trainer(data_folder, tmp_path / str(n), seed=seed) for n, seed in enumerate((0, 0, 1))]
    for trainer in trainers:
        for _, _ in zip(range(1), trainer.run(), strict=False):
            pass
    assert_equal_weights(weights(trainers[0]), weights(trainers[1]))
    key = "model.image_encoder.out.weight"
    assert not torch.equal(weights(trainers[0])[key], weights(trainers[2])[key])


@pytest.mark.parametrize(("what", "change"), [("recipe", {"rounds": 2}), ("seed", {})])
def test_a_run_goes_on_as_it_was_begun(
    what: str, change: dict[str, Any], data_folder: Path, tmp_path: Path
) -> None:
    make_trainer(data_folder, tmp_path).save({})
    before = (tmp_path / "last.pt").read_bytes()
    other = make_trainer(data_folder, tmp_path, replace(SHORT, **change), seed=int(what == "seed"))
    with pytest.raises(CheckpointError, match=f"as the run was begun, got another {what}; give the same"):
        other.load()
    assert (tmp_path / "last.pt").read_bytes() == before


def test_a_run_goes_on_with_the_same_images(data_folder: Path, tmp_path: Path) -> None:
    """With others, some that were trained on would be held out."""
    make_trainer(data_folder, tmp_path).save({})
    images = read_labelled_images(data_folder)[1:]
    other = Trainer(images, SHORT, "tiny", tmp_path, 0, torch.device("cpu"))
    with pytest.raises(CheckpointError, match="got another set of images"):
        other.load()


def test_a_run_that_goes_on_with_other_processes_says_so(
    data_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As many times the crops a step: no reason to refuse, when a run moves to another machine."""
    trainer = make_trainer(data_folder, tmp_path)
    trainer.save({})
    trainer.load()
    assert not caplog.records
    trainer.processes = 2
    trainer.load()
    assert "was trained by 1 processes, now it is 2" in caplog.text


def test_a_disk_that_is_full_keeps_the_previous_state(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(data_folder, tmp_path)
    trainer.save({})
    before = (tmp_path / "last.pt").read_bytes()

    def fill(state: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", fill)
    with pytest.raises(CheckpointError, match=r"Cannot write .*last.pt .*make room, and go on with --resume"):
        trainer.save({})
    assert (tmp_path / "last.pt").read_bytes() == before
    assert not (tmp_path / "last.pt.part").exists()


def test_a_run_remembers_what_it_started_from(finished: Path, data_folder: Path, tmp_path: Path) -> None:
    config = replace(SHORT, phases=(Phase("joint", 1, True, True, images=1),))
    path = train(read_labelled_images(data_folder), config, tmp_path, init=finished / "smoke.safetensors")
    begun = load_model(path, "cpu").record
    path.unlink()
    images = read_labelled_images(data_folder)
    record = load_model(train(images, config, tmp_path, resume=True), "cpu").record
    assert record["init"] == begun["init"]
    assert record["init_record"] == begun["init_record"] != {}


def test_without_a_checkpoint_a_run_starts_anew(data_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "last.pt.part").write_bytes(b"half a file, left behind by a run that was killed")
    trainer = make_trainer(data_folder, tmp_path)
    trainer.load()
    assert trainer.step == 0
    trainer.save({})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.pt", "log.jsonl"]


def test_a_run_killed_while_it_saves_keeps_the_previous_state(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(data_folder, tmp_path)
    trainer.save({})
    before = (tmp_path / "last.pt").read_bytes()

    def be_killed(state: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    trainer.step = 5
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", be_killed)
        with pytest.raises(KeyboardInterrupt):
            trainer.save({})
    assert (tmp_path / "last.pt").read_bytes() == before
    trainer.load()
    assert trainer.step == 0


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "list", "key", "architecture"])
def test_a_damaged_state_is_refused(damage: str, data_folder: Path, tmp_path: Path) -> None:
    trainer = make_trainer(data_folder, tmp_path)
    trainer.save({})
    path = tmp_path / "last.pt"
    data = path.read_bytes()
    if damage in ("empty", "text", "cut"):
        path.write_bytes({"empty": b"", "text": b"hello " * 50, "cut": data[: len(data) // 2]}[damage])
    else:
        state = torch.load(path, weights_only=True)
        if damage == "list":
            state = [1, 2]
        elif damage == "key":
            del state["optimizer"]
        else:
            state["model"] = {"conv.weight": torch.zeros(3)}
        torch.save(state, path)
    with pytest.raises(CheckpointError, match=r"Cannot resume from .*start anew") as caught:
        trainer.load()
    assert "\n" not in str(caught.value)


# ---- what the phases do -----------------------------------------------------------------------------------


def test_phases_train_their_part(uninterrupted: list[dict[str, torch.Tensor]]) -> None:
    def changed(before: int, after: int) -> set[str]:
        return {
            key.split(".")[1]
            for key, value in uninterrupted[before].items()
            if key.startswith("model.") and not torch.equal(value, uninterrupted[after][key])
        }

    encoder, decoder = {"image_encoder", "instance_decoder"}, {"prompt_encoder", "mask_decoder"}
    assert changed(0, 2) == encoder
    assert changed(2, 4) == decoder  # nor do the frozen encoder's running statistics change
    assert changed(4, 6) == encoder | decoder


def test_the_last_phase_learns_scores_and_leaves_the_averaged_masks(
    uninterrupted: list[dict[str, torch.Tensor]],
) -> None:
    before, after = uninterrupted[6], uninterrupted[8]
    scores = ("mask_decoder.iou_prediction_head.", "mask_decoder.mask_quality.")
    for key, value in after.items():
        name = key.split(".", 1)[1]
        if name.startswith(scores):
            assert not torch.equal(value, before[f"averaged.{name}"]), key
        else:
            assert torch.equal(value, before[f"averaged.{name}"]), key


def test_the_learning_rate_warms_up_and_falls(data_folder: Path, tmp_path: Path) -> None:
    config = replace(SMOKE, warmup=5, phases=(Phase("dense", 50, True, False, encoder_lr=1.0, images=1),))
    trainer = make_trainer(data_folder, tmp_path, config)
    rates = []
    for step in range(50):
        trainer._set_learning_rate(config.phases[0], step)
        rates.append([group["lr"] for group in trainer.optimizer.param_groups])
    encoder = np.array(rates)[:, 0]
    np.testing.assert_allclose(encoder[:2], [0.2, 0.4 * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi / 50)))])
    assert encoder.argmax() == 4
    assert (np.diff(encoder[4:]) < 0).all()
    assert 0.02 <= encoder[-1] < 0.03
    roles = [group["role"] for group in trainer.optimizer.param_groups]
    assert all(rate == 0 for rate, role in zip(rates[10], roles, strict=True) if role == "decoder")


def test_a_short_phase_warms_up_sooner(data_folder: Path, tmp_path: Path) -> None:
    phase = Phase("prompts", 20, False, True, decoder_lr=1.0)
    trainer = make_trainer(data_folder, tmp_path, replace(SMOKE, warmup=100, phases=(phase,)))
    rates = []
    for step in range(20):
        trainer._set_learning_rate(phase, step)
        rates.append(max(group["lr"] for group in trainer.optimizer.param_groups))
    assert max(rates) > 0.9
    assert np.argmax(rates) == 3


def test_every_parameter_is_optimized_once(data_folder: Path, tmp_path: Path) -> None:
    trainer = make_trainer(data_folder, tmp_path)
    grouped = [id(p) for group in trainer.optimizer.param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in trainer.model.parameters())
    for group in trainer.optimizer.param_groups:
        assert all((p.ndim > 1) == (group["weight_decay"] > 0) for p in group["params"])


def test_an_image_without_objects_can_be_trained_on(data_folder: Path, tmp_path: Path) -> None:
    images = [
        replace(image, labels=np.zeros_like(image.labels)) for image in read_labelled_images(data_folder)
    ]
    trainer = Trainer(images, SHORT, "tiny", tmp_path, 0, torch.device("cpu"))
    descriptions = [p.description for p in trainer.run()]
    assert len(descriptions) == SHORT.steps
    assert not any("nan" in text for text in descriptions)
    assert all(torch.isfinite(value).all() for value in weights(trainer).values())


def test_it_learns(data_folder: Path, tmp_path: Path) -> None:
    """Thirty steps on one image, always the same crop, lower the dense loss to less than half."""
    config = replace(SMOKE, phases=(Phase("dense", 30, True, False, encoder_lr=5e-3, images=1),))
    trainer = make_trainer(data_folder, tmp_path, config)
    phase = config.phases[0]
    trainer.model.train()
    batch = next(iter(trainer._make_loader(phase, 0)))
    losses = []
    for step in range(phase.steps):
        trainer._set_learning_rate(phase, step)
        losses.append(trainer._train_step(phase, batch)["dense"])
        trainer.step += 1
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < 0.5 * losses[0]


def test_the_curve_has_each_step_once(tmp_path: Path) -> None:
    lines = [{"step": 100, "dense": 0.5}, {"step": 200, "dense": 0.4}, {"step": 100, "dense": 0.31234567}]
    torn = '{"step": 300, "den'  # the process was killed while it wrote
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + torn)
    assert read_curve(tmp_path / "log.jsonl") == [
        {"step": 100, "dense": 0.3123},
        {"step": 200, "dense": 0.4},
    ]
    assert read_curve(tmp_path / "none.jsonl") == []


# ---- scores -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_measure_iou(factor: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 10, 12, generator=generator)
    logits[0, 0] = -1
    target = torch.rand(3, 10 * factor, 12 * factor, generator=generator) < 0.4
    target[1] = False
    target[0, 0, 0] = True
    found = measure_iou(logits, target, factor)
    for n in range(3):
        for m in range(4):
            full = torch.nn.functional.interpolate(
                logits[n : n + 1, m : m + 1], scale_factor=factor, mode="bilinear", align_corners=False
            )[0, 0]
            union = int(((full > 0) | target[n]).sum())
            expected = int(((full > 0) & target[n]).sum()) / union if union else 0.0
            assert float(found[n, m]) == pytest.approx(expected)
    assert found[0, 0] == 0
    assert (found[1] == 0).all()


def test_an_empty_mask_of_an_empty_target_counts_nothing() -> None:
    assert measure_iou(-torch.ones(1, 1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool), 1).item() == 0

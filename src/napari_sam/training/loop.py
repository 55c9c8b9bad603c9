"""The training loop: one file to read from top to bottom."""

from __future__ import annotations

import logging
import math
import os
import time
from dataclasses import asdict
from multiprocessing import parent_process
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader

from napari_sam.inference.object_scale import WANTED
from napari_sam.modeling import Features, build_sam
from napari_sam.training import run_files
from napari_sam.training.config import Phase, TrainConfig, choose_phases, read_config
from napari_sam.training.dataset import CropDataset, LabelledImage, split_holdout
from napari_sam.training.losses import instance_loss
from napari_sam.training.precision import choose_training_precision
from napari_sam.training.processes import run_processes
from napari_sam.training.prompt_rounds import PromptRounds
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from torch.nn import Parameter

logger = logging.getLogger(__name__)
SAVE_EVERY, LOG_EVERY = 100, 20  # steps


def train(
    images: list[LabelledImage],
    config: str | TrainConfig,
    out: Path,
    *,
    resume: bool = False,
    processes: int = 1,
    seed: int = 0,
    device: str = "cpu",
    scale: float = 1.0,
    phases: Collection[str] | None = None,
    init: str | Path | None = None,
) -> Path:
    """Train a model and write ``out/NAME.safetensors``.

    Parameters
    ----------
    images : list of LabelledImage
        Also those that will be held out; see ``dataset.prepare_image``.
    config : str or TrainConfig
        A recipe's name (``training.config.CONFIGS``), or a recipe.
    out : Path
        Gets ``last.pt`` to resume from, ``log.jsonl`` and the finished model.
    resume : bool
        Go on from ``out/last.pt``.
    processes : int
        Data-parallel processes, one thread each; on a CPU one per core.
    seed : int
    device : str
        ``"cpu"`` or ``"cuda"``.
    scale : float
        Multiplies the steps of every phase.
    phases : collection of str, optional
        Names of the recipe's phases that are trained, all by default: to go on from a model without beginning
        anew with its encoder.
    init : str or Path, optional
        Model to start from instead of random weights: a name or a checkpoint. Layers that it lacks start
        anew; residual blocks that are added to it start as the identity.

    Returns
    -------
    Path
        Of the finished model.

    Raises
    ------
    SamError
        When there is no such recipe, or it has no such phase.
    CheckpointError
        When ``last.pt`` cannot be read; when ``out`` has files of a run that would be lost; when ``init`` is
        no model, or one of another architecture.
    """
    name = config if isinstance(config, str) else "model"
    recipe = read_config(config) if isinstance(config, str) else config
    recipe = choose_phases(recipe, phases, scale)
    out.mkdir(parents=True, exist_ok=True)
    run_files.check_folder(out, name, resume=resume)
    trained, held = split_holdout(images, recipe.holdout)
    objects = sum(int(image.labels.max(initial=0)) for image in trained)
    logger.info("%s images with %s objects; %s more are held out", len(trained), objects, len(held))
    arguments = (images, recipe, name, out, seed, device, processes, init)
    if processes == 1:
        _train_process(0, *arguments)
    else:
        run_processes(_train_process, arguments, processes)
    return out / f"{name}.safetensors"


def _train_process(
    rank: int,
    images: list[LabelledImage],
    config: TrainConfig,
    name: str,
    out: Path,
    seed: int,
    device: str,
    processes: int,
    init: str | Path | None,
) -> None:
    logging.basicConfig(level=logging.INFO if rank == 0 else logging.WARNING, format="%(message)s")
    if processes > 1:
        torch.set_num_threads(1)
        dist.init_process_group("gloo", rank=rank, world_size=processes)
    trainer = Trainer(images, config, name, out, seed, torch.device(device), rank, processes, init)
    trainer.load()
    parent = parent_process()
    for progress in trainer.run():
        if parent is not None and not parent.is_alive():
            return  # it was killed
        if rank == 0 and progress.done % LOG_EVERY == 0:
            logger.info("%s/%s %s", progress.done, progress.total, progress.description)
    if rank == 0:
        trainer.export()
    if processes > 1:
        dist.destroy_process_group()


class Trainer:
    """Holds model, averaged weights and optimizer; ``run`` is a job that can be stopped at any step."""

    def __init__(
        self,
        images: list[LabelledImage],
        config: TrainConfig,
        name: str,
        out: Path,
        seed: int,
        device: torch.device,
        rank: int = 0,
        processes: int = 1,
        init: str | Path | None = None,
    ) -> None:
        torch.manual_seed(seed)
        self.config, self.name, self.out, self.seed = config, name, out, seed
        self.device, self.rank, self.processes = device, rank, processes
        self.images, self.held_out = split_holdout(images, config.holdout)
        self.run_facts = run_files.describe_run(config, seed, images)
        self.model = build_sam(config.architecture).to(device)
        self.init = None if init is None else run_files.read_initial_weights(self.model, init)
        self.precision = choose_training_precision(device)
        self.rounds = PromptRounds(self.model, config, device, self._autocast)
        for p in self.model.parameters():
            if p.ndim == 4:  # the layout that convolutions on a CPU like best
                p.data = p.data.contiguous(memory_format=torch.channels_last)
        self.averaged = build_sam(config.architecture).to(device)
        self.averaged.load_state_dict(self.model.state_dict())
        self.step = 0
        self.seconds = 0.0
        self.optimizer, self.encoder_group, self.decoder_group = self._make_optimizer()

    def _make_optimizer(self) -> tuple[torch.optim.AdamW, list[Parameter], list[Parameter]]:
        model = self.model
        encoder = [*model.image_encoder.parameters(), *model.instance_decoder.parameters()]
        decoder = [*model.prompt_encoder.parameters(), *model.mask_decoder.parameters()]
        groups: list[dict[str, Any]] = []
        for role, parameters in (("encoder", encoder), ("decoder", decoder)):
            for decays in (True, False):  # no decay of biases and norms
                chosen = [p for p in parameters if (p.ndim > 1) == decays]
                decay = self.config.weight_decay if decays else 0.0
                groups.append({"params": chosen, "weight_decay": decay, "role": role})
        return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99)), encoder, decoder

    # -- the loop ---------------------------------------------------------------------------------

    def run(self) -> Iterator[Progress]:
        """Train to the end of the last phase, yielding after every step."""
        start = 0
        for phase in self.config.phases:
            if self.step < start + phase.steps:
                yield from self._run_phase(phase, start)
            start += phase.steps

    def _run_phase(self, phase: Phase, start: int) -> Iterator[Progress]:
        self.model.train()
        if not phase.dense:
            self.model.image_encoder.eval()
            self.model.instance_decoder.eval()
        for p in self.encoder_group:
            p.requires_grad_(phase.dense)
        for p in self.decoder_group:
            p.requires_grad_(phase.prompts and not phase.scores_only)
        if phase.scores_only:
            if self.step == start:  # else this phase goes on
                self.model.load_state_dict(self.averaged.state_dict())
            for p in self.model.mask_decoder.score_parameters():
                p.requires_grad_(True)
        batches = iter(self._make_loader(phase, start))
        recent: dict[str, float] = {}
        while self.step < start + phase.steps:
            began = time.perf_counter()
            self._set_learning_rate(phase, self.step - start)
            losses = self._train_step(phase, next(batches))
            self._update_average(self.step - start)
            self.step += 1
            self.seconds += time.perf_counter() - began
            for key, value in losses.items():
                recent[key] = 0.95 * recent.get(key, value) + 0.05 * value
            if self.step % SAVE_EVERY == 0 or self.step == start + phase.steps:
                self.save(recent | {"phase": phase.name})
            left = (self.config.steps - self.step) * self.seconds / self.step
            text = " ".join(f"{key} {value:.4f}" for key, value in recent.items())
            yield Progress(self.step, self.config.steps, f"{phase.name}: {text}, {left / 60:.0f} min left")

    def _make_loader(self, phase: Phase, start: int) -> DataLoader[dict[str, Tensor]]:
        seed = self.seed * 1000 + self.rank
        length = phase.steps * phase.images
        dataset = CropDataset(
            self.images, self.config, length, seed + start, plain=phase.plain, in_use=phase.in_use
        )
        remaining = range((self.step - start) * phase.images, length)
        workers = 0 if self.device.type == "cpu" else min(8, (os.cpu_count() or 2) - 1)
        return DataLoader(dataset, phase.images, sampler=remaining, num_workers=workers, drop_last=True)

    def _set_learning_rate(self, phase: Phase, step: int) -> None:
        warm = min(1.0, (step + 1) / min(self.config.warmup, max(1, phase.steps // 5)))
        factor = warm * (0.02 + 0.49 * (1 + math.cos(math.pi * step / phase.steps)))  # a cosine
        for group in self.optimizer.param_groups:
            group["lr"] = factor * (phase.encoder_lr if group["role"] == "encoder" else phase.decoder_lr)

    def _train_step(self, phase: Phase, batch: dict[str, Tensor]) -> dict[str, float]:
        rng = np.random.default_rng((self.seed, self.rank, self.step, 7))
        chance = np.random.default_rng((self.seed, self.rank, self.step, 9))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        batch = {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}
        frames = (batch["pixels"] * 255 - self.model.pixel_mean) / self.model.pixel_std
        losses: dict[str, Tensor] = {}
        with torch.set_grad_enabled(phase.dense), self._autocast():
            features = self.model.encode(frames.contiguous(memory_format=torch.channels_last))
        features = _widen(features)
        if phase.dense and features.maps is not None:
            losses["dense"] = instance_loss(features.maps, batch["targets"], batch["weight"])
        if phase.prompts:
            losses |= self.rounds.measure_losses(
                features, batch["labels"], rng, generator, chance, in_use=phase.in_use
            )
        total = sum(loss for key, loss in losses.items() if key in ("dense", "prompts"))
        self.optimizer.zero_grad(set_to_none=True)
        if isinstance(total, Tensor):
            total.backward()
        self._share_between_processes()
        trained = [p for p in (*self.encoder_group, *self.decoder_group) if p.grad is not None]
        torch.nn.utils.clip_grad_norm_(trained, self.config.clip)
        self.optimizer.step()
        return {key: float(loss.detach()) for key, loss in losses.items()}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)

    def _share_between_processes(self) -> None:
        """Average gradients and the running statistics of norms, so that all processes have one model."""
        if self.processes == 1:
            return
        # Ranks may differ in which losses they had: a missing gradient counts as zero.
        shared = [b for b in self.model.buffers() if b.is_floating_point()]
        for p in (*self.encoder_group, *self.decoder_group):
            if p.requires_grad:
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad
                shared.append(p.grad)
        flat = torch.cat([values.reshape(-1) for values in shared])
        dist.all_reduce(flat)
        flat /= self.processes
        for values, piece in zip(shared, flat.split([v.numel() for v in shared]), strict=True):
            values.copy_(piece.view_as(values))

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        # Each phase averages anew: what a phase has unlearnt must not live on in the average.
        decay = min(self.config.ema, (1 + step) / (10 + step))
        ours, theirs = self.averaged.state_dict(), self.model.state_dict()
        for key, value in ours.items():
            if value.is_floating_point():
                value.lerp_(theirs[key], 1 - decay)
            else:
                value.copy_(theirs[key])

    # -- files ------------------------------------------------------------------------------------

    def save(self, losses: dict[str, Any]) -> None:
        """Write ``last.pt`` (complete or not at all) and a line of ``log.jsonl``."""
        if self.rank:
            return
        state = {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "processes": self.processes,
            "run": self.run_facts,
            "init": self.init,
        }
        run_files.write_state(state, self.out / "last.pt")
        log = {"step": self.step, "seconds": round(self.seconds, 1)} | losses
        run_files.append_line(log, self.out / "log.jsonl")

    def load(self) -> None:
        """Go on from ``last.pt`` if there is one."""
        path = self.out / "last.pt"
        if not path.exists():
            return
        with run_files.explain_damage(path):
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.averaged.load_state_dict(state["averaged"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
            self.init = state.get("init", self.init)
        run_files.check_run(state, self.run_facts, self.processes, path)

    def export(self) -> Path:
        """Write the averaged weights as safetensors, with configuration and record."""
        from napari_sam.inference.checkpoints import write_checkpoint

        init = dict(self.init or {})
        init_record = init.pop("record", None)
        record = {
            "config": asdict(self.config),
            "seed": self.seed,
            "processes": self.processes,
            "init": init or None,
            "init_record": init_record,  # of that model's own training
            "precision": str(self.precision).removeprefix("torch."),
            "object_size": WANTED,  # what small objects are enlarged to, in training and in use
            "seconds": round(self.seconds),
            "images": len(self.images),
            "held_out": [image.name for image in self.held_out],
            "torch": torch.__version__,
            "curve": run_files.read_curve(self.out / "log.jsonl"),
        }
        path = self.out / f"{self.name}.safetensors"
        write_checkpoint(self.averaged, path, name=self.name, record=record, half=True)
        return path


def _widen(features: Features) -> Features:
    detail, maps = (None if value is None else value.float() for value in (features.detail, features.maps))
    return Features(features.embedding.float(), detail, maps)

"""Training recipes, as plain data that is recorded in the checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from napari_sam.errors import SamError

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari_sam.modeling import SamConfig


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of training with its own learning rate cycle.

    Attributes
    ----------
    name : str
    steps : int
    dense, prompts : bool
        Which losses are applied. Without ``dense`` the encoder is frozen.
    encoder_lr, decoder_lr : float
        Peak learning rates of image encoder with instance decoder, and of prompt encoder with mask
        decoder.
    images : int
        Crops per process and step.
    scores_only : bool
        Whether nothing is trained but the predicted IoU, for the averaged weights as they are.
    plain : float
        Share of crops, 0 to 1, that are cut from images and keep their intensities, whatever the recipe says
        of the others. Varied intensities teach what else a microscope might have made of the object; plain
        ones, at the end, where exactly its outline is drawn.
    in_use : bool
        Whether crops are scaled just as images are when the model is used, and most clicks fall near the
        middle of their object, as people click: what a predicted IoU turns out to be depends on it.
    """

    name: str
    steps: int
    dense: bool
    prompts: bool
    encoder_lr: float = 0.0
    decoder_lr: float = 0.0
    images: int = 6
    scores_only: bool = False
    plain: float = 0.0
    in_use: bool = False


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """A recipe.

    Attributes
    ----------
    architecture : str or SamConfig
        For ``modeling.build_sam``.
    phases : tuple of Phase
        Dense first, prompts on the good encoder second, both together third: with a cold encoder
        the prompt branch collapses to empty masks. Then mostly images as they are, and last the predicted
        IoU of masks that change no more.
    crop : int
        Side of the training crops in pixels.
    objects : int
        Prompts per crop.
    rounds : int
        At most this many rounds of prompt, prediction and correction per object.
    proposed : float
        Share of first prompts that come with the automatic instance under them, where there is one.
    synthetic : float
        Share of crops that are synthetic, 0 to 1.
    crowded : float
        Share of the other crops, 0 to 1, in which copies of objects are moved beside others, as in
        ``crowding.crowd_objects``.
    rescale : bool
        Whether crops are rescaled, and small objects enlarged, as in ``augment.augment_geometry``.
    recolour : bool
        Whether intensities are varied, as in ``augment.augment_intensity``.
    focal_weight, dice_weight, bce_weight : float
        Of the mask loss. The paper has focal : dice 20 : 1, which needs a pretrained encoder; from
        scratch, plain cross-entropy and dice learn sooner.
    weight_decay : float
        Of AdamW, for all weights but biases and norms.
    ema : float
        How much of the averaged weights, which become the model, is kept at each step; less early in a phase.
    warmup : int
        Steps in which the learning rate of a phase rises, at most a fifth of the phase.
    clip : float
        Largest norm of all gradients together.
    group_power : float
        A kind of N images is drawn as N to this power says: with 0 all kinds alike, with 1 all images.
    holdout : float
        Share of the images, 0 to 1, that is not trained on (``dataset.split_holdout``).
    """

    architecture: str | SamConfig
    phases: tuple[Phase, ...]
    crop: int = 256
    objects: int = 16
    rounds: int = 4
    focal_weight: float = 0.0
    dice_weight: float = 1.0
    bce_weight: float = 1.0
    weight_decay: float = 0.02
    ema: float = 0.998
    warmup: int = 100
    clip: float = 1.0
    group_power: float = 0.5
    proposed: float = 0.7
    synthetic: float = 0.0
    crowded: float = 0.0
    rescale: bool = True
    recolour: bool = True
    holdout: float = 0.1

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return sum(phase.steps for phase in self.phases)


CONFIGS: Final[dict[str, TrainConfig]] = {
    "nuclei": TrainConfig(
        "conv_s",
        (
            Phase("dense", 2000, dense=True, prompts=False, encoder_lr=1.5e-3),
            Phase("prompts", 200, dense=False, prompts=True, decoder_lr=6e-4),
            Phase("joint", 2400, dense=True, prompts=True, encoder_lr=7e-4, decoder_lr=7e-4),
            Phase("plain", 1200, dense=True, prompts=True, encoder_lr=5e-4, decoder_lr=5e-4, plain=0.8),
            Phase(
                "scores",
                500,
                dense=False,
                prompts=True,
                decoder_lr=1e-3,
                scores_only=True,
                plain=1.0,
                in_use=True,
            ),
        ),
        objects=5,
        synthetic=0.15,
        crowded=0.4,
    ),
    "smoke": TrainConfig(
        "conv_test",
        (
            Phase("dense", 8, dense=True, prompts=False, encoder_lr=2e-3, images=2),
            Phase("prompts", 4, dense=False, prompts=True, decoder_lr=1e-3, images=2),
            Phase("joint", 4, dense=True, prompts=True, encoder_lr=3e-4, decoder_lr=5e-4, images=2),
            Phase("scores", 2, dense=False, prompts=True, decoder_lr=5e-4, images=2, scores_only=True),
        ),
        crop=128,
        objects=4,
        warmup=2,
    ),
}


def read_config(name: str) -> TrainConfig:
    """Look a recipe up by name.

    Raises
    ------
    SamError
        When there is none of that name.
    """
    if name not in CONFIGS:
        raise SamError(f"Expected a training configuration out of {', '.join(CONFIGS)}, got {name!r}.")
    return CONFIGS[name]


def choose_phases(
    config: TrainConfig, names: Collection[str] | None = None, scale: float = 1.0
) -> TrainConfig:
    """A recipe with some of its phases, in its order, each ``scale`` times as long but one step at least.

    Raises
    ------
    SamError
        When it has no phase of such a name, or none is asked for.
    """
    known = [phase.name for phase in config.phases]
    wanted = known if names is None else list(names)
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise SamError(
            f"Expected phases out of {', '.join(known)}, got {', '.join(map(repr, unknown)) or 'none'}."
        )
    chosen = (phase for phase in config.phases if phase.name in wanted)
    return replace(config, phases=tuple(replace(p, steps=max(1, round(p.steps * scale))) for p in chosen))

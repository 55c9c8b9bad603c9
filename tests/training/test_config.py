from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from napari_sam.errors import SamError
from napari_sam.modeling import get_config
from napari_sam.training.config import CONFIGS, read_config


@pytest.mark.parametrize("name", CONFIGS)
def test_recipes_can_be_run(name: str) -> None:
    recipe = read_config(name)
    architecture = get_config(recipe.architecture)
    assert architecture.instance_decoder
    assert recipe.crop % architecture.frame_multiple == 0
    assert recipe.crop // architecture.stride >= architecture.decode_window
    assert recipe.steps == sum(phase.steps for phase in recipe.phases) > 0
    assert recipe.phases[0].dense  # a cold encoder teaches prompts nothing
    for phase in recipe.phases:
        assert (phase.encoder_lr > 0) == phase.dense
        assert (phase.decoder_lr > 0) == phase.prompts
    assert json.loads(json.dumps(asdict(recipe)))["crop"] == recipe.crop


def test_an_unknown_recipe() -> None:
    with pytest.raises(SamError, match=r"out of nuclei, smoke.*'cells'"):
        read_config("cells")

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from napari_sam.errors import SamError
from napari_sam.modeling import get_config
from napari_sam.training.config import CONFIGS, choose_phases, read_config


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


def test_phases_are_chosen_in_the_order_of_the_recipe() -> None:
    recipe = read_config("nuclei")
    chosen = choose_phases(recipe, ["scores", "joint"], scale=0.5)
    whole = {phase.name: phase.steps for phase in recipe.phases}
    assert [(phase.name, phase.steps) for phase in chosen.phases] == [
        ("joint", whole["joint"] // 2),
        ("scores", whole["scores"] // 2),
    ]
    assert choose_phases(recipe) == recipe
    assert {phase.steps for phase in choose_phases(recipe, scale=1e-6).phases} == {1}


@pytest.mark.parametrize(("names", "got"), [(["joint", "Dense"], "'Dense'"), ([""], "''"), ([], "none")])
def test_phases_that_a_recipe_lacks(names: list[str], got: str) -> None:
    with pytest.raises(SamError, match=f"out of dense, prompts, joint, plain, scores, got {got}"):
        choose_phases(read_config("nuclei"), names)

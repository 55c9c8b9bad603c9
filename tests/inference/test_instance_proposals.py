from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_sam.inference.instance_maps import Instances, find_proposals
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.transforms import measure_normalization
from napari_sam.modeling.instance_decoder import OFFSET_UNIT
from napari_sam.modeling.prompt_encoder import BACKGROUND, BOX_FIRST, BOX_SECOND, FOREGROUND, PAD
from napari_sam.training.instance_targets import make_instance_targets
from napari_sam.types import Prompts

if TYPE_CHECKING:
    from napari_sam.inference.embedding import ImageEmbedding


def two_squares() -> np.ndarray:
    labels = np.zeros((40, 60), np.int32)
    labels[5:17, 8:20] = 1
    labels[20:35, 30:50] = 2
    return labels


@pytest.fixture
def instances() -> Instances:
    maps, _ = make_instance_targets(two_squares())
    maps[3:] *= OFFSET_UNIT
    return Instances.from_maps(maps)


@pytest.mark.parametrize(
    ("place", "box"),
    [
        pytest.param((10, 10), (5, 8, 17, 20), id="first"),
        pytest.param((27.4, 40.2), (20, 30, 35, 50), id="second, between pixels"),
        pytest.param((0, 0), None, id="background"),
        pytest.param((-3, 10), None, id="outside"),
        pytest.param((10, 60), None, id="beyond the last column"),
    ],
)
def test_the_instance_at_a_pixel(instances: Instances, place: tuple[float, float], box: object) -> None:
    found = instances.at(*place)
    assert (None if found is None else found.box) == box


def test_proposals_follow_the_first_click_then_the_middle_of_the_box() -> None:
    labels = np.stack([two_squares()] * 4)
    nothing = [[0, 0], [0, 0], [0, 0]]
    coords = np.array(
        [[[10, 10], [40, 25], [0, 0]], [[40, 25], [10, 10], [0, 0]], [[30, 20], [49, 34], [0, 0]], nothing]
    )
    codes = np.array(
        [
            [FOREGROUND, FOREGROUND, PAD],
            [BACKGROUND, FOREGROUND, PAD],
            [BOX_FIRST, BOX_SECOND, PAD],
            [PAD, PAD, PAD],
        ]
    )
    assert find_proposals(labels, coords.astype(np.float32), codes).tolist() == [1, 1, 2, 0]


def test_a_prompt_is_decoded_with_the_instance_under_it(conv_model, instances: Instances) -> None:
    """The same as giving that instance as a rough mask by hand; a mask of the user's own goes first."""
    predictor = Predictor(conv_model)
    image = np.random.default_rng(0).integers(0, 255, (40, 60), dtype=np.uint8)
    frame = predictor.make_frame((0, 0, 40, 60))
    plain = predictor.encode(image, measure_normalization(image), frame, (40, 60))
    without: ImageEmbedding = replace(plain, instances=None)
    proposed: ImageEmbedding = replace(plain, instances=instances)
    click = Prompts(points=[(10, 10)])
    by_hand = replace(click, mask=instances.at(10, 10))

    def logits(embedding: ImageEmbedding, prompts: Prompts) -> np.ndarray:
        ((_, _, values, _),) = predictor.iter_logits(embedding, [prompts])
        return values

    np.testing.assert_allclose(logits(proposed, click), logits(without, by_hand), atol=1e-6)
    np.testing.assert_allclose(logits(proposed, by_hand), logits(without, by_hand), atol=1e-6)
    assert np.abs(logits(proposed, click) - logits(without, click)).max() > 1e-4

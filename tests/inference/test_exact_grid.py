"""The exact grid finds what the generator of ``segment-anything`` finds, given the same encoder."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

import napari_sam as ns
from napari_sam.inference.candidates import filter_candidates
from napari_sam.inference.checkpoints import load_model, write_checkpoint
from napari_sam.inference.exact_grid import OUTSIDE, suppress_boxes
from napari_sam.inference.segment_image import filter_defaults, iter_candidates
from napari_sam.modeling import build_sam
from napari_sam.types import Prompts

from .fake_decoder import run_job  # noqa: TID252 - the tests are no package

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_sam.inference.checkpoints import LoadedModel


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """What torchvision's does, for one category: one pair after the other."""
    order = torch.sort(scores, descending=True, stable=True).indices.tolist()
    kept: list[int] = []
    for i in order:
        for k in kept:
            low, high = torch.maximum(boxes[i, :2], boxes[k, :2]), torch.minimum(boxes[i, 2:], boxes[k, 2:])
            shared = (high - low).clamp(min=0).prod()
            area = (boxes[i, 2:] - boxes[i, :2]).prod() + (boxes[k, 2:] - boxes[k, :2]).prod()
            if shared / (area - shared) > iou_threshold:
                break
        else:
            kept.append(i)
    return torch.tensor(kept, dtype=torch.int64)


@pytest.fixture(scope="module")
def generator_module() -> Iterator[ModuleType]:
    """``segment_anything.automatic_mask_generator`` with stand-ins for what it takes from torchvision."""
    if importlib.util.find_spec("segment_anything") is None:
        pytest.skip("segment-anything is not installed: pip install -r tests/requirements-reference.txt")
    stand_ins: dict[str, dict[str, Any]] = {
        "torchvision": {},
        "torchvision.ops": {},
        "torchvision.ops.boxes": {"batched_nms": batched_nms, "box_area": None},
        "torchvision.transforms": {},
        "torchvision.transforms.functional": {"resize": None, "to_pil_image": None},
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, attributes in stand_ins.items():
            module = ModuleType(name)
            vars(module).update(attributes)
            patch.setitem(sys.modules, name, module)
        try:
            yield importlib.import_module("segment_anything.automatic_mask_generator")
        finally:
            for loaded in [key for key in sys.modules if key.partition(".")[0] == "segment_anything"]:
                del sys.modules[loaded]


class Borrowed:
    """Our encoder and mask decoder behind the methods that the generator asks of its predictor."""

    mask_threshold = 0.0
    device = torch.device("cpu")

    def __init__(self, model: LoadedModel, image: NDArray[Any], resize: type) -> None:
        self.cached = ns.CachedPredictor(model)
        self.image = image
        self.model = SimpleNamespace(mask_threshold=0.0)
        self.transform = resize(model.config.image_size if not model.config.any_frame_size else 10_000)

    def set_image(self, image: NDArray[Any]) -> None:
        self.embedding = self.cached.encode(self.image)
        frame = self.embedding.frame
        self.transform.target_length = round(max(image.shape[:2]) * frame.scale)

    def reset_image(self) -> None:
        pass

    def predict_torch(
        self, points: Tensor, labels: Tensor, multimask_output: bool, return_logits: bool
    ) -> tuple[Tensor, Tensor, None]:
        """As ``SamPredictor.predict_torch``: full-size logits and predicted IoU of the alternatives."""
        assert multimask_output
        assert return_logits
        frame = self.embedding.frame
        xy = points[:, 0].numpy()
        places = (xy[:, ::-1] + 0.5) / frame.scale - 0.5
        asked = [Prompts(points=[p]) for p in places]
        masks: list[Any] = [None] * len(asked)
        ious: list[Any] = [None] * len(asked)
        for i, window, logits, iou in self.cached.predictor.iter_logits(self.embedding, asked):
            low = torch.full((3, 4 * self.embedding.tokens[0], 4 * self.embedding.tokens[1]), OUTSIDE)
            top, left = 4 * window.row, 4 * window.col
            low[:, top : top + logits.shape[1], left : left + logits.shape[2]] = torch.from_numpy(logits[1:])
            masks[i], ious[i] = self.postprocess_masks(low[None])[0], torch.from_numpy(iou[1:])
        return torch.stack(masks), torch.stack(ious), None

    def postprocess_masks(self, masks: Tensor) -> Tensor:
        """As ``Sam.postprocess_masks``."""
        frame = self.embedding.frame
        masks = torch.nn.functional.interpolate(masks, frame.size, mode="bilinear", align_corners=False)
        masks = masks[..., : frame.inner[0], : frame.inner[1]]
        return torch.nn.functional.interpolate(
            masks, self.image.shape[:2], mode="bilinear", align_corners=False
        )


def generate_with_theirs(
    module: ModuleType, model: LoadedModel, image: NDArray[Any], settings: dict[str, float]
) -> list[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        resize = importlib.import_module("segment_anything.utils.transforms").ResizeLongestSide
        patch.setattr(module, "SamPredictor", lambda _: Borrowed(model, image, resize))
        generator = module.SamAutomaticMaskGenerator(None, **settings)
    colour = image if image.ndim == 3 else np.stack([image] * 3, axis=-1)
    found: list[dict[str, Any]] = generator.generate(colour)
    return found


IMAGES = {
    "coins": lambda: skimage.data.coins()[:120, :150],
    "cell": lambda: skimage.data.cell()[200:328, 200:300],
    "colour": lambda: skimage.data.coffee()[100:190, 200:330],
}


@pytest.fixture(scope="module")
def sure_model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A transformer with random weights, whose logits are as far from 0 as those of a trained one."""
    torch.manual_seed(3)
    module = build_sam("vit_test")
    with torch.no_grad():
        for mlp in module.mask_decoder.output_hypernetworks_mlps:
            mlp.layers[-1].weight.mul_(300)
        module.mask_decoder.iou_prediction_head.layers[-1].weight.mul_(10)
    path = tmp_path_factory.mktemp("checkpoints") / "sure.safetensors"
    write_checkpoint(module, path, name="sure", record={})
    return load_model(path, "cpu")


@pytest.mark.filterwarnings("ignore:.*multi-dimensional sequence.*")
@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        pytest.param("nuclei", {"predicted_iou": 0.3, "stability": 0.5}, id="bundled"),
        pytest.param("sure", {"predicted_iou": 0.0, "stability": 0.3, "duplicates": 0.7}, id="vit"),
        pytest.param("sure", {"predicted_iou": 0.1, "stability": 0.6, "duplicates": 0.4}, id="vit, strict"),
    ],
)
def test_same_masks_as_the_original(
    generator_module: ModuleType,
    request: pytest.FixtureRequest,
    name: str,
    image: str,
    settings: dict[str, float],
) -> None:
    """Same masks in the same order, with the same scores, boxes and points."""
    model = ns.load_model("nuclei", "cpu") if name == "nuclei" else request.getfixturevalue("sure_model")
    pixels = IMAGES[image]()
    side = 7
    their_names = {
        "predicted_iou": "pred_iou_thresh",
        "stability": "stability_score_thresh",
        "duplicates": "box_nms_thresh",
    }
    theirs = generate_with_theirs(
        generator_module,
        model,
        pixels,
        {"points_per_side": side} | {their_names[n]: v for n, v in settings.items()},
    )
    options = {"exact": True, "points_per_side": side} | settings
    _, found = run_job(iter_candidates(pixels, model, "grid", **options))
    assert len(found) == len(theirs)
    assert 0 < len(found) < side**2 * 3
    for i, record in enumerate(theirs):
        np.testing.assert_array_equal(found.mask(i).paste(pixels.shape), record["segmentation"])
        assert found.predicted_iou[i] == pytest.approx(np.clip(record["predicted_iou"], 0, 1), abs=1e-6)
        assert found.stability[i] == pytest.approx(record["stability_score"], abs=1e-6)
        assert found.areas[i] == record["area"]
    kept = filter_candidates(found, filter_defaults(model, "grid", **options))
    assert len(kept) == len(theirs)  # the filter's own defaults take nothing away


def test_points_lie_where_the_original_puts_them(vit_model: LoadedModel) -> None:
    """At (i + 1/2) / n of the frame's sides, in its coordinates with pixel centres at integers."""
    from napari_sam.inference.exact_grid import make_exact_grid
    from napari_sam.inference.predictor import Predictor

    frame = Predictor(vit_model).make_frame((0, 0, 60, 90))
    points = frame.to_frame(make_exact_grid(frame, 4))
    x, y = np.unique(points[:, 0].round(4)), np.unique(points[:, 1].round(4))
    np.testing.assert_allclose(x, (np.arange(4) + 0.5) / 4 * 128, atol=1e-4)
    np.testing.assert_allclose(y, (np.arange(4) + 0.5) / 4 * 85, atol=1e-4)


@pytest.mark.parametrize("threshold", [0.2, 0.7])
def test_box_suppression_equals_the_naive_one(threshold: float) -> None:
    rng = np.random.default_rng(0)
    low = rng.integers(0, 20, (60, 2))
    boxes = np.concatenate([low, low + rng.integers(1, 20, (60, 2))], axis=1)
    scores = rng.integers(0, 10, 60) / 10  # with ties
    ends = torch.from_numpy(boxes - [0, 0, 1, 1]).float()
    expected = batched_nms(ends, torch.from_numpy(scores), torch.zeros(60), threshold).tolist()
    assert 5 < len(expected) < 60
    assert suppress_boxes(boxes, scores, threshold) == expected

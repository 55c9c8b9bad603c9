"""What a rough outline, a scribble or an existing label should be to the model: mask, box or both.

    python benchmarks/rough_prompts.py [--images 12] [--model nuclei]

On synthetic images of six styles. A *polygon* is the object's outline drawn with an unsteady hand, a little
too large. A *label* is what another program would have made: eroded, dilated, cut in half, or joined with a
neighbour; it is corrected by the simulated user's first click. A *scribble* is a line through the object, of
which so many points are taken. Printed is the mean IoU with the true object.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from scipy import ndimage

import napari_sam as ns
from napari_sam.evaluation.simulated_user import next_click, read_objects
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.session.drawing import Drawing, Shape, label_shape, sample_path
from napari_sam.types import ObjectMask, Prompts

USES = ("mask", "box", "both")
SAMPLES = (1, 2, 3, 5, 8)


def draw_polygon(obj: ObjectMask, rng: np.random.Generator) -> np.ndarray:
    """(24, 2) vertices around an object: its radius in each direction, 5 to 25 % too far."""
    centre = np.array(obj.centroid)
    rows, cols = np.nonzero(obj.mask ^ ndimage.binary_erosion(obj.mask))
    rim = np.stack([rows, cols], 1) + obj.origin - centre
    angles = np.arctan2(rim[:, 0], rim[:, 1])
    wanted = np.linspace(-np.pi, np.pi, 24, endpoint=False)
    nearest = np.abs(np.angle(np.exp(1j * (angles[None] - wanted[:, None])))).argmin(axis=1)
    factor = 1.05 + 0.2 * ndimage.gaussian_filter1d(rng.random(24), 2, mode="wrap")
    return np.asarray(centre + rim[nearest] * factor[:, None])


def spoil(labels: np.ndarray, label: int, kind: str) -> ObjectMask | None:
    """An object as another program would have segmented it."""
    mask = labels == label
    reach = max(1, round(np.sqrt(mask.sum() / np.pi) / 4))
    if kind == "eroded":
        mask = ndimage.binary_erosion(mask, iterations=reach)
    elif kind == "dilated":
        mask = ndimage.binary_dilation(mask, iterations=reach)
    elif kind == "half":
        rows = np.flatnonzero(mask.any(axis=1))
        mask = mask & (np.arange(len(mask))[:, None] < rows.mean())
    else:
        around = labels[ndimage.binary_dilation(mask, iterations=2)]
        others = np.unique(around[(around != 0) & (around != label)])
        if not len(others):
            return None
        mask = mask | (labels == others[0])
    return ObjectMask.from_plane(mask) if mask.any() else None


def draw_line(obj: ObjectMask) -> np.ndarray:
    """The longest straight line between two pixels of an object's skeleton-like core."""
    depth = ndimage.distance_transform_edt(np.pad(obj.mask, 1))[1:-1, 1:-1]
    core = np.argwhere(depth >= 0.5 * depth.max()) + obj.origin
    far = core[((core - core.mean(axis=0)) ** 2).sum(axis=1).argmax()]
    other = core[((core - far) ** 2).sum(axis=1).argmax()]
    return np.array([far, other], float)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--objects", type=int, default=12, help="at most, of each image")
    parser.add_argument("--model", default="nuclei")
    options = parser.parse_args()
    from napari_sam.training.dataset import NORMALIZED
    from napari_sam.training.synthetic import make_synthetic_image

    settings = EncodeSettings(limits=NORMALIZED)
    predictor = ns.CachedPredictor(ns.load_model(options.model), settings=settings)
    found: dict[tuple[str, str], list[float]] = {}

    def note(what: str, how: str, obj: ObjectMask, answer: ObjectMask) -> None:
        found.setdefault((what, how), []).append(obj.iou(answer))

    for number in range(options.images):
        rng = np.random.default_rng(1000 + number)
        image, labels = make_synthetic_image(rng)[:2]
        ids = [i for i in np.unique(labels)[1:] if (labels == i).sum() >= 60]
        for label in rng.permutation(ids)[: options.objects]:
            (obj,) = read_objects(labels == label)
            outline = Drawing(shapes=(Shape("polygon", draw_polygon(obj, rng)),))
            rough = outline.to_prompts(labels.shape).mask
            note("polygon", "as it is", obj, rough)
            for use in USES:
                prompts = outline.to_prompts(labels.shape, use)
                note("polygon", use, obj, predictor.predict(image, prompts))
            for kind in ("eroded", "dilated", "half", "joined"):
                spoiled = spoil(labels, label, kind)
                click = None if spoiled is None else next_click(obj, spoiled)
                if spoiled is None or click is None:
                    continue
                drawing = Drawing(
                    np.array([click[0]], np.float32), np.array([click[1]], np.int8), (label_shape(spoiled),)
                )
                note(f"label, {kind}", "as it is", obj, spoiled)
                for use in USES:
                    prompts = drawing.to_prompts(labels.shape, use)
                    note(f"label, {kind}", use, obj, predictor.predict(image, prompts))
                if click[1] == 1:
                    note(f"label, {kind}", "click alone", obj, predictor.predict(image, Prompts([click[0]])))
            line = draw_line(obj)
            for count in SAMPLES:
                points = Prompts(sample_path(line, count))
                note("scribble", f"{count} points", obj, predictor.predict(image, points))
            first = predictor.predict(image, Prompts(sample_path(line, 1)))
            prompts = replace(Prompts(sample_path(line, 5)), mask=first)
            note("scribble", "1, then 5", obj, predictor.predict(image, prompts))
    columns = ["as it is", *USES, "click alone"]
    print(f"{'mean IoU':18s}" + "".join(f"{c:>13s}" for c in columns) + f"{'objects':>9s}")
    for what in dict.fromkeys(what for what, _ in found):
        if what == "scribble":
            continue
        cells = [found.get((what, how)) for how in columns]
        row = "".join(f"{np.mean(values):13.3f}" if values else f"{'-':>13s}" for values in cells)
        print(f"{what:18s}{row}{len(found[what, 'mask']):9d}")
    shown = [f"{how}: {np.mean(values):.3f}" for (what, how), values in found.items() if what == "scribble"]
    print("scribble           " + ", ".join(shown))


if __name__ == "__main__":
    main()

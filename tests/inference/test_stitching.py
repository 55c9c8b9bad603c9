from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import find_objects
from scipy.ndimage import label as label_components

from napari_sam.errors import SamError
from napari_sam.inference.candidates import Candidates, draw_candidates
from napari_sam.inference.stitching import Stitcher
from napari_sam.inference.tiling import cover_plane
from napari_sam.types import ObjectMask

EIGHT = np.ones((3, 3), bool)


def _blobs(shape, seed, count=60, radius=9):
    """Touching discs, each connected, at random."""
    rng = np.random.default_rng(seed)
    rows, cols = np.indices(shape)
    labels = np.zeros(shape, np.int32)
    for number in range(1, count + 1):
        r, c = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        labels[(rows - r) ** 2 + (cols - c) ** 2 <= rng.uniform(2, radius) ** 2] = number
    return _number_parts(labels)


def _number_parts(labels):
    """Every connected part of every object an object of its own."""
    out, count = np.zeros_like(labels), 0
    for number in np.unique(labels[labels > 0]):
        parts, found = label_components(labels == number, EIGHT)
        out[parts > 0] = parts[parts > 0] + count
        count += found
    return out


def _noise(shape, seed):
    """Arbitrary, winding shapes."""
    return label_components(np.random.default_rng(seed).random(shape) < 0.38, EIGHT)[0].astype(np.int32)


def _bricks(shape, seed):
    """Touching objects that fill the plane, in columns shifted against each other."""
    rows, cols = np.indices(shape)
    column = cols // 7
    labels = 1 + column * 1000 + (rows + column * 3 + seed) // 5
    return np.unique(labels, return_inverse=True)[1].reshape(shape).astype(np.int32) + 1


def _comb(shape, seed):
    """One object with long teeth, which tiles see as many, and another between them."""
    labels = np.zeros(shape, np.int32)
    labels[2:-2, 2::8] = labels[2:-2, 3::8] = 1
    labels[2:5, 2:] = 1
    labels[8:-2, 6::8] = 2
    labels[-4:-2, 6:] = 0
    labels[-1:, 6:] = 2
    labels[8:, 6::8] = 2
    return _number_parts(labels)


SCENES = {
    "touching discs": _blobs,
    "winding": _noise,
    "bricks": _bricks,
    "comb": _comb,
    "one object that fills the plane": lambda shape, seed: np.ones(shape, np.int32),
    "nothing": lambda shape, seed: np.zeros(shape, np.int32),
    "a ring at the edge": lambda shape, seed: np.pad(
        np.zeros((shape[0] - 4, shape[1] - 4), np.int32), 2, constant_values=1
    ),
}


def _see(labels, crop):
    """What a perfect segmenter, which knows only its tile, makes of it: connected parts."""
    r0, c0, r1, c1 = crop
    objects = []
    window = labels[r0:r1, c0:c1]
    for number, box in enumerate(find_objects(window), 1):
        if box is not None:
            parts, count = label_components(window[box] == number, EIGHT)
            origin = r0 + box[0].start, c0 + box[1].start
            objects += [ObjectMask.from_plane(parts == k, origin) for k in range(1, count + 1)]
    return Candidates.from_objects(objects, labels.shape)


def _stitch(labels, tiles, order=None, see=_see):
    stitcher = Stitcher(labels.shape, tiles)
    parts = [stitcher.add(see(labels, crop), crop, core) for crop, core in (order or tiles)]
    assert stitcher.held == 0
    assert len(stitcher.finish()) == 0
    return Candidates.concatenate(parts)


def _assert_same_objects(candidates, labels):
    found = sorted((c.box, c.mask.tobytes()) for c in map(candidates.mask, range(len(candidates))))
    expected = [
        ObjectMask(labels[box] == i, (box[0].start, box[1].start))
        for i, box in enumerate(find_objects(labels), 1)
        if box is not None
    ]
    assert found == sorted((o.box, o.mask.tobytes()) for o in expected)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("shape", "field", "halo"),
    [((90, 100), 40, 8), ((97, 61), 32, 4), ((64, 200), 64, 12), ((40, 40), 64, 8), ((50, 60), 20, 1)],
    ids=str,
)
@pytest.mark.parametrize("scene", SCENES)
def test_tiles_of_a_known_plane_give_back_its_objects(scene, shape, field, halo, seed):
    labels = SCENES[scene](shape, seed)
    _assert_same_objects(_stitch(labels, cover_plane(shape, field, halo)), labels)


@pytest.mark.parametrize("seed", range(6))
def test_tiles_may_lie_anywhere_and_come_in_any_order(seed):
    rng = np.random.default_rng(seed)
    shape = (110, 120)
    rows = [0, *sorted(rng.choice(np.arange(15, 95), 3, replace=False).tolist()), shape[0]]
    cols = [0, *sorted(rng.choice(np.arange(15, 105), 3, replace=False).tolist()), shape[1]]
    tiles = []
    for r0, r1 in pairwise(rows):
        for c0, c1 in pairwise(cols):
            halo = rng.integers(3, 12, 4)
            low = max(0, r0 - halo[0]), max(0, c0 - halo[1])
            high = min(shape[0], r1 + halo[2]), min(shape[1], c1 + halo[3])
            tiles.append(((int(low[0]), int(low[1]), int(high[0]), int(high[1])), (r0, c0, r1, c1)))
    labels = _blobs(shape, seed)
    order = [tiles[i] for i in rng.permutation(len(tiles))]
    _assert_same_objects(_stitch(labels, tiles, order), labels)


def test_objects_are_emitted_as_soon_as_no_tile_can_change_them():
    labels = np.zeros((20, 60), np.int32)
    labels[5:10, 2:6] = 1  # in the first tile only
    labels[5:10, 16:22] = 2  # in the overlap of first and second
    labels[12:15, 2:58] = 3  # through all
    tiles = cover_plane(labels.shape, 26, 4)
    stitcher = Stitcher(labels.shape, tiles)
    areas = [stitcher.add(_see(labels, crop), crop, core).areas.tolist() for crop, core in tiles]
    assert areas == [[20], [30], [168]]


def test_only_what_lies_in_overlaps_is_held():
    shape = (400, 400)
    labels = _bricks(shape, 0)
    tiles = cover_plane(shape, 100, 10)
    stitcher, held = Stitcher(shape, tiles), []
    for crop, core in tiles:
        stitcher.add(_see(labels, crop), crop, core)
        held.append(stitcher.held)
    # A row of tiles' lower borders and one right border: strips of 20 + 7 pixels around objects of 35.
    assert max(held) < 2 * (400 + 100) * 34 / 35
    assert len(np.unique(labels)) > 4000


def _spoil(labels, crop):
    """A segmenter that is wrong near the inner borders of its tile, where it lacks context."""
    r0, c0, r1, c1 = crop
    window = labels[r0:r1, c0:c1].copy()
    for axis, (low, high) in enumerate(((r0, r1), (c0, c1))):
        view = np.moveaxis(window, axis, 0)
        if low > 0:
            view[:2] = 0
        if high < labels.shape[axis]:
            view[-2:] = 77
    spoiled = np.zeros_like(labels)
    spoiled[r0:r1, c0:c1] = window
    return _see(spoiled, crop)


def test_what_is_wrong_at_the_edges_of_tiles_does_not_show():
    labels = _blobs((150, 150), 3, count=90)
    labels[labels == 77] = 0
    found = _stitch(labels, cover_plane(labels.shape, 80, 14), see=_spoil)
    _assert_same_objects(found, labels)


def test_touching_neighbours_are_not_joined_where_tiles_disagree_about_their_border():
    """The first tile puts the border two pixels further than the second."""
    tiles = [((0, 0, 30, 40), (0, 0, 30, 30)), ((0, 20, 30, 60), (0, 30, 30, 60))]
    boxes = [[(10, 5, 20, 31), (10, 31, 20, 40)], [(10, 20, 20, 29), (10, 29, 20, 50)]]
    stitcher = Stitcher((30, 60), tiles)
    parts = []
    for tile, seen in zip(tiles, boxes, strict=True):
        objects = [ObjectMask(np.ones((b[2] - b[0], b[3] - b[1]), bool), b[:2]) for b in seen]
        parts.append(stitcher.add(Candidates.from_objects(objects, (30, 60)), *tile))
    found = Candidates.concatenate(parts)
    assert sorted(map(tuple, found.boxes.tolist())) == [(10, 5, 20, 31), (10, 29, 20, 50)]
    labels = draw_candidates(found, np.arange(2))
    assert (labels[10:20, 5:50] > 0).all()


def test_of_two_whole_views_the_tile_whose_core_holds_more_answers():
    tiles = [((0, 0, 20, 30), (0, 0, 20, 20)), ((0, 10, 20, 50), (0, 20, 20, 50))]
    stitcher = Stitcher((20, 50), tiles)
    square = np.ones((6, 6), bool)
    first = ObjectMask(square, (5, 18), predicted_iou=0.9)  # two columns in the first core
    second = ObjectMask(square, (5, 17), predicted_iou=0.3)
    stitcher.add(Candidates.from_objects([first], (20, 50)), *tiles[0])
    found = stitcher.add(Candidates.from_objects([second], (20, 50)), *tiles[1])
    assert found.predicted_iou.tolist() == pytest.approx([0.3])


def test_scores_of_a_merged_object_are_weighted_by_area():
    tiles = [((0, 0, 4, 60), (0, 0, 4, 50)), ((0, 40, 4, 100), (0, 50, 4, 100))]
    stitcher = Stitcher((4, 100), tiles)
    left = ObjectMask(np.ones((2, 60), bool), (1, 0), predicted_iou=0.9, stability_score=1.0)
    right = ObjectMask(np.ones((2, 60), bool), (1, 40), predicted_iou=0.5, stability_score=0.6)
    stitcher.add(Candidates.from_objects([left], (4, 100), [0.8]), *tiles[0])
    found = stitcher.add(Candidates.from_objects([right], (4, 100), [np.nan]), *tiles[1])
    assert found.areas.tolist() == [200]
    assert found.predicted_iou[0] == pytest.approx(0.7)
    assert found.stability[0] == pytest.approx(0.8)
    assert np.isnan(found.foreground[0])


def test_overlapping_candidates_of_one_tile_stay_apart():
    """A part and its whole, as the grid finds them."""
    tiles = [((0, 0, 40, 40), (0, 0, 40, 30)), ((0, 20, 40, 60), (0, 30, 40, 60))]
    whole, part = ObjectMask(np.ones((16, 16), bool), (4, 22)), ObjectMask(np.ones((8, 8), bool), (8, 26))
    stitcher = Stitcher((40, 60), tiles)
    stitcher.add(Candidates.from_objects([whole, part], (40, 60)), *tiles[0])
    found = stitcher.add(Candidates.from_objects([part, whole], (40, 60)), *tiles[1])
    assert sorted(found.areas.tolist()) == [64, 256]


def test_finish_gives_what_is_held_back():
    labels = _blobs((60, 60), 1)
    tiles = cover_plane(labels.shape, 40, 8)
    stitcher = Stitcher(labels.shape, tiles)
    parts = [stitcher.add(_see(labels, crop), crop, core) for crop, core in tiles[:2]]
    found = Candidates.concatenate([*parts, stitcher.finish()])
    labels[tiles[0][1][2] :] = 0  # the lower tiles never came: what is whole above is there
    top = [o.box for o in map(found.mask, range(len(found)))]
    for number in np.unique(labels[:32][labels[:32] > 0]):
        obj = ObjectMask.from_plane(labels == number)
        if obj.box[2] < 30:
            assert obj.box in top


@pytest.mark.parametrize("crop", [(0, 0, 5, 5), (0, 0, 40, 40)], ids=["unknown", "twice"])
def test_each_tile_is_added_once(crop):
    tiles = [((0, 0, 40, 40), (0, 0, 40, 40))]
    stitcher = Stitcher((40, 40), tiles)
    stitcher.add(Candidates.empty((40, 40)), *tiles[0])
    with pytest.raises(SamError, match="tiles once"):
        stitcher.add(Candidates.empty((40, 40)), crop, crop)

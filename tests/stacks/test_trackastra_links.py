"""Trackastra as tracker: with it installed, and the clear word where it is not."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import networkx as nx
import numpy as np
import pytest

from napari_sam.errors import ImageError, SamError
from napari_sam.stacks.linking import Linker
from napari_sam.stacks.segment_stack import iter_segment_stack
from napari_sam.stacks.trackastra_links import check_tracker, find_links


def test_it_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackastra.model", None)
    with pytest.raises(SamError, match=r"pip install napari-sam-workbench\[trackastra\]"):
        check_tracker("trackastra", "t")


@pytest.mark.parametrize(
    ("tracker", "axis", "message"),
    [
        pytest.param("magic", "t", "Expected a tracker out of overlap, trackastra", id="unknown"),
        pytest.param("trackastra", "z", "Expected axis 't'", id="along-z"),
    ],
)
def test_what_it_cannot_do(tracker, axis, message):
    with pytest.raises(SamError, match=message):
        next(iter_segment_stack(np.zeros((2, 9, 9)), None, axis, tracker=tracker))


def test_an_object_that_goes_on_as_two_has_divided():
    """Whatever gives the links: 1 goes on, 2 divides into 3 and 4."""
    frames = [np.array([[1, 1, 0, 2, 2, 2, 2, 2]]), np.array([[1, 1, 0, 2, 2, 0, 3, 3]])] * 1
    frames += [frames[1]]
    linker = Linker("t")
    for frame in frames:
        linker.add(frame)
    links = np.array([[0, 2], [1, 3], [1, 4], [2, 5], [3, 6], [4, 7]])  # rows of the table, frame by frame
    linked = linker.finish(lambda _: (links[:, 0], links[:, 1]))
    assert [linked.relabel(k, frame).tolist() for k, frame in enumerate(frames)] == [
        [[1, 1, 0, 2, 2, 2, 2, 2]],
        [[1, 1, 0, 3, 3, 0, 4, 4]],
        [[1, 1, 0, 3, 3, 0, 4, 4]],
    ]
    assert linked.parents == {3: (2,), 4: (2,)}


def test_links_are_read_from_its_graph():
    graph = nx.DiGraph()
    for node, label in (("a", 1), ("b", 2), ("c", 4)):
        graph.add_node(node, label=label, time=0)
    graph.add_edges_from([("a", "b"), ("a", "c")])
    modes = []
    tracker = SimpleNamespace(
        track=lambda images, masks, mode, progbar_class: modes.append(mode) or (graph, 0)
    )
    masks = np.ones((2, 3, 3), np.int32)
    first, second = find_links(tracker, masks, masks, divisions=False)
    assert (first.tolist(), second.tolist(), modes) == ([0, 0], [1, 3], ["greedy_nodiv"])
    assert find_links(tracker, masks, masks * 0)[0].size == 0


def test_what_goes_wrong_inside_is_told():
    def fail(*_, **__):
        raise RuntimeError("no window fits")

    masks = np.ones((2, 3, 3), np.int32)
    with pytest.raises(ImageError, match=r"no window fits.*track by overlap"):
        find_links(SimpleNamespace(track=fail), masks, masks)


def test_the_real_one_links_what_hardly_moves():
    """Weights are drawn, not learned, so that nothing is downloaded: it is about how the parts fit."""
    model = pytest.importorskip("trackastra.model")
    import torch
    from trackastra.model import TrackingTransformer

    torch.manual_seed(0)
    transformer = TrackingTransformer(coord_dim=2, feat_dim=7, d_model=32, num_encoder_layers=1)
    tracker = model.Trackastra(transformer, {"features": "wrfeat"}, device="cpu")
    masks = np.zeros((4, 40, 40), np.int32)
    for t in range(4):
        masks[t, 5:15, 5 + t : 15 + t] = 1 + 2 * t
        masks[t, 25:35, 20 + t : 30 + t] = 2 + 2 * t
    first, second = find_links(tracker, (masks > 0) * 100.0, masks)
    links = set(zip(first.tolist(), second.tolist(), strict=True))
    frames = {(a // 2, b // 2) for a, b in links}
    assert frames <= {(0, 1), (1, 2), (2, 3)}

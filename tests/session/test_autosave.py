from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from napari_sam.session.autosave import Autosave
from napari_sam.session.jobs import SynchronousRunner
from napari_sam.session.left_session import read_session
from napari_sam.session.provenance import ObjectRecord
from napari_sam.session.record_json import RecordError
from napari_sam.session.state_folder import StateFolder
from napari_sam.session.tile_pack import TILE, TilePack
from napari_sam.session.work import LayerWork, Work
from napari_sam.types import Prompts

RNG = np.random.default_rng(0)


def record(label, z=0):
    return ObjectRecord(label, (z, None, None), prompts=Prompts([(label, z)]))


class Source:
    """One layer of two planes, and some prompts."""

    def __init__(self, shape=(2, 700, 600), dtype=np.int32):
        self.labels = np.zeros(shape, dtype)
        self.records = (record(1), record(70_000, 1))
        self.prompts = Prompts([(3, 4)])
        self.planes = None
        self.is_accepted = False
        self.layers = True
        self.put = []

    def take(self):
        shape, dtype = self.labels.shape, self.labels.dtype.str
        head = {"name": "objects", "target": True, "shape": list(shape), "dtype": dtype}
        layer = LayerWork("0", head, self.labels, self.planes, self.records)
        image = {"name": "cells", "path": "/data/cells.tif", "shape": [2, 700, 600]}
        return Work(
            (layer,) if self.layers else (),
            lambda: image,
            {"model": "nuclei"},
            self.prompts,
            (0, None, None),
            self.is_accepted,
        )

    def put_back(self, work):
        self.put.append(work)


class Life:
    """A process that works, and what it said."""

    def __init__(self, path, source=None, **options):
        self.source = source or Source()
        self.folder = StateFolder(path)
        self.runner = SynchronousRunner(options.pop("automatic", True))
        self.autosave = Autosave(self.runner, self.source, self.folder, **options)
        self.warned, self.found, self.due = [], [], []
        self.autosave.warned.connect(lambda text: self.warned.append(text))
        self.autosave.found.connect(lambda left: self.found.extend(left))
        self.autosave.due.connect(lambda: self.due.append(1))

    def save(self):
        self.autosave.touch()
        self.autosave.save()

    def die(self):
        """As after a kill: the operating system lets go of the lock, nobody else does anything."""
        if self.autosave.session is not None:
            self.autosave.session._lock.release()

    def left(self):
        self.autosave.look()
        return self.found


@pytest.fixture
def life(tmp_path):
    return Life(tmp_path / "state")


def revive(life):
    return Life(life.folder.path).left()


def paint(labels, value, *place):
    labels[place] = value


def test_what_was_saved_is_found_after_a_crash_bit_for_bit(life):
    life.source.labels[:] = RNG.integers(0, 3, life.source.labels.shape) * 70_000
    life.save()
    life.die()
    (left,) = revive(life)
    (layer,) = left.layers
    assert np.array_equal(layer.read(), life.source.labels)
    assert layer.read().dtype == np.int32
    assert (layer.head["name"], layer.head["target"]) == ("objects", True)
    assert [(r.label, r.plane) for r in layer.records] == [(1, (0, None, None)), (70_000, (1, None, None))]
    assert layer.records[1].prompts.points.tolist() == [[70_000, 1]]
    assert left.prompts.points.tolist() == [[3, 4]]
    assert (left.plane, left.count, left.closed) == ((0, None, None), 2, False)
    assert (left.image["name"], left.settings) == ("cells", {"model": "nuclei"})
    assert abs(left.saved - time.time()) < 100


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        pytest.param((5, 6), np.uint8, id="small"),
        pytest.param((513, 512), np.uint16, id="one-row-more"),
        pytest.param((2, 3, 20, 20), np.int64, id="4-d"),
        pytest.param((700, 1300), np.int8, id="tiles"),
        pytest.param((20, 30), np.dtype(">u2"), id="other-byte-order"),
    ],
)
def test_labels_of_any_shape_come_back(tmp_path, shape, dtype):
    life = Life(tmp_path, Source(shape, dtype))
    life.source.labels[:] = RNG.integers(0, 100, shape)
    life.save()
    life.die()
    back = revive(life)[0].layers[0].read()
    assert back.dtype == dtype
    assert np.array_equal(back, life.source.labels)


def test_only_tiles_that_changed_are_written_again(life):
    labels = life.source.labels
    labels[0] = RNG.integers(0, 1000, labels.shape[1:])
    life.save()
    pack = life.autosave.session.pack
    assert len(pack.tiles) == 4  # the second plane is empty
    size = pack.end
    life.save()
    assert pack.end == size
    labels[1, 0, 0] = 9
    life.source.planes = frozenset({(1,)})
    labels[0, 0, 0] += 1  # nobody says so
    life.save()
    assert 0 < pack.end - size < 10_000
    life.source.planes = None
    life.save()
    life.die()
    assert np.array_equal(revive(life)[0].layers[0].read(), labels)


def test_a_pack_that_is_mostly_stale_is_written_anew(life, monkeypatch):
    monkeypatch.setattr("napari_sam.session.tile_pack.SLACK", 1000)
    for _ in range(6):
        life.source.labels[0] = RNG.integers(0, 1000, life.source.labels.shape[1:])
        life.save()
    pack = life.autosave.session.pack
    assert pack.number > 0
    assert len(list(life.autosave.session.path.glob("tiles-*.bin"))) == 1
    assert pack.path.stat().st_size <= 2 * pack.nbytes + 1000
    assert pack.nbytes == sum(tile.length for tile in pack.tiles.values())
    life.die()
    assert np.array_equal(revive(life)[0].layers[0].read(), life.source.labels)


def test_a_session_is_narrowed_to_what_is_left_of_it(life):
    life.source.labels[:] = 7
    life.save()
    life.die()
    (left,) = revive(life)
    names = {"name": "on disk", "path": "/data/a.zarr", "shape": [5, 6], "records": [record(3).to_json()]}
    on_disk = replace(left.layers[0], head=names, tiles=None)
    life.folder.narrow(replace(left, layers=(on_disk,)))
    (again,) = revive(life)
    (layer,) = again.layers
    assert (again.image, again.saved, again.prompts, again.settings) == (left.image, left.saved, None, {})
    assert (layer.shape, layer.tiles, [r.label for r in layer.records]) == ((5, 6), None, [3])
    assert list(left.folder.glob("tiles-*.bin")) == []


def test_a_session_in_use_or_gone_is_not_narrowed(life):
    life.save()
    left = read_session(life.autosave.session.path)
    life.folder.narrow(replace(left, layers=()))
    assert len(read_session(left.folder).layers) == 1
    life.die()
    life.folder.remove(left.folder)
    life.folder.narrow(left)
    assert not left.folder.exists()


def test_a_session_in_use_is_not_offered(life):
    life.save()
    assert revive(life) == []
    life.die()
    assert len(revive(life)) == 1


def test_a_living_process_is_noticed_and_a_dead_one_too(tmp_path):
    """A real process: its lock goes when it is killed."""
    code = f"""
import sys, time
from pathlib import Path
sys.path[:0] = {sys.path!r}
from napari_sam.session.state_folder import StateFolder
folder = StateFolder(Path({str(tmp_path)!r})).open()
folder.write_index({{"saved": 5, "image": {{}}}}, [])
print("ready", flush=True)
time.sleep(100)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=dict(os.environ))
    assert process.stdout.readline().strip() == b"ready"
    assert Life(tmp_path).left() == []
    process.kill()
    process.wait()
    process.stdout.close()
    assert [left.saved for left in Life(tmp_path).left()] == [5]


def test_closing_over_unsaved_labels_keeps_them_and_says_so(life):
    life.save()
    life.source.labels[0, 3, 3] = 7  # a moment before
    life.autosave.touch()
    life.autosave.close()
    (left,) = revive(life)
    assert left.closed
    assert left.prompts is None  # what was not accepted is nothing that a user would miss after closing
    assert left.layers[0].read()[0, 3, 3] == 7


@pytest.mark.parametrize("layers", [True, False])
def test_closing_keeps_prompts_that_were_accepted_and_wait_for_their_mask(life, layers):
    life.source.layers, life.source.is_accepted = layers, True
    life.autosave.close()
    (left,) = revive(life)
    assert left.prompts.points.tolist() == [[3, 4]]
    assert len(left.layers) == layers


def test_closing_with_everything_saved_leaves_nothing(life):
    life.save()
    life.source.layers = False
    life.autosave.close()
    assert revive(life) == []
    assert list(life.folder.path.iterdir()) == []


def test_nothing_to_save_makes_no_folder(life):
    life.source.layers, life.source.prompts = False, Prompts()
    life.save()
    life.autosave.close()
    assert not life.folder.path.exists()


def test_work_that_was_saved_elsewhere_is_forgotten(life):
    life.save()
    life.source.layers, life.source.prompts = False, Prompts()
    life.save()
    life.die()
    assert revive(life) == []


def test_switched_off_it_writes_nothing_and_removes_what_it_wrote(life):
    life.save()
    assert len(list(life.folder.path.iterdir())) == 1
    life.autosave.enabled = False
    assert list(life.folder.path.iterdir()) == []
    life.save()
    assert list(life.folder.path.iterdir()) == []
    life.autosave.enabled = True
    life.autosave.save()
    assert len(list(life.folder.path.iterdir())) == 1


def test_switched_on_again_it_saves_all_labels(life):
    life.source.labels[:] = 7
    life.save()
    life.source.planes = frozenset()  # nothing has changed since
    life.autosave.enabled = False
    life.autosave.enabled = True
    life.autosave.save()
    life.die()
    assert np.array_equal(revive(life)[0].layers[0].read(), life.source.labels)


def test_a_layer_that_comes_back_is_saved_whole(life):
    life.source.labels[:] = 7
    life.save()
    life.source.layers = False
    life.save()
    life.source.layers, life.source.planes = True, frozenset({(1,)})
    life.save()
    life.die()
    assert np.array_equal(revive(life)[0].layers[0].read(), life.source.labels)


def test_labels_of_another_shape_leave_nothing_of_those_before(life):
    life.source.labels[:] = 7
    life.save()
    life.source.labels = np.full((1, 100, 90), 5, np.int32)
    life.save()
    life.die()
    assert np.array_equal(revive(life)[0].layers[0].read(), life.source.labels)


def test_closing_during_a_save_loses_nothing_of_it(tmp_path):
    source = Source()
    life = Life(tmp_path, source, automatic=False)
    life.save()
    life.runner.run()
    source.labels[0, 600, 500] = 5
    source.planes = frozenset({(0,)})
    life.save()
    source.planes = frozenset()  # as after any save that has begun
    source.put_back = lambda work: setattr(source, "planes", None)
    life.runner.run(1)
    life.autosave.close()
    assert revive(life)[0].layers[0].read()[0, 600, 500] == 5


def test_a_change_during_a_save_is_saved_too(tmp_path):
    life = Life(tmp_path, automatic=False)
    life.save()
    life.runner.run(2)
    life.source.labels[1, 1, 1] = 5
    life.save()
    life.runner.run()
    assert life.due == [1, 1, 1]  # once for each change, and once more because it could not begin
    life.autosave.save()
    life.runner.run()
    life.die()
    assert revive(life)[0].layers[0].read()[1, 1, 1] == 5


def test_a_folder_that_cannot_be_written_gives_one_warning(tmp_path):
    (tmp_path / "file").write_text("in the way")
    life = Life(tmp_path / "file")
    for _ in range(3):
        life.save()
    assert len(life.warned) == 1
    assert "save your labels yourself" in life.warned[0]
    assert len(life.source.put) == 3
    life.autosave.close()
    assert life.left() == []


def test_a_full_disk_keeps_the_last_state_and_warns_once(life, monkeypatch):
    life.source.labels[0, 0, 0] = 1
    life.save()
    before = life.source.labels.copy()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TilePack, "put", full)
    life.source.labels[0, 0, 1] = 1
    life.save()
    life.save()
    assert len(life.warned) == 1
    assert "No space left" in life.warned[0]
    monkeypatch.undo()
    life.die()
    assert np.array_equal(revive(life)[0].layers[0].read(), before)


def test_labels_that_are_too_large_are_left_to_the_user(life, monkeypatch):
    monkeypatch.setattr("napari_sam.session.state_folder.SESSION_BYTES", 1000)
    life.source.labels[0] = RNG.integers(0, 1000, life.source.labels.shape[1:])
    life.save()
    assert len(life.warned) == 1
    assert "Save labels" in life.warned[0]


def test_a_first_save_that_fails_again_and_again_takes_no_more_room(life, monkeypatch):
    monkeypatch.setattr("napari_sam.session.state_folder.SESSION_BYTES", 1_000_000)
    life.source.labels[:] = RNG.integers(0, 1000, life.source.labels.shape)
    life.save()
    pack = life.autosave.session.pack
    size = pack.end
    assert size > 0
    for _ in range(3):
        life.save()
    assert (pack.end, pack.path.stat().st_size) == (size, size)
    life.source.labels[:] = 3  # now there is room
    life.save()
    life.die()
    assert np.array_equal(revive(life)[0].layers[0].read(), life.source.labels)


def test_labels_of_another_shape_after_a_first_save_that_failed(life, monkeypatch):
    monkeypatch.setattr("napari_sam.session.state_folder.SESSION_BYTES", 1_000_000)
    life.source.labels[:] = RNG.integers(0, 1000, life.source.labels.shape)
    life.save()
    life.source.labels = np.full((1, 100, 90), 5, np.int32)
    life.save()
    life.die()
    assert np.array_equal(revive(life)[0].layers[0].read(), life.source.labels)


def test_a_write_that_is_killed_half_way_leaves_the_state_before(tmp_path):
    life = Life(tmp_path, automatic=False)
    life.source.labels[:] = 1
    life.save()
    life.runner.run()
    life.source.labels[:] = 2
    life.save()
    life.runner.run(2)  # some tiles are written, the index is not
    life.die()
    assert np.array_equal(revive(life)[0].layers[0].read(), np.ones_like(life.source.labels))


def test_the_oldest_sessions_are_removed(tmp_path):
    folder = StateFolder(tmp_path)
    for number in range(14):
        path = tmp_path / f"{number:03}"
        path.mkdir()
        index = {"format": "napari-sam session", "version": 1, "saved": number}
        (path / "session.json").write_text(json.dumps(index))
    os.utime(tmp_path / "013" / "session.json", (0, time.time() - 40 * 86400))
    folder.prune()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{n:03}" for n in range(4, 13)]
    assert [left.saved for left in folder.list_left(frozenset({"012"}))] == list(range(11, 3, -1))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda v: "{", id="cut-off"),
        pytest.param(lambda v: "[" * 100_000, id="deep"),
        pytest.param(lambda v: {**v, "format": "zip"}, id="another-format"),
        pytest.param(lambda v: {**v, "version": 99}, id="later-version"),
        pytest.param(lambda v: {**v, "layers": [5]}, id="layer-is-a-number"),
        pytest.param(lambda v: {**v, "layers": [{**v["layers"][0], "dtype": "O"}]}, id="objects"),
        pytest.param(lambda v: {**v, "layers": [{**v["layers"][0], "dtype": "what"}]}, id="no-dtype"),
        pytest.param(lambda v: {**v, "layers": [{**v["layers"][0], "tiles": [[1, 2]]}]}, id="tile"),
        pytest.param(lambda v: {**v, "layers": [{**v["layers"][0], "shape": [-1, 2]}]}, id="shape"),
    ],
)
def test_a_damaged_session_is_not_offered_and_stays_for_later_versions(life, change):
    life.save()
    life.die()
    index = life.autosave.session.path / "session.json"
    values = change(json.loads(index.read_text()))
    index.write_text(values if isinstance(values, str) else json.dumps(values))
    assert revive(life) == []
    assert index.exists()


def test_a_session_in_which_nothing_was_saved_is_removed(life):
    life.folder.open().release()
    (life.folder.path / "20260101-000000-left").mkdir()
    assert life.left() == []
    assert list(life.folder.path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda p, i: p.write_bytes(p.read_bytes()[:-99]), id="cut-off"),
        pytest.param(lambda p, i: p.write_bytes(bytes(len(p.read_bytes()))), id="zeros"),
        pytest.param(lambda p, i: p.unlink(), id="gone"),
        pytest.param(
            lambda p, i: i.write_text(i.read_text().replace("[0, 0, 0]", "[9, 0, 0]")), id="outside"
        ),
        pytest.param(
            lambda p, i: i.write_text(i.read_text().replace("[0, 0, 0]", "[0, 0]")), id="fewer-axes"
        ),
        pytest.param(
            lambda p, i: i.write_text(
                i.read_text().replace("[2, 700, 600]", "[999999999, 999999999, 99999999]")
            ),
            id="huge",
        ),
    ],
)
def test_damaged_labels_are_refused(life, change):
    life.source.labels[0, 0, 0] = 5
    life.save()
    life.die()
    path = life.autosave.session.path
    assert "[0, 0, 0]" in (path / "session.json").read_text()
    change(path / "tiles-0.bin", path / "session.json")
    with pytest.raises(RecordError):
        read_session(path).layers[0].read()


def test_a_pack_elsewhere_is_not_read(life, tmp_path):
    life.source.labels[0, 0, 0] = 5
    life.save()
    life.die()
    index = life.autosave.session.path / "session.json"
    (tmp_path / "secret").write_bytes(b"x" * 1000)
    index.write_text(index.read_text().replace("tiles-0.bin", "../../secret"))
    assert read_session(index.parent).layers[0].pack.parent == index.parent


def test_only_sessions_are_ever_removed(tmp_path):
    outside = tmp_path / "precious"
    outside.mkdir()
    folder = StateFolder(tmp_path / "state")
    folder.remove(outside)
    assert outside.exists()


def test_discarding_removes_the_session(life):
    life.save()
    life.die()
    other = Life(life.folder.path)
    (left,) = other.left()
    other.autosave.discard(left)
    assert list(life.folder.path.iterdir()) == []


def test_labels_in_a_file_of_their_own_are_not_copied(life):
    work = life.source.take()
    life.source.take = lambda: replace(work, layers=(replace(work.layers[0], data=None),))
    life.save()
    life.die()
    (layer,) = revive(life)[0].layers
    assert layer.read() is None
    assert len(layer.records) == 2


def test_a_tile_is_large_enough_to_be_few_and_small_enough_to_be_quick():
    assert 256 <= TILE <= 1024


def test_a_session_of_less_than_thirty_days_is_kept(tmp_path):
    for name, days in (("a", 29), ("b", 31)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "session.json").write_text("{}")
        os.utime(tmp_path / name / "session.json", (0, time.time() - days * 86400))
    StateFolder(tmp_path).prune()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]

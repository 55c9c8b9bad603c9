from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from napari_sam.errors import ManifestError
from napari_sam.stacks.file_digests import FileState
from napari_sam.stacks.manifest import JobEntry, Manifest, ManifestWriter, UnitEntry, read_manifest
from napari_sam.stacks.work_units import BatchJob, Unit, UnitResult

if TYPE_CHECKING:
    from pathlib import Path

HEAD = '{"kind": "manifest", "version": 1}\n'
JOB = BatchJob(options={"min_area": 12.0}, channels=(1, 0), link="t", formats=("tiff", "csv"))
STATE = FileState(10, 123456789, "ab" * 16)
RESULT = UnitResult(
    STATE,
    "cd" * 16,
    (3, 8, 9),
    "TYX",
    4,
    ("a note",),
    {"read": 0.25},
    ("tiff",),
    (("x_labels.tif", STATE),),
    {"device": "cpu", "threads": 1},
)


def _fill(path: Path) -> list[UnitEntry]:
    entries = [
        UnitEntry(Unit("/d/x.tif", "x"), "j", "done", "", 1, "2026-01-01T00:00:00+00:00", RESULT),
        UnitEntry(Unit("/d/y.tif", "y"), "j", "failed", "cannot be read", 2, "2026-01-01T00:00:01+00:00"),
    ]
    writer = ManifestWriter(path, Manifest())
    writer.append_job(JobEntry("j", JOB, "ef" * 32))
    writer.append_plan([entry.unit for entry in entries] + [Unit("/d/z.tif", "z")])
    for entry in entries:
        writer.append_unit(entry)
    writer.close()
    return entries


def test_what_was_written_is_read(tmp_path: Path) -> None:
    entries = _fill(tmp_path / "m.jsonl")
    found = read_manifest(tmp_path / "m.jsonl")
    assert found.jobs == {"j": JobEntry("j", JOB, "ef" * 32)}
    assert found.stems == {"/d/x.tif": "x", "/d/y.tif": "y", "/d/z.tif": "z"}
    assert list(found.units.values()) == entries


def test_a_manifest_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert read_manifest(tmp_path / "m.jsonl") == Manifest()


def test_torn_anywhere_in_its_last_line_it_is_read_and_written_on(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    entries = _fill(path)
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for end in range(last, len(whole)):
        path.write_bytes(whole[:end])
        found = read_manifest(path)
        is_whole = end == len(whole) - 1  # only the end of the line is missing
        assert list(found.units) == ["/d/x.tif", "/d/y.tif"][: 1 + is_whole]
        writer = ManifestWriter(path, found)
        writer.append_unit(entries[1])
        writer.close()
        assert list(read_manifest(path).units.values()) == entries


def test_torn_in_its_first_line_it_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(HEAD[:9])
    ManifestWriter(path, read_manifest(path)).close()
    assert json.loads(path.read_text())["kind"] == "manifest"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(HEAD.replace("1", "2"), "reads version 1. Update napari_sam", id="newer"),
        pytest.param(HEAD.replace("1", "0"), "Start in another folder", id="older"),
        pytest.param('{"kind": "manifest"}\n', "first line does not say so", id="no-version"),
        pytest.param('{"a": 1}\n', "first line does not say so", id="other-json"),
        pytest.param("name,area\n1,2\n", "got something else in line 1", id="csv"),
        pytest.param(HEAD + "{]\n" + HEAD, "got something else in line 2", id="damaged-inside"),
        pytest.param(HEAD + "[1]\n", "got something else in line 2", id="no-object"),
        pytest.param(
            HEAD + '{"kind": "unit", "source": "x"}\n', "Line 2 of the manifest", id="incomplete-unit"
        ),
        pytest.param(HEAD + '{"kind": "job", "id": 1, "job": {}}\n', "Line 2", id="incomplete-job"),
    ],
)
def test_what_cannot_be_read_is_said(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(content)
    with pytest.raises(ManifestError, match=said) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)


def test_lines_of_kinds_that_are_unknown_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(HEAD + '{"kind": "remark", "text": "by hand"}\n')
    ManifestWriter(path, read_manifest(path)).close()
    assert "by hand" in path.read_text()


def test_a_name_that_is_no_text_survives(tmp_path: Path) -> None:
    name = os.fsdecode(b"/d/\xff\xfe.tif") if os.name == "posix" else "/d/\udcff.tif"
    path = tmp_path / "m.jsonl"
    writer = ManifestWriter(path, Manifest())
    writer.append_plan([Unit(name, "x")])
    writer.close()
    assert read_manifest(path).stems == {name: "x"}


def test_a_line_that_the_disk_refuses_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.jsonl"
    _fill(path)
    before = path.read_bytes()
    writer = ManifestWriter(path, read_manifest(path))

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match="No space"):
            writer.append_plan([Unit("/d/w.tif", "w")])
    assert path.read_bytes() == before
    writer.append_plan([Unit("/d/w.tif", "w")])
    writer.close()
    assert "/d/w.tif" in read_manifest(path).stems


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        pytest.param({"formats": ("csv",)}, True, id="formats"),
        pytest.param({"device": "cuda"}, True, id="device"),
        pytest.param({"threads": 4}, True, id="threads"),
        pytest.param({"method": "grid"}, False, id="method"),
        pytest.param({"options": {"min_area": 13.0}}, False, id="threshold"),
        pytest.param({"channels": (0, 1)}, False, id="channels"),
        pytest.param({"object_size": 30.0}, False, id="object-size"),
        pytest.param({"link": "z"}, False, id="link"),
    ],
)
def test_jobs_share_an_id_when_they_share_their_labels(change: dict[str, object], is_same: bool) -> None:
    from dataclasses import replace

    other = replace(JOB, **change)
    assert (other.identify("m") == JOB.identify("m")) is is_same
    assert JOB.identify("m") != JOB.identify("n")
    assert BatchJob.from_json(json.loads(json.dumps(other.to_json()))) == other

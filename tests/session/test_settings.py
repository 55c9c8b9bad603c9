"""The user's settings and the file that keeps them."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_sam.errors import SamError
from napari_sam.session.requests import Plane
from napari_sam.session.settings import CacheChoice, Settings, SettingsFile, encode_settings_of

if TYPE_CHECKING:
    from pathlib import Path

ALL = Settings(
    model="vit_t",
    device="cpu",
    warm=False,
    cache=CacheChoice(False, "here", 1 << 20, 1 << 21),
    object_size=12.5,
    object_unit="world",
    channels=(2, 0),
    percentiles=(0.5, 99.0),
    scope="stack",
)


def plane(channels: int = 0, pixel_size: float = 1.0) -> Plane:
    shape = (8, 8) if channels < 2 else (8, 8, channels)
    image = np.zeros(shape, np.uint8)
    return Plane("s", (None, None), (8, 8), lambda: image, channels=channels, pixel_size=pixel_size)


def test_settings_come_back_as_they_were(tmp_path: Path) -> None:
    file = SettingsFile(tmp_path / "deep" / "settings.json")
    assert file.load() == (Settings(), None)
    assert file.save(Settings(), ALL) is None
    assert file.load() == (ALL, None)
    assert [path.name for path in file.path.parent.iterdir()] == ["settings.json"]  # no temporary file stays


def test_a_fixed_range_is_of_one_image_and_not_taken_over(tmp_path: Path) -> None:
    file = SettingsFile(tmp_path / "settings.json")
    file.save(Settings(), replace(Settings(), limits=((0.0, 500.0),)))
    assert file.load() == (Settings(), None)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"warm": fal', id="truncated"),
        pytest.param(b"\xff\xfe\x00", id="not text"),
        pytest.param(b"[1, 2]", id="a list"),
        pytest.param(b'{"object_size": -3}', id="impossible size"),
        pytest.param(b'{"object_size": "big"}', id="size in words"),
        pytest.param(b'{"percentiles": [1]}', id="one percentile"),
        pytest.param(b'{"scope": "galaxy"}', id="unknown scope"),
        pytest.param(b'{"cache": 7}', id="cache of another type"),
        pytest.param(b'{"cache": {"memory_bytes": -1}}', id="negative budget"),
        pytest.param(b'{"warm": "yes"}', id="words for a switch"),
    ],
)
def test_a_file_that_cannot_be_used_gives_defaults_and_a_note(tmp_path: Path, content: bytes) -> None:
    file = SettingsFile(tmp_path / "settings.json")
    file.path.write_bytes(content)
    settings, note = file.load()
    assert settings == Settings()
    assert note is not None
    assert str(file.path) in note
    assert file.save(Settings(), ALL) is None
    assert file.load() == (ALL, None)


def test_what_another_version_wrote_is_kept(tmp_path: Path) -> None:
    file = SettingsFile(tmp_path / "settings.json")
    file.path.write_text('{"future": 1, "warm": false}')
    settings, note = file.load()
    assert (settings.warm, note) == (False, None)
    file.save(settings, replace(settings, device="cpu"))
    assert json.loads(file.path.read_text()) == {"future": 1, "warm": False, "device": "cpu"}


def test_two_viewers_change_only_what_each_changed(tmp_path: Path) -> None:
    one, two = SettingsFile(tmp_path / "s.json"), SettingsFile(tmp_path / "s.json")
    mine, theirs = one.load()[0], two.load()[0]
    one.save(mine, replace(mine, device="cpu"))
    two.save(theirs, replace(theirs, object_size=9.0))
    assert one.load()[0] == replace(Settings(), device="cpu", object_size=9.0)


def test_the_file_is_whole_at_every_moment(tmp_path: Path) -> None:
    file = SettingsFile(tmp_path / "s.json")
    file.save(Settings(), ALL)
    broken: list[Any] = []
    end = threading.Event()

    def read() -> None:
        while not end.is_set():
            note = file.load()[1]
            if note is not None:
                broken.append(note)

    def write(size: float) -> None:
        writer = SettingsFile(file.path)
        for i in range(40):
            writer.save(Settings(), replace(Settings(), object_size=size + i))

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(size,)) for size in (1.0, 100.0)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    end.set()
    reader.join()
    assert broken == []
    assert file.load()[0].object_size in (40.0, 139.0)


def test_a_folder_that_cannot_be_written_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    note = SettingsFile(tmp_path / "file" / "settings.json").save(Settings(), ALL)
    assert note is not None
    assert "cannot be saved" in note


def test_the_variable_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_SAM_CONFIG_DIR", str(tmp_path))
    assert SettingsFile().path == tmp_path / "settings.json"


@pytest.mark.parametrize(
    "change",
    [{"object_size": 0}, {"channels": (0, 1, 2, 3)}, {"percentiles": (5, 5)}, {"object_unit": "ell"}],
    ids=lambda change: next(iter(change)),
)
def test_impossible_settings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(SamError, match="Expected"):
        replace(Settings(), **change)


@pytest.mark.parametrize(
    ("settings", "where", "measured", "expected"),
    [
        pytest.param({"object_size": 30.0}, plane(pixel_size=0.5), None, (30.0, None, None), id="pixels"),
        pytest.param(
            {"object_size": 30.0, "object_unit": "world"}, plane(pixel_size=0.5), None, (60.0, None, None),
            id="world units",
        ),
        pytest.param({"channels": (2,)}, plane(3), None, (None, (2,), None), id="channel"),
        pytest.param({"channels": (2,)}, plane(0), None, (None, None, None), id="no such channel"),
        pytest.param({}, plane(), ((1.0, 9.0),), (None, None, ((1.0, 9.0),)), id="measured over the stack"),
        pytest.param(
            {"limits": ((2.0, 3.0),)}, plane(), ((1.0, 9.0),), (None, None, ((2.0, 3.0),)), id="fixed first"
        ),
    ],
)  # fmt: skip
def test_what_the_model_sees(settings: dict[str, Any], where: Plane, measured: Any, expected: Any) -> None:
    seen = encode_settings_of(replace(Settings(), **settings), where, measured)
    assert (seen.object_size, seen.channels, seen.limits) == expected


@pytest.mark.parametrize(
    ("changes", "alike"),
    [
        ({"mode": "rapid", "hover": True, "rough_use": "box"}, True),
        ({"model": "vit_t", "device": "cpu", "warm": False}, True),
        ({"object_size": 20.0}, False),
        ({"percentiles": (0.0, 100.0)}, False),
    ],
    ids=["how prompts are given", "which model", "scale", "intensities"],
)
def test_settings_that_do_not_change_an_answer(changes: dict[str, Any], alike: bool) -> None:
    assert Settings().sees_as(Settings(**changes)) is alike


@pytest.mark.parametrize("changes", [{"mode": "fast"}, {"rough_use": "points"}, {"hover": "yes"}])
def test_modes_that_there_are_not(changes: dict[str, Any]) -> None:
    with pytest.raises(SamError, match="Expected"):
        Settings(**changes)

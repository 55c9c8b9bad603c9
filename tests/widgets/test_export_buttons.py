"""Exporting from the dock in a real window; the file dialog alone is answered for the user."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtWidgets import QFileDialog

from napari_sam.stacks.prompt_tables import read_prompt_table
from napari_sam.viewer.export import list_prompts
from napari_sam.widgets.export_buttons import FILTERS

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Desk


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The user's; settings and autosave have others."""
    (tmp_path / "exported").mkdir()
    return tmp_path / "exported"


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    given = {"path": "", "filter": ""}
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args: (given["path"], given["filter"]))
    return given


def _accept(window: Desk, *clicks: tuple[float, float]) -> None:
    for click in clicks:
        window.click(*click)
        assert window.widget.wait(20)
        window.widget.accept()
        assert window.widget.wait(20)


def _press(window: Desk, name: str) -> None:
    getattr(window.widget._export, name).click()
    assert window.widget.wait(20)


@pytest.mark.parametrize("chosen", FILTERS)
def test_every_format_that_the_dialog_offers(
    chosen: str, window: Desk, answer: dict[str, str], folder: Path
) -> None:
    _accept(window, (10, 10), (40, 40))
    answer |= {"path": str(folder / "a"), "filter": chosen}  # the ending is put behind
    _press(window, "labels")
    ending = chosen.split("*")[1].rstrip(")")
    assert [path.name for path in folder.iterdir()] == [f"a{ending}"]
    assert window.widget.status == f"SAM objects: written to {folder / f'a{ending}'}."
    assert window.messages == []


def test_a_table_has_intensities_and_scores(window: Desk, answer: dict[str, str], folder: Path) -> None:
    window.image.data = np.full((64, 64), 7, np.uint8)
    assert window.widget.wait(20)
    _accept(window, (10, 10))
    answer |= {"path": str(folder / "a.csv"), "filter": "Measurements, plane by plane (*.csv)"}
    _press(window, "labels")
    with (folder / "a.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["label"], row["area"], row["mean_intensity"], row["source"]) == ("1", "29", "7", "prompts")


@pytest.mark.parametrize(
    ("name", "chosen", "plane"),
    [("p.csv", "", ()), ("p", "Prompts, GeoJSON (*.geojson)", (0, 0))],  # GeoJSON names no first plane
)
def test_prompts_of_the_session(
    name: str, chosen: str, plane: tuple[int, ...], window: Desk, answer: dict[str, str], folder: Path
) -> None:
    _accept(window, (10, 10), (40.5, 41))
    answer |= {"path": str(folder / name), "filter": chosen}
    _press(window, "prompts")
    (path,) = folder.iterdir()
    rows = read_prompt_table(path)
    assert [(row.file, row.plane, row.object, row.prompts.points.tolist()) for row in rows] == [
        ("cells", plane, 1, [[10, 10]]),
        ("cells", plane, 2, [[40.5, 41]]),
    ]
    assert window.widget.status == f"2 objects' prompts written to {path}."


def test_what_cannot_be_exported_is_said(window: Desk, answer: dict[str, str], folder: Path) -> None:
    _press(window, "labels")
    assert "Nothing to export" in window.messages[-1]
    window.widget.target_layer = window.viewer.add_labels(np.ones((64, 64), int), name="mine")
    _press(window, "labels")  # the dialog is cancelled
    answer |= {"path": str(folder / "a.csv"), "filter": ""}
    _press(window, "prompts")
    assert "objects made from prompts in 'mine', got none" in window.messages[-1]
    (folder / "file").touch()
    answer |= {"path": str(folder / "file" / "a.geojson"), "filter": "GeoJSON polygons, QuPath (*.geojson)"}
    _press(window, "labels")
    assert "Choose another folder" in window.messages[-1]
    answer |= {"path": str(folder / "b.geojson")}
    _press(window, "labels")
    assert json.loads((folder / "b.geojson").read_text())["features"][0]["properties"]["label"] == 1


def test_only_what_a_table_can_say_goes_into_it(window: Desk) -> None:
    _accept(window, (10, 10))
    controller = window.widget._controller
    book = controller.session.book
    (record,) = book.records(controller.target.token(controller.target_layer))

    def changed(**values: Any) -> Any:
        from dataclasses import replace

        return replace(record, **values)

    records = [
        record,
        changed(prompts=None),
        changed(plane=(None, 3, None)),  # rolled: rows are not the image's rows
        changed(plane=(2, None, None), label=8),
    ]
    rows = list_prompts(records, "a.tif", "ZYX")
    assert [(row.object, row.axes, row.plane) for row in rows] == [(1, "", ()), (8, "Z", (2,))]

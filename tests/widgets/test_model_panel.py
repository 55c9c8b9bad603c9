"""The list of models and what a model needs, on a bare viewer model."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog, QPushButton

from napari_sam.errors import DownloadError, SamError
from napari_sam.session.models import Download, ModelInfo
from napari_sam.session.recent_files import RecentFiles
from napari_sam.session.requests import ModelChoice
from napari_sam.types import Progress
from napari_sam.widgets import fastest_engine
from napari_sam.widgets.model_panel import ModelPanel

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Desk

HUGE = "Segment Anything (ViT-H)"


@pytest.fixture
def panel(qtbot: Any, tmp_path: Path) -> ModelPanel:
    panel = ModelPanel(ModelChoice("nuclei"), RecentFiles(tmp_path / "recent.json"))
    qtbot.addWidget(panel)
    return panel


def entries(panel: ModelPanel) -> list[str]:
    return [panel.model.itemText(i) for i in range(panel.model.count())]


def choose(panel: ModelPanel, name: str) -> None:
    index = panel.model.findData(name)
    panel.model.setCurrentIndex(index)
    panel.model.activated.emit(index)


INFOS = (
    ModelInfo("nuclei", "Nuclei (bundled)", "Blobs.", "CC0-1.0", "bundled"),
    ModelInfo("vit_b_lm", "Light microscopy (ViT-B)", "Cells.", "CC-BY-4.0", "light microscopy", 413, False),
    ModelInfo("vit_t", "MobileSAM (ViT-T)", "Anything.", "Apache-2.0", "anything", 41, True),
    ModelInfo(
        "vit_h", HUGE, "Anything.", "Apache-2.0", "anything", 2565, False, ("https://a.b/c",), "folder"
    ),
)


# ---- the list ---------------------------------------------------------------------------------------------


def test_models_are_listed_by_what_they_are_for(panel: ModelPanel) -> None:
    panel.show_available(INFOS, ("auto", "cpu"), ModelChoice("vit_t"))
    assert entries(panel) == [
        "Nuclei (bundled)",
        "LIGHT MICROSCOPY",
        "Light microscopy (ViT-B)   ↓ 413 MB",
        "ANYTHING",
        "MobileSAM (ViT-T)",
        f"{HUGE}   ↓ 2.6 GB",
        "",
        "Open file …",
    ]
    assert panel.choice == ModelChoice("vit_t", "auto")
    enabled = [
        bool(panel.model.model().flags(panel.model.model().index(i, 0)) & Qt.ItemFlag.ItemIsEnabled)
        for i in range(6)
    ]
    assert enabled == [True, False, True, False, True, True]
    tip = panel.model.itemData(2, Qt.ItemDataRole.ToolTipRole)
    assert tip.splitlines() == [
        "Cells.", "Name: vit_b_lm", "Licence of the weights: CC-BY-4.0",
        "Not on this computer yet: 413 MB to download.",
    ]  # fmt: skip


def test_a_choice_is_told_by_name(panel: ModelPanel) -> None:
    chosen: list[ModelChoice] = []
    panel.model_chosen.connect(chosen.append)
    panel.show_available(INFOS, ("auto", "cpu"), ModelChoice("nuclei"))
    choose(panel, "vit_h")
    assert chosen == [ModelChoice("vit_h", "auto")]


def test_files_are_opened_and_remembered(
    panel: ModelPanel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / name for name in ("one.pt", "two.pt")]
    for path in paths:
        path.touch()
    answers = [str(paths[0]), str(paths[1]), ""]
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (answers.pop(0), ""))
    chosen: list[ModelChoice] = []
    panel.model_chosen.connect(chosen.append)
    panel.show_available(INFOS, ("auto",), ModelChoice("nuclei"))
    choose(panel, "\0open")
    panel.open_file()
    assert [choice.name for choice in chosen] == [str(path) for path in paths]
    panel.show_model(chosen[-1])
    choose(panel, "\0open")  # and cancelled
    assert panel.choice.name == str(paths[1])
    assert len(chosen) == 2
    paths[0].unlink()
    again = ModelPanel(ModelChoice("nuclei"), panel._recent)
    again.show_available(INFOS, ("auto",), ModelChoice("nuclei"))
    assert entries(again)[6:8] == ["FILES", "two.pt"]
    assert "one.pt" not in entries(again)


def test_no_more_than_six_files_are_remembered(tmp_path: Path) -> None:
    recent = RecentFiles(tmp_path / "recent.json")
    for number in (*range(8), 5):
        (tmp_path / str(number)).touch()
        recent.add(str(tmp_path / str(number)))
    assert [path[-1] for path in recent.read()] == ["5", "7", "6", "4", "3", "2"]


@pytest.mark.parametrize(
    "content", ["", "{", "{}", "[1, null]", "[" * 10**5], ids=["empty", "cut", "dict", "no text", "deep"]
)
def test_a_damaged_list_of_files_is_empty(content: str, tmp_path: Path) -> None:
    (tmp_path / "recent.json").write_text(content)
    assert RecentFiles(tmp_path / "recent.json").read() == ()


# ---- what a model needs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("info", "download", "text", "buttons"),
    [
        pytest.param(None, Download(), None, [], id="a file"),
        pytest.param(INFOS[2], Download(), None, [], id="here"),
        pytest.param(
            INFOS[3], Download(), "Not on this computer yet: 2.6 GB, licence Apache-2.0.",
            ["Download 2.6 GB", "Copy link", "Look again"], id="missing",
        ),
        pytest.param(
            INFOS[3], Download(Progress(7, 2565, "Downloading it")), "Downloading it",
            ["Cancel"], id="running",
        ),
        pytest.param(
            INFOS[3], Download(error="No cable."), "No cable.",
            ["Try again", "Copy link", "Look again"], id="failed",
        ),
    ],
)  # fmt: skip
def test_the_strip(panel: ModelPanel, info: Any, download: Download, text: Any, buttons: list[str]) -> None:
    panel.show_download(info, download)
    strip = panel.strip
    assert strip.isHidden() is (text is None)
    if text is not None:
        assert strip.text.toolTip() == text
        assert strip.text.text().replace("\u200b", "") == text
        every = (strip.download, strip.cancel, strip.copy, strip.look)
        assert [button.text() for button in every if not button.isHidden()] == buttons
        assert strip.bar.isHidden() is (download.progress is None)
        assert (strip.bar.value(), strip.bar.maximum()) == ((7, 2565) if download.progress else (-1, 100))


def test_the_link_and_the_folder_are_copied(panel: ModelPanel) -> None:
    panel.show_download(INFOS[3], Download())
    panel.strip.copy.click()
    clipboard = QApplication.clipboard()
    assert clipboard is not None
    assert clipboard.text() == "https://a.b/c\nfolder"


# ---- in the dock ------------------------------------------------------------------------------------------


def test_a_model_is_downloaded_while_clicks_are_answered(desk: Desk) -> None:
    widget, strip = desk.widget, desk.widget._model_panel.strip
    desk.engine.fetch_gate = threading.Event()
    widget.model_name = "vit_h"
    assert not strip.isHidden()
    assert "not on this computer yet" in widget.status
    strip.download.click()
    desk.wait_for(lambda: strip.text.toolTip() == "Downloading vit_h")
    widget.model_name = "nuclei"
    assert strip.isHidden()
    desk.click(10, 10)
    desk.wait_for(lambda: desk.covered > 0)
    widget.model_name = "vit_h"
    assert not strip.cancel.isHidden()
    desk.engine.fetch_gate.set()
    assert widget.wait(20)
    assert strip.isHidden()
    assert desk.engine.loads[-1].name == "vit_h"
    assert desk.engine.threads == {"napari-sam", "napari-sam network"}
    assert desk.covered > 0
    assert desk.messages == []


def test_a_download_is_cancelled_and_fails_and_is_tried_again(desk: Desk) -> None:
    widget, strip = desk.widget, desk.widget._model_panel.strip
    desk.engine.fetch_gate = threading.Event()
    widget.model_name = "vit_h"
    widget.download_model()
    desk.wait_for(lambda: strip.text.toolTip() == "Downloading vit_h")
    strip.cancel.click()
    desk.engine.fetch_gate.set()
    assert widget.wait(20)
    assert strip.download.text() == "Download 2.6 GB"
    desk.engine.fetch_error = DownloadError("Cannot download it: no cable.")
    strip.download.click()
    assert widget.wait(20)
    assert (strip.text.toolTip(), strip.download.text()) == ("Cannot download it: no cable.", "Try again")
    desk.engine.fetch_error = None
    strip.download.click()
    assert widget.wait(20)
    assert strip.isHidden()
    assert desk.messages == []


def test_a_file_put_there_by_hand_is_found(desk: Desk) -> None:
    desk.widget.model_name = "vit_h"
    desk.engine.fetched = True
    desk.widget._model_panel.strip.look.click()
    assert desk.widget.wait(20)
    assert desk.engine.loads[-1].name == "vit_h"
    assert desk.widget._model_panel.strip.isHidden()


def test_the_fastest_engine_is_found_while_clicks_are_answered(desk: Desk) -> None:
    widget, button = desk.widget, desk.widget._model_panel.tune
    assert button.text() == "Find fastest engine"
    desk.engine.step_delay = 0.05
    button.click()
    assert button.text() == "Cancel finding"
    desk.click(10, 10)
    desk.wait_for(lambda: desk.covered > 0)
    assert "try 4" not in desk.engine.log
    assert widget.wait(20)
    assert button.text() == "Find fastest engine"
    assert "try 4" in desk.engine.log
    desk.engine.log.clear()
    button.click()
    button.click()
    assert widget.wait(20)
    assert "cancelled" in widget.status
    assert "try 4" not in desk.engine.log
    assert desk.messages == []


def test_that_no_engine_can_be_tried_is_a_message(desk: Desk) -> None:
    desk.engine.segment_error = SamError("Cannot note the fastest engine.")
    desk.widget._model_panel.tune.click()
    assert desk.widget.wait(20)
    assert desk.messages == ["Cannot note the fastest engine."]
    assert desk.widget._model_panel.tune.text() == "Find fastest engine"


@pytest.mark.parametrize("installed", [False, True])
def test_openvino_is_recommended_where_it_is_missing(
    installed: bool, qtbot: Any, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastest_engine, "find_spec", lambda _: object() if installed else None)
    button = QPushButton()
    qtbot.addWidget(button)
    feature = fastest_engine.FastestEngine(button, desk.widget._session)
    feature.close()
    assert ("pip install napari-sam-workbench[openvino]" in button.toolTip()) is not installed

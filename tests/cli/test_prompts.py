"""With the bundled model: what a click and a box give, and what goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_sam.cli.main import main
from napari_sam.sample_data import load_nuclei_3d
from napari_sam.stacks.image_io import open_image

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two planes of nuclei."""
    path = tmp_path_factory.mktemp("images") / "s.tif"
    data = np.asarray(load_nuclei_3d()[0][0])[9:11]
    metadata = {"axes": "ZYX", "unit": "um", "spacing": 1.0}
    tifffile.imwrite(path, data, imagej=True, resolution=(4, 4), metadata=metadata)
    return path


def _largest_nucleus(stack: Path) -> tuple[int, int]:
    """A pixel well inside the brightest object of the first plane."""
    from scipy.ndimage import uniform_filter

    plane = uniform_filter(tifffile.imread(stack)[0].astype(float), 9)
    row, col = np.unravel_index(plane[20:-20, 20:-20].argmax(), plane[20:-20, 20:-20].shape)
    return int(row) + 20, int(col) + 20


def test_clicks_become_labels(
    stack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row, col = _largest_nucleus(stack)
    table = tmp_path / "clicks.csv"
    table.write_text(f"file,z,object,row,col\ns,0,4,{row},{col}\ns,1,4,{row},{col}\n")
    command = ["prompts", str(table), "--images", str(stack.parent), "--out", str(tmp_path / "out")]
    assert main([*command, "--format", "tiff,csv"]) == 0
    assert "s_labels.tif  1 objects" in capsys.readouterr().out
    back = open_image(tmp_path / "out" / "s_labels.tif")
    assert (back.axes, back.unit, back.scale) == ("ZYX", "micrometer", {"Z": 1.0, "Y": 0.25, "X": 0.25})
    labels = np.asarray(back.data)
    assert set(np.unique(labels)) == {0, 4}
    assert (labels[:, row, col] == 4).all()
    image = tifffile.imread(stack)
    assert image[labels == 4].mean() > 1.5 * image[labels == 0].mean()
    assert (tmp_path / "out" / "s_objects.csv").read_text().startswith("z,label,area")

    def fail(*_: object) -> None:
        pytest.fail("it was computed")

    monkeypatch.setattr("napari_sam.stacks.prompted_labels.iter_prompted_labels", fail)
    assert main(command) == 2
    assert "add --overwrite" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main([*command, "--format", "rois"]) == 2
    assert "pip install 'napari-sam-workbench[formats]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "images", "message"),
    [
        pytest.param("row,col\n1,x\n", "s.tif", "t.csv, line 2: expected a number in column col", id="table"),
        pytest.param("file,row,col\nq.tif,1,2\n", "s.tif", "Line 2: expected an image 'q.tif'", id="image"),
        pytest.param("row,col\n1,2\n", "*.png", "s.tif", id="no images"),
        pytest.param("row,col\n1,2\n", "s.tif", "add a column z to the table", id="plane"),
    ],
)
def test_what_is_wrong_is_one_line(
    text: str, images: str, message: str, stack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text(text)
    where = str(stack.parent / images)
    code = main(["prompts", str(tmp_path / "t.csv"), "--images", where, "--out", str(tmp_path / "out")])
    errors = capsys.readouterr().err
    assert code == 2
    assert message in errors or images == "*.png"
    assert errors.count("\n") == 1
    assert not (tmp_path / "out").exists()

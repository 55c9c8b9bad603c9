from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from skimage.io import imread, imsave

from napari_sam.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path
    from types import SimpleNamespace

    from numpy.typing import NDArray


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three images of two squares each; in ``c`` one square is too dark to be found, and one label is off."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for name in "abc":
        image, labels = np.zeros((30, 40), np.uint8), np.zeros((30, 40), np.uint16)
        image[5:15, 5:15], labels[5:15, 5:15] = 200, 300
        image[20:26, 20:26], labels[20:26, 20:26] = (200, 7) if name != "c" else (50, 7)
        imsave(tmp_path / "images" / f"{name}.png", image, check_contrast=False)
        imsave(tmp_path / "labels" / f"{name}.png", labels, check_contrast=False)
    rows = ["id,kind,split", "a,fluo,test", "b,fluo,train", "c,dark,test"]
    (tmp_path / "index.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def evaluate(data: Path, *arguments: str) -> int:
    return main(["evaluate", "--images", str(data / "images"), "--labels", str(data / "labels"), *arguments])


def read_rows(text: str) -> dict[str, list[str]]:
    """Name of the measure -> values without intervals."""
    rows = {}
    for line in text.splitlines()[2:]:
        name, *cells = [cell for cell in line.split("  ") if cell.strip()]
        rows[name] = [cell.split()[0] for cell in cells]
    return rows


def test_table_by_group(inference: SimpleNamespace, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--index", str(data / "index.csv"), "--split", "test", "--group", "kind"]
    assert evaluate(data, *arguments, "--json", str(data / "scores.json")) == 0
    out = capsys.readouterr().out
    assert out.startswith("model nuclei (0123456789ab) on cpu, method auto\n")
    assert out.splitlines()[1].split() == ["all", "dark", "fluo"]
    rows = read_rows(out)
    assert rows["images"] == ["2", "1", "1"]
    assert rows["objects"] == ["4", "2", "2"]
    # In c the dark square's click gives the whole background: 36 / (36 + 1064) at every round.
    assert rows["mIoU, 1 click"] == ["0.758", "0.516", "1.000"]
    assert rows["mIoU, box"] == rows["mIoU, 8 clicks"] == ["0.758", "0.516", "1.000"]
    assert rows["NoC@85 (cap 20)"] == ["5.750", "10.500", "1.000"]
    assert rows["AP@0.5"] == ["0.750", "0.500", "1.000"]
    assert rows["recall < 50 px"] == ["0.500", "0.000", "1.000"]
    assert {"ms per encode", "ms per click", "ms automatic"} <= rows.keys()

    record = json.loads((data / "scores.json").read_text())
    assert record["groups"]["dark"]["AP@0.5"] == {"value": 0.5, "low": None, "high": None}
    assert record["groups"]["all"]["AP@0.5"]["low"] <= 0.75 <= record["groups"]["all"]["AP@0.5"]["high"]
    assert [image["name"] for image in record["images"]] == ["a", "c"]
    assert (record["model"], record["split"]) == ("nuclei", "test")


@pytest.mark.parametrize(
    ("arguments", "has", "lacks"),
    [
        (["--prompts"], "mIoU, box", "mSA"),
        (["--automatic", "--method", "grid"], "mSA", "mIoU, box"),
        (["--prompts", "--automatic"], "mSA", "nothing"),
    ],
    ids=["prompts", "automatic", "both"],
)
def test_parts(
    arguments: list[str],
    has: str,
    lacks: str,
    inference: SimpleNamespace,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert evaluate(data, *arguments) == 0
    rows = read_rows(capsys.readouterr().out)
    assert has in rows
    assert lacks not in rows
    assert {method for _, method in inference.planes} <= {"grid" if "grid" in arguments else "auto"}


def test_channels_that_were_chosen_are_what_is_measured(
    inference: SimpleNamespace, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (data / "images").iterdir():
        gray = imread(path)
        imsave(path, np.stack([255 - gray, gray, gray], axis=-1), check_contrast=False)
    assert evaluate(data, "--automatic", "--channels", "1", "--limit", "2") == 0
    assert {shape for shape, _ in inference.planes} == {(30, 40)}
    assert read_rows(capsys.readouterr().out)["AP@0.5"] == ["1.000"]


def test_limit_is_spread_over_the_list(inference: SimpleNamespace, data: Path) -> None:
    assert evaluate(data, "--limit", "2", "--json", str(data / "s.json")) == 0
    assert [image["name"] for image in json.loads((data / "s.json").read_text())["images"]] == ["a", "b"]


def test_files_without_a_partner_are_counted(
    inference: SimpleNamespace, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "labels" / "b.png").unlink()
    assert evaluate(data, "--automatic") == 0
    captured = capsys.readouterr()
    assert captured.err == "napari-sam: warning: 1 files have no partner of the same name and are left out\n"
    assert read_rows(captured.out)["images"] == ["2"]


def damage(data: Path, what: str) -> list[str]:
    index = ["--index", str(data / "index.csv")]
    match what:
        case "no images":
            for path in (data / "images").iterdir():
                path.unlink()
            return []
        case "missing image":
            (data / "images" / "c.png").unlink()
            return index
        case "no index":
            return ["--index", str(data / "nothing.csv")]
        case "column":
            return [*index, "--group", "stain"]
        case "split":
            return [*index, "--split", "validation"]
        case "split without index":
            return ["--split", "test"]
        case "limit":
            return ["--limit", "0"]
        case "encoding":
            (data / "index.csv").write_bytes("id\nZürich\n".encode("cp1252"))
            return index
    raise AssertionError(what)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no images", "got no pair"),
        ("missing image", "got no c."),
        ("no index", "No such file"),
        ("column", "Expected a column stain"),
        ("split", "rows of split validation"),
        ("split without index", "Expected --index"),
        ("limit", "--limit of at least 1"),
        ("encoding", "Expected a table in UTF-8"),
    ],
)
def test_mistakes_are_one_line(
    what: str, message: str, inference: SimpleNamespace, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(data, *damage(data, what)) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((3, 4), np.uint16), "Expected labels of shape (30, 40)"),
        (np.full((30, 40), -1, np.int16), "Expected labels of 0 and above, got -1"),
        (np.zeros((30, 40), np.float32), "integer labels"),
    ],
    ids=["shape", "negative", "fractions"],
)
@pytest.mark.parametrize("part", ["--prompts", "--automatic"])
def test_a_file_that_cannot_be_measured_leaves_the_others(
    part: str,
    labels: NDArray[Any],
    message: str,
    inference: SimpleNamespace,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (data / "labels" / "b.png").unlink()
    tifffile.imwrite(data / "labels" / "b.tif", labels)
    assert evaluate(data, part, "--json", str(data / "scores.json")) == 2
    captured = capsys.readouterr()
    assert f"error: {data / 'images' / 'b.png'}: " in captured.err
    assert message in captured.err
    assert "1 of 3 files failed" in captured.err
    assert read_rows(captured.out)["images"] == ["2"]
    assert [i["name"] for i in json.loads((data / "scores.json").read_text())["images"]] == ["a", "c"]


def test_nothing_that_can_be_measured(
    inference: SimpleNamespace, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "abc":
        imsave(data / "labels" / f"{name}.png", np.zeros((3, 4), np.uint16), check_contrast=False)
    assert evaluate(data) == 2
    captured = capsys.readouterr()
    assert "3 of 3 files failed" in captured.err
    assert "mIoU" not in captured.out


def test_a_row_without_a_group_and_a_mask_are_measured(
    inference: SimpleNamespace, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "index.csv").write_text("id;Kind\na;fluo\nb\n")
    mask = (imread(data / "labels" / "b.png") > 0).astype(np.uint8)
    imsave(data / "labels" / "b.png", mask, check_contrast=False)
    assert evaluate(data, "--automatic", "--index", str(data / "index.csv"), "--group", "Kind") == 0
    captured = capsys.readouterr()
    assert read_rows(captured.out)["images"] == ["2", "1", "1"]
    assert "the labels of b have one id in several pieces" in captured.err


def test_the_time_of_automatic_segmentation_has_its_encoding(
    inference: SimpleNamespace, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment_image = sys.modules["napari_sam.inference.segment_image"]
    cached_predictor = sys.modules["napari_sam.inference.cached_predictor"]
    seen: list[Any] = []
    ask = segment_image.iter_segment_image

    def watch(image: Any, predictor: Any, method: str) -> Any:
        seen.append(predictor)
        return ask(image, predictor, method)

    monkeypatch.setattr(segment_image, "iter_segment_image", watch)
    made: list[Any] = []
    make = cached_predictor.CachedPredictor
    monkeypatch.setattr(
        cached_predictor, "CachedPredictor", lambda *a, **k: made.append(make(*a, **k)) or made[-1]
    )
    assert evaluate(data, "--limit", "1") == 0
    assert [id(predictor) for predictor in seen] == [id(made[1])]
    assert len(made) == 2  # one for clicks, and another that has not seen the image


def test_an_image_without_objects_counts(
    inference: SimpleNamespace, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "bc":
        (data / "images" / f"{name}.png").unlink()
        (data / "labels" / f"{name}.png").unlink()
    imsave(data / "labels" / "a.png", np.zeros((30, 40), np.uint16), check_contrast=False)
    assert evaluate(data) == 0
    rows: dict[str, Any] = read_rows(capsys.readouterr().out)
    assert rows["mIoU, 1 click"] == ["-"]
    assert rows["AP@0.5"] == ["0.000"]

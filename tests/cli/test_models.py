"""``napari-sam models`` against a folder of small files and a server."""

from __future__ import annotations

import http.server
import threading
from typing import TYPE_CHECKING, Any

import pytest
import xxhash

from napari_sam.cli.main import main
from napari_sam.inference import registry, weight_files
from napari_sam.inference.engines import tuning
from napari_sam.inference.engines.verdict import Trial, Verdict
from napari_sam.inference.registry import ModelCard, WeightFile
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from napari_sam.inference.checkpoints import LoadedModel

DATA = bytes(range(256)) * 8


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if self.path == "/gone":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of models, empty; there are three models, one bundled and one that cannot be had."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("NAPARI_SAM_MODEL_DIR", str(tmp_path / "models"))
    monkeypatch.setattr(weight_files, "SMALLEST", 100)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    cards = tuple(
        ModelCard(
            name,
            f"Title of {name}",
            "Words.",
            "MIT",
            weights=WeightFile(
                f"{name}.pt", f"{url}/{name}", xxhash.xxh128(DATA if name == "small" else b"").hexdigest(), 7
            ),
        )
        for name in ("small", "gone")
    )
    nuclei = ModelCard("nuclei", "Nuclei", "Fluorescence.", "CC0-1.0", bundled=True)
    monkeypatch.setattr(registry, "_CARDS", (nuclei, *cards))
    yield tmp_path / "models"
    server.shutdown()
    thread.join()
    server.server_close()


def rows(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_the_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert rows(capsys) == [
        ["name", "here", "size", "licence", "title"],
        ["nuclei", "bundled", "CC0-1.0", "Nuclei"],
        ["small", "no", "7", "MB", "MIT", "Title", "of", "small"],
        ["gone", "no", "7", "MB", "MIT", "Title", "of", "gone"],
    ]
    assert main(["models", "-v"]) == 0
    assert "Fluorescence." in capsys.readouterr().out
    assert not folder.exists(), "looking makes nothing"


@pytest.mark.parametrize(
    "command", [["models", "download", "small"], ["models", "--download", "small"]], ids=["word", "option"]
)
def test_download(command: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 0
    assert capsys.readouterr().out == f"small: {folder / 'small.pt'}\n"
    assert (folder / "small.pt").read_bytes() == DATA
    assert main(["models"]) == 0
    assert rows(capsys)[2][:2] == ["small", "yes"]


def test_a_bundled_model_needs_no_download(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "download", "nuclei"]) == 0
    assert capsys.readouterr().out == "nuclei: comes with the package\n"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["models", "download", "smal"], "got 'smal'. Did you mean small?"),
        (["models", "download", "gone"], "the server answered 404"),
        (["models", "download"], "no model named"),
        (["models", "tune"], "no model named"),
        (["models", "tune", "smal"], "got 'smal'. Did you mean small?"),
        (["models", "upload"], "invalid choice"),
        (["segment", "x.png", "--out", "o", "--model", "gone"], "the server answered 404"),
    ],
    ids=[
        "near match",
        "404",
        "no name",
        "nothing to tune",
        "near match to tune",
        "no such action",
        "segment with a model that cannot be had",
    ],
)
def test_what_goes_wrong(
    command: list[str], message: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "x.png").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    assert message in capsys.readouterr().err


def test_the_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--dir"]) == 0
    assert capsys.readouterr().out == f"{folder}\n"


def test_check_finds_what_was_damaged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Damage that leaves size and time alone is found only by reading the file."""
    import os

    assert main(["models", "check"]) == 0
    main(["models", "download", "small"])
    capsys.readouterr()
    assert main(["models", "check"]) == 0
    assert capsys.readouterr().out == f"small: {folder / 'small.pt'} is whole\n"
    path = folder / "small.pt"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(DATA[:-1] + b"?")
    os.utime(path, ns=times)
    assert main(["models", "check", "small"]) == 2
    assert "small.pt is not what it should be; delete it" in capsys.readouterr().err
    assert main(["models"]) == 0
    assert rows(capsys)[2][:2] == ["small", "no"]


def test_tune_prints_what_was_tried(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Verdict(
        "torch bfloat16",
        "torch float32",
        (
            Trial("encoder", "torch float32", 0.2, 1.0, 1.0, 1.0, 0.0, True),
            Trial("encoder", "torch bfloat16", 0.1, 2.0, 0.9951, 0.98, 0.01, True),
            Trial("decoder", "torch bfloat16", 0.01, 1.5, 0.9, 0.8, 0.0, False),
        ),
    )

    def iter_tune(model: LoadedModel) -> Generator[Progress, None, Verdict]:
        assert model.name == "nuclei"
        yield Progress(0, 1, "Trying")
        return found

    monkeypatch.setattr(tuning, "iter_tune", iter_tune)
    assert main(["models", "tune", "nuclei", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("nuclei on cpu: ")
    assert [line.split() for line in lines[1:]] == [
        ["part", "engine", "ms", "faster", "IoU"],
        ["encoder", "torch", "float32", "200", "1.00x", "1.000,", "1.000"],
        ["encoder", "torch", "bfloat16", "100", "2.00x", "0.995,", "0.980", "chosen"],
        ["decoder", "torch", "bfloat16", "10", "1.50x", "0.900,", "0.800", "not", "accurate", "enough"],
    ]

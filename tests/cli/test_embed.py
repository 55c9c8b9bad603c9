"""``embed`` and ``cache`` with the real inference floor and a tiny model of random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import torch
import zarr

from napari_sam.cli.console import show_bytes
from napari_sam.cli.main import main
from napari_sam.inference.cached_predictor import CachedPredictor
from napari_sam.inference.checkpoints import load_model, write_checkpoint
from napari_sam.inference.encode_settings import EncodeSettings
from napari_sam.inference.predictor import Predictor
from napari_sam.inference.zarr_store import ZarrStore
from napari_sam.modeling import build_sam
from napari_sam.session.settings import CacheChoice, Settings, SettingsFile

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    write_checkpoint(build_sam("conv_test"), path, name="tiny", record={})
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cache is."""
    monkeypatch.setenv("NAPARI_SAM_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """300 x 400 pixels: more than one tile of a model whose field is 256."""
    pixels = np.random.default_rng(0).integers(0, 4000, (300, 400)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    return tmp_path / "a.tif"


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of what is encoded."""
    shapes: list[tuple[int, ...]] = []
    original = Predictor.encode

    def encode(self: Predictor, pixels: Any, *rest: Any, **options: Any) -> Any:
        shapes.append(pixels.shape)
        return original(self, pixels, *rest, **options)

    monkeypatch.setattr(Predictor, "encode", encode)
    return shapes


def embed(checkpoint: Path, *arguments: object) -> int:
    return main(["embed", *map(str, arguments), "--model", str(checkpoint), "--device", "cpu"])


def test_the_viewer_finds_what_was_embedded(
    checkpoint: Path, image: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert embed(checkpoint, image) == 0
    predictor = CachedPredictor(load_model(checkpoint, "cpu"), cache_dir="default")
    pixels = tifffile.imread(image)
    tiles = [crop for crop, _ in predictor.list_tiles(pixels.shape)]
    assert len(tiles) > 1
    assert [predictor.tier(pixels, tile) for tile in tiles] == ["disk"] * len(tiles)
    out = capsys.readouterr().out
    assert out.startswith(f"{image}  {len(tiles)} tiles: {len(tiles)} encoded, 0 cached before\n")
    assert f"the cache holds {len(tiles)} tiles, {show_bytes(ZarrStore(folder).nbytes)}, in {folder}" in out


def test_it_goes_on_where_it_was(
    checkpoint: Path,
    image: Path,
    folder: Path,
    encoded: list[tuple[int, ...]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert embed(checkpoint, image) == 0
    count = len(encoded)
    next(folder.glob("*.zip")).unlink()
    image.rename(image.with_name("b.tif"))  # looked up by content
    assert embed(checkpoint, image.with_name("b.tif")) == 0
    assert len(encoded) == count + 1
    assert f"{count} tiles: 1 encoded, {count - 1} cached before" in capsys.readouterr().out


def test_ctrl_c_keeps_what_is_done(
    checkpoint: Path,
    image: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    original = Predictor.encode
    calls = []

    def encode(self: Predictor, *arguments: Any, **options: Any) -> Any:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(arguments)
        return original(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "encode", encode)
        assert embed(checkpoint, image) == 130
    assert len(ZarrStore(folder)) == 2
    assert "interrupted; 2 tiles in the cache. The same command goes on" in capsys.readouterr().err
    assert embed(checkpoint, image) == 0
    assert ", 2 cached before" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["tif", "zarr"])
def test_stacks_plane_by_plane(
    kind: str, checkpoint: Path, tmp_path: Path, encoded: list[tuple[int, ...]]
) -> None:
    stack = np.random.default_rng(1).integers(0, 200, (3, 50, 60)).astype(np.uint8)
    path = tmp_path / f"s.{kind}"
    if kind == "tif":
        tifffile.imwrite(path, stack, photometric="minisblack", metadata={"axes": "ZYX"})
    else:
        zarr.create_array(path, data=stack, chunks=(1, 25, 30))
    assert embed(checkpoint, path) == 0
    assert encoded == [(50, 60)] * 3
    predictor = CachedPredictor(load_model(checkpoint, "cpu"), cache_dir="default")
    assert [predictor.tier(plane) for plane in stack] == ["disk"] * 3


def test_settings_are_those_of_the_viewer(checkpoint: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 200, (50, 60, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "c.tif", image, photometric="rgb")
    assert embed(checkpoint, tmp_path / "c.tif", "--object-size", 20, "--channels", "2,0") == 0
    predictor = CachedPredictor(load_model(checkpoint, "cpu"), cache_dir="default")
    assert predictor.tier(image) is None
    chosen = predictor.with_settings(EncodeSettings(object_size=20.0, channels=(2, 0)))
    assert chosen.tier(image) == "disk"


def test_the_cache_is_the_one_of_the_dock(
    checkpoint: Path, image: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = CacheChoice(folder=str(tmp_path / "chosen"))
    SettingsFile().save(Settings(), Settings(cache=cache, percentiles=(2.0, 98.0)))
    assert embed(checkpoint, image) == 0
    settings = EncodeSettings(percentiles=(2.0, 98.0))
    predictor = CachedPredictor(load_model(checkpoint, "cpu"), cache_dir=cache.folder, settings=settings)
    pixels = tifffile.imread(image)
    tiles = [crop for crop, _ in predictor.list_tiles(pixels.shape)]
    assert [predictor.tier(pixels, tile) for tile in tiles] == ["disk"] * len(tiles)
    assert not folder.exists()
    capsys.readouterr()
    assert main(["cache"]) == 0
    assert capsys.readouterr().out.startswith(f"{len(tiles)} tiles, ")
    assert main(["cache", "--cache-dir", str(folder)]) == 0
    assert capsys.readouterr().out == f"0 tiles, 0 bytes in {folder}\n"


def test_room_and_use_of_the_disk_are_those_of_the_dock(
    checkpoint: Path, image: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert embed(checkpoint, image) == 0
    size = ZarrStore(folder).nbytes
    assert main(["cache", "--clear"]) == 0
    capsys.readouterr()
    SettingsFile().save(Settings(), Settings(cache=CacheChoice(on_disk=False, disk_bytes=int(0.6 * size))))
    assert embed(checkpoint, image) == 0
    assert ZarrStore(folder).nbytes <= 0.6 * size
    err = capsys.readouterr().err
    assert "fitted into the cache" in err
    assert "the dock keeps nothing on the disk (section Cache), so it will not find this" in err


def test_a_bad_file_does_not_stop_the_others(
    checkpoint: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.tif").write_bytes(b"II*\0 but no more")
    assert embed(checkpoint, tmp_path / "bad.tif", image) == 2
    captured = capsys.readouterr()
    assert "bad.tif: " in captured.err
    assert "1 of 2 files failed" in captured.err
    assert captured.out.startswith(str(image))


def test_a_cache_that_cannot_be_written(
    checkpoint: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert embed(checkpoint, image, image, "--cache-dir", tmp_path / "file" / "cache") == 2
    assert "error: Cannot keep embeddings in" in capsys.readouterr().err


def test_it_says_when_not_everything_fits(
    checkpoint: Path, image: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert embed(checkpoint, image) == 0
    size = ZarrStore(folder).nbytes / 10**9
    assert main(["cache", "--clear"]) == 0
    assert embed(checkpoint, image, "--cache-size", 0.6 * size) == 0
    assert "fitted into the cache" in capsys.readouterr().err
    assert ZarrStore(folder).nbytes <= 0.6 * size * 10**9


@pytest.mark.parametrize(
    "arguments",
    [["--object-size", "0"], ["--cache-size", "big"], ["--object-size", "nan"]],
    ids=["size 0", "no number", "nan"],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", "a.tif", *arguments]) == 2
    assert "expected a number above 0" in capsys.readouterr().err


def test_showing_and_clearing_the_cache(
    checkpoint: Path, image: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache"]) == 0
    assert capsys.readouterr().out == f"0 tiles, 0 bytes in {folder}\n"
    assert embed(checkpoint, image) == 0
    count, size = len(ZarrStore(folder)), ZarrStore(folder).nbytes
    capsys.readouterr()
    assert main(["cache", "--cache-dir", str(tmp_path / "elsewhere"), "--clear"]) == 0
    assert main(["cache"]) == 0
    assert main(["cache", "--clear"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"0 tiles, 0 bytes deleted from {tmp_path / 'elsewhere'}",
        f"{count} tiles, {show_bytes(size)} in {folder}",
        f"{count} tiles, {show_bytes(size)} deleted from {folder}",
    ]
    assert len(ZarrStore(folder)) == 0


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1500, "1.5 kB"),
        (2_000_000, "2.0 MB"),
        (12_340_000_000, "12.3 GB"),
    ],
)
def test_sizes_to_read(count: int, text: str) -> None:
    assert show_bytes(count) == text

"""Wheel and sdist: they build, hold what they must and nothing else, and work far from the source tree."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "napari_sam"
BUNDLED = SOURCE / "weights" / "nuclei.safetensors"
LARGEST_CHECKPOINT = 25 * 2**20  # bytes; what comes in the box must stay a quick download

pytestmark = pytest.mark.slow


def _run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel, built from the sdist as a stranger would, and the sdist."""
    out = tmp_path_factory.mktemp("dist")
    # The build may leave nothing in the tree and needs no network: the build backend is already here.
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    [wheel], [sdist] = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def wheel_names(distributions) -> set[str]:
    with zipfile.ZipFile(distributions[0]) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def sdist_names(distributions) -> set[str]:
    with tarfile.open(distributions[1]) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def test_twine_accepts_both(distributions):
    out = _run(
        sys.executable, "-m", "twine", "check", "--strict", *distributions, cwd=distributions[0].parent
    )
    assert out.count("PASSED") == 2


def test_wheel_holds_exactly_the_package(wheel_names):
    expected = {
        f"napari_sam/{path.relative_to(SOURCE).as_posix()}"
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"napari_sam/napari.yaml", "napari_sam/py.typed", "napari_sam/types.py"} <= expected
    assert {name for name in wheel_names if ".dist-info/" not in name} == expected


def test_wheel_names_its_manifest_command_and_licence(distributions):
    with zipfile.ZipFile(distributions[0]) as archive:
        [info] = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
        metadata = archive.read(f"{info}/METADATA").decode()
        licence = archive.read(f"{info}/licenses/LICENSE").decode()
    assert "[napari.manifest]\nnapari-sam-workbench = napari_sam:napari.yaml" in entry_points
    assert "[console_scripts]\nnapari-sam = napari_sam.cli.main:main" in entry_points
    assert "Classifier: Framework :: napari\n" in metadata
    assert "napari_sam developers" in licence


def test_no_qt_binding_and_no_napari_without_asking_for_it(distributions):
    with zipfile.ZipFile(distributions[0]) as archive:
        [path] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = archive.read(path).decode().split("\n\n")[0].splitlines()
    core = [line for line in lines if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert core
    assert not [line for line in core if any(name in line.lower() for name in ("qt", "pyside", "napari"))]


@pytest.mark.parametrize(
    "name",
    [
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "Makefile",
        "src/napari_sam/napari.yaml",
        "src/napari_sam/py.typed",
        "tests/test_packaging.py",
    ],
)
def test_sdist_holds_what_building_and_testing_need(name, sdist_names):
    assert name in sdist_names


def test_sdist_holds_no_leftovers(sdist_names):
    leftovers = ("__pycache__", ".venv", "runs/", ".git/", "dist/", ".mypy_cache", ".pytest_cache")
    assert not [name for name in sdist_names if name.startswith(leftovers) or "__pycache__" in name]


@pytest.mark.skipif(not BUNDLED.exists(), reason="the source tree has no bundled checkpoint")
def test_bundled_checkpoint_travels_with_its_model_card(wheel_names, sdist_names):
    assert BUNDLED.stat().st_size <= LARGEST_CHECKPOINT
    card = BUNDLED.with_suffix(".md")
    assert card.read_text(encoding="utf-8").startswith("#")
    for path in (BUNDLED, card):
        assert f"napari_sam/weights/{path.name}" in wheel_names
        assert f"src/napari_sam/weights/{path.name}" in sdist_names


@pytest.fixture(scope="module")
def installed(distributions, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """An environment of its own with the wheel, and an unrelated folder to stand in.

    The dependencies are lent by the environment that runs the tests, as copying torch would take minutes. Its
    own editable install of the package is not lent: the .pth file that makes it is not read from there.
    """
    home = tmp_path_factory.mktemp("installed")
    venv.create(home / "env", with_pip=False, symlinks=os.name != "nt")
    scripts = home / "env" / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / Path(sys.executable).name
    if not python.exists():
        python = scripts / "python"
    packages = Path(
        _run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip()
    )
    _run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "-qq"),
        *("--disable-pip-version-check", distributions[0]),
        cwd=home,
    )
    lent = [path for path in [*site.getsitepackages(), site.getusersitepackages()] if Path(path).is_dir()]
    # A plain line in a .pth file appends to sys.path, so the wheel itself is found first.
    (packages / "lent.pth").write_text("\n".join(lent), encoding="utf-8")
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    yield scripts, elsewhere
    shutil.rmtree(home, ignore_errors=True)


def test_installed_package_is_the_wheel_and_finds_its_files(installed):
    scripts, elsewhere = installed
    code = (
        "import napari_sam, importlib.resources as r\n"
        "root = r.files('napari_sam')\n"
        "assert (root / 'napari.yaml').is_file() and (root / 'py.typed').is_file()\n"
        "print(napari_sam.__version__, napari_sam.Prompts(points=[(1, 2)]).extent, napari_sam.__file__)"
    )
    out = _run(scripts / "python", "-c", code, cwd=elsewhere)
    assert out.startswith("0.1.0 (1.0, 2.0, 1.0, 2.0) ")
    assert str(scripts.parent) in out
    assert str(ROOT) not in out


def test_installed_manifest_is_valid(installed):
    scripts, elsewhere = installed
    code = (
        "from npe2 import PluginManifest\n"
        "print(PluginManifest.from_distribution('napari-sam-workbench').display_name)"
    )
    assert _run(scripts / "python", "-c", code, cwd=elsewhere).strip() == "napari SAM"


def test_installed_command_shows_its_help(installed):
    scripts, elsewhere = installed
    out = _run(scripts / "napari-sam", "--help", cwd=elsewhere)
    for command in ("segment", "models", "evaluate", "train"):
        assert command in out


@pytest.mark.skipif(not BUNDLED.exists(), reason="the source tree has no bundled checkpoint")
def test_installed_model_segments_an_image(installed):
    scripts, elsewhere = installed
    code = (
        "import napari_sam as ns\n"
        "from napari_sam.sample_data import make_nuclei\n"
        "image, truth = make_nuclei((128, 128), count=6, seed=1)\n"
        "labels = ns.segment_image(image, ns.load_model('nuclei', device='cpu'))\n"
        "print(labels.shape, labels.dtype, int(labels.max()) > 0)"
    )
    assert _run(scripts / "python", "-c", code, cwd=elsewhere).strip() == "(128, 128) int32 True"

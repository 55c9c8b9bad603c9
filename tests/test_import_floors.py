"""Each room imports only the third-party packages that the house allows it (docs/architecture.md).

import-linter keeps the floors apart and forbids by name; this is the other half, a list of what is allowed,
so that a new dependency is a decision and not an accident. Imports inside functions count too.
"""

from __future__ import annotations

import ast
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import napari_sam

SOURCE = Path(napari_sam.__file__).parent

ALLOWED = {
    "__init__": set(),
    "errors": set(),
    "types": {"numpy"},
    "sample_data": {"numpy", "scipy", "skimage"},
    "sample_series": {"numpy", "scipy"},
    "modeling": {"torch"},
    "inference": {
        "filelock",
        "numcodecs",
        "numpy",
        "openvino",
        "platformdirs",
        "pooch",
        "requests",
        "safetensors",
        "scipy",
        "skimage",
        "torch",
        "xxhash",
        "zarr",
    },
    "training": {"numpy", "scipy", "skimage", "torch"},
    "evaluation": {"numpy", "scipy"},
    "stacks": {
        "distributed",
        "filelock",
        "imageio",
        "numpy",
        "ome_zarr",
        "pycocotools",
        "roifile",
        "scipy",
        "skimage",
        "tifffile",
        "torch",
        "trackastra",
        "xxhash",
        "zarr",
    },
    "session": {"filelock", "numpy", "platformdirs", "psygnal", "scipy", "skimage"},
    "viewer": {"numpy", "napari", "psygnal"},
    "widgets": {"numpy", "napari", "qtpy", "psygnal"},
    "cli": {"numpy", "torch", "tqdm", "zarr"},
}

ROOMS = sorted(
    path.stem if path.suffix == ".py" else path.name
    for path in SOURCE.iterdir()
    if path.suffix == ".py" or (path / "__init__.py").exists()
)


def _third_party(code: str) -> set[str]:
    """Top-level names of the packages that ``code`` imports, less the standard library and napari_sam."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module or "")
    return {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"napari_sam"}


def _of_room(room: str) -> dict[str, set[str]]:
    path = SOURCE / room
    paths = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    return {str(p.relative_to(SOURCE)): _third_party(p.read_text(encoding="utf-8")) for p in paths}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        pytest.param("import numpy.linalg as la", {"numpy"}, id="submodule"),
        pytest.param("def f():\n    from torch.nn import functional", {"torch"}, id="inside-a-function"),
        pytest.param("import os, json\nfrom napari_sam.types import Prompts", set(), id="nothing-foreign"),
        pytest.param("from . import sibling", set(), id="relative"),
    ],
)
def test_imports_are_read_from_source(code, expected):
    assert _third_party(code) == expected


@pytest.mark.parametrize("room", ROOMS, ids=str)
def test_room_imports_only_what_it_may(room):
    assert room in ALLOWED, f"a new room: add {room} here and to the contracts in pyproject.toml"
    used = _of_room(room)
    excess = {path: names - ALLOWED[room] for path, names in used.items() if names - ALLOWED[room]}
    assert not excess
    assert set().union(*used.values()) == ALLOWED[room], "what no file imports any more goes from the list"


def test_every_import_is_a_declared_dependency():
    """What the viewer and the widgets import is in the extra ``napari``, all else in the core.

    The engine and the stacks have an extra each for what they can do without.
    """
    declared = [Requirement(text) for text in requires("napari-sam-workbench")]
    core = {r.name.lower() for r in declared if r.marker is None}
    extras = {
        extra: {r.name.lower() for r in declared if r.marker and r.marker.evaluate({"extra": extra})}
        for extra in ("napari", "openvino", "formats", "cluster", "trackastra")
    }
    rooms = {
        "viewer": core | extras["napari"],
        "widgets": core | extras["napari"],
        "inference": core | extras["openvino"],
        "stacks": core | extras["formats"] | extras["cluster"] | extras["trackastra"],
    }
    distributions = packages_distributions()
    for room in ROOMS:
        wanted = set().union(*_of_room(room).values())
        # what is not installed has the name of its distribution
        homes = {name: {d.lower() for d in distributions.get(name, [name])} for name in wanted}
        allowed = rooms.get(room, core)
        undeclared = {name for name, home in homes.items() if not home & allowed}
        assert not undeclared, f"{room} imports {undeclared}"

"""The names that users' scripts import: they exist, keep their parameters, and cost nothing to import."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import napari_sam

ROOT = Path(__file__).parents[1]

# name -> (its module, the parameters that scripts may rely on, in order)
PROMISED = {
    "load_model": ("napari_sam.inference.checkpoints", ["name_or_path", "device"]),
    "CachedPredictor": ("napari_sam.inference.cached_predictor", ["model", "cache_dir"]),
    "segment_image": ("napari_sam.inference.segment_image", ["image", "model", "method"]),
    "segment_stack": ("napari_sam.stacks.segment_stack", ["stack", "model", "axis", "method"]),
    "evaluate_labels": ("napari_sam.evaluation.matching", ["true", "predicted"]),
    "Prompts": ("napari_sam.types", ["points", "labels", "box", "mask"]),
    "ObjectMask": ("napari_sam.types", ["mask", "origin", "predicted_iou", "stability_score"]),
    "Progress": ("napari_sam.types", ["done", "total", "description"]),
}
ERRORS = ["PromptError", "ImageError", "CheckpointError", "CacheError"]


@pytest.mark.parametrize("name", PROMISED, ids=str)
def test_name_lives_where_promised_with_the_promised_parameters(name):
    module, parameters = PROMISED[name]
    found = getattr(napari_sam, name)
    assert found.__module__ == module
    assert list(inspect.signature(found).parameters)[: len(parameters)] == parameters


def test_predictor_has_the_documented_methods():
    methods = {"predict": ["self", "image", "prompts"], "predict_many": ["self", "image", "prompts"]}
    for name, parameters in methods.items():
        method = getattr(napari_sam.CachedPredictor, name)
        assert list(inspect.signature(method).parameters)[:3] == parameters


@pytest.mark.parametrize("name", ERRORS, ids=str)
def test_errors_are_sam_errors_and_no_runtime_errors(name):
    error = getattr(napari_sam, name)
    assert issubclass(error, napari_sam.SamError)
    assert not issubclass(error, RuntimeError)  # napari's generator workers would swallow it


def test_all_lists_exactly_what_is_promised():
    assert sorted(napari_sam.__all__) == sorted(["__version__", "SamError", *PROMISED, *ERRORS])
    assert dir(napari_sam) == sorted(napari_sam.__all__)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'load_modle'"):
        _ = napari_sam.load_modle


def test_version_is_that_of_pyproject():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert napari_sam.__version__ == pyproject["project"]["version"]


QT = ["qtpy", "PyQt5", "PyQt6", "PySide2", "PySide6", "superqt", "magicgui"]
IMPORTS = [
    pytest.param(
        "napari_sam", ["torch", "numpy", "scipy", "skimage", "napari", "psygnal", *QT], id="package"
    ),
    pytest.param("napari_sam.types", ["torch", "scipy", "skimage", "napari", "psygnal", *QT], id="types"),
    pytest.param("napari_sam.sample_data", ["torch", "napari", *QT], id="sample-data"),
    pytest.param("napari_sam.modeling", ["napari", "psygnal", "scipy", "skimage", *QT], id="modeling"),
    pytest.param("napari_sam.inference", ["napari", "psygnal", *QT], id="inference"),
    pytest.param("napari_sam.inference.segment_image", ["napari", "psygnal", *QT], id="segment_image"),
    pytest.param("napari_sam.inference.cached_predictor", ["napari", "psygnal", *QT], id="cached_predictor"),
    pytest.param("napari_sam.evaluation.matching", ["torch", "napari", *QT], id="evaluation"),
    pytest.param("napari_sam.training", ["napari", "psygnal", *QT], id="training"),
    pytest.param("napari_sam.session", ["torch", "napari", *QT], id="session"),
    pytest.param("napari_sam.cli.main", ["napari", "torch", *QT], id="cli"),
    pytest.param("napari_sam.viewer", ["torch"], id="viewer"),
    pytest.param("napari_sam.widgets.dock", ["torch", "zarr"], id="widgets"),
]


@pytest.mark.parametrize(("module", "unwanted"), IMPORTS)
def test_import_loads_nothing_heavy(module, unwanted):
    """In a fresh interpreter, what the import really loads; the import contracts only read the source."""
    code = f"import {module}, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert module in loaded
    assert loaded.isdisjoint(unwanted), loaded.intersection(unwanted)

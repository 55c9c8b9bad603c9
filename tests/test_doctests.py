from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import napari_sam

# The viewer's floors need napari, whose import costs more than their examples could show.
WITHOUT_EXAMPLES = ("napari_sam.viewer", "napari_sam.widgets")
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(napari_sam.__path__, "napari_sam.")
    if not module.name.startswith(WITHOUT_EXAMPLES)
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    found = [test for name in MODULES for test in finder.find(importlib.import_module(name))]
    assert sum(len(test.examples) for test in found) >= 10

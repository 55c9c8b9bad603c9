"""napari.yaml: what napari will find, and that each command leads to code that works."""

from __future__ import annotations

from importlib import import_module
from importlib.resources import files

import pytest
from npe2 import PluginManifest
from packaging.version import Version

PLUGIN = "napari-sam-workbench"
SAMPLE_SHAPES = {
    "nuclei_2d": (400, 480),
    "nuclei_3d": (20, 200, 240),
    "dividing_nuclei": (24, 220, 260),
    "stained_tissue": (400, 480, 3),
    "immunohistochemistry": (512, 512, 3),
    "cell": (660, 550),
    "coins": (303, 384),
}


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_file(str(files("napari_sam") / "napari.yaml"))


def test_napari_discovers_the_manifest_through_the_installed_package(manifest):
    found = PluginManifest.from_distribution(PLUGIN)
    assert found.name == manifest.name == PLUGIN
    assert found.contributions == manifest.contributions
    assert Version(found.package_version) >= Version("0.1.0")


def test_every_command_leads_to_something_callable(manifest):
    commands = manifest.contributions.commands
    found = manifest.contributions
    used = [
        c.command
        for group in (found.widgets, found.sample_data, found.readers, found.writers)
        for c in group or ()
    ]
    assert {command.id for command in commands} >= set(used)
    for command in commands:
        assert command.id.startswith(f"{PLUGIN}.")
        module, name = command.python_name.split(":")
        assert callable(getattr(import_module(module), name)), command.id


def test_the_widgets_are_offered_as_sam_and_sam_batch(manifest):
    names = {command.id: command.python_name for command in manifest.contributions.commands}
    offered = {widget.display_name: names[widget.command] for widget in manifest.contributions.widgets}
    assert offered == {
        "SAM": "napari_sam.widgets.dock:SamWidget",
        "SAM batch": "napari_sam.widgets.batch_panel:BatchWidget",
    }


def test_every_sample_is_listed_once(manifest):
    keys = [sample.key for sample in manifest.contributions.sample_data]
    assert sorted(keys) == sorted(SAMPLE_SHAPES)
    names = [sample.display_name for sample in manifest.contributions.sample_data]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("key", SAMPLE_SHAPES, ids=str)
def test_open_sample_adds_one_image_layer(key, manifest, npe2pm):
    """The way the File menu goes, without a window."""
    from napari.components import ViewerModel

    viewer = ViewerModel()
    with npe2pm.tmp_plugin(manifest=manifest):
        viewer.open_sample(PLUGIN, key)
    [layer] = viewer.layers
    assert type(layer).__name__ == "Image"
    assert layer.data.shape == SAMPLE_SHAPES[key]
    assert layer.rgb == (SAMPLE_SHAPES[key][-1] == 3)

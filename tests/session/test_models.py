"""The models to choose from and their downloads, with a fake engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from napari_sam.errors import DownloadError
from napari_sam.session.models import Download
from napari_sam.session.requests import ModelChoice
from napari_sam.types import Progress, Prompts

if TYPE_CHECKING:
    from conftest import World

HUGE = "Segment Anything (ViT-H)"


@pytest.fixture
def listed(world: World) -> World:
    world.session.list_models()
    return world


def click(world: World) -> None:
    world.session.set_prompts(Prompts(points=[(20, 20)]))


def test_a_model_that_is_not_here_is_not_tried(listed: World) -> None:
    session = listed.session
    session.set_model(ModelChoice("vit_h"))
    message = f"{HUGE} is not on this computer yet: download it (2565 MB) first."
    assert session.models.failure == message
    assert listed.status[-1] == message
    click(listed)
    session.accept()
    session.segment_everything()
    assert "vit_h" not in listed.engine.tried
    assert listed.messages == [f"Nothing to accept: {message}", f"Nothing was segmented: {message}"]


def test_a_download_answers_the_prompts(listed: World) -> None:
    session = listed.session
    seen: list[Any] = []
    session.models.download_changed.connect(lambda name: seen.append(session.models.download_of(name)))
    session.set_model(ModelChoice("vit_h"))
    click(listed)
    assert session.preview is None
    session.models.download("vit_h")
    assert [download.progress for download in seen] == [
        Progress(0, 2565, "Connecting"),
        *(Progress(step * 1000, 2565, "Downloading vit_h") for step in range(3)),
        None,
    ]
    assert session.models.failure is None
    assert listed.engine.tried[-1] == "vit_h"
    assert session.preview is not None
    assert session.models.info("vit_h").is_here
    session.models.download("vit_h")
    assert len(seen) == 5, "it is here already"


def test_another_model_is_used_during_a_download(lazy_world: World) -> None:
    world, session = lazy_world, lazy_world.session
    session.list_models()
    world.runner.run()
    session.set_model(ModelChoice("vit_h"))
    session.models.download("vit_h")
    session.models.download("vit_h")
    assert len(world.runner._queue._jobs) == 1, "twice is once"
    assert "is being downloaded" in str(session.models.failure)
    session.set_model(ModelChoice("nuclei"))
    click(world)
    world.runner.run()
    assert world.engine.tried[-1] == "nuclei"
    assert session.preview is not None
    assert session.models.info("vit_h").is_here


def test_a_download_that_fails_can_be_tried_again(listed: World) -> None:
    session = listed.session
    session.set_model(ModelChoice("vit_h"))
    listed.engine.fetch_error = DownloadError("Cannot download it: no cable.")
    session.models.download("vit_h")
    assert session.models.download_of("vit_h") == Download(error="Cannot download it: no cable.")
    assert listed.messages == [], "it is shown where the user looks"
    listed.engine.fetch_error = None
    session.models.download("vit_h")
    assert session.models.download_of("vit_h") == Download()
    assert session.models.failure is None


def test_the_failure_of_another_models_download_is_told(listed: World) -> None:
    listed.engine.fetch_error = DownloadError("Cannot download it: no cable.")
    listed.session.models.download("vit_h")
    assert listed.messages == ["Cannot download it: no cable."]


def test_a_download_is_cancelled(lazy_world: World) -> None:
    world, session = lazy_world, lazy_world.session
    session.list_models()
    world.runner.run()
    session.models.download("vit_h")
    world.runner.run(2)
    assert session.models.download_of("vit_h").progress == Progress(1000, 2565, "Downloading vit_h")
    session.models.cancel_download("vit_h")
    world.runner.run()
    assert session.models.download_of("vit_h") == Download()
    assert not session.models.info("vit_h").is_here


def test_a_file_put_there_by_hand_is_used_at_once(listed: World) -> None:
    session = listed.session
    session.set_model(ModelChoice("vit_h"))
    click(listed)
    listed.engine.fetched = True
    session.models.look_again()
    assert listed.engine.tried[-1] == "vit_h"
    assert session.preview is not None


def test_files_that_were_deleted_are_missed(listed: World) -> None:
    """vit_h was here when models were listed; loading it then fails."""
    session = listed.session
    listed.engine.fetched = True
    session.models.look_again()
    listed.engine.fetched = False
    listed.engine.load_error = DownloadError("gone")
    session.set_model(ModelChoice("vit_h"))
    assert not session.models.info("vit_h").is_here
    assert "download it" in str(session.models.failure)

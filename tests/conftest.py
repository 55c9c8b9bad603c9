"""What every test lives in: no network, no settings of the user's, one thread, no GPU unless there is one."""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

# Before anything imports them: torch on busy cores is slowest with many threads, and an empty NAPARI_CONFIG
# keeps napari from reading or writing the settings of whoever runs the tests.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["NAPARI_CONFIG"] = ""
# What whoever runs the tests has downloaded is no part of them; nothing makes this folder.
os.environ["NAPARI_SAM_MODEL_DIR"] = str(Path(__file__).parent / "no-models")
# Reference models in tests get random weights; a hub must never even be asked.
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(autouse=True)
def own_state(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nobody's unsaved work."""
    monkeypatch.setenv(
        "NAPARI_SAM_STATE_DIR", str(tmp_path_factory.getbasetemp() / f"state-{uuid.uuid4().hex}")
    )


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves the machine."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        local = self.family not in (socket.AF_INET, socket.AF_INET6) or address[0] in ("127.0.0.1", "::1")
        if not local:
            pytest.fail(f"a test tried to reach {address[0]}; tests must work offline")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Skip tests marked ``gpu`` where there is no accelerator."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA or MPS device"))

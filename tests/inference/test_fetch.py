"""Downloads from a real server, which misbehaves as servers do."""

from __future__ import annotations

import http.server
import os
import re
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xxhash

from napari_sam.errors import CheckpointError, DownloadError
from napari_sam.inference import fetch as fetch_module
from napari_sam.inference.download import Patience
from napari_sam.inference.fetch import fetch, iter_fetch, iter_fetch_file
from napari_sam.inference.registry import ModelCard, WeightFile
from napari_sam.inference.weight_files import WeightFolder, default_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = np.random.default_rng(0).bytes(2_500_000)
DIGEST = xxhash.xxh128(DATA).hexdigest()
PAUSE, KEPT = 1_200_000, 131_072 * 9
"""Where servers stop, and how much of that is on the disk: whole pieces."""
QUICK = Patience(connect=5, read=5, attempts=3, pause=0.05)


class Server(http.server.ThreadingHTTPServer):
    """Serves ``DATA``; the path says how, and ``asked`` remembers what was asked for."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []
        self.go_on = threading.Event()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what is tested."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def end_headers(self) -> None:
        """Say that the connection ends here: clients may else send the next request into its closing."""
        self.send_header("Connection", "close")
        super().end_headers()

    def do_GET(self) -> None:
        wish = self.headers.get("Range")
        kind = self.path.strip("/")
        first = not any(asked == kind for asked, _ in self.server.asked)
        self.server.asked.append((kind, wish))
        self.close_connection = True
        getattr(self, f"send_{kind}")(wish, first)

    def send_good(self, wish: str | None, first: bool) -> None:
        self._send(DATA, wish)

    def send_moved(self, wish: str | None, first: bool) -> None:
        self.send_response(302)
        self.send_header("Location", "/good")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_other(self, wish: str | None, first: bool) -> None:
        self._send(b"<html>Please log in</html>" * 100, None)

    def send_truncated(self, wish: str | None, first: bool) -> None:
        """Ends early, every time at the same place, and knows no ranges."""
        self._send(DATA, None, stop=PAUSE)

    def send_dropped(self, wish: str | None, first: bool) -> None:
        """Ends early the first time."""
        self._send(DATA, wish, stop=PAUSE if first else None)

    def send_dropped_no_range(self, wish: str | None, first: bool) -> None:
        self._send(DATA, None, stop=PAUSE if first else None)

    def send_no_length(self, wish: str | None, first: bool) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(DATA)

    def send_wrong_range(self, wish: str | None, first: bool) -> None:
        self.send_response(206)
        self.send_header("Content-Range", f"bytes 0-{len(DATA) - 1}/{len(DATA)}")
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA)

    def send_slow(self, wish: str | None, first: bool) -> None:
        """Sends a part and waits."""
        self._send(DATA, wish, pause_at=PAUSE)

    def send_busy(self, wish: str | None, first: bool) -> None:
        if first:
            self.send_error(503)
        else:
            self._send(DATA, wish)

    def send_missing(self, wish: str | None, first: bool) -> None:
        self.send_error(404)

    def send_forbidden(self, wish: str | None, first: bool) -> None:
        self.send_error(403)

    def _send(self, data: bytes, wish: str | None, stop: int | None = None, pause_at: int = 0) -> None:
        start = int(re.fullmatch(r"bytes=(\d+)-", wish)[1]) if wish else 0  # type: ignore[index]
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if wish else 200)
        if wish:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if pause_at > start:
            self.wfile.write(data[start:pause_at])
            self.wfile.flush()
            self.server.go_on.wait(30)
            start = pause_at
        self.wfile.write(data[start:stop])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.go_on.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> WeightFolder:
    return WeightFolder(tmp_path / "models", least_bytes=1000)


def make_file(server: Server, kind: str, name: str = "weights.pt") -> WeightFile:
    return WeightFile(name, server.url(kind), DIGEST, 3)


def get(file: WeightFile, folder: WeightFolder, patience: Patience = QUICK) -> Path:
    job = iter_fetch_file(file, folder, patience)
    while True:
        try:
            next(job)
        except StopIteration as stop:
            path: Path = stop.value
            return path


def names(folder: WeightFolder) -> list[str]:
    return sorted(path.name for path in folder.path.iterdir() if not path.name.startswith("."))


# ---- servers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "ranges"),
    [
        pytest.param("good", [None], id="good"),
        pytest.param("moved", [None, None], id="redirected"),
        pytest.param("no_length", [None], id="says no length"),
        pytest.param("dropped", [None, f"bytes={KEPT}-"], id="connection lost, resumed"),
        pytest.param("dropped_no_range", [None, f"bytes={KEPT}-"], id="connection lost, knows no ranges"),
        pytest.param("busy", [None, None], id="busy for a moment"),
    ],
)
def test_a_file_arrives(kind: str, ranges: list[str | None], server: Server, folder: WeightFolder) -> None:
    path = get(make_file(server, kind), folder)
    assert path == folder.path / "weights.pt"
    assert path.read_bytes() == DATA
    assert [wish for _, wish in server.asked] == ranges
    assert names(folder) == ["index.json", "weights.pt"]
    get(make_file(server, kind), WeightFolder(folder.path))
    assert len(server.asked) == len(ranges), "it was downloaded again"


@pytest.mark.parametrize(
    ("kind", "message", "left"),
    [
        pytest.param("missing", "answered 404 Not Found", [], id="404"),
        pytest.param("forbidden", "answered 403", [], id="403"),
        pytest.param("truncated", "cut off; what has arrived is kept", ["weights.pt.*part"], id="truncated"),
        pytest.param("other", f"xxh128 should be {DIGEST}, got .* of 2600 bytes", [], id="another file"),
    ],
)
def test_a_file_does_not_arrive(
    kind: str, message: str, left: list[str], server: Server, folder: WeightFolder
) -> None:
    file = make_file(server, kind)
    with pytest.raises(DownloadError, match=message) as caught:
        get(file, folder)
    for part in (file.url, str(folder.path), "under any name"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(names(folder)) == len(left)
    assert all(re.match(pattern, name) for pattern, name in zip(left, names(folder), strict=True))


def test_nobody_listens(folder: WeightFolder) -> None:
    file = WeightFile("w.pt", "http://127.0.0.1:9/w.pt", DIGEST, 1)
    with pytest.raises(DownloadError, match=r"the server cannot be reached\. Behind"):
        get(file, folder)


def test_a_server_that_stops_sending_is_given_up(server: Server, folder: WeightFolder) -> None:
    with pytest.raises(DownloadError, match=r"did not answer in time|cut off"):
        get(make_file(server, "slow"), folder, Patience(connect=1, read=0.2, attempts=1, pause=0.01))


@pytest.mark.parametrize(
    "there",
    [
        pytest.param(DATA[:700_000], id="the first part"),
        pytest.param(b"x" * 700_000, id="of another file"),
        pytest.param(DATA, id="all of it"),
        pytest.param(DATA + b"more", id="more than all"),
    ],
)
def test_what_is_left_of_an_earlier_download(there: bytes, server: Server, folder: WeightFolder) -> None:
    file = make_file(server, "good")
    folder.make()
    part = folder.path / f"weights.pt.{DIGEST[:8]}.part"
    part.write_bytes(there)
    assert get(file, folder).read_bytes() == DATA
    assert server.asked[0] == ("good", f"bytes={len(there)}-")
    assert names(folder) == ["index.json", "weights.pt"]


def test_a_server_that_sends_another_range_is_not_believed(server: Server, folder: WeightFolder) -> None:
    folder.make()
    (folder.path / f"weights.pt.{DIGEST[:8]}.part").write_bytes(DATA[:1000])
    with pytest.raises(DownloadError, match="cut off"):
        get(make_file(server, "wrong_range"), folder)


# ---- cancelled, killed, at the same time -------------------------------------------------------------------


def test_cancelled_and_resumed(server: Server, folder: WeightFolder) -> None:
    """Cancelled while the server says nothing; the next one goes on where it was."""
    file = make_file(server, "slow")
    job = iter_fetch_file(file, folder, Patience())
    end = time.monotonic() + 20
    while next(job).done < 1:
        assert time.monotonic() < end
    job.close()
    assert names(folder) == [f"weights.pt.{DIGEST[:8]}.part"]
    server.go_on.set()
    assert get(file, folder).read_bytes() == DATA
    assert server.asked[-1] == ("slow", f"bytes={KEPT}-")


def test_two_at_once_download_once(server: Server, folder: WeightFolder) -> None:
    file = make_file(server, "slow")
    first, second = (
        iter_fetch_file(file, folder, QUICK),
        iter_fetch_file(file, WeightFolder(folder.path), QUICK),
    )
    while next(first).done < 1:
        assert server.asked in ([], [("slow", None)])
    assert [next(second).description for _ in range(3)] == ["Waiting for another download of weights.pt"] * 3
    server.go_on.set()
    done = []
    for job in (first, second):
        try:
            while True:
                next(job)
        except StopIteration as stop:
            done.append(stop.value)
    assert done == [folder.path / "weights.pt"] * 2
    assert len(server.asked) == 1


@pytest.mark.slow
def test_two_processes_at_once(server: Server, folder: WeightFolder) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from napari_sam.inference.fetch import fetch\n"
        "from napari_sam.inference.registry import ModelCard, WeightFile\n"
        "from napari_sam.inference.weight_files import WeightFolder\n"
        f"file = WeightFile('weights.pt', {server.url('dropped')!r}, {DIGEST!r}, 3)\n"
        f"folder = WeightFolder(Path({str(folder.path)!r}), 1000)\n"
        "print(fetch(ModelCard('m', 'M', 'm', 'CC0-1.0', weights=file), folder)[0].stat().st_size)\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    assert [process.communicate(timeout=60)[0] for process in processes] == [f"{len(DATA)}\n"] * 2
    assert [wish for _, wish in server.asked] == [None, f"bytes={KEPT}-"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_killed_half_way_and_resumed(server: Server, folder: WeightFolder) -> None:
    file = make_file(server, "slow")
    code = (
        "from pathlib import Path\n"
        "from napari_sam.inference.fetch import iter_fetch_file\n"
        "from napari_sam.inference.registry import WeightFile\n"
        "from napari_sam.inference.weight_files import WeightFolder\n"
        f"file = WeightFile('weights.pt', {file.url!r}, {DIGEST!r}, 3)\n"
        f"for step in iter_fetch_file(file, WeightFolder(Path({str(folder.path)!r}))):\n"
        "    print(step.done, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 1:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    process.stdout.close()
    assert names(folder) == [f"weights.pt.{DIGEST[:8]}.part"]
    server.go_on.set()
    assert get(file, folder).read_bytes() == DATA
    assert server.asked[-1] == ("slow", f"bytes={KEPT}-")


# ---- folders ----------------------------------------------------------------------------------------------


def test_the_folder_is_the_users_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NAPARI_SAM_MODEL_DIR", str(tmp_path / "mine"))
    assert default_folder() == tmp_path / "mine"
    monkeypatch.delenv("NAPARI_SAM_MODEL_DIR")
    assert default_folder().parts[-2:] == ("napari-sam", "models")


def test_a_file_put_there_by_hand_is_recognised(server: Server, folder: WeightFolder) -> None:
    folder.make()
    (folder.path / "download (3)").write_bytes(DATA)
    (folder.path / "holiday.jpg").write_bytes(DATA[:5000])
    (folder.path / "notes.txt").write_bytes(b"small")
    card = ModelCard("m", "M", "m", "CC0-1.0", weights=make_file(server, "missing"))
    assert not folder.has(card)
    assert fetch(card, folder) == (folder.path / "download (3)",)
    assert folder.has(card)
    assert server.asked == []
    again = WeightFolder(folder.path, 1000)
    assert again.has(card), "what was hashed is remembered"
    assert list(again.iter_scan()) == []


def test_a_file_that_was_changed_is_another(server: Server, folder: WeightFolder) -> None:
    file = make_file(server, "good")
    path = get(file, folder)
    path.write_bytes(DATA[:-1] + b"!")
    os.utime(path, ns=(1, 1))
    assert folder.find(file) is None
    assert get(file, folder).read_bytes() == DATA
    path.unlink()
    assert folder.find(file) is None


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"weights.pt": {"size": 3}}', '{"weights.pt": 3}'])
def test_a_damaged_index_is_made_anew(content: str, server: Server, folder: WeightFolder) -> None:
    file = make_file(server, "good")
    path = get(file, folder)
    (folder.path / "index.json").write_text(content)
    again = WeightFolder(folder.path, 1000)
    assert again.find(file) is None
    assert get(file, again) == path
    assert len(server.asked) == 1


def test_a_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    folder = WeightFolder(tmp_path / "file" / "models")
    with pytest.raises(CheckpointError, match=r"Cannot write to the folder of models.*NAPARI_SAM_MODEL_DIR"):
        get(make_file(server, "good"), folder)


def test_no_space(server: Server, folder: WeightFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10_000_000}))
    with pytest.raises(DownloadError, match=r"Expected 53 MB of free space .* got 10 MB; make room"):
        get(make_file(server, "good"), folder)
    assert server.asked == []


def test_progress_counts_the_megabytes_of_all_files(server: Server, folder: WeightFolder) -> None:
    other = np.random.default_rng(1).bytes(1_200_000)
    folder.make()
    (folder.path / "decoder").write_bytes(other)
    decoder = WeightFile("d.pt", server.url("missing"), xxhash.xxh128(other).hexdigest(), 1)
    card = ModelCard("m", "M", "m", "CC0-1.0", weights=make_file(server, "slow"), decoder=decoder)
    threading.Timer(0.3, server.go_on.set).start()
    steps = list(iter_fetch(card, folder, QUICK))
    assert {step.total for step in steps if step.description.startswith("Downloading")} == {4}
    done = [step.done for step in steps if step.description.startswith(("Downloading", "Checking"))]
    assert done == sorted(done)
    assert done[-1] in (2, 3)
    assert any(step.description.startswith("Checking weights.pt") for step in steps)


def test_the_proxy_of_the_environment_is_asked(
    server: Server, folder: WeightFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server plays the proxy: it is asked for a host that does not exist."""
    monkeypatch.setenv("http_proxy", server.url(""))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setattr(
        Handler, "path", property(lambda self: "/good", lambda self, value: None), raising=False
    )
    file = WeightFile("weights.pt", "http://weights.invalid/w.pt", DIGEST, 3)
    assert get(file, folder).read_bytes() == DATA

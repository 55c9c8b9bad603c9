from __future__ import annotations

import logging
import os
import runpy
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from napari_sam.errors import CacheError
from napari_sam.inference.cache import EmbeddingCache
from napari_sam.inference.zarr_store import ZarrStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam.inference.embedding import ImageEmbedding

_names = runpy.run_path(str(Path(__file__).with_name("stored_embeddings.py")))
make_embedding: Callable[..., ImageEmbedding] = _names["make_embedding"]
equal: Callable[[ImageEmbedding, ImageEmbedding], bool] = _names["equal"]


@pytest.fixture
def store(tmp_path: Path) -> ZarrStore:
    return ZarrStore(tmp_path / "cache")


def test_memory_then_disk(store: ZarrStore) -> None:
    cache = EmbeddingCache(1 << 20, store)
    assert (cache.get("a"), cache.tier("a"), "a" in cache) == (None, None, False)
    embedding = make_embedding("a")
    cache.put("a", embedding)
    assert (cache.tier("a"), cache.get("a")) == ("memory", embedding)
    cache.flush()
    reopened = EmbeddingCache(1 << 20, store)
    assert (reopened.tier("a"), "a" in reopened, len(reopened)) == ("disk", True, 0)
    found = reopened.get("a")
    assert found is not None
    assert equal(found, embedding)
    assert (reopened.tier("a"), reopened.get("a")) == ("memory", found)


def test_memory_only() -> None:
    cache = EmbeddingCache(1 << 20)
    cache.put("a", make_embedding("a"))
    cache.flush()
    assert (cache.tier("a"), cache.tier("b"), cache.get("b"), cache.disk_error) == (
        "memory",
        None,
        None,
        None,
    )


def test_what_memory_drops_is_on_disk(store: ZarrStore) -> None:
    embeddings = {key: make_embedding(key) for key in "abcdef"}
    cache = EmbeddingCache(int(2.5 * embeddings["a"].nbytes), store)
    for key, embedding in embeddings.items():
        cache.put(key, embedding)
    cache.flush()
    assert [cache.tier(key) for key in "abcdef"] == ["disk"] * 4 + ["memory"] * 2
    for key, embedding in embeddings.items():
        found = cache.get(key)
        assert found is not None
        assert equal(found, embedding)
    assert cache.nbytes <= cache.budget


def test_no_memory_at_all(store: ZarrStore) -> None:
    cache = EmbeddingCache(0, store)
    cache.put("a", make_embedding("a"))
    found = cache.get("a")  # also while it is still being written
    cache.flush()
    again = cache.get("a")
    assert found is not None
    assert again is not None
    assert equal(found, again)
    assert (len(cache), cache.nbytes, cache.tier("a")) == (0, 0, "disk")


class SlowStore(ZarrStore):
    """Writes nothing before it may."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.may_write = threading.Event()
        self.threads: set[int] = set()

    def put(self, key: str, embedding: ImageEmbedding) -> None:
        self.threads.add(threading.get_ident())
        assert self.may_write.wait(30)
        super().put(key, embedding)


def test_nobody_waits_for_the_disk(tmp_path: Path) -> None:
    store = SlowStore(tmp_path)
    cache = EmbeddingCache(0, store)
    for key in "abcd":
        cache.put(key, make_embedding(key))
    assert [cache.tier(key) for key in "abcd"] == ["memory"] * 4  # those that wait to be written
    assert len(store) == 0
    fifth = threading.Thread(target=cache.put, args=("e", make_embedding("e")))
    fifth.start()
    fifth.join(0.05)
    assert fifth.is_alive()  # but not without end
    store.may_write.set()
    fifth.join()
    cache.flush()
    assert [cache.tier(key) for key in "abcde"] == ["disk"] * 5
    assert threading.get_ident() not in store.threads


def test_a_process_that_ends_has_written(tmp_path: Path) -> None:
    program = Path(__file__).with_name("stored_embeddings.py")
    code = (
        "import runpy, sys\n"
        f"names = runpy.run_path({str(program)!r})\n"
        "from napari_sam.inference.cache import EmbeddingCache\n"
        f"cache = EmbeddingCache(1 << 20, names['ZarrStore']({str(tmp_path)!r}))\n"
        "cache.put('a', names['make_embedding']('a', 200))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    found = ZarrStore(tmp_path).get("a")
    assert found is not None
    assert equal(found, make_embedding("a", 200))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_writes_by_itself(tmp_path: Path) -> None:
    program = Path(__file__).with_name("stored_embeddings.py")
    code = (
        "import os, runpy, signal, sys\n"
        f"names = runpy.run_path({str(program)!r})\n"
        "from napari_sam.inference.cache import EmbeddingCache\n"
        f"cache = EmbeddingCache(0, names['ZarrStore']({str(tmp_path)!r}))\n"
        "cache.put('a', names['make_embedding']('a'))\n"
        "cache.flush()\n"
        "cache._lock.acquire()\n"  # as a thread may have that is not there afterwards
        "child = os.fork()\n"
        "if not child:\n"
        "    signal.alarm(60)\n"
        "    for key in 'bcdefgh':\n"
        "        cache.put(key, names['make_embedding'](key))\n"
        "    cache.flush()\n"
        "    os._exit(len(cache.store))\n"
        "cache._lock.release()\n"
        "cache.put('i', names['make_embedding']('i'))\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in {"8", "9"}  # the last one may have been there
    assert len(ZarrStore(tmp_path)) == 9


def test_a_failing_disk_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = EmbeddingCache(1 << 20, ZarrStore(tmp_path / "file" / "cache"))
    for key in "abc":
        cache.put(key, make_embedding(key))
        cache.flush()
    assert [cache.tier(key) for key in "abc"] == ["memory"] * 3
    assert cache.disk_error is not None
    assert "Cannot keep embeddings in" in cache.disk_error
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "kept in memory only" in caplog.text
    (tmp_path / "file").unlink()  # what was in the way is gone
    cache.put("d", make_embedding("d"))
    cache.flush()
    assert (cache.disk_error, EmbeddingCache(0, cache.store).tier("d")) == (None, "disk")


def test_what_is_missing_on_disk_is_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = EmbeddingCache(1 << 20, ZarrStore(tmp_path / "file"))
    cache.put("a", make_embedding("a"))
    cache.flush()
    assert cache.disk_error is not None
    (tmp_path / "file").unlink()
    for key in "ab":  # nobody has b
        cache.write_missing(key)
    cache.flush()
    assert (cache.disk_error, EmbeddingCache(0, cache.store).tier("a"), "b" in cache) == (None, "disk", False)


@pytest.mark.parametrize("loaded", [True, False], ids=["read whole", "read in part"])
def test_what_came_from_a_disk_that_was_cleared(store: ZarrStore, loaded: bool) -> None:
    """What was never read of it is gone, so it has to be encoded anew."""
    store.put("a", make_embedding("a"))
    cache = EmbeddingCache(1 << 20, store)
    assert cache.get("a", partial=not loaded) is not None
    store.clear()
    cache.write_missing("a")
    cache.flush()
    assert (cache.tier("a"), "a" in store) == (("memory", True) if loaded else (None, False))
    assert cache.disk_error is None


def test_whatever_goes_wrong_with_the_disk_is_told(
    store: ZarrStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def put(key: str, embedding: ImageEmbedding) -> None:
        raise TypeError("int64 is not JSON serializable")

    monkeypatch.setattr(store, "put", put)
    cache = EmbeddingCache(1 << 20, store)
    cache.put("a", make_embedding("a"))
    cache.flush()
    assert cache.disk_error == "int64 is not JSON serializable"
    assert "kept in memory only" in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small disk, in a namespace of its own")
@pytest.mark.parametrize("kind", ["size=256k", "size=1m,ro"])
def test_a_real_disk_that_is_full_or_read_only(kind: str, tmp_path: Path) -> None:
    """Everything is answered from memory; of a full disk the newest entries fit."""
    program = Path(__file__).with_name("stored_embeddings.py")
    code = (
        "import runpy, logging\n"
        "logging.basicConfig()\n"
        f"names = runpy.run_path({str(program)!r})\n"
        "from napari_sam.inference.cache import EmbeddingCache\n"
        f"store = names['ZarrStore']({str(tmp_path)!r})\n"
        f"open({str(tmp_path / 'large')!r}, 'wb').write(bytes(150_000)) if 'ro' not in {kind!r} else None\n"
        "store._limit = lambda used: store.budget_bytes\n"  # as if another program filled the disk just now
        "cache = EmbeddingCache(1 << 30, store)\n"
        "for i in range(10):\n"
        "    cache.put(f'{i}', names['make_embedding'](f'{i}', 64))\n"
        "    cache.flush()\n"
        "assert all(cache.get(f'{i}') is not None for i in range(10))\n"
        "print(len(store), cache.disk_error, EmbeddingCache(0, store).tier('9'))\n"
    )
    mounted = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o "$0" none "$1" && exec "$2" -c "$3"', kind]
    command = [*mounted, str(tmp_path), sys.executable, code]
    try:
        allowed = (
            subprocess.run([*command[:-2], "true", ""], capture_output=True, check=False).returncode == 0
        )
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("mounting is not allowed here")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    count, rest = done.stdout.split(maxsplit=1)
    if "ro" in kind:
        assert (count, done.stderr.count("WARNING")) == ("0", 1)
        assert "Read-only file system" in rest
    else:
        assert (int(count) >= 1, rest.split(), done.stderr) == (True, ["None", "disk"], "")


def test_a_negative_budget() -> None:
    with pytest.raises(CacheError, match="0 bytes or more, got -1"):
        EmbeddingCache(-1)

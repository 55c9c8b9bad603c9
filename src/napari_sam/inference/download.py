"""One file over HTTP, resumed when the connection is lost.

pooch does the transfer, with the proxies of the environment. It runs in a thread of its own, so that the job
which reports on it can be cancelled at any time, even while a server says nothing.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from napari_sam.errors import DownloadError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["Patience", "Received", "iter_receive"]

logger = logging.getLogger(__name__)

_CHUNK: Final = 1 << 17
_LOOK: Final = 0.05
"""Seconds between two looks at a transfer."""
_BUSY: Final = (408, 425, 429, 500, 502, 503, 504)
"""Answers of a server that may be another one in a moment."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait and how often to try.

    Attributes
    ----------
    connect, read : float
        Seconds until a server that does not answer, or sends nothing more, is given up.
    attempts : int
        Connections in a row that bring nothing new before the download fails.
    pause : float
        Seconds before the second attempt, twice as long before each further one.
    """

    connect: float = 10.0
    read: float = 30.0
    attempts: int = 3
    pause: float = 1.0


@dataclass(frozen=True, slots=True)
class Received:
    """How far a transfer is.

    Attributes
    ----------
    bytes : int
        On the disk.
    total : int or None
        In all, once the server has said so.
    is_waiting : bool
        True while the connection is lost and the next attempt is due.
    """

    bytes: int
    total: int | None = None
    is_waiting: bool = False


def iter_receive(url: str, part: Path, patience: Patience) -> Generator[Received, None, None]:
    """Get a file, appending to what is there of it; closed early, it leaves what has arrived.

    Raises
    ------
    DownloadError
        When it cannot be had; the message is the reason only.
    OSError
        When it cannot be written.
    """
    failures = 0
    total = None
    while True:
        before = size_of(part)
        transfer = _Transfer(url, part, patience)
        transfer.start()
        try:
            while not transfer.wait(_LOOK):
                total = transfer.total
                yield Received(transfer.received, total)
        finally:
            transfer.stop()
        error = transfer.error
        if error is None:
            return
        failures = 0 if size_of(part) > before else failures + 1
        if failures >= patience.attempts or not _is_passing(error):
            raise _explain(error, begun=size_of(part) > 0) from error
        logger.info("%s was cut off after %d bytes: %s", url, size_of(part), error)
        pause = threading.Event()
        for _ in range(round(patience.pause * 2 ** max(0, failures - 1) / _LOOK)):
            yield Received(size_of(part), total, True)
            pause.wait(_LOOK)


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


class _CutOffError(Exception):
    """A connection that ended before the file did."""


class _NothingMoreError(Exception):
    """The server has nothing beyond what is there already."""


class _Transfer(threading.Thread):
    """Appends to a file what a server sends, until it is whole, fails, or is stopped."""

    def __init__(self, url: str, part: Path, patience: Patience) -> None:
        super().__init__(name="napari-sam download", daemon=True)
        self.error: BaseException | None = None
        self.total: int | None = None
        self.received = 0
        self._url = url
        self._part = part
        self._patience = patience
        self._over = threading.Event()
        self._file: BinaryIO | None = None
        self._response: Any = None
        self._writing = threading.Lock()
        self._stopped = False

    def wait(self, seconds: float) -> bool:
        """Wait a little; True when the transfer is over."""
        return self._over.wait(seconds)

    def stop(self) -> None:
        """Leave the file alone from now on; the thread ends when the server says something or time is out."""
        with self._writing:
            self._stopped = True
            if self._file is not None:
                self._file.close()

    def write(self, data: bytes) -> int:
        """Append a piece; what pooch calls."""
        with self._writing:
            file = self._open_file()
            file.write(data)
            file.flush()  # to the system, so that it survives this process
            self.received += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing to do; pooch calls it after every piece."""

    def run(self) -> None:
        """Transfer; what goes wrong is kept in ``error``."""
        try:
            self._receive()
        except _NothingMoreError:
            pass
        except Exception as error:  # noqa: BLE001 - told to the thread that waits
            self.error = error
        finally:
            if self._response is not None:
                self._response.close()
            self.stop()
            self._over.set()

    def _open_file(self) -> BinaryIO:
        if self._stopped:
            raise _CutOffError("stopped")
        if self._file is None:
            self._file = self._part.open("ab")
        return self._file

    def _receive(self) -> None:
        import pooch

        self.received = size_of(self._part)
        headers = {"Accept-Encoding": "identity"}  # a range of a compressed answer is of no use
        if self.received:
            headers["Range"] = f"bytes={self.received}-"
        downloader = pooch.HTTPDownloader(
            chunk_size=_CHUNK,
            headers=headers,
            hooks={"response": self._read_headers},
            timeout=(self._patience.connect, self._patience.read),
        )
        downloader(self._url, self, None)
        if self.total is not None and self.received < self.total:
            raise _CutOffError(f"{self.received} of {self.total} bytes arrived")

    def _read_headers(self, response: Any, **_: Any) -> None:
        """Find out whether the server goes on where the file ends, or begins again."""
        self._response = response
        if response.status_code == 416:
            raise _NothingMoreError
        if response.status_code not in (200, 206):
            return  # a redirection, or an error that pooch raises
        place = response.headers.get("Content-Range", "")
        if response.status_code == 206 and not place.startswith(f"bytes {self.received}-"):
            raise _CutOffError(f"asked for bytes from {self.received}, got {place!r}")
        if response.status_code == 200 and self.received:
            with self._writing:
                self._open_file().truncate(0)
                self.received = 0
        length = response.headers.get("Content-Length", "")
        if length.isdigit():
            self.total = self.received + int(length)


def _is_passing(error: BaseException) -> bool:
    """Whether the next attempt may go better."""
    import requests

    if isinstance(error, requests.HTTPError):
        return error.response is not None and error.response.status_code in _BUSY
    if isinstance(error, requests.exceptions.SSLError):
        return False
    cut_off = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return isinstance(error, (_CutOffError, *cut_off))


def _explain(error: BaseException, begun: bool) -> Exception:
    """The reason in words that a user understands."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        why = f"the server answered {error.response.status_code} {error.response.reason}".rstrip()
    elif isinstance(error, requests.exceptions.ProxyError):
        why = "the proxy refused; see the variables HTTPS_PROXY and NO_PROXY"
    elif isinstance(error, requests.exceptions.SSLError):
        why = (
            "the server's certificate is not trusted; where a proxy opens connections, set "
            "REQUESTS_CA_BUNDLE to its certificate"
        )
    elif isinstance(error, requests.Timeout):
        why = "the server did not answer in time"
    elif isinstance(error, (requests.RequestException, _CutOffError)):
        why = "the connection was cut off" if begun else "the server cannot be reached"
    elif isinstance(error, OSError):
        return error
    else:
        why = f"{type(error).__name__}: {error}"
    return DownloadError(f"{why}; what has arrived is kept" if begun else why)

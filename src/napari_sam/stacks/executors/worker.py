"""A worker process: ``python -m napari_sam.stacks.executors.worker``.

It is told by lines of JSON on its standard input what the job is and which units to do, and answers with
lines of JSON, one per event. It ends at once when its input ends: whoever started it is gone, and somebody
else may be working in the folder. Python's own multiprocessing would run the main script again in every
process, which opens a second viewer where a script has no guard against it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING

from napari_sam.stacks.executors.pipeline import Pipeline
from napari_sam.stacks.output_folder import OutputFolder
from napari_sam.stacks.work_units import BatchJob, Unit

if TYPE_CHECKING:
    from napari_sam.stacks.executors.executor import Event

__all__ = ["main"]


class _Reporter:
    """Writes events, whole lines only, from any thread."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        line = json.dumps(event.to_json()).encode() + b"\n"
        with self._lock:
            try:
                self._stream.write(line)
                self._stream.flush()
            except OSError:  # nobody listens any more
                os._exit(1)


def main() -> int:
    """Work until the input ends."""
    # Ctrl+C in a terminal reaches every process of the group; what is to be done about it, the first one
    # says.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print must not get between the answers
    lines = sys.stdin.buffer
    first = json.loads(lines.readline())
    folder = OutputFolder(Path(first["folder"]), first["run"])
    pipeline = Pipeline(BatchJob.from_json(first["job"]), str(first["digest"]), folder, _Reporter(answers))
    for line in lines:
        values = json.loads(line)
        pipeline.submit(Unit(values["source"], values["stem"]))
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())

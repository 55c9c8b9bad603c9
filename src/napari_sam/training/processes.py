"""Processes that train one model together, and end together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from torch.multiprocessing.spawn import spawn

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["run_processes"]


def run_processes(work: Callable[..., None], arguments: tuple[Any, ...], count: int) -> None:
    """Call ``work(rank, *arguments)`` in ``count`` processes that can find each other, until all are done.

    They end with this call, also where it alone is interrupted, as a notebook does.

    Raises
    ------
    torch.multiprocessing.ProcessException
        When one of them fails.
    """
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", str(29500 + os.getpid() % 1000))
    context = spawn(work, arguments, nprocs=count, join=False)
    try:
        while not context.join():
            pass
    finally:
        for process in context.processes:
            if process.is_alive():
                process.terminate()
        for process in context.processes:
            process.join()

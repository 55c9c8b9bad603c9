"""Links between the frames of a series from Trackastra, where it is installed (Gallusser & Weigert 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_sam.errors import ImageError, SamError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["TRACKERS", "check_tracker", "find_links", "load_tracker"]

TRACKERS: Final = ("overlap", "trackastra")
PRETRAINED: Final = {2: "general_2d", 3: "ctc"}
"""The model that is fetched by Trackastra itself on its first use, by the number of dimensions."""


def check_tracker(tracker: Any, axis: str) -> Any:
    """The tracker, or a SamError that says which there are, and how one is installed.

    Parameters
    ----------
    tracker : str or trackastra.model.Trackastra
        One of ``TRACKERS``, or a model that was loaded.
    axis : str
        "z" or "t"; Trackastra is for t.
    """
    if isinstance(tracker, str) and tracker not in TRACKERS:
        raise SamError(f"Expected a tracker out of {', '.join(TRACKERS)}, got {tracker!r}.")
    if tracker == "overlap":
        return tracker
    if axis != "t":
        raise SamError("Expected axis 't' with Trackastra, got 'z'; leave the tracker out.")
    if isinstance(tracker, str):
        _import()
    return tracker


def load_tracker(tracker: Any, dimensions: int = 2, device: str = "cpu") -> Any:
    """A Trackastra model; a name is loaded, and downloaded by Trackastra where it is new.

    Raises
    ------
    SamError
        When Trackastra is not installed, or its model cannot be loaded.
    """
    if not isinstance(tracker, str):
        return tracker
    name = PRETRAINED[dimensions]
    try:
        return _import().from_pretrained(name, device=device)
    except Exception as error:  # downloads and archives fail in many ways
        raise SamError(
            f"Trackastra could not load its model {name!r} ({type(error).__name__}: {error}); connect to the "
            "internet for its first use, or pass a Trackastra model as the tracker."
        ) from error


def find_links(
    tracker: Any, images: NDArray[Any], masks: NDArray[np.int32], *, divisions: bool = True
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which objects go on as which.

    Parameters
    ----------
    tracker : trackastra.model.Trackastra
    images : (T, H, W) or (T, Z, H, W) array
    masks : int32 array of this shape
        Objects of all frames under numbers 1, 2, ... that none shares with another.
    divisions : bool
        Whether an object may go on as two.

    Returns
    -------
    first, second : (n,) int64
        Numbers of the earlier and of the later object of each link, less 1.

    Raises
    ------
    ImageError
        When Trackastra cannot use them.
    """
    if not masks.any() or len(masks) < 2:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    mode = "greedy" if divisions else "greedy_nodiv"
    try:
        graph, _ = tracker.track(images, masks, mode=mode, progbar_class=_Silent)
    except (ValueError, RuntimeError, IndexError, KeyError) as error:
        raise ImageError(
            f"Trackastra could not track the objects ({type(error).__name__}: {error}); track by overlap."
        ) from error
    labels = {node: int(values["label"]) - 1 for node, values in graph.nodes(data=True)}
    pairs = sorted((labels[a], labels[b]) for a, b in graph.edges)
    found = np.array(pairs, np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


class _Silent:
    """A progress bar that shows nothing: the job has its own."""

    def __init__(self, steps: Sequence[Any] = (), *_: Any, **__: Any) -> None:
        self._steps = steps

    def __iter__(self) -> Any:
        return iter(self._steps)

    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, *_: Any) -> None:
        """Show nothing."""


def _import() -> Any:
    try:
        from trackastra.model import Trackastra
    except ImportError as error:
        raise SamError(
            f"Expected Trackastra to be installed, got: {error}; install it with "
            "`pip install napari-sam-workbench[trackastra]`, or track by overlap."
        ) from error
    return Trackastra

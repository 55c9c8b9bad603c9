"""Encoding what is in view before anybody clicks there, when there is nothing else to do.

The job has the lowest priority and yields after every tile, so that a click goes between two tiles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from napari_sam.session.jobs import BACKGROUND, IDLE, Job, JobRunner
from napari_sam.types import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_sam.session.predictors import PredictorPool
    from napari_sam.session.requests import Crop, MaskPredictor, ModelChoice, Plane
    from napari_sam.session.settings import Settings

__all__ = ["Aim", "ViewCache", "Warming", "order_tiles"]

SLOT = "warming"
LOOKED_AT = 32
"""Of a view wider than this many tiles, the state of the nearest to its middle is shown."""
Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class ViewCache:
    """How many of the tiles in view are encoded, and where that is kept.

    Attributes
    ----------
    memory, disk, missing : int
        Tiles; the sum is at most ``LOOKED_AT``.
    """

    memory: int = 0
    disk: int = 0
    missing: int = 0

    @property
    def text(self) -> str:
        """A few words for the user."""
        total, cached = self.memory + self.disk + self.missing, self.memory + self.disk
        if total == 0:
            return "nothing in view"
        if cached == 0:
            return "not yet"
        where = "in memory" if self.disk == 0 else "on disk" if self.memory == 0 else f"{self.disk} on disk"
        if cached == total:
            return where if self.memory == 0 or self.disk == 0 else f"all, {where}"
        return f"{cached} of {total} tiles, {where}"

    @property
    def summary(self) -> str:
        """The same for a title."""
        total, cached = self.memory + self.disk + self.missing, self.memory + self.disk
        if total == 0:
            return ""
        if cached == 0:
            return "not cached yet"
        return "cached" if cached == total else f"{cached} of {total} tiles cached"


@dataclass(frozen=True, slots=True)
class Aim:
    """What is worth encoding at the moment.

    Attributes
    ----------
    plane : Plane
        The plane that is shown.
    view : (r0, c0, r1, c1) or None
        What is seen of it, in its pixels; None when that is not known: its middle, then.
    model : ModelChoice
        Which model will answer.
    settings : Settings
        As which the plane is encoded.
    """

    plane: Plane
    view: Rectangle | None
    model: ModelChoice
    settings: Settings


class Warming:
    """Keeps the tiles in view, and then their neighbours, encoded.

    Parameters
    ----------
    runner : JobRunner
        What computes.
    pool : PredictorPool
        Where the worker finds predictor and pixels.
    """

    changed = Signal(object)  # ViewCache of the present view, or None when none is aimed at
    failed = Signal(str)  # once, until ``retry`` or another plane, model or setting

    def __init__(self, runner: JobRunner, pool: PredictorPool) -> None:
        self._runner = runner
        self._pool = pool
        self._aim: Aim | None = None
        self._failed: Aim | None = None
        self._running = False
        self._cache: ViewCache | None = None

    @property
    def cache(self) -> ViewCache | None:
        """What is known of the tiles in view."""
        return self._cache

    @property
    def is_running(self) -> bool:
        """True while there may be something left to encode."""
        return self._running

    def aim(self, aim: Aim | None) -> None:
        """Look at this from now on, None for at nothing; nothing happens where that is done already."""
        if aim == self._aim:
            return
        self._aim = aim
        self._start()

    def retry(self) -> None:
        """Look again: something was encoded or dropped meanwhile, or a reading that failed may succeed."""
        self._failed = None
        self._start()

    def _start(self) -> None:
        aim = self._aim
        if aim is None or 0 in aim.plane.shape:
            self._runner.cancel(SLOT)
            self._running = False
            self._tell(None)
            return
        if self._failed is not None and _without_view(self._failed) == _without_view(aim):
            return  # the same would fail again while the user only looks around
        self._failed = None
        self._running = True
        self._runner.submit(
            Job(
                "Encoding what is in view",
                lambda: _steps(self._pool, aim),
                slot=SLOT,
                priority=BACKGROUND,
                lane=IDLE,
                on_progress=lambda progress: self._on_progress(aim, progress),
                on_done=lambda _: self._on_done(aim),
                on_failed=lambda message: self._on_failed(aim, message),
            )
        )

    def _tell(self, cache: ViewCache | None) -> None:
        if cache != self._cache:
            self._cache = cache
            self.changed.emit(cache)

    def _on_progress(self, aim: Aim, progress: Progress) -> None:
        if aim == self._aim and isinstance(progress.partial, ViewCache):
            self._tell(progress.partial)

    def _on_done(self, aim: Aim) -> None:
        if aim == self._aim:
            self._running = False

    def _on_failed(self, aim: Aim, message: str) -> None:
        if aim == self._aim:
            self._running = False
            self._failed = aim
            self.failed.emit(message)


def order_tiles(
    tiles: Sequence[tuple[Crop, Crop]], view: Rectangle, around: bool = True
) -> tuple[list[Crop], list[Crop]]:
    """The tiles in view and those next to them, the nearest to the middle of the view first.

    Parameters
    ----------
    tiles : sequence of (crop, core)
        Tiles whose cores cover the plane.
    view : (r0, c0, r1, c1)
        What is seen.
    around : bool
        Look for neighbours too.

    Returns
    -------
    seen, neighbours : list of crop
        Neighbours are at most one tile away from the view.
    """
    if not tiles:
        return [], []
    crops = np.array([crop for crop, _ in tiles])
    cores = np.array([core for _, core in tiles], float)
    middle = np.array([(view[0] + view[2]) / 2, (view[1] + view[3]) / 2])
    # by the gap from the middle to each core, then by its centre: the tile that holds the middle is first
    gaps = np.maximum(np.maximum(cores[:, :2] - middle, middle - cores[:, 2:]), 0)
    centres = (cores[:, :2] + cores[:, 2:]) / 2
    order = np.lexsort((np.hypot(*(centres - middle).T), np.hypot(*gaps.T)))

    def touching(rows: float, cols: float) -> np.ndarray:
        low = np.array([view[0] - rows, view[1] - cols])
        high = np.array([view[2] + rows, view[3] + cols])
        return np.asarray(((cores[:, :2] < high) & (cores[:, 2:] > low)).all(axis=1))

    sides = (cores[:, 2:] - cores[:, :2]).max(axis=0)
    seen = touching(0, 0)
    near = touching(*sides) & ~seen if around else np.zeros(len(tiles), bool)
    pick = [[tuple(int(v) for v in crops[i]) for i in order if chosen[i]] for chosen in (seen, near)]
    return pick[0], pick[1]  # type: ignore[return-value]


def _steps(pool: PredictorPool, aim: Aim) -> Generator[Progress, None, None]:
    plane = aim.plane
    yield Progress(0, 0)  # a view that moves on at once costs nothing
    predictor = pool.predictor(aim.model, plane)
    image = pool.pixels(plane)
    height, width = plane.shape
    view = aim.view or (height / 2 - 0.5, width / 2 - 0.5, height / 2 + 0.5, width / 2 + 0.5)
    seen, neighbours = order_tiles(predictor.list_tiles(plane.shape), view)
    where: dict[Crop, str | None] = {}
    for crop in seen[:LOOKED_AT]:
        where[crop] = predictor.tier(image, crop)
        yield Progress(0, 0)
    yield Progress(0, 0, partial=_count(where))
    if not aim.settings.warm:
        return
    budget, spent = aim.settings.cache.memory_bytes, 0
    for done, crop in enumerate([*seen, *neighbours]):
        size = _encode(predictor, image, crop)
        spent += size
        if crop in where:
            where[crop] = "memory" if size <= budget else predictor.tier(image, crop)
        yield Progress(done + 1, len(seen) + len(neighbours), partial=_count(where))
        if spent + size > budget:
            return  # one more would push out what was just encoded


def _encode(predictor: MaskPredictor, image: object, crop: Crop) -> int:
    """Encode a crop and hold on to nothing but its size."""
    return predictor.encode(image, crop).nbytes


def _count(where: dict[Crop, str | None]) -> ViewCache:
    tiers = list(where.values())
    return ViewCache(tiers.count("memory"), tiers.count("disk"), tiers.count(None))


def _without_view(aim: Aim) -> Aim:
    return replace(aim, view=None)

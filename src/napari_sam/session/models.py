"""Which model answers, which ones there are, and getting the chosen one ready before it is needed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_sam.errors import SamError
from napari_sam.session.jobs import LONG, NETWORK, WARM_UP, Job, JobRunner
from napari_sam.types import Progress, Prompts

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_sam.session.predictors import PredictorPool
    from napari_sam.session.requests import Engine, ModelChoice, Plane

__all__ = ["Download", "ModelInfo", "Models"]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that has a name, as the user is told of it.

    Attributes
    ----------
    name : str
        In the registry.
    title, description, license, domain : str
        In words; models of one domain are listed together.
    megabytes : int
        What has to be downloaded, in units of 10**6 bytes; 0 for nothing.
    is_here : bool
        Whether it can be used at once.
    urls : tuple of str
        Where its files come from.
    folder : str
        Where they belong.
    """

    name: str
    title: str = ""
    description: str = ""
    license: str = ""
    domain: str = ""
    megabytes: int = 0
    is_here: bool = True
    urls: tuple[str, ...] = ()
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Download:
    """How the download of a model is going.

    Attributes
    ----------
    progress : Progress or None
        In megabytes; None when it is not running.
    error : str or None
        Why the last one failed.
    """

    progress: Progress | None = None
    error: str | None = None


class Models:
    """The model in use, those to choose from, and their downloads.

    A download runs in a lane of its own: clicks are answered, and another model can be used, meanwhile.

    Parameters
    ----------
    engine : Engine
        Where models come from.
    runner : JobRunner
        What computes.
    pool : PredictorPool
        Where the worker keeps the loaded model.
    choice : ModelChoice
        The model to begin with.
    """

    listed = Signal(object, object)  # (ModelInfo, ...), (device, ...)
    warmed = Signal()  # the model is loaded, and the plane encoded if it was small enough
    progressed = Signal(object)  # Progress
    failed = Signal(str)
    download_changed = Signal(str)  # name of the model whose download began, went on, failed or ended
    downloaded = Signal(str)  # name of the model that can be used now

    def __init__(self, engine: Engine, runner: JobRunner, pool: PredictorPool, choice: ModelChoice) -> None:
        self._choice = choice
        self._engine = engine
        self._runner = runner
        self._pool = pool
        self._told: str | None = None
        self._infos: tuple[ModelInfo, ...] = ()
        self._devices: tuple[str, ...] = ("auto", "cpu")
        self._downloads: dict[str, Download] = {}

    # ---------------------------------------------------------------- what is
    @property
    def choice(self) -> ModelChoice:
        """Which model answers."""
        return self._choice

    @property
    def infos(self) -> tuple[ModelInfo, ...]:
        """The models that have a name; empty until they were listed."""
        return self._infos

    @property
    def failure(self) -> str | None:
        """Why the chosen model cannot answer and what to do; None while nothing speaks against it."""
        info = self.info(self._choice.name)
        if info is not None and not info.is_here:
            if self.download_of(info.name).progress is not None:
                return f"{info.title} is being downloaded; use another model until then."
            return f"{info.title} is not on this computer yet: download it ({info.megabytes} MB) first."
        message = self._pool.failure(self._choice)
        return None if message is None else f"{message} Choose the model again to try once more."

    def info(self, name: str) -> ModelInfo | None:
        """What is known of a model; None for a file, or before models were listed."""
        return next((info for info in self._infos if info.name == name), None)

    def download_of(self, name: str) -> Download:
        """How the download of a model is going."""
        return self._downloads.get(name, Download())

    # ---------------------------------------------------------------- choosing
    def choose(self, choice: ModelChoice) -> bool:
        """Take another model, or try one again that could not be loaded; False when nothing changes."""
        if choice == self._choice and self.failure is None:
            return False
        self._choice = choice
        self._told = None
        self._pool.retry()
        return True

    def is_news(self, message: str) -> bool:
        """False for the failure to load the chosen model, once it was told."""
        if message != self._pool.failure(self._choice):
            return True
        told, self._told = self._told, message
        return told != message

    def list_all(self) -> None:
        """Ask the engine which models and devices there are; ``listed`` answers, once for each."""

        def steps() -> Generator[Progress, None, tuple[str, ...]]:
            yield Progress(0, 1, "Looking for devices")
            return tuple(self._engine.list_devices())

        self.look_again()
        name = "Looking for devices"
        self._runner.submit(
            Job(name, steps, slot=name, on_done=self._on_devices_listed, on_failed=self.failed.emit)
        )

    def look_again(self) -> None:
        """See which models are here now: a file may have been put into the folder by hand, or deleted."""
        name = "Looking for models"
        self._runner.submit(
            Job(
                name,
                lambda: self._engine.iter_models(),
                slot=name,
                lane=NETWORK,
                on_done=self._on_models_listed,
                on_failed=self.failed.emit,
            )
        )

    def warm_up(self, plane: Plane | None, max_side: int) -> None:
        """Load the model in the background, and encode the plane where no side is longer than a limit.

        Parameters
        ----------
        plane : Plane or None
            What is likely to be clicked on next.
        max_side : int
            Pixels.
        """
        choice, pool = self._choice, self._pool

        def steps() -> Generator[Progress, None, None]:
            yield Progress(0, 2, f"Loading model {choice.name}")
            predictor = pool.predictor(choice)
            if plane is None or 0 in plane.shape or max(plane.shape) > max_side:
                return
            yield Progress(1, 2, "Preparing the image")
            height, width = plane.shape
            centre = Prompts(points=np.array([((height - 1) / 2, (width - 1) / 2)], np.float32))
            try:
                predictor.predict(pool.pixels(plane), centre)
            except SamError:
                return  # the user hears of an unusable image when he asks something of it

        self._runner.submit(
            Job(
                f"Loading model {choice.name}",
                steps,
                slot="warm up",
                priority=WARM_UP,
                on_progress=self.progressed.emit,
                on_done=lambda _: self.warmed.emit(),
                on_failed=self._on_loading_failed,
            )
        )

    def cancel(self) -> None:
        """Cancel the warming up at its next step."""
        self._runner.cancel("warm up")

    # ---------------------------------------------------------------- downloads
    def download(self, name: str) -> None:
        """Get the weights of a model; ``downloaded`` answers. Does nothing where that is going on."""
        info = self.info(name)
        if self.download_of(name).progress is not None or (info is not None and info.is_here):
            return
        total = 0 if info is None else info.megabytes
        self._set_download(name, Download(Progress(0, total, "Connecting")))
        self._runner.submit(
            Job(
                f"Downloading {name}",
                lambda: self._engine.iter_fetch(name),
                slot=_slot(name),
                priority=LONG,
                lane=NETWORK,
                on_progress=lambda progress: self._set_download(name, Download(progress)),
                on_done=lambda _: self._on_downloaded(name),
                on_failed=lambda message: self._on_download_failed(name, message),
                on_cancelled=lambda _: self._set_download(name, Download()),
            )
        )

    def cancel_download(self, name: str) -> None:
        """Stop a download; what has arrived is kept for the next one."""
        self._runner.cancel(_slot(name))

    def _set_download(self, name: str, download: Download) -> None:
        self._downloads[name] = download
        self.download_changed.emit(name)

    def _on_download_failed(self, name: str, message: str) -> None:
        self._set_download(name, Download(error=message))
        if name != self._choice.name:  # else it is shown where the user looks
            self.failed.emit(message)

    def _on_downloaded(self, name: str) -> None:
        self._infos = tuple(replace(i, is_here=True) if i.name == name else i for i in self._infos)
        if name == self._choice.name:
            self._pool.retry()
            self._told = None
        self._set_download(name, Download())
        self.listed.emit(self._infos, self._devices)
        self.downloaded.emit(name)

    def _on_loading_failed(self, message: str) -> None:
        self.failed.emit(message)
        info = self.info(self._choice.name)
        if info is not None and info.is_here and info.megabytes:
            self.look_again()  # its files may have been deleted

    def _on_models_listed(self, infos: Sequence[ModelInfo]) -> None:
        before = self.info(self._choice.name)
        self._infos = tuple(infos)
        after = self.info(self._choice.name)
        if after is not None and after.is_here and before is not None and not before.is_here:
            self._on_downloaded(after.name)  # by hand
        else:
            self.listed.emit(self._infos, self._devices)

    def _on_devices_listed(self, devices: Any) -> None:
        self._devices = devices
        self.listed.emit(self._infos, self._devices)


def _slot(name: str) -> str:
    return f"download {name}"

"""The parts of the dock that have a life of their own, and how everything that is not Qt ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from psygnal import Signal

if TYPE_CHECKING:
    from napari_sam.session.session import Session
    from napari_sam.viewer.bindings import Bindings
    from napari_sam.viewer.controller import Controller
    from napari_sam.viewer.image_aids import ImageAids

__all__ = ["Feature", "take_apart"]


class Feature(Protocol):
    """What has a life beside the widget's; never a widget, for it may be closed after Qt's part is gone."""

    def close(self) -> None:
        """Let go of session and viewer."""


def take_apart(
    session: Session,
    controller: Controller,
    bindings: Bindings,
    aids: ImageAids,
    features: list[Feature],
    *_: Any,
) -> None:
    """End everything that is not Qt; can run when the widget's Qt part is gone already.

    What runs ends with what it has found, which is written and kept, and an object that was accepted before
    its mask was there becomes clicks again; no widget hears of it any more.
    """
    aids.disable()
    accepted = [state for state in session.prompting.decoding.accepted if controller.shows(state.plane)]
    if accepted and session.prompts.is_empty:  # its mask will never come: the clicks are what is left of it
        session.prompts_restored.emit(accepted[-1])
    heard = (
        session,
        session.models,
        session.auto,
        session.stacks,
        session.warming,
        session.precomputing,
        controller,
        controller.prompts,
        aids,
        *features,
    )
    for signals in heard:
        for signal in (getattr(signals, name) for name in dir(type(signals)) if _is_signal(signals, name)):
            signal.disconnect()
    for feature in reversed(features):
        feature.close()
    session.close()
    bindings.disable()
    controller.disable()


def _is_signal(owner: object, name: str) -> bool:
    return isinstance(getattr(type(owner), name), Signal)

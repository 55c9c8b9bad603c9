"""The thresholds that choose among automatic candidates: what the user has set for each model and method."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from napari_sam.errors import SamError
from napari_sam.inference.candidates import FilterParams

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_sam.session.auto_requests import AutoRequest

__all__ = ["Thresholds"]

NAMES = frozenset(f.name for f in fields(FilterParams))


class Thresholds:
    """Thresholds of every model and method; those of one of them are in use."""

    def __init__(self) -> None:
        self._set: dict[tuple[str, str], dict[str, Any]] = {}  # by the user
        self._defaults: dict[tuple[str, str], FilterParams] = {}
        self._key = ("", "auto")  # model and method that are in use

    @property
    def params(self) -> FilterParams:
        """Those in use."""
        return replace(self.defaults, **self._set.get(self._key, {}))

    @property
    def defaults(self) -> FilterParams:
        """Those of the method, as far as they are known."""
        return self._defaults.get(self._key, FilterParams())

    def of(self, model: str, method: str) -> dict[str, Any]:
        """What the user has set for a model and a method."""
        return dict(self._set.get((model, method), {}))

    def use(self, request: AutoRequest, defaults: FilterParams | None = None) -> None:
        """Those of a request's model and method are in use now, with these defaults where they are known."""
        self._key = (request.model.name, request.method)
        if defaults is not None:
            self._defaults[self._key] = defaults

    def change(self, changes: Mapping[str, Any]) -> None:
        """Set some of those in use.

        Raises
        ------
        SamError
            When there is no such threshold, or a value is impossible.
        """
        unknown = set(changes) - NAMES
        if unknown:
            raise SamError(f"Expected thresholds out of {sorted(NAMES)}, got {sorted(unknown)}.")
        replace(self.params, **changes)  # raises for what is impossible
        self._set.setdefault(self._key, {}).update(changes)

    def reset(self) -> None:
        """Back to those of the method."""
        self._set.pop(self._key, None)

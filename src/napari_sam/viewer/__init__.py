"""napari layers to the session and back; no Qt, so it runs on a bare ``ViewerModel``."""

from __future__ import annotations

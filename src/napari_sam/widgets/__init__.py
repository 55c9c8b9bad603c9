"""Thin Qt faces: they emit requests and show state. torch is imported by the worker only."""

from __future__ import annotations

"""Labels in the formats of other programs, one file per format."""

from __future__ import annotations

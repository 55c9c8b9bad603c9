"""Many planes, many files: propagation, linking, batches; files in and out."""

from __future__ import annotations

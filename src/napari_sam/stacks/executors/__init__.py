"""Where the units of a batch are worked on: in this process, in processes of its own, or on a cluster."""

from __future__ import annotations

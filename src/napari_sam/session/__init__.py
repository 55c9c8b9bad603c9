"""What the user is doing, with no viewer: prompts, their history, and the jobs they start.

Imports neither napari nor Qt nor torch.
"""

from __future__ import annotations

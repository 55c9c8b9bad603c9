from __future__ import annotations

import sys
from pathlib import Path

# the monkey's files import each other by name, also from benchmarks/monkey.py
sys.path.insert(0, str(Path(__file__).parent))

#!/usr/bin/env bash
# Print a Python that is new enough and can make virtual environments, the plain `python3` first.
set -euo pipefail

for candidate in python3 python3.11 python3.12 python3.13 python3.14 python; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        command -v "$candidate"
        exit 0
    fi
done
echo "Expected a Python of at least 3.11 with venv, found none; install one or say 'make PYTHON=/path/to/python'." >&2
exit 1

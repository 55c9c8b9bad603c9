#!/usr/bin/env bash
# Run a command with a screen of its own, so that tests neither need nor disturb a desktop.
#
# On Linux a virtual X server: napari's canvas needs OpenGL, which Qt's "offscreen" platform does not give everywhere.
set -euo pipefail

if command -v xvfb-run >/dev/null && command -v xauth >/dev/null; then
    unset WAYLAND_DISPLAY
    export QT_QPA_PLATFORM=xcb
    exec xvfb-run --auto-servernum --server-args="-screen 0 1600x1200x24" "$@"
fi
export QT_QPA_PLATFORM="${QT_QPA_PLATFORM:-offscreen}"
exec "$@"

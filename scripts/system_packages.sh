#!/usr/bin/env bash
# Make sure that Qt's xcb platform plugin and software OpenGL can start on a Linux machine without a screen.
#
# Installs what is missing where that is possible (root on a Debian or Ubuntu), else prints the exact command and
# goes on: what can be tested without a window still is. Other systems bring what Qt needs.
set -euo pipefail

[ "$(uname -s)" = Linux ] || exit 0

# soname=package: the libraries that `ldd` lists for the xcb plugins of PyQt6 and PySide6 and that their wheels
# do not carry. The names are Debian's; where a release renamed one (libglib2.0-0t64), the old name still resolves.
needed="
libGL.so.1=libgl1
libEGL.so.1=libegl1
libX11.so.6=libx11-6
libX11-xcb.so.1=libx11-xcb1
libxcb.so.1=libxcb1
libxcb-cursor.so.0=libxcb-cursor0
libxcb-icccm.so.4=libxcb-icccm4
libxcb-image.so.0=libxcb-image0
libxcb-keysyms.so.1=libxcb-keysyms1
libxcb-randr.so.0=libxcb-randr0
libxcb-render.so.0=libxcb-render0
libxcb-render-util.so.0=libxcb-render-util0
libxcb-shape.so.0=libxcb-shape0
libxcb-shm.so.0=libxcb-shm0
libxcb-sync.so.1=libxcb-sync1
libxcb-util.so.1=libxcb-util1
libxcb-xfixes.so.0=libxcb-xfixes0
libxcb-xkb.so.1=libxcb-xkb1
libxkbcommon.so.0=libxkbcommon0
libxkbcommon-x11.so.0=libxkbcommon-x11-0
libdbus-1.so.3=libdbus-1-3
libfontconfig.so.1=libfontconfig1
libfreetype.so.6=libfreetype6
libglib-2.0.so.0=libglib2.0-0
"

PATH="$PATH:/usr/sbin:/sbin" # ldconfig is not on every user's path
known="$(ldconfig -p)"
missing=()
for pair in $needed; do
    case "$known" in
        *"${pair%%=*} "*) ;;
        *) missing+=("${pair##*=}") ;;
    esac
done
command -v Xvfb >/dev/null || missing+=(xvfb)
command -v xauth >/dev/null || missing+=(xauth) # xvfb-run calls it

[ ${#missing[@]} -gt 0 ] || exit 0

install="apt-get install -y -o DPkg::Lock::Timeout=120 --no-install-recommends ${missing[*]}"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing what Qt and OpenGL need without a screen: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # A stale index of one source must not stop the others, so a failing update is not the end.
    apt-get update -qq </dev/null || echo "apt-get update failed; trying with the package lists at hand" >&2
    $install -qq </dev/null >/dev/null
else
    echo "Missing for windows in tests: ${missing[*]}" >&2
    echo "Install them with:" >&2
    echo "    sudo apt-get update && sudo $install" >&2
fi

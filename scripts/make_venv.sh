#!/bin/sh
# Makes the virtual environment: make_venv.sh PYTHON VENV. Called by the Makefile. Debian's Python comes without venv:
# as root this installs it, otherwise it prints the line to type and stops.
set -eu
python=$1
venv=$2

if ! command -v "$python" >/dev/null 2>&1; then
    echo "There is no '$python' here: install Python 3.11 or newer, or name one with PYTHON=..." >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "Tidegate needs Python 3.11 or newer, and '$python' is $("$python" -V 2>&1): name a newer one with PYTHON=..." >&2
    exit 1
fi

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "'$python' has no venv module: install it ($package or python3-venv in most distributions), then try again." >&2
        exit 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        echo "'$python' comes without venv here. Type this, then try again:" >&2
        echo "    sudo apt-get update && sudo apt-get install --yes $package" >&2
        exit 1
    fi
    echo "Installing $package (Debian's Python comes without venv) ..."
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "$package" >/dev/null
fi

# A half-made environment (an interrupted run) is made again; a whole one stays as it is.
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    echo "Making the environment $venv with $("$python" -V) ..."
    "$python" -m venv --clear "$venv"
fi
# Dependency groups (--group) came with pip 25.1; a Debian 12 brings 23.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'

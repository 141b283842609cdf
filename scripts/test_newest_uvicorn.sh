#!/bin/sh
# Runs the tests of what leans on uvicorn's private class against uvicorn's newest release, and reports: it never fails.
# test_newest_uvicorn.sh PYTHON FOLDER [ARGUMENTS OF PYTEST]. Called by the Makefile; PYTHON is the one for development.
# FOLDER becomes an environment that has that uvicorn and sees the rest of PYTHON's. UVICORN names another release.
set -eu
python=$1
folder=$2
shift 2
wanted=${UVICORN:-uvicorn}

packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
pinned=$("$python" -c 'from importlib.metadata import version; print(version("uvicorn"))')

"$python" -m venv --clear --without-pip "$folder"
own=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
if ! "$python" -m pip --python "$folder/bin/python" install --quiet --disable-pip-version-check --upgrade "$wanted"; then
    echo "newest uvicorn: '$wanted' could not be installed, so nothing was tried."
    exit 0
fi
# Behind its own packages, so that its uvicorn comes first; `addsitedir` also finds Tidegate, which is there by a link.
echo "import site; site.addsitedir('$packages')" > "$own/development.pth"
found=$("$folder/bin/python" -c 'from importlib.metadata import version; print(version("uvicorn"))')

echo "newest uvicorn: $found (pinned: $pinned)"
if "$folder/bin/python" -m pytest -p no:cacheprovider -q \
    tests/test_request_head.py tests/control/test_bounded_http.py tests/conformance/test_known_again.py \
    tests/conformance/test_two_ways.py tests/dataplane/test_draining.py tests/dataplane/test_hostile_http.py \
    tests/dataplane/test_known_heads_property.py tests/dataplane/test_protocol.py tests/dataplane/test_serve.py "$@"; then
    echo "newest uvicorn: $found passes what $pinned does."
else
    echo "newest uvicorn: $found FAILS tests (above) that $pinned passes: read its httptools_impl.py before moving the pin."
fi

#!/bin/sh
# Used while the image is built: pip install into /opt/tidegate, from the wheels in /wheels where there are any.
set -eu

python=/opt/tidegate/bin/python
[ -x "$python" ] || python3 -m venv --without-pip /opt/tidegate
export PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_COMPILE=0
for wheel in /wheels/pip-*.whl; do
    [ -e "$wheel" ] || break
    # pip runs from its own wheel: a base image without pip does as well.
    export PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels PYTHONPATH="$wheel"
    exec "$python" -m pip install --quiet "$@"
done
exec python3 -m pip --python "$python" install --quiet "$@"

#!/bin/sh
# Installs the MLflow and S3 servers that the tests use for real, from PyPI, into an environment of their own (a gigabyte,
# once): the project itself needs neither. Prints where. Called by services.sh.
set -eu
python=${PYTHON:-python3}
version=3.17.2
packages="mlflow[auth]==$version moto[server,s3]>=5.2,<6 boto3>=1.40 psycopg[binary]>=3.2"
venv=${XDG_CACHE_HOME:-$HOME/.cache}/tidegate-tests/mlflow-$version

# The stamp says what is in it: an interrupted run left none, and another list is installed on top.
if [ "$(cat "$venv/ready" 2>/dev/null)" != "$packages" ]; then
    mkdir -p "$(dirname "$venv")"
    sh "$(dirname "$0")/make_venv.sh" "$python" "$venv" >&2
    # shellcheck disable=SC2086 # a word for each package
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-warn-script-location $packages >&2
    printf %s "$packages" >"$venv/ready"
fi
echo "$venv"

#!/bin/sh
# Runs a program and, when a signal killed it, starts it again: what it started lives on in the same container meanwhile
# (a control plane takes its replicas over). Told to stop, it passes that on; a program that ends by itself ends it too.
set -u

stopping= child=
pass_on() {
    stopping=yes
    [ -z "$child" ] || kill -TERM "$child" 2>/dev/null
}
trap pass_on TERM INT

while :; do
    "$@" &
    child=$!
    wait "$child"
    code=$?
    # A trapped signal ends the wait, not the program.
    while kill -0 "$child" 2>/dev/null; do
        wait "$child"
        code=$?
    done
    if [ -n "$stopping" ] || [ "$code" -lt 128 ]; then
        exit "$code"
    fi
    echo "keep.sh: $1 was killed (code $code) and is started again" >&2
    sleep 1
    [ -z "$stopping" ] || exit "$code"
done

"""Threads that meet a type for the first time at the same moment, with msgspec held in the middle of building it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tidegate.wire.decoding import convert, decode_json, json_decoder
from tidegate.wire.rest import AliasRequest
from tidegate.wire.signature import Signature

# Between a type's publication and that of its fields msgspec calls Python, to ask for a nested type's fields: there the
# first thread waits until the second one has decoded the same type, or has had time to.
HELD = """
import sys, threading
from tidegate.client.rest.lists import ListedModels
from tidegate.client.rest.api import decode
from tidegate.wire import decoding
from tidegate.wire.rest import Status
from tidegate.core.endpoints.effective import Split

outer, second = {case}
held, done = threading.Event(), threading.Event()

def hold(frame, event, arg):
    builds = event == "call" and frame.f_code.co_filename.endswith("msgspec/_utils.py") and "obj" in frame.f_locals
    if builds and getattr(frame.f_locals["obj"], "__origin__", frame.f_locals["obj"]) is not outer:
        sys.setprofile(None)
        held.set()
        done.wait(1)

def first():
    sys.setprofile(hold)
    second()
    sys.setprofile(None)

thread = threading.Thread(target=first)
thread.start()
assert held.wait(30), "msgspec no longer calls Python here: hold it elsewhere"
second()
done.set()
thread.join(30)
print("whole")
"""

MODEL = (
    b'{"models": [{"name": "churn", "versions": [{"version": "1", "label": null, "digest": "", "status": "ready", '
    b'"score": null, "accelerated": null, "tags": {}}]}]}'
)
STATUS = (
    b'{"version": "1", "data_dir": "", "started_at": 0, "gateway_url": "", "gateways": [], "endpoints": [], '
    b'"models": 0, "jobs": {}, "revision": 1, "database": {"where": "", "status": "ready"}}'
)
SPLIT = {"salt": "s", "shares": [{"variant": "stable", "version": "1", "weight": 100.0}]}
SIGNATURE = {"kind": "matrix", "inputs": [{"name": "x", "datatype": "FP64", "shape": [-1]}], "outputs": []}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(f"Status, lambda: decode({STATUS!r}, Status, 'control plane')", id="a dataclass of the client"),
        pytest.param(f"ListedModels, lambda: decode({MODEL!r}, ListedModels, 'x')", id="a list of the client"),
        pytest.param(f"Split, lambda: decoding.convert({SPLIT!r}, Split)", id="a row of the store"),
    ],
)
def test_threads_that_decode_a_type_for_the_first_time_read_all_of_it(case: str) -> None:
    argv = [sys.executable, "-c", HELD.replace("{case}", case)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "whole\n", "")


def test_a_decoder_is_built_once() -> None:
    assert json_decoder(AliasRequest) is json_decoder(AliasRequest)
    assert decode_json(b'{"version": "3"}', AliasRequest) == AliasRequest("3")
    assert convert(SIGNATURE, Signature).inputs[0].name == "x"

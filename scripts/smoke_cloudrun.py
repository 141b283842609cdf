#!/usr/bin/env python
r"""Try Cloud Run for real: one small service in your project, a prediction, another revision, and everything deleted.

    TIDEGATE_CLOUDRUN_PROJECT=my-project TIDEGATE_CLOUDRUN_REGION=europe-west1 \
    TIDEGATE_CLOUDRUN_SERVICE_ACCOUNT=replicas@my-project.iam.gserviceaccount.com \
    python scripts/smoke_cloudrun.py --manifest ~/.tidegate/versions/churn/1.json --image REGISTRY/churn@sha256:...

`--image` is what `tidegate build churn:1 --push` printed. The rights it needs are in deploy/cloudrun/role.yaml, beside
roles/iam.serviceAccountUser on the service account. Small instances of 1 CPU and 1 GiB run, for 15 minutes at most, and
what was made is deleted in any case, Ctrl-C included. Exits with 1 where something is not as it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import urllib3

from tidegate.adapters.cloudrun.credentials import GoogleCredentials
from tidegate.adapters.cloudrun.workloads import CloudRunWorkloads, build
from tidegate.core.engines.placement import Placement
from tidegate.core.images.delivery import Delivery
from tidegate.core.routing.targets import address_of
from tidegate.core.workloads import Instance, WorkloadKey, WorkloadSpec
from tidegate.errors import EngineUnavailable, TidegateError
from tidegate.settings import Settings
from tidegate.wire.replicas.manifest import read_manifest
from tidegate.wire.replicas.replica_key import replica_key

DEADLINE_S, LOOK_EVERY_S, REQUEST_TIMEOUT_S = 900.0, 2.0, 60.0
TOKEN = 1

T = TypeVar("T")


class NotAsItShouldBe(Exception):
    """Says what."""


class Smoke:
    """One run. `node_key` is made up: replicas take a key that nobody else knows."""

    def __init__(self, manifest: Path, image: str) -> None:
        self._platform, self._node_key = f"smoke{secrets.token_hex(4)}", secrets.token_hex(16)
        self._model = read_manifest(manifest)
        self._give_up_at = time.monotonic() + DEADLINE_S
        key = WorkloadKey(f"smoke-{secrets.token_hex(3)}", self._model.version, Placement("cloudrun"))
        self.spec = WorkloadSpec(key, self._model.name, manifest, 1, TOKEN, routed={key.version: 100.0})
        self.engine: CloudRunWorkloads = build(
            Settings.from_env, os.environ, self._platform, lambda _spec: Delivery(image), self._key_of
        )

    def run(self) -> None:
        """Raises `NotAsItShouldBe` and `TidegateError`."""
        self.engine.check(self.spec.key.placement)
        say("Cloud Run answers; making one service")
        self.engine.apply(self.spec)
        first = self._ready()
        self._predicts(first)
        say("asking for another revision, to which the tag moves")
        self.engine.apply(replace(self.spec, ending=(first.id,)))
        self._predicts(self._ready(but=first.id))
        lines = self.engine.logs(first.handle, 3)
        say(f"{len(lines)} lines of its log were read")

    def clean_up(self) -> None:
        """Delete what was made, and see that it is gone; tried again while Google does not answer."""

        def gone() -> bool:
            self.engine.delete(self.spec.key, TOKEN)
            return not self.engine.observe()

        self._give_up_at = time.monotonic() + DEADLINE_S / 3
        self._wait(gone, "the deletion of what was made")
        say("everything that was made is deleted")

    def _key_of(self, credential: str) -> str:
        return replica_key(self._node_key, credential)

    def _ready(self, but: str = "") -> Instance:
        def look() -> Instance | None:
            for state in self.engine.observe():
                if state.problem:
                    raise NotAsItShouldBe(state.problem)
                for one in state.instances:
                    if not one.seen.alive:
                        raise NotAsItShouldBe("\n".join(one.seen.log_tail))
                    if one.seen.ready and one.id != but:
                        return one
            return None

        found = self._wait(look, "a ready revision")
        say(f"revision {found.id} is ready")
        return found

    def _predicts(self, instance: Instance) -> None:
        address = address_of(str(instance.seen.address))
        heads = {
            "X-Serverless-Authorization": f"Bearer {GoogleCredentials().id_token(address.audience).token}",
            "Authorization": f"Bearer {self._key_of(address.credential)}",
        }
        url = f"{address.at}/predict/{self._model.name}"

        def ask() -> urllib3.BaseHTTPResponse | None:
            asked = {"features": self._model.example}
            answer = urllib3.request("POST", url, json=asked, headers=heads, timeout=REQUEST_TIMEOUT_S, retries=False)
            return None if answer.status == 429 else answer  # while instances start

        answer = self._wait(ask, "an answer that is no 429")
        if answer.status != 200:
            raise NotAsItShouldBe(f"{url} answered {answer.status}: {answer.data[:300].decode(errors='replace')}")
        say(f"it predicts: {json.dumps(answer.json().get('prediction'))}")

    def _wait(self, look: Callable[[], T | None], what: str) -> T:
        while True:
            why = ""
            try:
                if found := look():
                    return found
            except EngineUnavailable as error:
                why = f" ({error.message})"
            if time.monotonic() > self._give_up_at:
                raise NotAsItShouldBe(f"{what} did not come in time{why}")
            time.sleep(LOOK_EVERY_S)


def say(what: str) -> None:
    """A line of its own."""
    print(what, flush=True)


def main() -> int:
    """0 when all was as it should be."""
    parser = argparse.ArgumentParser(description="Try Cloud Run with one small service, and delete it again.")
    parser.add_argument("--manifest", type=Path, required=True, help="of a registered version: versions/NAME/V.json")
    parser.add_argument("--image", required=True, help="an image of exactly that version, in Artifact Registry")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    ended = 0
    try:
        smoke = Smoke(options.manifest, options.image)
        try:
            smoke.run()
        finally:
            smoke.clean_up()
    except (NotAsItShouldBe, TidegateError, OSError, urllib3.exceptions.HTTPError, KeyboardInterrupt) as error:
        print(f"error: {str(error) or 'interrupted'}", file=sys.stderr)
        ended = 1
    return ended


if __name__ == "__main__":
    sys.exit(main())

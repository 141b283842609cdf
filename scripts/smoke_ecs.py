"""Runs a version on a real cluster of AWS ECS for a few minutes, and cleans up: what no test here can show.

    export AWS_REGION=eu-west-1 TIDEGATE_ECS_CLUSTER=… TIDEGATE_ECS_SUBNETS=… TIDEGATE_ECS_SECURITY_GROUPS=…
    export TIDEGATE_ECS_EXECUTION_ROLE=arn:aws:iam::…
    python scripts/smoke_ecs.py --image REGISTRY/churn@sha256:… --manifest ~/.tidegate/versions/churn/3.json
    python scripts/smoke_ecs.py --policy          # the rights it needs, as in scripts/smoke_ecs_policy.json

At most two tasks of a quarter of a CPU and 512 MiB run at a time, for --minutes-max (15): about a cent. Whatever
happens, also after Ctrl-C or SIGTERM, what was made is deleted; all of it is named tidegate-smoke…, and nothing else is
touched.
With --predict the example of the version is asked for at each task's address, which works from inside its network.
"""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from tidegate.adapters.ecs.examine import examine
from tidegate.adapters.ecs.rights import policy
from tidegate.adapters.ecs.workloads import EcsWorkloads
from tidegate.core.engines.placement import Placement
from tidegate.core.images.delivery import Delivery
from tidegate.core.routing.targets import address_of
from tidegate.core.workloads import Instance, WorkloadKey, WorkloadSpec, WorkloadState
from tidegate.errors import EngineUnavailable, TidegateError
from tidegate.settings import Settings
from tidegate.wire.replicas.manifest import read_manifest
from tidegate.wire.replicas.replica_key import replica_key

TOKEN = 1
POLL_S, CLEAN_UP_S, ASK_TIMEOUT_S = 2.0, 300.0, 10.0
SMALLEST = Placement("ecs", 0.25, 512 << 20)


class Smoke:
    """One walk through the engine; every step prints what it saw."""

    def __init__(self, image: str, manifest: Path, minutes_max: float) -> None:
        self.platform, self._node_key = f"smoke{secrets.token_hex(4)}", secrets.token_hex(16)
        self.engine = EcsWorkloads(
            Settings.from_env(), self.platform, lambda _spec: Delivery(image), self.key_of, env={}
        )
        read = read_manifest(manifest)
        self._example = read.example
        self.spec = WorkloadSpec(WorkloadKey(read.name, read.version, SMALLEST), read.name, manifest, 1, TOKEN)
        self._ends = time.monotonic() + minutes_max * 60

    def key_of(self, credential: str) -> str:
        """The key of this run's replicas."""
        return replica_key(self._node_key, credential)

    def run(self, *, predict: bool) -> None:
        """Start, look, ask, scale up and down, read the log."""
        say(f"platform {self.platform}: one replica of {self.spec.model}:{self.spec.key.version}")
        self.apply(self.spec)
        (first,) = self.ready(1)
        self.asked(first, predict=predict)
        self.apply(replace(self.spec, count=2))
        both = self.ready(2)
        young = next(one for one in both if one.id != first.id)
        say(f"from two to one: {young.id} is to go")
        self.apply(replace(self.spec, count=1, ending=(young.id,)))
        (left,) = self.ready(1)
        if left.id != first.id:
            raise SystemExit(f"the wrong task went: {left.id} is left, and not {first.id}")
        for line in self.engine.logs(left.handle, 5):
            say(f"log: {line}")

    def states(self) -> list[WorkloadState]:
        """What AWS shows; nothing while it does not answer, which is said."""
        try:
            return self.engine.observe()
        except EngineUnavailable as error:
            say(error.message)
            return []

    def apply(self, spec: WorkloadSpec) -> None:
        """Ask until AWS takes it."""
        self.until(lambda: self.tried(lambda: self.engine.apply(spec)), "AWS to take it")

    def ready(self, count: int) -> list[Instance]:
        """Wait for exactly so many that are ready and stay; what keeps them is said as it changes."""
        found: list[Instance] = []
        said = ""

        def look() -> bool:
            nonlocal found, said
            states = self.states()
            shown = [one for state in states for one in state.instances if one.seen.alive]
            ended = [line for state in states for one in state.instances for line in one.seen.log_tail]
            now = "; ".join(
                dict.fromkeys([*(s.problem for s in states if s.problem), *(i.waits for i in shown if i.waits), *ended])
            )
            if now and now != said:
                say(now)
                said = now
            found = [one for one in shown if one.seen.ready and not one.terminating]
            return len(found) == len(shown) == count

        began = time.monotonic()
        self.until(look, f"{count} ready")
        say(
            f"{count} ready after {time.monotonic() - began:.0f} s: {', '.join(str(one.seen.address) for one in found)}"
        )
        return found

    def asked(self, instance: Instance, *, predict: bool) -> None:
        """The example, with the replica's key."""
        if not predict:
            return
        address = address_of(str(instance.seen.address))
        at = urlsplit(address.at.replace("tcp:", "http://"))
        connection = HTTPConnection(str(at.hostname), at.port, timeout=ASK_TIMEOUT_S)
        headers = {"authorization": f"Bearer {self.key_of(address.credential)}", "content-type": "application/json"}
        connection.request("POST", "/predict", json.dumps({"features": self._example}), headers)
        answer = connection.getresponse()
        say(f"prediction: {answer.status} {answer.read()[:200].decode(errors='replace')}")
        connection.close()
        if answer.status != 200:
            raise SystemExit("no prediction")

    def clean_up(self) -> None:
        """Delete all of this run's, and wait until it is gone."""
        self._ends = time.monotonic() + CLEAN_UP_S
        self.until(lambda: self.tried(lambda: self.engine.delete(self.spec.key, TOKEN)), "AWS to delete it")
        left: list[WorkloadState] = []

        def look() -> None:
            left[:] = self.engine.observe()

        self.until(lambda: self.tried(look) and not left, "the end of all")
        say("nothing of it is left but its log streams")

    def tried(self, do: Callable[[], None]) -> bool:
        """Whether AWS answered; why it did not is said."""
        try:
            do()
        except EngineUnavailable as error:
            say(error.message)
            return False
        return True

    def until(self, look: Callable[[], bool], what: str) -> None:
        """Raises `SystemExit` once the time is over."""
        while not look():
            if time.monotonic() > self._ends:
                raise SystemExit(f"{what}: not in time")
            time.sleep(POLL_S)


def say(line: str) -> None:
    """To whoever watches."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """0 once all of it worked and nothing is left, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", help="an image of 'tidegate build --push', by its digest")
    parser.add_argument("--manifest", type=Path, help="the version's manifest in the data directory")
    parser.add_argument("--minutes-max", type=float, default=15.0, help="no step goes on for longer (default: 15)")
    parser.add_argument("--predict", action="store_true", help="ask each replica, from inside its network")
    parser.add_argument("--policy", action="store_true", help="print the rights that are needed, and end")
    given = parser.parse_args()
    if given.policy:
        say(json.dumps(policy(), indent=2))
        return 0
    if given.image is None or given.manifest is None:
        parser.error("--image and --manifest say what to run")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what ends it in time, such as timeout(1) or a CI job
    smoke = Smoke(given.image, given.manifest, given.minutes_max)
    try:
        say(examine(Settings.from_env()))
        try:
            smoke.run(predict=given.predict)
        finally:
            smoke.clean_up()
    except TidegateError as error:
        say(f"error: {error.message}")
        return 1
    except KeyboardInterrupt:
        say("error: interrupted")
        return 1
    say("all of it worked")
    return 0


if __name__ == "__main__":
    sys.exit(main())

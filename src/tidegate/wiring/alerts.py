"""The parts of alerts, wired: use cases for the API, and the loop that sends. Called by `wiring.build`."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from tidegate.adapters.notifiers.reach import LOOPBACK, Reach, read_networks
from tidegate.adapters.notifiers.sending import Notifying, check_config
from tidegate.clock import Clock
from tidegate.listening import is_loopback
from tidegate.loops.notify import Notify, NotifyDependencies
from tidegate.loops.runner import Loop
from tidegate.services.alerting.acting import Holds, Rollbacks
from tidegate.services.alerting.deliveries import Deliveries
from tidegate.services.alerting.notifiers import Notifiers
from tidegate.services.alerting.rules import AlertRules
from tidegate.services.alerting.silences import Silences
from tidegate.services.alerting.state import Alerting
from tidegate.services.canaries.holding import hold as hold_canary
from tidegate.services.endpoints.lifecycle import Endpoints
from tidegate.services.experiments.holding import hold as hold_experiment
from tidegate.settings import Settings
from tidegate.store.database.engine import Store


@dataclass(frozen=True)
class Alerts:
    """The use cases of alerts, by what they are about, and the loop. `observing` writes as the leader."""

    state: Alerting
    observing: Alerting
    silences: Silences
    rules: AlertRules
    notifiers: Notifiers
    deliveries: Deliveries
    loop: Loop


def reach_of(settings: Settings, host: str) -> Reach:
    """Where notifiers may send. Raises `InvalidArgument`."""
    return Reach(read_networks(settings.notify_networks) + (LOOPBACK if is_loopback(host) else ()))


def alert_parts(endpoints: Endpoints, fenced: Store, reach: Reach, url: str, clock: Clock) -> Alerts:
    """`endpoints` are the API's; `fenced` is the leader's store, `url` the console's."""
    store, wake = endpoints.store, threading.Event()
    state = Alerting(store, clock, url, wake.set)
    observing = replace(state, store=fenced)
    deliveries = Deliveries(store, clock, wake.set)
    dependencies = NotifyDependencies(
        alerting=observing,
        deliveries=replace(deliveries, store=fenced),
        rollbacks=Rollbacks(replace(endpoints, store=fenced)),
        holds=Holds(fenced, clock, (hold_experiment, hold_canary)),
        send=Notifying(reach, clock).send,
        wake=wake,
    )
    notify = Notify(dependencies)
    return Alerts(
        state=state,
        observing=observing,
        silences=Silences(store, clock, wake.set),
        rules=AlertRules(store, clock, wake.set),
        notifiers=Notifiers(store, clock, check_config, wake.set, url),
        deliveries=deliveries,
        loop=Loop("notify", notify.step, wake, leader_only=True, close=notify.close),
    )

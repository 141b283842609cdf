"""How busy versions are, from what gateways report each second. In memory only: a restart begins anew.

Written by API threads, read by the views of endpoints and by the autoscaler. The load of a gateway that fell silent is
unknown, never 0.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from tidegate.clock import Clock
from tidegate.core.scaling import load
from tidegate.errors import InvalidArgument
from tidegate.services.leadership import Leadership
from tidegate.wire.gateways.load import DURATION_BUCKETS_S, LoadReport, LoadView, VersionLoad

KEPT_S = 300.0
"""The longest window that anybody looks at."""
VIEW_S, AGAIN_S = 60.0, 0.5
"""The window of the load that people see, and for how long it is reused while no new report comes."""
SILENT_S = 3.0
"""A gateway without a report for so long is silent: its load is unknown."""
GONE_S = 30.0
"""One with neither a report nor a poll for the snapshot for so long is gone, and its load is dropped."""
GATEWAYS_MAX, VERSIONS_MAX = 1000, 2000
SPAN_S_MIN, SPAN_S_MAX = 0.01, 60.0
COUNT_MAX = 2**53
"""Up to here a float is exact, so no sum or mean of counts overflows."""
IN_PROGRESS_MAX = 1_000_000
"""Requests in progress at a gateway for one version: more than a machine has connections for."""
GATEWAY_CHARS_MAX, HOST_CHARS_MAX, NAME_CHARS_MAX = 64, 255, 63
_BUCKETS = len(DURATION_BUCKETS_S) + 1

Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Busy:
    """Of one version in one report. `durations` is sparse: each bucket that is not empty, and its count after it."""

    in_progress_s: float
    requests: int
    errors: int
    durations: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class KeptReport:
    """One report as it is kept: when it came, how many seconds it covers, and what each version did that was not idle.

    `truncated`: nothing is known of versions that are not in it.
    """

    at: float
    span_s: float
    busy: dict[Place, Busy]
    truncated: bool = False

    def knows(self, place: Place) -> bool:
        """Whether it has the version's load, if only that there was none."""
        return not self.truncated or place in self.busy


@dataclass(frozen=True, slots=True)
class _Recent:
    """One gateway's reports since a time: what is in them, how many seconds they cover, and which were truncated."""

    newest: KeptReport
    since: float
    busy: list[dict[Place, Busy]]
    truncated: list[dict[Place, Busy]]
    covered_s: float


@dataclass(frozen=True)
class KeptReports:
    """All reports of the last `KEPT_S` seconds by gateway, oldest first, as of `at`; which gateways are silent now."""

    at: float
    by_gateway: dict[str, list[KeptReport]]
    silent: frozenset[str]


@dataclass
class _Total:
    """Means over a window, summed over gateways, and counts."""

    concurrency: float = 0.0
    requests_per_s: float = 0.0
    errors_per_s: float = 0.0
    durations: list[int] = field(default_factory=lambda: [0] * _BUCKETS)


class Load:
    """`live` names the gateways that route now; `samples_max` bounds what is kept: the oldest go. A report counts as
    one sample, and as one more for each version in it.

    The clock is monotonic: setting the machine's time changes nothing.
    """

    def __init__(self, clock: Clock, live: Callable[[], set[str]], samples_max: int) -> None:
        self._clock, self._live, self._samples_max = clock, live, samples_max
        self._lock = threading.Lock()
        self._reports: dict[str, deque[KeptReport]] = {}
        self._recent: dict[str, _Recent] = {}
        self._samples = 0

    def record(self, report: LoadReport) -> None:
        """A gateway's last second. Raises `InvalidArgument` for numbers that cannot be, and keeps nothing then."""
        _check(report)
        busy = {(one.endpoint, one.version): _kept(one) for one in report.versions[:VERSIONS_MAX]}
        source = f"{report.host}/{report.gateway}" if report.host else report.gateway
        with self._lock:
            now = self._clock()
            if source not in self._reports and len(self._reports) >= GATEWAYS_MAX:
                self._drop(min(self._reports, key=lambda name: self._reports[name][-1].at))
            truncated = report.truncated or len(report.versions) > VERSIONS_MAX
            self._reports.setdefault(source, deque()).append(KeptReport(now, report.span_s, busy, truncated))
            self._samples += 1 + len(busy)
            self._forget(now)

    def forget(self, gateway: str) -> None:
        """It was ended on purpose: nobody misses it, and what it did has gone to others."""
        with self._lock:
            self._drop(gateway)

    def of(self, endpoint: str, versions: Iterable[str]) -> LoadView | None:
        """Of these versions together (`""`: requests refused before one was chosen); None while no gateway reports.

        Variants may share a version: one that is named twice counts once.
        """
        places = [(endpoint, version) for version in dict.fromkeys(versions)]
        live = self._live()
        with self._lock:
            now = self._clock()
            self._forget(now)
            silent = self._silent(now, live)
            reporting = self._reports.keys() - silent
            if not reporting:
                return None
            total, window_s = _Total(), VIEW_S
            for name in reporting:
                recent = self._recently(name, now)
                if any(place not in busy for busy in recent.truncated for place in places):
                    silent.add(name)
                    continue
                window_s = min(window_s, recent.covered_s)
                found = (busy[place] for busy in recent.busy for place in places if place in busy)
                _add(total, found, recent.covered_s)
            if reporting <= silent:
                return None
        return LoadView(
            round(window_s, 1),
            total.concurrency,
            total.requests_per_s,
            total.errors_per_s,
            load.quantile_s(total.durations, 0.5),
            load.quantile_s(total.durations, 0.95),
            len(silent),
        )

    def reports(self) -> KeptReports:
        """What gateways reported, for load over time (`load_series`)."""
        live = self._live()
        with self._lock:
            now = self._clock()
            self._forget(now)
            by_gateway = {name: list(reports) for name, reports in self._reports.items() if reports}
            return KeptReports(now, by_gateway, frozenset(self._silent(now, live)))

    def concurrency(self, endpoint: str, version: str, window_s: float) -> load.Samples:
        """Requests in progress by gateway, over the last `window_s`, for the autoscaler."""
        return self._series((endpoint, version), window_s, lambda busy: busy.in_progress_s)

    def requests(self, endpoint: str, version: str, window_s: float) -> load.Samples:
        """Requests ended by gateway, over the last `window_s`, for the autoscaler."""
        return self._series((endpoint, version), window_s, lambda busy: busy.requests)

    def _series(self, place: Place, window_s: float, amount: Callable[[Busy], float]) -> load.Samples:
        live = self._live()
        with self._lock:
            now = self._clock()
            self._forget(now)
            points = {
                name: tuple(_points((one for one in reports if one.at > now - window_s), place, amount))
                for name, reports in self._reports.items()
            }
            return load.Samples(points, frozenset(self._silent(now, live)))

    def _recently(self, name: str, now: float) -> _Recent:
        """A gateway's reports within `VIEW_S`; kept for whoever lists many endpoints."""
        recent, reports = self._recent.get(name), self._reports[name]
        if recent is None or recent.newest is not reports[-1] or now - recent.since > VIEW_S + AGAIN_S:
            within = [one for one in reports if one.at > now - VIEW_S]
            busy, truncated = [one.busy for one in within if one.busy], [one.busy for one in within if one.truncated]
            covered_s = sum(one.span_s for one in within)
            recent = self._recent[name] = _Recent(reports[-1], now - VIEW_S, busy, truncated, covered_s)
        return recent

    def _silent(self, now: float, live: set[str]) -> set[str]:
        reporting = {name for name, reports in self._reports.items() if now - reports[-1].at <= SILENT_S}
        return (live | self._reports.keys()) - reporting

    def _forget(self, now: float) -> None:
        for name, reports in list(self._reports.items()):
            if now - reports[-1].at > GONE_S:
                self._drop(name)
                continue  # its samples are subtracted already
            while reports and reports[0].at <= now - KEPT_S:
                self._samples -= 1 + len(reports.popleft().busy)
        while self._samples > self._samples_max and len(longest := max(self._reports.values(), key=len)) > 1:
            self._samples -= 1 + len(longest.popleft().busy)

    def _drop(self, name: str) -> None:
        self._samples -= sum(1 + len(one.busy) for one in self._reports.pop(name, ()))
        self._recent.pop(name, None)


@dataclass(frozen=True)
class LoadIntake:
    """Takes what gateways report to this control plane, and passes it on to the leader where another one leads.

    It is kept here too, so that a new leader knows the load of its own gateways at once. `pass_on` returns at once.
    """

    load: Load
    leadership: Leadership
    pass_on: Callable[[str, LoadReport], None]

    def take(self, report: LoadReport) -> None:
        """Raises `InvalidArgument`. What was passed on once is not passed on again: leaders may have just changed."""
        self.load.record(report)
        leader = self.leadership.view()
        if not report.host and leader is not None and leader.alive and not leader.here:
            self.pass_on(leader.url, replace(report, host=self.leadership.me.host))

    def view(self, endpoint: str, versions: Sequence[str]) -> LoadView | None:
        """What is known of these versions: only the leader has the reports of all gateways."""
        return self.load.of(endpoint, versions) if self.leadership.term is not None else None


def _check(report: LoadReport) -> None:
    if not SPAN_S_MIN <= report.span_s <= SPAN_S_MAX:  # NaN is in no range
        raise InvalidArgument(f"span_s must be from {SPAN_S_MIN:g} to {SPAN_S_MAX:g}", field="span_s")
    _check_text(report.gateway, "gateway", GATEWAY_CHARS_MAX)
    _check_text(report.host, "host", HOST_CHARS_MAX)
    for one in report.versions:
        _check_text(one.endpoint, "endpoint", NAME_CHARS_MAX)
        _check_text(one.version, "version", NAME_CHARS_MAX)
        _check_numbers(one, report.span_s)


def _check_text(text: str, name: str, chars_max: int) -> None:
    """It is shown, logged and passed on to the leader, so a lone surrogate would only fail there."""
    if len(text) > chars_max:
        raise InvalidArgument(f"{name} may have up to {chars_max} characters", field=name)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(f"{name} has a character that UTF-8 cannot write", field=name) from None


def _check_numbers(one: VersionLoad, span_s: float) -> None:
    if not 0 <= one.in_progress_s <= span_s * IN_PROGRESS_MAX:
        raise InvalidArgument(f"in_progress_s must be from 0 to {IN_PROGRESS_MAX} times span_s", field="in_progress_s")
    if len(one.durations) != _BUCKETS:
        raise InvalidArgument(f"durations has a count for each of {_BUCKETS} buckets", field="durations")
    for name, counts in (("requests", [one.requests]), ("errors", [one.errors]), ("durations", one.durations)):
        if not 0 <= min(counts) <= max(counts) <= COUNT_MAX:
            raise InvalidArgument(f"a count in {name} must be from 0 to {COUNT_MAX}", field=name)


def _kept(one: VersionLoad) -> Busy:
    sparse = [number for bucket in enumerate(one.durations) if bucket[1] for number in bucket]
    return Busy(one.in_progress_s, one.requests, one.errors, tuple(sparse))


def _points(reports: Iterable[KeptReport], place: Place, amount: Callable[[Busy], float]) -> Iterator[load.Point]:
    for one in reports:
        if one.knows(place):
            busy = one.busy.get(place)
            yield load.Point(one.at, one.span_s, 0.0 if busy is None else amount(busy))


def _add(total: _Total, found: Iterable[Busy], covered_s: float) -> None:
    """Add one gateway's means over the time that its reports cover."""
    for busy in found:
        total.concurrency += busy.in_progress_s / covered_s
        total.requests_per_s += busy.requests / covered_s
        total.errors_per_s += busy.errors / covered_s
        for bucket, count in zip(busy.durations[::2], busy.durations[1::2], strict=True):
            total.durations[bucket] += count

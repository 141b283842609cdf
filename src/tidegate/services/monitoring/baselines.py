"""Baselines of versions: made of rows and the model's answers, kept as a file and a row, found again for evaluations.

Called by jobs (validation data, files), by monitoring (rows of production) and by the API.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from tidegate.clock import Clock
from tidegate.core.access import Principal
from tidegate.core.captured import Columns
from tidegate.core.monitoring.columns import Array, Role, WatchedColumns, watched_columns
from tidegate.core.monitoring.ports import BaselineFiles
from tidegate.errors import Conflict, InvalidArgument, UnknownBaseline
from tidegate.services.monitoring.truth import Truth, truth_of
from tidegate.services.reading.lookup import version_or_raise
from tidegate.store import audit
from tidegate.store import monitoring as rows
from tidegate.store.database.engine import Store
from tidegate.store.tables import BaselineRow
from tidegate.watch.baseline.baseline import Baseline, BaselineRowsGiven, baseline_of
from tidegate.watch.drift.duplicates import chunk_shares, row_hashes
from tidegate.watch.histograms.histogram import Histogram, reference
from tidegate.watch.histograms.values import column, is_missing
from tidegate.wire.decoding import convert
from tidegate.wire.monitoring.monitoring import BaselineColumn, BaselineSource, BaselineView
from tidegate.wire.signature import Signature

_log = logging.getLogger(__name__)

FORM = 1
LEFT_S = 3600.0
"""A file without a row that is older than this is nobody's: a younger one may be about to get its row."""
KNOWN_MAX = 64
"""Baselines that are kept in memory, those used last."""


@dataclass(frozen=True)
class BaselineRows:
    """What a model was asked and answered, as named tensors; the labels and times of the rows where they are known.

    `timezone`: whose days and weeks the times follow.
    """

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    labels: Array | None = None
    times_s: Array | None = None
    timezone: str = "UTC"


@dataclass(frozen=True)
class Origin:
    """Where a baseline comes from; of production also which endpoint's rows, from when to when."""

    source: BaselineSource
    by: str | None = None
    endpoint: str | None = None
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True)
class Made:
    """A baseline that is not kept yet."""

    baseline: Baseline
    roles: dict[str, Role]
    truth: Truth | None
    labelled: int
    labels: Histogram | None = None
    repeats: tuple[float, ...] = ()


@dataclass(frozen=True)
class KnownBaseline:
    """A version's baseline as evaluations need it. `truth`: None without labels.

    `repeats`: shares of rows that repeat another, by chunk; none where there were too few rows to say.
    """

    baseline: Baseline
    roles: Mapping[str, Role]
    truth: Truth | None
    view: BaselineView
    labels: Histogram | None = None
    repeats: tuple[float, ...] = ()


def make_baseline(signature: Signature, given: BaselineRows, by: str | None = None) -> Made:
    """Raises `InvalidArgument` for rows that no baseline can be made of."""
    found = watched_columns(signature, given.inputs, given.outputs)
    if not found.values:
        raise InvalidArgument("none of the rows' columns is an input or an output of the model", field="data")
    truth = None if given.labels is None else truth_of(signature, found, given.labels)
    losses = None if truth is None or given.labels is None else truth.losses(found, given.labels)
    labelled = 0 if losses is None else int((~np.isnan(losses)).sum())
    source = BaselineRowsGiven(
        inputs=found.of("input"),
        outputs=found.of("output"),
        losses=losses if labelled else None,
        kinds=found.kinds,  # type: ignore[arg-type]  # texts that are kinds
        datatypes=found.datatypes,
        by=by,
        times_s=given.times_s,
        timezone=given.timezone,
    )
    repeats = tuple(chunk_shares(row_hashes(found.of("input"))).tolist())
    if truth is None or not labelled:
        return Made(baseline_of(source), dict(found.roles), None, 0, repeats=repeats)
    return Made(baseline_of(source), dict(found.roles), truth, labelled, _labels_of(truth, given.labels), repeats)


def _labels_of(truth: Truth, labels: Array | None) -> Histogram:
    """How frequent each label is; of numbers, in bins."""
    values = column(labels, "labels")
    there = values[np.array([not is_missing(value) for value in values.tolist()], dtype=bool)]
    if truth.mode == "numbers":
        return reference(there, "numeric", "FP64", name="labels")
    return reference(there, "category", truth.datatype, name="labels")


@dataclass(frozen=True)
class Baselines:
    """The use cases."""

    store: Store
    files: BaselineFiles
    clock: Clock
    _known: OrderedDict[str, KnownBaseline] = field(default_factory=OrderedDict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, model: str, number: str, made: Made, origin: Origin, who: Principal) -> BaselineView:
        """Put it in the place of the one that the version had. Raises `UnknownVersion`, `DiskFull`."""
        view = _view(model, number, made, origin, self.clock())
        name = secrets.token_hex(12)
        document = {
            "form": FORM,
            "baseline": made.baseline.as_dict(),
            "roles": made.roles,
            "truth": made.truth.as_dict() if made.truth else None,
            "labels": made.labels.as_dict() if made.labels else None,
            "repeats": list(made.repeats),
        }
        self.files.write(name, document, dict(made.baseline.sample))
        before = None
        try:
            with self.store.transaction() as tx:
                version_or_raise(tx, model, number)
                row = rows.baseline(tx, model, number)
                if row is None:
                    row = BaselineRow(model=model, version=number)
                    tx.add(row)
                else:
                    before = row.file
                row.file, row.view, row.made_at = name, asdict(view), view.made_at
                values = {"source": (None, view.source), "rows": (None, view.rows), "labelled": (None, view.labelled)}
                audit.record(
                    tx, who, self.clock(), audit.AuditedChange("baseline", "version", f"{model}:{number}", values)
                )
        except BaseException:
            self.files.delete(name)
            raise
        if before is not None:
            self.files.delete(before)
        return view

    def get(self, model: str, reference: str) -> BaselineView:
        """Raises `UnknownModel`, `UnknownVersion`, `UnknownBaseline`."""
        with self.store.reading() as tx:
            number = version_or_raise(tx, model, reference).version
            row = rows.baseline(tx, model, number)
        if row is None:
            raise UnknownBaseline(
                f"{model}:{number} has no baseline: give one with 'tidegate baseline {model}:{number} --data FILE', or "
                "register versions with --validation-data",
                model=model,
                version=number,
            )
        return convert(row.view, BaselineView)

    def known(self, model: str, number: str) -> KnownBaseline | None:
        """What evaluations compare with; None where there is none, or its file cannot be read (which is logged)."""
        with self.store.reading() as tx:
            row = rows.baseline(tx, model, number)
        if row is None:
            return None
        with self._guard:
            if row.file in self._known:
                self._known.move_to_end(row.file)
                return self._known[row.file]
        try:
            found = self._read(row)
        except (Conflict, InvalidArgument) as error:
            _log.error("the baseline of %s:%s cannot be used: %s", model, number, error)
            return None
        with self._guard:
            self._known[row.file] = found
            while len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        return found

    def sample(self, model: str, number: str) -> Columns:
        """The rows that are kept with a version's baseline; empty where there are none, or they cannot be read."""
        with self.store.reading() as tx:
            row = rows.baseline(tx, model, number)
        try:
            return {} if row is None else self.files.sample(row.file)
        except Conflict as error:
            _log.error("the rows of the baseline of %s:%s cannot be used: %s", model, number, error)
            return {}

    def _read(self, row: BaselineRow) -> KnownBaseline:
        document = self.files.read(row.file)
        try:
            truth = None if document["truth"] is None else Truth.from_dict(document["truth"])
            baseline = Baseline.from_dict(document["baseline"])
            labels = Histogram.from_dict(document["labels"]) if document.get("labels") else None
            view, repeats = convert(row.view, BaselineView), tuple(document.get("repeats", ()))
            return KnownBaseline(baseline, document["roles"], truth, view, labels, repeats)
        except (KeyError, TypeError) as error:
            raise InvalidArgument(f"it is no baseline of form {FORM}: {error!r}", field="baseline") from None

    def sweep(self) -> None:
        """Remove files that no row names: of versions that were deleted, or of a process that was killed."""
        there = self.files.names(self.clock() - LEFT_S)
        with self.store.reading() as tx:
            named = rows.baseline_files(tx)
        for name in there - named:
            self.files.delete(name)


def _view(model: str, number: str, made: Made, origin: Origin, now: float) -> BaselineView:
    whole, truth = made.baseline.whole, made.truth
    columns = [
        BaselineColumn(name, made.roles[name], one.layout.kind, one.layout.bins, one.special.get("missing", 0))
        for name, one in whole.columns.items()
    ]
    view = BaselineView(
        model=model,
        version=number,
        source=origin.source,
        rows=whole.rows,
        labelled=made.labelled,
        made_at=now,
        columns=columns,
        by=origin.by,
        segments=list(made.baseline.segments),
        endpoint=origin.endpoint,
        since=origin.since,
        until=origin.until,
    )
    if truth is None or whole.risk is None:
        return view
    metric = truth.metric
    return replace(view, metric=metric.name, value=metric.of(whole.risk.risk), bound=metric.of(whole.risk.upper))


def columns_seen(signature: Signature, captured: Mapping[str, Array]) -> WatchedColumns:
    """The watched columns of captured rows, whose names have `input_` or `output_` before them."""
    return watched_columns(signature, *tensors_of(captured))


def tensors_of(captured: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Captured rows as the tensors that a model was asked and answered."""
    tensors: dict[str, dict[str, Array]] = {"input": {}, "output": {}}
    for name, values in captured.items():
        part, _, rest = name.partition("_")
        tensor = _tensor(values) if part in tensors and rest else None
        if tensor is not None:
            tensors[part][rest] = tensor
    return tensors["input"], tensors["output"]


def _tensor(values: Array) -> Array | None:
    """Rows of several values as one array; None for a column that no row has, or whose rows differ in length."""
    if values.dtype.kind != "O":
        return values
    first = next((value for value in values.tolist() if value is not None), None)
    if first is None:
        return None
    if not isinstance(first, np.ndarray | list):
        return values
    blank = np.full(len(first), np.nan)
    try:
        return np.stack([blank if value is None else np.asarray(value) for value in values.tolist()])
    except ValueError:
        return None

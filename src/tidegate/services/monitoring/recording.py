"""The monitor of capturing itself: what was lost on the way from the journal, and whether anything can be kept now."""

from __future__ import annotations

from tidegate.services.monitoring.place import Place
from tidegate.wire.capture.capture import CaptureView
from tidegate.wire.monitoring.monitoring import MonitorResult


def capture_result(view: CaptureView | None, lost_before: float | None, place: Place) -> MonitorResult:
    """An alert where more was lost since the evaluation before, or the compactor cannot write.

    `lost_before`: what had been lost by then; None where nobody looked yet. `value`: what has been lost by now, in
    damaged bytes, records, rows and segments together, and records that gateways dropped.
    """
    if view is None:
        return place.unknown("capture", "no compactor has run on this platform")
    lost = float(view.lost_bytes + view.unfit_records + view.ahead_rows + view.quarantined_segments)
    lost += view.dropped_records
    if view.status == "trouble":
        return place.result("capture", "alert", f"not kept: {view.reason}", "high", value=lost)
    if lost_before is not None and lost > lost_before:
        text = (
            f"lost: {view.lost_bytes} damaged bytes, {view.unfit_records} records that are none, {view.ahead_rows} "
            f"rows of the future and {view.quarantined_segments} segments, and {view.dropped_records} records that "
            "gateways could not write, in all; more than at the evaluation before"
        )
        return place.result("capture", "alert", text, "medium", value=lost, reference=lost_before)
    if view.status == "silent":
        return place.unknown("capture", view.reason, value=lost)
    return place.result("capture", "ok", "ok: nothing was lost since the evaluation before", value=lost)

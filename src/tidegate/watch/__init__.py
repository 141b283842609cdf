"""Is a model still what it was? Statistics on histograms and rows that keep the error rates they state.

Pure, on numpy and scipy only: facts come in as arrays or histograms, time as seconds; nothing here does I/O.
"""

from tidegate.watch.alerting import generate_alert
from tidegate.watch.offline import detect_data_drift, detect_performance_drift

__all__ = ["detect_data_drift", "detect_performance_drift", "generate_alert"]

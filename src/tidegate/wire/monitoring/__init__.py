"""The REST shapes of monitoring, alerts, and performance over time."""

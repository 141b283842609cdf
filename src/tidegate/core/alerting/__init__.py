"""Alerts as pure decisions: from results of monitors, rules and silences to what is sent and done."""

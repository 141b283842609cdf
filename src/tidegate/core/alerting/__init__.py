"""Alerts as pure decisions: results of monitors, rules, silences and what is known go in; alerts and notices come out."""

"""One file for each way of telling somebody of an alert; `sending` finds the one that a notifier names."""

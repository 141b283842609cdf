"""Heavy work: queued in the transaction that needs it, shown, and the bytes that clients hand in for it."""

"""The reconcile loop and what carries out its plans on engines; taking over, and standing by."""

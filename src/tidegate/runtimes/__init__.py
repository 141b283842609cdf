"""Loaders, one per framework. Imported only by replicas and by job subprocesses: loading a model runs its code."""

from tidegate.runtimes.base.runtime import Runtime
from tidegate.runtimes.inspection.inspect_model import Inspection, InspectOptions, inspect_model
from tidegate.runtimes.opening import load, open_model

__all__ = ["InspectOptions", "Inspection", "Runtime", "inspect_model", "load", "open_model"]

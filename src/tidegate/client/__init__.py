"""The Python SDK: a thin client of the control plane's REST API and of the gateway. The CLI is built on it."""

from tidegate.client.client import Client
from tidegate.client.resources.predictions import Prediction

__all__ = ["Client", "Prediction"]

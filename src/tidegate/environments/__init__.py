"""Python environments of versions whose requirements do not fit this one: built once for each set, and shared.

Used by the register job and by `tidegate serve FOLDER`. Imports no model library, and nothing of control or data plane.
"""

from tidegate.environments.building import Environment, Environments
from tidegate.environments.requirements import Requirements
from tidegate.environments.wanted import environment, requirements_of

__all__ = ["Environment", "Environments", "Requirements", "environment", "requirements_of"]

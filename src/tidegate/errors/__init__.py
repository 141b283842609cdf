"""Every expected failure, each with a stable code; edges turn `kind` into a status, once, with its tables.

An error says what was wrong, where, and what to do. Its docstring is its default message. This package has all of them
under their own names; a new one goes into the module of its subject, and is here by that.
"""

from tidegate.errors.alerts import *  # noqa: F403
from tidegate.errors.kinds import EXIT_DONE as EXIT_DONE
from tidegate.errors.kinds import EXIT_FAILED as EXIT_FAILED
from tidegate.errors.kinds import EXIT_WRONG_USE as EXIT_WRONG_USE
from tidegate.errors.kinds import TidegateError as TidegateError
from tidegate.errors.models import *  # noqa: F403
from tidegate.errors.named_things import *  # noqa: F403
from tidegate.errors.platform import *  # noqa: F403
from tidegate.errors.requests import *  # noqa: F403

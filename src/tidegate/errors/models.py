"""Why a version is refused, or cannot be loaded."""

from __future__ import annotations

from tidegate.errors.kinds import Kind, TidegateError


class ModelRefused(TidegateError):
    """The model cannot be taken in."""

    code, kind = "model_refused", Kind.UNFIT


class NotAModel(ModelRefused):
    """The file is not a model in a format that Tidegate reads."""

    code = "not_a_model"


class PickleNotGranted(ModelRefused):
    """Loading this model runs code from its file: allow it with --allow-pickle if you trust where it comes from."""

    code = "pickle_not_granted"


class ModelLoadFailed(ModelRefused):
    """The model could not be loaded."""

    code = "model_load_failed"


class NoSuchDevice(ModelLoadFailed):
    """The device asked for with --device does not exist here."""

    code = "no_such_device"


class MissingLibrary(ModelLoadFailed):
    """The model needs a library that is not installed."""

    code = "missing_library"


class MissingCode(ModelLoadFailed):
    """The model was pickled with classes or functions of a script: give their folder with --code DIR."""

    code = "missing_code"


class EnvironmentFailed(ModelLoadFailed):
    """The Python environment for the model's requirements could not be built."""

    code = "environment_failed"


class ArtifactDamaged(ModelLoadFailed):
    """The stored copy of the model is damaged: register the same file again."""

    code = "artifact_damaged"


class ModelTimedOut(ModelLoadFailed):
    """The model did not load and answer within the deadline."""

    code = "model_timed_out"


class ModelCrashed(ModelLoadFailed):
    """The process that loaded the model died."""

    code = "model_crashed"


class ValidationDataUnusable(ModelRefused):
    """The validation data cannot be used."""

    code = "validation_data_unusable"


class ScoreBelowGate(ModelRefused):
    """The score is below the gate's minimum."""

    code = "score_below_gate"

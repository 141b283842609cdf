"""What is not there, or not as it was: models, versions, endpoints, jobs, routes."""

from __future__ import annotations

from tidegate.errors.kinds import Kind, TidegateError


class UnknownModel(TidegateError):
    """No model has this name."""

    code, kind = "unknown_model", Kind.NOT_FOUND


class UnknownVersion(TidegateError):
    """The model has no such version."""

    code, kind = "unknown_version", Kind.NOT_FOUND


class NotTakenIn(UnknownVersion):
    """The registry has this version, and the platform has not taken it in yet: register it first."""

    code = "not_taken_in"


class UnknownEndpoint(TidegateError):
    """No endpoint has this name."""

    code, kind = "unknown_endpoint", Kind.NOT_FOUND


class UnknownJob(TidegateError):
    """No job has this id."""

    code, kind = "unknown_job", Kind.NOT_FOUND


class UnknownExperiment(TidegateError):
    """The endpoint has no experiment of this name."""

    code, kind = "unknown_experiment", Kind.NOT_FOUND


class UnknownCanary(TidegateError):
    """The endpoint had no canary, and no version of it was watched."""

    code, kind = "unknown_canary", Kind.NOT_FOUND


class UnknownUpload(TidegateError):
    """No upload has this id, or it expired: upload the file again."""

    code, kind = "unknown_upload", Kind.NOT_FOUND


class UnknownRoute(TidegateError):
    """There is nothing at this path."""

    code, kind = "unknown_route", Kind.NOT_FOUND


class MethodNotAllowed(TidegateError):
    """This path does not take this method."""

    code, kind = "method_not_allowed", Kind.METHOD


class ChangedMeanwhile(TidegateError):
    """Somebody changed it since it was read: look at it again, and change it then."""

    code, kind = "changed_meanwhile", Kind.CHANGED


class InUse(TidegateError):
    """It is in use and cannot be removed."""

    code, kind = "in_use", Kind.CONFLICT


class Conflict(TidegateError):
    """It disagrees with what is there."""

    code, kind = "conflict", Kind.CONFLICT


class AutomationRunning(Conflict):
    """An automation sets the traffic: --end-automation ends it and makes the change."""

    code = "automation_running"


class NoShadow(TidegateError):
    """No version shadows the endpoint."""

    code, kind = "no_shadow", Kind.NOT_FOUND


class SignatureDiffers(Conflict):
    """The version takes, or answers, something else than the live one does."""

    code = "signature_differs"


class SignatureChanged(TidegateError):
    """Clients of the live version would break: --accept-signature-change gives this one traffic all the same."""

    code, kind = "signature_changed", Kind.CONFLICT

"""Every expected failure, each with a stable code; edges turn `kind` into a status, once, with its tables.

An error says what was wrong, where, and what to do. Its docstring is its default message.
"""

from __future__ import annotations

# Also names of this module, which has all errors for those who ask.
from tidegate.errors.alerts import *  # noqa: F403
from tidegate.errors.kinds import EXIT_DONE as EXIT_DONE
from tidegate.errors.kinds import EXIT_FAILED as EXIT_FAILED
from tidegate.errors.kinds import EXIT_WRONG_USE as EXIT_WRONG_USE
from tidegate.errors.kinds import Kind
from tidegate.errors.kinds import TidegateError as TidegateError
from tidegate.errors.models import *  # noqa: F403

# -- requests ---------------------------------------------------------------------------------------------------------


class MalformedRequest(TidegateError):
    """The request cannot be read."""

    code, kind = "malformed_request", Kind.MALFORMED


class InvalidArgument(TidegateError):
    """An argument has a value that is not allowed."""

    code, kind, exit_code = "invalid_argument", Kind.UNFIT, EXIT_WRONG_USE


class UnfitInput(TidegateError):
    """The input does not fit the model's signature."""

    code, kind = "unfit_input", Kind.UNFIT


class Unauthenticated(TidegateError):
    """A key is needed: send it as 'Authorization: Bearer KEY'."""

    code, kind = "unauthenticated", Kind.UNAUTHENTICATED


class Forbidden(TidegateError):
    """This caller may not do that."""

    code, kind = "forbidden", Kind.FORBIDDEN


class TooLarge(TidegateError):
    """The request is larger than this server takes."""

    code, kind = "too_large", Kind.TOO_LARGE


class WrongContentType(TidegateError):
    """The content type is not one this route takes."""

    code, kind = "wrong_content_type", Kind.MEDIA_TYPE


class Overloaded(TidegateError):
    """Too much is waiting already: try again later."""

    code, kind = "overloaded", Kind.OVERLOADED


class BuffersFull(Overloaded):
    """The server holds as many bytes of requests as it takes: try again later."""

    code = "buffers_full"


class RateLimited(Overloaded):
    """This client sends more requests than it may: try again later."""

    code = "rate_limited"


class DeadlineExceeded(TidegateError):
    """The request's deadline passed before an answer was there."""

    code, kind = "deadline_exceeded", Kind.DEADLINE


class NoReadyReplica(TidegateError):
    """No replica is ready to answer: try again later."""

    code, kind = "no_ready_replica", Kind.UNAVAILABLE


class FeedbackNotKept(TidegateError):
    """The feedback could not be written to the capture journal: nothing of it was taken."""

    code, kind = "feedback_not_kept", Kind.UNAVAILABLE


class Internal(TidegateError):
    """The server failed; its log has the details under this id."""

    code, kind = "internal", Kind.INTERNAL


# -- things by name ---------------------------------------------------------------------------------------------------


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


class SignatureChanged(TidegateError):
    """Clients of the live version would break: --accept-signature-change gives this one traffic all the same."""

    code, kind = "signature_changed", Kind.CONFLICT


# -- the platform and its parts ---------------------------------------------------------------------------------------


class PortInUse(TidegateError):
    """Another process listens on this port: choose another."""

    code, kind = "port_in_use", Kind.CONFLICT


class DataDirUnusable(TidegateError):
    """The data directory cannot be used."""

    code, kind = "data_dir_unusable", Kind.CONFLICT


class DataDirInUse(DataDirUnusable):
    """Another instance runs on this data directory."""

    code = "data_dir_in_use"


class KeyRequired(TidegateError):
    """Binding off loopback needs a key: set TIDEGATE_API_KEY (or TIDEGATE_AUTH=none to serve without one)."""

    code, kind, exit_code = "key_required", Kind.FORBIDDEN, EXIT_WRONG_USE


class NotRunning(TidegateError):
    """The platform does not answer: start it with 'tidegate up'."""

    code, kind = "not_running", Kind.UNAVAILABLE


class MissingExtra(TidegateError):
    """This command needs the platform: pip install 'tidegate[platform]'."""

    code, kind = "missing_extra", Kind.UNAVAILABLE


class RegistryUnavailable(TidegateError):
    """The model registry does not answer."""

    code, kind = "registry_unavailable", Kind.UNAVAILABLE


class ArtifactsUnavailable(TidegateError):
    """The store of the registry's artifacts does not answer."""

    code, kind = "artifacts_unavailable", Kind.UNAVAILABLE


class NotLeader(TidegateError):
    """Another control plane leads: ask that one."""

    code, kind = "not_leader", Kind.UNAVAILABLE


class StoreUnavailable(TidegateError):
    """The database does not answer."""

    code, kind = "store_unavailable", Kind.UNAVAILABLE


class PartUnavailable(TidegateError):
    """A server that the settings name does not answer, refuses, or is another one."""

    code, kind = "part_unavailable", Kind.UNAVAILABLE


class CaptureUnreadable(TidegateError):
    """What was captured cannot be read just now."""

    code, kind = "capture_unreadable", Kind.UNAVAILABLE


class QueryRefused(TidegateError):
    """The query is no SELECT of the captured tables, or makes no sense."""

    code, kind = "query_refused", Kind.UNFIT


class QueryTooLarge(TidegateError):
    """The query took longer, or more memory, than one may."""

    code, kind = "query_too_large", Kind.UNFIT


class MetricsUnavailable(TidegateError):
    """Prometheus does not answer."""

    code, kind = "metrics_unavailable", Kind.UNAVAILABLE


class FilesBusy(TidegateError):
    """Another process holds the versions' files: try again."""

    code, kind = "files_busy", Kind.UNAVAILABLE


class JobAbandoned(TidegateError):
    """The process that ran this job died too often: it is not run again."""

    code, kind = "job_abandoned", Kind.INTERNAL


class JobCancelled(TidegateError):
    """Somebody cancelled this job."""

    code, kind = "job_cancelled", Kind.CONFLICT


class DiskFull(TidegateError):
    """The disk is full: nothing was changed; free some space and try again."""

    code, kind = "disk_full", Kind.UNAVAILABLE


class OutOfResources(TidegateError):
    """The machine has no file descriptors, memory or processes left: it goes on by itself once there is room."""

    code, kind = "out_of_resources", Kind.UNAVAILABLE


class EngineUnavailable(TidegateError):
    """No container engine answers."""

    code, kind = "engine_unavailable", Kind.UNAVAILABLE


class ImagePending(TidegateError):
    """The replica starts once its image is built."""

    code, kind = "image_pending", Kind.UNAVAILABLE


class WheelMissing(TidegateError):
    """A library that the version needs cannot be had as a wheel."""

    code, kind = "wheel_missing", Kind.UNFIT


class ImageBuildFailed(TidegateError):
    """The image could not be built."""

    code, kind = "image_build_failed", Kind.UNFIT


class ImagePushFailed(TidegateError):
    """The registry did not take the image."""

    code, kind = "image_push_failed", Kind.UNAVAILABLE


class UnknownImage(TidegateError):
    """No image of this version was built."""

    code, kind = "unknown_image", Kind.NOT_FOUND


class UnknownBaseline(TidegateError):
    """This version has no baseline."""

    code, kind = "unknown_baseline", Kind.NOT_FOUND


class MonitorsAlert(TidegateError):
    """Monitors that were to be fine alert."""

    code, kind = "monitors_alert", Kind.CONFLICT

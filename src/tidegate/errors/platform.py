"""What the platform, its parts and its machine cannot do just now, and what they refuse."""

from __future__ import annotations

from tidegate.errors.kinds import EXIT_WRONG_USE, Kind, TidegateError


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


class EngineDenied(EngineUnavailable):
    """The engine does not let this platform in, or not do what it has to."""

    code = "engine_denied"


class EngineRefused(TidegateError):
    """The engine does not take what it was asked for, and would not when asked again."""

    code, kind = "engine_refused", Kind.UNFIT


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

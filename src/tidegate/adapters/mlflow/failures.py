"""What MLflow, its transport and its artifact stores raise, as errors of ours that say what to do.

Called by the registry's adapter. Imports none of those libraries: they are told apart by the names of their classes.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tidegate.errors import ArtifactsUnavailable, DiskFull, RegistryUnavailable, TidegateError, UnknownVersion

NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
URI = "MLFLOW_TRACKING_URI"
_CHARS_MAX = 300
_OF_MLFLOW = ("mlflow.", "sqlalchemy.", "requests.", "urllib3.")
_OF_STORES = ("botocore.", "boto3.", "s3transfer.", "google.", "azure.")
_CAUSE = re.compile(r"\(Caused by \w+\((.*)\)\)")
_OBJECT = re.compile(r"<[\w.]+ object at 0x[0-9a-f]+>:? ?|\b[\w.]*HTTPS?Connection\(host=[^)]*\): ")
_USER_IN_URL = re.compile(r"//[^/@\s'\"]+@")
_STORE_AND_PATH = re.compile(r"(\w[\w+-]*://[^/\s]+)")
# S3's error codes are gone from what MLflow raises: its sentences are all that is left of some. First match holds.
_OF_S3 = (
    (
        re.compile(r"NoSuchBucket|bucket does not exist", re.IGNORECASE),
        "there is no bucket {store}, where the registry keeps {what}: create it, or correct the registry's artifact "
        "root",
    ),
    (
        re.compile(r"Unable to locate credentials|Partial credentials|DefaultCredentialsError", re.IGNORECASE),
        "no credentials for {store}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, then restart the platform",
    ),
    (
        re.compile(
            r"UNAUTHENTICATED|PERMISSION_DENIED|AccessDenied|access denied|InvalidAccessKeyId|\(403\)|Forbidden|"
            r"InvalidToken|ExpiredToken|"
            r"Access Key Id you provided|SignatureDoesNotMatch|request signature we calculated",
            re.IGNORECASE,
        ),
        "{store} refuses these credentials: {error}; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may "
        "do, then restart the platform",
    ),
)
_NO_OBJECT = re.compile(r"\(404\)|NoSuchKey|does not exist|error code 404", re.IGNORECASE)
_NO_SERVER = re.compile(r"HTTPS?ConnectionPool|Max retries exceeded")


def code_of(error: Exception) -> str | None:
    """MLflow's own error code, where the error has one."""
    return getattr(error, "error_code", None)


def short(error: Exception) -> str:
    """The error in one line, the same each time, with neither users nor passwords of URLs."""
    text = " ".join(str(error).split())
    if cause := _CAUSE.search(text):  # of urllib3: before it stands only what was asked for
        text = cause[1].strip("\"'")
    return _OBJECT.sub("", _USER_IN_URL.sub("//", text))[:_CHARS_MAX]


def place_of(uri: str) -> str:
    """A URL without the user, the password and the query in it."""
    parts = urlsplit(uri)
    if not parts.netloc:
        return uri
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")


@contextmanager
def registry_failures(where: str) -> Iterator[None]:
    """Whatever MLflow, its database or its transport raises inside becomes `RegistryUnavailable` (or `DiskFull`)."""
    try:
        yield
    except TidegateError:
        raise
    except OSError as error:
        if _is_full(error):
            raise DiskFull from error
        raise RegistryUnavailable(f"the model registry does not answer ({where}): {short(error)}") from error
    except Exception as error:
        if type(error).__module__.startswith((*_OF_MLFLOW, *_OF_STORES)):
            raise RegistryUnavailable(_registry_message(error, where)) from error
        raise


def _registry_message(error: Exception, where: str) -> str:
    text = str(error)
    if code_of(error) == "UNAUTHENTICATED" or "error code 401" in text:
        return (
            f"the model registry refuses these credentials ({where}): set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD (or MLFLOW_TRACKING_TOKEN), then restart the platform"
        )
    if code_of(error) == "PERMISSION_DENIED" or "error code 403" in text:
        return f"the model registry does not allow this ({where}): {short(error)}"
    advice = f"; start it, or correct {URI}" if where.startswith("MLflow at") else ""
    return f"the model registry does not answer ({where}): {short(error)}{advice}"


@contextmanager
def artifact_failures(what: str, root: str) -> Iterator[None]:
    """Failures of the store that keeps the registry's artifacts, below `root`; `what` is read or written there."""
    try:
        yield
    except TidegateError:
        raise
    except FileNotFoundError as error:
        raise UnknownVersion(f"nothing lies at {what}") from error
    except Exception as error:
        if isinstance(error, OSError) and _is_full(error):
            raise DiskFull from error
        if not _is_of_store(error):
            raise
        raise _of_store(error, what, root) from error


def _is_of_store(error: Exception) -> bool:
    known = type(error).__module__.startswith((*_OF_MLFLOW, *_OF_STORES))
    return known or isinstance(error, OSError | ImportError)


def _of_store(error: Exception, what: str, root: str) -> TidegateError:
    store, text = _store_of(root), f"{code_of(error)} {error}"
    if isinstance(error, ImportError):
        extra = "pip install 'tidegate[s3]'" if store.startswith("s3:") else f"install {error.name}"
        return ArtifactsUnavailable(f"reading {store} takes a library that is not installed: {extra}", store=store)
    if root.startswith("mlflow-artifacts:") and _NO_SERVER.search(text):
        return RegistryUnavailable(f"the model registry does not answer: {short(error)}")
    why = next((why for pattern, why in _OF_S3 if pattern.search(text)), None)
    if why is not None:
        return ArtifactsUnavailable(why.format(store=store, what=what, error=short(error)), store=store)
    if code_of(error) in (*NOT_THERE, *REFUSED) or _NO_OBJECT.search(text):
        return UnknownVersion(f"nothing lies at {what}: {short(error)}")
    where = " (MLFLOW_S3_ENDPOINT_URL says where it is)" if store.startswith("s3:") else ""
    return ArtifactsUnavailable(f"{store} does not answer{where}: {short(error)}", store=store)


def _store_of(root: str) -> str:
    found = _STORE_AND_PATH.match(root)
    return found[1] if found else "the registry's artifact store"


def _is_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)

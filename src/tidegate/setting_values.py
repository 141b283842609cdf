"""How settings are declared, and what texts in the environment stand for. Used by the modules of settings alone."""

from __future__ import annotations

from dataclasses import field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tidegate.errors import InvalidArgument


def setting(default: Any, env: str, doc: str, allowed: tuple[float, float] | None = None) -> Any:
    """A field that `from_env` reads from `env`. `allowed` is the range of a number, both ends in it."""
    return field(default=default, metadata={"env": env, "doc": doc, "allowed": allowed})


def parse(name: str, text: str, type_name: str) -> Any:
    """A number, a flag, a path or the text itself, as the type says. Raises `InvalidArgument` naming the variable."""
    try:
        if type_name == "int":
            return int(text)
        if type_name == "float":
            return float(text)
    except ValueError:
        raise InvalidArgument(f"environment variable {name}={text!r} is not a number", field=name) from None
    if type_name == "bool":
        return _flag(name, text)
    return Path(text).expanduser() if type_name.startswith("Path") else text


_FLAGS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def _flag(name: str, text: str) -> bool:
    found = _FLAGS.get(text.strip().lower())
    if found is None:
        raise InvalidArgument(f"environment variable {name}={text!r} is neither on nor off: give 1 or 0", field=name)
    return found


def is_address(value: str, schemes: tuple[str, ...]) -> bool:
    """Whether it has the form of a server's address with one of these schemes."""
    try:
        parts = urlsplit(value)
        _ = parts.port  # raises where it is no number
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.hostname or (parts.scheme == "unix" and parts.path))


def check_ranges(settings: Any) -> None:
    """A dataclass whose fields say what is `allowed`. Raises `InvalidArgument` for the first that is out of range."""
    for item in fields(settings):
        value, allowed = getattr(settings, item.name), item.metadata["allowed"]
        if allowed is not None and not allowed[0] <= value <= allowed[1]:  # NaN is in no range
            name = item.metadata["env"]
            raise InvalidArgument(
                f"{name}={value!r} is out of range: it must be from {allowed[0]} to {allowed[1]}", field=name
            )


def check_urls(settings: Any) -> None:
    """Form alone. The message never repeats the value: it may hold a password."""
    for item in fields(settings):
        value, schemes = getattr(settings, item.name), item.metadata.get("schemes")
        if value is None or schemes is None or is_address(value, schemes):
            continue
        name, example = item.metadata["env"], item.metadata["example"]
        beginnings = " or ".join(f"{scheme}://" for scheme in schemes)
        what = "a bucket" if "s3" in schemes else "a host"
        raise InvalidArgument(f"{name} must be {beginnings} with {what}, such as {example}", field=name)


def check_bucket(url: str | None, endpoint_url: str | None) -> None:
    """What captured rows' bucket, and the server that has it, may be: keys have no place in either."""
    for name, value in (("TIDEGATE_CAPTURE_URL", url), ("TIDEGATE_CAPTURE_S3_ENDPOINT_URL", endpoint_url)):
        if value is not None and (set("@?#") & set(value) or "//" in value.partition("://")[2]):
            raise InvalidArgument(
                f"{name} has a user, a query or an empty folder in it, which is for no bucket: keys are "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                field=name,
            )
    if endpoint_url is not None and urlsplit(endpoint_url).path.strip("/"):
        name = "TIDEGATE_CAPTURE_S3_ENDPOINT_URL"
        raise InvalidArgument(f"{name} is a server alone, such as http://host:9000, without a path", field=name)
    if endpoint_url is not None and url is None:
        name = "TIDEGATE_CAPTURE_S3_ENDPOINT_URL"
        raise InvalidArgument(f"{name} is set, and TIDEGATE_CAPTURE_URL is not: name the bucket too", field=name)
    if url is not None and ":" in urlsplit(url).netloc:
        raise InvalidArgument(
            "TIDEGATE_CAPTURE_URL names a bucket, without a port: the server is TIDEGATE_CAPTURE_S3_ENDPOINT_URL",
            field="TIDEGATE_CAPTURE_URL",
        )

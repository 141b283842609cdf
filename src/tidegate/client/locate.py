"""Finds the platform: which URL, which token. Read by `Client` when it is made; opens no connection."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from tidegate.errors import Forbidden, InvalidArgument, NotRunning
from tidegate.listening import is_loopback
from tidegate.settings import Settings
from tidegate.wire.decoding import decode_json


class ControlFile(msgspec.Struct):
    """What a running control plane writes to `DATA/control.json`."""

    url: str
    gateway_url: str | None = None
    pid: int | None = None


@dataclass(frozen=True)
class PlatformLocation:
    """Where to call and what to show at the door. `gateway_url` None: the control plane knows it."""

    url: str
    token: str | None
    gateway_url: str | None
    api_key: str | None
    data_dir: Path | None


def locate(url: str | None = None, token: str | None = None, data_dir: str | Path | None = None) -> PlatformLocation:
    """What is said here comes first, then what the environment says, then the default data directory.

    The token in the data directory is never sent to a URL off this machine. Raises `NotRunning` when no platform runs
    on the data directory and no URL is known.
    """
    settings = Settings.from_env(data_dir=data_dir)
    running = read_control_file(settings.data_dir)
    if url is None and (running is None or data_dir is None):
        url = settings.url
    if url is not None:
        gateway_url = running.gateway_url if running and running.url.rstrip("/") == url.rstrip("/") else None
        local = is_loopback(check_url(url))
        token = token or settings.token or (read_token(settings.data_dir) if local else None)
        return PlatformLocation(url.rstrip("/"), token, gateway_url, settings.api_key, settings.data_dir)
    if running is None:
        raise NotRunning(
            f"no platform runs on data directory {settings.data_dir}: start it with 'tidegate up', "
            "or point at another with --data-dir, --url or TIDEGATE_URL"
        )
    token = token or read_token(settings.data_dir) or settings.token
    return PlatformLocation(running.url.rstrip("/"), token, running.gateway_url, settings.api_key, settings.data_dir)


def check_url(url: str) -> str:
    """The host of an http(s) URL; raises `InvalidArgument` for anything else."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidArgument(f"{url!r} is not an http URL: give one like http://127.0.0.1:8800", field="url")
    return parts.hostname


def read_control_file(data_dir: Path) -> ControlFile | None:
    """The control plane's own note, None where there is none or it cannot be read."""
    try:
        return decode_json((data_dir / "control.json").read_bytes(), ControlFile)
    except (OSError, msgspec.DecodeError):
        return None


def read_token(data_dir: Path) -> str | None:
    """The token in the data directory; raises `Forbidden` when another user owns it."""
    try:
        return (data_dir / "token").read_text().strip() or None
    except PermissionError:
        raise Forbidden(
            f"cannot read {data_dir / 'token'}: run this as the user who started the platform, or set TIDEGATE_TOKEN"
        ) from None
    except OSError:
        return None

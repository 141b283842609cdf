"""The REST API of Cloud Run, version 2, and what else is asked of Google: calls that end in time, and errors in words.

Writes return once they are taken in: what becomes of them is seen by the next look at the service. After a call that
got no answer none is made for a moment, so that a loop that asks often is not held up each time, nor Google.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec
import urllib3

from tidegate.adapters.cloudrun.credentials import GoogleCredentials
from tidegate.adapters.cloudrun.place import CloudRunPlace
from tidegate.adapters.outage import Outage
from tidegate.clock import Clock, monotonic
from tidegate.core.backoff import Backoff
from tidegate.errors import EngineDenied, EngineRefused, EngineUnavailable, MissingExtra
from tidegate.wire.decoding import json_decoder

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 20.0
ANSWER_BYTES_MAX = 32 << 20
PAGE_SIZE, PAGES_MAX = 100, 100
LOG_LINES_MAX = 1000
SECRETS = "secretmanager.googleapis.com"
AWAY = Backoff(first_s=0.5, longest_s=10.0)

_objects = json_decoder(dict[str, Any])


class Changed(Exception):
    """Somebody else changed the resource since it was read: read it again."""


class Refused(Exception):
    """The state that the resource is in does not allow it."""


class Missing(Exception):
    """There is no such resource."""


@dataclass(frozen=True)
class _Answer:
    status: int
    data: bytes


class CloudRunApi:
    """One project and region. Safe to share between threads."""

    def __init__(self, place: CloudRunPlace, credentials: GoogleCredentials, clock: Clock = monotonic) -> None:
        self.place = place
        self._credentials = credentials
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S), retries=False, maxsize=4
        )
        self._outage = Outage(clock, AWAY)

    @property
    def fault(self) -> EngineUnavailable | None:
        """What the last call came to, if Cloud Run did not answer it; None while all is well, or nothing was asked."""
        return self._outage.fault

    # -- services and revisions ------------------------------------------------------------------------------------

    def service(self, name: str) -> dict[str, Any] | None:
        """As it is now; None where there is none."""
        try:
            return self.call("GET", f"v2/{self.place.parent}/services/{name}")
        except Missing:
            return None

    def services(self) -> list[dict[str, Any]]:
        """All in this project and region, whoever made them. A region that is none raises `EngineUnavailable`."""
        try:
            return self._pages(f"v2/{self.place.parent}/services", "services")
        except Missing as error:
            raise self.nowhere(str(error)) from error

    def revisions(self, service: str) -> list[dict[str, Any]]:
        """Those of a service; none where it is gone."""
        try:
            return self._pages(f"v2/{self.place.parent}/services/{service}/revisions", "revisions")
        except Missing:
            return []

    def create(self, name: str, service: Mapping[str, Any]) -> str:
        """The name of the operation. Raises `Changed` where there is one by now; see `services` of the region."""
        try:
            taken = self.call("POST", f"v2/{self.place.parent}/services", service, {"serviceId": name})
        except Missing as error:
            raise self.nowhere(str(error)) from error
        return str(taken.get("name", ""))

    def update(self, name: str, service: Mapping[str, Any], mask: str = "") -> str:
        """The name of the operation; with a `mask`, these fields alone. `service` has the etag: raises `Changed`,
        also where somebody deleted it.
        """
        where = f"v2/{self.place.parent}/services/{name}"
        try:
            return str(self.call("PATCH", where, service, {"updateMask": mask} if mask else {}).get("name", ""))
        except Missing as error:
            raise Changed(str(error)) from error

    def delete(self, path: str, etag: str = "") -> None:
        """A service or a revision, by its full name; one that is gone is no error. Raises `Changed`, `Refused`."""
        try:
            self.call("DELETE", f"v2/{path}", params={"etag": etag} if etag else {})
        except Missing:
            return

    def operation_error(self, name: str) -> tuple[bool, str]:
        """Whether it is done, and what went wrong in it; one that is forgotten is done."""
        try:
            found = self.call("GET", f"v2/{name}")
        except Missing:
            return True, ""
        return bool(found.get("done")), str((found.get("error") or {}).get("message", ""))

    # -- beside them -----------------------------------------------------------------------------------------------

    def log_lines(self, service: str, revision: str, lines_max: int) -> list[str]:
        """What the instances of a revision wrote last, oldest first, by Cloud Logging; none where it knows nothing."""
        asked = {
            "resourceNames": [f"projects/{self.place.project}"],
            "filter": 'resource.type="cloud_run_revision"'
            f' AND resource.labels.service_name="{service}" AND resource.labels.revision_name="{revision}"',
            "orderBy": "timestamp desc",
            "pageSize": min(max(lines_max, 1), LOG_LINES_MAX),
        }
        try:
            entries = self.call("POST", "v2/entries:list", asked, api="logging").get("entries") or []
        except Missing:
            return []
        texts = [_text_of(one) for one in entries]
        return [line for text in reversed(texts) for line in text.splitlines()][-lines_max:]

    def missing_rights(self, permissions: list[str]) -> list[str]:
        """Those that these credentials do not have in the project."""
        path = f"v1/projects/{self.place.project}:testIamPermissions"
        has = self.call("POST", path, {"permissions": permissions}, api="cloudresourcemanager").get("permissions") or []
        return [one for one in permissions if one not in has]

    def may_act_as(self, account: str) -> bool:
        """Whether these credentials may start something in this service account's name. Raises `Missing`."""
        wanted = "iam.serviceAccounts.actAs"
        path = f"v1/projects/-/serviceAccounts/{account}:testIamPermissions"
        return wanted in (self.call("POST", path, {"permissions": [wanted]}, api="iam").get("permissions") or [])

    # -- calls -----------------------------------------------------------------------------------------------------

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        api: str = "run",
    ) -> dict[str, Any]:
        """The answer's object. Raises `EngineUnavailable`, `EngineRefused`, and this module's own."""
        if api == "run":
            self._outage.check()
        try:
            answer = self._asked(method, f"{self.place.apis[api]}/{path}", body, params)
            if answer.status == 401:  # a token that was good a moment ago: once more, with another one
                self._credentials.forget()
                answer = self._asked(method, f"{self.place.apis[api]}/{path}", body, params)
        except EngineUnavailable as error:
            raise self._failed(error, api) from error
        except MissingExtra as error:  # it was there when replicas were started: what runs is unknown without it
            raise EngineDenied(error.message) from error
        except urllib3.exceptions.HTTPError as error:
            where = self.place.apis[api]
            raise self._failed(
                EngineUnavailable(f"Google's API at {where} does not answer ({error}): what runs there serves on"),
                api,
            ) from error
        if answer.status != 200:
            raise self._error(answer.status, _error_of(answer.data), f"{method} {path}", api)
        self._answered(api)
        return _decoded(answer.data)

    def nowhere(self, message: str) -> EngineUnavailable:
        """The error for a project or a region that is none."""
        return EngineUnavailable(
            f"Cloud Run knows no region {self.place.region} of project {self.place.project} ({message}): correct "
            "TIDEGATE_CLOUDRUN_REGION or TIDEGATE_CLOUDRUN_PROJECT ('gcloud run regions list' lists regions)"
        )

    def _asked(
        self, method: str, url: str, body: Mapping[str, Any] | None, params: Mapping[str, str] | None
    ) -> _Answer:
        headers = {"Authorization": f"Bearer {self._credentials.access_token()}"}
        data = None
        if body is not None:
            data, headers["Content-Type"] = msgspec.json.encode(body), "application/json"
        if params:
            url += f"?{urlencode(params)}"  # etags and page tokens are base64, in quotes: "CN+8…/cg=="
        response = self._pool.request(method, url, body=data, headers=headers, preload_content=False)
        try:
            said = response.read(ANSWER_BYTES_MAX + 1, decode_content=True)
        finally:
            response.close()  # an answer that was read to its end has given its connection back before
        if len(said) > ANSWER_BYTES_MAX:
            raise EngineUnavailable(f"{url} sent more than {ANSWER_BYTES_MAX >> 20} MiB at once")
        return _Answer(response.status, said)

    def _error(self, status: int, said: Mapping[str, Any], call: str, api: str) -> Exception:
        message, reason = str(said.get("message", "")), str(said.get("status", ""))
        if status == 404:
            return Missing(message)
        if status == 409:
            return Changed(message)
        if status == 400 and reason == "FAILED_PRECONDITION":
            return Refused(message)
        if status == 400:
            return EngineRefused(f"Cloud Run does not take this: {message}")
        fault = _unavailable(status, message, said, call)
        return fault if status == 403 else self._failed(fault, api)  # one missing right holds nothing else up

    def _failed(self, fault: EngineUnavailable, api: str) -> EngineUnavailable:
        return self._outage.failed(fault) if api == "run" else fault

    def _answered(self, api: str) -> None:
        if api == "run":
            self._outage.over("Google Cloud Run")

    def _pages(self, path: str, what: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        params = {"pageSize": str(PAGE_SIZE)}
        for _ in range(PAGES_MAX):
            page = self.call("GET", path, params=params)
            found += page.get(what) or []
            if not page.get("nextPageToken"):
                return found
            params["pageToken"] = str(page["nextPageToken"])
        raise EngineUnavailable(f"there are more than {PAGE_SIZE * PAGES_MAX} {what} on Cloud Run")


def _unavailable(status: int, message: str, said: Mapping[str, Any], call: str) -> EngineUnavailable:
    reasons = {str(one.get("reason", "")) for one in said.get("details") or [] if isinstance(one, dict)}
    if "SERVICE_DISABLED" in reasons:
        secrets = f" {SECRETS}" if "/secrets" in call else ""
        return EngineDenied(
            f"an API of Google's is not enabled in this project ({message}): run 'gcloud services enable "
            f"run.googleapis.com logging.googleapis.com iam.googleapis.com{secrets}'"
        )
    if status == 401:
        return EngineDenied(
            f"Google does not take the credentials ({message}): run 'gcloud auth application-default login'"
        )
    if status == 403:
        return EngineDenied(
            f"Google refuses {call} ({message}): give the platform's account this right ('tidegate doctor' names all "
            "that it needs)"
        )
    if status == 429:
        return EngineUnavailable(f"Google takes no more calls for now, or a quota is used up ({message}): tried again")
    return EngineUnavailable(f"Google's API answered {status} to {call} ({message or 'no reason given'})")


def _text_of(entry: Mapping[str, Any]) -> str:
    """A line that is JSON is kept by Cloud Logging as an object: it is JSON again here."""
    payload = entry.get("jsonPayload")
    return str(entry.get("textPayload") or (msgspec.json.encode(payload).decode() if payload else ""))


def _decoded(data: bytes) -> dict[str, Any]:
    try:
        return _objects.decode(data)
    except msgspec.DecodeError as error:
        raise EngineUnavailable(f"what answers as Google's API is none: {error}") from error


def _error_of(data: bytes) -> Mapping[str, Any]:
    try:
        said = _objects.decode(data).get("error")
    except msgspec.DecodeError:
        return {}
    return said if isinstance(said, dict) else {}

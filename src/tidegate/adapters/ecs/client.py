"""Calls of AWS's API with boto3, which end in time, and what its refusals mean. Knows no replica.

Credentials are found by AWS's own chain: the environment, profiles, SSO, the role of a machine or task.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

from tidegate.adapters.outage import Outage
from tidegate.clock import Clock, monotonic
from tidegate.core.backoff import Backoff
from tidegate.errors import EngineUnavailable, MissingExtra, TidegateError

CONNECT_TIMEOUT_S, READ_TIMEOUT_S, ATTEMPTS_MAX = 3.0, 10.0, 4
AWAY = Backoff(first_s=0.5, longest_s=10.0)
"""For so long nothing more is asked of AWS after it did not answer, or had too many calls."""

CALLS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ecs": (
            "create_service",
            "delete_service",
            "delete_task_definitions",
            "deregister_task_definition",
            "describe_clusters",
            "describe_services",
            "describe_task_definition",
            "describe_tasks",
            "list_services",
            "list_task_definitions",
            "list_tasks",
            "register_task_definition",
            "stop_task",
            "tag_resource",
            "update_service",
            "update_task_protection",
        ),
        "logs": ("describe_log_groups", "get_log_events"),
        "ssm": ("delete_parameter", "put_parameter"),
        "ec2": ("describe_security_groups", "describe_subnets"),
        "iam": ("get_role",),
        "sts": ("get_caller_identity",),
    }
)
"""Every call this adapter and `doctor` make, by service: no other works. The policy in `scripts/` is made of them."""

_KEYS = (
    "give AWS credentials where AWS's own tools find them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE "
    "(after 'aws sso login'), or a role of this machine"
)
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
_WRONG_KEYS = (
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "MissingAuthenticationToken",
    "InvalidAccessKeyId",
    "AuthFailure",
)
_REFUSED = ("AccessDeniedException", "AccessDenied", "UnauthorizedOperation")
_BUSY = ("ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded", "RateExceeded")
_BROKEN = ("ServerException", "InternalError", "InternalFailure", "ServiceUnavailable", "ServiceUnavailableException")


class AwsRefusal(Exception):
    """AWS answers that it does not do this; `code` is its error's name, `message` its words."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


class AwsClient:
    """AWS in one region, connected to when it is first asked. Safe to share between threads."""

    def __init__(self, region: str | None, clock: Clock = monotonic, attempts_max: int = ATTEMPTS_MAX) -> None:
        self._region, self._attempts_max = region, attempts_max
        self._lock = threading.Lock()
        self._session: Any = None
        self._clients: dict[str, Any] = {}
        self._outages = {service: Outage(clock, AWAY) for service in CALLS}

    @property
    def fault(self) -> str | None:
        """What the last call of ECS came to, if it did not answer; None while all is well, or nothing was asked."""
        found = self._outages["ecs"].fault
        return None if found is None else found.message

    @property
    def region(self) -> str:
        """The region that is asked. Raises `EngineUnavailable` where none is set, `MissingExtra`."""
        with self._lock:
            return self._regional()

    def call(self, service: str, operation: str, /, **request: Any) -> dict[str, Any]:
        """One call of `CALLS`. Raises `EngineUnavailable`, and `AwsRefusal` for any other refusal.

        Without AWS's library nothing is known either: `require_boto3` says so before anything starts.
        """
        if operation not in CALLS[service]:
            raise ValueError(f"{service}.{operation} is not among CALLS")
        self._outages[service].check()
        try:
            errors = import_botocore("exceptions")
        except MissingExtra as error:
            raise self._failed(service, EngineUnavailable(error.message), answered=False) from error
        try:
            answer: dict[str, Any] = getattr(self._client(service), operation)(**request)
        except errors.ClientError as error:
            raise self._meant(error, service, operation) from error
        except errors.ParamValidationError as error:
            raise AwsRefusal("InvalidParameterException", " ".join(str(error).split())) from error
        except errors.BotoCoreError as error:
            raise self._failed(service, self._away(error), answered=False) from error
        except EngineUnavailable as error:
            raise self._failed(service, error, answered=False) from error
        self._answered(service)
        return answer

    def _client(self, service: str) -> Any:
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._connect(service)
            return self._clients[service]

    def _connect(self, service: str) -> Any:
        region = self._regional()
        config = import_botocore("config").Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            retries={"mode": "adaptive", "total_max_attempts": self._attempts_max},
            user_agent_extra="tidegate",
        )
        return self._session.client(service, region_name=region, config=config)

    def _regional(self) -> str:
        if self._session is None:
            self._session = _boto3().Session()
        region = self._region or self._session.region_name
        if not region:
            raise EngineUnavailable("no AWS region is set: say with AWS_REGION where the ECS cluster is (eu-west-1)")
        return str(region)

    def _meant(self, error: Any, service: str, operation: str) -> Exception:
        """What an error that AWS answered means for whoever asked."""
        answer = error.response.get("Error", {})
        code, message = str(answer.get("Code", "")), str(answer.get("Message", ""))
        call = f"{service}:{operation.replace('_', ' ').title().replace(' ', '')}"
        if code in _EXPIRED:
            return self._failed(service, EngineUnavailable(f"the AWS credentials have expired ({code}): {_KEYS}"))
        if code in _WRONG_KEYS:
            return self._failed(service, EngineUnavailable(f"AWS does not take these credentials ({code}): {_KEYS}"))
        if code in _REFUSED:
            why = f"AWS does not allow {call} ({message[:300]}): give this user or role that right"
            return self._failed(service, EngineUnavailable(why))
        if code in _BUSY:
            why = (
                f"AWS has too many calls from this account ({call}: {code}): what runs is not known; it is tried again"
            )
            return self._failed(service, EngineUnavailable(why))
        if code in _BROKEN or error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
            why = f"AWS fails at {call} ({code}: {message[:200]}): it is tried again"
            return self._failed(service, EngineUnavailable(why))
        self._answered(service)
        return AwsRefusal(code, message)

    def _away(self, error: Exception) -> EngineUnavailable:
        """What an error without an answer means: no credentials, no network, no such region."""
        kind = type(error).__name__
        if kind in ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"):
            return EngineUnavailable(f"there are no AWS credentials ({error}): {_KEYS}")
        if "Token" in kind or "SSO" in kind:
            return EngineUnavailable(f"the AWS login is over or was never made ({error}): {_KEYS}")
        if kind in ("ProfileNotFound", "ConfigNotFound", "ConfigParseError"):
            return EngineUnavailable(f"AWS's configuration cannot be used ({error}): correct AWS_PROFILE or the file")
        region = self._region or (self._session.region_name if self._session is not None else None)
        known = [] if self._session is None else self._session.get_available_regions("ecs")
        if region and known and region not in known:
            return EngineUnavailable(
                f"AWS has no ECS in region {region!r}: correct AWS_REGION (for example {known[0]})"
            )
        return EngineUnavailable(f"AWS does not answer in region {region} ({str(error)[:300]}): is there a network?")

    def _failed(self, service: str, error: EngineUnavailable, *, answered: bool = True) -> EngineUnavailable:
        if not answered:
            with self._lock:
                self._clients.pop(service, None)
                self._session = None  # credentials and configuration are read anew
        return self._outages[service].failed(error)

    def _answered(self, service: str) -> None:
        self._outages[service].over(f"AWS ({service})")


def _boto3() -> Any:
    """Imported when AWS is used: the base install does not have it."""
    try:
        return import_module("boto3")
    except ModuleNotFoundError:
        raise MissingExtra("running replicas on AWS ECS needs boto3: pip install 'tidegate[ecs]'") from None


def require_boto3() -> None:
    """Raises `MissingExtra`."""
    _boto3()


def import_botocore(module: str) -> Any:
    """A module of botocore, which comes with boto3. Raises `MissingExtra`."""
    _boto3()
    return import_module(f"botocore.{module}")


def refused(refusal: AwsRefusal, what: str) -> TidegateError:
    """What a refusal of a write means: settings to correct, or something that will never be."""
    from tidegate.errors import InvalidArgument

    message = refusal.message[:400]
    for mark, setting in _OF_SETTINGS:
        if mark in message.lower() or mark == refusal.code.lower():
            return EngineUnavailable(f"AWS does not {what} ({message}): correct {setting}")
    return InvalidArgument(f"AWS does not {what} ({refusal.code}: {message})", field="backend")


_OF_SETTINGS = (
    ("clusternotfoundexception", "TIDEGATE_ECS_CLUSTER"),
    ("cluster not found", "TIDEGATE_ECS_CLUSTER"),
    ("subnet", "TIDEGATE_ECS_SUBNETS"),
    ("securitygroup", "TIDEGATE_ECS_SECURITY_GROUPS"),
    ("security group", "TIDEGATE_ECS_SECURITY_GROUPS"),
    ("role", "TIDEGATE_ECS_EXECUTION_ROLE"),
    ("capacity provider", "TIDEGATE_ECS_CAPACITY_PROVIDER"),
    ("assignpublicip", "TIDEGATE_ECS_PUBLIC_IP"),
)
"""By a word of AWS's message, the setting that is at fault: it is no fault of the version."""

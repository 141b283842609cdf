"""Requests and answers held against botocore's own description of AWS's API: what it does not have is refused."""

from __future__ import annotations

from functools import cache
from typing import Any

import botocore.session
from botocore.validate import ParamValidator

JSON_SERVICES = {"AmazonEC2ContainerServiceV20141113": "ecs", "Logs_20140328": "logs", "AmazonSSM": "ssm"}
"""By the prefix of the header X-Amz-Target."""


class ApiError(Exception):
    """What AWS answers instead."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status = code, message, status


@cache
def model(service: str) -> Any:
    """The service's description."""
    return botocore.session.get_session().get_service_model(service)


def check_request(service: str, operation: str, request: dict[str, Any]) -> None:
    """Raises `ApiError` for an operation, a field or a type that the API does not have."""
    if operation not in model(service).operation_names:
        raise ApiError("UnknownOperationException", operation)
    found = ParamValidator().validate(request, model(service).operation_model(operation).input_shape)
    if found.has_errors():
        raise ApiError("InvalidParameterException", found.generate_report())


def check_answer(service: str, operation: str, answer: dict[str, Any]) -> None:
    """A fake that answers what AWS cannot is a mistake of ours."""
    shape = model(service).operation_model(operation).output_shape
    if shape is None:
        assert not answer
        return
    found = ParamValidator().validate(answer, shape)
    assert not found.has_errors(), f"{service}:{operation}: {found.generate_report()}"

"""The OpenAPI description of gateway and replica, with a real example for each endpoint."""

from __future__ import annotations

from typing import Any

import orjson

from tidegate.dataplane.calls.call import Destination
from tidegate.dataplane.calls.directory import Service
from tidegate.dataplane.codec.v2 import BINARY_ONLY
from tidegate.version import __version__
from tidegate.wire.signature import TensorSpec

_ERRORS = {
    "400": "Malformed",
    "401": "A key is needed",
    "404": "Unknown endpoint or version",
    "413": "Too large",
    "415": "Content type",
    "422": "Does not fit the signature",
    "429": "Overloaded",
    "500": "The model failed",
    "503": "No ready replica",
    "504": "Deadline passed",
}


def openapi(title: str, services: list[Service], *, is_replica: bool) -> dict[str, Any]:
    """The OpenAPI description of what is served now; one path an endpoint, with its own example."""
    paths: dict[str, Any] = {}
    for service in services:
        destinations = service.destinations()
        if destinations:
            paths["/predict" if is_replica else f"/predict/{service.name}"] = _predict(service, destinations[0])
            paths[f"/v2/models/{service.name}/infer"] = _infer(service, destinations[0])
            mlflow = "/invocations" if is_replica else f"/endpoints/{service.name}/invocations"
            paths[mlflow] = _invocations(service, destinations[0])
            paths |= _tensorflow(service, destinations[0])
    paths["/health"] = {"get": _operation("Whether the server is up", "Server", {"200": _ok("Health")})}
    paths["/ping"] = {
        "get": _operation("Whether the server is up (MLflow)", "Server", {"200": {"description": "Done"}})
    }
    paths["/version"] = {"get": _operation("The server's version (MLflow)", "Server", {"200": _text("The version")})}
    paths["/v2"] = {"get": _operation("The server's name, version and extensions", "Server", {"200": _ok("Any")})}
    paths["/v2/health/ready"] = {"get": _operation("Whether it can answer", "Server", {"200": _ok("Any")})}
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": __version__},
        "paths": paths,
        "components": {"schemas": _SCHEMAS, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"key": []}],
    }


def _predict(service: Service, destination: Destination) -> dict[str, Any]:
    body = _content("Prediction request", "PredictRequest", {"features": destination.example})
    responses = {"200": _ok("PredictResponse")} | _errors()
    return {"post": _operation(f"Predict with {service.name}", service.name, responses) | {"requestBody": body}}


def _infer(service: Service, destination: Destination) -> dict[str, Any]:
    body = _content("V2 inference request", "InferRequest", {"inputs": v2_example(destination)})
    if any(spec.datatype in BINARY_ONLY for spec in destination.signature.inputs):
        del body["content"]["application/json"]["example"]  # JSON has no form for these
    responses = {"200": _ok("InferResponse")} | _errors()
    summary = f"Predict with {service.name} (Open Inference Protocol)"
    return {"post": _operation(summary, service.name, responses) | {"requestBody": body}}


def _invocations(service: Service, destination: Destination) -> dict[str, Any]:
    body = _content("MLflow scoring request", "InvocationsRequest", {"instances": [_instance(destination)]})
    if destination.n_features is not None:
        names = [spec.name for spec in destination.signature.inputs]
        example = _csv_example(names, destination.example)
        body["content"]["text/csv"] = {"schema": {"type": "string"}, "example": example}
    responses = {"200": _ok("InvocationsResponse")} | _errors()
    summary = f"Predict with {service.name} (MLflow scoring)"
    return {"post": _operation(summary, service.name, responses) | {"requestBody": body}}


def _csv_example(names: list[str], example: Any) -> str:
    """A header and one row; a model without names takes any."""
    values = [example.get(name) for name in names] if isinstance(example, dict) else _flat(example)
    header = names if len(names) == len(values) else [f"x{index}" for index in range(len(values))]
    return "".join(",".join("" if v is None else str(v) for v in line) + "\n" for line in (header, values))


def _tensorflow(service: Service, destination: Destination) -> dict[str, Any]:
    base = f"/v1/models/{service.name}"
    body = _content("TensorFlow Serving request", "TensorflowRequest", {"instances": [_instance(destination)]})
    responses = {"200": _ok("TensorflowResponse")} | _errors()
    summary = f"Predict with {service.name} (TensorFlow Serving)"
    status = {"200": _ok("TensorflowStatus")}
    missing = {"404": _ok("Error") | {"description": _ERRORS["404"]}}
    return {
        f"{base}:predict": {"post": _operation(summary, service.name, responses) | {"requestBody": body}},
        base: {"get": _operation("The versions that run (TensorFlow Serving)", service.name, status | missing)},
        f"{base}/metadata": {
            "get": _operation(
                "Inputs and outputs (TensorFlow Serving)", service.name, {"200": _ok("TensorflowMetadata")} | missing
            )
        },
    }


def v2_example(destination: Destination) -> list[dict[str, Any]]:
    """The example row as V2 inputs."""
    signature, example = destination.signature, destination.example
    if signature.kind == "columns":
        values = [example[spec.name] for spec in signature.inputs] if isinstance(example, dict) else list(example)
        pairs = [(spec, _v2_value(spec, value)) for spec, value in zip(signature.inputs, values, strict=True)]
        return [
            {"name": spec.name, "shape": [1], "datatype": spec.datatype, "data": [value]}
            for spec, value in pairs
            if value is not None or not spec.optional
        ]
    if isinstance(example, dict):
        return [_one_row(spec.name, spec.datatype, spec.shape, example[spec.name]) for spec in signature.inputs]
    spec = signature.inputs[0]
    return [_one_row(spec.name, spec.datatype, spec.shape, example)]


def _instance(destination: Destination) -> Any:
    """The example row as an item of a list of rows."""
    example = destination.example
    if destination.signature.items and isinstance(example, dict):
        return example[destination.signature.inputs[0].name]
    return example


def _v2_value(spec: TensorSpec, value: Any) -> Any:
    return value if value is None or not spec.json else orjson.dumps(value).decode()


def _one_row(name: str, datatype: str, shape: tuple[int, ...], value: Any) -> dict[str, Any]:
    flat = _flat(value)
    lengths = [len(flat) if length < 0 else length for length in shape[1:]]
    return {"name": name, "shape": [1, *lengths], "datatype": datatype, "data": flat}


def _flat(value: Any) -> list[Any]:
    return [leaf for item in value for leaf in _flat(item)] if isinstance(value, list) else [value]


def _operation(summary: str, tag: str, responses: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "tags": [tag], "responses": responses}


def _content(description: str, schema: str, example: Any) -> dict[str, Any]:
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example}
    return {"description": description, "required": True, "content": {"application/json": content}}


def _ok(schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": "Done", "content": content}


def _text(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"text/plain": {"schema": {"type": "string"}}}}


def _errors() -> dict[str, Any]:
    return {code: _ok("Error") | {"description": description} for code, description in _ERRORS.items()}


_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"type": "string"},
        "parameters": {"type": "object"},
        "data": {"type": "array", "items": {}},
    },
}
_REQUESTED = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "parameters": {"type": "object"}},
}
_SCHEMAS: dict[str, Any] = {
    "Any": {"type": "object"},
    "Health": {
        "type": "object",
        "properties": {"status": {"const": "healthy"}, "models_loaded": {"type": "integer"}},
        "required": ["status", "models_loaded"],
    },
    "PredictRequest": {
        "type": "object",
        "required": ["features"],
        "properties": {
            "features": {"description": "A row, a list of rows, a record or a list of records"},
            "model_version": {"type": ["string", "integer"], "default": "latest"},
            "user_id": {"type": ["string", "integer", "null"]},
        },
    },
    "PredictResponse": {
        "type": "object",
        "required": ["prediction", "model_version", "id"],
        "properties": {
            "prediction": {"type": "array", "items": {}},
            "confidence": {"oneOf": [{"type": "number"}, {"type": "array", "items": {"type": "number"}}]},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
        },
    },
    "InferRequest": {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "inputs": {"type": "array", "minItems": 1, "items": _TENSOR},
            "outputs": {"type": ["array", "null"], "items": _REQUESTED},
        },
    },
    "InferResponse": {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": _TENSOR},
        },
    },
    "InvocationsRequest": {
        "type": "object",
        "description": "Exactly one of the four forms",
        "properties": {
            "dataframe_split": {
                "type": "object",
                "required": ["data"],
                "properties": {
                    "columns": {"type": "array", "items": {}},
                    "index": {"type": "array", "items": {}},
                    "data": {"type": "array", "items": {"type": "array", "items": {}}},
                },
            },
            "dataframe_records": {"type": "array", "items": {"type": "object"}},
            "instances": {"type": "array", "items": {}},
            "inputs": {"description": "A list of rows, or an object with a list for each input"},
            "params": {"type": ["object", "null"]},
        },
        "oneOf": [{"required": [form]} for form in ("dataframe_split", "dataframe_records", "instances", "inputs")],
    },
    "InvocationsResponse": {
        "type": "object",
        "required": ["predictions"],
        "properties": {"predictions": {"type": ["array", "object"]}},
    },
    "TensorflowRequest": {
        "type": "object",
        "properties": {
            "signature_name": {
                "description": "One of those that /metadata lists; serving_default, or nothing, for the first",
                "type": ["string", "null"],
            },
            "instances": {"description": "An item for each row", "type": "array", "items": {}},
            "inputs": {"description": "A list of rows, or an object with a list for each input"},
        },
        "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
    },
    "TensorflowResponse": {
        "type": "object",
        "properties": {
            "predictions": {"type": "array", "items": {}},
            "outputs": {"type": ["array", "object"]},
        },
        "oneOf": [{"required": ["predictions"]}, {"required": ["outputs"]}],
    },
    "TensorflowStatus": {
        "type": "object",
        "required": ["model_version_status"],
        "properties": {
            "model_version_status": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["version", "state", "status"],
                    "properties": {
                        "version": {"type": "string"},
                        "state": {"enum": ["AVAILABLE", "LOADING"]},
                        "status": {"type": "object"},
                    },
                },
            }
        },
    },
    "TensorflowMetadata": {
        "type": "object",
        "required": ["model_spec", "metadata"],
        "properties": {"model_spec": {"type": "object"}, "metadata": {"type": "object"}},
    },
    "Error": {
        "type": "object",
        "required": ["error", "code"],
        "properties": {"error": {"type": "string"}, "code": {"type": "string"}, "details": {"type": "object"}},
    },
}

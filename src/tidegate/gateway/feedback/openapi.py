"""How the gateway's OpenAPI describes `POST /feedback`. Used by `process.py`."""

from __future__ import annotations

from typing import Any

from tidegate.wire.capture.feedback import EVENTS_MAX, METRICS_MAX, NAME_CHARS_MAX, ROW_MAX
from tidegate.wire.gateways.decision import KEY_CHARS_MAX

_ERRORS = {
    "400": "No JSON",
    "401": "A key is needed",
    "404": "Unknown endpoint",
    "413": "Too large",
    "415": "Content type",
    "422": "Not an event, and why",
    "429": "Overloaded",
    "503": "It cannot be kept now: nothing of it was taken",
}
_NAME = {"type": ["string", "null"], "minLength": 1, "maxLength": NAME_CHARS_MAX}
_NULL = {"type": "null"}
_VALUE = {"type": ["string", "number", "boolean"]}

SCHEMAS: dict[str, Any] = {
    "FeedbackEvent": {
        "type": "object",
        "additionalProperties": False,
        "description": "What became known of a prediction: its label, values of metrics, or both",
        "properties": {
            "id": _NAME | {"description": "The id of the prediction's request"},
            "key": {
                "type": ["string", "integer", "null"],
                "minLength": 1,
                "maxLength": KEY_CHARS_MAX,
                "description": "The unit (a user, say), where the request is not known: its newest prediction is meant",
            },
            "row": {
                "type": ["integer", "null"],
                "minimum": 0,
                "maximum": ROW_MAX,
                "description": "One row of a request of many",
            },
            "endpoint": {
                "type": ["string", "null"],
                "description": "Needed for a label by key, where there are several",
            },
            "experiment": _NAME,
            "event": _NAME | {"description": "Makes a repetition the same event"},
            "label": {
                "description": "What came true; for a request of many rows a list with an item for each",
                "anyOf": [_VALUE, {"type": "array", "items": {"anyOf": [_VALUE, {"type": "array", "items": _VALUE}]}}],
            },
            "metrics": {
                "type": ["object", "null"],
                "maxProperties": METRICS_MAX,
                "propertyNames": {"minLength": 1, "maxLength": NAME_CHARS_MAX},
                "additionalProperties": {"type": "number"},
            },
            "at": {
                "type": ["string", "null"],
                "format": "date-time",
                "description": "When it came true; now, if left out",
            },
        },
        "oneOf": [
            {"required": ["id"], "properties": {"id": {"type": "string"}, "key": _NULL}},
            {"required": ["key"], "properties": {"key": {"type": ["string", "integer"]}, "id": _NULL, "row": _NULL}},
        ],
        "anyOf": [
            {"required": ["label"]},
            {"required": ["metrics"], "properties": {"metrics": {"type": "object", "minProperties": 1}}},
        ],
    },
    "FeedbackAccepted": {
        "type": "object",
        "required": ["accepted"],
        "properties": {"accepted": {"type": "integer", "description": "So many events are in the journal"}},
    },
}


def paths() -> dict[str, Any]:
    """The OpenAPI path of feedback, with an example."""
    event = {"$ref": "#/components/schemas/FeedbackEvent"}
    schema = {"oneOf": [event, {"type": "array", "minItems": 1, "maxItems": EVENTS_MAX, "items": event}]}
    example = [{"id": "5f0c2a9b7d1e00000001", "label": 1, "at": "2026-01-31T12:00:00Z"}]
    return {
        "/feedback": {
            "post": {
                "summary": "Say what came true of predictions",
                "tags": ["Feedback"],
                "requestBody": {
                    "required": True,
                    "description": "An event, or a list of them",
                    "content": {"application/json": {"schema": schema, "example": example}},
                },
                "responses": {"202": _answer("FeedbackAccepted", "It is in the journal")}
                | {code: _answer("Error", description) for code, description in _ERRORS.items()},
            }
        }
    }


def _answer(schema: str, description: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}

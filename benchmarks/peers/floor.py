"""The floor: bare ASGI, msgspec, ONNX Runtime and orjson in one process, with no checks, batches, records or metrics.

What this machine allows without any of the things a platform is for. Run by serving.py under uvicorn; MODEL names the
ONNX file.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import orjson

_options = onnxruntime.SessionOptions()
_options.intra_op_num_threads = 1
_session = onnxruntime.InferenceSession(os.environ["MODEL"], _options, providers=["CPUExecutionProvider"])
_input = _session.get_inputs()[0].name
_outputs = [output.name for output in _session.get_outputs()]
_headers = [(b"content-type", b"application/json")]


class Question(msgspec.Struct):
    """One row."""

    features: list[float]
    model_version: str = "latest"


_decoder = msgspec.json.Decoder(Question)


def answer(body: bytes) -> bytes:
    """The label and how sure the model is."""
    row = np.asarray([_decoder.decode(body).features], dtype=np.float32)
    labels, probabilities = _session.run(_outputs, {_input: row})
    return orjson.dumps(
        {"prediction": labels.tolist(), "confidence": float(probabilities[0].max()), "model_version": "1"}
    )


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """GET answers "ok", everything else is a question."""
    if scope["type"] != "http":
        return
    body = b"" if scope["method"] == "POST" else b"ok"
    if scope["method"] == "POST":
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        body = answer(body)
    await send({"type": "http.response.start", "status": 200, "headers": _headers})
    await send({"type": "http.response.body", "body": body})

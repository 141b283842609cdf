"""The bytes that gateway and replica know beforehand are plain V2, and nothing but those bytes is taken for them."""

import httptools
import numpy as np
import pytest

from tidegate.dataplane.codec.v2 import decode_request, decode_response
from tidegate.dataplane.codec.wire_template import WireTemplate, templates_of
from tidegate.wire.signature import Signature, TensorSpec

FOREST = Signature(
    "matrix",
    (TensorSpec("input", "FP64", (-1, 3)),),
    (TensorSpec("prediction", "INT64", (-1,)), TensorSpec("probabilities", "FP32", (-1, 2))),
    (0, 1),
)


def _template() -> WireTemplate:
    return templates_of("churn", "7", FOREST)[None]


def _body(message: bytes, parser_of: type) -> tuple[dict[bytes, bytes], bytes]:
    """Headers and body as an HTTP parser reads them."""

    class Seen:
        def __init__(self) -> None:
            self.headers: dict[bytes, bytes] = {}
            self.body = b""
            self.whole = False

        def on_header(self, name: bytes, value: bytes) -> None:
            self.headers[name] = value

        def on_body(self, body: bytes) -> None:
            self.body += body

        def on_message_complete(self) -> None:
            self.whole = True

    seen = Seen()
    parser_of(seen).feed_data(message)
    assert seen.whole
    return seen.headers, seen.body


@pytest.mark.parametrize("rows", [1, 9, 10, 64, 1000])
def test_a_request_is_the_v2_request_that_it_stands_for(rows: int) -> None:
    template = _template()
    tensor = np.arange(rows * 3, dtype="<f8").reshape(rows, 3)
    request = template.request_head(rows) + tensor.tobytes()
    headers, body = _body(request, httptools.HttpRequestParser)
    message = decode_request(body, int(headers[b"inference-header-content-length"]))
    assert message.tensors["input"].tolist() == tensor.tolist()
    assert message.request.parameters == {"binary_data_output": True}
    assert template.rows_of(request) == rows
    found = template.tensor(request, rows)
    assert found.tolist() == tensor.tolist()
    assert found.flags.writeable  # as it is on the ordinary way: a model may write to what it is given
    assert found.flags.aligned


@pytest.mark.parametrize("rows", [1, 9, 10, 64, 1000])
def test_an_answer_is_the_v2_answer_that_it_stands_for(rows: int) -> None:
    template = _template()
    outputs = {
        "probabilities": np.random.default_rng(rows).random((rows, 2)).astype("<f4"),
        "prediction": np.arange(rows),
    }
    answer = template.answer(outputs, rows)
    assert answer is not None
    assert answer.startswith(template.expected(rows)[0])
    assert len(answer) == template.expected(rows)[1]
    headers, body = _body(answer, httptools.HttpResponseParser)
    read = decode_response(body, int(headers[b"inference-header-content-length"]))
    for found in (read, template.outputs(answer, rows)):
        assert {name: array.tolist() for name, array in found.items()} == {
            name: array.tolist() for name, array in outputs.items()
        }


def test_what_differs_in_a_byte_is_not_of_the_form() -> None:
    template = _template()
    request = template.request_head(2) + bytes(48)
    assert template.rows_of(request) == 2
    assert template.rows_of(request[:-1]) == 0
    assert template.rows_of(request + b"x") == 0
    assert template.rows_of(request.replace(b"churn", b"chorn")) == 0
    assert template.rows_of(request.replace(b"FP64", b"INT8")) == 0
    assert template.rows_of(b"") == 0
    assert template.rows_of(b"GET / HTTP/1.1\r\n\r\n") == 0


def test_outputs_that_are_not_the_signatures_are_left_to_the_ordinary_way() -> None:
    template = _template()
    right = {"prediction": np.arange(2), "probabilities": np.zeros((2, 2), dtype="<f4")}
    assert template.answer(right, 2) is not None
    assert template.answer({"prediction": np.arange(2)}, 2) is None
    assert template.answer({**right, "prediction": np.arange(3)}, 2) is None
    assert template.answer({**right, "probabilities": np.zeros((2, 2))}, 2) is None
    assert template.answer({**right, "more": np.arange(2)}, 2) is None


@pytest.mark.parametrize(
    "signature",
    [
        Signature("matrix", (TensorSpec("input", "BYTES", (-1, 3)),), FOREST.outputs),
        Signature("tensors", (TensorSpec("x", "FP32", (-1, 3, 3)),), FOREST.outputs),
        Signature("columns", (TensorSpec("a", "FP64", (-1,)), TensorSpec("b", "INT64", (-1,))), FOREST.outputs),
        Signature("matrix", FOREST.inputs, (TensorSpec("prediction", "BYTES", (-1,)),)),
        Signature("matrix", FOREST.inputs, (TensorSpec("prediction", "FP64", (-1, -1)),)),
        Signature("matrix", FOREST.inputs, (TensorSpec("prediction", "BF16", (-1,)),)),
        Signature("matrix", FOREST.inputs, ()),
    ],
)
def test_rows_or_outputs_that_are_no_plain_numbers_have_no_form(signature: Signature) -> None:
    assert templates_of("m", "1", signature) == {}


def test_one_output_alone_has_a_form_of_its_own_that_is_taken_for_no_other() -> None:
    templates = templates_of("churn", "7", FOREST)
    assert list(templates) == [None, frozenset({"prediction"}), frozenset({"probabilities"})]
    tensor = np.zeros((2, 3))
    for wanted, template in templates.items():
        request = template.request_head(2) + tensor.tobytes()
        _, body = _body(request, httptools.HttpRequestParser)
        asked = decode_request(body, len(body) - tensor.nbytes).request.outputs
        assert (None if asked is None else frozenset(one.name for one in asked)) == wanted
        assert [other.rows_of(request) for other in templates.values()] == [
            2 * (other is template) for other in templates.values()
        ]
        answer = template.answer({"prediction": np.arange(2), "probabilities": np.zeros((2, 2), dtype="<f4")}, 2)
        assert answer is not None
        assert set(template.outputs(answer, 2)) == (wanted or {"prediction", "probabilities"})

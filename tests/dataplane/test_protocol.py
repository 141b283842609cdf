"""The hot HTTP path, byte by byte, against a real server process."""

import gzip
import json
import socket
import struct
import threading
import zlib
from typing import Any

import numpy as np
import pytest

from support.http_bytes import Connection, metric, post
from support.linear import running_server
from support.wait import until

ROW = {"features": [1, 2, 3.5]}


def test_one_row_is_answered_with_its_prediction_and_who_gave_it(ask: Any) -> None:
    reply = ask("/predict", ROW, "X-Request-Id: abc-1")
    assert reply.status == 200
    assert reply.json["prediction"] == [6.5]
    assert reply.json["confidence"] == pytest.approx(1 / (1 + np.exp(-6.5)))
    assert (reply.json["model_version"], reply.json["id"]) == ("7", "abc-1")
    assert reply.headers["x-request-id"] == "abc-1"
    assert (reply.headers["x-tidegate-version"], reply.headers["x-tidegate-variant"]) == ("7", "7")
    assert "date" in reply.headers


def test_several_rows_have_several_confidences(ask: Any) -> None:
    reply = ask("/predict", {"features": [[1, 2, 3], [4, 5, 6]]})
    assert reply.json["prediction"] == [6, 15]
    assert len(reply.json["confidence"]) == 2


def test_keep_alive_and_requests_in_small_pieces(connect: Any) -> None:
    connection = connect()
    for value in range(5):
        for piece in (data := post("/predict", {"features": [value, 0, 0]})), b"":
            for start in range(0, len(piece), 7):
                connection.send(data[start : start + 7])
        assert connection.read().json["prediction"] == [value]


def test_pipelined_requests_are_answered_in_order_hot_and_cold_mixed(connect: Any) -> None:
    connection = connect()
    slow = post("/predict", {"features": [111, 0.3, 0]})
    connection.send(
        slow
        + post("/predict", ROW)
        + b"GET /health HTTP/1.1\r\nhost: t\r\n\r\n"
        + post("/predict", {"features": [9, 0, 0]})
    )
    assert connection.read().json["prediction"] == [111.3]
    assert connection.read().json["prediction"] == [6.5]
    assert connection.read().json == {"status": "healthy", "models_loaded": 1}
    assert connection.read().json["prediction"] == [9]


def test_chunked_body(connect: Any) -> None:
    connection = connect()
    body = json.dumps(ROW).encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:5], body[5:])) + b"0\r\n\r\n"
    connection.send(post("/predict", chunks, "transfer-encoding: chunked"))
    assert connection.read().json["prediction"] == [6.5]


def test_expect_continue_goes_the_asgi_way_with_the_same_answer(connect: Any) -> None:
    connection = connect()
    data = post("/predict", ROW, "expect: 100-continue", "X-Request-Id: slow-way")
    head, _, body = data.partition(b"\r\n\r\n")
    connection.send(head + b"\r\n\r\n")
    assert connection.read().status == 100
    connection.send(body)
    reply = connection.read()
    assert (reply.status, reply.json["prediction"], reply.headers["x-request-id"]) == (200, [6.5], "slow-way")
    assert reply.headers["x-tidegate-version"] == "7"


def test_a_half_closed_client_still_gets_its_answer(connect: Any) -> None:
    connection = connect()
    connection.send(post("/predict", {"features": [111, 0.2, 0]}))
    connection.socket.shutdown(socket.SHUT_WR)
    assert connection.read().json["prediction"] == [111.2]
    assert connection.closed()


def test_http_1_0_is_answered_and_closed(connect: Any) -> None:
    connection = connect()
    connection.send(post("/predict", ROW).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert connection.read().json["prediction"] == [6.5]
    assert connection.closed()


def test_connection_close_is_honoured(connect: Any) -> None:
    connection = connect()
    connection.send(post("/predict", ROW, "connection: close"))
    reply = connection.read()
    assert reply.headers["connection"] == "close"
    assert connection.closed()


def test_garbage_is_400_and_closed(connect: Any) -> None:
    connection = connect()
    connection.send(b"THIS IS NOT HTTP\r\n\r\n")
    reply = connection.read()
    assert (reply.status, reply.json["code"]) == (400, "malformed_request")
    assert connection.closed()


def test_garbage_after_a_good_request_does_not_lose_its_answer(connect: Any) -> None:
    connection = connect()
    connection.send(post("/predict", {"features": [111, 0.2, 0]}) + b"GARBAGE\x00\r\n\r\n")
    assert connection.read().json["prediction"] == [111.2]
    assert connection.read().status == 400
    assert connection.closed()


def test_a_slow_client_is_cut_at_the_stated_timeout(connect: Any) -> None:
    connection = connect()
    connection.send(post("/predict", ROW)[:-4])
    reply = connection.read()
    assert (reply.status, reply.json["code"]) == (408, "too_slow")
    assert "1 s" in reply.json["error"]
    assert connection.closed()


def test_a_silent_connection_is_closed_at_the_idle_timeout() -> None:
    with running_server(TIDEGATE_IDLE_TIMEOUT_S="1") as port:
        connection = Connection(port)
        connection.send(post("/predict", ROW))
        assert connection.read().status == 200
        assert connection.closed()
        connection.close()


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_limit_is_413_before_it_is_all_read(connect: Any, declared: Any) -> None:
    connection = connect()
    if declared:
        connection.send(post("/predict", b"x" * 400_000))
    else:
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        connection.send(post("/predict", chunk * 8, "transfer-encoding: chunked"))
    reply = connection.read()
    assert (reply.status, reply.json["code"]) == (413, "too_large")
    assert reply.headers["connection"] == "close"


def test_a_declared_length_over_the_limit_is_413_before_any_of_it_came(connect: Any) -> None:
    connection = connect()
    connection.send(post("/predict", b"", "content-length: 400000"))
    assert connection.read().status == 413


def test_a_pipelined_body_over_the_limit_waits_its_turn(connect: Any) -> None:
    connection = connect()
    connection.send(post("/predict", {"features": [111, 0.2, 0]}) + post("/predict", b"", "content-length: 400000"))
    assert connection.read().json["prediction"] == [111.2]
    assert connection.read().status == 413


def test_json_over_its_own_limit_is_413(ask: Any) -> None:
    reply = ask("/predict", {"features": [[1.25, 2.25, 3.25]] * 10_000})
    assert reply.status == 413
    assert "binary tensors" in reply.json["error"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"features": [1, 2]}, 422, "2 values, but the model takes 3"),
        ({"features": [1, 2, "x"]}, 422, "'x' (text)"),
        ({"features": [1, None, 3]}, 422, "takes no missing values"),
        ({"features": [1, True, 3]}, 422, "a boolean"),
        ({"features": []}, 422, "at least one row"),
        ({"features": [[]]}, 422, "0 values"),
        ({"features": [[1, 2, 3], [1, 2]]}, 422, "row 1"),
        ({"features": [[1, 2, 3], 4]}, 422, "row 1"),
        ({"features": {"a": 1}}, 422, "trained without column names"),
        ({"features": "abc"}, 422, "text"),
        ({"features": None}, 422, "null"),
        ({}, 400, "features"),
        ("", 400, "JSON"),
        ("{", 400, "JSON"),
        ("[1,2,3]", 400, "features"),
        ('{"features": [1, 2, NaN]}', 400, "JSON"),
        ('{"features": [1, 2, 1e400]}', 400, ""),
        (b'{"features": [1, 2, "\xff"]}', 400, "JSON"),
        ('{"features": ' + "[" * 40_000 + "]" * 40_000 + "}", 400, "deep"),
        ({"features": [1, 2, 3], "model_version": "9"}, 404, "running: 7"),
        ({"features": [1, 2, 3], "model_version": {}}, 400, "model_version"),
    ],
)
def test_bad_input_is_refused_and_the_connection_lives_on(connect: Any, body: Any, status: Any, says: Any) -> None:
    connection = connect()
    connection.send(post("/predict", body))
    reply = connection.read()
    assert reply.status == status, reply.body
    assert says in reply.json["error"]
    connection.send(post("/predict", ROW))
    assert connection.read().json["prediction"] == [6.5]


@pytest.mark.parametrize("pin", ["7", 7, "v1.0.0", "latest"])
def test_a_version_is_pinned_by_number_or_label(ask: Any, pin: Any) -> None:
    assert ask("/predict", {**ROW, "model_version": pin}).status == 200


V2_ROW = {"inputs": [{"name": "input", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3]}]}
UNASKED = [
    ("/predict", ROW),
    ("/v2/models/linear/infer", V2_ROW),
    ("/v1/models/linear:predict", {"instances": [[1, 2, 3]]}),
]


@pytest.mark.parametrize(("path", "body"), UNASKED, ids=lambda value: value if isinstance(value, str) else "")
def test_what_curl_sends_unasked_is_taken_from_programs_and_not_from_pages(connect: Any, path: Any, body: Any) -> None:
    """A page of any site may have its visitor's browser send these types, to this machine too, and need not ask."""
    text = json.dumps(body).encode()

    def status(*headers: str) -> Any:
        connection = connect()
        head = "\r\n".join([f"POST {path} HTTP/1.1", "host: t", f"content-length: {len(text)}", *headers])
        connection.send(head.encode() + b"\r\n\r\n" + text)
        return connection.read().status

    form = "content-type: application/x-www-form-urlencoded"
    assert status(form) == 200
    assert status() == 200
    assert status(form + "; charset=utf-8") == 200
    assert status(form, "origin: http://evil.example") == 403
    assert status("origin: null") == 403
    assert status("content-type: text/plain", "origin: http://evil.example") == 403
    assert status("content-type: application/json", "origin: http://evil.example") == 200  # a browser has to ask first


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream"])
def test_wrong_content_type_is_415(ask: Any, kind: Any) -> None:
    reply = ask("/predict", ROW, f"content-type: {kind}")
    assert reply.status == 415
    assert "application/json" in reply.json["error"]


def test_content_type_with_charset_is_taken(ask: Any) -> None:
    assert ask("/predict", ROW, "content-type: Application/JSON; charset=utf-8").status == 200


@pytest.mark.parametrize("header", ["X-Request-Id: " + "x" * 200, "X-Request-Id: \xe9", "X-Tidegate-Timeout-Ms: soon"])
def test_bad_headers_are_400(ask: Any, header: Any) -> None:
    assert ask("/predict", ROW, header).status == 400


def test_a_deadline_of_any_length_is_read(ask: Any) -> None:
    assert ask("/predict", ROW, "X-Tidegate-Timeout-Ms: " + "9" * 6000).status == 200
    assert ask("/predict", ROW, "X-Tidegate-Timeout-Ms: 000").status == 400


def test_unknown_paths_methods_and_models(connect: Any, ask: Any) -> None:
    assert ask("/nowhere", ROW).status == 404
    assert ask("/v2/models/other/infer", ROW).json["code"] == "unknown_endpoint"
    connection = connect()
    connection.send(b"GET /predict HTTP/1.1\r\nhost: t\r\n\r\n")
    reply = connection.read()
    assert (reply.status, "POST" in reply.json["error"]) == (405, True)
    assert reply.json["code"] == "method_not_allowed"


def test_gzip_and_deflate_bodies_and_a_bomb(ask: Any) -> None:
    body = json.dumps(ROW).encode()
    assert ask("/predict", gzip.compress(body), "content-encoding: gzip").json["prediction"] == [6.5]
    assert ask("/predict", zlib.compress(body), "content-encoding: deflate").json["prediction"] == [6.5]
    assert ask("/predict", gzip.compress(b" " * 50_000_000), "content-encoding: gzip").status == 413
    assert ask("/predict", b"no gzip", "content-encoding: gzip").status == 400
    assert ask("/predict", gzip.compress(body)[:-9], "content-encoding: gzip").status == 400
    assert ask("/predict", body, "content-encoding: br").status == 415


def test_a_deadline_is_answered_in_time_while_the_model_is_still_busy(ask: Any) -> None:
    reply = ask("/predict", {"features": [111, 3.0, 0]}, "X-Tidegate-Timeout-Ms: 100")
    assert (reply.status, reply.json["code"]) == (504, "deadline_exceeded")
    # The model computes still: what comes next does not reach it either.
    assert ask("/predict", ROW, "X-Tidegate-Timeout-Ms: 50").status == 504


def test_health_answers_while_the_model_computes(connect: Any, ask: Any) -> None:
    busy = connect()
    busy.send(post("/predict", {"features": [111, 1.0, 0]}))
    connection = connect()
    connection.send(b"GET /v2/health/ready HTTP/1.1\r\nhost: t\r\n\r\n")
    assert connection.read().json == {"ready": True}
    assert busy.read().json["prediction"] == [112]


def test_a_row_that_makes_the_model_fail_fails_alone(connect: Any) -> None:
    holding = connect()
    holding.send(post("/predict", {"features": [111, 0.3, 0]}))
    others = [connect() for _ in range(4)]
    for index, connection in enumerate(others):
        connection.send(post("/predict", {"features": [222 if index == 2 else index, 0, 0]}))
    replies = [connection.read() for connection in others]
    assert [reply.status for reply in replies] == [200, 200, 500, 200]
    assert "222" not in replies[2].json["error"]
    assert replies[2].json["details"]["id"] in replies[2].json["error"]
    assert [reply.json["prediction"] for reply in replies if reply.status == 200] == [[0], [1], [3]]


def test_a_client_that_goes_away_does_not_disturb_its_neighbours(connect: Any) -> None:
    holding = connect()
    holding.send(post("/predict", {"features": [111, 0.3, 0]}))
    leaving, staying = connect(), connect()
    leaving.send(post("/predict", ROW))
    staying.send(post("/predict", ROW))
    leaving.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    leaving.close()
    assert staying.read().json["prediction"] == [6.5]


def test_hundreds_of_connections_each_get_their_own_answer(connect: Any) -> None:
    connections = [connect() for _ in range(200)]
    for turn in range(3):
        for index, connection in enumerate(connections):
            connection.send(post("/predict", {"features": [index, turn, 0]}))
        assert [connection.read().json["prediction"] for connection in connections] == [[i + turn] for i in range(200)]


def test_v2_json_and_binary_give_the_same_numbers(ask: Any) -> None:
    rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    described = {"name": "input", "shape": [2, 3], "datatype": "FP64"}
    plain = ask("/v2/models/linear/infer", {"id": "q", "inputs": [{**described, "data": rows}]}).json
    flat = ask(
        "/v2/models/linear/versions/7/infer",
        {"inputs": [{**described, "data": [value for row in rows for value in row]}]},
    ).json
    assert plain["id"] == "q"
    assert plain["outputs"] == flat["outputs"]
    assert plain["outputs"][0] == {"name": "prediction", "shape": [2], "datatype": "FP64", "data": [6.0, 15.0]}
    raw = np.array(rows, dtype="<f8").tobytes()
    head = json.dumps(
        {
            "inputs": [{**described, "parameters": {"binary_data_size": len(raw)}}],
            "outputs": [{"name": "prediction", "parameters": {"binary_data": True}}],
        }
    ).encode()
    reply = ask(
        "/v2/models/linear/infer",
        head + raw,
        f"Inference-Header-Content-Length: {len(head)}",
        "content-type: application/octet-stream",
    )
    length = int(reply.headers["inference-header-content-length"])
    output = json.loads(reply.body[:length])["outputs"][0]
    assert output["parameters"] == {"binary_data_size": 16}
    assert np.frombuffer(reply.body[length:], dtype="<f8").tolist() == [6.0, 15.0]


def test_v2_zero_rows(ask: Any) -> None:
    reply = ask(
        "/v2/models/linear/infer", {"inputs": [{"name": "input", "shape": [0, 3], "datatype": "FP64", "data": []}]}
    )
    assert reply.json["outputs"][0] == {"name": "prediction", "shape": [0], "datatype": "FP64", "data": []}
    assert reply.json["outputs"][1]["shape"] == [0, 2]


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"shape": [1, 2], "data": [1, 2]}, 422, "shape [1, 2]"),
        ({"shape": [1, 4]}, 422, "4 values, but 3 came"),
        ({"shape": [-1, 3]}, 422, "shape"),
        ({"shape": "3"}, 400, "shape"),
        ({"shape": [2**62, 2**62]}, 422, "values"),
        ({"datatype": "FP99"}, 422, "FP99"),
        ({"datatype": "BYTES", "data": ["a", "b", "c"]}, 422, "BYTES"),
        ({"datatype": "FP16"}, 422, "binary"),
        ({"data": [1, "a", 3]}, 422, "value 1"),
        ({"data": [1, None, 3]}, 422, "missing values"),
        ({"data": [[1, 2], [3]]}, 422, ""),
        ({"parameters": {"binary_data_size": 24}}, 400, "binary_data_size"),
        ({"parameters": {"binary_data_size": -1}}, 400, "binary_data_size"),
    ],
)
def test_v2_bad_input(ask: Any, change: Any, status: Any, says: Any) -> None:
    tensor = {"name": "input", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3]} | change
    reply = ask("/v2/models/linear/infer", {"inputs": [tensor]})
    assert reply.status == status, reply.body
    assert says in reply.json["error"]


@pytest.mark.parametrize("name", ["input-0", "X", "input"])
def test_the_one_tensor_of_a_nameless_model_may_have_any_name(ask: Any, name: str) -> None:
    tensor = {"name": name, "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3]}
    reply = ask("/v2/models/linear/infer", {"inputs": [tensor]})
    assert reply.status == 200, reply.body
    assert reply.json["outputs"][0]["data"] == [6.0]
    reply = ask("/v2/models/linear/infer", {"inputs": [tensor, tensor | {"name": "x"}]})
    assert reply.status == 422
    assert "unknown" in reply.json["error"]


def test_v2_metadata_and_docs(connect: Any) -> Any:
    def get(path: Any) -> Any:
        connection = connect()
        connection.send(f"GET {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n".encode())
        return connection.read()

    assert get("/v2").json["extensions"] == ["binary_tensor_data", "tidegate_missing"]
    assert get("/v2/models/linear").json["inputs"] == [{"name": "input", "datatype": "FP64", "shape": [-1, 3]}]
    assert get("/v2/models/linear/versions/7/ready").status == 200
    assert get("/v2/models/linear/versions/8").status == 404
    assert get("/v2/models/other").status == 404
    described = get("/openapi.json").json
    assert described["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["example"] == {
        "features": [1.0, 2.0, 3.0]
    }
    assert b"swagger-ui-bundle.js" in get("/docs").body
    assert len(get("/docs/swagger-ui-bundle.js").body) > 100_000
    assert get("/docs/../../etc/passwd").status == 404


def test_metrics_count_what_happened() -> None:
    with running_server() as port:
        connection = Connection(port)
        for _ in range(3):
            connection.send(post("/predict", {"features": [[1, 2, 3], [1, 2, 3]]}))
            connection.read()
        connection.send(post("/predict", {"features": [1]}))
        connection.read()
        connection.send(b"GET /metrics HTTP/1.1\r\nhost: t\r\n\r\n")
        text = connection.read().body.decode()
        connection.close()
    assert 'model_requests_total{code="200",endpoint="linear",variant="7",version="7"} 3.0' in text
    assert 'model_requests_total{code="422",endpoint="linear",variant="",version=""} 1.0' in text
    assert 'model_predictions_total{endpoint="linear",version="7"} 6.0' in text
    assert 'model_request_duration_seconds_count{endpoint="linear",version="7"} 3.0' in text
    assert 'model_batch_rows_bucket{endpoint="linear",le="2.0",version="7"} 3.0' in text
    assert 'model_queue_rows{endpoint="linear",version="7"} 0.0' in text
    assert 'model_requests_in_progress{endpoint="linear"} 0.0' in text


def test_a_key_is_asked_for_on_all_but_the_public_routes() -> Any:
    with running_server(TEST_KEY="sesame") as port:

        def get(method: Any, path: Any, *headers: Any) -> Any:
            connection = Connection(port)
            data = (
                post(path, ROW, *headers)
                if method == "POST"
                else "\r\n".join([f"GET {path} HTTP/1.1", "host: t", *headers, "", ""]).encode()
            )
            connection.send(data)
            reply = connection.read()
            connection.close()
            return reply

        for path in ("/health", "/ping", "/v2/health/live", "/v2/health/ready"):
            assert get("GET", path).status == 200
        for path in ("/v2", "/metrics", "/docs", "/openapi.json", "/v2/models/linear", "/nowhere"):
            assert get("GET", path).status == 401
        assert get("POST", "/predict").status == 401
        assert get("POST", "/predict", "authorization: Bearer wrong").status == 401
        assert get("POST", "/predict", "authorization: Basic sesame").status == 401
        assert get("POST", "/predict", "authorization: Bearer sesame").status == 200
        assert get("POST", "/predict", "authorization: Bearer sesame", "expect: x").status in (200, 417)


def test_sigterm_lets_what_is_in_flight_finish() -> None:
    with running_server() as port:
        connection = Connection(port)
        connection.send(post("/predict", {"features": [111, 2, 0]}))
        answers = []
        reader = threading.Thread(target=lambda: answers.append(connection.read()))
        reader.start()
        until(lambda: metric(port, "model_requests_in_progress") == 1, what="the request being computed")
    reader.join(30)
    connection.close()
    assert answers[0].json["prediction"] == [113.0]

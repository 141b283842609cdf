"""The replica as a process: ready only after a real prediction, honest about why it cannot start, clean at its end."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from support.grpc_process import client, tensor
from support.http_bytes import Connection, post
from support.wait import free_ports, until


def start(*options: Any, **env: Any) -> Any:
    command = [sys.executable, "-m", "tidegate.server", *map(str, options)]
    environment = {**os.environ, **env}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def stop(process: Any, number: Any = signal.SIGTERM) -> Any:
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    return process.returncode, out, err


@pytest.fixture
def port() -> Any:
    return free_ports(1)[0]


def answers(port: Any) -> Any:
    try:
        return Connection(port)
    except OSError:
        return None


def is_open(port: Any) -> Any:
    connection = answers(port)
    if connection is not None:
        connection.close()
    return connection is not None


def test_a_bare_file_is_served_and_the_printed_curl_line_works(models: Any, port: Any) -> None:
    process = start("--model", models.path("forest.joblib"), "--allow-pickle", "--port", port)
    printed = [process.stdout.readline() for _ in range(2)]
    assert f"http://127.0.0.1:{port}/docs" in printed[0]
    reply = json.loads(subprocess.run(["/bin/sh", "-c", printed[1]], check=True, capture_output=True, text=True).stdout)
    assert reply["prediction"] in ([0], [1])
    connection = Connection(port)
    connection.send(post("/predict", {"features": models.rows[:20].tolist()}))
    answer = connection.read().json
    connection.close()
    assert answer["prediction"] == models.says("forest", models.rows[:20])
    np.testing.assert_allclose(answer["confidence"], models.is_sure("forest", models.rows[:20]), rtol=1e-12)
    assert stop(process)[0] == 0


def test_many_clients_at_once_get_the_models_own_answers(models: Any, port: Any) -> None:
    process = start("--model", models.path("logistic.joblib"), "--allow-pickle", "--port", port)
    process.stdout.readline()
    expected = models.says("logistic", models.rows)
    wrong = []

    def client(offset: Any) -> None:
        connection = Connection(port)
        for index in range(offset, len(models.rows), 8):
            connection.send(post("/predict", {"features": models.rows[index].tolist()}))
            if connection.read().json["prediction"] != [expected[index]]:
                wrong.append(index)
        connection.close()

    clients = [threading.Thread(target=client, args=(offset,)) for offset in range(8)]
    for one in clients:
        one.start()
    for one in clients:
        one.join(60)
    assert wrong == []
    assert stop(process)[0] == 0


def test_a_unix_socket_is_for_its_owner_alone_and_goes_away_at_the_end(models: Any, tmp_path: Any) -> None:
    path = Path(tmp_path) / "r.sock"
    process = start("--model", models.path("logistic.joblib"), "--allow-pickle", "--uds", path)
    until(path.exists, what="the socket")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stop(process)[0] == 0
    assert not path.exists()


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("forest.joblib", [], "--allow-pickle"),
        ("text.joblib", ["--allow-pickle"], "not a model"),
        ("nothing.joblib", ["--allow-pickle"], "there is no file"),
        ("truncated.joblib", ["--allow-pickle"], "truncated"),
    ],
)
def test_what_cannot_be_served_ends_with_one_line(models: Any, name: Any, options: Any, says: Any) -> None:
    process = start("--model", models.path(name), *options, "--port", free_ports(1)[0])
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == ""
    assert err.startswith("error: ")
    assert says in err
    assert "Traceback" not in err


def test_on_a_platform_the_last_line_is_for_the_platform(models: Any, tmp_path: Any) -> None:
    process = start("--model", models.path("forest.joblib"), "--uds", tmp_path / "r.sock")
    _, err = process.communicate(timeout=60)
    last = err.strip().splitlines()[-1]
    assert json.loads(last.removeprefix("tidegate-error: "))["code"] == "pickle_not_granted"


def test_a_managed_replica_asks_for_its_key_on_any_address_and_has_no_grpc(models: Any, port: Any) -> None:
    model = [*("--model", models.path("logistic.joblib"), "--allow-pickle"), "--managed", "--port", port]
    process = start(*model, TIDEGATE_API_KEY="the-replicas-own")
    until(lambda: is_open(port), what="the start")
    body = {"features": models.rows[:2].tolist()}
    with closing(Connection(port)) as connection:
        connection.send(post("/predict", body))
        assert connection.read().status == 401
    with closing(Connection(port)) as connection:
        connection.send(post("/predict", body, "authorization: Bearer the-replicas-own"))
        assert connection.read().json["prediction"] == models.says("logistic", models.rows[:2])
    assert not is_open(port + 1)
    code, out, _ = stop(process)
    assert (code, out) == (0, f"serving logistic, version 1, on port {port}\n")


def test_a_managed_replica_says_what_ended_it_to_the_platform(models: Any, port: Any) -> None:
    process = start("--model", models.path("forest.joblib"), "--managed", "--port", port, TIDEGATE_API_KEY="")
    _, err = process.communicate(timeout=60)
    said = json.loads(err.strip().splitlines()[-1].removeprefix("tidegate-error: "))
    assert said["code"] == "key_required"
    assert "TIDEGATE_API_KEY" in said["error"]


def test_a_port_in_use_is_said_before_the_model_is_loaded(models: Any) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start("--model", models.path("forest.joblib"), "--allow-pickle", "--port", port)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"port {port}" in err
    assert "--port" in err


def test_grpc_answers_on_the_next_port_as_the_model_does(models: Any, port: Any) -> None:
    process = start("--model", models.path("forest.joblib"), "--allow-pickle", "--port", port)
    assert f"gRPC on port {port + 1}" in process.stdout.readline()
    rows = models.rows[:20]
    with client(f"127.0.0.1:{port + 1}") as made:
        answer = made.infer("forest", [tensor("input", rows)])
        assert answer.as_numpy("prediction").tolist() == models.says("forest", rows)
        np.testing.assert_allclose(
            answer.as_numpy("probabilities").max(axis=1), models.is_sure("forest", rows), rtol=1e-12
        )
    assert stop(process)[0] == 0


def test_a_grpc_port_in_use_or_that_is_none_names_its_option(models: Any, port: Any) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for wrong in (taken.getsockname()[1], 65536):
            process = start("--model", models.path("forest.joblib"), "--port", port, "--grpc-port", wrong)
            _, err = process.communicate(timeout=60)
            assert process.returncode in (1, 2)
            assert str(wrong) in err
            assert "--grpc-port" in err


def test_off_loopback_needs_a_key_or_the_word_that_it_does_not(models: Any, port: Any) -> None:
    process = start("--model", models.path("logistic.joblib"), "--allow-pickle", "--host", "0.0.0.0", "--port", port)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "TIDEGATE_API_KEY" in err
    for env, status in (({"TIDEGATE_API_KEY": "k"}, 401), ({"TIDEGATE_AUTH": "none"}, 200)):
        options = ["--model", models.path("logistic.joblib"), "--allow-pickle", "--host", "0.0.0.0", "--port", port]
        process = start(*options, **env)
        process.stdout.readline()
        connection = Connection(port)
        connection.send(post("/predict", {"features": models.rows[0].tolist()}))
        assert connection.read().status == status
        connection.close()
        assert stop(process)[0] == 0


def test_a_frame_model_takes_lists_records_and_tensors_alike(models: Any, port: Any) -> Any:
    process = start("--model", models.path("table.joblib"), "--allow-pickle", "--port", port)
    process.stdout.readline()
    table = models.table.head(5)
    expected = models.says("table", table)
    connection = Connection(port)

    def ask(path: Any, body: Any) -> Any:
        connection.send(post(path, body))
        reply = connection.read()
        assert reply.status == 200, reply.body
        return reply.json

    assert ask("/predict", {"features": table.to_numpy(object).tolist()})["prediction"] == expected
    assert ask("/predict", {"features": table.to_dict("records")})["prediction"] == expected
    datatypes = {"age": "FP64", "bmi": "FP64", "sex": "BYTES"}
    inputs = [{"name": c, "shape": [5], "datatype": datatypes[c], "data": table[c].tolist()} for c in table.columns]
    outputs = ask("/v2/models/table/infer", {"inputs": inputs})["outputs"]
    assert outputs[0]["data"] == expected
    connection.close()
    assert stop(process)[0] == 0


def test_told_to_stop_before_it_serves_it_leaves_cleanly(models: Any, tmp_path: Path) -> None:
    path = tmp_path / "replica.sock"
    process = start("--model", models.path("forest.joblib"), "--allow-pickle", "--uds", path)
    until(path.exists, what="the socket")
    code, _, err = stop(process)
    assert (code, path.exists()) == (0, False), err


def test_a_forest_is_not_slowed_down_by_warning_filters_and_warnings_are_still_told(tmp_path: Path) -> None:
    script = (
        "import warnings, sklearn.ensemble\n"
        "from tidegate.server.__main__ import few_warning_filters\n"
        "few_warning_filters()\n"
        "print(len(warnings.filters))\n"
        "warnings.warn('of the model', UserWarning)\n"
        "warnings.warn('of a library', DeprecationWarning)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "1\n"
    assert "of the model" in done.stderr
    assert "of a library" not in done.stderr
    kept = subprocess.run([sys.executable, "-W", "error", "-c", script], check=False, capture_output=True, timeout=60)
    assert kept.returncode == 1


def test_a_model_whose_code_makes_errors_of_warnings_goes_on_doing_so() -> None:
    """It may answer by them: what it answered when it was validated it answers when it is served."""
    script = (
        "import warnings\n"
        "import numpy as np\n"
        "from tidegate.server.__main__ import few_warning_filters\n"
        "warnings.filterwarnings('error', category=RuntimeWarning)  # as a model's module does when it is imported\n"
        "few_warning_filters()\n"
        "try:\n"
        "    np.log(np.float64(0))\n"
        "except RuntimeWarning:\n"
        "    print('the model answers something else')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "the model answers something else\n"


def test_a_model_that_calls_exit_fails_that_request_and_answers_the_next(tmp_path: Path, port: Any) -> None:
    folder = tmp_path / "leaves"
    folder.mkdir()
    (folder / "model.py").write_text(
        "import sys\nimport numpy as np\n\n\nclass Model:\n    example = [1.0]\n    batch = True\n\n"
        "    def predict(self, inputs):\n        if inputs[0][0] == 3:\n            sys.exit(7)\n"
        "        return inputs[:, 0]\n"
    )
    process = start("--model", folder, "--allow-pickle", "--port", port)
    process.stdout.readline()
    connection = Connection(port)
    answered = []
    for value in (1.0, 3.0, 2.0):
        connection.send(post("/predict", {"features": [value]}))
        answered.append(connection.read())
    connection.close()
    assert [reply.status for reply in answered] == [200, 500, 200]
    assert answered[2].json["prediction"] == [2.0]
    assert stop(process)[0] == 0


FAILING = """
class Model:
    example = {"age": 1.0}

    def predict(self, inputs):
        if inputs["age"].iloc[0] > 100:
            raise RuntimeError("the row of Ada Lovelace")
        return [0] * len(inputs)
"""


def test_a_failure_of_the_models_has_an_id_that_the_log_has_and_tells_nothing(port: Any, tmp_path: Path) -> None:
    (tmp_path / "failing").mkdir()
    (tmp_path / "failing" / "model.py").write_text(FAILING)
    process = start("--model", tmp_path / "failing", "--allow-pickle", "--port", port)
    process.stdout.readline()
    connection = Connection(port)
    connection.send(post("/predict", {"features": {"age": 101.0}}))
    reply = connection.read()
    connection.close()
    with client(f"127.0.0.1:{port + 1}") as grpc_client:
        request = [tensor("age", np.array([101.0]))]
        with pytest.raises(InferenceServerException) as refused:
            grpc_client.infer("failing", request)
    code, _, log = stop(process)
    assert code == 0
    assert reply.status == 500
    assert reply.json["code"] == "model_failed"
    assert "Ada" not in str(reply.json) + str(refused.value)
    assert f"id {reply.json['details']['id']}" in log
    assert reply.json["details"]["id"] in reply.json["error"]
    (id_of_grpc,) = re.findall(r"under id (\w+)", str(refused.value))
    assert f"id {id_of_grpc}" in log
    assert log.count("RuntimeError: the row of Ada Lovelace") == 2

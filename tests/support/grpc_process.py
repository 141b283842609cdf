"""Starts servers that speak gRPC, and asks them as the protocol's own client does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc

from support.wait import free_ports

Array = np.ndarray[Any, Any]
READY_WITHIN_S = 30.0
LINEAR = Path(__file__).parents[1] / "dataplane" / "linear_server.py"
ECHO = Path(__file__).with_name("grpc_echo.py")


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    grpc_port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def stop(self) -> int:
        """End it politely."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


@contextmanager
def serving(script: Path, **env: str) -> Iterator[Server]:
    """A script that takes `--port` and `--grpc-port`, until the block ends, which it must do with exit code 0."""
    port, grpc_port = free_ports(2)
    # -P: or this folder's `platform` would stand in for the standard library's.
    argv = [sys.executable, "-P", str(script), "--port", str(port), "--grpc-port", str(grpc_port)]
    with subprocess.Popen(argv, env={**os.environ, **env}, stdout=subprocess.DEVNULL) as process:
        server = Server(process, port, grpc_port)
        try:
            wait_for(server.address)
            yield server
        finally:
            if process.poll() is None:
                assert server.stop() == 0


def wait_for(address: str) -> None:
    """Until it takes connections."""
    with grpc.insecure_channel(address) as channel:
        grpc.channel_ready_future(channel).result(READY_WITHIN_S)


@contextmanager
def client(address: str) -> Iterator[Any]:
    """`tritonclient`'s own."""
    made = triton.InferenceServerClient(address)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def stub(address: str) -> Iterator[Any]:
    """The generated stub, for what `tritonclient` does not show: metadata, typed contents."""
    with grpc.insecure_channel(address) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def tensor(name: str, array: Array, datatype: str = "FP64") -> Any:
    """An input."""
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def request(model: str, array: Array, name: str = "input", **fields: Any) -> Any:
    """A ModelInferRequest of one FP64 tensor."""
    made = service_pb2.ModelInferRequest(model_name=model, **fields)
    made.inputs.add(name=name, datatype="FP64", shape=list(array.shape))
    made.raw_input_contents.append(array.astype("<f8").tobytes())
    return made


def refusal(call: Any, *args: Any, **more: Any) -> tuple[str, str]:
    """Status and message of a call that fails."""
    with pytest.raises((triton.InferenceServerException, grpc.RpcError)) as caught:
        call(*args, **more)
    error = caught.value
    if isinstance(error, triton.InferenceServerException):
        return str(error.status()).removeprefix("StatusCode."), str(error.message())
    return error.code().name, error.details()

"""`grpc.reflection.v1` and `v1alpha`: what services there are, for grpcurl and the like. Used by `server.py`."""

from __future__ import annotations

from functools import cache

from tidegate.dataplane.grpc import protobuf
from tidegate.dataplane.grpc.descriptors import FILES, ProtoFile, descriptor
from tidegate.dataplane.grpc.streams import StreamingCall
from tidegate.errors.kinds import GRPC_STATUS, Kind

SERVICES = tuple(file.service_name for file in FILES)
REFLECTIONS = tuple(name for name in SERVICES if name.endswith(".ServerReflection"))
FIELDS_MAX = 16
_BY_FILENAME, _BY_SYMBOL, _BY_EXTENSION, _EXTENSIONS_OF, _LIST = 3, 4, 5, 6, 7
_FILE, _SERVICES, _ERROR = 4, 6, 7


class Reflection(StreamingCall):
    """One call: each message asks one thing, and is answered by one."""

    def take(self, message: bytes) -> None:
        """Answer, with the question in the answer."""
        host, asked = b"", (0, b"")
        for number, wire_type, value in protobuf.fields(message, FIELDS_MAX):
            if wire_type != protobuf.BYTES or isinstance(value, int):
                continue
            if number == 1:
                host = bytes(value)
            elif _BY_FILENAME <= number <= _LIST:
                asked = number, bytes(value)
        answer = _answer(asked[0], asked[1].decode("utf-8", "replace"))
        self.send(protobuf.blob(1, host) + protobuf.blob(2, message) + answer)


def _answer(kind: int, about: str) -> bytes:
    if kind == _LIST:
        return protobuf.blob(_SERVICES, b"".join(protobuf.blob(1, protobuf.text(1, name)) for name in SERVICES))
    if kind == _BY_FILENAME:
        return _file_or_error(_by_filename().get(about), f"there is no file {about!r} here")
    if kind == _BY_SYMBOL:
        return _file_or_error(_by_symbol(about), f"there is nothing called {about!r} here")
    if kind in (_BY_EXTENSION, _EXTENSIONS_OF):
        return _error(Kind.NOT_FOUND, "there are no extensions here")
    return _error(Kind.MALFORMED, "the message asks nothing")


@cache
def _by_filename() -> dict[str, ProtoFile]:
    return {file.name: file for file in FILES}


def _by_symbol(symbol: str) -> ProtoFile | None:
    return next((file for file in FILES if symbol in file.symbols()), None)


def _file_or_error(file: ProtoFile | None, missing: str) -> bytes:
    if file is None:
        return _error(Kind.NOT_FOUND, missing)
    return protobuf.blob(_FILE, protobuf.blob(1, descriptor(file)))


def _error(kind: Kind, message: str) -> bytes:
    return protobuf.blob(_ERROR, protobuf.number(1, GRPC_STATUS[kind]) + protobuf.text(2, message))

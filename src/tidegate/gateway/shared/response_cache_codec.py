"""How the response cache keys requests and encodes answers: pure functions, used by `response_cache.py`.

Two requests have one key when the model would be given the same arrays, whatever protocol, spelling of a number or
order of columns they came in.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tidegate.dataplane.calls.outputs import Outputs

if TYPE_CHECKING:
    from tidegate.dataplane.calls.call import Call
    from tidegate.dataplane.calls.outputs import Tensors

INPUT_BYTES_MAX = 64 << 10
"""Hashing more would hold up every other request, and it hardly ever comes twice."""
ANSWER_BYTES_MAX = 256 << 10
_PLAIN_KINDS = "biuf"
_SIZE = 20

_encode = msgspec.msgpack.Encoder().encode
_Entry = tuple[str, dict[str, tuple[str, tuple[int, ...], Any]]]
_decoder = msgspec.msgpack.Decoder(_Entry)


def request_key(scope: bytes, call: Call) -> str | None:
    """The name of a call's answer within `scope` (which version of which endpoint); None for one that is not kept."""
    inputs = _inputs(call)
    if inputs is None or sum(array.nbytes for array in inputs.values()) > INPUT_BYTES_MAX:
        return None
    wanted = None if call.wanted is None else sorted(call.wanted)
    try:
        encoded = _encode([scope, call.params, wanted, [(name, *_written(inputs[name])) for name in sorted(inputs)]])
    except TypeError:  # an object that has no canonical form
        return None
    return hashlib.blake2b(encoded, digest_size=_SIZE).hexdigest()


def _inputs(call: Call) -> Tensors | None:
    """What the model is given. Rows become an array at once, which the batch then uses too."""
    destination = call.destination
    if call.packed is None:
        return call.tensors or {}
    try:
        call.packed = np.ascontiguousarray(call.packed, dtype=destination.packed_dtype)
    except (ValueError, TypeError, OverflowError):  # the batcher says what is wrong with them
        return None
    return {destination.packed_name: call.packed}


def write_answer(key: str, call: Call, outputs: Outputs, first_row: int) -> bytes | None:
    """The call's rows of the outputs it asked for; None where they are too many or of a kind that is not kept.

    The key is written too, so that no mix-up on the way could ever give one request another's answer.
    """
    names = [name for name in outputs.tensors if call.wanted is None or name in call.wanted]
    rows = slice(first_row, first_row + call.rows)
    try:
        written = _encode((key, {name: _written(outputs.tensors[name][rows]) for name in names}))
    except TypeError:
        return None
    return written if len(written) <= ANSWER_BYTES_MAX else None


def read_answer(key: str, written: bytes, call: Call) -> Outputs | None:
    """The outputs, with the call's rows alone; None for anything that is no answer to this call."""
    try:
        whose, entries = _decoder.decode(written)
        tensors = {name: _read(*entry) for name, entry in entries.items()}
    except (msgspec.DecodeError, ValueError, TypeError):
        return None
    if whose != key:
        return None
    fits = all(array.ndim > 0 and len(array) == call.rows for array in tensors.values())
    known = {spec.name for spec in call.destination.signature.outputs}
    asked = tensors.keys() == (known if call.wanted is None else call.wanted)
    return Outputs(tensors) if tensors and fits and asked else None


def _written(array: np.ndarray[Any, Any]) -> tuple[str, tuple[int, ...], Any]:
    if array.dtype.kind in _PLAIN_KINDS:
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        return little.dtype.str, array.shape, little.tobytes()
    if array.dtype.kind != "O":
        raise TypeError(f"{array.dtype} is not kept")
    return "O", array.shape, array.ravel().tolist()


def _read(dtype: str, shape: tuple[int, ...], data: Any) -> np.ndarray[Any, Any]:
    if dtype == "O":
        array = np.empty(len(data), dtype=object)
        array[:] = data
        return array.reshape(shape)
    plain = np.dtype(dtype)
    if plain.kind not in _PLAIN_KINDS or not isinstance(data, bytes):
        raise ValueError(f"{dtype} is no datatype of an answer")
    return np.frombuffer(data, dtype=plain).reshape(shape)

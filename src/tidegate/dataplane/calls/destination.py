"""One running model version as the data plane sees it: identity, signature, and the batcher in front of its targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import orjson

from tidegate.dataplane.base.tensors import dtype_of
from tidegate.errors import UnfitInput
from tidegate.wire.signature import MATRIX_INPUT, PROBABILITIES, Signature

if TYPE_CHECKING:
    from tidegate.dataplane.calls.call import Call

SIGNATURE_NAME = "serving_default"
SIGNATURE_PARAM = "signature_name"
"""The param, and the V2 request parameter, that names one of several signatures."""


@dataclass(frozen=True)
class Identity:
    """Names of a destination. On a replica `endpoint` is the model's name."""

    endpoint: str
    model: str
    version: str
    variant: str
    label: str | None = None


class Door(Protocol):
    """Where a version's calls are handed in: its batcher, or what stands in front of that.

    Two are equal where calls end up in the same batcher: each snapshot may make doors of its own.
    """

    @property
    def target_ids(self) -> set[str]:
        """Targets that may get batches."""

    def submit(self, call: Call) -> None:
        """Take a call, which is answered later; raises `NoReadyReplica` or `Overloaded`."""


class Destination:
    """A version and its batcher, with what the hot path needs worked out once."""

    __slots__ = (
        "batcher",
        "binary_outputs",
        "example",
        "head",
        "identity",
        "json_outputs",
        "n_features",
        "narrow_outputs",
        "others",
        "packed_dtype",
        "packed_name",
        "params",
        "probabilities_name",
        "signature",
        "table",
        "takes_floats",
    )

    def __init__(self, identity: Identity, signature: Signature, example: Any, batcher: Door) -> None:
        self.identity = identity
        self.signature = signature
        self.example = example
        self.batcher = batcher
        self.n_features = signature.n_features
        datatype = signature.packed_datatype
        self.packed_dtype: np.dtype[Any] = dtype_of(datatype or "FP64")
        self.packed_name = signature.inputs[0].name if signature.kind == "tensors" else MATRIX_INPUT
        self.takes_floats = datatype in ("FP32", "FP64") and self.n_features is not None
        self.narrow_outputs = frozenset(spec.name for spec in signature.outputs if spec.datatype == "BF16")
        self.json_outputs = frozenset(spec.name for spec in signature.outputs if spec.json)
        self.binary_outputs = frozenset(spec.name for spec in signature.outputs if spec.holds == "binary")
        self.table = bool(signature.form) and len(signature.outputs) > 1
        self.head = _response_head(identity)
        self.probabilities_name = _probabilities_name(signature)
        self.params: str | None = None
        self.others = {other.name: self._under(other) for other in signature.others}

    def _under(self, other: Signature) -> Destination:
        """The same version behind the same batcher, under another of its signatures, which its calls say as a param."""
        found = Destination(self.identity, other, None, self.batcher)
        found.params = orjson.dumps({SIGNATURE_PARAM: other.name}).decode()
        return found

    def under(self, name: Any) -> Destination:
        """The version under the signature of this name; raises `UnfitInput` that lists those there are."""
        own = self.signature.name
        if name in (None, "", SIGNATURE_NAME, own):
            return self
        found = self.others.get(name) if isinstance(name, str) else None
        if found is None:
            known = [own or SIGNATURE_NAME, *self.others]
            raise UnfitInput(
                f"signature_name: the model has no signature {name!r}; it has {', '.join(known)}",
                input="signature_name",
                expected=known,
                got=name,
            )
        return found


def _probabilities_name(signature: Signature) -> str | None:
    """The output that holds class probabilities: ours by name, or the second of a classifier that names its own."""
    names = [spec.name for spec in signature.outputs]
    if PROBABILITIES in names:
        return PROBABILITIES
    return names[1] if signature.classes is not None and len(names) > 1 else None


def _response_head(identity: Identity) -> bytes:
    """The constant headers of an answer by this version, up to the value of the request id."""
    return (
        f"x-tidegate-endpoint: {identity.endpoint}\r\nx-tidegate-version: {identity.version}\r\n"
        f"x-tidegate-variant: {identity.variant}\r\nx-request-id: "
    ).encode("ascii")

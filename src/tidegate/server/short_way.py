"""The short way of a replica behind a gateway: the commonest batch, from its bytes to the answer's in one callback.

`HopProtocol` takes it while nothing else is being computed; whatever is unusual goes the ordinary way of every request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidegate.dataplane.http.hot_exchange import STATUS_LINES
from tidegate.dataplane.http.protocol import HotProtocol
from tidegate.dataplane.pipeline.infer import encode_error
from tidegate.errors import TidegateError

if TYPE_CHECKING:
    from tidegate.clock import Clock
    from tidegate.dataplane.batching.batcher import Batcher
    from tidegate.dataplane.codec.wire_template import WireTemplate
    from tidegate.dataplane.pipeline.metrics import Key, Metrics
    from tidegate.server.local_target import LocalTarget


@dataclass(slots=True)
class ShortWay:
    """What it takes to answer a batch at once.

    A template that the model's outputs turn out not to have is dropped: its every batch would be computed twice.
    """

    templates: tuple[WireTemplate, ...]
    batcher: Batcher
    target: LocalTarget
    metrics: Metrics
    series: Key
    clock: Clock

    def answer(self, request: bytes) -> bytes | None:
        """The whole answer to a whole request; None where it is to go the ordinary way."""
        for template in self.templates:
            if rows := template.rows_of(request):
                return self._computed(template, request, rows)
        return None

    def _computed(self, template: WireTemplate, request: bytes, rows: int) -> bytes | None:
        if self.batcher.outstanding:
            return None
        started_s = self.clock()
        outputs = self.target.compute_now({template.input_name: template.tensor(request, rows)}, rows, template.wanted)
        if outputs is None:
            return None
        if isinstance(outputs, TidegateError):
            self.metrics.failed_at_once(self.series, outputs, started_s, self.clock())
            return _refusal(outputs)
        answer = template.answer(outputs, rows)
        if answer is None:
            self.templates = tuple(one for one in self.templates if one is not template)
        else:
            self.metrics.answered_at_once(self.series, rows, started_s, self.clock())
        return answer


def _refusal(error: TidegateError) -> bytes:
    """A whole answer: what failed is not computed once more to be refused the ordinary way."""
    body = encode_error(error)
    head = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    return b"".join((STATUS_LINES[error.http_status], head, body))


class HopProtocol(HotProtocol):
    """A gateway's connection to a replica."""

    def __init__(self, short: ShortWay, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._short = short

    def data_received(self, data: bytes) -> None:
        """Answer at once what can be, between two requests; feed the parser with all else."""
        answer = self._short.answer(data) if self.between_requests else None
        if answer is None:
            super().data_received(data)
        else:
            self.transport.write(answer)
            self.on_response_complete()

"""Calls that are no unary ones: what Health/Watch and reflection share.

Used by `health.py` and `reflection.py`. Their messages are small and few, so what a call may send and have
sent is bounded here.
"""

from __future__ import annotations

from tidegate.dataplane.base.incidents import internal, new_id
from tidegate.dataplane.codec.inflate import inflate
from tidegate.dataplane.grpc.heads import OK_TRAILERS, PREFIX_BYTES, Head, error_fields, framed, response_fields
from tidegate.dataplane.http2.flow import Stream
from tidegate.errors import DeadlineExceeded, MalformedRequest, TidegateError, TooLarge

REQUEST_BYTES_MAX = 64 << 10
REQUESTS_MAX = 256
UNSENT_BYTES_MAX = 256 << 10
"""Of answers that the client gives no leave to send."""


class StreamingCall:
    """One call with any number of messages either way: `take` is given each as it comes, and `send` answers."""

    def __init__(self, stream: Stream, head: Head) -> None:
        self.stream = stream
        self._head = head
        self._begun = self._over = False
        self._read_bytes = 0
        self._requests = 0

    def take(self, message: bytes) -> None:
        """A message came; raises `TidegateError` to end the call."""
        raise TypeError(f"a call needs an answer: {len(message)} bytes have none")

    def last(self) -> None:
        """No further message comes: end the call, unless there is more to send."""
        self.finish()

    def send(self, message: bytes) -> None:
        """Send a message; raises `TooLarge` where its client takes none of those before it."""
        if not self._begun:
            self._begun = True
            self.stream.begin(response_fields(None, new_id()))
        self.stream.push(framed(message))
        if self.stream.pending is not None and len(self.stream.pending) > UNSENT_BYTES_MAX:
            raise TooLarge("the client gives no leave to send it the answers it asked for")

    def finish(self, error: TidegateError | None = None) -> None:
        """End the call, with the status of a failure where there is one."""
        self._over = True
        trailers = OK_TRAILERS if error is None else error_fields(error)
        if self._begun:
            self.stream.end(trailers)
        else:
            self.stream.respond_head(response_fields(None, new_id()) + trailers)

    # -- the stream's side -----------------------------------------------------------------------------------------

    def grew(self, body: bytes | bytearray) -> None:
        """Take the messages that are whole by now."""
        try:
            self._take_whole(body)
        except TidegateError as error:
            self.finish(error)
        except Exception as error:
            self.finish(internal(error))

    def complete(self, body: bytes) -> None:
        """The client sends no more."""
        self.grew(body)
        if not self._over:
            if self._read_bytes < len(body):
                self.finish(MalformedRequest("the last message is cut off"))
            else:
                self.last()

    def too_large(self, size_bytes: int) -> None:
        """The body is larger than any may be."""
        self.finish(TooLarge(f"the call sent {size_bytes} bytes, and this one takes {REQUEST_BYTES_MAX}"))

    def too_slow(self) -> None:
        """A call is not held open without end: the client may make another."""
        self.finish(None if self._begun else DeadlineExceeded("the call's first message did not arrive in time"))

    def abandon(self) -> None:
        """The client went away."""

    def _take_whole(self, body: bytes | bytearray) -> None:
        if len(body) > REQUEST_BYTES_MAX:
            raise TooLarge(f"the call sent {len(body)} bytes, and this one takes {REQUEST_BYTES_MAX}")
        while not self._over and len(body) - self._read_bytes >= PREFIX_BYTES:
            start = self._read_bytes + PREFIX_BYTES
            end = start + int.from_bytes(body[start - 4 : start], "big")
            if end > len(body):
                return
            self._requests += 1
            if self._requests > REQUESTS_MAX:
                raise TooLarge(f"a call may ask {REQUESTS_MAX} times: make another")
            flag, self._read_bytes = body[self._read_bytes], end
            self.take(self._inflated(bytes(body[start:end]), flag))

    def _inflated(self, message: bytes, flag: int) -> bytes:
        if flag == 0:
            return message
        if flag != 1 or self._head.encoding == b"identity":
            raise MalformedRequest("the message is flagged as compressed, but grpc-encoding does not say how")
        return inflate(message, self._head.encoding, REQUEST_BYTES_MAX)

"""A front that knows identities and starts instances (Cloud Run's), as the gateway meets it: TLS, tokens, 429."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.test_upstream import READY, a_batch, answer, outputs_of
from support.tls import Authority
from tidegate import clock
from tidegate.dataplane.calls.outputs import ModelFailed, Outputs, TargetLost, TargetUnreached
from tidegate.errors import Internal, Overloaded, TidegateError
from tidegate.gateway.upstream import identity
from tidegate.gateway.upstream.dial import Secrets, UpstreamAddress
from tidegate.gateway.upstream.front import ABORTED_MAX
from tidegate.gateway.upstream.identity import FORGET_EVERY_S, RETRY_S, IdTokens
from tidegate.gateway.upstream.target import UpstreamHooks, UpstreamTarget
from tidegate.wire.gateways.identity import IdToken, expiry_of

AUDIENCE = "https://tidegate-sums-abc.a.run.app"
BUSY = answer(429, b"Rate exceeded.")
FINE = outputs_of([6.0, 6.0])


@dataclass
class Front:
    """Answers readiness, and to batches what `replies` says in turn, the last one for ever; `heads` are what it got."""

    replies: list[bytes]
    heads: list[str] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                if head.startswith("get"):
                    writer.write(READY)
                    continue
                length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-l"))
                await reader.readexactly(length)
                self.heads.append(head)
                writer.write(self.replies.pop(0) if len(self.replies) > 1 else self.replies[0])
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    @property
    def tokens(self) -> list[str]:
        """The ID token that came with each batch."""
        lines = [line for head in self.heads for line in head.split("\r\n")]
        return [line.partition("bearer ")[2] for line in lines if line.startswith("x-serverless-authorization")]


@dataclass
class Asked:
    """A target behind a front, and what became of it."""

    front: Front
    target: UpstreamTarget
    downs: list[UpstreamTarget]

    async def send(self, within_s: float = 5.0) -> Outputs | TidegateError:
        heard: asyncio.Future[Outputs | TidegateError] = asyncio.get_running_loop().create_future()
        batch = a_batch()
        batch.calls[0].deadline_s = batch.sent_s + within_s
        self.target.send(batch, lambda target, sent, result: heard.set_result(result))
        async with asyncio.timeout(10):
            return await heard


def run(
    folder: Path, replies: list[bytes], story: Callable[[Asked], Awaitable[None]], tokens: IdTokens | None = None
) -> None:
    authority = Authority(folder)

    async def main() -> None:
        front = Front(replies)
        context: ssl.SSLContext = authority.issue("127.0.0.1")
        server = await asyncio.start_server(front.serve, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        where = UpstreamAddress(
            "pool/0",
            f"https://127.0.0.1:{port}",
            "sums",
            credential="sums-v1",
            ca_file=str(authority.ca_file),
            audience=AUDIENCE,
        )
        got = tokens or IdTokens(lambda audience: IdToken(f"token-for-{audience}", clock.now() + 3600))
        up, downs = asyncio.Event(), list[UpstreamTarget]()
        hooks = UpstreamHooks(
            lambda _: up.set(), downs.append, Secrets(lambda name: f"key-of-{name}", got.get, got.forget)
        )
        target = UpstreamTarget(where, hooks, asyncio.get_running_loop(), 5.0, clock.monotonic)
        target.start()
        try:
            async with asyncio.timeout(5):
                await up.wait()
            await story(Asked(front, target, downs))
        finally:
            target.retire()
            server.close()
            await asyncio.sleep(0.01)

    asyncio.run(main())


def test_a_batch_carries_the_id_token_beside_the_replicas_key(tmp_path: Path) -> None:
    async def story(asked: Asked) -> None:
        assert isinstance(await asked.send(), Outputs)
        assert asked.front.tokens == [f"token-for-{AUDIENCE}"]
        assert "\r\nauthorization: bearer key-of-sums-v1\r\n" in asked.front.heads[0]

    run(tmp_path, [FINE], story)


def test_a_batch_for_which_there_is_no_instance_yet_is_sent_again_until_there_is(tmp_path: Path) -> None:
    async def story(asked: Asked) -> None:
        assert isinstance(await asked.send(), Outputs)
        assert len(asked.front.heads) == 4
        assert not asked.downs, "the pool is not left alone for it"
        assert asked.target.up

    aborted = answer(500, b"The request was aborted because there was no available instance.")
    run(tmp_path, [BUSY, aborted, BUSY, FINE], story)


def test_where_no_instance_comes_within_the_deadline_the_client_is_told_to_try_again(tmp_path: Path) -> None:
    async def story(asked: Asked) -> None:
        result = await asked.send(within_s=0.4)
        assert type(result) is Overloaded
        assert "no instance" in result.message
        assert result.retry_after_s == 1.0
        assert 1 <= len(asked.front.heads) <= 5
        assert not asked.downs

    run(tmp_path, [BUSY], story)


def test_an_answer_that_the_front_does_not_pass_on_is_not_computed_until_the_deadline(tmp_path: Path) -> None:
    async def story(asked: Asked) -> None:
        assert type(await asked.send(within_s=60.0)) is TargetLost
        assert len(asked.front.heads) == ABORTED_MAX + 1
        assert not asked.downs

    run(tmp_path, [answer(500, b"Response size was too large.")], story)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (answer(429, b'{"error":"1024 rows are waiting already","code":"overloaded"}'), Overloaded),
        (answer(500, b'{"error":"it broke","code":"model_failed"}'), ModelFailed),
        (answer(404, b'{"error":"there is no model sums","code":"not_found"}'), Internal),
        (answer(503, b"<html>Service Unavailable</html>"), TargetLost),
        (answer(502, b""), TargetLost),
    ],
)
def test_what_a_replica_answers_and_an_instance_that_dies_are_told_apart_from_that(
    tmp_path: Path, reply: bytes, kind: type[TidegateError]
) -> None:
    async def story(asked: Asked) -> None:
        assert type(await asked.send()) is kind
        assert len(asked.front.heads) == 1
        assert not asked.downs

    run(tmp_path, [reply], story)


def test_a_token_is_followed_by_another_before_it_runs_out_on_the_same_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.gateway.upstream.dial.RENEW_S_MIN", 0.01)
    made: list[str] = []

    def fetch(audience: str) -> IdToken:
        made.append(f"token-{len(made)}")
        return IdToken(made[-1], clock.now() + 0.2)

    async def story(asked: Asked) -> None:
        async with asyncio.timeout(10):
            while asked.front.tokens[-1:] != ["token-2"] and len(made) < 50:
                assert isinstance(await asked.send(), Outputs)
                await asyncio.sleep(0.01)
        assert asked.front.tokens[0] == "token-0"
        assert not asked.downs

    run(tmp_path, [FINE], story, IdTokens(fetch))


def test_a_tag_that_the_front_does_not_know_is_a_target_that_read_nothing_and_is_tried_again(tmp_path: Path) -> None:
    async def story(asked: Asked) -> None:
        assert type(await asked.send()) is TargetUnreached
        assert asked.downs == [asked.target], "others get the batches meanwhile"
        async with asyncio.timeout(10):
            while not asked.target.up:
                await asyncio.sleep(0.01)
        assert isinstance(await asked.send(), Outputs)
        assert len(asked.front.heads) == 2

    run(tmp_path, [answer(404, b"<html><title>404 Page not found</title></html>"), FINE], story)


def test_a_token_that_the_front_knows_no_longer_is_followed_by_another_at_once(tmp_path: Path) -> None:
    made: list[str] = []

    def fetch(audience: str) -> IdToken:
        made.append(f"token-{len(made)}")
        return IdToken(made[-1], clock.now() + 3600)

    async def story(asked: Asked) -> None:
        refused = await asked.send()
        assert type(refused) is TargetUnreached
        async with asyncio.timeout(10):
            while not asked.target.up:
                await asyncio.sleep(0.01)
        assert isinstance(await asked.send(), Outputs)
        assert asked.front.tokens == ["token-0", "token-1"]

    run(tmp_path, [answer(401, b"<html>Unauthorized</html>"), FINE], story, IdTokens(fetch))


def numbered(now: list[float], asked: list[str], away: list[bool]) -> Callable[[str], IdToken]:
    """Makes tokens that tell how many were asked for, and hold for an hour; none while it is `away`."""

    def fetch(audience: str) -> IdToken:
        asked.append(audience)
        if away[0]:
            raise OSError("connection refused")
        return IdToken(f"token-{len(asked)}", now[0] + 3600)

    return fetch


def test_refused_tokens_are_asked_for_anew_once_in_a_while_and_kept_until_another_one_comes() -> None:
    now, asked, away = [1000.0], list[str](), [False]
    tokens = IdTokens(numbered(now, asked, away), lambda: now[0])
    tokens.forget("a")
    assert tokens.get("a").token == "token-1"
    for _ in range(256):
        tokens.forget("a")
        assert tokens.get("a").token == "token-2"
    now[0] += FORGET_EVERY_S
    away[0] = True
    tokens.forget("a")
    assert tokens.get("a").token == "token-2", "it may have been the replica's key that was refused"
    away[0] = False
    now[0] += RETRY_S
    assert tokens.get("a").token == "token-4"


def test_a_token_that_is_slow_to_come_holds_up_no_other_and_nobody_who_has_one() -> None:
    now, slow, asked, go_on = [1000.0], set[str](), threading.Event(), threading.Event()

    def fetch(audience: str) -> IdToken:
        if audience in slow:
            asked.set()
            assert go_on.wait(10)
        return IdToken(f"{audience} at {now[0]:g}", now[0] + 3600)

    tokens = IdTokens(fetch, lambda: now[0])
    assert tokens.get("a").token == "a at 1000"
    now[0] += 3100
    slow.add("a")
    with ThreadPoolExecutor(2) as pool:
        try:
            first = pool.submit(tokens.get, "a")
            assert asked.wait(10)
            assert pool.submit(tokens.get, "b").result(10).token == "b at 4100"
            assert pool.submit(tokens.get, "a").result(10).token == "a at 1000", "it has not run out"
        finally:
            go_on.set()
        assert first.result(10).token == "a at 4100"


def test_a_token_is_in_no_text_of_itself() -> None:
    assert "signed" not in repr(IdToken("signed", 1.0))


def test_a_token_is_kept_until_shortly_before_it_runs_out_and_used_while_nobody_makes_another() -> None:
    now, asked, away = [1000.0], list[str](), [False]
    tokens = IdTokens(numbered(now, asked, away), lambda: now[0])
    assert [tokens.get("a").token for _ in range(3)] == ["token-1"] * 3
    assert tokens.get("b").token == "token-2"
    now[0] += 2999
    assert tokens.get("a").token == "token-1"
    away[0] = True
    now[0] += 2
    assert [tokens.get("a").token for _ in range(3)] == ["token-1"] * 3, "it holds for 600 s more"
    assert len(asked) == 3, "nobody is asked again at once"
    now[0] += 600
    with pytest.raises(OSError, match=r"no ID token for a is to be had: connection refused"):
        tokens.get("a")
    away[0] = False
    now[0] += 2
    assert tokens.get("a").token == f"token-{len(asked)}"


def test_when_a_token_runs_out_is_read_from_it() -> None:
    body = base64.urlsafe_b64encode(json.dumps({"aud": AUDIENCE, "exp": 1800000000}).encode()).rstrip(b"=").decode()
    assert expiry_of(f"e30.{body}.c2ln") == 1800000000
    for wrong in ("", "no-token", "a.b.c", f"e30.{base64.urlsafe_b64encode(b'{}').decode()}.c2ln"):
        with pytest.raises(ValueError, match="no ID token"):
            expiry_of(wrong)


def test_googles_machines_are_known_by_their_name(tmp_path: Path) -> None:
    name = tmp_path / "product_name"
    assert not identity.on_google(name)
    name.write_text("Google Compute Engine\n")
    assert identity.on_google(name)
    name.write_text("Standard PC\n")
    assert not identity.on_google(name)

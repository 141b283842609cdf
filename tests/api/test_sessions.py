"""Codes work once and soon end; sessions end too."""

import hashlib
import hmac
import re

from tidegate.api.sessions import CODE_LIVES_S, CODES_MAX, IDLE_S, RENEW_S, LoginCodes, Sessions


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = 1_000_000.0

    def __call__(self) -> float:
        return self.at


def test_a_code_works_once_and_for_five_minutes() -> None:
    clock = Hand()
    codes = LoginCodes(clock)
    first, second, third = codes.make(), codes.make(), codes.make()
    assert len({first, second, third}) == 3
    assert codes.take(first)
    assert not codes.take(first)
    clock.at += CODE_LIVES_S - 1
    assert codes.take(second)
    clock.at += 1
    assert not codes.take(third)
    assert not codes.take("")


def test_codes_that_nobody_uses_do_not_pile_up() -> None:
    codes = LoginCodes(Hand())
    made = [codes.make() for _ in range(CODES_MAX + 1)]
    assert not codes.take(made[0])
    assert codes.take(made[-1])


def test_a_session_ends_and_cannot_be_made_longer() -> None:
    clock = Hand()
    sessions = Sessions("a token", clock)
    cookie = sessions.make()
    name = sessions.name_of(cookie)
    assert re.fullmatch("browser-[0-9a-f]{8}", name or "")
    assert Sessions("a token", clock).name_of(cookie) == name, "after a restart too"
    assert Sessions("another", clock).name_of(cookie) is None
    end, own, used, signature = cookie.split(".")
    for forged in (
        "",
        ".",
        "..",
        cookie + "0",
        f"{int(end) + 1}.{own}.{used}.{signature}",
        f"1{end}.{own}.{used}.{signature}",
        f"{end}.00000000.{used}.{signature}",
        f"{end}.{own}.{int(used) + 1}.{signature}",
        f"{end}.{own}.{signature}",
        f"{end}.{signature}",
        "nan.",
        "x.y",
        "\u00fc.",
    ):
        assert sessions.name_of(forged) is None, forged
    while clock.at < int(end) - IDLE_S:
        clock.at += IDLE_S - 1
        cookie = sessions.renewed(cookie) or ""
        assert sessions.name_of(cookie) == name, "it is in use"
    clock.at = float(end)
    assert sessions.name_of(cookie) is None


def test_a_session_that_nobody_uses_ends() -> None:
    clock = Hand()
    sessions = Sessions("a token", clock)
    cookie = sessions.make()
    clock.at += RENEW_S - 1
    assert sessions.renewed(cookie) is None, "it need not be said with each request"
    clock.at += IDLE_S - RENEW_S
    assert sessions.name_of(cookie)
    clock.at += 1
    assert sessions.name_of(cookie) is None
    assert sessions.renewed(cookie) is None


def test_a_session_that_was_ended_is_over_for_whoever_has_its_cookie() -> None:
    clock = Hand()
    sessions = Sessions("a token", clock)
    first, other = sessions.make(), sessions.make()
    clock.at += RENEW_S
    again = sessions.renewed(first)
    assert again
    sessions.end(first)
    sessions.end("no cookie of ours")
    assert sessions.name_of(first) is None
    assert sessions.name_of(again) is None
    assert sessions.name_of(other)


def test_two_sessions_of_one_moment_are_told_apart() -> None:
    sessions = Sessions("a token", Hand())
    assert len({sessions.name_of(sessions.make()) for _ in range(5)}) == 5


def test_a_cookie_that_says_less_is_no_session() -> None:
    """Releases before this one signed less, with the same key: an end alone, then an end and a name."""
    key, end = hashlib.sha256(b"tidegate session\0a token").digest(), str(int(Hand()() + 60))
    for session in (end, f"{end}.", f"{end}.1f2e3d4c", f"{end}..{end}"):
        signature = hmac.new(key, session.encode(), hashlib.sha256).hexdigest()
        assert Sessions("a token", Hand()).name_of(f"{session}.{signature}") is None
    named = f"{end}.1f2e3d4c.{end}"
    signature = hmac.new(key, named.encode(), hashlib.sha256).hexdigest()
    assert Sessions("a token", Hand()).name_of(f"{named}.{signature}") == "browser-1f2e3d4c", "the key is the one"

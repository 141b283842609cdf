"""Codes work once and soon end; sessions end too."""

from tidegate.api.sessions import CODE_LIVES_S, CODES_MAX, SESSION_LIVES_S, LoginCodes, Sessions


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
    assert sessions.holds(cookie)
    assert Sessions("a token", clock).holds(cookie), "after a restart too"
    assert not Sessions("another", clock).holds(cookie)
    end, _, signature = cookie.partition(".")
    for forged in (
        "",
        ".",
        cookie + "0",
        f"{int(end) + 1}.{signature}",
        f"1{end}.{signature}",
        "nan.",
        "x.y",
        "\u00fc.",
    ):
        assert not sessions.holds(forged), forged
    clock.at += SESSION_LIVES_S
    assert not sessions.holds(cookie)

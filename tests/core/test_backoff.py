from hypothesis import given
from hypothesis import strategies as st

from tidegate.core.backoff import Backoff


@given(failures=st.integers(0, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_delay_is_bounded_and_jitter_only_shortens_it(failures: int, jitter: float) -> None:
    backoff = Backoff(first_s=1.0, longest_s=60.0)
    longest = backoff.delay_s(failures, 0.0)
    assert 0.0 <= longest <= 60.0
    assert longest / 2 <= backoff.delay_s(failures, jitter) <= longest


def test_delay_doubles() -> None:
    assert [Backoff().delay_s(n, 0.0) for n in range(5)] == [0.0, 1.0, 2.0, 4.0, 8.0]

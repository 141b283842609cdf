"""Large work takes turns with everything else on the loop."""

import asyncio

from tidegate.dataplane.turns import Turns


def test_each_turn_of_the_loop_does_one_piece_and_what_came_meanwhile_goes_in_between() -> None:
    async def go() -> list[str]:
        loop, turns, done = asyncio.get_running_loop(), Turns(), list[str]()
        for name in "abc":
            turns.take(loop, lambda name=name: done.append(name))  # type: ignore[misc]  # a default is no argument
        for _ in range(4):
            await asyncio.sleep(0)
            done.append("small")
        turns.take(loop, lambda: done.append("d"))
        await asyncio.sleep(0)
        return done

    assert asyncio.run(go()) == ["a", "small", "b", "small", "c", "small", "small", "d"]

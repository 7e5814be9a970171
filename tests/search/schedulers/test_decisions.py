from __future__ import annotations

import asyncio

import pytest

from refusion.search.schedulers.decisions import Decisions


def test_a_worker_waits_for_the_decision_of_its_epoch() -> None:
    async def play() -> list[bool]:
        decisions = Decisions()
        asked = [asyncio.create_task(decisions.get(3, 1)) for _ in range(2)]
        other = asyncio.create_task(decisions.get(3, 2))
        await asyncio.sleep(0)
        await decisions.give(4, 1, False)
        await asyncio.sleep(0)
        assert not any(task.done() for task in [*asked, other])
        await decisions.give(3, 1, True)
        answers = await asyncio.gather(*asked)
        assert not other.done()
        other.cancel()
        return answers

    assert asyncio.run(play()) == [True, True]


def test_a_decision_is_there_for_who_asks_later_and_the_first_counts() -> None:
    async def play() -> bool:
        decisions = Decisions()
        await decisions.give(1, 3, False)
        await decisions.give(1, 3, True)
        return await decisions.get(1, 3)

    assert not asyncio.run(play())


def test_a_worker_that_is_lost_takes_no_decision_with_it() -> None:
    async def play() -> bool:
        decisions = Decisions()
        lost, waits = asyncio.create_task(decisions.get(1, 1)), asyncio.create_task(decisions.get(1, 1))
        await asyncio.sleep(0)
        lost.cancel()
        with pytest.raises(asyncio.CancelledError):
            await lost
        await decisions.give(1, 1, True)
        return await waits

    assert asyncio.run(play())

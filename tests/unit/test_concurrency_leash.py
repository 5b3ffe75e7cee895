"""The leash: work that somebody else may cancel, once."""

import anyio
import pytest

from hesper._concurrency import Interrupted, Interruptible, cancelled_type, checkpoint, leashed


class Hand:
    """Who holds the leash."""

    def __init__(self, disconnected: bool = False) -> None:
        self.disconnected = disconnected
        self.stretches: list[Interruptible] = []

    def add_stretch(self, stretch: Interruptible) -> None:
        self.stretches.append(stretch)

    def remove_stretch(self, stretch: Interruptible) -> None:
        self.stretches.remove(stretch)


async def test_work_that_does_not_wait_gives_its_result() -> None:
    async def work() -> str:
        return "done"

    hand = Hand()
    assert await leashed(work, 1, hand) == "done"
    assert hand.stretches == []


async def test_work_that_waits_gives_its_result() -> None:
    async def work() -> str:
        await checkpoint()
        return "done"

    hand = Hand()
    assert await leashed(work, 1, hand) == "done"
    assert hand.stretches == []


async def test_an_error_comes_out() -> None:
    async def work() -> None:
        await checkpoint()
        raise LookupError("of the work")

    hand = Hand()
    with pytest.raises(LookupError):
        await leashed(work, 1, hand)
    assert hand.stretches == []


async def test_work_for_one_who_is_gone_is_cancelled_where_it_waits() -> None:
    log: list[str] = []

    async def work() -> None:
        log.append("begun")
        try:
            await anyio.sleep_forever()
        except cancelled_type():
            await checkpoint()
            log.append("cleaned up")
            raise

    hand = Hand(disconnected=True)
    with pytest.raises(Interrupted) as raised:
        await leashed(work, 1, hand)
    assert not raised.value.exceeded
    assert log == ["begun", "cleaned up"]
    assert hand.stretches == []

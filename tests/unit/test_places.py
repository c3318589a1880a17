"""Laws of places: a bounded number, never all of them one owner's, and who holds fewest is called in first."""

import asyncio
import random
from collections import Counter

import pytest

from gateway.places import Places, portion


async def taken(places: Places, owner: str) -> bool:
    """Take a place if there is one to be had at once."""
    try:
        await places.take(owner, 0)
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize(("most", "own"), [(1, 1), (2, 1), (3, 2), (4, 3), (8, 6), (32, 24)])
async def test_one_owner_leaves_a_quarter(most: int, own: int) -> None:
    """However much it wants; the rest is for those who have none, one each."""
    places = Places(most)
    assert own == portion(most) == sum([await taken(places, "a") for _ in range(most)])
    assert most - own == sum([await taken(places, f"b{number}") for number in range(most)])


async def test_who_holds_fewest_is_called_first() -> None:
    """Then who has waited longer; within one owner's line, who came first."""
    places, order = Places(4), list[str]()
    for owner in "aaab":
        await places.take(owner)

    async def wait(owner: str, name: str) -> None:
        await places.take(owner)
        order.append(name)

    waiting = [asyncio.create_task(wait(name[0], name)) for name in ("a1", "a2", "b1", "c1", "d1", "c2")]
    await asyncio.sleep(0)

    async def leave(owner: str) -> str:
        """Say who came in for one who left."""
        before = len(order)
        places.leave(owner)
        await asyncio.sleep(0)
        return " ".join(order[before:])

    assert ["c1", "d1", "a1"] == [await leave("a") for _ in range(3)]
    assert ["b1", "c2", ""] == [await leave(owner) for owner in "bcd"]
    assert await taken(places, "e")  # The last place was left for somebody new.
    assert "a2" == await leave("a")
    await asyncio.gather(*waiting)


async def test_whatever_happens_no_place_is_lost() -> None:
    """Among owners who take, leave, wait and give up at random."""
    chance, places, held, most = random.Random(7), Places(8), Counter[str](), 0

    async def visit(owner: str, patience: float, stay: int) -> None:
        nonlocal most
        await places.take(owner, patience)
        held[owner] += 1
        most = max(most, held.total())
        try:
            assert held.total() <= 8
            assert held[owner] <= portion(8)
            for _ in range(stay):
                await asyncio.sleep(0)
        finally:
            held[owner] -= 1
            places.leave(owner)

    visits = list[asyncio.Task[None]]()
    for _ in range(2000):
        visit_ = visit(chance.choice("aaaabbcdef"), chance.choice([0, 0.001, 5]), chance.randrange(9))
        visits.append(asyncio.create_task(visit_))
        if chance.random() < 0.3:
            chance.choice(visits).cancel()
        if chance.random() < 0.4:
            await asyncio.sleep(0)
    ends = await asyncio.wait_for(asyncio.gather(*visits, return_exceptions=True), 10)
    assert {type(None), TimeoutError, asyncio.CancelledError} == set(map(type, ends))
    assert 8 == most
    assert [] == [*places._lines, *places._held]
    assert [True] * 8 == [await taken(places, f"new{number}") for number in range(8)]

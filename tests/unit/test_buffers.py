"""Laws of the memory that large bodies share."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.door import buffers
from gateway.door.buffers import Buffers, fits
from gateway.problems import ProblemError

LARGEST = 64
Lent = asyncio.Task[Callable[[], None]]


async def ask(shared: Buffers, holder: str, *sizes: int) -> list[Lent]:
    """Ask for memory for each, and let whoever is to have it get it."""
    asked = [asyncio.create_task(shared.lend(holder, size)) for size in sizes]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return asked


async def end(*asked: Lent) -> None:
    """Ask no more."""
    for each in asked:
        each.cancel()
    await asyncio.gather(*asked, return_exceptions=True)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, LARGEST)), max_size=40))
def test_no_more_is_lent_than_there_is(asked: list[tuple[str, int]]) -> None:
    """Whoever asks for whatever has no more than one largest, and beside one alone there is always another."""
    held: Counter[str] = Counter()
    for holder, size in asked:
        if fits(size, held[holder], held.total(), LARGEST):
            held[holder] += size
        assert held.total() <= 3 * LARGEST
        assert max(held.values()) <= LARGEST
        assert len(+held) > 1 or fits(LARGEST, 0, held.total(), LARGEST)


async def test_a_crowd_shuts_out_nobody_else() -> None:
    """One key asks for sixteen of the largest and has one; another's is lent at once, and so is its own small one."""
    shared = Buffers(LARGEST)
    crowd = await ask(shared, "crowd", *[LARGEST] * 16)
    other = await ask(shared, "other", LARGEST)
    assert [1, 1] == [sum(each.done() for each in asked) for asked in (crowd, other)]
    await end(*crowd, *other)


async def test_what_is_given_back_goes_to_who_waits() -> None:
    """In the order they came; given back twice, it is had back once."""
    shared = Buffers(LARGEST)
    first, second, third = await ask(shared, "one", *[LARGEST] * 3)
    assert [True, False, False] == [each.done() for each in (first, second, third)]
    first.result()()
    first.result()()
    await asyncio.sleep(0.001)
    assert [True, False] == [each.done() for each in (second, third)]
    await end(third)
    second.result()()
    assert (0, {}) == (shared._held.total(), shared._waiting)


async def test_who_finds_none_is_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a 503 that says when, and whoever goes or is sent away leaves nothing behind."""
    monkeypatch.setattr(buffers, "PATIENCE_SECONDS", 0.01)
    shared = Buffers(LARGEST)
    (first,) = await ask(shared, "one", LARGEST)
    with pytest.raises(ProblemError) as refused:
        await shared.lend("one", LARGEST)
    assert (503, "overloaded", "2") == (refused.value.status, refused.value.code, refused.value.headers["retry-after"])
    await end(*await ask(shared, "one", LARGEST))
    first.result()()
    assert (0, {}) == (shared._held.total(), shared._waiting)

"""What is not about dying: many at once, one who hangs, and polite ends under load; real gateways, real sockets."""

import asyncio
import random
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from gateway.ids import least_id
from gateway.money.ledger import About, Budget, Entry, Posting, add, close, drift, hold
from gateway.store.sqlite import Sqlite
from gateway.store.store import held
from tests.crash.arena import Arena, arena, wait
from tests.prove.part import Figures, Part, broken
from tests.server import eventually

AT_ONCE = 100
"""Identical calls made at the same time."""
HUNG = 48
"""Orders at the provider that never answers."""
PLACES = 32
"""Steps that may be under way at once beside them: fewer, or it would not be felt."""


def ledger(operations: range) -> Figures:
    """Set aside, raise, settle, release and doubt at random, and look whether the sums are their entries'."""
    seed = operations.start
    with tempfile.TemporaryDirectory() as folder:
        database = Sqlite(Path(folder, "ledger.db"))
        database.open()
        try:
            return asyncio.run(_keep_books(database, random.Random(seed), len(operations)))
        except AssertionError as error:
            return broken(f"operations from {seed:,}", error)
        finally:
            database.close()


async def _keep_books(database: Sqlite, chance: random.Random, most: int) -> Figures:
    budget, entries, names = Budget("key:total", "key", "total", 0, 10**15), list[Entry](), count()

    def life() -> list[Posting]:
        about = About(least_id("video", next(names)), "key", "acme:maker/one", "main")
        taken, postings = hold(about, chance.randint(1, 10**6), (budget,), 0)
        if chance.random() < 0.3:
            taken, more = add(about, taken, chance.randint(1, 10**6), "att", 0, (budget,))
            postings += more
        for _ in range(chance.randint(1, 2)):
            taken, more = close(about, taken, chance.choice((None, 0, chance.randint(0, 2 * 10**6))), 0)
            postings += more
        return postings

    while len(entries) < most:
        lives = [life() for _ in range(64)]
        await asyncio.gather(*(database.write(*held(postings)) for postings in lives))
        entries += [posting.entry for postings in lives for posting in postings]
    sums = drift(entries)
    ((kept,),) = [[row[5:8] for row in await database.read("budgets_within", {"first": "", "last": "~"})]]
    (on_disk,) = database._reader.execute("SELECT count(*) FROM entries").fetchone()
    assert on_disk == len(entries)
    assert tuple(kept) == tuple(sums[book] for book in ("held", "spent", "suspense")), f"{kept} and {sums}"
    return {"entries": len(entries), "drift": 0}


def same_key(rounds: range) -> Figures:
    """Make the same call a hundred times at the same moment, and the other one under the same key."""
    try:
        with tempfile.TemporaryDirectory() as folder, arena(Path(folder), deadline=60) as here:
            here.start()
            return asyncio.run(_ask_together(here, rounds))
    except AssertionError as error:
        return broken(f"rounds from {rounds.start}", error)


async def _ask_together(here: Arena, rounds: range) -> Figures:
    answers: Counter[str] = Counter()
    limits = httpx.Limits(max_connections=AT_ONCE)
    headers = {"authorization": f"Bearer {here.key}"}
    async with httpx.AsyncClient(
        base_url=here.server.api, headers=headers, limits=limits, trust_env=False, timeout=60
    ) as client:
        for number in rounds:
            body = {
                "model": "maker/one",
                "prompt": f"together {number}",
                "seconds": 4,
                "provider": {"only": ["sellerd"]},
            }
            key = {"idempotency-key": f"together-{number}"}
            told = await asyncio.gather(*(client.post("/videos", json=body, headers=key) for _ in range(AT_ONCE)))
            answers.update(str(each.status_code) for each in told)
            ids = {each.json()["id"] for each in told if each.status_code == 200}
            assert len(ids) == 1, f"{len(ids)} jobs under one key"
            assert {each.status_code for each in told} <= {200, 409}, answers
            other = await client.post("/videos", json={**body, "prompt": "other"}, headers=key)
            assert other.status_code == 422, other.text
    bought = here.bought
    eventually(lambda: sum(bought().values()) >= len(rounds), seconds=60)
    assert set(bought().values()) == {1}, bought()
    return {"calls": len(rounds) * AT_ONCE, "answers": dict(answers), "jobs": len(rounds)}


def deploys(times: range) -> Figures:
    """End politely under load and start again: nothing is left in doubt, and it does not take long."""
    chance, longest, jobs = random.Random(times.start), 0.0, 0
    try:
        with tempfile.TemporaryDirectory() as folder, arena(Path(folder), deadline=60) as here:
            for _ in times:
                here.start()
                for _ in range(6):
                    here.want("deploy", chance.choice("abcde"))
                wait(chance.uniform(0.0, 0.3))
                began = time.monotonic()
                assert here.server.stop() == 0, here.server.log.read_text()[-2000:]
                longest = max(longest, time.monotonic() - began)
                with closing(sqlite3.connect(f"file:{folder}/reelgate.db?mode=ro", uri=True)) as file:
                    doubts = file.execute("SELECT id FROM jobs WHERE state IN ('submitting', 'unknown')").fetchall()
                assert not doubts, f"{len(doubts)} orders are in doubt after a polite end"
            assert longest <= 30, f"one took {longest:.1f} s to end"
            here.start()
            ends = here.ended(seconds=90)
            assert set(ends.values()) == {"completed"}, Counter(ends.values())
            here.check(ends)
            jobs = len(ends)
    except AssertionError as error:
        return broken(f"from {times.start}", error)
    return {"deploys": len(times), "jobs": jobs, "most_seconds": round(longest, 2)}


def hung(rounds: range) -> Figures:
    """Let one provider take orders and never answer; see what another's jobs take beside it, and without it."""
    places = {"REELGATE__WORKER__AT_ONCE": str(PLACES)}
    try:
        with tempfile.TemporaryDirectory() as folder, arena(Path(folder), deadline=600, **places) as here:
            here.start()
            alone = [_rate(here) for _ in rounds]
            for _ in range(HUNG):
                here.want("[hang]", "e")
            beside = [_rate(here) for _ in rounds]
    except AssertionError as error:
        return broken("hung", error)
    return {"alone": [round(each, 2) for each in alone], "beside": [round(each, 2) for each in beside]}


def _rate(here: Arena, jobs: int = 40) -> float:
    """Say how many jobs a second a well provider's finish."""
    began = time.monotonic()
    wanted = [here.want("well", "d") for _ in range(jobs)]
    eventually(lambda: here.video(wanted[-1])["status"] == "completed", seconds=120)
    eventually(lambda: all(here.video(each)["status"] == "completed" for each in wanted), seconds=120)
    return jobs / (time.monotonic() - began)


def _says_hung(seen: Mapping[str, Any]) -> str:
    alone, beside = (sorted(seen.get(name) or [0.0]) for name in ("alone", "beside"))
    middle = [each[len(each) // 2] for each in (alone, beside)]
    return (
        f"median jobs a second of the well provider: {middle[0]:g} alone, {middle[1]:g} beside {HUNG} hung orders; "
        f"{PLACES} steps at once"
    )


PARTS = {
    "ledger": Part(
        what="ledger entries at random: the budget's sums against `ledger.drift` of the entries", units="entries",
        most=1_000_000, stretch=100_000, run=ledger,
        says=lambda seen: f"{Counter(seen)['entries']:,} entries, drift {Counter(seen)['drift']}",
    ),
    "same-key": Part(
        what=f"{AT_ONCE} identical calls at once under one Idempotency-Key, then another body", units="rounds",
        most=200, stretch=50, run=same_key,
        says=lambda seen: (
            f"{Counter(seen)['calls']:,} calls, {Counter(seen)['jobs']:,} jobs, answers {seen.get('answers')}"
        ),
    ),
    "deploys": Part(
        what="SIGTERM under load", units="ends", most=100, stretch=20, run=deploys,
        says=lambda seen: (
            f"{Counter(seen)['jobs']:,} jobs, none in doubt after an end; the longest took {seen.get('most_seconds')} s"
        ),
    ),
    "hung": Part(
        what="one provider takes orders and never answers", units="rounds", most=9, stretch=9, run=hung,
        says=_says_hung,
    ),
}  # fmt: skip

"""Laws of lists: what is asked for is found, all of it and nothing else, in order, page by page."""

from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.api.wanted import states_of
from gateway.door.accept import Repeat, fingerprint_of
from gateway.jobs.job import Job, State
from gateway.jobs.wish import Wish, read_wish
from gateway.store.lists import EVERY, Wanted
from providers.base.order import Request
from providers.base.task import Fault, Task, Update
from providers.base.task import State as TaskState
from tests.make import listing, offer
from tests.scripted import START, Engine, done, running

SOLD = (
    listing("acme", offers=[offer("maker/one"), offer("maker/two")]),
    listing("zeta", offers=[offer("maker/three")]),
)
DAY = 86_400_000


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    """A store with jobs of two tenants, of three offers, in every state there is."""
    built = Engine(tmp_path, *SOLD, max_running=100)
    built.shop.aliases = {"nice": "maker/one", "odd/alias": "maker/one"}
    bad = Update(state=TaskState.FAILED, task=Task("t"), fault=Fault(code="no", message="no", billed=True))
    models = ("maker/one", "maker/two", "nice", "odd/alias", "maker/three")
    for end, model, tenant in product((done("t"), bad), models, ("tenant", "other")):
        provider = built.providers["zeta" if model == "maker/three" else "acme"]
        provider.submits, provider.polls = [running("t", poll_after=0.0)], [end]
        await order(built, model, tenant, "bob" if end is bad else "ann")
        for _ in range(3):
            await built.turn()
        built.now += DAY // 5
    for model in models:
        gone, _, stopped = [await order(built, model, "tenant", "bob") for _ in range(3)]
        for job in (gone, stopped):
            await built.store.cancel(job.id, "tenant")
        for provider in built.providers.values():
            provider.submits = [running("t", poll_after=3600.0)]
        await built.turn()
        await built.store.delete(gone.id, "tenant")
        await order(built, model, "tenant", "ann")
    yield built
    built.close()


async def order(engine: Engine, model: str, tenant: str, buyer: str) -> Job:
    wish = Wish(request=Request(prompt="a kite", model=model))
    decision = engine.acceptor.decide(wish)
    named = {"fingerprint": fingerprint_of(wish, engine.now), "buyer": buyer}
    job, _ = await engine.acceptor.accept(wish, decision, tenant, Repeat(), **named)  # type: ignore[arg-type]
    engine.now += 1
    return job


def fits(job: Job, wanted: Wanted) -> bool:
    """Say the slow way whether a job is wanted."""
    provider, _, model = (job.offer or "").partition(":")
    asked = read_wish(job.wish).request.model
    return (
        (not wanted.states or job.state in wanted.states)
        and (not wanted.expired or job.state is not State.SUCCEEDED or job.outputs == "[]")
        and (not wanted.providers or provider in wanted.providers)
        and (not (wanted.models | wanted.names) or bool({model, job.offer} & wanted.models) or asked in wanted.names)
        and wanted.key in {"", job.buyer}
        and (wanted.since is None or job.created_at >= wanted.since)
        and (wanted.until is None or job.created_at < wanted.until)
    )


STATUSES = ([], ["completed"], ["failed", "queued"], ["cancelled"], ["in_progress", "expired"])
PROVIDERS = ([], ["acme"], ["zeta", "nobody"])
MODELS = (
    ([], []), (["maker/one"], []), (["acme:maker/two", "maker/three"], []), (["nice"], ["nice"]),
    (["x"], ["odd/alias"]),
)  # fmt: skip
MORE = (
    Wanted(), Wanted(key="ann"), Wanted(expired=True), Wanted(since=START + DAY, until=START + 4 * DAY),
    Wanted(key="bob", since=START + DAY),
)  # fmt: skip
WANTED = [
    replace(
        more,
        states=states_of(status),
        providers=frozenset(provider),
        models=frozenset(model),
        names=frozenset(names),
    )
    for status, provider, (model, names), more in product(STATUSES, PROVIDERS, MODELS, MORE)
]


async def test_what_is_asked_for_is_found(engine: Engine) -> None:
    """The same as by going through all, both ways, however it is cut into pages; nobody else's, and nothing deleted."""
    whole = (await engine.store.jobs("tenant", after=None, limit=100, newest_first=False)).jobs
    assert {*State} - {State.SUBMITTING, State.UNKNOWN, State.STORING} <= {job.state for job in whole}
    found = 0
    for wanted, newest_first in product(WANTED, (False, True)):
        should = [job.id for job in (whole[::-1] if newest_first else whole) if fits(job, wanted)]
        assert should == await paged(engine, wanted, newest_first=newest_first, limit=4), wanted
        found += bool(should)

    assert found > len(WANTED) / 2


async def paged(engine: Engine, wanted: Wanted, *, newest_first: bool, limit: int) -> list[str]:
    """Go through a list page by page."""
    ids: list[str] = []
    more, after = True, None
    while more:
        page = await engine.store.jobs("tenant", after=after, limit=limit, newest_first=newest_first, wanted=wanted)
        assert len(page.jobs) == limit or not page.more
        ids += [job.id for job in page.jobs]
        more, after = page.more, ids[-1] if ids else None
    return ids


async def test_what_is_gone_is_told_from_what_is_kept(engine: Engine) -> None:
    """A video whose clips were removed has expired, and is completed none the less."""
    fresh = await engine.run((await order(engine, "maker/one", "tenant", "ann")).id)
    completed = await paged(engine, Wanted(states=states_of(["completed"])), newest_first=True, limit=4)
    gone = await paged(engine, Wanted(states=states_of(["expired"]), expired=True), newest_first=True, limit=4)

    assert {fresh.id} < {*completed}
    assert gone == [id_ for id_ in completed if (await engine.job(id_)).outputs == "[]"] != []


async def test_only_what_must_be_looked_at_is_laborious(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an index tells is read on the spot; what takes a look at the jobs themselves keeps nobody waiting."""
    surveyed: list[str] = []
    survey = engine.store.database.survey

    async def noted(query: str, *rest: object) -> object:
        surveyed.append(query)
        return await survey(query, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(engine.store.database, "survey", noted)
    for wanted in (EVERY, Wanted(providers=frozenset({"acme"}), models=frozenset({"maker/one"}), since=0)):
        await engine.store.jobs("tenant", after=None, limit=4, newest_first=True, wanted=wanted)
    assert [] == surveyed
    for wanted in (Wanted(key="ann"), Wanted(names=frozenset({"nice"})), Wanted(expired=True)):
        await engine.store.jobs("tenant", after=None, limit=4, newest_first=False, wanted=wanted)
    assert ["jobs_oldest_of"] * 3 == surveyed

"""
Laws of a job whose account was taken out of the configuration: a clip anybody can fetch is kept all the same; all else
waits in sight of everybody until the account is back, and ends when its time is over, with its money where it was.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest
from msgspec.structs import replace

from gateway.api import answers
from gateway.cli.check import check
from gateway.cli.doctor import doctor
from gateway.engine.watching import OTHERS_MS
from gateway.jobs.job import Job, State
from gateway.jobs.wish import Rendition
from gateway.money.ledger import Hold
from gateway.offers.accounts import stand_in
from providers.base.listing import listings
from providers.base.task import AssetRef
from tests.databases import ENVIRON, url_of
from tests.make import listing
from tests.scripted import Engine, clip, done, running

PUBLIC = "https://flow-content.google/video/a?Signature=x"
SIGNED = "https://acme.test/a.mp4"
WAITS = "account flow is not configured"


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    built = Engine(tmp_path, listing("flow", base_url="https://acme.test", hosts=["flow-content.google"]))
    built.wire.default = clip(4, (64, 36))
    built.shop.former = lambda name, slug: stand_in(name, slug, lambda _: built.wire)
    yield built
    built.close()


async def made(engine: Engine, link: str) -> Job:
    """Take a job to where its clip is made, lies under a link, and its host does not answer."""
    engine.provider.submits = [replace(done("t"), assets=(AssetRef(url=link),))]
    engine.wire.answers = [(503, b"")]
    job = await engine.accept()
    await engine.turn()
    assert State.STORING is (await engine.job(job.id)).state
    return job


def billing(job: Job) -> str | None:
    return msgspec.json.decode(job.hold or "", type=Hold).billing


async def test_a_clip_anybody_can_fetch_needs_no_account(engine: Engine) -> None:
    """It is kept, its job ends as ever, and its money is spent."""
    job = await made(engine, PUBLIC)
    engine.accounts.clear()
    ended = await engine.run(job.id)

    assert (State.SUCCEEDED, "billed") == (ended.state, billing(ended))
    assert engine.wire.default == await engine.media.whole(msgspec.json.decode(ended.outputs, type=list[Rendition])[0])


async def test_without_a_fresh_link_the_account_is_waited_for(engine: Engine) -> None:
    """A link that has died may be signed anew: not one of the tries counts against the clip."""
    job = await made(engine, PUBLIC)
    account = engine.accounts.pop("flow")
    engine.wire.answers = [(403, b"")] * 9
    for _ in range(9):
        await engine.turn(seconds=60)
    assert WAITS == answers.video(await engine.job(job.id))["waiting"]
    engine.accounts["flow"] = account
    ended = await engine.run(job.id)
    assert (State.SUCCEEDED, None) == (ended.state, answers.video(ended)["waiting"])


@pytest.mark.parametrize("state", [State.RUNNING, State.STORING, State.UNKNOWN])
async def test_an_account_that_comes_back_goes_on(engine: Engine, state: State) -> None:
    """Meanwhile the job says what it waits for; then it is not bought again, and nothing is said any more."""
    if state is State.STORING:
        job = await made(engine, SIGNED)
    else:
        engine.provider.submits = [running("t") if state is State.RUNNING else RuntimeError("the line broke")]
        job = await engine.accept()
        await engine.turn()
    account = engine.accounts.pop("flow")
    for _ in range(3):
        await engine.turn(seconds=61)
    seen = await engine.job(job.id)
    assert (state, WAITS) == (seen.state, answers.video(seen)["waiting"])

    engine.provider.finds = [done("t")]
    engine.accounts["flow"] = account
    ended = await engine.run(job.id)
    assert (State.SUCCEEDED, None) == (ended.state, answers.video(ended)["waiting"])
    assert 1 == len(engine.provider.ledger)


async def test_an_account_that_stays_away_ends_a_task_at_its_deadline(engine: Engine) -> None:
    """Nobody knows whether it was billed, so its money stays in doubt; the words name the account."""
    engine.provider.submits = [running("t")]
    job = await engine.accept()
    await engine.turn()
    engine.accounts.clear()
    ended = await engine.run(job.id)

    others = OTHERS_MS if engine.store.shared else 0
    assert ended.deadline_at + others <= engine.now < ended.deadline_at + others + 31_000
    error = answers.video(ended)["error"]
    assert ("deadline_exceeded", "possibly_billed") == (error["code"], billing(ended))
    assert f"{WAITS[0].upper()}{WAITS[1:]}, so nobody could ask" in error["message"]


@pytest.mark.parametrize("told", [True, False])
async def test_past_the_deadline_a_process_without_the_account_leaves_it_to_others(engine: Engine, told: bool) -> None:
    """Who has the account finds its clip; on a store of its own there is none, so the job ends there."""
    engine.provider.submits = [running("t") if told else RuntimeError("the line broke")]
    job = await engine.accept()
    await engine.turn()
    account = engine.accounts.pop("flow")
    late = (await engine.job(job.id)).deadline_at + 1000
    while engine.now < late:
        await engine.turn(seconds=30)
    seen = await engine.job(job.id)
    assert engine.store.shared is not seen.state.final

    engine.provider.finds = [done("t")]
    engine.accounts["flow"] = account
    ended = await engine.run(job.id) if engine.store.shared else seen
    assert (State.SUCCEEDED if engine.store.shared else State.FAILED) is ended.state


@pytest.mark.parametrize("known", [True, False])
async def test_an_account_that_stays_away_ends_a_clip_with_its_links(engine: Engine, known: bool) -> None:
    """What was made stays paid for, whether its seller's listing is still there or not."""
    job = await made(engine, SIGNED)
    engine.accounts.clear()
    if not known:
        engine.shop.former = lambda _name, _slug: None
    await engine.turn(seconds=23 * 3600)
    assert State.STORING is (await engine.job(job.id)).state
    await engine.turn(seconds=3600)

    ended = await engine.job(job.id)
    error = answers.video(ended)["error"]
    assert (State.FAILED, "result_lost", "billed") == (ended.state, error["code"], billing(ended))
    assert WAITS in error["message"]
    assert [("available", "held"), ("held", "spent")] == [
        (entry.debit, entry.credit) for entry in await engine.store.entries(ended.id)
    ]


@pytest.mark.parametrize("slug", listings())
def test_every_seller_has_a_stand_in(slug: str) -> None:
    """It can say how a clip is fetched, and carries nothing that could sign."""
    signs: list[httpx.Auth] = []
    found = stand_in("a", slug, signs.append)  # type: ignore[arg-type]
    assert found is not None
    assert ({}, [httpx.Auth]) == (found.provider.credentials, [type(each) for each in signs])
    assert "https://a.test/b" == found.provider.fetch(AssetRef(url="https://a.test/b")).url
    assert stand_in("a", "nobody", lambda _: found.wire) is None


def test_the_operator_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By ``check`` and by ``doctor``, which both fail; once the account is back neither has anything to say."""

    async def order() -> None:
        engine = Engine(tmp_path, listing("flow"))
        await engine.accept()
        await engine.turn()
        engine.close()

    asyncio.run(order())
    monkeypatch.chdir(tmp_path)
    for name, value in {"USEAPI_TOKEN": "x" * 20, **ENVIRON}.items():
        monkeypatch.setenv(name, value)
    config = tmp_path / "config.toml"
    for accounts, status in (("", 1), ("enabled = false", 1), ("enabled = true", 0)):
        account = f'[accounts.flow]\nprovider = "flow"\n{accounts}\n' if accounts else ""
        config.write_text(f'[store]\nurl = "{url_of(tmp_path)}"\n[accounts.sandbox]\nprovider = "sandbox"\n{account}')
        for command, told in ((check, "account flow is not configured"), (doctor, "FOUND  account_missing")):
            with pytest.raises(SystemExit) as exit_:
                command(config=config)
            assert (status, bool(status)) == (exit_.value.code, told in capsys.readouterr().out), (command, accounts)

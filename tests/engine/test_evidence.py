"""Laws of what nobody could read: an operator finds the task's name in it, and nobody else sees a word of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import force_setattr, replace
from structlog.testing import capture_logs

from gateway.api import answers
from gateway.engine.operator import adopt
from gateway.jobs.job import Outcome, State
from gateway.store.evidence import of_job
from providers.base.errors import Indeterminate, Throttled, Unavailable
from providers.base.listing import Secret
from providers.base.order import Order
from providers.base.task import State as TaskState
from providers.base.task import Task, Update
from providers.base.wire import MOST_HEARD, Call, Download, Reply, Wire
from tests.make import listing
from tests.scripted import Engine, running

CANARY = "canary-word-7Qz"
KEY = "canary-key-7Qz/with+signs"
PUBLIC = "project-of-acme"
HOOK = "https://gateway.test/hooks/acme/0123456789abcdef"
SAID = f'<html> {CANARY} task-4711 {PUBLIC} "{KEY}" {HOOK} {HOOK.replace("/", chr(92) + "/")}\0'.encode()


class Seller:
    """A wire that answers each call as is said."""

    def __init__(self) -> None:
        self.answer: Reply | Exception = Reply(status=200, headers={"content-type": "text/html"}, body=SAID)
        self.after: Exception | None = None

    async def send(self, call: Call) -> Reply:
        if call.repeatable:
            return Reply(status=200, headers={}, body=b"the upload's own words")
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[Download]:
        assert isinstance(self.answer, Reply)
        body = self.answer.body

        async def chunks() -> AsyncIterator[bytes]:
            for at in range(0, len(body), 50):
                yield body[at : at + 50]
            if self.after:
                raise self.after

        yield Download(status=200, headers=self.answer.headers, chunks=chunks())


class Misread(Engine):
    """An engine whose provider's answers are read as JSON, whole or as they come."""

    def __init__(self, folder: Path) -> None:
        secrets = [Secret(name="ACME_KEY", what="x"), Secret(name="ACME_PROJECT", what="x", public=True)]
        super().__init__(folder, listing(secrets=secrets))
        self.seller = Seller()
        self.accounts["acme"].wire = self.seller  # type: ignore[assignment]
        self.provider.credentials = {"ACME_KEY": KEY, "ACME_PROJECT": PUBLIC}
        self.provider.submit = self._submit  # type: ignore[method-assign]
        self.read: Callable[[Reply], object] = Reply.json
        self.streams = False

    async def _submit(self, order: Order, wire: Wire) -> Update:
        force_setattr(order, "hook_url", HOOK)
        await wire.send(Call(method="POST", url="upload", repeatable=True))
        call = Call(method="POST", url="order", repeatable=False)
        if self.streams:
            async with wire.stream(call) as download:
                body = b"".join([chunk async for chunk in download.chunks])
            self.read(Reply(status=200, headers={}, body=body))
        else:
            self.read(await wire.send(call))
        return running(order.attempt)

    async def evidence(self, job: str) -> list[str]:
        return [each.said for each in await of_job(self.store.database, job)]


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Misread]:
    built = Misread(tmp_path)
    yield built
    built.close()


def crash(_: Reply) -> None:
    raise KeyError("a bug of ours")


@pytest.mark.parametrize("read", [Reply.json, crash])
@pytest.mark.parametrize("streams", [False, True])
async def test_an_operator_reads_what_nobody_could(
    engine: Misread, streams: bool, read: Callable[[Reply], object]
) -> None:
    """The task's name is in it, no secret is, and no client, log or figure repeats a word; so the task is adopted."""
    engine.streams, engine.read = streams, read
    with capture_logs() as logs:
        job = await engine.accept()
        await engine.turn()
    lost = await engine.job(job.id)
    (attempt,) = await engine.store.attempts(job.id)
    assert (lost.state, attempt.outcome) == (State.UNKNOWN, Outcome.UNKNOWN)

    (said,) = await engine.evidence(job.id)
    assert said.startswith("HTTP 200 text/html: <html>")
    assert {CANARY, "task-4711", PUBLIC} <= set(said.split())
    assert not [each for each in (KEY, HOOK, HOOK.replace("/", "\\/"), "\0", "upload") if each in said]

    video = msgspec.json.encode(answers.attempt(attempt, lost)).decode()
    seen = [*map(str, logs), video, str(msgspec.to_builtins(lost)), str(attempt), engine.metrics.exposition().decode()]
    assert not [each for each in seen if CANARY in each or "task-4711" in each]

    accepted = adopt(lost, attempt, "task-4711", engine.now)
    await engine.store.save(accepted[0], accepted[1], also=accepted[2])
    assert (await engine.job(job.id)).state is State.RUNNING


@pytest.mark.parametrize("streams", [False, True])
async def test_so_is_what_came_before_a_line_broke(engine: Misread, streams: bool) -> None:
    """Half an answer may name the task as well as a whole one."""
    engine.streams = streams
    broken = Indeterminate("no answer: ReadError", heard=b'{"id": "task-4711", "sta')
    if streams:
        engine.seller.answer = Reply(status=200, headers={}, body=broken.heard)
        engine.seller.after = broken
    else:
        engine.seller.answer = broken
    job = await engine.accept()
    await engine.turn()
    (said,) = await engine.evidence(job.id)
    assert said.endswith(': {"id": "task-4711", "sta')


async def test_it_is_kept_to_so_many_bytes(engine: Misread) -> None:
    """However much was answered; also where a secret lies across the end of it."""
    engine.seller.answer = Reply(status=200, headers={}, body=b"x" * (MOST_HEARD - 12) + KEY.encode() + b"x" * 10**6)
    job = await engine.accept()
    await engine.turn()
    (said,) = await engine.evidence(job.id)
    assert said == f"HTTP 200: {'x' * (MOST_HEARD - 12)}"


@pytest.mark.parametrize("answer", [Unavailable("nobody home"), Indeterminate("silence")])
async def test_nothing_is_kept_where_nothing_was_said(engine: Misread, answer: Exception) -> None:
    """Nor of what was turned down for certain."""
    engine.seller.answer = answer
    job = await engine.accept()
    await engine.turn()
    assert await engine.evidence(job.id) == []


async def test_a_word_nobody_knows_raises_an_alarm_and_is_kept(tmp_path: Path) -> None:
    """It is counted by provider and logged, and no verdict; an operator sees the last one, whatever it is made of."""
    engine = Engine(tmp_path)
    strange = [Update(state=TaskState.UNKNOWN, task=Task("t"), raw_state=word) for word in ("PONDERING", "GR\0WN")]
    engine.provider.polls = [*strange, running("t")]
    job = await engine.accept()
    with capture_logs() as logs:
        for _ in range(3):
            await engine.turn(seconds=60)
    assert (await engine.job(job.id)).state is State.RUNNING
    assert [each["word"] for each in logs if each["event"] == "task.state_unknown"] == ["PONDERING", "GR\0WN"]
    assert engine.metrics.registry.get_sample_value("reelgate_unknown_words_total", {"provider": "acme"}) == 2
    assert [(each.kind, each.said) for each in await of_job(engine.store.database, job.id)] == [("word", "GR WN")]
    assert "GR" not in msgspec.json.encode(answers.attempt((await engine.store.attempts(job.id))[0], job)).decode()
    engine.close()


async def test_a_plain_no_takes_no_evidence_away(tmp_path: Path) -> None:
    """An order that is free to repeat is turned away the next time: what was answered the first time stays."""
    engine = Misread(tmp_path)
    engine.provider.listing = replace(engine.provider.listing, submit_class="A")
    job = await engine.accept()
    await engine.turn()

    def busy(_: Reply) -> None:
        raise Throttled("too much at once")

    engine.read = busy
    engine.seller.answer = Reply(status=429, headers={}, body=b"slow down")
    for _ in range(3):
        await engine.turn(seconds=120)
    assert (await engine.job(job.id)).state is State.UNKNOWN
    (said,) = await engine.evidence(job.id)
    assert CANARY in said
    engine.close()

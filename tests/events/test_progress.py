"""Laws of waiting: told as it happens, to the end, and no longer than that."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from litestar.datastructures import Headers
from msgspec.structs import replace

from gateway.api import answers
from gateway.api.answers import Outlook
from gateway.api.progress import wait_of
from gateway.engine.findings import RESTING
from gateway.events.watch import Watch
from gateway.jobs.job import Job, State, as_json
from gateway.jobs.wish import Problem
from gateway.store.database import StoreUnavailableError
from tests.scripted import Engine, running
from tests.server import Server, eventually

ORDER = {"model": "sandbox/demo", "prompt": "[slow 2] a kite", "seconds": 1, "resolution": "360p"}


def read(server: Server, id_: str, last: str = "", *, most: int = 1000) -> list[dict[str, str]]:
    """Read a stream to its end, as its fields; its last line says what it was answered with."""
    headers = {"last-event-id": last} if last else {}
    found: list[dict[str, str]] = []
    with httpx.stream("GET", f"{server.api}/videos/{id_}/events", headers=headers, trust_env=False, timeout=40) as got:
        if got.status_code != 200:
            return [{"status": str(got.status_code)}]
        assert got.headers["content-type"] == "text/event-stream"
        event: dict[str, str] = {}
        for line in got.iter_lines():
            name, _, value = line.partition(": ")
            if line:
                event[name] = value
            else:
                found += [event] if "event" in event else []
                event = {}
            if len(found) >= most:
                break
    return found


def order(server: Server, prompt: str = "[slow 2] a kite", **headers: str) -> httpx.Response:
    return httpx.post(
        f"{server.api}/videos", json={**ORDER, "prompt": prompt}, headers=headers, trust_env=False, timeout=70
    )


def test_a_stream_tells_to_the_end(server: Server) -> None:
    """Ids and progress only grow; the last event is the end, and the stream ends with it."""
    id_ = order(server).json()["id"]
    events = read(server, id_)
    shown = [json.loads(event["data"]) for event in events]
    assert {"video.progress", "video.completed"} == {event["event"] for event in events}
    assert "video.completed" == events[-1]["event"]
    assert len(events) >= 3
    ids = [int(event["id"]) for event in events]
    assert ids == sorted(set(ids))
    progress = [each["progress"] for each in shown]
    assert progress == sorted(progress)
    assert (100, "completed", id_) == (progress[-1], shown[-1]["status"], shown[-1]["id"])


def test_a_broken_stream_goes_on(server: Server) -> None:
    """``Last-Event-ID`` leaves out what was seen; after the end there is nothing, which stops a browser's retries."""
    id_ = order(server).json()["id"]
    (first,) = read(server, id_, most=1)
    rest = read(server, id_, first["id"])
    assert all(int(event["id"]) > int(first["id"]) for event in rest)
    assert "video.completed" == rest[-1]["event"]
    assert [{"status": "204"}] == read(server, id_, rest[-1]["id"])
    (again,) = read(server, id_, rest[-2]["id"] if len(rest) > 1 else first["id"])
    assert rest[-1] == again


def test_an_id_from_nowhere_is_told_all(server: Server) -> None:
    """Whoever says that it saw more than there was hears the end like everybody."""
    id_ = order(server).json()["id"]
    assert "video.completed" == read(server, id_, "9" * 18)[-1]["event"]


def test_bad_ends_are_told(server: Server) -> None:
    """A failed clip ends its stream as ``video.failed``, a cancelled one as ``video.canceled``."""
    failed = order(server, "[fail]").json()["id"]
    assert "video.failed" == read(server, failed)[-1]["event"]
    slow = order(server, "[slow 30]").json()["id"]
    server.post(f"/v1/videos/{slow}/cancel", {})
    assert "video.canceled" == read(server, slow)[-1]["event"]
    assert [{"status": "404"}] == read(server, "video_" + "0" * 32)


def test_a_create_call_waits_as_it_prefers(server: Server) -> None:
    """The answer comes with the end, and says that the preference was kept to."""
    answer = order(server, "quick", prefer="respond-async, wait=50")
    assert ("completed", "wait=50") == (answer.json()["status"], answer.headers["preference-applied"])


def test_a_wait_that_is_over_answers_as_ever(server: Server) -> None:
    """As the video stands then; a minute is the most, and what cannot be read is no wish."""
    began = time.monotonic()
    answer = order(server, "[slow 30]", prefer="wait=1")
    assert 1 <= time.monotonic() - began < 5
    id_ = answer.json()["id"]
    assert answer.json()["status"] in {"queued", "in_progress"}
    began = time.monotonic()
    for wish in ("wait=soon", "wait=-1", "return=minimal", "await=5", "wait="):
        got = httpx.get(f"{server.api}/videos/{id_}", headers={"prefer": wish}, trust_env=False)
        assert (200, None) == (got.status_code, got.headers.get("preference-applied")), wish
    assert time.monotonic() - began < 3
    done = threading.Timer(0.5, lambda: server.post(f"/v1/videos/{id_}/cancel", {}))
    done.start()
    got = httpx.get(f"{server.api}/videos/{id_}", headers={"prefer": "wait=999"}, trust_env=False, timeout=70)
    assert ("wait=60", "cancelled") == (got.headers["preference-applied"], got.json()["status_detail"])
    done.join()


@pytest.mark.parametrize(
    ("prefer", "patience", "seconds"),
    [
        ("wait=50", "600", 50),
        ("wait=999", "600.0", 60),
        ("wait=50", "30.5", 25),
        ("wait=3", "30", 3),
        ("wait=50", "5", 0),
        ("wait=50", "1", 0),
        ("wait=50", "None", 50),
        ("wait=50", "-1", 50),
        ("wait=50", "1" * 30, 50),
        ("", "30", 0),
    ],
)
def test_a_client_is_answered_before_it_gives_up(prefer: str, patience: str, seconds: int) -> None:
    """Five seconds before the read timeout its SDK tells of; what cannot be read is none."""
    assert seconds == wait_of(Headers({"prefer": prefer, "x-stainless-read-timeout": patience}))


def test_a_wait_says_how_long_it_is(server: Server) -> None:
    """The seconds that are kept to, not those that were asked for."""
    id_ = order(server, "[slow 30]").json()["id"]
    headers = {"prefer": "wait=50", "x-stainless-read-timeout": "6"}
    began = time.monotonic()
    got = httpx.get(f"{server.api}/videos/{id_}", headers=headers, trust_env=False)
    assert time.monotonic() - began < 5
    assert ("wait=1", False) == (got.headers["preference-applied"], got.json()["status"] == "completed")
    server.post(f"/v1/videos/{id_}/cancel", {})


def test_listeners_do_not_keep_the_gateway_from_stopping(tmp_path: Path) -> None:
    """SIGTERM ends streams and waits at once; what they waited for goes on after the next start."""
    server = Server(tmp_path).start()
    id_ = order(server, "[slow 60]").json()["id"]
    heard: list[int] = []
    listener = threading.Thread(target=lambda: heard.append(len(read(server, id_))))
    waiter = threading.Thread(
        target=lambda: heard.append(
            httpx.get(
                f"{server.api}/videos/{id_}", headers={"prefer": "wait=60"}, trust_env=False, timeout=70
            ).status_code
        )
    )
    listener.start()
    waiter.start()
    eventually(lambda: heard_by(server) >= 2, seconds=10)
    began = time.monotonic()
    assert 0 == server.stop()
    assert time.monotonic() - began < 10
    listener.join(5)
    waiter.join(5)
    assert not listener.is_alive()
    assert not waiter.is_alive()


def heard_by(server: Server) -> int:
    """Count the connections a gateway holds open."""
    theirs = f"{server.port:04X}"
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(row.split()[1].endswith(f":{theirs}") and row.split()[3] == "01" for row in rows)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    made = Engine(tmp_path)
    yield made
    made.close()


async def test_one_task_looks_for_everybody(engine: Engine) -> None:
    """Two hundred who wait for fifty jobs share one look a second; it ends with the last of them."""
    watch = Watch(engine.store)
    engine.store.on_move.append(watch.hear)
    engine.provider.submits = [running("t", poll_after=3600.0)] * 50
    jobs = [await engine.accept(seed=seed) for seed in range(50)]
    waiting = [asyncio.create_task(watch.end(each, 30)) for each in jobs for _ in range(4)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) <= len(waiting) + 2
    for each in jobs:
        await engine.store.cancel(each.id, "tenant")
    await engine.turn()
    ended = await asyncio.gather(*waiting)
    assert {State.CANCELLED} == {each.state for each in ended if each}
    assert {} == watch._waiting
    watch.close()


async def test_what_another_process_moves_is_found(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody tells this process of it; the look does."""
    monkeypatch.setattr("gateway.events.watch.LOOK_SECONDS", 0.01)
    watch = Watch(engine.store)
    job = await engine.accept()
    waiting = asyncio.create_task(watch.end(job, 10))
    await asyncio.sleep(0)
    await engine.store.cancel(job.id, "tenant")
    await engine.turn()
    found = await waiting
    assert found is not None
    assert State.CANCELLED is found.state
    watch.close()


async def test_a_store_that_is_away_for_a_while_keeps_nobody_from_the_end(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits goes on waiting, though the move is told while nobody can read it."""
    monkeypatch.setattr("gateway.events.watch.LOOK_SECONDS", 0.01)
    watch, away = Watch(engine.store), asyncio.Event()
    engine.store.on_move.append(watch.hear)
    job, read = await engine.accept(), engine.store.job

    async def unless_away(id_: str, tenant: str) -> Job | None:
        if away.is_set():
            raise StoreUnavailableError("nobody answers")
        return await read(id_, tenant)

    monkeypatch.setattr(engine.store, "job", unless_away)
    away.set()
    waiting = asyncio.create_task(watch.end(job, 10))
    await asyncio.sleep(0)
    await engine.store.cancel(job.id, "tenant")
    await engine.turn()
    same = await watch.change(job, 0.01)
    away.clear()
    found = await waiting
    assert same is job
    assert found is not None
    assert State.CANCELLED is found.state
    watch.close()


async def test_a_deleted_video_is_waited_for_no_longer(engine: Engine) -> None:
    """Whoever waits learns that it is gone."""
    watch = Watch(engine.store)
    job = await engine.accept()
    await engine.store.cancel(job.id, "tenant")
    await engine.turn()
    await engine.store.delete(job.id, "tenant")
    assert await watch.end(job, 10) is None
    watch.close()


async def test_an_end_is_foretold_only_from_what_was_seen(engine: Engine) -> None:
    """Seconds from ``updated_at``, by what the offer was observed to take; nothing unobserved, late or over."""

    async def due(observed: float | None) -> int | None:
        found: int | None = answers.video(await engine.job(job.id), Outlook(observed, wait=0.0))["eta_seconds"]
        return found

    engine.provider.submits = [running("t", poll_after=10.0)]
    engine.provider.polls = [running("t", poll_after=10.0), running("t", poll_after=50.0)]
    job = await engine.accept()
    assert [None, 40] == [await due(None), await due(40)]
    await engine.turn()
    assert [None, 40] == [await due(None), await due(40)]
    await engine.turn(seconds=10)
    assert 30 == await due(40)
    await engine.turn(seconds=50)
    assert await due(40) is None


async def test_what_waits_before_an_order_is_foretold_with_it(engine: Engine) -> None:
    """Its turn, where that is known, and then as long as it takes; nothing of who waits for something else."""
    job = await engine.accept()
    told = [answers.video(job, Outlook(40, position, wait))["eta_seconds"] for position, wait in ((3, 25.4), (3, None))]
    rests = replace(job, error=as_json(Problem(code=RESTING, message="it rests")))

    assert [65, None] == told
    assert answers.video(rests, Outlook(40, wait=0.0))["eta_seconds"] is None
    assert 3 == answers.video(job, Outlook(40, 3, 25.4))["queue_position"]


def test_a_stream_nobody_reads_is_let_go(server: Server) -> None:
    """A client that hangs up costs nothing afterwards: its request is over."""
    id_ = order(server, "[slow 30]").json()["id"]
    read(server, id_, most=1)
    count = 'reelgate_requests_total{method="GET",route="streamVideo"'
    eventually(lambda: count in server.get("/metrics").text, seconds=5)
    server.post(f"/v1/videos/{id_}/cancel", {})

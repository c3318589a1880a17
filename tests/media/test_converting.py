"""Laws of converting: a picture its offer does not take goes out as one it takes, the same bytes each time, or not."""

import errno
import hashlib
import os
import random
import struct
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import BrokenExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from PIL import Image

from gateway.api.linked import INPUT
from gateway.clips import study
from gateway.clips.cleaning import Cleaner, Litter
from gateway.clips.inputs import sniff
from gateway.clips.links import Links
from gateway.clips.media import input_key
from gateway.engine.orders import Orders
from gateway.jobs.job import Job, State
from gateway.jobs.wish import read_choice, read_notices, read_problem, read_wish
from gateway.offers.asking import CONVERTED
from providers.base.errors import Indeterminate
from providers.base.order import Input, Mode, Order, Role
from providers.base.task import Fault, Task, Update
from providers.base.task import State as TaskState
from tests import objects
from tests.make import listing, offer, price
from tests.scripted import Engine, clip

PNG, JPEG, WEBP = "image/png", "image/jpeg", "image/webp"
PARTICULAR = offer(media_types=[PNG, JPEG, "video/mp4"], image_max=100_000)
NAME = "png-jpeg-100000"


class Seen(Engine):
    """An engine whose provider keeps what it was handed: the order, and the bytes of its inputs."""

    def __init__(self, folder: Path, *sold: Any) -> None:
        super().__init__(folder, *sold)
        self.wire.default = clip(8, (64, 36))
        self.orders: list[tuple[Order, dict[str, bytes]]] = []
        for provider in self.providers.values():
            self._watch(provider)

    def _watch(self, provider: Any) -> None:
        submit = provider.submit

        async def watched(order: Order, wire: object) -> object:
            self.orders.append((order, {sha256: path.read_bytes() for sha256, path in order.files.items()}))
            return await submit(order, wire)

        provider.submit = watched

    async def keys(self) -> set[str]:
        return {each.key async for each in self.media.shelf.walk("inputs")}


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., Seen]]:
    made: list[Seen] = []

    def build(*sold: Any) -> Seen:
        made.append(Seen(tmp_path, *(sold or (listing(offers=[PARTICULAR]),))))
        return made[-1]

    yield build
    for each in made:
        assert [] == list(each.media.incoming.iterdir())
        each.close()


def drawn(kind: str = "WEBP", **options: Any) -> bytes:
    out = BytesIO()
    Image.linear_gradient("L").convert("RGB").crop((0, 0, 160, 90)).save(out, kind, **options)
    return out.getvalue()


def noise() -> Image.Image:
    """Draw a picture no codec makes small."""
    return Image.frombytes("RGB", (240, 180), random.Random(7).randbytes(3 * 240 * 180))


async def hand_in(engine: Engine, data: bytes, role: Role = Role.FIRST_FRAME) -> Input:
    """Keep a picture as a call would."""
    sha256, size, path = await engine.media.keep_bytes([data])
    sniffed, _ = await engine.media.study_input(path, size)
    await engine.media.keep_input(path, sha256, sniffed.media_type)
    kind, width, height = sniffed
    return Input(role=role, media_type=kind, sha256=sha256, size=size, width=width, height=height)


def asked(*inputs: Input) -> dict[str, Any]:
    return {"mode": Mode.FIRST_FRAME, "inputs": inputs}


def told(job: Job) -> list[tuple[str, str]]:
    return [(each.feature, each.details) for each in read_notices(job.warnings) if each.type == CONVERTED]


async def test_a_picture_goes_out_as_what_is_taken(make: Callable[..., Seen], tmp_path: Path) -> None:
    """Its seller is handed a PNG or a JPEG and told so; its client sees what it sent, and why that was not enough."""
    engine = make()
    given = await hand_in(engine, drawn())
    job = await engine.accept(**asked(given))
    first = told(job)
    ended = await engine.run(job.id)

    assert State.SUCCEEDED is ended.state
    ((order, files),) = engine.orders
    (handed,) = order.request.inputs
    data = files[handed.sha256]
    (tmp_path / "handed").write_bytes(data)
    assert (JPEG, 160, 90) == sniff(tmp_path / "handed", len(data)) == (handed.media_type, handed.width, handed.height)
    assert (hashlib.sha256(data).hexdigest(), len(data)) == (handed.sha256, handed.size)
    assert Role.FIRST_FRAME is handed.role
    assert (given,) == read_wish(ended.wish).request.inputs
    # A program that hands pictures over as they come does not know the word, and so leaves the order alone.
    assert ended.wish.endswith('"converts":true}')
    why = "acme takes a first frame as image/png or image/jpeg, not image/webp; this one is converted for it"
    assert [("frame_images", why)] == first == told(ended)


async def test_what_is_taken_goes_out_as_it_came(make: Callable[..., Seen]) -> None:
    """Not a byte of it differs, and nothing is kept beside it."""
    engine = make()
    data = drawn("PNG")
    given = await hand_in(engine, data)
    ended = await engine.run((await engine.accept(**asked(given))).id)
    ((order, files),) = engine.orders
    assert (given,) == order.request.inputs
    assert {given.sha256: data} == files
    assert {input_key(given.sha256)} == await engine.keys()
    assert ([], False) == (told(ended), "converts" in ended.wish)


async def test_a_picture_that_is_too_large_goes_out_smaller(make: Callable[..., Seen]) -> None:
    """Of a type that is taken, but of more bytes: as many pixels, in fewer."""
    engine = make()
    out = BytesIO()
    noise().save(out, "PNG")
    given = await hand_in(engine, out.getvalue())
    assert given.size > 100_000
    job = await engine.accept(**asked(given))
    await engine.run(job.id)
    ((order, _),) = engine.orders
    (handed,) = order.request.inputs
    assert (JPEG, 240, 180) == (handed.media_type, handed.width, handed.height)
    assert handed.size <= 100_000
    why = "acme takes a first frame of at most 100000 bytes; this one is converted for it"
    assert [("frame_images", why)] == told(job)


async def test_it_is_converted_once_and_then_kept(make: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch) -> None:
    """Another order of it, after a restart, is handed the same bytes, whatever would be made of it by now."""
    engine = make()
    given = await hand_in(engine, drawn())
    await engine.run((await engine.accept(**asked(given))).id)

    def otherwise(*_: object) -> None:
        raise AssertionError("it was converted again")

    monkeypatch.setattr(study, "convert", otherwise)
    engine.restart()
    await engine.run((await engine.accept(**asked(given, replace(given, role=Role.LAST_FRAME)))).id)
    (_, once), (order, again) = engine.orders
    assert once == again
    assert 2 == len(order.request.inputs)
    assert {input_key(given.sha256), input_key(f"{given.sha256}.{NAME}")} == await engine.keys()


async def test_an_order_sent_again_is_of_the_same_bytes(
    make: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a lost order is repeated, by another process with other libraries, it is the same order."""
    engine = make(listing(offers=[PARTICULAR], submit_class="A"))
    given = await hand_in(engine, drawn())
    engine.provider.submits = [Indeterminate("silence")]
    job = await engine.accept(**asked(given))
    await engine.turn()
    assert State.UNKNOWN is (await engine.job(job.id)).state
    monkeypatch.setattr(study, "convert", lambda *_: pytest.fail("it was converted again"))
    engine.restart()
    assert State.SUCCEEDED is (await engine.run(job.id)).state
    (first, once), (second, again) = engine.orders
    assert (first.attempt, first.request, once) == (second.attempt, second.request, again)


async def test_what_was_made_of_a_picture_goes_with_it(make: Callable[..., Seen]) -> None:
    """While a job has a use for the one it has for the other; then both are litter."""
    engine = make()
    given = await hand_in(engine, drawn())
    job = await engine.run((await engine.accept(**asked(given))).id)
    both = {input_key(given.sha256), input_key(f"{given.sha256}.{NAME}")}
    cleaner = Cleaner(engine.media, engine.store, engine.clock, retention_ms=86_400_000)
    assert [] == [each async for each in cleaner.litter(seconds=3600)]
    await engine.store.delete(job.id, "tenant")
    found = [each async for each in cleaner.litter(seconds=3600) if each.kind == "input"]
    assert both == {each.name for each in found}
    for each in found:
        assert await cleaner.remove(each, seconds=3600)
    assert set() == await engine.keys()


async def test_what_was_made_long_ago_is_young_when_it_is_handed_over(make: Callable[..., Seen]) -> None:
    """Whoever looks for litter at that moment, and found it before its new order was there, lets it be."""
    engine = make()
    given = await hand_in(engine, drawn())
    await engine.store.delete((await engine.run((await engine.accept(**asked(given))).id)).id, "tenant")
    for key in await engine.keys():
        if path := engine.media.shelf.path(key):  # An object store's own clock dates what it has.
            os.utime(path, (time.time() - 7200, time.time() - 7200))
    cleaner = Cleaner(engine.media, engine.store, lambda: int((time.time() + 1800) * 1000), retention_ms=86_400_000)
    found = [Litter("input", each.key, each.size, each.modified) async for each in engine.media.shelf.walk("inputs")]
    _, _, again = await engine.media.keep_bytes([drawn()])
    await engine.media.keep_input(again, given.sha256, given.media_type)
    job = await engine.accept(**asked(given))
    async with engine.tools.orders.at_hand(read_wish(job.wish), read_choice(job.quote)) as handed:
        assert [False, False] == [await cleaner.remove(each, seconds=3600) for each in found]
        assert all(each.path and each.path.is_file() for each in handed)


async def test_a_broken_picture_ends_its_order_unbought(make: Callable[..., Seen]) -> None:
    """Its header was whole, so it was accepted; its client is told which it is and what to send, at once."""
    engine = make()
    whole = drawn("PNG")
    out = BytesIO()
    noise().save(out, "WEBP")
    broken = bytearray(out.getvalue()[: out.tell() // 4 * 2])  # The lengths it speaks of are those it has.
    broken[4:8], broken[16:20] = struct.pack("<I", len(broken) - 8), struct.pack("<I", len(broken) - 20)
    given = [await hand_in(engine, whole), await hand_in(engine, bytes(broken), Role.LAST_FRAME)]
    job = await engine.accept(**asked(*given))
    await engine.turn()
    ended = await engine.job(job.id)

    assert State.FAILED is ended.state
    problem = read_problem(ended.error or "")
    assert ("unsupported_image", "invalid_request_error", "frame_images") == (problem.code, problem.type, problem.param)
    assert "acme does not take this picture as it is, and it could not be converted" in problem.message
    assert "Nothing was bought" in problem.message
    assert [] == engine.orders
    assert 0 == ended.attempts
    assert {input_key(each.sha256) for each in given} == await engine.keys()


@pytest.mark.parametrize("times", [1, 2])
async def test_a_decoder_that_crashes_is_asked_twice(
    make: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Once it may have been another's picture that brought it down; what does so again is not asked for ever."""
    engine, tries, convert = make(), [], study.convert

    def crashing(*args: Any) -> None:
        tries.append(args)
        if len(tries) <= times:
            raise BrokenExecutor
        convert(*args)

    monkeypatch.setattr(study, "convert", crashing)
    ended = await engine.run((await engine.accept(**asked(await hand_in(engine, drawn())))).id)
    assert 2 == len(tries)
    if times == 1:
        assert State.SUCCEEDED is ended.state
    else:
        assert "unsupported_image" == read_problem(ended.error or "").code
        assert [] == engine.orders


async def test_a_full_disk_is_not_the_picture_s(make: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch) -> None:
    """The order waits for room, and is bought once."""
    engine, convert = make(), study.convert

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(study, "convert", full)
    job = await engine.accept(**asked(await hand_in(engine, drawn())))
    await engine.turn()
    assert (State.QUEUED, 0) == ((await engine.job(job.id)).state, len(engine.orders))
    monkeypatch.setattr(study, "convert", convert)
    assert State.SUCCEEDED is (await engine.run(job.id)).state
    assert 1 == len(engine.orders)


async def test_a_shelf_that_takes_nothing_is_waited_for(make: Callable[..., Seen], shelf_kind: objects.Kind) -> None:
    """What was converted is kept before it is sent, or it is not sent."""
    if shelf_kind == "folder":
        pytest.skip("a folder is not reached through anything that can fail")
    engine = make()
    job = await engine.accept(**asked(await hand_in(engine, drawn())))
    with objects.store().troubled(lambda method, target: method == "PUT" and NAME in target):
        await engine.turn()
        assert (State.QUEUED, []) == ((await engine.job(job.id)).state, engine.orders)
    assert State.SUCCEEDED is (await engine.run(job.id)).state


async def test_whoever_takes_its_turn_is_handed_what_it_takes(make: Callable[..., Seen]) -> None:
    """The next best takes the picture as it is: it gets that, and the job no longer says that it was converted."""
    easy = listing("easy", prices=[price("0.20")])
    engine = make(listing(offers=[PARTICULAR]), easy)
    given = await hand_in(engine, drawn())
    job = await engine.accept(**asked(given))
    assert "acme:maker/one" == job.offer
    assert 1 == len(told(job))
    broke = Update(state=TaskState.FAILED, task=Task("t"), fault=Fault(code="E7", message="it broke", billed=False))
    engine.provider.polls = [broke]
    ended = await engine.run(job.id)
    assert ("easy:maker/one", State.SUCCEEDED) == (ended.offer, ended.state)
    (first, _), (second, files) = engine.orders
    assert JPEG == first.request.inputs[0].media_type
    assert ((given,), {given.sha256: drawn()}) == (second.request.inputs, files)
    assert [] == told(ended)


async def test_a_provider_that_fetches_is_linked_to_what_it_takes(make: Callable[..., Seen]) -> None:
    """The link opens what the picture was converted to, for as long as it does any input; no file is handed over."""
    engine = make(listing(offers=[PARTICULAR], takes="links"))
    links = Links(b"k" * 32)
    orders = Orders(engine.shop, engine.media, links=links, public_url="https://gateway.test")
    given = await hand_in(engine, drawn())
    job = await engine.accept(**asked(given))
    wish, choice = read_wish(job.wish), read_choice(job.quote)
    async with orders.at_hand(wish, choice) as handed:
        order = orders.write(replace(job, attempt="att_1"), wish, choice, handed)
    (into,) = order.request.inputs
    assert {} == order.files
    (link,) = order.links.values()
    assert {into.sha256} == {*order.links}
    seal, path = link.removeprefix("https://gateway.test/links/").split("/", 1)
    assert "" == links.giver(f"/{path}", seal, engine.clock())
    found = INPUT.fullmatch(path.removeprefix("inputs/"))
    assert found
    assert "jpg" == found[2]
    kept = b"".join([piece async for piece in engine.media.shelf.read(input_key(found[1]), 0, into.size)])
    assert into.sha256 == hashlib.sha256(kept).hexdigest()

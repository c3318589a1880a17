"""
What every surface needs: a job from a dialect's fields, a look at it until it ends, links, errors in its words.

A surface hands over :class:`~gateway.api.create.VideoCreate` fields and a table of what its client calls them; the
call then goes the one way every call goes (:mod:`gateway.api.calls`), and what is wrong with it comes back under
the client's own names.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import msgspec
import structlog

from gateway.api import answers
from gateway.api.calls import take_in
from gateway.api.create import FIELDS, check_list, parse
from gateway.api.desk import Desk, Incoming, desk, leave_of
from gateway.api.forms import Body
from gateway.api.streams import Stream, gone
from gateway.clips.links import TO_CLIP
from gateway.clips.uploads import Upload
from gateway.door.guesses import Network, networks, scheme_of
from gateway.events.events import ENDED
from gateway.events.letters import Reach
from gateway.jobs.job import Job, State
from gateway.jobs.wish import Choice, Problem, Rendition, Wish, read_choice, read_problem, read_renditions, read_wish
from gateway.offers.asking import stands_for
from gateway.problems import ProblemError, Render, invalid
from gateway.settings import Alias
from gateway.store.database import StoreUnavailableError
from providers.base.order import CHOICES, COUNTS, Mode

log = structlog.get_logger()

BEAT = 10.0
"""Most seconds of silence on a call that is held open."""

READ: dict[str, Any] = {"opt": {"scope": "read"}, "include_in_schema": False}
WRITE: dict[str, Any] = {"opt": {"scope": "write"}, "include_in_schema": False, "status_code": 200}
BARE_READ: dict[str, Any] = {**READ, "opt": {**READ["opt"], "bare_key": True}}
BARE_WRITE: dict[str, Any] = {**WRITE, "opt": {**WRITE["opt"], "bare_key": True}}
"""
How a surface's routes are declared; the OpenAPI document describes our own words only. The second pair is for
CometAPI's clients, whose examples send the key with nothing before it.
"""

OURS = (FIELDS | {*CHOICES, *COUNTS}) - {"prompt", "model"}
"""What our own API calls the fields of a call, but for the two that every client has."""
Names = Mapping[str, str]
"""Our name of a field, and what the client calls it."""
SAYS_HOW_LONG = frozenset({"seconds", "duration", "video", "previous_video_id", "previous_job_id"})
"""Fields that leave a clip's length not open: it is said, or what is done to an earlier clip decides."""
Models = Mapping[str, str | Sequence[str]]
"""A client's name of a model: ours, or several of which the first that can make the clip is taken."""


async def create(
    request: Incoming,
    fields: Mapping[str, Any],
    names: Names,
    *,
    mode: Mode | None = None,
    operation: str = "create",
    echo: Mapping[str, str] | None = None,
    told_in: str = "",
    told_of: Sequence[str] = ENDED,
    models: Models = MappingProxyType({}),
    lengths: Mapping[str, int] = MappingProxyType({}),
) -> Job:
    """
    Order a clip as ``POST /v1/videos`` does.

    :param models: the client's names of models, beside ours.
    :param lengths: how long a clip of ours is, by the dialect's documentation, where its client leaves that open.
    :param told_in: the dialect a call's ``callback_url`` is told in; our own where it is empty.
    :param told_of: what it is told of.
    :raises ProblemError: under the client's own names.
    """
    given = {name: value for name, value in fields.items() if value is not None and value != []}
    said = frozenset(given)
    meant, length = meaning(given.get("model"), models), None
    if meant and mode is None and not given.keys() & SAYS_HOW_LONG:
        length = _length(given["model"], meant[0], lengths, desk(request).shop.aliases)
    if meant and given["model"] in desk(request).shop.aliases:
        meant = ()  # What the operator calls so comes first.
    elif meant:
        given["model"] = meant[0]
    if told_in and "callback_url" in given:
        told_as = {"told_in": told_in, "told_of": " ".join(told_of), "base_url": base_url(request)}
        echo = {**(echo or {}), **told_as}
    async with leaving(request) as left:
        try:
            call = parse(Body(given, strict=True))
            job, _ = await take_in(
                request, call, mode=mode, operation=operation, echo=echo, models=meant[1:] and meant, length=length
            )
        except ProblemError as problem:
            raise renamed(problem, names, said) from problem
        if left.done():
            await _unheard(request, job)
    return job


def _length(said: str, meant: str, lengths: Mapping[str, int], aliases: Mapping[str, Alias]) -> int | None:
    """Say how long a clip is whose client leaves that open; an alias may lead to what is never that long."""
    leads_to = stands_for(said, aliases)[0].rpartition(":")[2] if said in aliases else meant
    return lengths.get(meant) if leads_to in lengths else None


def meaning(said: Any, models: Models) -> tuple[str, ...]:
    """
    Read a client's name of a model: ours, the first that can be had of several; a name nobody listed stays.

    >>> meaning("veo3", {"veo3": "google/veo-3.1"}), meaning("sora-2", {}), meaning(None, {})
    (('google/veo-3.1',), ('sora-2',), ())
    """
    if not isinstance(said, str):
        return ()
    ours = models.get(said, said)
    return (ours,) if isinstance(ours, str) else tuple(ours)


def renamed(problem: ProblemError, names: Names, said: Collection[str] = OURS) -> ProblemError:
    """
    Say what is wrong with a call under the names its client uses; pure.

    A field of ours that it neither knows nor said (``said``) is none it could change, so none is named.
    """
    # Of an earlier clip nobody knows, the problem says no more than "id".
    param = "video" if problem.code == "video_not_found" else problem.param or ""
    message = problem.message
    longest = sorted(names, key=len, reverse=True)
    begun = (each for each in longest if param.startswith(each))
    ours = next((each for each in begun if re.match(rf"{re.escape(each)}(?!\w)", param)), "")
    for name in longest:
        if name not in message:
            continue  # No pattern is built for it.
        if "_" in name or "." in name:
            message = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", names[name], message)
        elif name == ours:
            message = _plainly(message, name, names[name])
    theirs = names.get(ours, param) if ours or _is_known(param, said) else ""
    if theirs and theirs not in message:
        message = f"{theirs}: {message}"
    errors = [{**each, "pointer": _pointer(each.get("pointer", ""), names, said)} for each in problem.errors]
    return ProblemError(
        problem.status, problem.code, message, param=theirs or None, headers=problem.headers, errors=errors
    )


COUNTED = re.compile(r"\d\S*|an?|the|its|no|one|two|three|four|five|six|seven|eight|nine|ten", re.IGNORECASE)
"""What stands before a word that counts or speaks of something, and names no field: 7 seconds, a prompt."""


def _plainly(message: str, ours: str, theirs: str) -> str:
    """
    Write a name that may be a plain English word as the client does, where it stands as a name.

    >>> _plainly("It sells seconds 8; an extension adds 7 seconds.", "seconds", "duration")
    'It sells duration 8; an extension adds 7 seconds.'
    """

    def write(found: re.Match[str]) -> str:
        counted = COUNTED.fullmatch(found[1].lstrip("(")) if found[1] else None
        return found[0] if counted else found[0].removesuffix(ours) + theirs

    return re.sub(rf"(?:(\S+) )?(?<!\w){re.escape(ours)}(?!\w)", write, message)


def _pointer(pointer: str, names: Names, said: Collection[str]) -> str:
    """Name the field an error points at as the client does; the whole call where it has none for it."""
    name = pointer[1:]
    return f"/{names.get(name, name)}" if name in names or _is_known(name, said) else ""


def _is_known(param: str, said: Collection[str]) -> bool:
    """Whether a client without a word of its own for a field knows it: it said it, or it is no field of ours."""
    root = re.split(r"[.\[]", param, maxsplit=1)[0]
    return root in said or root not in OURS


def unknown(
    fields: Mapping[str, Any], known: Sequence[str] | Mapping[str, Any] | frozenset[str], where: str = ""
) -> None:
    """
    Refuse a field a dialect does not have.

    :raises ProblemError: 400 naming it.
    """
    for name in fields:
        if name not in known:
            shown = f"{where}{name}"[:64]
            raise ProblemError(400, "unknown_parameter", f"Parameter {shown} is not supported.", param=shown)


def frames(urls: Sequence[Any], where: str, names: dict[str, str]) -> dict[str, Any]:
    """
    Read pictures whose use depends on their number: a first frame, a first and a last, or references.

    :raises ProblemError: as :func:`references` does.
    """
    if len(urls) > 2:
        return references(urls, where, names)
    names["frame_images"] = where
    names |= {f"frame_images[{at}]": f"{where}[{at}]" for at in range(len(urls))}
    kinds = ("first_frame", "last_frame")
    return {"frame_images": [_picture(url, f"{where}[{at}]", frame_type=kinds[at]) for at, url in enumerate(urls)]}


def references(sources: Sequence[Any], where: str, names: dict[str, str], inside: str = "") -> dict[str, Any]:
    """
    Read pictures that guide the clip, some at least.

    :param inside: where in an item of the list ``where`` its picture is.
    :raises ProblemError: naming the list where it is longer than any call takes, else what is no picture.
    """
    check_list(where, sources)
    theirs = [f"{where}[{at}]{inside}" for at in range(len(sources))]
    names |= {f"input_references[{at}]": name for at, name in enumerate(theirs)}
    names.setdefault("references", theirs[0])
    names.setdefault("input_references", theirs[0])
    return {"input_references": [_picture(each, name) for each, name in zip(sources, theirs, strict=True)]}


def _picture(source: Any, name: str, **more: str) -> dict[str, Any]:
    """Write a picture as our fields name it: by address, or as the file it is."""
    if isinstance(source, dict):
        return {**source, **more}
    if not isinstance(source, str | Upload):
        raise invalid(name, f"{name} takes an address: https://... or data:image/png;base64,...")
    return {"type": "image_url", "image_url": source, **more}


# Looking at a job


async def watch(services: Desk, job: Job, seconds: float) -> AsyncIterator[Job]:
    """
    Show a job whenever it moved, and unmoved once a beat, until it ended or the time is over.

    :raises ProblemError: 410 when it was deleted.
    :raises ClosingError: the gateway stops.
    """
    loop, changes = asyncio.get_running_loop(), services.telling.watch
    until = loop.time() + seconds
    yield job
    while not job.state.final and (left := until - loop.time()) > 0:
        newest = await changes.change(job, min(BEAT, left))
        if newest is None:
            raise ProblemError(410, "video_deleted", f"Video '{job.id}' was deleted.")
        job = newest
        if changes.closed and not job.state.final:
            raise ClosingError(job)
        yield job


class ClosingError(Exception):
    """The gateway stops; the job goes on when it starts again."""

    def __init__(self, job: Job) -> None:
        super().__init__(job.id)
        self.job = job
        """As it was seen last."""


async def hold_open(request: Incoming, job: Job, seconds: float) -> Job:
    """
    Hold a call until its job has ended, the time is over, or nobody is there to be answered.

    A caller that hangs up unanswered may be one whose proxy lost patience: what it asks then is no second order.

    :raises ProblemError: 410 when the job was deleted.
    :raises ClosingError: the gateway stops.
    """
    watching: asyncio.Future[Job] = asyncio.ensure_future(_newest(watch(desk(request), job, seconds)))
    try:
        async with leaving(request) as left:
            both: list[asyncio.Future[Any]] = [watching, left]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            return watching.result()
        await _unheard(request, job)
        return job
    finally:
        watching.cancel()


async def _newest(seen: AsyncIterator[Job]) -> Job:
    """Say how a job stands at the end of looking at it."""
    return [each async for each in seen][-1]


async def _unheard(request: Incoming, job: Job) -> None:
    """Remember that nobody was there to be told of a job; who hears of it all the same hears nothing else for that."""
    try:
        await desk(request).store.unheard(job)
    except StoreUnavailableError as error:
        log.warning("answer.forgotten", job=job.id, reason=str(error))
        return
    log.info("answer.unheard", job=job.id)


async def ended(request: Incoming, job: Job) -> Job:
    """
    Hold a call until its job has ended.

    :raises ProblemError: 408 when that takes longer than calls are held, 503 when the gateway stops.
    """
    held = desk(request).settings.server.hold_seconds
    try:
        job = await hold_open(request, job, held)
    except ClosingError as error:
        await _unheard(request, job)  # Some ask again without saying that they do.
        message = f"The gateway stops; video '{job.id}' goes on when it is back: GET /v1/videos/{job.id}."
        raise ProblemError(503, "gateway_stopping", message, headers=told(job) | {"retry-after": "5"}) from error
    if not job.state.final:
        message = f"Video '{job.id}' is not ready after {held:g} s and still being made: GET /v1/videos/{job.id}."
        raise ProblemError(408, "video_not_ready", message, headers=told(job))
    return job


@asynccontextmanager
async def leaving(request: Incoming) -> AsyncIterator[asyncio.Future[None]]:
    """Listen, while the body is done and nothing answered, for the caller to hang up."""
    left = asyncio.ensure_future(gone(request.receive))
    try:
        yield left
    finally:
        left.cancel()


def stream_of(events: AsyncIterator[bytes], job: Job) -> Stream:
    """Answer with events about a job, under the type that the clients of borrowed dialects are used to."""
    return Stream(events, {"content-type": "text/event-stream; charset=utf-8", **told(job)})


# Words about a job


def wish_of(job: Job) -> Wish:
    """Read what was asked for."""
    return read_wish(job.wish)


def choice_of(job: Job) -> Choice:
    """Read what was chosen for it."""
    return read_choice(job.quote)


def clips_of(job: Job) -> list[Rendition]:
    """List the clips kept of a job; one that came late is no end its client's words have a place for."""
    if job.state is not State.SUCCEEDED:
        return []
    return [each for each in read_renditions(job.outputs) if each.kind == "video"]


def clip_of(job: Job, index: int) -> Rendition | None:
    """Find one of them."""
    return next((each for each in clips_of(job) if each.index == index), None)


def fault_of(job: Job) -> Problem:
    """Say why a job brought no clip."""
    if job.state is State.FAILED and job.error:
        return read_problem(job.error)
    if job.state is State.CANCELLED:
        return Problem(code="cancelled", message="The video was cancelled.", type="invalid_request_error")
    return Problem(code="video_expired", message="The clip is no longer kept.", type="invalid_request_error")


def is_policy(fault: Problem) -> bool:
    """Whether it was the content policy that forbade a clip."""
    return fault.code == "content_policy_violation"


def told(job: Job) -> dict[str, str]:
    """Say in headers what most dialects have no words for."""
    cost = answers.video(job)["usage"]["cost"]
    provider = (job.offer or "").partition(":")[0]
    return {"x-reelgate-video": job.id, "x-reelgate-provider": provider, "x-reelgate-cost-usd": f"{cost:.6f}"}


def headers_of(request: Incoming, job: Job) -> dict[str, str]:
    """Say that, and while the clip is made also when to ask again."""
    if job.state.final:
        return told(job)
    wait = answers.poll_after_ms(desk(request).shop.typical_seconds(job.offer))
    return {**told(job), "retry-after": str(max(1, wait // 1000))}


# Links


def base_url(request: Incoming) -> str:
    """Say where the client reaches us: as the operator says, else as it asked, the scheme by a proxy's word."""
    server = desk(request).settings.server
    if server.public_url:
        return server.public_url.rstrip("/")
    peer = request.client
    scheme = scheme_of(
        peer.host if peer else "", request.headers.getall("x-forwarded-proto", []), _proxies(*server.proxies)
    )
    asked = request.base_url
    return str(asked.with_replacements(scheme=scheme) if scheme else asked).rstrip("/")


@lru_cache(maxsize=8)
def _proxies(*said: str) -> Sequence[Network]:
    """Read the operator's proxies, once."""
    return networks(said)


def reach(request: Incoming) -> Reach:
    """Say how the client reaches its clips: there, by links that need no key, as no dialect's clients send one."""
    return Reach(base_url(request), leave_of(request).to)


def links(there: Reach, job: Job) -> list[str]:
    """Say where each clip of a job is fetched."""
    return [there.link(job, each) for each in clips_of(job)]


def clip_at(request: Incoming, url: str) -> str | dict[str, Any]:
    """Read a clip's address: one of ours is the clip itself, which nobody has to fetch."""
    path = url.removeprefix(base_url(request))
    if path == url:
        return url
    if linked := TO_CLIP.match(path):
        return {"id": linked[1], "index": int(linked[2])}
    ours = re.match(r"/v1/videos/(video_[0-9a-f]{32})/content(?:\?(.*))?$", path)
    if ours is None:
        return url
    index = re.search(r"(?:^|&)index=(\d{1,2})(?:&|$)", ours[2] or "")
    return {"id": ours[1], "index": int(index[1]) if index else 0}


# Errors


Shape = Callable[[ProblemError], tuple[int, Any]]
"""How a dialect writes a problem: the status, and the body as JSON."""


def in_words(shape: Shape) -> Render:
    """Put problems into bytes in a dialect's shape."""

    def write(problem: ProblemError, headers: Mapping[str, str], _: str) -> tuple[int, dict[str, str], bytes]:
        del headers
        status, body = shape(problem)
        out = {"content-type": "application/json", "cache-control": "no-store", **problem.headers}
        return status, out, msgspec.json.encode(body)

    return write

"""
Google Flow through useapi.net: Veo and Omni on the credits of a Google AI subscription.

- Every order is a job (``async``); its record comes in three shapes (:mod:`providers._flow`), and a 201 already
  shows operations that are no results yet.
- Unknown parameters are refused with a 400, so nothing is sent that was not asked for.
- Pictures and clips are named by ids tied to one Google account: without ``USEAPI_EMAIL`` useapi spreads uploads
  over its accounts, so a second upload follows the first one's.
- Without it, too, what is said of one Google account (its quota, its credits, its session) holds for no other: the
  order comes again, its pictures go up anew, and useapi says itself when no account is left.
- An extension is a segment of its own, overlapping its source by a second; ``poll`` has useapi join the two.
  The joined clip has no id of its own: its handle is the ids of its parts, so it can be extended again.
- An element becomes a character, made of its pictures before the order and kept as they are. Where the answer is
  lost, or the gateway starts again, it is made anew: a spare one stays at Flow, and nothing is spent by it.
- A repeated order is a second purchase: there is no key, no list of jobs and no way to cancel one.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec
from msgspec.structs import replace

from providers import _flow_characters as characters
from providers._flow import Job, Joined, Upload, decode, marked, owner, voice
from providers._flow_errors import TurnedAway, Whose, read_error
from providers._flow_objections import GOES_ON, objections
from providers.base.catalog import Refusal
from providers.base.errors import Invalid, Malformed, Missing, ProviderError, Refused, Unavailable
from providers.base.objections import insist
from providers.base.options import passed
from providers.base.order import Element, Input, Mode, Order, Role
from providers.base.provider import HookHint, Provider
from providers.base.reading import told
from providers.base.signing import HomeAuth
from providers.base.task import AssetRef, Fault, State, Task, Update, Usage
from providers.base.wire import Call, Reply, Wire

# Ours: theirs. https://useapi.net/docs/api-google-flow-v1/post-google-flow-videos (June 5, 2026)
ASPECTS = {"16:9": "landscape", "9:16": "portrait", "1:1": "1:1", "4:3": "4:3", "3:4": "3:4"}

# Ours: theirs. https://useapi.net/docs/api-google-flow-v1/post-google-flow-videos-upscale
RESOLUTIONS = {"720p": "720p", "1080p": "1080p", "4k": "4K"}

PATHS = {Mode.EXTEND: "/videos/extend", Mode.UPSCALE: "/videos/upscale"}
FRAMES = {Role.FIRST_FRAME: "startImage", Role.LAST_FRAME: "endImage", Role.SOURCE: "referenceVideo_1"}

Made = TypeVar("Made")

HEADERS = {"accept": "application/json"}
SILENCE = 300.0  # seconds, of a call that hands something over


def encode(order: Order, names: Mapping[str, str], *, extra: Mapping[str, Any], email: str = "") -> dict[str, Any]:
    """
    Put an order into useapi's words.

    :param names: what Flow calls each input, by its sha256, and each element, by its key.
    :param extra: what the client passes through, as :func:`objections` let it.
    :param email: the Flow account to use; only the call that makes clips takes one.
    """
    spec, request, source = order.spec, order.request, order.source()
    body: dict[str, Any] = {**extra, "async": True}
    if order.hook_url:
        body |= {"replyUrl": order.hook_url, "replyRef": order.attempt}
    if spec.mode is Mode.UPSCALE:
        return body | {"mediaGenerationId": _last(names, source), "resolution": RESOLUTIONS[spec.resolution]}
    body |= {"prompt": marked(request), "model": order.wire_name}
    if request.seed is not None:
        body["seed"] = request.seed
    if spec.mode is Mode.EXTEND:
        return body | {"mediaGenerationId": _last(names, source), "count": spec.n}
    if spec.mode is not Mode.EDIT:  # which goes by its source
        body |= {"aspectRatio": ASPECTS[spec.aspect_ratio], "duration": spec.seconds}
    if spec.resolution != "720p":  # which is made unasked; the word itself is younger than the page of June
        body["resolution"] = spec.resolution
    if spec.n > 1:
        body["count"] = spec.n
    body |= {FRAMES[each.role]: names[each.sha256] for each in request.inputs if each.role in FRAMES}
    pictures = [names[each.sha256] for each in request.inputs if each.role is Role.REFERENCE]
    for slot, values in (
        ("referenceImage", pictures),
        ("character", [*request.characters, *(names[characters.key(each, request)] for each in request.elements)]),
        ("referenceAudio", [voice(each) for each in request.voices]),
    ):
        body |= {f"{slot}_{number}": value for number, value in enumerate(values, 1)}
    return body | ({"email": email} if email else {})


def join(parts: Sequence[str]) -> dict[str, Any]:
    """Ask for clips joined end to end; each after the first begins a second late, where it overlaps the one before."""
    first, *rest = parts
    more = [{"mediaGenerationId": part, "trimStart": 1} for part in rest]
    return {"media": [{"mediaGenerationId": first}, *more]}


class Flow(Provider):
    """Order clips from Google Flow through one useapi.net subscription."""

    def auth(self) -> httpx.Auth:
        """Sign calls with the API token, ``user:`` and all."""
        return HomeAuth(self.base_url, {"authorization": f"Bearer {self.credentials.get('USEAPI_TOKEN', '')}"})

    def objections(self, order: Order) -> Iterator[Refusal]:
        """Name what an order asks that Flow has no words for."""
        return objections(order, self.listing.slug)

    async def submit(self, order: Order, wire: Wire) -> Update:
        """Hand an order over, after its pictures and clips."""
        insist(self.objections(order))
        try:
            return await self._hand_over(order, passed(order.request, self.listing.slug), wire)
        except (Invalid, TurnedAway):
            # One of them may be gone, or the Google account that holds them serves nobody now.
            for each in order.request.inputs:
                self.uploads.forget(each.sha256)
            for element in order.request.elements:
                self.uploads.forget(characters.key(element, order.request))
            raise

    async def _hand_over(self, order: Order, extra: Mapping[str, Any], wire: Wire) -> Update:
        """Send what an order names, then the order."""
        tied = _tied(order, self.listing.slug)
        whose = Whose.NAMED if self._email else Whose.TIED if tied else Whose.ANY
        names = await self._names(order, wire, tied, whose)
        body = msgspec.json.encode(encode(order, names, extra=extra, email=self._email))
        reply = await wire.send(self._post(PATHS.get(order.spec.mode, "/videos"), body, repeatable=False))
        if reply.status not in {200, 201}:
            raise read_error(reply, buying=True, whose=whose)
        update = self._read(reply)
        if order.spec.mode is not Mode.EXTEND:
            return update
        source = order.source()
        task = Task(update.task.id, {"parts": names[source.sha256].split() if source else []})
        if update.state is State.SUCCEEDED:  # poll joins
            return replace(update, task=task, state=State.RUNNING, assets=())
        return replace(update, task=task)

    async def poll(self, task: Task, wire: Wire) -> Update:
        """Look at a job; a finished extension is joined to its source."""
        reply = await wire.send(Call.get(f"{self.base_url}/jobs/{quote(task.id, safe='')}", HEADERS))
        if reply.status == 410:  # after seven days. .../get-google-flow-jobs-jobid
            return Update(state=State.EXPIRED, task=task, raw_state="410")
        if reply.status != 200:
            raise self.explain(reply)
        update = replace(self._read(reply), task=task)
        if update.state is State.SUCCEEDED and task.data.get("parts"):
            return await self._joined(update, wire)
        return update

    def read_hook(self, headers: Mapping[str, str], body: bytes) -> Sequence[HookHint]:
        """Read which job a callback speaks of; it is the job's record, unsigned."""
        del headers
        job = told(body, Job)
        return (HookHint(job.name),) if job and job.name else ()

    def explain(self, reply: Reply, *, buying: bool = False) -> ProviderError:
        """Turn an error answer into our words."""
        # What is looked at lies at one Google account; what is bought may come from any.
        whose = Whose.NAMED if self._email else Whose.ANY if buying else Whose.TIED
        return read_error(reply, buying=buying, whose=whose)

    @property
    def _email(self) -> str:
        """Which connected Google account to use; empty for whichever useapi finds fittest."""
        return self.credentials.get("USEAPI_EMAIL", "")

    def _read(self, reply: Reply) -> Update:
        """Read a job; what is left of credits is ours to reckon with only where one Google account has them all."""
        update = decode(reply.json())
        if self._email or update.usage is None:
            return update
        counted = replace(update.usage, remaining_credits=None)
        return replace(update, usage=None if counted == Usage() else counted)

    def _post(self, path: str, body: bytes, kind: str = "application/json", *, repeatable: bool) -> Call:
        """Write a call that hands something over."""
        return Call.post(self.base_url + path, body, kind, repeatable=repeatable, timeout=SILENCE, headers=HEADERS)

    async def _names(self, order: Order, wire: Wire, tied: str, whose: Whose) -> dict[str, str]:
        """Find out what Flow calls each input and element, handing over those it does not have; at one account."""
        request = order.request
        names = {each.sha256: _handle(each, self.listing.slug) for each in request.inputs}
        if order.spec.mode in GOES_ON:
            return names
        account = self._email or tied

        async def name(inputs: Iterable[Input]) -> None:
            nonlocal account
            for each in inputs:
                known = names[each.sha256] or self.uploads.get(each.sha256) or ""
                # A clip joined of several has no name that an edit could use.
                if " " in known or _strange(known, account):
                    data = await asyncio.to_thread(order.files[each.sha256].read_bytes)
                    known = await self._upload(each, data, account, wire, whose)
                names[each.sha256] = known
                account = account or owner(known)

        await name(each for each in request.inputs if each.role is not Role.ELEMENT)
        for element in request.elements:
            key, shown = characters.key(element, request), request.shown(element)
            known = self.uploads.get(key) or ""
            if _strange(known, account):
                await name(shown)
                known = await self._create(element, [names[each.sha256] for each in shown], wire, whose)
                self.uploads.put(key, known)
            names[key] = known
            account = account or owner(known)
        return names

    async def _upload(self, each: Input, data: bytes, account: str, wire: Wire, whose: Whose) -> str:
        """Hand a picture or a clip over, and keep what Flow calls it."""
        path = f"/assets/{quote(account, safe='')}" if account else "/assets"
        call = self._post(path, data, each.media_type, repeatable=True)
        name = (await self._prepare(call, Upload, wire, whose)).media_generation_id.media_generation_id
        self.uploads.put(each.sha256, name)
        return name

    async def _create(self, element: Element, pictures: Sequence[str], wire: Wire, whose: Whose) -> str:
        """Have a character made of an element, at the account its pictures are at."""
        # Sent again where its answer was lost, which leaves a spare one at Flow: nothing is spent, or bought yet.
        call = self._post("/characters", msgspec.json.encode(characters.write(element, pictures)), repeatable=True)
        return (await self._prepare(call, characters.Character, wire, whose)).character

    async def _prepare(self, call: Call, kind: type[Made], wire: Wire, whose: Whose) -> Made:
        """Make a call that an order needs before it is sent."""
        reply = await wire.send(call)
        if reply.status in {200, 201}:
            made = told(reply.body, kind)
            if made is None:
                raise Unavailable("the answer to an upload, or to a new character, cannot be read", status=reply.status)
            return made
        error = read_error(reply, buying=False, whose=whose)
        if isinstance(error, Missing | Malformed):  # but nothing was bought yet
            raise Unavailable(error.message, code=error.code, status=error.status)
        raise error

    async def _joined(self, update: Update, wire: Wire) -> Update:
        """Have a finished segment joined to what it goes on from; free, and may be asked for again."""
        parts = [*update.task.data["parts"], update.assets[0].handle]
        if not all(parts):
            raise Malformed("the segment has no id to join it by")
        reply = await wire.send(self._post("/videos/concatenate", msgspec.json.encode(join(parts)), repeatable=True))
        if reply.status == 200:
            joined = told(reply.body, Joined)
            if joined is None:
                raise Unavailable("the joined clip cannot be read", status=reply.status)
            return replace(update, assets=(AssetRef(data=joined.encoded_video, handle=" ".join(parts)),))
        error = self.explain(reply)
        if isinstance(error, Invalid | Refused):  # it would say so for ever, and the segment is paid for
            fault = Fault(code=error.code or "concatenate", message=error.message, billed=True)
            return replace(update, state=State.FAILED, assets=(), fault=fault)
        raise error


def _handle(each: Input, slug: str) -> str:
    """Read what Flow calls an earlier clip of its own."""
    return each.origin.handle if each.origin and each.origin.provider == slug else ""


def _strange(name: str, account: str) -> bool:
    """Whether a name is none, or one at another Google account."""
    return not name or bool(account and owner(name) not in {account, ""})


def _tied(order: Order, slug: str) -> str:
    """Find the Google account that holds what an order refers to; none where it brings everything along."""
    request = order.request
    own = [_handle(each, slug) for each in request.inputs]
    voices = [*(voice(each) for each in request.voices), *(characters.spoken(each) for each in request.elements)]
    names = [*own, *request.characters, *voices]
    return next((found for name in names if (found := owner(name))), "")


def _last(names: Mapping[str, str], source: Input | None) -> str:
    """Name the clip that another goes on from: the last of those it is joined of."""
    return names[source.sha256].split()[-1] if source else ""

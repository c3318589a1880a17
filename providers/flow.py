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
- A repeated order is a second purchase: there is no key, no list of jobs and no way to cancel one.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import msgspec
from msgspec import Meta
from msgspec.structs import replace

from providers._flow import Job, Joined, Upload, decode, marked, owner, source_objections, voice
from providers._flow_errors import TurnedAway, Whose, read_error
from providers.base.catalog import Refusal
from providers.base.errors import Invalid, Malformed, Missing, ProviderError, Refused, Unavailable
from providers.base.objections import fields, insist, unsaid
from providers.base.options import FIELD, passed, unknown_options
from providers.base.order import Input, Mode, Order, Role
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
TAKEN = frozenset({*FRAMES, Role.REFERENCE})

# What can be uploaded, and how large a clip in bytes: how large a picture, the listing says.
# https://useapi.net/docs/api-google-flow-v1/post-google-flow-assets-email
UPLOADS = frozenset({"image/png", "image/jpeg", "image/webp", "video/mp4"})
CLIP_MOST = 100 * 2**20

# What a client may pass through, and what it may be: one word on the captcha, and where a clip is edited the window of
# it, at 24 frames a second of ten. .../post-google-flow-videos (captcha, video reference)
CAPTCHA: dict[str, Any] = {
    "captchaToken": Annotated[str, Meta(min_length=20)],
    "captchaRetry": Annotated[int, Meta(ge=1, le=10)],
    "captchaOrder": Annotated[str, Meta(pattern=r"^\w+(, ?\w+){0,9}$")],
}
START, END = "startFrameIndex_1", "endFrameIndex_1"
TRIM: dict[str, Any] = {START: Annotated[int, Meta(ge=0, le=239)], END: Annotated[int, Meta(ge=1, le=240)]}

HEADERS = {"accept": "application/json"}
SILENCE = 300.0  # seconds, of a call that hands something over


def encode(order: Order, names: Mapping[str, str], *, extra: Mapping[str, Any], email: str = "") -> dict[str, Any]:
    """
    Put an order into useapi's words.

    :param names: what Flow calls each input, by its sha256.
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
        ("character", request.characters),
        ("referenceAudio", [voice(each) for each in request.voices]),
    ):
        body |= {f"{slot}_{number}": value for number, value in enumerate(values, 1)}
    return body | ({"email": email} if email else {})


def objections(order: Order, slug: str) -> Iterator[Refusal]:
    """Name what an order asks that Flow has no words for; ``slug`` is the seller whose options are passed on."""
    request, mode = order.request, order.spec.mode
    yield from unsaid(order, "Flow", TAKEN, names=True)
    for at, each in enumerate(request.inputs if mode not in PATHS else ()):
        is_clip = each.media_type.startswith("video/")
        if each.role in TAKEN and (each.media_type not in UPLOADS or (is_clip and each.size > CLIP_MOST)):
            why = f"Flow takes png, jpeg and webp, and mp4 up to 100 MB, not this {each.media_type}"
            yield Refusal(fields(request.inputs)[at], why)
    for said in request.voices:
        if {*said} - {"id", "name"} or not voice(said):
            why = "a voice is the id of a preset or of a voice made at Flow, and the name the prompt calls it by"
            yield Refusal("voices", why)
    if mode in PATHS:
        yield from source_objections(order)
    if request.options:
        unknown = [*unknown_options(request, slug, CAPTCHA | (TRIM if mode is Mode.EDIT else {}))]
        yield from unknown or _option_objections(passed(request, slug), f"{FIELD}.{slug}")


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
        """Find out what Flow calls each input, uploading those it does not have; all at one Google account."""
        own = {each.sha256: _handle(each, self.listing.slug) for each in order.request.inputs}
        if order.spec.mode in PATHS:
            return own
        account = self._email or tied
        for each in order.request.inputs:
            known = next((name for name in (own[each.sha256], self.uploads.get(each.sha256)) if name), "")
            # A clip joined of several has no name that an edit could use.
            if not known or " " in known or (account and owner(known) not in {account, ""}):
                data = await asyncio.to_thread(order.files[each.sha256].read_bytes)
                known = await self._upload(each, data, account, wire, whose)
            own[each.sha256] = known
            account = account or owner(known)
        return own

    async def _upload(self, each: Input, data: bytes, account: str, wire: Wire, whose: Whose) -> str:
        """Hand a picture or a clip over, and keep what Flow calls it."""
        path = f"/assets/{quote(account, safe='')}" if account else "/assets"
        reply = await wire.send(self._post(path, data, each.media_type, repeatable=True))
        if reply.status in {200, 201}:
            upload = told(reply.body, Upload)
            if upload is None:
                raise Unavailable("the answer to an upload cannot be read", status=reply.status)
            name = upload.media_generation_id.media_generation_id
            self.uploads.put(each.sha256, name)
            return name
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


def _option_objections(said: Mapping[str, Any], field: str) -> Iterator[Refusal]:
    """Name options that go against each other."""
    if len(captcha := sorted({*CAPTCHA} & {*said})) > 1:
        yield Refusal(field, f"{field}: {' and '.join(captcha)} exclude each other; send one")
    if said.get(START, 0) >= said.get(END, 240):
        yield Refusal(f"{field}.{END}", f"{field}: {END} must be above {START}")


def _handle(each: Input, slug: str) -> str:
    """Read what Flow calls an earlier clip of its own."""
    return each.origin.handle if each.origin and each.origin.provider == slug else ""


def _tied(order: Order, slug: str) -> str:
    """Find the Google account that holds what an order refers to; none where it brings everything along."""
    request = order.request
    own = [_handle(each, slug) for each in request.inputs]
    names = [*own, *request.characters, *(voice(each) for each in request.voices)]
    return next((found for name in names if (found := owner(name))), "")


def _last(names: Mapping[str, str], source: Input | None) -> str:
    """Name the clip that another goes on from: the last of those it is joined of."""
    return names[source.sha256].split()[-1] if source else ""

"""
Gather the media a call names: uploads, URLs, files, earlier videos; look at each before it is kept.

Nothing is kept until the whole call is known to be good: :meth:`Gathered.keep` makes it so, and
:meth:`Gathered.drop` leaves no trace of a refused one.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from gateway.clips.enclosed import Enclosed
from gateway.clips.inputs import InputError, Sniffed, read_data_url
from gateway.clips.media import Media
from gateway.clips.shelf import GoneError
from gateway.clips.uploads import Upload
from gateway.ids import is_id
from gateway.jobs.job import State
from gateway.jobs.wish import read_renditions
from gateway.network.errand import Errand, FetchError
from gateway.problems import ProblemError, invalid, missing_video
from gateway.store.store import Store
from providers.base.order import Input, Origin, Role

if TYPE_CHECKING:
    from gateway.network.outbound import Outbound

KINDS = {
    Role.FIRST_FRAME: {"image"},
    Role.LAST_FRAME: {"image"},
    Role.REFERENCE: {"image", "video", "audio"},
    Role.ELEMENT: {"image", "video"},
    Role.VOICE: {"audio"},
    Role.SOURCE: {"video"},
    Role.MASK: {"image"},
}


class Medium(Struct, frozen=True, kw_only=True):
    """Hold one piece of media as a client named it, not yet looked at."""

    role: Role
    source: Any
    """An upload, a URL or data URL, ``{"file_id"}``, ``{"id"}`` of a video, ``{"image_url"}``…"""
    param: str
    name: str = ""
    purpose: str = ""
    weight: float | None = None
    kind: str = ""
    """What alone it may be, where its field takes less than its role."""

    @property
    def kinds(self) -> Collection[str]:
        """What it may be: image, video, audio."""
        return {self.kind} if self.kind else KINDS[self.role]


class Address(Struct, frozen=True):
    """Hold an address still to be fetched, and the field that named it."""

    text: str
    param: str


class Found(Struct, frozen=True):
    """Hold one piece of media: a file that has arrived here, else what is kept already."""

    size: int
    sha256: str
    path: Path | None = None
    """Where it lies until it is kept or dropped."""
    clip: str = ""
    """The key of the earlier clip it is."""
    sniffed: Sniffed | None = None
    seconds: float = 0
    origin: Origin | None = None
    fetched: Address | None = None
    """Where it was fetched from."""


class Gathered:
    """Hold the media of one call until it is kept or dropped."""

    def __init__(self, media: Media) -> None:
        self._media = media
        self._found: list[Found] = []
        self._params: list[str] = []
        self.inputs: tuple[Input, ...] = ()

    def add(self, medium: Medium, found: Found, sniffed: Sniffed, seconds: float) -> None:
        """Take one piece in."""
        self._found.append(found)
        self._params.append(medium.param)
        self.inputs += (
            Input(
                role=medium.role,
                media_type=sniffed.media_type,
                sha256=found.sha256,
                size=found.size,
                width=sniffed.width,
                height=sniffed.height,
                seconds=seconds,
                name=medium.name,
                purpose=medium.purpose,
                weight=None if medium.weight is None else float(medium.weight),
                origin=found.origin,
            ),
        )

    async def keep(self) -> None:
        """Give every piece its lasting place."""
        for found, taken, param in zip(self._found, self.inputs, self._params, strict=True):
            if found.path:
                await self._media.keep_input(found.path, found.sha256, taken.media_type)
            elif found.clip:
                await self._media.reuse(found.clip, found.sha256)
            else:
                await self._refresh(found, param)

    async def _refresh(self, found: Found, param: str) -> None:
        """Let what a file names be let be until this call's job names it, whatever becomes of the file."""
        try:
            await self._media.refresh(found.sha256)
        except GoneError as error:
            raise _gone(param) from error

    def drop(self) -> None:
        """Remove what was not kept."""
        _drop(self._found)


class Intake:
    """Find and look at the media of a call."""

    def __init__(
        self, media: Media, store: Store, outbound: Callable[[], "Outbound"], *, max_bytes: int, seconds: float
    ) -> None:
        self._media = media
        self._store = store
        self._outbound = outbound
        self._errand = partial(Errand, max_bytes=max_bytes, seconds=seconds)

    async def gather(self, media: list[Medium], tenant: str) -> Gathered:
        """
        Find every piece of media and say what it is.

        :raises ProblemError: 404 for an unknown id, 422 for what cannot be taken.
        """
        gathered = Gathered(self._media)
        all_found = await self._find_all(media, tenant)
        try:
            for medium, found in zip(media, all_found, strict=True):
                try:
                    sniffed, seconds = found.sniffed, found.seconds
                    if sniffed is None and found.path:
                        sniffed, seconds = await self._media.study_input(found.path, found.size)
                    elif sniffed is None:
                        sniffed, seconds = await self._media.study_kept(found.sha256, found.size)
                except GoneError as error:
                    raise _gone(medium.param) from error
                except InputError as error:
                    raise _unfit(medium, found, error) from error
                gathered.add(medium, found, sniffed, seconds)
                if sniffed.kind not in medium.kinds:
                    shown = " or ".join(sorted(medium.kinds))
                    raise invalid(medium.param, f"{medium.param} takes {shown}; this is {sniffed.media_type}.")
        except BaseException:
            _drop(all_found)
            raise
        return gathered

    async def _find_all(self, media: list[Medium], tenant: str) -> list[Found]:
        """Find every piece of media; what is named by address comes last, when the rest is known to be there."""
        found: list[Found | Address] = []
        try:
            for each in media:
                found.append(await self._find(each, each.source, tenant))  # noqa: PERF401  Dropped one by one.
            return await self._fetch_all(found, tenant)
        except BaseException:
            _drop(found)
            raise

    async def _fetch_all(self, found: list[Found | Address], tenant: str) -> list[Found]:
        """Fetch every address, all at the same time; the first that cannot be had stops the others."""
        errand = self._errand()
        fetching = {
            at: asyncio.ensure_future(self._fetch(each, errand, tenant))
            for at, each in enumerate(found)
            if isinstance(each, Address)
        }
        try:
            return [await fetching[at] if isinstance(each, Address) else each for at, each in enumerate(found)]
        except BaseException:
            for task in fetching.values():
                task.cancel()
            ended = await asyncio.gather(*fetching.values(), return_exceptions=True)
            _drop(ended)
            raise

    async def _find(self, medium: Medium, source: Any, tenant: str) -> Found | Address:
        """Find one piece of media, however it is named."""
        param = medium.param
        if isinstance(source, str | Upload):
            return await self._by_name(source, param)
        if not isinstance(source, dict):
            raise invalid(param, f"{param} takes a file, a URL, or an object naming one.")
        if "image" in source and medium.role is Role.MASK:
            return await self._find(medium, source["image"], tenant)
        if isinstance(source.get("file_id"), str):
            return await self._by_file(source["file_id"], param, tenant)
        if isinstance(source.get("id"), str):
            kind = "video" if "video" in medium.kinds else "last_frame"
            return await self._by_video(source["id"], source.get("index", 0), kind, param, tenant)
        for name in ("image_url", "video_url", "audio_url", "url"):
            value = source.get(name)
            if isinstance(value, dict):
                value = value.get("url")
            if isinstance(value, str | Upload):
                return await self._by_name(value, f"{param}.{name}")
        raise invalid(param, f'{param} takes {{"image_url": "..."}}, {{"file_id": "..."}} or {{"id": "video_..."}}.')

    async def _by_name(self, named: str | Upload, param: str) -> Found | Address:
        """Take a file, or unpack a data URL; any other address is fetched later."""
        try:
            if isinstance(named, Enclosed) and named.fault:
                raise named.fault
            if isinstance(named, Upload):
                return Found(named.size, named.sha256, named.path)
            if named[:5].lower() != "data:":
                return Address(named, param)
            sha256, size, path = await self._media.keep_bytes(read_data_url(named))
        except InputError as error:
            raise ProblemError(
                413 if error.code == "too_large" else 422, error.code, error.message, param=param
            ) from error
        return Found(size, sha256, path)

    async def _fetch(self, address: Address, errand: Errand, tenant: str) -> Found:
        """Fetch what lies at an address, to disk as it comes."""
        upload = Upload(self._media.incoming, "")
        try:
            await self._outbound().fetch(address.text, upload.write, errand, owner=f"inputs/{tenant}")
        except FetchError as error:
            upload.drop()
            status, headers = (503, {"retry-after": "5"}) if error.busy else (422, {})
            raise ProblemError(status, error.code, error.message, param=address.param, headers=headers) from error
        except BaseException:
            upload.drop()
            raise
        upload.close()
        return Found(upload.size, upload.sha256, upload.path, fetched=address)

    async def _by_file(self, id_: str, param: str, tenant: str) -> Found:
        """Find an uploaded file."""
        file = await self._store.file(id_, tenant) if is_id("file", id_) else None
        if file is None:
            raise ProblemError(404, "file_not_found", f"No file with id '{id_[:64]}'.", param=param)
        # What was uploaded before lengths were kept is measured again.
        known = file.seconds is not None or file.media_type.startswith("image/")
        sniffed = Sniffed(file.media_type, file.width, file.height) if known else None
        return Found(file.bytes, file.sha256, sniffed=sniffed, seconds=file.seconds or 0)

    async def _by_video(self, id_: str, index: Any, kind: str, param: str, tenant: str) -> Found:
        """Find a clip of an earlier job, or its last picture, where a picture is wanted to go on from."""
        job = await self._store.job(id_, tenant) if is_id("video", id_) else None
        if job is None:
            raise missing_video(id_)
        kept = read_renditions(job.outputs)
        if not kept and job.state is not State.SUCCEEDED:
            raise ProblemError(400, "video_not_ready", f"Video '{id_}' is not completed.", param=param)
        of_index = {each.kind: each for each in kept if each.index == index}
        clip, shape = of_index.get(kind), of_index.get("video")
        if clip is None or shape is None:
            message = f"Video '{id_}' has no {kind} of that index, or it is no longer kept."
            raise ProblemError(404, "video_expired", message, param=param)
        return Found(
            clip.bytes,
            clip.sha256,
            clip=clip.path,
            sniffed=Sniffed(clip.content_type, shape.width, shape.height),
            seconds=clip.duration_seconds or 0,
            origin=Origin(provider=(job.offer or "").partition(":")[0], account=job.account or "", handle=clip.handle)
            if clip.handle
            else None,
        )


def _gone(param: str) -> ProblemError:
    """Say which field names a file whose bytes are not there."""
    return ProblemError(404, "file_not_found", f"{param} names a file that is no longer kept.", param=param)


def _unfit(medium: Medium, found: Found, error: InputError) -> ProblemError:
    """Say why a piece of media cannot be taken; of what was fetched, that it is the address which is wrong."""
    if found.fetched is None:
        return invalid(medium.param, error.message, code=error.code)
    code = "url_too_large" if error.code == "too_large" else "url_not_media"
    return invalid(found.fetched.param, f"What lies at this address cannot be taken. {error.message}", code=code)


def _drop(all_found: Iterable[object]) -> None:
    """Remove what was found and not kept."""
    for found in all_found:
        if isinstance(found, Found) and found.path:
            found.path.unlink(missing_ok=True)

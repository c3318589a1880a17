"""
Read what Google Flow made: jobs in their three shapes, uploads, ids; and write what a prompt refers to.
"""

import re
from collections.abc import Mapping
from typing import Any

from providers._flow_errors import GoogleError, MediaStatus, Said, words
from providers.base.errors import Malformed, Refused
from providers.base.order import Request, Role
from providers.base.reading import known
from providers.base.task import AssetRef, Fault, State, Task, Update, Usage

# Job word: ours. https://useapi.net/docs/api-google-flow-v1/get-google-flow-jobs-jobid
STATES = {
    "created": State.QUEUED,
    "started": State.RUNNING,
    "completed": State.SUCCEEDED,
    "failed": State.FAILED,
}


class _Metadata(Said, frozen=True):
    media_status: MediaStatus | None = None


class Media(Said, frozen=True):
    """Hold a clip in the shape of 2026."""

    media_generation_id: str | None = None
    video_url: str | None = None
    media_metadata: _Metadata | None = None


class _Video(Said, frozen=True):
    fife_url: str | None = None
    uri: str | None = None
    media_generation_id: str | None = None


class _OperationMetadata(Said, frozen=True):
    video: _Video | None = None


class _Inner(Said, frozen=True):
    metadata: _OperationMetadata | None = None


class Operation(Said, frozen=True):
    """Hold a clip in the two shapes of 2025."""

    operation: _Inner | None = None
    video: _Video | None = None
    media_generation_id: str | None = None


class Response(Said, frozen=True):
    """Hold what a job brought; an upscale brings the same clip as ``media`` and as ``operations``."""

    media: list[Media] | None = None
    operations: list[Operation] | None = None
    remaining_credits: float | None = None
    error: str | GoogleError | None = None
    media_status: MediaStatus | None = None

    def clips(self) -> list[tuple[str, str]]:
        """List each clip's address and name once, from the first shape that has any."""
        media = [(each.video_url, each.media_generation_id or "") for each in self.media or () if each.video_url]
        return media or [clip for each in self.operations or () if (clip := _clip(each))]

    def failures(self) -> list[MediaStatus]:
        """List the clips that did not come, with why."""
        seen = [each.media_metadata.media_status for each in self.media or () if each.media_metadata]
        found = [status for status in (self.media_status, *seen) if status]
        return [each for each in found if each.media_generation_status == "MEDIA_GENERATION_STATUS_FAILED"]


class Job(Response, frozen=True):
    """Hold a job record; a synchronous answer is its response, with the id beside."""

    jobid: str | None = None
    job_id: str | None = None
    status: str | None = None
    response: Response | None = None
    error_details: str | None = None
    code: int | str | None = None

    @property
    def name(self) -> str:
        """What it is looked at by."""
        return self.jobid or self.job_id or ""


class _Name(Said, frozen=True):
    media_generation_id: str


class Upload(Said, frozen=True):
    """Hold what Flow calls an upload: an id inside an object of the same name."""

    media_generation_id: _Name


class Joined(Said, frozen=True):
    """Hold clips joined end to end, out of their base64."""

    encoded_video: bytes


def _clip(operation: Operation) -> tuple[str, str] | None:
    """Read a clip off an operation, wherever its video hangs."""
    metadata = operation.operation.metadata if operation.operation else None
    for video in (metadata.video if metadata else None, operation.video):
        url = (video.fife_url or video.uri) if video else None
        if video and url:
            return url, operation.media_generation_id or video.media_generation_id or ""
    return None


def decode(body: Any) -> Update:
    """
    Read a job in useapi's words, in any of its shapes.

    :raises Malformed: when it is none, or completed without a clip.
    """
    job = known(body, Job, "job")
    said = job.response or job
    clips, failures = said.clips(), said.failures()
    word = job.status or ("completed" if clips or failures else "")
    state = STATES.get(word, State.UNKNOWN)
    if state is State.SUCCEEDED and not clips and failures:
        state = State.FAILED
    if not (job.name and word) or (state is State.SUCCEEDED and not clips):
        raise Malformed("the answer is no job, or a finished one without a clip")
    fault = None
    if state is State.FAILED:
        state, fault = _failed(job, said.error, *failures)
    return Update(
        state=state,
        task=Task(job.name),
        # Before the end, a job shows operations that are no results.
        assets=tuple(AssetRef(url=url, index=at, handle=handle) for at, (url, handle) in enumerate(clips))
        if state is State.SUCCEEDED
        else (),
        fault=fault,
        usage=_usage(said, done=state is State.SUCCEEDED),
        raw_state=word,
    )


def _usage(said: Response, *, done: bool) -> Usage | None:
    """
    Read what is left on the account, and how many clips were charged where some of those ``done`` did not come.

    That no clip costs credits which Google turned down or never took is inferred: it was seen of jobs of which nothing
    came, and no page speaks of one of several.
    """
    left, clips, failures = said.remaining_credits, said.clips(), said.failures()
    fewer = done and bool(failures) and all(words(each).verdict for each in failures)
    if left is None and not fewer:
        return None
    return Usage(clips=len(clips) if fewer else None, remaining_credits=None if left is None else int(left))


def _failed(job: Job, *said: Any) -> tuple[State, Fault]:
    """Say why a job failed; what Google turned down or never took cost no credits."""
    code, message, verdict = words(*said, job.error if job.response else None, job.error_details)
    refused = verdict is not None and verdict.kind is Refused
    return State.REFUSED if refused else State.FAILED, Fault(
        code=code or str(job.code or ""), message=message or "Flow failed", billed=False if verdict else None
    )


# Voices every account has, by name. .../post-google-flow-voices
PRESETS = frozenset({
    "Achernar", "Achird", "Algenib", "Algieba", "Alnilam", "Aoede", "Autonoe", "Callirrhoe", "Charon", "Despina",
    "Enceladus", "Erinome", "Fenrir", "Gacrux", "Iapetus", "Kore", "Laomedeia", "Leda", "Orus", "Puck", "Pulcherrima",
    "Rasalgethi", "Sadachbia", "Sadaltager", "Schedar", "Sulafat", "Umbriel", "Vindemiatrix", "Zephyr",
    "Zubenelgenubi",
})  # fmt: skip

MARKER = re.compile(r"(?:referenceImage|character|referenceAudio)_\d+", re.IGNORECASE)
OWNER = re.compile(r"-email:((?:[0-9a-f]{2})+)-")


def voice(said: Mapping[str, Any]) -> str:
    """
    Read a voice: by its id, or by its name where that is a preset's; nothing where it is neither.

    >>> voice({"id": "zephyr"}), voice({"name": "Kore"}), voice({"name": "Carol"})
    ('Zephyr', 'Kore', '')
    """
    named = said.get("id") or said.get("name")
    if not isinstance(named, str):
        return ""
    if named.capitalize() in PRESETS:
        return named.capitalize()
    return named if said.get("id") else ""


def marked(request: Request) -> str:
    """Write the prompt with ``@name`` of what was handed in as Flow's marker for it; markers stay as they are."""
    pictures = [each.name for each in request.inputs if each.role is Role.REFERENCE]
    voices = [str(each.get("name") or voice(each)) for each in request.voices]
    characters = [*request.characters, *(each.name for each in request.elements)]
    slots = (("referenceImage", pictures), ("character", characters), ("referenceAudio", voices))
    markers: dict[str, str] = {}
    for slot, names in slots:
        for number, name in enumerate(names, 1):
            if name and not MARKER.fullmatch(name):
                markers.setdefault(name.lower(), f"@{slot}_{number}")
    if not markers:
        return request.prompt
    either = "|".join(re.escape(name) for name in sorted(markers, key=len, reverse=True))
    # Folding case may change a name's length: what is not found again stays as it is.
    return re.sub(
        rf"(?<!\w)@({either})(?!\w)", lambda at: markers.get(at[1].lower(), at[0]), request.prompt, flags=re.IGNORECASE
    )


def owner(name: str) -> str:
    """
    Read which Google account an id is tied to; nothing where it does not say.

    >>> owner("user:1-email:6a6f40782e79-image:1")
    'jo@x.y'
    """
    found = OWNER.search(name)
    return bytes.fromhex(found[1]).decode("utf-8", "replace") if found else ""

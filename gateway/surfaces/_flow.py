"""
Hold useapi's vocabulary for Google Flow: fields, names of media, job records, errors; pure.

https://useapi.net/docs/api-google-flow-v1/post-google-flow-videos (June 5, 2026) and the pages beside it.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from gateway.jobs.job import Job, State
from gateway.jobs.wish import Problem, Rendition
from gateway.problems import ProblemError, invalid
from gateway.surfaces.common import choice_of, fault_of, is_policy, wish_of

# Theirs: ours, unless the operator's [aliases] say otherwise.
MODELS = {
    "veo-3.1-fast": "google/veo-3.1-fast",
    "veo-3.1-quality": "google/veo-3.1",
    "veo-3.1-lite": "google/veo-3.1-lite",
    "veo-3.1-lite-low-priority": "google/veo-3.1-lite-low-priority",
    "veo-3.1-fast-relaxed": "google/veo-3.1-fast-relaxed",
    "omni-flash": "google/gemini-omni-flash",
}
DEFAULT_MODEL = "veo-3.1-fast"
LENGTHS = dict.fromkeys(MODELS.values(), 8)
"""Seconds of who names no duration. useapi.net/docs/api-google-flow-v1 (June 5, 2026): "Output duration, default 8"."""
ACCOUNT = "reelgate@localhost"
"""The account of calls that name none; any other e-mail does as well."""
ASPECTS = {"landscape": "16:9", "portrait": "9:16", "1:1": "1:1", "4:3": "4:3", "3:4": "3:4"}
STATES = {
    State.QUEUED: "created",
    State.SUBMITTING: "created",
    State.UNKNOWN: "started",
    State.RUNNING: "started",
    State.STORING: "started",
    State.SUCCEEDED: "completed",
    State.FAILED: "failed",
    State.CANCELLED: "failed",
}

SUCCESSFUL = "MEDIA_GENERATION_STATUS_SUCCESSFUL"
IMAGES = tuple(f"referenceImage_{number}" for number in range(1, 8))
CHARACTERS = tuple(f"character_{number}" for number in range(1, 8))
VOICES = tuple(f"referenceAudio_{number}" for number in range(1, 6))
FRAMES = {"startImage": "first_frame", "endImage": "last_frame"}
SOURCE = "referenceVideo_1"
TRIM = ("startFrameIndex_1", "endFrameIndex_1")
CAPTCHA = ("captchaToken", "captchaRetry", "captchaOrder")
PLAIN = {
    "prompt": "prompt",
    "model": "model",
    "duration": "seconds",
    "resolution": "resolution",
    "count": "n",
    "seed": "seed",
    "replyUrl": "callback_url",
    "replyRef": "external_id",
}
COMMON = frozenset({"async", "email", "replyUrl", "replyRef", *CAPTCHA})
VIDEO = COMMON | {"aspectRatio", SOURCE, *PLAIN, *FRAMES, *IMAGES, *CHARACTERS, *VOICES, *TRIM}
EXTEND = COMMON | {"mediaGenerationId", "prompt", "model", "count", "seed"}
UPSCALE = COMMON | {"mediaGenerationId", "resolution"}
NUMBERS = frozenset({"count", "seed", "captchaRetry", *TRIM})

NAME = re.compile(
    r"(?:user:\d{1,20}-email:(?:[0-9a-f]{2}){0,254}-)?(?:image|video):"
    r"(?:(file_[0-9a-f]{32})|(video_[0-9a-f]{32})(?:-(\d{1,2}))?)"
)
EMAIL_IN = re.compile(r"-email:((?:[0-9a-f]{2})+)-")
EMAIL = re.compile(r"[^\s@/]{1,64}@[^\s@/]{1,190}")


CHARACTER = re.compile(r"user:\d{1,20}-email:(?:[0-9a-f]{2}){0,254}-character:rg_([\w-]{1,20000})-imgs:[12]", re.ASCII)


FileId = Annotated[str, Meta(pattern=r"^file_[0-9a-f]{32}\Z")]


class Character(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Hold what a character was made of: its own name says all of it, so that none has to be kept."""

    name: Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\S")]
    files: Annotated[tuple[FileId, ...], Meta(min_length=1, max_length=2)]
    notes: Annotated[str, Meta(max_length=2000)] = ""
    voice: Annotated[str, Meta(max_length=512)] = ""


# Theirs: ours. https://useapi.net/docs/api-google-flow-v1/post-google-flow-characters (July 2026)
NEW = {"displayName": "name", "personalityNotes": "notes", "voice": "voice"}
PICTURES = ("imageReference_1", "imageReference_2")


class Reference(Struct, frozen=True):
    """Hold what a mediaGenerationId names: a file that was uploaded, or one clip of a video."""

    file: str = ""
    video: str = ""
    index: int = 0

    @property
    def source(self) -> dict[str, Any]:
        """Name it as our own calls do."""
        return {"file_id": self.file} if self.file else {"id": self.video, "index": self.index}


def encode_name(kind: str, id_: str, email: str) -> str:
    """
    Write a mediaGenerationId; Flow ties one to an account, so this carries the e-mail it was asked under.

    >>> encode_name("image", "file_1", "jo@x.y")
    'user:1-email:6a6f40782e79-image:file_1'
    """
    return f"user:1-email:{email.encode().hex()}-{kind}:{id_}"


def read_name(said: Any, where: str) -> Reference:
    """
    Read a mediaGenerationId.

    :raises ProblemError: when it is none of ours.
    """
    found = NAME.fullmatch(said) if isinstance(said, str) else None
    if found is None:
        raise invalid(where, f"{where} takes a mediaGenerationId that this gateway gave: of an upload, or of a clip.")
    return Reference(found[1] or "", found[2] or "", int(found[3] or 0))


def read_new(said: Mapping[str, Any]) -> tuple[Character, str]:
    """
    Read a call for a character, and the name it gets.

    :raises ProblemError: naming what it cannot say.
    """
    refuse_strangers(said, frozenset({*NEW, *PICTURES}))
    given = {name: said[name] for name in PICTURES if said.get(name) is not None}
    files = [read_name(value, name).file for name, value in given.items()]
    if PICTURES[0] not in given or not all(files):
        raise invalid(PICTURES[0], "a character is made of one or two uploaded pictures, imageReference_1 the first")
    made = {ours: said[theirs] for theirs, ours in NEW.items() if said.get(theirs) is not None}
    try:
        character = msgspec.convert({**made, "files": files}, Character)
    except msgspec.ValidationError as error:
        wrong = next((theirs for theirs, ours in NEW.items() if str(error).endswith(f"`$.{ours}`")), "displayName")
        bounds = "displayName takes 1 to 200 characters, personalityNotes at most 2000, voice at most 512"
        raise invalid(wrong, f"{wrong}: {bounds}") from error
    whole = base64.urlsafe_b64encode(msgspec.json.encode(character)).decode().rstrip("=")
    found = EMAIL_IN.search(given[PICTURES[0]])  # A character lies where its pictures do.
    email = bytes.fromhex(found[1]).decode("utf-8", "replace") if found else ACCOUNT
    return character, encode_name("character", f"rg_{whole}-imgs:{len(files)}", email)


def read_character(said: Any, where: str) -> Character | None:
    """
    Read what a character was made of; nothing where it was made at Flow, which alone knows.

    :raises ProblemError: when it was made here, and is spoilt.
    """
    found = CHARACTER.fullmatch(said) if isinstance(said, str) else None
    if found is None:
        return None
    try:
        whole = base64.urlsafe_b64decode(found[1] + "=" * (-len(found[1]) % 4))
        return msgspec.json.decode(whole, type=Character)
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise invalid(where, f"{where} takes a character as it was answered, whole.") from error


def read_email(said: Any, where: str = "email") -> str:
    """
    Read which account is meant; the empty text where none is named.

    :raises ProblemError: when it is no e-mail.
    """
    if said in (None, ""):
        return ""
    if not isinstance(said, str) or not EMAIL.fullmatch(said):
        raise invalid(where, f"{where} is the e-mail of an account.")
    return said


def loosened(said: Mapping[str, Any]) -> dict[str, Any]:
    """Read the numbers and the flag of a form, where everything is text."""
    words: dict[str, Any] = {"true": True, "false": False}
    return {
        name: int(value)
        if name in NUMBERS and isinstance(value, str) and re.fullmatch(r"[0-9]{1,10}", value)
        else words.get(value, value)
        if name == "async" and isinstance(value, str)
        else value
        for name, value in said.items()
    }


def refuse_strangers(said: Mapping[str, Any], known: frozenset[str]) -> None:
    """
    Refuse parameters there are none of, in useapi's sentence.

    :raises ProblemError: 400.
    """
    for name in said:
        if name not in known:
            raise ProblemError(400, "unknown_parameter", f"Parameter {name[:64]} not supported", param=name[:64])


def read_video(said: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """
    Turn a call for clips into our words, and say what it calls each field.

    :raises ProblemError: naming what it cannot say.
    """
    refuse_strangers(said, VIDEO)
    said = {name: value for name, value in said.items() if value is not None}
    fields, names = read_plain(said)
    fields.setdefault("model", DEFAULT_MODEL)
    ratio = said.get("aspectRatio")
    names |= {"aspect_ratio": "aspectRatio", "size": "aspectRatio", "mode": "model", "audio": "model"}
    if ratio not in (None, *ASPECTS):
        raise invalid("aspectRatio", f"aspectRatio is {', '.join(ASPECTS)}")
    if SOURCE not in said:
        fields["aspect_ratio"] = ASPECTS[ratio or "landscape"]
    framed = [name for name in FRAMES if name in said]
    if framed == ["endImage"]:
        raise invalid("endImage", "endImage requires startImage")
    fields["frame_images"] = [{**read_name(said[name], name).source, "frame_type": FRAMES[name]} for name in framed]
    names |= {f"frame_images[{at}]": name for at, name in enumerate(framed)}
    names["frame_images"] = names["frames"] = framed[-1] if framed else "startImage"
    pictured = [name for name in IMAGES if name in said]
    fields["input_references"] = [read_name(said[name], name).source for name in pictured]
    names |= {f"input_references[{at}]": name for at, name in enumerate(pictured)}
    names["input_references"] = names["references"] = pictured[-1] if pictured else "character_1"
    fields["characters"], fields["elements"] = read_cast(said, names)
    fields["voices"] = [{"id": said[name]} for name in VOICES if name in said]
    names |= {"characters": "character_1", "voices": "referenceAudio_1"}
    if SOURCE in said:
        fields["video"] = read_name(said[SOURCE], SOURCE).source
        names["video"] = SOURCE
    return fields, names


def read_cast(said: Mapping[str, Any], names: dict[str, str]) -> tuple[list[Any], list[Any]]:
    """
    Tell characters made at Flow from those made here, which are elements, and say what the call calls these.

    :raises ProblemError: naming one that is spoilt, or where it stands before one of Flow's.
    """
    alien: list[Any] = []
    made: dict[str, dict[str, Any]] = {}
    for slot in (each for each in CHARACTERS if each in said):
        character = read_character(said[slot], slot)
        if character is not None:
            names[f"elements[{len(made)}]"] = slot
            # Two may be called alike; the prompt means either by its place.
            name = slot if any(character.name == each["name"] for each in made.values()) else character.name
            shown = [{"file_id": each} for each in character.files]
            made[slot] = {"name": name, "description": character.notes, "images": shown}
            made[slot] |= {"voice_id": character.voice} if character.voice else {}
        elif made:
            raise invalid(slot, f"{slot} was made at Flow: such characters stand before those made here")
        else:
            alien.append({"id": said[slot]})
    names["elements"] = next(iter(made), "character_1")
    return alien, [*made.values()]


def read_plain(said: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Read the fields every call for clips shares, and what only Flow itself can be told."""
    fields: dict[str, Any] = {PLAIN[name]: value for name, value in said.items() if name in PLAIN}
    names = {ours: theirs for theirs, ours in PLAIN.items()}
    email = read_email(said.get("email"))
    if email:
        fields["metadata"] = {"email": email}
    passed = {name: said[name] for name in (*CAPTCHA, *TRIM) if said.get(name) is not None}
    if passed:
        fields["provider_options"] = {"flow": passed}
        names["provider_options"] = next(iter(passed))
    if any(name in passed for name in TRIM):
        # Of all who edit, only Flow takes a window of the source.
        fields["provider"] = {"only": ["flow"]}
        names |= {"provider": "startFrameIndex_1", "provider.only": "startFrameIndex_1"}
    return fields, names


def read_source(said: Mapping[str, Any], known: frozenset[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """
    Turn a call about an earlier clip into our words, and say what it calls each field.

    :raises ProblemError: naming what it cannot say.
    """
    refuse_strangers(said, known)
    said = {name: value for name, value in said.items() if value is not None}
    fields, names = read_plain(said)
    fields["video"] = read_name(said.get("mediaGenerationId"), "mediaGenerationId").source
    return fields, names | {"video": "mediaGenerationId", "mode": "mediaGenerationId"}


def is_async(said: Mapping[str, Any]) -> bool:
    """
    Read whether the call is answered at once.

    :raises ProblemError: when it is neither true nor false.
    """
    asked = said.get("async") or False
    if not isinstance(asked, bool):
        raise invalid("async", "async is true or false")
    return asked


def record(job: Job, media: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Write a job's record."""
    wish, choice = wish_of(job), choice_of(job)
    request = wish.request
    asked = {
        "async": True,
        "prompt": request.prompt,
        "email": masked(wish.metadata.get("email", "")) or None,
        "model": _word(MODELS, request.model),
        "aspectRatio": _word(ASPECTS, choice.spec.aspect_ratio),
        "duration": choice.spec.seconds or None,
        "count": choice.spec.n,
        "seed": request.seed,
        "replyUrl": wish.callback_url,
        "replyRef": wish.external_id,
    }
    failed = job.state.final and not media
    out: dict[str, Any] = {
        "jobid": job.id,
        "type": "video",
        "status": "failed" if failed else STATES[job.state],
        "created": moment(job.created_at),
        **({"updated": moment(job.updated_at)} if job.seq else {}),
        "request": {name: value for name, value in asked.items() if value is not None},
    }
    if failed:
        error = google_error(fault_of(job))
        details = {"errorDetails": error["message"], "code": error["code"], "response": {"error": error}}
        return {**out, "error": f"API error: {error['code']}", **details}
    return {**out, "response": results(job, media)} if media else out


def entry(job: Job, clip: Rendition, video_url: str, thumbnail_url: str | None) -> dict[str, Any]:
    """Write one clip of a finished job."""
    wish, choice = wish_of(job), choice_of(job)
    name = f"{job.id}-{clip.index}"
    generated = {
        "seed": wish.request.seed,
        "prompt": wish.request.prompt,
        "model": choice.model,
        "aspectRatio": choice.spec.aspect_ratio,
    }
    return {
        "name": name,
        "mediaGenerationId": encode_name("video", name, wish.metadata.get("email") or ACCOUNT),
        "videoUrl": video_url,
        **({"thumbnailUrl": thumbnail_url} if thumbnail_url else {}),
        "mediaMetadata": {
            "createTime": moment(job.completed_at or job.updated_at),
            "mediaTitle": wish.request.prompt[:200],
            "mediaStatus": {"mediaGenerationStatus": SUCCESSFUL},
            "visibility": "PRIVATE",
        },
        "video": {
            "generatedVideo": generated,
            "dimensions": {"width": clip.width, "height": clip.height, "length": f"{clip.duration_seconds or 0:g}s"},
        },
    }


def results(job: Job, media: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Write the clips of a finished job twice: as useapi does now, and as it did until the spring of 2026."""
    return {"media": media, "operations": [_operation(job, each) for each in media]}


def _operation(job: Job, entry: Mapping[str, Any]) -> dict[str, Any]:
    """
    Write one clip as scripts of the first months read it; the page on jobs had the video beside the operation.

    https://useapi.net/docs/api-google-flow-v1/post-google-flow-videos (November 26, 2025), and its page on a job
    """
    choice, name, known_as = choice_of(job), entry["name"], entry["mediaGenerationId"]
    shape = next((word for word, ratio in ASPECTS.items() if ratio == choice.spec.aspect_ratio), "unspecified")
    video = {
        "seed": wish_of(job).request.seed,
        "mediaGenerationId": known_as,
        "prompt": wish_of(job).request.prompt,
        "uri": entry["videoUrl"],
        "fifeUrl": entry["videoUrl"],
        "mediaVisibility": "PRIVATE",
        **({"servingBaseUri": entry["thumbnailUrl"]} if "thumbnailUrl" in entry else {}),
        "model": choice.model,
        "isLooped": False,
        "aspectRatio": f"VIDEO_ASPECT_RATIO_{shape.upper()}",
    }
    media = {"@type": "type.googleapis.com/google.internal.labs.aisandbox.v1.Media", "name": name, "video": video}
    return {
        "operation": {"name": name, "metadata": media},
        "sceneId": name,
        "mediaGenerationId": known_as,
        "status": SUCCESSFUL,
        "video": video,
    }


def google_error(fault: Problem) -> dict[str, Any]:
    """Write why there is no clip as Google words it; what its policy forbids has a reason."""
    if not is_policy(fault):
        return {"code": 500, "message": fault.message, "status": "INTERNAL"}
    return _google(400, fault.message, "INVALID_ARGUMENT", "PUBLIC_ERROR_UNSAFE_GENERATION")


def write_problem(problem: ProblemError) -> tuple[int, dict[str, Any]]:
    """Write a problem as useapi does: a text, or Google's object where Google would have said it."""
    status = problem.status
    if problem.code == "content_policy_violation":
        return 400, {"error": _google(400, problem.message, "INVALID_ARGUMENT", "PUBLIC_ERROR_UNSAFE_GENERATION")}
    if status == 401:
        return 401, {"error": "Unauthorized"}
    if status == 429:
        said = _google(429, problem.message, "RESOURCE_EXHAUSTED", "PUBLIC_ERROR_USER_REQUESTS_THROTTLED")
        return 429, {"error": said}
    if status == 503:
        return 503, {"error": {"code": 503, "message": problem.message, "status": "UNAVAILABLE"}}
    if status in {409, 415, 422} or (status == 404 and problem.code not in NOT_FOUND):
        status = 400  # what a field names wrongly is a wrong field
    return status, {"error": problem.message}


NOT_FOUND = frozenset({"job_not_found", "asset_not_found", "account_not_found", "unknown_url"})


def _google(code: int, message: str, status: str, reason: str) -> dict[str, Any]:
    """Write an error as Google does."""
    detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}
    return {"code": code, "message": message, "status": status, "details": [detail]}


def masked(email: str) -> str:
    """
    Hide most of an e-mail.

    >>> masked("john@gmail.com")
    'jo***@gmail.com'
    """
    name, at, host = email.partition("@")
    return f"{name[:2]}***@{host}" if at else ""


def moment(milliseconds: int) -> str:
    """Write a time in ISO 8601."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _word(table: Mapping[str, str], ours: str) -> str:
    """Find their word for ours; ours where they have none."""
    return next((theirs for theirs, each in table.items() if each == ours), ours)

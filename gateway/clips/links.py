"""
Sign links to media, for whoever has no key: a client's downloader, a provider that fetches its inputs.

A link opens one file, to anybody who has it, until it runs out. Nothing is kept for it: the signature
is HMAC-SHA256 over what it opens, the time, and the name of the API key it was given out to, by a key that lies beside
the media where those are in a folder, and is else derived from ``REELGATE_SECRET_KEY``: whoever serves the same media
opens the same links.

The seal stands in the path and the file's name at its end, as many a client knows a clip by how its address ends, or
cuts it out of a text up to there.
"""

import hashlib
import hmac
import re
import secrets
import zlib
from base64 import urlsafe_b64encode
from pathlib import Path

from msgspec import Struct

from gateway.clock import DAY_MS
from gateway.events.vault import made_once
from gateway.jobs.job import Job
from gateway.jobs.wish import Rendition
from gateway.store.registry import File

KEY_BYTES = 32
HOUR_MS = 3_600_000
SUFFIXES = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "audio/wav": "wav",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
}
"""How a linked file is called, by what it is: some who fetch it look at nothing else."""
MEDIA_TYPES = {suffix: media_type for media_type, suffix in SUFFIXES.items()}
TO_CLIP = re.compile(r"/links/[^/?#]+/clips/(video_[0-9a-f]{32})/([0-9]{1,2})\.(?:mp4|mov|webm)(?:[?#]|$)", re.ASCII)
"""A link to a clip, wherever it is sent back: the video, and which of its clips."""
SEAL = re.compile(r"([0-9]{1,20})(?:\.(key_[0-9a-f]{32}))?\.([\w-]{1,64})", re.ASCII)


class Links:
    """Sign and recognise links; pure but for the key."""

    def __init__(self, key: bytes, life_ms: int = DAY_MS) -> None:
        """Sign by a key; what a client is given is good for so long."""
        self._key = key
        self.life_ms = life_ms

    def leave(self, key: str, now: int) -> "Leave":
        """Give out links to whoever asks with an API key, named by its id; with none, while there is none."""
        return Leave(self, key, now)

    def to_input(self, name: str, media_type: str, until: int) -> str:
        """Link to an input, by the name it is kept under, for a provider, until a time in milliseconds."""
        return self.link(f"/inputs/{name}.{_suffix(media_type)}", until)

    def link(self, what: str, until: int, key: str = "") -> str:
        """Link to what a path names, until a time in milliseconds, or until an API key is no longer in force."""
        return f"/links/{self.seal(what, until, key)}{what}"

    def seal(self, what: str, until: int, key: str = "") -> str:
        """Sign a path."""
        expires = str(-(-until // 1000))
        said = f"{expires}.{key}" if key else expires
        return f"{said}.{self._signature(what, said)}"

    def giver(self, what: str, seal: str, now: int) -> str | None:
        """
        Say which API key a path was sealed for, empty where none was.

        ``None`` for a seal that is not ours or has run out; a good signature takes as long as a bad one.
        """
        found = SEAL.fullmatch(seal)
        if found is None:
            return None
        said = seal.rpartition(".")[0]
        signed = hmac.compare_digest(self._signature(what, said), found[3])
        return (found[2] or "") if signed and now // 1000 < int(found[1]) else None

    def _signature(self, what: str, said: str) -> str:
        """Work out the signature."""
        digest = hmac.digest(self._key, f"{what}\n{said}".encode(), hashlib.sha256)
        return urlsafe_b64encode(digest).rstrip(b"=").decode()


class Leave(Struct, frozen=True):
    """Give out links in an API key's name: each opens to anybody what the key could, for as long as the key does."""

    links: Links
    key: str
    now: int

    def to(self, job: Job, kept: Rendition) -> str:
        """Link to something kept of a job."""
        what = f"/clips/{job.id}/{kept.path.rpartition('/')[2]}"
        return self.links.link(what, self.until(job.expires_at), self.key)

    def to_file(self, file: File) -> str:
        """Link to an upload."""
        what = f"/files/{file.id}/{file.id}.{_suffix(file.media_type)}"
        return self.links.link(what, self.until(file.expires_at), self.key)

    def until(self, expires: int | None) -> int:
        """
        Say until when a link to a file is good, in milliseconds: never longer than the file is kept.

        What is left of an hour is given away, so that links asked for again stay the same.
        """
        until = -(-(self.now + self.links.life_ms) // HOUR_MS) * HOUR_MS
        return until if expires is None else min(until, expires // 1000 * 1000)

    @property
    def stamp(self) -> str:
        """Name what its links depend on beside the file: where that is the same, so are they."""
        return f"{self.until(None) // HOUR_MS:x}{zlib.crc32(self.key.encode()):08x}"


def _suffix(media_type: str) -> str:
    """Say how a file of a type is called."""
    return SUFFIXES.get(media_type, "bin")


def open_key(path: Path) -> bytes:
    """Read the signing key; made once, whoever comes first."""
    return made_once(path, lambda: secrets.token_bytes(KEY_BYTES))

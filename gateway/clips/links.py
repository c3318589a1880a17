"""
Sign links to media, for whoever has no key: a client's downloader, a provider that fetches its inputs.

A link opens one file, to anybody who has it, until it runs out. Nothing is kept for it: the signature
is HMAC-SHA256 over the path and the time, by a key that lies beside the media where those are in a folder, and is else
derived from ``REELGATE_SECRET_KEY``: whoever serves the same media opens the same links.
"""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from pathlib import Path

from gateway.events.vault import made_once
from gateway.jobs.wish import Rendition
from providers.base.order import Input

KEY_BYTES = 32
HOUR = 3600
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


class Links:
    """Sign and recognise links; pure but for the key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def to_clip(self, job: str, clip: Rendition, until: int) -> str:
        """Link to a kept clip of a job until a time in milliseconds."""
        return self.sign(f"/links/clips/{job}/{clip.path.rpartition('/')[2]}", until)

    def to_input(self, each: Input, until: int) -> str:
        """Link to an input until a time in milliseconds."""
        return self.sign(f"/links/inputs/{each.sha256}.{SUFFIXES.get(each.media_type, 'bin')}", until)

    def sign(self, path: str, until: int) -> str:
        """
        Sign a path; what is left of an hour is given away, so that links asked for again stay the same.

        :param until: when it runs out, in milliseconds.
        """
        expires = str(-(-until // 1000 // HOUR) * HOUR)
        return f"{path}?expires={expires}&signature={self._signature(path, expires)}"

    def holds(self, path: str, expires: str, signature: str, now: int) -> bool:
        """Whether a link is one of ours and has not run out; takes as long for a good signature as for a bad one."""
        signed = hmac.compare_digest(self._signature(path, expires).encode(), signature.encode())
        return signed and now // 1000 < int(expires)

    def _signature(self, path: str, expires: str) -> str:
        """Work out the signature."""
        digest = hmac.digest(self._key, f"{path}\n{expires}".encode(), hashlib.sha256)
        return urlsafe_b64encode(digest).rstrip(b"=").decode()


def open_key(path: Path) -> bytes:
    """Read the signing key; made once, whoever comes first."""
    return made_once(path, lambda: secrets.token_bytes(KEY_BYTES))

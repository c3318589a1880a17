"""
Where the media of tests lie: in a folder, or in an object store that speaks S3 and that the tests start themselves.

It is moto's, on loopback and in a thread of this process; trouble is made on purpose (:attr:`ObjectStore.trouble`).
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from gateway.clips.shelf import Shelf

Kind = Literal["folder", "bucket"]
KINDS: tuple[Kind, ...] = ("folder", "bucket")
KEYS = {"AWS_ACCESS_KEY_ID": "key-of-tests", "AWS_SECRET_ACCESS_KEY": "secret-of-tests", "AWS_REGION": "eu-central-1"}
SECRET_KEY = "only-for-tests-only-for-tests-only"

Trouble = Callable[[str, str], bool]
"""Told each request's method, and its path and query: whether it is answered 500. May wait, too."""

_kind: Kind = "folder"


@contextmanager
def using(kind: Kind) -> Iterator[None]:
    """Put the media of every gateway and engine a test makes meanwhile on one kind of shelf."""
    global _kind  # noqa: PLW0603 - as tests.databases does
    before, _kind = _kind, kind
    yield
    _kind = before


def environ_of(folder: Path) -> dict[str, str]:
    """Say to a gateway where the media of a folder lie; asked again, it is the same."""
    if _kind == "folder":
        return {"REELGATE__MEDIA__URL": f"file:///{folder}/media"}
    return {
        "REELGATE__MEDIA__URL": store().url_of(str(folder)),
        "REELGATE__MEDIA__LOCAL": f"{folder}/media",
        "REELGATE__MEDIA__ENDPOINT": store().endpoint,
        "REELGATE_SECRET_KEY": SECRET_KEY,
        **KEYS,
    }


def shelf_in(folder: Path) -> Shelf | None:
    """Make the shelf of a folder's media, where it is not the folder itself."""
    return None if _kind == "folder" else store().shelf(str(folder), folder / "media" / "incoming")


class ObjectStore:
    """Run one S3 until this process ends."""

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app  # noqa: PLC0415
        from werkzeug.serving import WSGIRequestHandler, make_server  # noqa: PLC0415

        class Quiet(WSGIRequestHandler):
            def log_request(self, code: Any = "-", size: Any = "-") -> None:
                pass

        self.trouble: Trouble | None = None
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=Quiet)
        self._server.daemon_threads = True  # type: ignore[attr-defined]
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._buckets: dict[str, str] = {}
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request, or make trouble."""
        query = environ.get("QUERY_STRING", "")
        if self.trouble and self.trouble(environ["REQUEST_METHOD"], f"{environ['PATH_INFO']}?{query}"):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start("500 Internal Server Error", [("content-length", "0")])
            return []
        return self._app(environ, start)  # type: ignore[no-any-return]

    def bucket_of(self, name: str) -> str:
        """Name the bucket of a name, making it the first time."""
        if name not in self._buckets:
            self._buckets[name] = f"bucket-{os.getpid()}-{len(self._buckets)}"
            made = httpx.put(
                f"{self.endpoint}/{self._buckets[name]}",
                content="<CreateBucketConfiguration><LocationConstraint>eu-central-1</LocationConstraint>"
                "</CreateBucketConfiguration>",
                headers={"host": "s3.eu-central-1.amazonaws.com"},
                trust_env=False,
            )
            assert made.is_success, made.text
        return self._buckets[name]

    def url_of(self, name: str) -> str:
        """Say where the media of a name lie."""
        return f"s3://{self.bucket_of(name)}/some/prefix"

    def shelf(self, name: str, scratch: Path, **options: Any) -> Shelf:
        """Make a shelf of the bucket of a name."""
        from gateway.clips.bucket import Bucket  # noqa: PLC0415

        with pytest.MonkeyPatch.context() as patch:
            for key, value in KEYS.items():
                patch.setenv(key, value)
            return Bucket(self.url_of(name), scratch, endpoint=self.endpoint, **options)

    def unfinished(self, name: str) -> list[str]:
        """List the uploads of a bucket that are under way, or were left."""
        listed = httpx.get(f"{self.endpoint}/{self.bucket_of(name)}?uploads", trust_env=False).text
        return listed.split("<Upload>")[1:]

    @contextmanager
    def troubled(self, trouble: Trouble) -> Iterator[None]:
        """Make trouble for a while."""
        self.trouble = trouble
        try:
            yield
        finally:
            self.trouble = None


@cache
def store() -> ObjectStore:
    """One object store for all tests of this process."""
    return ObjectStore()

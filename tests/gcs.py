"""
A test double of Google Cloud Storage's XML API: no emulator of Google's is in reach that speaks it.

It is written from Google's own pages (https://cloud.google.com/storage/docs/xml-api/reference-methods and those below
it), not from a run against Google: it holds what we send to what they say. Objects are written, in parts too, read,
copied, listed and removed, by a bearer's token or by a signed address; nothing else is answered.
"""

import hashlib
import json
import threading
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from secrets import token_hex
from urllib.parse import parse_qsl, quote, unquote
from xml.etree import ElementTree as ET

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from msgspec import Struct
from werkzeug.exceptions import HTTPException
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

ACCOUNT = "tests@project.iam.gserviceaccount.com"
SCOPES = {f"https://www.googleapis.com/auth/{each}" for each in ("cloud-platform", "devstorage.full_control")}
LEAST_PART = 5 * 2**20
"""Bytes of every part of an upload but the last, at least."""
KEPT = ("content-type", "content-disposition", "cache-control")


class Kept(Struct, frozen=True):
    """One generation of an object."""

    data: bytes
    headers: dict[str, str]
    etag: str
    generation: int
    modified: datetime


class GoogleStorage:
    """Run one until this process ends; a listing has ``page`` objects a page, so that paging is met."""

    page = 2

    def __init__(self) -> None:
        self.objects: dict[str, Kept] = {}
        self.uploads: dict[str, tuple[str, dict[str, str], dict[int, bytes]]] = {}
        self.busy = 0
        """How many of the next requests are told to slow down."""
        self._generations = count(1_700_000_000_000_000)
        self._lock = threading.Lock()
        self._key = rsa.generate_private_key(65537, 2048)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self._server.daemon_threads = True  # type: ignore[attr-defined]
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def credentials(self, path: Path) -> Path:
        """Write a service account's file, as Google's console hands one out."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        said = {"type": "service_account", "client_email": ACCOUNT, "private_key_id": "k", "private_key": pem.decode()}
        path.write_text(json.dumps(said))
        return path

    @Request.application
    def _answer(self, request: Request) -> Response:
        """Answer one request; one at a time, so that each sees a whole world."""
        data = request.get_data()
        with self._lock:
            try:
                if self.busy:
                    self.busy -= 1
                    raise _refusal(429, "SlowDown")
                self._let_in(request)
                bucket, _, name = request.path.lstrip("/").partition("/")
                return self._object(request, f"{bucket}/{name}", data) if name else self._list(request, bucket)
            except HTTPException as error:
                return error.get_response()  # type: ignore[return-value]

    def _let_in(self, request: Request) -> None:
        """Check a self-signed token, or an address's V4 signature: /storage/docs/access-control/signed-urls."""
        if "X-Goog-Signature" not in request.args:
            token = request.headers.get("authorization", "").removeprefix("Bearer ")
            try:
                claims = jwt.decode(token, self._key.public_key(), algorithms=["RS256"], options={"verify_aud": False})
            except jwt.InvalidTokenError as error:
                raise _refusal(401, "AuthenticationRequired") from error
            if claims["iss"] != ACCOUNT or claims["scope"] not in SCOPES:
                raise _refusal(403, "AccessDenied")
            return
        path, _, query = request.environ["RAW_URI"].partition("?")
        words = dict(parse_qsl(query))
        signature = bytes.fromhex(words.pop("X-Goog-Signature"))
        pairs = "&".join(f"{quote(name, '-_.~')}={quote(words[name], '-_.~')}" for name in sorted(words))
        canonical = f"{request.method}\n{path}\n{pairs}\nhost:{request.host}\n\nhost\nUNSIGNED-PAYLOAD"
        email, _, scope = words["X-Goog-Credential"].partition("/")
        text = "\n".join(
            [words["X-Goog-Algorithm"], words["X-Goog-Date"], scope, hashlib.sha256(canonical.encode()).hexdigest()]
        )
        try:
            self._key.public_key().verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature as error:
            raise _refusal(403, "SignatureDoesNotMatch") from error
        signed = datetime.strptime(words["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if email != ACCOUNT or datetime.now(UTC) > signed + timedelta(seconds=int(words["X-Goog-Expires"])):
            raise _refusal(400, "ExpiredToken")

    def _object(self, request: Request, name: str, data: bytes) -> Response:
        """Do what a method asks of one object."""
        words = request.args
        match request.method:
            case "POST" | "PUT" if "uploads" in words or "uploadId" in words:
                return self._upload(request, name, data)
            case "PUT" if source := request.headers.get("x-goog-copy-source"):
                kept = self._find(unquote(source).lstrip("/"))
                return self._keep(name, kept.data, kept.headers, "CopyObjectResult")
            case "PUT":
                return self._keep(name, data, {each: request.headers[each] for each in KEPT if each in request.headers})
            case "DELETE":
                self._find(name)
                del self.objects[name]
                return Response(status=204)
            case "GET" | "HEAD":
                kept = self._find(name)
                answer = Response(kept.data, headers={**kept.headers, **_marks(kept)})
                answer.last_modified = kept.modified
                return answer.make_conditional(request, accept_ranges=True, complete_length=len(kept.data))
        raise _refusal(405, "MethodNotAllowed")

    def _upload(self, request: Request, name: str, data: bytes) -> Response:
        """Begin an upload in parts, take a part, or make an object of them: /storage/docs/multipart-uploads."""
        if "uploads" in request.args:
            id_ = token_hex(8)
            self.uploads[id_] = (name, {each: request.headers[each] for each in KEPT if each in request.headers}, {})
            return _xml("InitiateMultipartUploadResult", UploadId=id_)
        id_ = request.args["uploadId"]
        begun, headers, parts = self.uploads.get(id_, ("", {}, {}))
        if begun != name:
            raise _refusal(404, "NoSuchUpload")
        if request.method == "PUT":
            parts[int(request.args["partNumber"])] = data
            return Response(headers={"etag": _etag(data)})
        wanted = [(int(each[1].text or 0), each[0].text) for each in ET.fromstring(data)]
        if wanted != [(number, _etag(parts.get(number, b""))) for number in sorted(parts)]:
            raise _refusal(400, "InvalidPart")
        if any(len(parts[number]) < LEAST_PART for number, _ in wanted[:-1]):
            raise _refusal(400, "EntityTooSmall")
        del self.uploads[id_]
        return self._keep(
            name, b"".join(parts[number] for number, _ in wanted), headers, "CompleteMultipartUploadResult"
        )

    def _list(self, request: Request, bucket: str) -> Response:
        """List a page of a bucket, by name: /storage/docs/xml-api/get-bucket-list."""
        start, after = f"{bucket}/{request.args.get('prefix', '')}", request.args.get("continuation-token", "")
        if request.method != "GET" or request.args.get("list-type") != "2" or "delimiter" in request.args:
            raise _refusal(400, "InvalidArgument")
        found = sorted(name for name in self.objects if name.startswith(start) and name > after)
        more = {"NextContinuationToken": found[self.page - 1]} if len(found) > self.page else {}
        answer = _element("ListBucketResult", Name=bucket, IsTruncated=str(bool(more)).lower(), **more)
        for name in found[: self.page]:
            kept, key = self.objects[name], name.partition("/")[2]
            modified, size = kept.modified.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), str(len(kept.data))
            answer.append(_element("Contents", Key=key, LastModified=modified, ETag=kept.etag, Size=size))
        return Response(ET.tostring(answer), content_type="application/xml")

    def _keep(self, name: str, data: bytes, headers: dict[str, str], said: str = "") -> Response:
        """Make a new generation of an object; a copy and an upload in parts are answered in XML."""
        kept = Kept(data, headers, _etag(data), next(self._generations), datetime.now(UTC))
        self.objects[name] = kept
        answer = _xml(said, ETag=kept.etag) if said else Response()
        answer.headers.extend(_marks(kept))
        return answer

    def _find(self, name: str) -> Kept:
        """Find an object, or say that there is none: a removal is told so, too."""
        if name not in self.objects:
            raise _refusal(404, "NoSuchKey")
        return self.objects[name]


def _etag(data: bytes) -> str:
    """Say what a part or an object is told by."""
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _marks(kept: Kept) -> dict[str, str]:
    """Say which generation of an object it is."""
    return {"etag": kept.etag, "x-goog-generation": str(kept.generation)}


def _element(name: str, **said: str) -> ET.Element:
    """Make an element of texts."""
    made = ET.Element(name)
    for each, text in said.items():
        ET.SubElement(made, each).text = text
    return made


def _xml(name: str, **said: str) -> Response:
    """Answer an element of texts."""
    return Response(ET.tostring(_element(name, **said)), content_type="application/xml")


def _refusal(status: int, code: str) -> HTTPException:
    """Refuse as Google does: /storage/docs/xml-api/reference-status."""
    answer = _xml("Error", Code=code)
    answer.status_code = status
    return HTTPException(response=answer)


@cache
def google() -> GoogleStorage:
    """One for all tests of this process."""
    return GoogleStorage()

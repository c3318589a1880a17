"""
Vertex AI (Gemini Enterprise Agent Platform): Veo by operations, Gemini Omni by interactions.

* Veo is ordered in a region and polled by POST, with the operation's full name; Omni is served at ``global`` only.
* Clips land in a bucket of ours where ``VERTEX_OUTPUT_GCS`` names one, else they come inside the answer as base64;
  a bucket is read with the same token that orders.
* Sound can be left out (``generateAudio``), for less; of several clips those the filter took are missing, not an error.
* Tokens last an hour and are fetched by Google's own library, in a thread, when an account first needs one;
  where that fails, nothing was ordered.
* There is no callback (google-genai refuses one for Veo) and no cancel for Veo.
"""

import asyncio
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from typing import Any, Literal, Protocol
from urllib.parse import quote

import httpx
import msgspec

from providers import _interactions, _veo
from providers.base.catalog import Refusal
from providers.base.errors import ProviderError, Scope, Unauthorized, Unavailable
from providers.base.listing import Listing
from providers.base.objections import insist
from providers.base.options import passed, unknown_options
from providers.base.order import Mode, Order
from providers.base.provider import Provider, contents
from providers.base.signing import origin
from providers.base.task import AssetRef, Task, Update
from providers.base.wire import Call, Reply, Wire

HOST = "aiplatform.googleapis.com"
STORAGE = "https://storage.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"

# What can be passed through, with the values as google-genai 3.4.0 sends them:
# docs.cloud.google.com/gemini-enterprise-agent-platform/models/video/generate-videos-from-text
PARAMETERS = {
    "compressionQuality": Literal["OPTIMIZED", "LOSSLESS"],
    "resizeMode": Literal["CROP", "PAD", "crop", "pad"],
    "pubsubTopic": str,
}
LABELS = {"labels": dict[str, str]}
VEO = PARAMETERS | LABELS


class Credentials(Protocol):
    """Say what is asked of google-auth's credentials."""

    token: str | None

    @property
    def valid(self) -> bool:
        """Whether the token will last a while."""

    @property
    def quota_project_id(self) -> str | None:
        """Which project the calls are counted against, where it is not the token's own."""

    def refresh(self, request: Any, /) -> None:
        """Fetch a token; blocks."""


def encode(
    order: Order, data: Mapping[str, bytes] | None = None, *, bucket: str = "", slug: str = "vertex"
) -> dict[str, Any]:
    """
    Put an order into the words of its route.

    :param data: the bytes of each input, by its sha256.
    :param bucket: where clips are to be laid, ``gs://...``; inside the answer where empty.
    :param slug: the seller whose options are passed through.
    :raises Invalid: for what the route has no word for.
    """
    insist(objections(order, slug))
    held, more = data or {}, passed(order.request, slug)
    if order.route == "interactions":
        # "uri" without an address of ours is refused here; inline is the default.
        delivery = {"delivery": "uri", "gcs_uri": bucket} if bucket else {}
        return {**_interactions.encode(order, held, delivery=delivery), **more}
    said = _veo.instance(order, held)
    if order.spec.mode is Mode.EXTEND:
        said["video"] = _source(order, held)
    labels = {"labels": more.pop("labels")} if "labels" in more else {}
    store = {"storageUri": bucket} if bucket else {}
    chosen = {**_veo.parameters(order), "generateAudio": order.spec.audio, **store, **more}
    return {"instances": [said], "parameters": chosen, **labels}


def objections(order: Order, slug: str) -> Iterator[Refusal]:
    """Name what an order asks that its route has no word for; ``slug`` is the seller whose options are passed on."""
    is_omni = order.route == "interactions"
    yield from (_interactions if is_omni else _veo).objections(order)
    yield from unknown_options(order.request, slug, LABELS if is_omni else VEO)
    if order.spec.mode is Mode.EXTEND and order.source() is None:
        yield Refusal("video", "there is no clip to extend")


def _source(order: Order, data: Mapping[str, bytes]) -> dict[str, str]:
    """Name the clip to go on with by where it lies in a bucket, else hand it over."""
    source = order.source()
    assert source is not None
    if source.handle.startswith("gs://"):
        return {"gcsUri": source.handle, "mimeType": source.media_type}
    return _veo.picture(source, data)


def decode(body: Any) -> Update:
    """
    Read an operation or an interaction.

    :raises Malformed: when it is neither.
    """
    read = _interactions.decode if isinstance(body, dict) and "status" in body else _veo.decode
    return read(body, place)


def place(address: str) -> AssetRef:
    """
    Say how a clip in a bucket is downloaded.

    >>> place("gs://bucket/out/sample_0.mp4").url
    'https://storage.googleapis.com/storage/v1/b/bucket/o/out%2Fsample_0.mp4?alt=media'
    """
    scheme, _, rest = address.partition("://")
    bucket, _, name = rest.partition("/")
    if scheme != "gs":
        return AssetRef(url=address, handle=address)
    url = f"{STORAGE}/storage/v1/b/{quote(bucket, safe='')}/o/{quote(name, safe='')}?alt=media"
    return AssetRef(url=url, handle=address)


class _Bearer(httpx.Auth):
    """Sign calls to Google's own hosts, and no other, with a token that is still good."""

    def __init__(self, signs: Callable[[str], bool], headers: Callable[[], Awaitable[Mapping[str, str]]]) -> None:
        self._signs = signs
        self._headers = headers

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Add the token, waiting for a new one where it ran out."""
        if self._signs(str(request.url)):
            request.headers.update(await self._headers())
        yield request


class Vertex(Provider):
    """Order clips in a Google Cloud project."""

    def __init__(self, listing: Listing, credentials: Mapping[str, str], *, base_url: str = "") -> None:
        """Speak for one project; ``base_url`` stands for every host but the buckets'."""
        region = credentials.get("GOOGLE_CLOUD_LOCATION") or "us-central1"
        host = HOST if region == "global" else f"{quote(region, safe='')}-{HOST}"
        super().__init__(listing, credentials, base_url=base_url or f"https://{host}")
        project = quote(credentials.get("GOOGLE_CLOUD_PROJECT", ""), safe="")
        self._veo = f"{self.base_url}/v1beta1/projects/{project}/locations/{quote(region, safe='')}"
        self._global = base_url.rstrip("/") or f"https://{HOST}"
        self._omni = f"{self._global}/v1beta1/projects/{project}/locations/global"
        self._homes = frozenset(map(origin, (self.base_url, self._global, STORAGE)))
        self._bucket = credentials.get("VERTEX_OUTPUT_GCS", "")
        self.open_credentials: Callable[[], Credentials] = lambda: default(
            credentials.get("GOOGLE_APPLICATION_CREDENTIALS", "")
        )
        """Finds the credentials, blocking; asked once."""
        self._found: Credentials | None = None
        self._lock = asyncio.Lock()

    def auth(self) -> httpx.Auth:
        """Sign with a token of the account's credentials."""
        return _Bearer(self.signs, self.token)

    def signs(self, url: str) -> bool:
        """Say so of Google's own hosts: what lies in a bucket is the project's."""
        return origin(url) in self._homes

    async def token(self) -> Mapping[str, str]:
        """
        Write the headers that sign a call, fetching a new token where the last ran out.

        :raises Unauthorized: there are no credentials, or they get no token.
        :raises Unavailable: nobody answered who gives tokens out.
        """
        found = self._found
        if found is None or not found.valid:
            async with self._lock:  # one asks, the others wait for what comes
                found = self._found = await asyncio.to_thread(fresh, self._found, self.open_credentials)
        project = {"x-goog-user-project": found.quota_project_id} if found.quota_project_id else {}
        return {"authorization": f"Bearer {found.token}", **project}

    def objections(self, order: Order) -> Iterator[Refusal]:
        """Name what an order asks that its route has no word for."""
        return objections(order, self.listing.slug)

    async def submit(self, order: Order, wire: Wire) -> Update:
        """Hand an order over, media inline."""
        data = await contents(order)
        body = await asyncio.to_thread(
            lambda: msgspec.json.encode(encode(order, data, bucket=self._bucket, slug=self.listing.slug))
        )
        veo = f"{self._veo}/publishers/google/models/{quote(order.wire_name, safe='')}:predictLongRunning"
        url = f"{self._omni}/interactions" if order.route == "interactions" else veo
        reply = await self._send("POST", url, wire, body, buys=True)
        if reply.status == 200:
            return decode(reply.json())
        error = self.explain(reply, buying=True)
        if reply.status == 404 and order.source():
            error.scope = Scope.ORDER  # it may be the clip that is gone, not the model
        raise error

    async def poll(self, task: Task, wire: Wire) -> Update:
        """Look at an operation or an interaction, told apart by name."""
        if "/" not in task.id:
            return self._read(await self._send("GET", f"{self._omni}/{_interactions.path(task)}?stream=false", wire))
        model = quote(task.id.partition("/operations/")[0], safe="/")
        body = msgspec.json.encode({"operationName": task.id})
        return self._read(
            await self._send("POST", f"{self.base_url}/v1beta1/{model}:fetchPredictOperation", wire, body)
        )

    async def cancel(self, task: Task, wire: Wire) -> Update:
        """Stop an interaction; Veo's operations cannot be stopped."""
        if "/" in task.id:
            return await super().cancel(task, wire)
        return self._read(await self._send("POST", f"{self._omni}/{_interactions.path(task)}/cancel", wire))

    def explain(self, reply: Reply, *, buying: bool = False) -> ProviderError:
        """Turn an error answer into our words."""
        return _veo.explain(reply, buying=buying)

    async def _send(self, method: str, url: str, wire: Wire, body: bytes = b"", *, buys: bool = False) -> Reply:
        """Send a call."""
        headers = {"content-type": "application/json"} if body else {}
        call = Call(
            method=method, url=url, headers=headers, body=body, repeatable=not buys, timeout=300.0 if buys else 120.0
        )
        return await wire.send(call)

    def _read(self, reply: Reply) -> Update:
        """Read an answer about a task."""
        if reply.status == 200:
            return decode(reply.json())
        raise self.explain(reply)


def default(path: str) -> Credentials:
    """Find credentials in the file named, else where Google's tools look for them; blocks."""
    import google.auth  # noqa: PLC0415 - slow to load, and only an account that orders needs it

    if not path:
        return google.auth.default(scopes=[SCOPE])[0]
    with warnings.catch_warnings():
        # google-auth warns of files from strangers; the operator named this one.
        warnings.simplefilter("ignore", DeprecationWarning)
        found: Credentials = google.auth.load_credentials_from_file(path, scopes=[SCOPE])[0]  # type: ignore[no-untyped-call]
        return found


def fresh(found: Credentials | None, opener: Callable[[], Credentials]) -> Credentials:
    """
    Hand credentials back with a token that is still good; blocks.

    :raises Unauthorized: there are no credentials, or they get no token.
    :raises Unavailable: nobody answered who gives tokens out.
    """
    from google.auth.exceptions import GoogleAuthError, TransportError  # noqa: PLC0415 - as above
    from google.auth.transport.requests import Request  # noqa: PLC0415 - as above

    try:
        found = found or opener()
        if not found.valid:
            found.refresh(Request())
    except TransportError as error:
        raise Unavailable("Google's token service could not be reached; nothing was sent") from error
    except (GoogleAuthError, OSError, ValueError) as error:
        # What google-auth says may name files and accounts; its kind is enough.
        raise Unauthorized(f"Google Cloud credentials get no token: {type(error).__name__}") from error
    return found

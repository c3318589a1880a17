"""The Vertex adapter finds its token in time, signs Google's hosts only, and names its hosts by region."""

import asyncio
import json
import subprocess
import sys
from datetime import date

import httpx
import pytest
from google.auth.exceptions import DefaultCredentialsError, RefreshError, TransportError

from providers.base.catalog import fit, price_of
from providers.base.errors import Unauthorized, Unavailable
from providers.base.listing import load
from providers.base.order import Mode, Request, Spec
from providers.base.wire import Call, HttpWire
from providers.vertex import Vertex, default, place

LISTING = load("vertex")


class Fake:
    """Be google-auth's credentials: each refresh gives the next token, or fails."""

    def __init__(self, *, quota=None, error=None):
        self.token = None
        self.valid = False
        self.quota_project_id = quota
        self.refreshed = 0
        self._error = error

    def refresh(self, request, /):
        self.refreshed += 1
        if self._error:
            raise self._error
        self.token, self.valid = f"token-{self.refreshed}", True


def vertex(credentials=None, *, base_url="", **secrets) -> Vertex:
    provider = Vertex(LISTING, {"GOOGLE_CLOUD_PROJECT": "my-proj", **secrets}, base_url=base_url)
    provider.open_credentials = lambda: credentials or Fake()
    return provider


async def signed(provider: Vertex, url: str) -> httpx.Headers:
    flow = provider.auth().async_auth_flow(httpx.Request("GET", url))
    request = await anext(flow)
    await flow.aclose()
    return request.headers


async def test_one_token_serves_until_it_runs_out():
    """A token is fetched once for all who wait, used while it is good, and then renewed."""
    fake = Fake(quota="billing-proj")
    provider = vertex(fake)
    url = f"{provider.base_url}/v1beta1/x"

    all_at_once = await asyncio.gather(*[signed(provider, url) for _ in range(9)])
    assert {"Bearer token-1"} == {headers["authorization"] for headers in all_at_once}
    assert {"billing-proj"} == {headers["x-goog-user-project"] for headers in all_at_once}
    assert 1 == fake.refreshed
    fake.valid = False
    assert "Bearer token-2" == (await signed(provider, url))["authorization"]


async def test_no_quota_project_no_header():
    """Calls are counted against the token's own project where the credentials name no other."""
    assert "x-goog-user-project" not in await signed(vertex(), "https://aiplatform.googleapis.com/x")


@pytest.mark.parametrize(
    ("url", "mine"),
    [
        ("https://us-central1-aiplatform.googleapis.com/v1beta1/x", True),
        ("https://aiplatform.googleapis.com/v1beta1/x", True),
        ("https://storage.googleapis.com/storage/v1/b/b/o/o?alt=media", True),
        ("http://storage.googleapis.com/storage/v1/b/b/o/o?alt=media", False),
        ("https://europe-west4-aiplatform.googleapis.com/x", False),
        ("https://storage.googleapis.com.evil.example/x", False),
        ("https://evil.example/x", False),
    ],
)
async def test_the_token_goes_to_google_only(url, mine):
    """The token is sent to the account's hosts and to the buckets, over TLS, and nowhere else."""
    fake = Fake()

    assert mine is ("authorization" in await signed(vertex(fake), url))
    assert mine is bool(fake.refreshed)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RefreshError("account robot@my-proj is disabled"), Unauthorized),
        (DefaultCredentialsError("/home/secret/key.json"), Unauthorized),
        (FileNotFoundError("/home/secret/key.json"), Unauthorized),
        (TransportError("no route"), Unavailable),
    ],
)
async def test_without_a_token_nothing_is_sent(error, kind):
    """An order whose token cannot be had never leaves, and the error names no file and no account."""
    left = []
    provider = vertex(Fake(error=error))
    transport = httpx.MockTransport(lambda request: left.append(request) or httpx.Response(200))

    with pytest.raises(kind) as caught:
        await HttpWire(transport, provider.auth()).send(
            Call(method="POST", url=f"{provider.base_url}/x", repeatable=False)
        )
    assert not left
    assert "secret" not in caught.value.message + repr(caught.value)
    assert "robot" not in caught.value.message


async def test_a_failure_is_not_for_ever():
    """Credentials that could not be found are looked for again."""
    provider = vertex()
    found = iter([DefaultCredentialsError("none"), Fake()])

    def opener():
        if isinstance(each := next(found), Exception):
            raise each
        return each

    provider.open_credentials = opener
    with pytest.raises(Unauthorized):
        await provider.token()
    assert {"authorization": "Bearer token-1"} == await provider.token()


def test_credentials_of_a_named_file(tmp_path):
    """The file an account names is read, with the scope that is needed, and asks nobody."""
    path = tmp_path / "user.json"
    secret = {"client_id": "c", "client_secret": "s", "refresh_token": "r"}
    path.write_text(json.dumps({"type": "authorized_user", "quota_project_id": "q", **secret}))
    found = default(str(path))

    assert (None, False, "q") == (found.token, found.valid, found.quota_project_id)


@pytest.mark.parametrize(
    ("location", "base_url", "host"),
    [
        ("", "", "https://us-central1-aiplatform.googleapis.com"),
        ("europe-west4", "", "https://europe-west4-aiplatform.googleapis.com"),
        ("global", "", "https://aiplatform.googleapis.com"),
        ("us-central1", "http://127.0.0.1:9/", "http://127.0.0.1:9"),
        ("evil.example/#", "", "https://evil.example%2F%23-aiplatform.googleapis.com"),
    ],
)
def test_the_region_names_the_host(location, base_url, host):
    """The region decides the host, an account's base URL before it, and it cannot name another host."""
    assert host == vertex(base_url=base_url, GOOGLE_CLOUD_LOCATION=location).base_url


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("gs://b/o.mp4", "https://storage.googleapis.com/storage/v1/b/b/o/o.mp4?alt=media"),
        (
            "gs://b/a b/c?d#e/ü.mp4",
            "https://storage.googleapis.com/storage/v1/b/b/o/a%20b%2Fc%3Fd%23e%2F%C3%BC.mp4?alt=media",
        ),
        ("gs://b/../x", "https://storage.googleapis.com/storage/v1/b/b/o/..%2Fx?alt=media"),
    ],
)
def test_a_clip_in_a_bucket(address, url):
    """A clip is read by its bucket and its name, whatever characters the name has, and kept by its address."""
    assert (url, address) == (place(address).url, place(address).handle)


def test_google_is_loaded_only_when_asked():
    """A gateway that orders nothing here loads nothing of Google's library."""
    code = "import sys, providers.vertex; assert 'google.auth' not in sys.modules and 'requests' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("model", "resolution", "with_sound", "without"),
    [
        ("google/veo-3.1", "720p", "0.40", "0.20"),
        ("google/veo-3.1", "1080p", "0.40", "0.20"),
        ("google/veo-3.1", "4k", "0.60", "0.40"),
        ("google/veo-3.1-fast", "720p", "0.10", "0.08"),
        ("google/veo-3.1-fast", "1080p", "0.12", "0.10"),
        ("google/veo-3.1-fast", "4k", "0.30", "0.25"),
        ("google/veo-3.1-lite", "720p", "0.05", "0.03"),
        ("google/veo-3.1-lite", "1080p", "0.08", "0.05"),
    ],
)
def test_sound_has_its_price(model, resolution, with_sound, without):
    """Every cell of the price list, with sound and without."""
    offer = LISTING.offer(model)
    for audio, usd in ((True, with_sound), (False, without)):
        spec = fit(offer, Request(prompt="-", model=model, resolution=resolution, audio=audio))
        assert isinstance(spec, Spec)
        assert usd == price_of(LISTING, offer, spec, on=date(2026, 11, 21)).usd


def test_an_extension_is_seven_seconds():
    """An extension adds seven seconds, at any resolution sold; no other clip is seven seconds long."""
    offer = LISTING.offer("google/veo-3.1")

    assert 7 == fit(offer, Request(prompt="-", model="-", mode=Mode.EXTEND, resolution="4k")).seconds
    assert ["seconds"] == [refusal.field for refusal in fit(offer, Request(prompt="-", model="-", seconds=7))]


def test_orders_are_counted_for_each_model():
    """Google counts fifty a minute for each base model."""
    assert ("model", 50, 60) == (LISTING.rate.per, LISTING.rate.orders, LISTING.rate.seconds)

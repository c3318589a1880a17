"""One law for every seller: credentials go to its own scheme, host and port, through a real wire, and nowhere else."""

from collections.abc import AsyncIterator
from types import SimpleNamespace

import httpx
import pytest

from gateway.clips.fetch import open_asset
from gateway.jobs.finished import ClipError
from gateway.offers.accounts import Account
from providers.base.listing import listings
from providers.base.provider import Provider
from providers.base.signing import HomeAuth, origin
from providers.base.task import AssetRef
from providers.base.wire import Call, HttpWire
from tests.providers.cases import open_provider, secrets_of

TOKEN = "canary-token-of-vertex"
SELLERS = [slug for slug, listing in listings().items() if any(not each.public for each in listing.secrets)]
KEYED = [*SELLERS, "vertex"] if "vertex" not in SELLERS else SELLERS


class Net(httpx.AsyncBaseTransport):
    """Keep what would have left."""

    def __init__(self) -> None:
        self.sent: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)

        async def nothing() -> AsyncIterator[bytes]:
            yield b""

        return httpx.Response(200, content=nothing())


def seller(slug: str) -> tuple[Provider, list[str]]:
    """Open a seller with canaries for secrets, and say what may not be seen elsewhere."""
    listing = listings()[slug]
    provider = open_provider(listing)
    if hasattr(provider, "open_credentials"):
        provider.open_credentials = lambda: SimpleNamespace(token=TOKEN, valid=True, quota_project_id=None)
    public = {each.name for each in listing.secrets if each.public}
    return provider, [TOKEN, *(value for name, value in secrets_of(listing).items() if name not in public)]


async def shown(provider: Provider, secrets: list[str], url: str) -> bool:
    """Send a call over a real wire, and say whether it carries a secret."""
    net = Net()
    await HttpWire(net, provider.auth()).send(Call(method="GET", url=url, repeatable=True))
    (request,) = net.sent
    assert not [each for each in secrets if each in str(request.url)]
    return any(each in repr(request.headers.raw) for each in secrets)


@pytest.mark.parametrize("slug", KEYED)
async def test_home_is_signed_and_nothing_else(slug: str) -> None:
    """A look-alike host, another port, plain http, a clip's host, a redirect's target: none sees a credential.

    And a provider knows which of its addresses do.
    """
    provider, secrets = seller(slug)
    home = httpx.URL(provider.base_url)
    assert await shown(provider, secrets, f"{provider.base_url}/anything?x=1")
    assert provider.signs(f"{provider.base_url}/anything?x=1")
    foreign = [
        str(home.copy_with(scheme="http")),
        str(home.copy_with(port=8443)),
        str(home.copy_with(host=f"{home.host}.evil.test")),
        str(home.copy_with(host=f"evil-{home.host}")),
        str(home.copy_with(host="evil.test", username=home.host)),
        f"https://evil.test/{home.host}/",
        f"https://evil.test/?{home.host}",
        f"https://evil.test/#{home.host}",
        "https://127.0.0.1/",
        "https://flow-content.google/video/a",
        "https://asyncdata.net/source/a",
    ]
    for url in foreign:
        assert not await shown(provider, secrets, url), url
        assert not provider.signs(url), url
    for host in listings()[slug].hosts:
        url = f"https://{host.replace('*', 'any')}/a.mp4"
        assert provider.signs(url) is await shown(provider, secrets, url), url


@pytest.mark.parametrize("slug", KEYED)
async def test_a_clip_named_elsewhere_is_not_even_asked_for(slug: str) -> None:
    """An asset at a host the listing does not name is refused before a connection, redirected or not."""
    provider, _ = seller(slug)
    net = Net()
    account = Account(slug, provider, HttpWire(net, provider.auth()), plan="", max_running=1)
    for url in ("https://evil.test/a.mp4", f"{provider.base_url.replace('https', 'http')}/a.mp4", "file:///etc/passwd"):
        with pytest.raises(ClipError):
            async with open_asset(account, AssetRef(url=url)):
                pass
    assert [] == net.sent


def test_no_seller_is_forgotten() -> None:
    """Whoever has a required secret is held to the law above."""
    assert {"aigenerate", "cometapi", "flow", "gemini", "vertex"} == set(KEYED)
    assert {slug for slug, listing in listings().items() if not listing.sandbox} == set(KEYED)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a.test", "https://a.test/path?query", True),
        ("https://a.test", "https://A.TEST:443", True),
        ("http://a.test:80", "http://a.test", True),
        ("https://a.test", "http://a.test", False),
        ("https://a.test", "https://a.test:444", False),
        ("https://a.test", "https://b.a.test", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(one: str, other: str, same: bool) -> None:
    """As a browser has it."""
    assert same is (origin(one) == origin(other))


async def test_several_headers_are_signed_together() -> None:
    """What a call already says of itself stays."""
    auth = HomeAuth("https://a.test", {"x-key": "k", "x-user": "u"})
    net = Net()
    call = Call(method="GET", url="https://a.test/x", headers={"accept": "text/plain"}, repeatable=True)
    await HttpWire(net, auth).send(call)
    assert {"accept": "text/plain", "x-key": "k", "x-user": "u"}.items() <= dict(net.sent[0].headers).items()

"""
Row S1's third entrance: addresses a provider says its clips lie at, and what those lead to.

The forms are those of ``test_addresses.py``. The list of hosts would refuse most by itself; here it takes every host,
so that the guard alone must keep them from being dialled.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import structlog
from msgspec.structs import replace

from gateway.clips.fetch import HOPS, Terms, fetch_clip
from gateway.clips.parts import take
from gateway.jobs.finished import ClipError, Missed
from gateway.network.abroad import Abroad
from gateway.network.guard import Rules
from gateway.network.names import Found, Names
from gateway.network.outbound import Outbound
from gateway.offers.accounts import Account, adapter
from providers.base.listing import Listing, listings
from providers.base.task import AssetRef
from providers.base.transport import AiohttpTransport
from providers.base.wire import HttpWire
from tests.abuse.test_addresses import DATA, LED_TO, PUBLIC, REFUSED
from tests.outside import HOME, SITE, Outside, gateway, page, redirect, world
from tests.scripted import clip

CLIP = clip(4, (320, 180))
TERMS = Terms(max_bytes=2**24, room=lambda: 2**30)
SECRET = "canary-key-of-gemini"
OWN = sorted({url for _, url in REFUSED} | {url.replace("http:", "https:", 1) for _, url in REFUSED})
"""Every form, and what it is over https: nothing else is fetched from another host."""
LED = sorted({*LED_TO, *(url.replace("http:", "https:", 1) for url in LED_TO)})

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    with world() as built:
        yield built


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def transport() -> AsyncIterator[AiohttpTransport]:
    opened = AiohttpTransport()
    yield opened
    await opened.aclose()


@pytest.fixture
def _any_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Listing, "fetches", lambda self, host, *, base_url="": True)


def seller(outside: Outside, transport: AiohttpTransport, outbound: Outbound | None = None) -> Account:
    """Open an account as a gateway does, at a provider of this machine: its own address is the operator's word."""
    known = listings()["gemini"]
    listing = replace(known, hosts=["clips.example"])
    base_url = f"http://{HOME}:{outside.port}"
    provider = adapter(listing.dialect)(listing, {"GEMINI_API_KEY": SECRET}, base_url=base_url)
    auth, guarded = provider.auth(), outbound or outside.outbound(Rules())
    abroad = Abroad(lambda: guarded, auth)
    return Account("a", provider, HttpWire(transport, auth), plan="", max_running=1, abroad=abroad)


async def missed(account: Account, url: str, folder: Path) -> Missed | None:
    """Fetch what is said to be a clip; says why it was not kept."""
    part = take(folder, "clip")
    try:
        await fetch_clip(account, AssetRef(url=url), part, TERMS)
        assert CLIP == part.head(part.size)
    except ClipError as miss:
        return miss.kind
    finally:
        part.close(drop=True)
    return None


def strangers(outside: Outside) -> None:
    outside.forget()
    outside.names.update(DATA["names"])
    outside.names.update(PUBLIC)


@pytest.mark.usefixtures("_any_host")
async def test_no_hostile_address_is_dialled(outside: Outside, transport: AiohttpTransport, tmp_path: Path) -> None:
    """Every hostile form costs no connection, whatever the list of hosts says."""
    assert 300 <= len(OWN)
    account = seller(outside, transport)
    for url in OWN:
        strangers(outside)
        assert Missed.FOREIGN is await missed(account, url, tmp_path), url
        assert [] == outside.dialled, url
    assert [] == outside.heads


@pytest.mark.usefixtures("_any_host")
async def test_names_that_do_not_resolve_keep_no_other_hosts_clips_waiting(
    outside: Outside,
    transport: AiohttpTransport,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many there are below one domain; a clip of another's is asked for at once."""
    hanging = threading.Event()

    def ask(host: str) -> list[Found]:
        if host.startswith("deaf"):
            hanging.wait(10)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [Found(socket.AF_INET, 6, "93.184.216.34")]

    monkeypatch.setattr("gateway.network.outbound.is_own", lambda family, address: False)
    guarded = Outbound(Rules(), names=Names(ask, most=4), dial=outside._dial)
    account = seller(outside, transport, guarded)
    deaf = [
        asyncio.create_task(missed(account, f"https://deaf{number}.one.test/a.mp4", tmp_path_factory.mktemp("deaf")))
        for number in range(6)
    ]
    await asyncio.sleep(0.05)
    async with asyncio.timeout(1):
        assert Missed.UNREACHABLE is await missed(
            account, "https://well.two.test/a.mp4", tmp_path_factory.mktemp("well")
        )
    assert [("93.184.216.34", 443)] == outside.dialled
    assert not any(each.done() for each in deaf)
    hanging.set()
    assert [Missed.UNREACHABLE] * 6 == await asyncio.gather(*deaf)


@pytest.mark.usefixtures("_any_host")
@pytest.mark.parametrize("hop", range(1, HOPS + 1))
async def test_no_redirect_leads_there(outside: Outside, transport: AiohttpTransport, tmp_path: Path, hop: int) -> None:
    """At whichever hop: what an address leads to is dialled under the guard as the address itself."""
    account = seller(outside, transport)
    for url in LED if hop == 1 else LED[::10]:
        strangers(outside)
        for at in range(hop):
            outside.pages[f"/{at}"] = redirect(f"/{at + 1}" if at + 1 < hop else url)
        kind = await missed(account, f"http://{HOME}:{outside.port}/0", tmp_path)
        # What has no host at all is a path at the provider's own, where a picture lies.
        assert kind in {Missed.FOREIGN, Missed.STRANGE, Missed.NOT_A_CLIP}, url
        assert [] == outside.dialled, url


@pytest.mark.usefixtures("_any_host")
async def test_a_name_that_changes_its_mind(outside: Outside, transport: AiohttpTransport, tmp_path: Path) -> None:
    """Public when it is looked up first and private the next time: only what was checked is dialled."""
    outside.forget()
    answers = [[SITE], ["127.0.0.1"]] * 100
    outside.names["clips.example"] = answers.pop
    outside.pages["/a.mp4"] = page(CLIP)
    account = seller(outside, transport, trusting(outside))
    ends = [await missed(account, "https://clips.example/a.mp4", tmp_path) for _ in range(200)]
    assert [Missed.FOREIGN, None] * 100 == ends
    assert [(HOME, outside.port)] * 100 == outside.dialled


async def test_an_ordinary_address_is_fetched_without_credentials(
    outside: Outside, transport: AiohttpTransport, tmp_path: Path
) -> None:
    """The provider's own address sees its key; a host its clips lie at, named or led to, does not."""
    outside.forget()
    outside.names["clips.example"] = [SITE]
    outside.pages |= {
        "/a.mp4?Signature=a%2Bb": page(CLIP),
        "/0": redirect("https://clips.example/a.mp4?Signature=a%2Bb"),
    }
    account = seller(outside, transport, trusting(outside))
    assert None is await missed(account, "https://clips.example/a.mp4?Signature=a%2Bb", tmp_path)
    assert None is await missed(account, f"http://{HOME}:{outside.port}/0", tmp_path)
    assert [False, True, False] == [SECRET in head for head in outside.heads]
    assert [(HOME, outside.port)] * 2 == outside.dialled


@pytest.mark.parametrize(("place", "status"), [(SITE, "completed"), ("10.0.0.1", "failed")])
async def test_the_whole_gateway_keeps_to_it(
    outside: Outside, tmp_path: Path, place: str, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seller names a clip at a host the operator allows: dialled if that is the internet's, else lost unseen."""
    monkeypatch.setattr("gateway.jobs.finished.DOUBTS", 1)
    outside.forget()
    outside.names["clips.example"] = [place]
    task = b'{"id":"t","state":"done","clips":[{"url":"https://clips.example/a.mp4"}]}'
    outside.pages |= {"/tasks": page(task, Content_Type="application/json"), "/tasks/t": page(task)}
    outside.pages["/a.mp4"] = page(CLIP)
    account = {"provider": "sandbox", "base_url": f"http://{HOME}:{outside.port}", "clip_hosts": ["clips.example"]}
    more = {"worker": {"enabled": True}, "accounts": {"elsewhere": account}}
    async with gateway(tmp_path, trusting(outside), **more) as client:
        ordered = {"model": "sandbox/demo", "prompt": "a fox", "seconds": 4, "resolution": "360p"}
        made = (await client.post("/v1/videos", json=ordered)).json()
        video = await ended(client, made["id"])
        assert (status, place == SITE) == (video["status"], bool(outside.dialled)), video
        if status == "completed":
            assert CLIP == (await client.get(f"/v1/videos/{made['id']}/content")).content
        else:
            assert "result_lost" == video["error"]["code"]
            assert "10.0.0.1" not in str(video)


async def test_a_lost_clip_s_link_is_its_buyer_s(
    outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told in the video and in its attempt; in no log, no list of deliveries, and in no dialect's words."""
    monkeypatch.setattr("gateway.jobs.finished.DOUBTS", 1)
    outside.forget()
    outside.names["clips.example"] = [SITE]
    link = "https://clips.example/a.mp4?Signature=canary"
    task = b'{"id":"t","state":"done","clips":[{"url":"%s"}]}' % link.encode()
    outside.pages |= {"/tasks": page(task, Content_Type="application/json"), "/tasks/t": page(task)}
    outside.pages["/a.mp4?Signature=canary"] = page(b"<html>Sign in</html>" * 9)
    account = {"provider": "sandbox", "base_url": f"http://{HOME}:{outside.port}", "clip_hosts": ["clips.example"]}
    more = {"worker": {"enabled": True}, "accounts": {"elsewhere": account}}
    with structlog.testing.capture_logs() as logs:
        async with gateway(tmp_path, trusting(outside), **more) as client:
            ordered = {"model": "sandbox/demo", "prompt": "a fox", "seconds": 4, "resolution": "360p"}
            made = (await client.post("/v1/videos", json=ordered)).json()
            video = await ended(client, made["id"])
            attempts = (await client.get(f"/v1/videos/{made['id']}/attempts")).json()["data"]
            task = (await client.get(f"/api/v1/jobs/recordInfo?taskId={made['id']}")).text
    assert [link] == [each["url"] for each in video["error"]["result_links"]]
    assert [link] == [each["url"] for each in attempts[0]["result_links"]]
    assert "made and paid for" in task
    assert not [each for each in (task, str(logs), video["error"]["message"]) if "canary" in each]


async def ended(client: httpx.AsyncClient, id_: str) -> dict:  # type: ignore[type-arg]
    """Wait for a video's end, as clients do."""
    while True:
        answer = await client.get(f"/v1/videos/{id_}", headers={"prefer": "wait=20"})
        if answer.json()["status"] in {"completed", "failed"}:
            return answer.json()  # type: ignore[no-any-return]
        await asyncio.sleep(0)


def trusting(outside: Outside) -> Outbound:
    """Make a client that may reach the site, whoever vouches for it."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    return outside.outbound(tls=tls)

"""Laws of callbacks that are signed: what its provider did not sign, just now and for us, changes nothing."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator, Mapping
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway.credentials import secrets
from gateway.events.keyring import AGAIN_MS, FRESH_MS, STALE_MS, Keyring
from gateway.network.errand import Errand, FetchError
from gateway.settings import SettingsError
from providers.base.hooks import LATE, ForgedError, HookCall, HookKey
from providers.base.listing import load
from providers.gemini import Gemini
from tests.server import Server, eventually

NOW = 1_800_000_000
ADDRESS = "https://gw.example/hooks/gemini/" + "a" * 40
BODY = b'{"type": "interaction.completed", "version": "v1", "data": {"id": "v1_a"}}'
STANDING = {"id": "v1_a", "status": "in_progress"}
SECRET = "whsec_" + base64.b64encode(b"a made-up secret of these tests.").decode()
LISTING = load("gemini")
LIST = "https://generativelanguage.googleapis.com/.well-known/jwks.json"


@cache
def private(name: str) -> Any:
    """Make a key; the same one for the same name."""
    made = ec.generate_private_key(ec.SECP256R1()) if name == "curve" else rsa.generate_private_key(65537, 2048)
    del name
    return made


def public(name: str, **changes: Any) -> dict[str, Any]:
    """Write a key's public half as a provider lists it."""
    half = private(name).public_key()
    kind = jwt.algorithms.ECAlgorithm if name == "curve" else jwt.algorithms.RSAAlgorithm
    return {**kind.to_jwk(half, as_dict=True), "kid": name, "use": "sig", "alg": "RS256", **changes}


def token(
    key: object = None, algorithm: str = "RS256", head: Mapping[str, Any] | None = None, **claims: Any
) -> dict[str, str]:
    """Sign as Google does; ``claims`` are beside or in place of the usual."""
    said = {"iat": NOW, "exp": NOW + 60, "aud": ADDRESS, **claims}
    said = {name: value for name, value in said.items() if value is not None}
    signed = jwt.encode(said, key or private("first"), algorithm, headers={"kid": "first", **(head or {})})
    return {"webhook-signature": signed, "webhook-timestamp": str(NOW), "webhook-id": "msg_1"}


def google(secret: str = "", base_url: str = "") -> Gemini:
    """Speak for an account of Google's."""
    held = {"GEMINI_API_KEY": "k"} | ({"GEMINI_WEBHOOK_SECRET": secret} if secret else {})
    return Gemini(LISTING, held, base_url=base_url)


def heard(
    headers: Mapping[str, str], provider: Gemini | None = None, keys: Mapping[str, dict[str, Any]] | None = None
) -> None:
    """Check a callback as the gateway does, with the keys a provider lists."""
    provider = provider or google()
    named = provider.hook_key(headers)
    listed = {"first": public("first")} if keys is None else keys
    key = listed.get(named.kid) if named else None
    provider.check_hook(HookCall(headers=headers, body=BODY, now=NOW, address=ADDRESS, key=key))


def standard(
    secret: bytes = b"a made-up secret of these tests.", at: object = NOW, name: str = "msg_1", body: bytes = BODY
) -> str:
    """Sign as Standard Webhooks has it."""
    mac = hmac.digest(secret, f"{name}.{at}.".encode() + body, "sha256")
    return "v1," + base64.b64encode(mac).decode()


def with_secret(signature: str, at: object = NOW, name: str = "msg_1") -> dict[str, str]:
    return {"webhook-id": name, "webhook-timestamp": str(at), "webhook-signature": signature}


def test_what_google_signed_is_taken() -> None:
    """Of whom a token is for and how long it is good Google's pages say nothing; what it does say must hold."""
    heard(token())
    heard(token(aud=None, exp=None, iat=None))
    heard(token(aud="a-project"))
    heard(token(aud=["a-project", ADDRESS]))
    heard(token(iat=NOW + LATE))
    heard({name.title(): value for name, value in token().items()})


def forged_tokens() -> dict[str, tuple[dict[str, str], dict[str, dict[str, Any]] | None]]:
    """Write forgeries: headers, and the keys that are listed where not the usual one."""
    pem = private("first").public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    good = token()["webhook-signature"]
    head, claims, mark = good.split(".")

    def coded(said: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(said).encode()).rstrip(b"=").decode()

    def confused(algorithm: str, key: bytes, name: str) -> str:
        signing = f"{coded({'alg': algorithm, 'kid': 'first', 'typ': 'JWT'})}.{claims}"
        digest = hmac.new(key, signing.encode(), getattr(hashlib, name)).digest()
        return f"{signing}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"

    def bare(text: str) -> dict[str, str]:
        return {**token(), "webhook-signature": text}

    own = {"jwk": public("mallory"), "jku": "https://mallory.example/keys", "x5u": "https://mallory.example/x"}
    return {
        "nothing": ({}, None),
        "empty": (bare(""), None),
        "no key of that name": (token(private("mallory"), head={"kid": "mallory"}), None),
        "signed with another key": (token(private("mallory")), None),
        "no name of a key": (bare(f"{coded({'alg': 'RS256'})}.{claims}.{mark}"), None),
        "a name that is no text": (bare(f"{coded({'alg': 'RS256', 'kid': 1})}.{claims}.{mark}"), None),
        "brings its own key": (token(private("mallory"), head=own), None),
        "unsigned": (bare(f"{coded({'alg': 'none', 'kid': 'first'})}.{claims}."), None),
        "unsigned, said otherwise": (bare(f"{coded({'alg': 'nOnE', 'kid': 'first'})}.{claims}."), None),
        "signature left out": (bare(f"{head}.{claims}."), None),
        "the public key as a secret": (bare(confused("HS256", pem, "sha256")), None),
        "the same, longer": (bare(confused("HS512", pem, "sha512")), None),
        "the modulus as a secret": (bare(confused("HS256", public("first")["n"].encode(), "sha256")), None),
        "another way to pad": (token(algorithm="PS256"), None),
        "a longer digest": (token(algorithm="RS512"), None),
        "a curve": (token(private("curve"), "ES256", head={"kid": "curve"}), {"curve": public("curve")}),
        "a curve's key, listed as RSA's": (token(), {"first": public("curve", alg="RS256", kid="first")}),
        "a key for hiding": (token(), {"first": public("first", use="enc")}),
        "a key for another algorithm": (token(), {"first": public("first", alg="PS256")}),
        "a secret listed as a key": (token(), {"first": {"kty": "oct", "k": "YQ", "kid": "first"}}),
        "a key that is none": (token(), {"first": {"kty": "RSA", "kid": "first"}}),
        "claims changed": (bare(f"{head}.{coded({'aud': ADDRESS, 'exp': NOW + 99})}.{mark}"), None),
        "one digit changed": (bare(good[:-10] + ("A" if good[-10] != "A" else "B") + good[-9:]), None),
        "run out": (token(exp=NOW - 1), None),
        "not yet": (token(nbf=NOW + LATE + 1), None),
        "made tomorrow": (token(iat=NOW + 86_400), None),
        "a time that is none": (token(exp="soon"), None),
        "for another attempt": (token(aud=ADDRESS[:-1] + "b"), None),
        "for another gateway": (token(aud=["https://other.example/hooks"]), None),
        "sent again later": ({**token(), "webhook-timestamp": str(NOW - LATE - 1)}, None),
        "two tokens": (bare(f"{good} {good}"), None),
        "huge": (bare(f"{head}.{'A' * 100_000}.{mark}"), None),
        "with a secret nobody has": (with_secret(standard()), None),
    }


def test_forged_tokens_are_refused() -> None:
    """Each way to make a token that Google did not sign, just now, for this address."""
    forged = forged_tokens()

    def is_taken(name: str) -> bool:
        headers, keys = forged[name]
        try:
            heard(headers, keys=keys)
        except ForgedError:
            return False
        return True

    assert 25 <= len(forged)
    assert [] == [name for name in forged if is_taken(name)]


@pytest.mark.parametrize(
    "headers",
    [
        with_secret(standard()), with_secret(f"v1a,x {standard(b'another')} {standard()}"),
        with_secret(standard(at=NOW - LATE), NOW - LATE), with_secret(standard(at=NOW + LATE), NOW + LATE),
    ],
    ids=["one", "the third of three", "as late as can be", "as early as can be"],
)  # fmt: skip
def test_what_the_secret_signed_is_taken(headers: dict[str, str]) -> None:
    """As Standard Webhooks has it; of several signatures one must be right."""
    heard(headers, google(SECRET))


SIGNATURES = {
    "none": {},
    "empty": with_secret(""),
    "another secret": with_secret(standard(b"another")),
    "an empty secret": with_secret(standard(b"")),
    "another body": with_secret(standard(body=BODY + b" ")),
    "another id": with_secret(standard(name="msg_2")),
    "no id": with_secret(standard(name=""), name=""),
    "another time": with_secret(standard(at=NOW - 1)),
    "too late": with_secret(standard(at=NOW - LATE - 1), NOW - LATE - 1),
    "too early": with_secret(standard(at=NOW + LATE + 1), NOW + LATE + 1),
    "1e9": with_secret(standard(at="1e9"), "1e9"),
    "a fraction": with_secret(standard(at=f"{NOW}.0"), f"{NOW}.0"),
    "a sign": with_secret(standard(at=f"+{NOW}"), f"+{NOW}"),
    "no time": with_secret(standard(at=""), ""),
    "other digits": with_secret(standard(at="١٢"), "١٢"),
    "a long time": with_secret(standard(at="9" * 400), "9" * 400),
    "v1a": with_secret("v1a" + standard()[2:]),
    "v2": with_secret("v2" + standard()[2:]),
    "no version": with_secret(standard()[3:]),
    "a letter added": with_secret(standard() + "A"),
    "a sign base64 drops": with_secret(standard()[:10] + "!" + standard()[10:]),
    "a comma alone": with_secret("v1,"),
    "spaces": with_secret(" " * 100),
    "in hexadecimal": with_secret("v1," + base64.b64decode(standard()[3:]).hex()),
    "not text": with_secret("v1,\u00ff\u00fe"),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_forged_signatures_are_refused(name: str) -> None:
    """Row 104, and what a lenient reader would let pass."""
    with pytest.raises(ForgedError):
        heard(SIGNATURES[name], google(SECRET))


def test_a_relay_signs_nothing_google_would() -> None:
    """Where an account leads elsewhere and has no secret for it, a call is a hint; a signature must still be good."""
    relay = google(base_url="https://relay.example")
    heard({}, relay)
    for headers in (with_secret(standard()), token(private("mallory"))):
        with pytest.raises(ForgedError):
            heard(headers, relay)
    assert HookKey("https://relay.example/.well-known/jwks.json", "first") == relay.hook_key(token())


@pytest.mark.parametrize("empty", ["", " ", "whsec_", "whsec_ "])
@pytest.mark.parametrize(
    ("slug", "name"), [("gemini", "GEMINI_WEBHOOK_SECRET"), ("aigenerate", "AIGENERATE_WEBHOOK_KEY")]
)
def test_an_empty_secret_stops_the_start(slug: str, name: str, empty: str) -> None:
    """Row 105: what is signed with nothing is signed by anybody."""
    listing = load(slug)
    for variable in (name, f"REELGATE_ACCOUNT_MAIN__{name}"):
        with pytest.raises(SettingsError, match=variable):
            secrets("main", listing, {variable: empty})
        assert {name: "x"} == secrets("main", listing, {variable: "x"})


# The keys


class Site:
    """Stand where the guard stands: answer with a list, or not at all."""

    def __init__(self) -> None:
        self.listed: list[dict[str, Any]] | bytes | None = [public("first")]
        self.asked: list[str] = []
        self.now = NOW * 1000
        self.keyring = Keyring(lambda: self, lambda: self.now)  # type: ignore[arg-type, return-value]

    async def fetch(self, address: str, write: Any, errand: Errand, *, owner: str) -> None:
        self.asked.append(address)
        if self.listed is None:
            raise FetchError("url_unreachable", "no")
        write(self.listed if isinstance(self.listed, bytes) else json.dumps({"keys": self.listed}).encode())

    async def has(self, kid: str) -> bool:
        """Whether a key is found."""
        return await self.keyring.find(HookKey(LIST, kid)) is not None


async def test_keys_are_asked_for_once() -> None:
    """A list is believed for an hour."""
    site = Site()
    assert [True] * 50 == [await site.has("first") for _ in range(50)]
    assert [LIST] == site.asked
    site.now += FRESH_MS + 1
    assert await site.has("first")
    assert [LIST] * 2 == site.asked


async def test_keys_change() -> None:
    """A new key is found at once, and an old one is forgotten with its list."""
    site = Site()
    assert await site.has("first")
    site.now += AGAIN_MS
    site.listed = [public("second", kid="second")]
    assert await site.has("second")
    assert not await site.has("first")


async def test_unknown_keys_ask_for_a_list_once_a_minute() -> None:
    """Whoever makes names up cannot have us ask again and again."""
    site = Site()
    assert [False] * 200 == [await site.has(f"k{number}") for number in range(200)]
    assert 1 == len(site.asked)
    site.now += AGAIN_MS
    assert not await site.has("k")
    assert 2 == len(site.asked)


async def test_a_list_that_cannot_be_had_is_no_verdict() -> None:
    """Known keys go on for a day; with none known the caller is asked to come again."""
    site = Site()
    site.listed = None
    with pytest.raises(FetchError):
        await site.has("first")
    site.now, site.listed = site.now + AGAIN_MS, [public("first")]
    assert await site.has("first")
    site.now, site.listed = site.now + STALE_MS, None
    assert await site.has("first")
    site.now += AGAIN_MS
    with pytest.raises(FetchError):
        await site.has("first")


@pytest.mark.parametrize("said", [b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": [1]}', b"[" * 100_000, b"\xff"])
async def test_a_list_that_is_none_is_not_believed(said: bytes) -> None:
    """Whatever comes in its place, there is no key in it."""
    site = Site()
    site.listed = said
    with pytest.raises(FetchError):
        await site.has("first")


# All of it


class _Google(BaseHTTPRequestHandler):
    """Be Google as far as an order that is never done, and the keys it signs with."""

    server: "Google"

    def do_POST(self) -> None:
        self.server.orders.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self._say(STANDING)

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        keys = self.path.endswith("/jwks.json")
        self._say({"keys": [public("first")]} if keys else STANDING)

    def _say(self, body: object) -> None:
        raw = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class Google(ThreadingHTTPServer):
    """Listen, and note what is asked."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        self.orders: list[dict[str, Any]] = []
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Google)
        self.place = f"127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def seller() -> Iterator[Google]:
    made = Google()
    yield made
    made.shutdown()
    made.server_close()


def test_a_forged_call_is_refused_and_a_signed_one_looks(tmp_path: Path, seller: Google) -> None:
    """The real gateway and the real adapter: the keys come through the guard, once; a forgery has no effect."""
    server = Server(
        tmp_path, REELGATE__ACCOUNTS__GEMINI__PROVIDER="gemini", REELGATE__NETWORK__ALLOW=f'["{seller.place}"]',
        REELGATE__ACCOUNTS__GEMINI__BASE_URL=f"http://{seller.place}", GEMINI_API_KEY="k", GEMINI_WEBHOOK_SECRET=SECRET,
    )  # fmt: skip
    server.environ["REELGATE__SERVER__PUBLIC_URL"] = server.url
    headers = {"authorization": f"Bearer {server.create_key('--name', 'app')}"}
    server.start()
    order = {"model": "gemini:google/gemini-omni-1.2-flash", "prompt": "a kite"}
    answer = httpx.post(f"{server.api}/videos", json=order, headers=headers, trust_env=False, timeout=20)
    assert 200 == answer.status_code, answer.text

    def video() -> dict[str, Any]:
        path = f"{server.api}/videos/{answer.json()['id']}"
        said: dict[str, Any] = httpx.get(path, headers=headers, trust_env=False).json()
        return said

    def looks() -> int:
        return sum(path.startswith("/v1/interactions/v1_a") for path in seller.asked)

    eventually(lambda: video()["status_detail"] == "generating", seconds=20)
    (url,) = seller.orders[0]["webhook_config"]["uris"]
    before, looked, now = video(), looks(), int(time.time())
    good = {**token(iat=now, exp=now + 60, aud=url), "webhook-timestamp": str(now)}
    for name, forged in {**SIGNATURES, **{name: each for name, (each, _) in forged_tokens().items()}}.items():
        wire = [(key, value.strip().encode("utf-8")) for key, value in forged.items()]
        if forged and len(forged["webhook-signature"]) < 10_000:
            assert 401 == httpx.post(url, content=BODY, headers=wire, trust_env=False).status_code, name
    assert (before, looked) == (video(), looks())
    assert 202 == httpx.post(url, content=BODY, headers=good, trust_env=False).status_code
    eventually(lambda: looks() > looked, seconds=4)
    assert 1 == seller.asked.count("/.well-known/jwks.json")
    assert 0 == server.stop()
    assert "hook.forged" in server.log.read_text()

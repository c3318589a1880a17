"""
Row 88, for every route there is: what belongs to another tenant answers exactly as what does not exist.

``routes.toml`` says how each route names things; here every call is made for every kind of stranger.
"""

import asyncio
import re
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from litestar.exceptions import LitestarDeprecationWarning
from litestar.routes import HTTPRoute

from gateway.app import create_app
from gateway.door.keys import SCOPES, hash_secret, new_secret
from gateway.events.vault import Vault
from gateway.ids import new_id
from gateway.settings import Settings
from gateway.store.registry import Key
from gateway.store.store import Store
from tests.abuse import wire
from tests.abuse.table import read
from tests.abuse.target import Target
from tests.abuse.wire import Answer
from tests.databases import store_in
from tests.server import eventually

TABLE: dict[str, list[Any]] = tomllib.loads((Path(__file__).parent / "routes.toml").read_text())["routes"]
CHANGING = ("date", "openai-processing-ms")
KINDS = ("video", "file", "endpoint", "delivery", "hook", "sha256")
BARE = {"hex": "video", "filehex": "file"}
"""Ids without their prefix: of what they are."""
PLACES = ("after=", "pageToken=")
"""What names a place in time: a list goes on from there, whoever's that is."""
BASE = "https://gw.example"


class Call(NamedTuple):
    """Hold one call of one route."""

    route: str
    scope: str
    path: str
    body: str = ""

    @property
    def method(self) -> str:
        """Say which method is used."""
        return self.route.partition(" ")[0]

    @property
    def kinds(self) -> list[str]:
        """Say what it names."""
        said = {BARE.get(each, each) for each in re.findall(r"<(\w+)>", self.path + self.body)}
        return sorted(said & {*KINDS})

    @property
    def destroys(self) -> bool:
        """Whether it may take away what it names."""
        return self.method == "DELETE" or self.path.endswith(("<video>/cancel", "/rotate_secret"))


def calls() -> Iterator[Call]:
    """Write the table out."""
    for route, (scope, *forms) in TABLE.items():
        for form in forms:
            path, body = (form, "") if isinstance(form, str) else form
            yield Call(route, scope, path, body)


CALLS = list(calls())
NAMING = [(call, kind) for call in CALLS for kind in call.kinds]


class House(NamedTuple):
    """Hold the server under test, what another tenant has there, and the keys of every kind of caller."""

    target: Target
    theirs: dict[str, str]
    keys: dict[str, str]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A tenant who has one of everything, and strangers with keys of every kind."""
    folder = tmp_path_factory.mktemp("isolation")
    target = Target(folder, tenants=2, REELGATE__SERVER__PUBLIC_URL=BASE)
    theirs = {
        "endpoint": target.endpoint(key="other"),
        "file": target.upload(read().contents["png"].encode("latin-1"), key="other"),
        "video": target.order("another's fox", key="other"),
    }
    keys = asyncio.run(make_keys(folder))
    assert "completed" == target.wait(theirs["video"], key="other")["status"]
    theirs["sha256"] = target.call("GET", f"/v1/files/{theirs['file']}", key="other").json["sha256"]
    log = f"/v1/webhook_endpoints/{theirs['endpoint']}/deliveries"
    eventually(lambda: target.call("GET", log, key="other").json["data"])
    theirs["delivery"] = target.call("GET", log, key="other").json["data"][0]["id"]
    attempt = target.call("GET", f"/v1/videos/{theirs['video']}/attempts", key="other").json["data"][0]["id"]
    theirs["hook"] = Vault((folder / "media" / "secret.key").read_bytes().strip()).hook_token(attempt)
    target.stop()
    # What the owner's calls make is not to be made.
    target.server.environ |= {"REELGATE__WORKER__ENABLED": "false", "REELGATE__SERVER__HOLD_SECONDS": "1"}
    target.server.start()
    yield House(target, theirs, {**keys, "stranger": target.own, "owner": target.other, "nobody": ""})
    assert "completed" == target.wait(theirs["video"], key="other")["status"]
    target.check_log()
    target.stop()


async def make_keys(folder: Path) -> dict[str, str]:
    """Make the other tenant's keys that may not do what it may: one out of force, and one without each scope."""
    store = Store(store_in(folder), lambda: 1)
    store.database.open(exclusive=False, makes=True)
    made: dict[str, str] = {}
    for name in ("revoked", *SCOPES):
        made[name] = new_secret()
        scopes = " ".join(each for each in SCOPES if each != name)
        ended = 2 if name == "revoked" else None
        key = Key(new_id("key", 1), name, "other", hash_secret(made[name]), scopes, 1, revoked_at=ended)
        await store.add_key(key)
    store.close()
    return made


def ghost(id_: str) -> str:
    """Write an id nobody has, made at the same time as one somebody has."""
    return id_[:-1] + ("0" if id_[-1] != "0" else "1")


def ask(house: House, call: Call, key: str, names: Mapping[str, str], kind: str = "") -> Answer:
    """Make a call under a request id of our choice, and put the id it is about out of the answer."""
    said = {**house.theirs, **names, "base": BASE}
    said |= {bare: said[kind_].partition("_")[2] for bare, kind_ in BARE.items()}

    def fill(text: str) -> str:
        return re.sub(r"<(\w+)>", lambda found: said[found[1]], text)

    raw = fill(call.body).encode()
    headers = {"Host": house.target.names["host"], "X-Request-Id": "the-same", "Content-Length": str(len(raw))}
    headers |= {"Authorization": f"Bearer {key}"} if key else {}
    headers |= {"Content-Type": "application/json"} if raw else {}
    with wire.open_to(house.target.server.port) as connection:
        answer = wire.exchange(
            connection, [wire.request(call.method, fill(call.path), headers.items()) + raw], call.method
        )
    kept = {name: value for name, value in answer.headers.items() if name not in CHANGING}
    body = answer.body
    for each in (said.get(kind, ""), *(said[bare] for bare, of in BARE.items() if of == kind)):
        body = body.replace(each.encode(), b"<id>") if each else body
    return answer._replace(headers=kept, body=body, seconds=0)


def naming(call: Call, kind: str) -> str:
    """Name a test after its call."""
    return f"{call.method} {call.path} {call.body[:120]} by {kind}".strip()


@pytest.mark.parametrize(("call", "kind"), NAMING, ids=[naming(*each) for each in NAMING])
def test_anothers_is_nobodys(house: House, call: Call, kind: str) -> None:
    """A stranger with a good key gets, byte for byte, the answer to an id nobody has; its owner gets another."""
    key = house.keys["stranger"] if call.scope != "open" else ""
    nobodys = ask(house, call, key, {kind: ghost(house.theirs[kind])}, kind)
    assert nobodys == ask(house, call, key, {}, kind)
    assert nobodys.status in {400, 403, 404, 415, 422} or any(each in call.path for each in PLACES)


OWNED = [
    (call, kind)
    for call, kind in NAMING
    if call.scope != "open" and (kind == "video" or not any(each in call.path for each in PLACES))
]
"""Calls that get their owner something else: a link or a hook has no owner, and most lists go by time alone."""


@pytest.mark.parametrize(("call", "kind"), OWNED, ids=[naming(*each) for each in OWNED])
def test_owner_is_let_in(house: House, call: Call, kind: str) -> None:
    """The same call of the owner's reads what it names: had it not, the other tests would show nothing."""
    target, own = house.target, house.keys["owner"]
    names = {}
    if call.destroys:
        fresh = {
            "video": lambda: target.order("[stuck]", key="other"),
            "endpoint": lambda: target.endpoint(key="other"),
        }
        png = read().contents["png"].encode("latin-1")
        names = {kind: fresh.get(kind, lambda: target.upload(png, key="other"))()}
    nobodys = ask(house, call, own, {kind: ghost(house.theirs[kind])}, kind)
    assert nobodys != ask(house, call, own, names, kind)


@pytest.mark.parametrize("call", [each for each in CALLS if each.scope != "open"], ids=lambda call: naming(call, "-"))
def test_nobody_else_learns_anything(house: House, call: Call) -> None:
    """Without a key, with one out of force or of too little scope, whatever is named the answer is the same refusal."""
    for status, key in ((401, "nobody"), (401, "revoked"), (403, call.scope)):
        theirs = ask(house, call, house.keys[key], {})
        assert status == theirs.status
        assert house.theirs["video"].removeprefix("video_").encode() not in theirs.body
        for kind in call.kinds:
            assert theirs == ask(house, call, house.keys[key], {kind: ghost(house.theirs[kind])})


async def served(folder: Path) -> dict[str, tuple[str, object]]:
    """Read off the application what it serves: by method and path, the scope it needs and what answers."""
    tree = {"store": {"url": f"sqlite:///{folder}/reelgate.db"}, "media": {"url": f"file:///{folder}/media"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LitestarDeprecationWarning)  # Of how handlers declare what is in a path.
        built = await create_app(msgspec.convert(tree, Settings), {})
    app = built.asgi._app._app
    app.state["desk"].store.close()
    return {
        f"{method} {route.path_format.replace(':str', '').replace(':path', '')}": (
            handler.opt.get("scope", "open"),
            handler.fn,
        )
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method, (handler, _) in route.route_handler_map.items()
        if method != "OPTIONS"
    }


async def test_every_route_has_a_row(tmp_path: Path) -> None:
    """A route nobody thought about here is named; one at the root is the same as at /v1, and HEAD the same as GET."""
    found = await served(tmp_path)
    bare = {name for name in found if (at := name.replace(" /", " /v1/", 1)) in found and found[at] == found[name]}
    heads = {name for name in found if name.startswith("HEAD ") and found.get(f"GET {name[5:]}") == found[name]}
    assert sorted({*found} - bare - heads) == sorted({*TABLE} - heads)
    assert {name: found[name][0] for name in TABLE} == {name: row[0] for name, row in TABLE.items()}
    assert all(len(row) > 1 for row in TABLE.values())
    assert all(
        set(re.findall(r"\{(\w+)\}", name)) <= {"provider", "name", "model", "token", "seal"} | PATHS for name in TABLE
    )


PATHS = {"video_id", "file_id", "endpoint_id", "delivery_id"}

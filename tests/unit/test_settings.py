"""Laws of configuration: what is written is what is meant, and a word nobody knows stops the start."""

from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from gateway.clock import DAY_MS
from gateway.configuration import load
from gateway.credentials import missing, secrets
from gateway.offers.accounts import adapter, open_accounts
from gateway.settings import AccountSettings, Settings, SettingsError
from providers.base.catalog import charge
from providers.base.listing import Secret
from providers.base.task import Usage
from providers.base.wire import HttpWire
from tests.make import listing, price

ROOT = Path(__file__).parents[2]


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


def test_the_file_we_ship_says_the_defaults() -> None:
    """``config.toml`` is complete and true: every key is there, with the value it has without the file."""
    text = (ROOT / "config.toml").read_text()

    assert load(ROOT / "config.toml", {}) == Settings()
    for section in Settings.__struct_fields__:
        assert f"[{section}" in text
    for record in (
        Settings().server,
        Settings().network,
        Settings().webhooks,
        Settings().store,
        Settings().media,
        Settings().routing,
        Settings().worker,
        AccountSettings,
    ):
        for name in record.__struct_fields__:
            assert f"\n{name} = " in text, name


def test_the_environment_overrides() -> None:
    """``REELGATE__SECTION__KEY`` wins over the file, whatever the type."""
    environ = {
        "REELGATE__SERVER__PORT": "9000",
        "REELGATE__SERVER__DOCS": "false",
        "REELGATE__ROUTING__ORDER": '["flow", "gemini"]',
        "REELGATE__ACCOUNTS__SANDBOX__MAX_RUNNING": "2",
        "UNRELATED": "x",
    }
    settings = load(ROOT / "config.toml", environ)

    assert (settings.server.port, settings.server.docs) == (9000, False)
    assert settings.routing.order == ["flow", "gemini"]
    assert settings.accounts["sandbox"].max_running == 2


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[server]\nprot = 1", "prot"),
        ("[sever]\nport = 1", "sever"),
        ("[server]\nmax_waiting = 0", "max_waiting"),
        ("[server]\nproxies = ['nginx']", "server.proxies"),
        ("[server]\nport = 'x'", "port"),
        ("[server]\nport = 70000", "port"),
        ("[worker]\nat_once = 0", "at_once"),
        ("[routing]\npolicy = 'dearest'", "policy"),
        ("[accounts.a]\nprovider = 'nobody'", "nobody"),
        ("[accounts.a]\nprovider = 'sandbox'\nplan = 'gold'", "gold"),
        ("[accounts.a]\nprovider = 'sandbox'\nbase_url = 'ftp://x'", "base_url"),
        ("[accounts.a]\nprovider = 'sandbox'\nmax_running = 0", "max_running"),
        ("[accounts.a]\nenabled = true", "provider"),
        ("[store]\nurl = 'mysql://x'", "mysql"),
        ("[media]\nurl = 'ftp://x'", "ftp"),
        ("[media]\nurl = 's3://'", "s3"),
        ("[media]\nurl = 's3://b/p?endpoint=x'", "endpoint=x"),
        ("[media]\nendpoint = 'minio:9000'", "media.endpoint"),
        ("[server]\nsendfile = 'x-accel:/clips/'\n[media]\nurl = 'gs://b'", "sendfile"),
        ("[server]\nsendfile = '/clips/'", "server.sendfile is '/clips/'; write .* like x-accel:/clips/"),
        ("[server]\nsendfile = 'x-accel:/clips'", "server.sendfile is 'x-accel:/clips'; write .* like x-accel:/clips/"),
        ("[server]\nsendfile = 'x-accel:/é/'", "server.sendfile is 'x-accel:/é/'; write"),
        ("not toml", "TOML"),
        ("[accounts.a]\nprovider = 'sandbox'\nbase_url = 'http://127.0.0.1:99999'", "accounts.a.base_url"),
        ("[accounts.a]\nprovider = 'sandbox'\nbase_url = 'https://'", "accounts.a.base_url"),
        ("[accounts.a]\nprovider = 'sandbox'\nbase_url = 'https://a b'", "accounts.a.base_url"),
        ("[store]\nurl = 'postgresql://db:99999/reelgate'", "store.url"),
        ("[store]\nurl = 'postgresql://a:5432,b:x/reelgate'", "store.url"),
        ("[server]\npublic_url = 'https://'", "server.public_url"),
        ("[server]\nhost = 'nonsense host'", "server.host"),
        ("[server]\nhost = '127.evil.example'", "server.host"),
        ("[server]\nlog_level = 'loud'", "server.log_level is 'loud'; write one of debug, info, warning, error"),
        ("[routing]\norder = ['vertx', 'gemini']", "routing.order names 'vertx'.*nearest is vertex"),
        ("[routing]\ndefault_model = 'nope'", "routing.default_model is 'nope'"),
        ("[aliases]\nsora-2 = ['google/veo3.1-fast']", r"aliases.sora-2 .*nearest .*google/veo-3\.1-fast"),
        ("[aliases]\n'x:y' = []", 'aliases."x:y" stands for nothing'),
        ("[routing.split]\nflwo = 1", "routing.split.flwo"),
        (
            "[accounts.a]\nprovider = 'sandbox'\n[accounts.b]\nprovider = 'sandbox'\nmax_runing = 1",
            "accounts.b.max_runing",
        ),
        ("[offers.'flow:google/veo-3.1']\nusd = '1'\nceling = true", 'offers."flow:google/veo-3.1".celing.*ceiling'),
        ("[offers.'flow:google/veo-9']\nusd = '1'", "nearest are flow:google/veo-3"),
        ("[network]\nports = ['x']", "network.ports"),
        ("[routing]\nprice_ceiling_usd = 'two'", "routing.price_ceiling_usd is 'two'"),
        ("[budget]\nday_usd = '99999999999999'", "budget.day_usd is '99999999999999'.* and 12 digits before"),
        ("[budget]\nday_usd = '0.0000001'", "budget.day_usd .*at most 6 decimals"),
        ("[accounts.a]\nprovider = 'aigenerate'\nusd_credit = 'half a cent'", 'accounts.a.usd_credit .*"0.005"'),
        ("[accounts.a]\nprovider = 'flow'\nplan = 'pro'\nusd_credit = '0.02'", "accounts.a.usd_credit .*plan says"),
    ],
)
def test_a_mistake_stops_the_start_and_is_named(tmp_path: Path, text: str, named: str) -> None:
    """The message names the file and the word."""
    path = write(tmp_path, text)
    with pytest.raises(SettingsError, match=named) as caught:
        load(path, {})

    assert str(path) in str(caught.value) or named in {"mysql", "s3"}


@pytest.mark.parametrize(("clips", "jobs", "kept"), [(30, 0, 30), (0, 0, 0), (0, 90, 90), (30, 90, 30), (30, 7, 7)])
def test_no_clip_outlives_its_job(clips: int, jobs: int, kept: int) -> None:
    """It says when it goes as it is made, so a shorter time that jobs are kept for is its own."""
    written = {"REELGATE__MEDIA__RETENTION_DAYS": f"{clips}", "REELGATE__STORE__RETENTION_DAYS": f"{jobs}"}
    settings = load(None, written)

    assert (jobs * DAY_MS, kept * DAY_MS) == (settings.jobs_ms, settings.clips_ms)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("https://cdn.example.com/", "cdn.example.com"),
        ("https://u@cdn.example.com:8443/a.mp4?x", "cdn.example.com"),
        ("CDN.Example.com", "cdn.example.com"),
        ("cdn.example.com:443", "cdn.example.com"),
        ("cdn.example.com.", "cdn.example.com"),
        (" cdn.example.com ", "cdn.example.com"),
        ("*.CDN.example.com", "*.cdn.example.com"),
        ("clés.example.com", "xn--cls-cma.example.com"),
        ("*", "a host alone, like"),
        ("", "a host alone, like"),
        ("*.", "a host alone, like"),
        ("*.10.0.0.1", "a host alone, like"),
        (".example.com", "a host alone, like"),
        ("cdn.*.com", "a host alone, like"),
    ],
)
def test_a_host_no_clip_can_match_is_refused_with_what_to_write(tmp_path: Path, given: str, meant: str) -> None:
    """What was never matched would lose clips that are paid; what it says to write is taken, and matches."""
    text = "[accounts.a]\nprovider = 'flow'\nclip_hosts = ['{}']"
    with pytest.raises(SettingsError) as caught:
        load(write(tmp_path, text.format(given)), {})
    said = str(caught.value)

    assert f"accounts.a.clip_hosts names {given!r}" in said
    assert meant in said
    if "like" in meant:
        return
    kept = load(write(tmp_path, text.format(meant)), {}).accounts["a"].clip_hosts
    assert listing(hosts=kept).fetches(meant.replace("*", "eu"))


def test_an_override_nobody_knows_stops_the_start() -> None:
    """So does a misspelt variable."""
    with pytest.raises(SettingsError, match="prot"):
        load(None, {"REELGATE__SERVER__PROT": "1"})
    with pytest.raises(SettingsError, match="SECTION"):
        load(None, {"REELGATE__PORT": "1"})


def test_what_is_wrong_in_a_variable_is_said_of_the_variable(tmp_path: Path) -> None:
    """The file is not blamed for what the environment lays over it, nor the other way."""
    path = write(tmp_path, "[server]\nport = 9000\nlog_level = 'loud'\n")
    with pytest.raises(SettingsError, match=r"^REELGATE__SERVER__PORT: server\.port") as caught:
        load(path, {"REELGATE__SERVER__PORT": "eighty", "REELGATE__SERVER__LOG_LEVEL": "info"})
    assert str(path) not in str(caught.value)
    with pytest.raises(SettingsError, match=r"^REELGATE__ROUTING__ORDER: routing\.order"):
        load(None, {"REELGATE__ROUTING__ORDER": '["vertx"]'})
    with pytest.raises(SettingsError, match=r"config\.toml: server\.log_level"):
        load(path, {"REELGATE__SERVER__PORT": "9001"})


@pytest.mark.parametrize("alias", ["google/veo-3.1", "flow:google/veo-3.1", "auto", "gemini:auto"])
def test_a_model_any_seller_has_may_be_named(tmp_path: Path, alias: str) -> None:
    """Whether there is an account for it or not: that may change any day."""
    path = write(tmp_path, f'[routing]\ndefault_model = "mine"\n[aliases]\nmine = "{alias}"')

    assert load(path, {}).aliases == {"mine": alias}


def test_aliases_of_ones_own_need_not_hold_the_default_model(tmp_path: Path) -> None:
    """Who names each model in every call needs no default."""
    assert load(write(tmp_path, '[aliases]\n"veo3.1" = "google/veo-3.1"'), {}).routing.default_model == "sora-2"


@pytest.mark.parametrize("given", ["k\r", "k\n", " k\r\n"])
def test_a_secret_ends_where_its_line_does(given: str) -> None:
    """Files of variables come from every system: what ends their lines is no part of a key."""
    sold = listing(secrets=[Secret(name="ACME_TOKEN", what="t")])

    assert {"ACME_TOKEN": "k"} == secrets("acme", sold, {"ACME_TOKEN": given})
    assert missing("acme", sold, {"ACME_TOKEN": "\r\n"}) == ["ACME_TOKEN"]


@pytest.mark.parametrize("given", ["top\rsecret", "top\0secret", "töpsecret", "topsecret\ud800"])
def test_a_secret_no_call_can_carry_is_refused(given: str) -> None:
    """By its variable's name; nothing of it is repeated."""
    sold = listing(secrets=[Secret(name="ACME_TOKEN", what="t"), Secret(name="ACME_PLACE", what="p", public=True)])
    own = "REELGATE_ACCOUNT_ACME__ACME_TOKEN"
    with pytest.raises(SettingsError, match=own) as caught:
        secrets("acme", sold, {own: given, "ACME_TOKEN": "fine", "ACME_PLACE": "/srv/clés"})

    assert "secret" not in str(caught.value).removeprefix(own)
    assert secrets("acme", sold, {"ACME_PLACE": "/srv/clés"}) == {"ACME_PLACE": "/srv/clés"}


def test_secrets_come_by_the_names_the_listing_gives() -> None:
    """An account's own variable is read before the shared one; what is missing is named."""
    sold = listing(secrets=[Secret(name="ACME_TOKEN", what="t"), Secret(name="ACME_REGION", what="r", required=False)])
    environ = {"ACME_TOKEN": "shared", "REELGATE_ACCOUNT_ACME_MAIN__ACME_TOKEN": "own"}

    assert secrets("acme-main", sold, environ) == {"ACME_TOKEN": "own"}
    assert secrets("other", sold, environ) == {"ACME_TOKEN": "shared"}
    assert missing("acme-main", sold, {}) == ["ACME_TOKEN"]


def test_a_reseller_never_gets_anothers_key() -> None:
    """Who speaks Gemini's dialect is not Google: only the account's own variable is its secret."""
    sold = listing("acme", dialect="gemini", secrets=[Secret(name="GEMINI_API_KEY", what="k")])
    own = "REELGATE_ACCOUNT_ACME_EU__GEMINI_API_KEY"

    assert secrets("acme-eu", sold, {"GEMINI_API_KEY": "google's"}) == {}
    assert missing("acme-eu", sold, {"GEMINI_API_KEY": "google's"}) == [own]
    assert secrets("acme-eu", sold, {"GEMINI_API_KEY": "google's", own: "acme's"}) == {"GEMINI_API_KEY": "acme's"}


def test_accounts_that_cannot_be_used_are_held_with_a_reason() -> None:
    """A disabled account is named, not dropped in silence."""
    settings = Settings(
        accounts={"on": AccountSettings(provider="sandbox"), "off": AccountSettings(provider="sandbox", enabled=False)}
    )
    way = httpx.AsyncHTTPTransport()
    accounts, held = open_accounts(settings, {}, way, lambda auth: HttpWire(way, auth), sandbox_only=True)

    assert list(accounts) == ["on"]
    assert [(each.account, each.reason) for each in held] == [("off", "enabled = false")]


@pytest.mark.parametrize(("usd_credit", "charged"), [("", None), ("0.005", 300_000)])
def test_credits_charged_beat_the_price_once_a_credit_has_one(usd_credit: str, charged: int | None) -> None:
    """AI Generate says how many it took; what one costs the operator knows, and of this account alone."""
    mine = AccountSettings(provider="aigenerate", usd_credit=usd_credit)
    settings = Settings(accounts={"mine": mine, "other": AccountSettings(provider="aigenerate")})
    way, environ = httpx.AsyncHTTPTransport(), {"AIGENERATE_API_KEY": "sk-aig-1"}
    accounts, _ = open_accounts(settings, environ, way, lambda auth: HttpWire(way, auth), sandbox_only=False)
    line, said = price("0.40", per="video"), Usage(credits=Decimal(60))

    assert charged == charge(accounts["mine"].listing, line, said, on=line.since)
    assert None is charge(accounts["other"].listing, line, said, on=line.since)
    assert accounts["mine"].seller(0).listing is accounts["mine"].listing


def test_every_listing_has_an_adapter() -> None:
    """A dialect named in a listing is a module here."""
    assert adapter("sandbox").__name__ == "Sandbox"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://reelgate:hunter2@db/reelgate",
        "postgres://reelgate:hunter/2@db",
        "postgresql://db/reelgate?password=hunter2",
        "postgresql+asyncpg://reelgate:hunter2@db/reelgate",
        "postgresql+asyncpg://db/reelgate?password=hunter2",
    ],
)
def test_a_password_is_not_written_into_the_file(tmp_path: Path, url: str) -> None:
    """It belongs in the environment, and no message repeats it; there even the whole URL may be."""
    with pytest.raises(SettingsError, match="REELGATE_STORE_PASSWORD") as caught:
        load(write(tmp_path, f'[store]\nurl = "{url}"\n'), {})
    assert "hunter" not in str(caught.value)
    environ = {"REELGATE__STORE__URL": url}
    if url.startswith("postgresql+"):
        with pytest.raises(SettingsError, match="is not served") as caught:
            load(None, environ)
        assert "hunter" not in str(caught.value)
    else:
        assert load(None, environ).store.url == url


@pytest.mark.parametrize("url", ["mysql://db/reelgate", "sqlite:///", "reelgate.db", "postgresql:reelgate"])
def test_a_store_nobody_speaks_to_is_refused(url: str) -> None:
    """The message says which URLs there are."""
    with pytest.raises(SettingsError, match=r"postgresql://USER@HOST/DATABASE"):
        load(None, {"REELGATE__STORE__URL": url})

"""Laws of configuration: what is written is what is meant, and a word nobody knows stops the start."""

from pathlib import Path

import httpx
import pytest

from gateway.accounts import adapter, open_accounts
from gateway.settings import Account, Settings, SettingsError, load, missing, secrets
from providers.base.listing import Secret
from providers.base.wire import HttpWire
from tests.make import listing

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
        Account,
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
        ("not toml", "TOML"),
    ],
)
def test_a_mistake_stops_the_start_and_is_named(tmp_path: Path, text: str, named: str) -> None:
    """The message names the file and the word."""
    path = write(tmp_path, text)
    with pytest.raises(SettingsError, match=named) as caught:
        load(path, {})

    assert str(path) in str(caught.value) or named in {"mysql", "s3"}


def test_an_override_nobody_knows_stops_the_start() -> None:
    """So does a misspelt variable."""
    with pytest.raises(SettingsError, match="prot"):
        load(None, {"REELGATE__SERVER__PROT": "1"})
    with pytest.raises(SettingsError, match="SECTION"):
        load(None, {"REELGATE__PORT": "1"})


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
    settings = Settings(accounts={"on": Account(provider="sandbox"), "off": Account(provider="sandbox", enabled=False)})
    way = httpx.AsyncHTTPTransport()
    accounts, held = open_accounts(settings, {}, way, lambda auth: HttpWire(way, auth), sandbox_only=True)

    assert list(accounts) == ["on"]
    assert [(each.account, each.reason) for each in held] == [("off", "enabled = false")]


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

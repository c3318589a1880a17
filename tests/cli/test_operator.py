"""Laws of what an operator meets: a mistake is said in a line that names what to change, and nothing is made by it."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.common import UsageError, signed
from gateway.store.database import migrations
from tests.databases import free_port
from tests.server import ROOT

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in an empty folder: its exit code, what it printed, and what it complained of."""
    monkeypatch.chdir(tmp_path)
    # What a gateway sets for its whole process is not for the one that runs the tests.
    monkeypatch.setattr("gateway.telemetry.start_logging", lambda _: None)
    monkeypatch.setattr("sys.setswitchinterval", lambda _: None)

    def command(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(words)
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return command


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"REELGATE_SECRET_KEY": "short"}, "REELGATE_SECRET_KEY"),
        ({"REELGATE__STORE__URL": "sqlite:///garbage/reelgate.db"}, "garbage"),
        ({"REELGATE__STORE__URL": "sqlite:///garbage"}, "garbage"),
        ({"REELGATE__STORE__URL": "sqlite:///folder"}, "folder is a folder"),
        ({"REELGATE__STORE__URL": "postgresql://me@127.0.0.1:1/reelgate"}, "127.0.0.1:1/reelgate"),
        ({"REELGATE__STORE__URL": "postgresql://me@127.0.0.1:99999/reelgate"}, "REELGATE__STORE__URL"),
        ({"REELGATE__MEDIA__URL": "file:///garbage"}, "garbage"),
        ({"REELGATE__MEDIA__URL": "file:///garbage/media"}, "garbage"),
        ({"REELGATE__SERVER__HOST": "203.0.113.9"}, "203.0.113.9"),
        ({"REELGATE__SERVER__HOST": "0.0.0.0"}, "reelgate keys create"),
        ({"REELGATE__SERVER__HOST": "nonsense host"}, "nonsense host"),
        ({"REELGATE__ROUTING__DEFAULT_MODEL": "nope"}, "nope"),
        ({"GEMINI_API_KEY": "clé", "REELGATE__ACCOUNTS__G__PROVIDER": "gemini"}, "GEMINI_API_KEY"),
    ],
)
def test_check_says_no_to_what_serve_refuses(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], named: str
) -> None:
    """Neither starts, both name what to change in a line, and no traceback is shown; checking makes nothing."""
    (tmp_path / "garbage").write_bytes(b"no database at all" * 100)
    (tmp_path / "folder").mkdir()
    for name, value in {"REELGATE__SERVER__PORT": str(free_port()), **environ}.items():
        monkeypatch.setenv(name, value)
    code, out, err = run("check")
    assert (True, True) == (code > 0, named in out + err)
    assert {"garbage", "folder"} == {each.name for each in tmp_path.iterdir()}

    code, _, err = run("serve")
    assert (2, 1, True, True) == (code, err.count("\n"), err.startswith("reelgate: "), named in err)


@pytest.mark.parametrize("url", ["me:hunter2@127.0.0.1:1/reelgate", "127.0.0.1:1/reelgate?user=me&password=hunter2"])
@pytest.mark.parametrize("words", ["serve", "check", "doctor"])
def test_a_database_that_is_away_is_named_without_its_password(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: str, url: str
) -> None:
    """Its host, port and name are what has to be looked at."""
    monkeypatch.setenv("REELGATE__STORE__URL", f"postgresql://{url}")
    monkeypatch.setenv("REELGATE__SERVER__PORT", str(free_port()))
    code, out, err = run(words)

    assert (True, True) == (code > 0, "PostgreSQL at 127.0.0.1:1/reelgate (store.url) cannot be reached" in out + err)
    assert "hunter2" not in out + err


def test_check_says_yes_to_what_is_made_at_the_start(run: Run, tmp_path: Path) -> None:
    """Nothing is there yet, and nothing is made: a first start would."""
    assert run("check")[0] == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("[aliases]\n'veo' = 'google/veo-3.1'", True),
        ("[aliases]\n'veo' = 'google/veo-3.1'\n[routing]\ndefault_model = 'veo'", False),
        ("[aliases]\n'veo' = 'google/veo-3.1'\n[routing]\ndefault_model = 'google/veo-3.1'", False),
        ("", False),
    ],
)
def test_check_warns_of_a_default_nobody_sells(run: Run, tmp_path: Path, text: str, warned: bool) -> None:
    """Whose aliases leave it out may mean that, so nothing stands in the way."""
    (tmp_path / "config.toml").write_text(text)
    code, out, _ = run("check")

    assert (0, warned) == (code, "routing: default_model is 'sora-2', which [aliases] leave out" in out)


def test_check_leaves_an_older_store_as_it_is(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway upgrades it when it starts, so nothing is wrong; whoever looks first changes nothing."""
    monkeypatch.setenv("REELGATE__STORE__URL", "sqlite:///old.db")
    assert run("keys", "create", "--name", "me")[0] == 0
    before = (tmp_path / "old.db").read_bytes()
    newer = [*migrations(), (migrations()[-1][0] + 1, "CREATE TABLE later (id TEXT PRIMARY KEY);\n")]
    monkeypatch.setattr("gateway.store.database.migrations", lambda: newer)
    code, out, err = run("check")
    assert (code, err) == (0, "")
    assert "start the gateway" in out
    assert before == (tmp_path / "old.db").read_bytes()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_port_has_one_gateway(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Whoever listens there, even one that would share it: a second is refused before it opens anything."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setenv("REELGATE__SERVER__HOST", host)
        monkeypatch.setenv("REELGATE__SERVER__PORT", str(port))
        code, out, err = run("serve")
        assert (2, "") == (code, out)
        assert f"server.port {port} is in use on {host}" in err
        monkeypatch.setenv("REELGATE__STORE__URL", "postgresql://me@127.0.0.1:1/reelgate")
        monkeypatch.setenv("REELGATE__SERVER__PORT", "8080")
        monkeypatch.setenv("REELGATE__WORKER__PORT", str(port))
        assert f"worker.port {port} is in use" in run("work")[2]

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        "doctor",
        "spend",
        "compare",
        "halt",
        "go-on",
        "keys list",
        "keys revoke key_1",
        "jobs unknown",
        "jobs in-doubt",
        "media gc",
    ],
)
def test_a_command_in_the_wrong_folder_says_so(run: Run, tmp_path: Path, words: str) -> None:
    """It answers nothing of a store that is not there, and makes none."""
    code, out, err = run(*words.split())

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "data/reelgate.db does not exist" in err
    assert list(tmp_path.iterdir()) == []


def test_the_first_key_comes_before_the_first_start(run: Run) -> None:
    """A gateway that listens to the world needs one to start; the store is made for it, and then there to be read."""
    assert run("keys", "create", "--name", "first")[0] == 0

    assert run("keys", "list")[1].rstrip().endswith("first")
    assert run("doctor")[0] == 0


@pytest.mark.parametrize("url", ["foo", "127.0.0.1:8080", "ftp://127.0.0.1", "http://", "http://127.0.0.1:99999"])
@pytest.mark.parametrize("words", ["generate kite", "watch video_1", "quote kite", "webhooks list"])
def test_what_is_no_address_is_not_waited_for(run: Run, words: str, url: str) -> None:
    """It is refused at once, with what it should look like: no restart brings a gateway there."""
    code, _, err = run(*words.split(), "--url", url)

    assert (2, 1) == (code, err.count("\n"))
    assert f"'{url}'" in err
    assert "http://127.0.0.1:8080" in err


def test_an_api_key_ends_where_its_line_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one no header can carry is refused by its name, never repeated."""
    monkeypatch.setenv("REELGATE_API_KEY", "rg_key\r\n")
    assert {"authorization": "Bearer rg_key"} == signed()
    monkeypatch.setenv("REELGATE_API_KEY", "rg_clé")
    with pytest.raises(UsageError, match="REELGATE_API_KEY") as caught:
        signed()
    assert "rg_" not in str(caught.value)


def test_what_the_disk_refuses_is_said_in_a_line(run: Run, tmp_path: Path) -> None:
    """Whichever command it is that meets it."""
    (tmp_path / "file").touch()
    code, _, err = run("demo", "--out", "file/clip/kite.mp4")

    assert (2, 1) == (code, err.count("\n"))
    assert "file/clip: Not a directory" in err


def test_a_link_to_nothing_is_no_configuration(run: Run, tmp_path: Path) -> None:
    """The defaults are not what whoever made the link meant."""
    (tmp_path / "config.toml").symlink_to(tmp_path / "gone.toml")
    for words in (["check"], ["check", "--config", "config.toml"]):
        code, _, err = run(*words)
        assert (2, 1, True) == (code, err.count("\n"), "config.toml leads to nothing" in err)


def test_a_variable_set_to_nothing_names_no_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where it is not set."""
    monkeypatch.setenv("REELGATE_CONFIG", "")
    assert (0, "") == run("check")[::2]


def test_a_file_may_begin_as_windows_writes_it(run: Run, tmp_path: Path) -> None:
    """With a byte order mark."""
    (tmp_path / "config.toml").write_text("[server]\nhsot = 1\n", encoding="utf-8-sig")
    assert "server.hsot is no key there is" in run("check")[2]


def test_nobody_has_to_read_to_the_end() -> None:
    """``reelgate table | head -1`` ends without a word."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "table"], stdout=write, stderr=subprocess.PIPE, cwd=ROOT, timeout=60
    )
    os.close(write)

    assert (1, b"") == (done.returncode, done.stderr)


@pytest.mark.parametrize("words", [["--help"], ["-h"], []])
def test_every_command_is_listed_with_what_it_does(words: list[str]) -> None:
    """In a new process, which has loaded none of them."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", *words], capture_output=True, cwd=ROOT, timeout=60, check=True, text=True
    )
    listed = dict(re.findall(r"^│ ([a-z][a-z-]*) {2,}(.*?) *│$", done.stdout, re.MULTILINE))

    assert {"serve", "keys", "doctor", "new-provider"} < {*listed}
    assert all(said[:1].isupper() for said in listed.values()), listed


def test_the_version_is_the_packages(run: Run) -> None:
    """What an operator names in a report is what is installed."""
    assert (0, f"{version('reelgate')}\n", "") == run("--version")


@pytest.mark.parametrize(("option", "number"), [("--jobs", "9" * 20), ("--days", "9" * 12), ("--jobs", "0")])
def test_a_limit_no_row_can_hold_is_refused(run: Run, tmp_path: Path, option: str, number: str) -> None:
    """When the key is made, and not by every call that is made with it."""
    code, out, err = run("keys", "create", "--name", "x", option, number)

    assert (True, "") == (code > 0, out)
    assert option in err
    assert list(tmp_path.iterdir()) == []

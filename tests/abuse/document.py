"""
Ask what our OpenAPI document allows, and much that it does not, of a real server: schemathesis, told what it needs.

Its own process keeps its plugin, its settings of Hypothesis and its threads out of the other tests.
"""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.abuse.table import read
from tests.abuse.target import Target
from tests.server import ROOT

SEED = 20261121
KEPT_OUT = {
    "positive_data_acceptance": "what is sold, and to whom a word may be said, is more than a schema can tell",
    "object_level_authorization": "test_isolation.py asks that of every route, the undocumented ones as well",
}
"""Checks that are not made, and why."""
CONFIG = """\
[parameters]
"path.file_id" = {file}
"path.video_id" = {done}
"path.endpoint_id" = {endpoint}
"path.model" = "sandbox/demo"

# What a run removes, or keeps open until it ends, is nobody else's.
[[operations]]
include-operation-id = ["deleteVideo", "cancelVideo"]
parameters = {{ "path.video_id" = {busy} }}

[[operations]]
include-operation-id = "deleteFile"
parameters = {{ "path.file_id" = {spare} }}

[[operations]]
include-operation-id = "deleteWebhookEndpoint"
parameters = {{ "path.endpoint_id" = {gone} }}
"""


def prepare(folder: Path) -> Target:
    """Start a server with one thing of every kind, that takes jobs and makes none of them any more."""
    target = Target(folder)
    png = read().contents["png"].encode("latin-1")
    names = target.names
    names["done"] = target.order("a red fox")
    names["file"], names["spare"] = target.upload(png), target.upload(png)
    names["endpoint"], names["gone"] = target.endpoint(), target.endpoint()
    assert "completed" == target.wait(names["done"])["status"]
    target.check_log()
    target.stop()
    target.server.environ["REELGATE__WORKER__ENABLED"] = "false"
    target.server.start()
    names["busy"] = target.order("a blue fox")
    return target


def ask(
    target: Target, *, examples: int, seconds: int = 0, without: Iterable[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Ask so many questions of every operation, the same ones every time; or other ones until a time is over."""
    config = target.server.folder / "schemathesis.toml"
    config.write_text(CONFIG.format_map({name: repr(value) for name, value in target.names.items()}))
    words = (
        *("--config-file", config, "run", f"{target.server.url}/openapi.json"),
        *("-H", f"Authorization: Bearer {target.own}", "--seed", SEED, "--no-color", "--phases", "coverage,fuzzing"),
        *("--exclude-checks", ",".join(KEPT_OUT), "--continue-on-failure", "--warnings", "off"),
        *("--max-examples", examples, "--request-timeout", 10, *(["--max-time", seconds] if seconds else [])),
        *("--generation-database", "none", *(f"--exclude-operation-id={each}" for each in without)),
    )
    return subprocess.run(
        [Path(sys.executable).parent / "st", *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.abuse.shape"},
        cwd=target.server.folder,
        capture_output=True,
        text=True,
        timeout=seconds + 120,
    )

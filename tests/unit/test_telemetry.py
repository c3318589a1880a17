"""Laws of the log and of the figures: one JSON object on one line, and counts that stay few and are documented."""

import json
import re
import subprocess
import sys

import pytest

from gateway.money.ledger import About, Hold, close
from gateway.offers.timing import Timed
from gateway.telemetry import MOST_KEYS, Metrics
from providers.base.errors import Unavailable
from providers.base.wire import Call, Reply
from tests.server import ROOT

PROGRAM = """
import logging
import structlog
from gateway.telemetry import start_logging

start_logging("info")
structlog.get_logger().info("job.ended", job="video_1")
try:
    raise OSError("no such host")
except OSError:
    logging.getLogger("asyncpg.pool").warning("cannot %s", "connect", exc_info=True)
logging.getLogger("asyncpg.pool").info("which nobody asked for")
"""


def test_a_library_speaks_as_we_do() -> None:
    """What a library warns of is an event too, its traceback within the line; what it merely mentions is left out."""
    said = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True).stderr
    ours, theirs = map(json.loads, said.splitlines())

    assert (ours["event"], ours["level"], ours["job"]) == ("job.ended", "info", "video_1")
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("cannot connect", "warning", "asyncpg.pool")
    assert theirs["exception"].endswith("OSError: no such host")
    assert theirs.keys() == {"event", "level", "logger", "timestamp", "exception"}


def test_what_is_spent_is_counted_once_it_is() -> None:
    """By provider, model and key, excess included; what is given back is not, and keys without end are one."""
    metrics = Metrics()

    def spend(owner: str, held: int, charge: int | None) -> float:
        _, postings = close(
            About("video_1", owner, "acme:maker/model", "main"), Hold(usd_micros=held, owner=owner), charge, 0
        )
        metrics.spent(postings)
        labels = {"provider": "acme", "model": "maker/model", "key": owner}
        return metrics.registry.get_sample_value("reelgate_spend_usd_total", labels) or 0

    assert [0.2, 0.2, 0.2] == [spend("key_1", 500_000, charge) for charge in (200_000, 0, None)]
    assert pytest.approx(0.7) == spend("key_1", 400_000, 500_000)
    for number in range(2, MOST_KEYS + 1):
        assert spend(f"key_{number}", 1, 1)
    assert 0 == spend("key_too_many", 1, 1)
    assert pytest.approx(0.700001) == spend("key_1", 1, 1)
    assert b'key="others"' in metrics.exposition()
    assert MOST_KEYS + 1 == metrics.exposition().count(b"reelgate_spend_usd_total{")


async def test_providers_are_timed_by_what_is_asked_of_them() -> None:
    """What buys apart from what does not; a call that nobody answers took its time as well."""
    metrics = Metrics()

    class Silent:
        async def send(self, call: Call) -> Reply:
            if call.repeatable:
                raise Unavailable("nobody there")
            return Reply(status=200, headers={}, body=b"")

    wire = Timed(Silent(), metrics, "acme")  # type: ignore[arg-type]
    call = Call(method="POST", url="https://acme.test/", repeatable=False)
    assert 200 == (await wire.send(call)).status
    for _ in range(2):
        with pytest.raises(Unavailable):
            await wire.send(Call(method="GET", url="https://acme.test/", repeatable=True))
    counted = {
        kind: metrics.registry.get_sample_value(
            "reelgate_provider_call_seconds_count", {"provider": "acme", "call": kind}
        )
        for kind in ("order", "look")
    }
    assert {"order": 1, "look": 2} == counted


def test_every_figure_is_documented() -> None:
    """The table says each by the name it has on the page, with its labels, and none that there is not."""
    table = (ROOT / "docs" / "running.md").read_text().partition("## What it counts")[2]
    lines = [line for line in table.splitlines() if line.startswith("| `reelgate_")]
    said = {
        name: set(re.findall(r"`(\w+)`", line.split("|")[2]))
        for line in lines
        for name in re.findall(r"`(reelgate_\w+)`", line.split("|")[1])
    }
    there = {}
    for each in Metrics().registry._names_to_collectors.values():
        (family,) = each.describe()
        there[family.name + "_total" * (family.type == "counter")] = {*each._labelnames}
    assert there.keys() == said.keys()
    assert {} == {name: labels for name, labels in there.items() if not labels <= said[name]}


UNREAD = """
import logging, sys
import structlog
from gateway.telemetry import start_logging

sys.stdin.read()  # Until nobody reads what is said.
start_logging("info")
for number in range(3):
    structlog.get_logger().error("said", number=number)
    logging.getLogger("another").warning("said too")
print("works on")
"""


@pytest.mark.parametrize("closed", [False, True])
def test_a_log_nobody_reads_stops_nobody(*, closed: bool) -> None:
    """Its reader may be gone, and there may be none at all: who works goes on."""
    command = [sys.executable, "-c", UNREAD]
    if closed:
        command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as program:
        assert program.stdin
        assert program.stdout
        assert program.stderr
        program.stderr.close()
        program.stdin.close()
        assert program.stdout.read() == "works on\n"

"""Law of the log: whoever says something, it is one JSON object on one line."""

import json
import subprocess
import sys

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

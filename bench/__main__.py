"""Run the bench: ``python -m bench [accepted|postgres|sustained|read|...|flight|recovery|life|all]``."""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import clips, report, servers
from bench.measures import Bench, Figures, MeasureError

MEASURES = {
    "accepted": ("peer", "accepted"),
    "postgres": ("accepted", "shared"),
    "sustained": ("peer", "sustained"),
    "read": ("peer", "read"),
    "quotes": ("quotes",),
    "content": ("nginx", "content"),
    "start": ("peer_start", "start"),
    "memory": ("peer_start", "start", "memory"),
    "rehost": ("rehost",),
    "flight": ("flight", "flight_shared"),
    "recovery": ("recovery", "recovery_shared"),
    "life": ("life", "life_shared"),
    "all": (
        "peer_start",
        "start",
        "peer",
        "accepted",
        "shared",
        "sustained",
        "read",
        "quotes",
        "nginx",
        "content",
        "memory",
        "rehost",
    ),
}


def main() -> int:
    """Measure, print the table, and say by the exit status whether every measure could be taken."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    servers.pin_load()
    if len(servers.CORES) < 2:
        _say("one core only: servers and load share it, and no figure means much")
    peer = not asked.no_litellm
    if peer and set(MEASURES[asked.measure]) & {"peer", "peer_start"} and (why := servers.prepare_litellm()):
        _say(f"LiteLLM is left out: {why}")
        peer = False
    if "nginx" in MEASURES[asked.measure] and servers.nginx_path() is None:
        _say("nginx is not installed: content is measured without its comparison")
    begun = time.perf_counter()
    rounds, failed = _rounds(asked, peer=peer)
    print(f"\n{report.table(rounds)}\n")
    print(f"{asked.rounds} rounds in {time.perf_counter() - begun:.0f} s; medians. Quote the ratios, not the figures.")
    if asked.json:
        told = {"machine": _machine(), "rounds": rounds, **report.summary(rounds)}
        asked.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return 1 if failed else 0


def _rounds(asked: argparse.Namespace, *, peer: bool) -> tuple[list[Figures], bool]:
    """Take every measure in every round; one that fails is reported and leaves the others be."""
    rounds: list[Figures] = []
    failed = False
    with tempfile.TemporaryDirectory(prefix="reelgate-bench-clips-") as place:
        clips.make(Path(place))
        with servers.stub(Path(place)) as stub:
            bench = Bench(
                stub, Path(place), seconds=asked.seconds, multipart=asked.multipart, peer=peer, jobs=asked.jobs
            )
            servers.compile_ours()
            for number in range(1, asked.rounds + 1):
                seen: Figures = {}
                for name in MEASURES[asked.measure]:
                    _say(f"round {number} of {asked.rounds}: {name}")
                    measure: Callable[[], Figures] = getattr(bench, name)
                    try:
                        seen |= measure()
                    except (MeasureError, servers.ServerError) as error:
                        _say(f"{name} failed: {error}")
                        failed = True
                rounds.append(seen)
    return rounds, failed


def _arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Reelgate beside LiteLLM and nginx.")
    parser.add_argument("measure", nargs="?", default="all", choices=list(MEASURES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="how long each load lasts")
    parser.add_argument("--no-litellm", action="store_true", help="measure us alone")
    parser.add_argument("--multipart", action="store_true", help="create as newer OpenAI SDKs do, not with JSON")
    parser.add_argument("--jobs", type=int, default=100_000, help="how many are in flight (flight)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every round there")
    return parser.parse_args()


def _machine() -> dict[str, str | float]:
    """Say what the figures were taken on."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": len(servers.CORES),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def _say(words: str) -> None:
    """Report progress beside the table, not in it."""
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

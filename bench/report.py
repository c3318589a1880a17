"""
Put the figures of all rounds into one table: ours, the peer's, the ratio, and whether the issue's target is met.

A ratio is taken within a round, from figures measured minutes apart at most, and its median over the rounds is
shown: the machine's drift cancels out. Absolute figures are shown for scale.
"""

import statistics

import msgspec

from bench.measures import Figures

MORE, LESS = "≥", "≤"


class Row(msgspec.Struct, frozen=True):
    """One line of the table: a figure of ours, its unit, the peer's figure it stands beside, and the targets."""

    what: str
    figure: str
    unit: str
    peer: str = ""
    sense: str = MORE
    """Whether more or less is better; a ratio is always ours by the peer's."""
    ratio: float | None = None
    absolute: float | None = None


ROWS = (
    Row("accepted, 64 in flight", "accepted/ours", "req/s", "create/litellm", MORE, 18, 1500),
    Row("  p50", "accepted.p50_ms/ours", "ms", "create.p50_ms/litellm", LESS),
    Row("  p99", "accepted.p99_ms/ours", "ms", "create.p99_ms/litellm", LESS),
    Row("  processor per request", "accepted.cpu_us/ours", "µs", "create.cpu_us/litellm", LESS),
    Row("  p50, 1 in flight", "accepted.alone_ms/ours", "ms", "create.alone_ms/litellm", LESS, None, 4),
    Row("accepted on PostgreSQL", "accepted/postgres", "req/s", "accepted/ours", MORE, 0.6),
    Row("  processor per request", "accepted.cpu_us/postgres", "µs", "accepted.cpu_us/ours", LESS),
    Row("  p50, 1 in flight", "accepted.alone_ms/postgres", "ms", "accepted.alone_ms/ours", LESS),
    Row("sustained: handed over", "sustained/ours", "req/s", "create/litellm", MORE, 11, 1000),
    Row("  processor per job", "sustained.cpu_us/ours", "µs", "create.cpu_us/litellm", LESS),
    Row("  accepted meanwhile", "sustained.intake/ours", "req/s", "create/litellm"),
    Row("  p99 meanwhile", "sustained.intake_p99_ms/ours", "ms", "create.p99_ms/litellm", LESS),
    Row("status read, 64 in flight", "read/ours", "req/s", "read/litellm", MORE, 50, 4000),
    Row("  p50", "read.p50_ms/ours", "ms", "read.p50_ms/litellm", LESS),
    Row("  processor per request", "read.cpu_us/ours", "µs", "read.cpu_us/litellm", LESS),
    Row("quotes: a table of every offer", "quotes.table_us/ours", "µs", "", LESS, None, 200),
    Row("  offers in it", "quotes.offers/ours", ""),
    Row("  of a shape never seen", "quotes.new_us/ours", "µs", "", LESS),
    Row("  with the decision", "quotes.decision_us/ours", "µs", "", LESS),
    Row("10 MB clip, 4 connections", "content/ours", "MB/s", "content/nginx", MORE, 0.9),
    Row("  if clients read as SDKs do", "content.small/ours", "MB/s", "content.small/nginx"),
    Row("  if clients drop it unread", "content.dropped/ours", "MB/s", "content.dropped/nginx"),
    Row("  processor per clip", "content.cpu_ms/ours", "ms", "content.cpu_ms/nginx", LESS),
    Row("  first byte", "content.first_byte_ms/ours", "ms", "content.first_byte_ms/nginx", LESS),
    Row("10 MB clip, we behind nginx", "content/front", "MB/s", "content/nginx", MORE, 0.9),
    Row("  if clients read as SDKs do", "content.small/front", "MB/s", "content.small/nginx"),
    Row("  if clients drop it unread", "content.dropped/front", "MB/s", "content.dropped/nginx"),
    Row("  first byte", "content.first_byte_ms/front", "ms", "content.first_byte_ms/nginx", LESS),
    Row("in flight: lateness of looks, p99", "flight.p99_ms/ours", "ms", "", LESS, None, 1000),
    Row("  p50", "flight.p50_ms/ours", "ms", "", LESS),
    Row("  looks a second", "flight.rate/ours", ""),
    Row("  memory (RSS)", "flight.rss_mb/ours", "MB", "", LESS, None, 512),
    Row("  share of a core", "flight.cpu_share/ours", ""),
    Row("  processor per look", "flight.cpu_us/ours", "µs", "", LESS),
    Row("the same on PostgreSQL, p99", "flight.p99_ms/postgres", "ms", "", LESS, None, 1000),
    Row("  p50", "flight.p50_ms/postgres", "ms", "", LESS),
    Row("  looks a second", "flight.rate/postgres", ""),
    Row("  memory (RSS)", "flight.rss_mb/postgres", "MB", "", LESS, None, 512),
    Row("  share of a core", "flight.cpu_share/postgres", ""),
    Row("  processor per look", "flight.cpu_us/postgres", "µs", "flight.cpu_us/ours", LESS),
    Row("restart, 1,000 in flight: first look", "recovery1000.first_s/ours", "s", "", LESS, None, 5),
    Row("  every one looked at", "recovery1000.last_s/ours", "s", "", LESS, None, 5),
    Row("restart, 10,000 in flight: first look", "recovery10000.first_s/ours", "s", "", LESS, None, 30),
    Row("  every one looked at", "recovery10000.last_s/ours", "s", "", LESS, None, 30),
    Row("on PostgreSQL, 1,000: first look", "recovery1000.first_s/postgres", "s", "", LESS, None, 5),
    Row("  every one looked at", "recovery1000.last_s/postgres", "s", "", LESS, None, 5),
    Row("on PostgreSQL, 10,000: first look", "recovery10000.first_s/postgres", "s", "", LESS, None, 30),
    Row("  every one looked at", "recovery10000.last_s/postgres", "s", "", LESS, None, 30),
    Row("a job's whole life: processor", "life.cpu_ms/ours", "ms", "life.cpu_ms/floor", LESS, None, 3),
    Row("  on PostgreSQL", "life.cpu_ms/postgres", "ms", "life.cpu_ms/pgfloor", LESS, None, 4),
    Row("start to first 200", "start.seconds/ours", "s", "start.seconds/litellm", LESS, 0.25, 1.5),
    Row("idle memory (RSS)", "memory.idle_mb/ours", "MB", "memory.idle_mb/litellm", LESS, None, 140),
    Row("growth, 10 x 100 MB read", "memory.growth_mb/ours", "MB", "", LESS, None, 50),
    Row("  first byte meanwhile", "memory.first_byte_ms/ours", "ms", "", LESS, None, 100),
    Row("  at worst", "memory.first_byte_worst_ms/ours", "ms", "", LESS),
    Row("kept: 10 x 100 MB at once", "rehost/ours", "MB/s"),
    Row("  growth", "rehost.growth_mb/ours", "MB", "", LESS, None, 50),
    Row("  copies on disk at most", "rehost.copies/ours", "", "", LESS, None, 1.05),
    Row("  written, for each byte", "rehost.written/ours", "", "", LESS),
    Row("  first byte meanwhile", "rehost.first_byte_ms/ours", "ms", "", LESS, None, 100),
    Row("  at worst", "rehost.first_byte_worst_ms/ours", "ms", "", LESS),
)


def table(rounds: list[Figures]) -> str:
    """Draw the table over whatever was measured."""
    lines: list[tuple[str, ...]] = [("figure", "unit", "ours", "peer", "ratio", "target", "")]
    lines += [_line(row, rounds) for row in ROWS if any(row.figure in each or row.peer in each for each in rounds)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    drawn = ["  ".join(map(_aligned, range(len(line)), line, widths)).rstrip() for line in lines]
    return "\n".join([drawn[0], "-" * max(map(len, drawn)), *drawn[1:]])


def summary(rounds: list[Figures]) -> dict[str, dict[str, float]]:
    """Gather medians, and the ratios that are quoted, for a file."""
    names = dict.fromkeys(name for each in rounds for name in each)
    medians = {name: _median(rounds, name) for name in names}
    ratios = {row.figure.partition("/")[0]: _ratio(row, rounds) for row in ROWS}
    return {
        "medians": {name: value for name, value in medians.items() if value is not None},
        "ratios": {name: value for name, value in ratios.items() if value is not None},
    }


def _line(row: Row, rounds: list[Figures]) -> tuple[str, ...]:
    """Write one line of the table, cell by cell."""
    ours, peer, ratio = _median(rounds, row.figure), _median(rounds, row.peer), _ratio(row, rounds)
    beside = f"{_number(peer)} {row.peer.rpartition('/')[2]}" if peer is not None else ""
    against = "" if ratio is None else f"1/{_number(1 / ratio)}" if 0 < ratio < 0.1 else f"{_number(ratio)} x"
    wanted = [(row.ratio, " x", ratio), (row.absolute, f" {row.unit}", ours)]
    judged = [(limit, mark, value) for limit, mark, value in wanted if limit is not None and value is not None]
    target = ", ".join(f"{row.sense} {limit:g}{mark}" for limit, mark, _ in judged)
    missed = [mark.strip() for limit, mark, value in judged if not _meets(row.sense, value, limit)]
    verdict = f"missed: {', '.join(missed)}" if missed else "met" if judged else ""
    return row.what, row.unit, _number(ours), beside, against, target, verdict


def _ratio(row: Row, rounds: list[Figures]) -> float | None:
    """Take the median over rounds of ours by the peer's."""
    found = [each[row.figure] / each[row.peer] for each in rounds if row.figure in each and each.get(row.peer)]
    return statistics.median(found) if found else None


def _median(rounds: list[Figures], name: str) -> float | None:
    """Take the median of one figure over the rounds that have it."""
    found = [each[name] for each in rounds if name in each]
    return statistics.median(found) if found else None


def _meets(sense: str, value: float, limit: float) -> bool:
    """Compare in the sense of a row."""
    return value >= limit if sense == MORE else value <= limit


def _aligned(column: int, cell: str, width: int) -> str:
    """Numbers stand to the right, words to the left."""
    return cell.rjust(width) if column in {2, 3, 4} else cell.ljust(width)


def _number(value: float | None) -> str:
    """Write three figures that matter."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"

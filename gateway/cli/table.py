"""``reelgate table``: the providers, capabilities and prices the listings state, as Markdown."""

from pathlib import Path

from gateway.cli.common import UsageError
from gateway.offers.tables import insert, tables
from providers.base.listing import listings


def table(*, write: Path | None = None) -> None:
    """
    Print what every listing sells and charges; nothing is asked of anybody.

    Parameters
    ----------
    write
        Put the tables between their marks in this file instead.
    """
    written = tables(listings())
    if write is None:
        print("\n\n".join(written.values()))
        return
    try:
        write.write_text(insert(write.read_text(encoding="utf-8"), written), encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"{write}: {error}") from error

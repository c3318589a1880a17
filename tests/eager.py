"""
Run the real gateway as one that looks at every seller's tasks twice a second, whatever their listings say.

For tests of what is said and kept; how long is waited between two looks is the law of ``tests/unit/test_job.py``.
"""

from msgspec.structs import replace

from gateway.cli import main as run
from providers.base.listing import listings

LOOK_SECONDS = 0.5


def main() -> None:
    found = listings()
    for slug, listing in [*found.items()]:
        found[slug] = replace(listing, poll_seconds=min(LOOK_SECONDS, listing.poll_seconds))  # type: ignore[index]
    run()


if __name__ == "__main__":
    main()

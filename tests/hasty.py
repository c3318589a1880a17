"""
Run the real gateway with less to wait for: it looks at every seller's tasks, cleans up, and its sandbox draws, twice a
second.

For tests of what is said and kept. How long is waited between two looks is the law of ``tests/unit/test_job.py``, and
what the sandbox draws that of ``tests/providers/test_render.py``.
"""

from msgspec.structs import replace

from gateway.cli import main as run
from gateway.clips import cleaning
from providers.base.listing import listings

LOOK_SECONDS = 0.5
FRAMES = 2
"""A second, whatever was ordered."""


def main() -> None:
    found = listings()
    for slug, listing in [*found.items()]:
        found[slug] = replace(listing, poll_seconds=min(LOOK_SECONDS, listing.poll_seconds))  # type: ignore[index]
    cleaning.EVERY_SECONDS = LOOK_SECONDS
    run()


def sketch() -> None:
    """Draw few frames: as long, as large and as loud as ever."""
    from providers import _render  # noqa: PLC0415 - only a renderer carries ffmpeg and Pillow

    draw = _render.render
    _render.render = lambda order, *rest: draw({**order, "fps": FRAMES}, *rest)


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__":
    sketch()

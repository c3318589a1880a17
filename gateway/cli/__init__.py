"""
The command line: ``reelgate serve``, ``work``, ``generate``, ``batch``, ``watch``, ``quote``, ``keys``, ``jobs``,
``spend``, ``compare``, ``halt``, ``go-on``, ``doctor``, ``webhooks``, ``media``, ``check``, ``table``,
``new-provider``, ``demo``.

Commands that talk to a running gateway find it at ``--url`` or ``REELGATE_URL`` and sign with
``REELGATE_API_KEY``; the others read the same ``config.toml`` the gateway does.
"""

import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App

app = App(
    name="reelgate",
    help="One API for AI video: quoted first, bought once, kept here.",
    version=lambda: version("reelgate"),
)
app.command("gateway.cli.serve:serve")
app.command("gateway.cli.work:work")
app.command("gateway.cli.generate:generate")
app.command("gateway.cli.batch.command:batch")
app.command("gateway.cli.watch:watch")
app.command("gateway.cli.quote:quote")
app.command("gateway.cli.check:check")
app.command("gateway.cli.table:table")
app.command("gateway.cli.new_provider:new_provider")
app.command("gateway.cli.demo:demo")
app.command("gateway.cli.keys:app", name="keys")
app.command("gateway.cli.jobs:app", name="jobs")
app.command("gateway.cli.money:spend")
app.command("gateway.cli.money:compare")
app.command("gateway.cli.money:halt")
app.command("gateway.cli.money:go_on")
app.command("gateway.cli.doctor:doctor")
app.command("gateway.cli.webhooks:app", name="webhooks")
app.command("gateway.cli.media:app", name="media")


def main(words: Sequence[str] | None = None) -> None:
    """Run one command, the program's own words where none are given; what the user can mend is said in a line."""
    _heed_term()
    from gateway.cli.streams import complain, forgo, let_go, open_streams, said_of  # noqa: PLC0415

    open_streams()
    from gateway.cli.common import UsageError  # noqa: PLC0415
    from gateway.settings import SettingsError  # noqa: PLC0415
    from gateway.store.database import StoreUnavailableError  # noqa: PLC0415
    from providers.base.listing import ListingError  # noqa: PLC0415

    asked = sys.argv[1:] if words is None else words
    try:
        try:
            if not asked or asked[0] in app.help_flags:
                _load()
            app(asked)
        finally:
            sys.stdout.flush()  # That nobody reads on comes out here, and not as the interpreter ends.
    except (ListingError, SettingsError, StoreUnavailableError, UsageError) as error:
        complain(f"reelgate: {error}")
        sys.exit(2)
    except BrokenPipeError:
        forgo(sys.stdout)
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        complain(f"reelgate: {where}{error.strerror or error or type(error).__name__}")
        let_go(sys.stdout)
        sys.exit(2)
    except UnicodeError as error:
        complain(f"reelgate: {said_of(error)} is not UTF-8: write it so, in a locale that is (LC_ALL=C.UTF-8)")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _heed_term() -> None:
    """End on SIGTERM as everybody does: a container's first process has no default, and what comes early is lost."""
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))


def _load() -> None:
    """Load every command: each says itself what it does, and is else loaded when it is run."""
    for name in app:
        app[name]

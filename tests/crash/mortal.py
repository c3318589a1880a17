"""Run the real gateway with five more sellers, one of each submit class, and less patience."""

import os
import resource
import sys
from types import ModuleType

import gateway.engine.findings
import gateway.engine.sending
import gateway.engine.trials
import gateway.events.courier
from gateway.cli import main as run
from providers.base.listing import listings
from tests.machine.upstream import Vendor, sold

SELLERS = {f"seller{kind.lower()}": kind for kind in "ABCDE"}


def main() -> None:
    deadline = float(os.environ["TEST_DEADLINE"])
    dialect = ModuleType("providers.vendor")
    dialect.Vendor = type("Vendor", (Vendor,), {"__module__": dialect.__name__})  # type: ignore[attr-defined]
    sys.modules[dialect.__name__] = dialect
    for slug, kind in SELLERS.items():
        seller = sold(slug, kind, "0.10", dialect="vendor", poll_seconds=0.2, deadline_seconds=deadline)
        listings()[slug] = seller  # type: ignore[index]
    gateway.engine.findings.UNDER_WAY, gateway.engine.findings.CONFIRM = 2.0, 0.5
    gateway.engine.sending.SEND_MS = 1000
    gateway.events.courier.SPARE_SECONDS = 3.0
    calm = int(os.environ["TEST_CALM_MS"])
    gateway.engine.trials.CALM_MS, gateway.engine.trials.REST_MS, gateway.engine.trials.ALONE_MS = calm, calm, calm // 3
    if most := int(os.environ.get("TEST_MOST_BYTES", "0")):
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    run()


if __name__ == "__main__":
    main()

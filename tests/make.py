"""Make records for tests, with everything the test does not care about filled in."""

from datetime import date

from msgspec.structs import replace

from gateway.jobs.job import Job, State
from providers.base.listing import Listing, Offer, Price
from providers.base.order import Mode


def job(state: State = State.QUEUED, **changes: object) -> Job:
    blank = Job(
        id="video_1", tenant="t", state=state, seq=3, created_at=0, updated_at=0, started_at=None, completed_at=None,
        expires_at=None, deadline_at=10_000, due_at=0, lease_until=5, tries=2, lease_epoch=1, operation="create",
        parent=None, wish="{}", offer=None, account=None, quote="{}", attempt="att_1", attempts=1, task=None,
        progress=10, cancel_requested=False, outputs="[]", usage="{}", warnings="[]", error=None, deleted_at=None,
        buyer=None, hold=None,
    )  # fmt: skip
    return replace(blank, **changes)


def listing(slug: str = "acme", **changes: object) -> Listing:
    """Make a listing that sells one plain model."""
    blank = Listing(
        slug=slug, name=slug.title(), dialect=slug, base_url="https://acme.test", docs="https://acme.test/docs",
        submit_class="E", submit_class_source="made up", poll_seconds=5, deadline_seconds=600, offers=[offer()],
        prices=[price()],
    )  # fmt: skip
    return replace(blank, **changes)


def offer(model: str = "maker/one", **changes: object) -> Offer:
    """Make an offer with a choice of everything."""
    blank = Offer(
        model=model, wire_name="one", mode=[Mode.TEXT, Mode.FIRST_FRAME], seconds=[8, 4], resolution=["720p", "1080p"],
        aspect_ratio=["16:9", "9:16"], audio=[True, False], features=["seed"],
    )  # fmt: skip
    return replace(blank, **changes)


def price(usd: str = "0.10", **changes: object) -> Price:
    """Make a price line per second."""
    day = date(2026, 1, 1)
    blank = Price(models=["*"], usd=usd, per="second", since=day, source="https://acme.test/prices", checked=day)
    return replace(blank, **changes)

"""Write the order of an attempt: what was wished, as one account may be asked for it."""

from msgspec.structs import replace

from gateway.job import Job
from gateway.links import Links
from gateway.media import Media
from gateway.shop import Shop, own, pin
from gateway.wish import Choice, Wish
from providers.base.order import Order

HOUR_MS = 3_600_000


class Orders:
    """Put orders together: where the inputs lie, and where a provider may fetch them."""

    def __init__(self, shop: Shop, media: Media, *, links: Links | None = None, public_url: str = "") -> None:
        self._shop = shop
        self._media = media
        self._links = links
        self._public_url = public_url

    def write(self, job: Job, wish: Wish, choice: Choice) -> Order:
        """Write the order of a job's open attempt; the same attempt always makes the same order."""
        assert job.attempt is not None
        offer, inputs = self._shop.offer(choice), wish.request.inputs
        linked = self._shop.accounts[choice.account].listing.takes == "links" and self._public_url
        # Until the job is given up, and an hour for what its provider does late.
        until = job.deadline_at + HOUR_MS
        return Order(
            attempt=job.attempt,
            wire_name=offer.wire_name,
            route=offer.route,
            request=replace(pin(wish, choice.spec).request, inputs=tuple(own(each, choice) for each in inputs)),
            spec=choice.spec,
            files={each.sha256: self._media.input_path(each.sha256) for each in inputs},
            links={each.sha256: self._public_url + self._links.to_input(each, until) for each in inputs}
            if linked and self._links
            else {},
        )

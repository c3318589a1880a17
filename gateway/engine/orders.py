"""Write the order of an attempt: what was wished, as one account may be asked for it."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path

from msgspec.structs import replace

from gateway.clips.links import Links
from gateway.clips.media import Media
from gateway.events.hooks import Hooks
from gateway.jobs.job import Job
from gateway.jobs.wish import Choice, Wish
from gateway.offers.asking import own, promised
from gateway.offers.shop import Shop
from providers.base.order import Order

HOUR_MS = 3_600_000


class Orders:
    """Put orders together: where the inputs lie, and where a provider may fetch them."""

    def __init__(
        self, shop: Shop, media: Media, *, links: Links | None = None, public_url: str = "", hooks: Hooks | None = None
    ) -> None:
        self._shop = shop
        self._media = media
        self._links = links
        self._public_url = public_url
        self._hooks = hooks

    def at_hand(self, wish: Wish, choice: Choice) -> AbstractAsyncContextManager[Mapping[str, Path]]:
        """
        Have the inputs an order is written with as files of this machine: none where their provider fetches them.

        It comes before anything is bought, so that nobody is in doubt about an order that could not be written.

        :raises GoneError: when an input is no longer kept.
        :raises ShelfError: when nobody can tell.
        """
        inputs = () if self._linked(choice) else wish.request.inputs
        return self._media.at_hand(each.sha256 for each in inputs) if inputs else nullcontext({})

    def write(self, job: Job, wish: Wish, choice: Choice, files: Mapping[str, Path] | None = None) -> Order:
        """Write the order of a job's open attempt; the same attempt always makes the same order."""
        assert job.attempt is not None
        offer, request = self._shop.offer(choice), promised(wish.request, choice.spec)
        inputs = request.inputs
        mine = tuple(own(each, choice.provider, choice.account) for each in inputs)
        # Until the job is given up, and an hour for what its provider does late.
        until = job.deadline_at + HOUR_MS
        return Order(
            attempt=job.attempt,
            wire_name=offer.wire_name,
            route=offer.route,
            request=replace(request, inputs=mine) if inputs else request,
            spec=choice.spec,
            files=dict(files or {}),
            links={each.sha256: self._public_url + self._links.to_input(each, until) for each in inputs}
            if self._links and self._linked(choice)
            else {},
            hook_url=self._hooks.url(choice.provider, job.attempt) if self._hooks else "",
        )

    def _linked(self, choice: Choice) -> bool:
        """Whether the provider fetches inputs itself."""
        return bool(self._links and self._public_url) and self._shop.accounts[choice.account].listing.takes == "links"

"""Write the order of an attempt: what was wished, as one account may be asked for it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from gateway.clips.inputs import InputError
from gateway.clips.links import Links
from gateway.clips.media import Media
from gateway.events.hooks import Hooks
from gateway.jobs.job import Job
from gateway.jobs.wish import Choice, Wish
from gateway.offers.asking import own, promised
from gateway.offers.shop import Shop
from providers.base.conversion import conversion
from providers.base.objections import fields
from providers.base.order import Input, Order

HOUR_MS = 3_600_000


class Handed(Struct, frozen=True, kw_only=True):
    """Hold one input as a provider is handed it: as it came in, or converted."""

    input: Input
    name: str
    """By what it is kept."""
    path: Path | None = None
    """Where its bytes lie; ``None`` where nobody needs them here."""


class UnconvertedError(Exception):
    """A picture that its offer does not take as it is cannot be converted; ``field`` is what named it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


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

    @asynccontextmanager
    async def at_hand(self, wish: Wish, choice: Choice) -> AsyncIterator[Sequence[Handed]]:
        """
        Have the inputs an order is written with, converted where its offer does not take them as they are.

        They are files of this machine, but for those their provider fetches. It comes before anything is bought, so
        that nobody is in doubt about an order that could not be written.

        :raises GoneError: when an input is no longer kept.
        :raises ShelfError: when nobody can tell.
        :raises UnconvertedError: when one cannot be converted.
        """
        inputs = wish.request.inputs
        async with AsyncExitStack() as lent:
            yield [await self._hand(each, choice, lent) for each in zip(fields(wish.request), inputs, strict=True)]

    async def _hand(self, given: tuple[str, Input], choice: Choice, lent: AsyncExitStack) -> Handed:
        """Have one input, which a field named."""
        field, each = given
        into = conversion(self._shop.offer(choice), each)
        if into is None:
            linked = self._linked(choice)
            path = None if linked else await lent.enter_async_context(self._media.at_hand(each.sha256))
            return Handed(input=each, name=each.sha256, path=path)
        try:
            name = await self._media.convert(each.sha256, into)
        except InputError as error:
            raise UnconvertedError(field, error.message) from error
        path = await lent.enter_async_context(self._media.at_hand(name))
        sniffed, (size, sha256) = await self._media.describe(path)
        type_, width, height = sniffed
        became = replace(each, media_type=type_, width=width, height=height, size=size, sha256=sha256)
        return Handed(input=became, name=name, path=path)

    def write(self, job: Job, wish: Wish, choice: Choice, handed: Sequence[Handed] | None = None) -> Order:
        """
        Write the order of a job's open attempt; the same attempt always makes the same order.

        :param handed: its inputs as its provider is handed them; without them they are only named, as they came in.
        """
        assert job.attempt is not None
        offer, request = self._shop.offer(choice), promised(wish.request, choice.spec)
        if handed is None:
            handed = [Handed(input=each, name=each.sha256) for each in request.inputs]
        mine = tuple(own(each.input, choice.provider, choice.account) for each in handed)
        links, linked = self._links, self._linked(choice)
        # Until the job is given up, and an hour for what its provider does late.
        until = job.deadline_at + HOUR_MS
        return Order(
            attempt=job.attempt,
            wire_name=offer.wire_name,
            route=offer.route,
            request=replace(request, inputs=mine) if mine else request,
            spec=choice.spec,
            files={each.input.sha256: each.path for each in handed if each.path and not linked},
            links={
                each.input.sha256: self._public_url + links.to_input(each.name, each.input.media_type, until)
                for each in handed
            }
            if links and linked
            else {},
            hook_url=self._hooks.url(choice.provider, job.attempt) if self._hooks else "",
        )

    def _linked(self, choice: Choice) -> bool:
        """Whether the provider fetches inputs itself."""
        return bool(self._links and self._public_url) and self._shop.accounts[choice.account].listing.takes == "links"

"""Go round until told to stop: neither a store that is away nor a bug of one round ends what everybody waits for."""

import asyncio
import contextlib
from abc import ABC, abstractmethod

import structlog

from gateway.store.database import StoreUnavailableError

log = structlog.get_logger()


class Rounds(ABC):
    """Do the same again and again; who goes round says what that is, and how long it rests in between."""

    called = ""
    """What the log calls it."""
    passing: tuple[type[Exception], ...] = (StoreUnavailableError,)
    """What is no bug, and passes by itself."""
    idle_seconds = 1.0
    """Longest rest where nothing is known to be due: bounds how late another process's work is seen. After a round that
    broke off it is as long."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Hear that something may be due."""
        self._woken.set()

    def stop(self) -> None:
        """Begin with nothing more."""
        self._stopping = True
        self.wake()

    async def run(self) -> None:
        """Go round until stopped."""
        stalled, crashed = f"{self.called}.stalled", f"{self.called}.crashed"
        while not self._stopping:
            try:
                await self._round()
            except self.passing as error:
                log.error(stalled, reason=str(error))
                await asyncio.sleep(self.idle_seconds)
            except Exception as error:
                log.exception(crashed, exc_info=error)
                await asyncio.sleep(self.idle_seconds)

    @abstractmethod
    async def _round(self) -> None:
        """Do what is to be done now, and rest."""

    async def _rest(self, seconds: float) -> None:
        """Wait for a reason to look, or until it is time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

"""What one call may have fetched for it, and how fetching fails."""

import time

ELSE = "or send a file, a data: URL, or a file_id of /v1/files."


class FetchError(Exception):
    """Something that was not fetched; ``code`` names why, the message says what to change."""

    def __init__(self, code: str, message: str, *, busy: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.busy = busy
        """Whether it is our fault: the same may do later."""


class Errand:
    """Hold what one call may still fetch: bytes, and seconds."""

    def __init__(self, *, max_bytes: int, seconds: float) -> None:
        self.max_bytes = max_bytes
        self.seconds = seconds
        self._left = max_bytes
        self._until = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """How many seconds are left."""
        return max(0.0, self._until - time.monotonic())

    def take(self, size: int) -> None:
        """
        Count bytes that came.

        :raises FetchError: when they are too many.
        """
        self.expect(size)
        self._left -= size

    def expect(self, size: int) -> None:
        """
        Look whether there is room for what was announced.

        :raises FetchError: when there is not.
        """
        if size > self._left:
            message = f"What a call names by address may be {self.max_bytes // 2**20} MB in all; {ELSE}"
            raise FetchError("url_too_large", message)

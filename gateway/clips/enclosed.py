"""A picture inside a text: base64 that is unpacked to disk as it is read, and kept or dropped like a form's file."""

import base64
import binascii
from pathlib import Path

from gateway.clips.inputs import LONGEST, InputError, not_base64, too_large
from gateway.clips.uploads import Upload


class Enclosed(Upload):
    """Hold media that came as base64; whoever knows the field it stood in says what is wrong with it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "")
        self.fault: InputError | None = None
        self._length = 0
        self._rest = b""
        """The last four characters and what pads them, as only the very last may be padded."""

    def unpack(self, text: bytes) -> None:
        """Take the next piece of base64."""
        self._length += len(text)
        if self._length > LONGEST:
            self._spoil(too_large())
            return
        text = self._rest + text
        data = text.rstrip(b"=")
        end = (len(data) - 1) // 4 * 4 if data else 0
        self._rest = text[end : end + 8]  # More padding than that is no more wrong.
        self._decode(data[:end], ended=False)

    def close(self) -> None:
        """End it: what is left are the last characters."""
        self._decode(self._rest, ended=True)
        super().close()

    def _decode(self, text: bytes, *, ended: bool) -> None:
        """Write what whole fours say, of which none but the last may be padded."""
        if self.fault is not None:
            return
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            self._spoil(not_base64())
            return
        if not ended and text.endswith(b"="):
            self._spoil(not_base64())
            return
        self.write(data)

    def _spoil(self, fault: InputError) -> None:
        """Keep nothing of it but what is wrong; too large is worse than not base64, as it is where it is read whole."""
        self.fault, self.size, self._rest = fault, 0, b""
        self.drop()

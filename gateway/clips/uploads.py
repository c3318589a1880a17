"""A file on its way in: bytes on disk, a hash, and a name nobody believes."""

import hashlib
import re
import tempfile
from contextlib import suppress
from pathlib import Path


class Upload:
    """Hold one file of a form: its bytes lie in a temporary file until kept or dropped."""

    def __init__(self, folder: Path, filename: str) -> None:
        self.filename = plain_name(filename)
        self.size = 0
        self._hash = hashlib.sha256()
        self._file = tempfile.NamedTemporaryFile(dir=folder, prefix="in-", delete=False)  # noqa: SIM115
        self.path = Path(self._file.name)

    def write(self, chunk: bytes | bytearray) -> None:
        """Take the next bytes."""
        self.size += len(chunk)
        self._hash.update(chunk)
        self._file.write(chunk)

    def close(self) -> None:
        """End the file."""
        self._file.close()

    def drop(self) -> None:
        """Remove the file, unless it was kept."""
        with suppress(OSError):  # What a full disk did not take goes all the same.
            self._file.close()
        with suppress(FileNotFoundError):
            self.path.unlink()

    @property
    def sha256(self) -> str:
        """The hash of what came."""
        return self._hash.hexdigest()


def plain_name(filename: str) -> str:
    """Cut a file's name down to what is one on any machine; nothing is ever opened by it."""
    return re.sub(r"[^\w.\- ]", "_", filename.replace("\\", "/").rpartition("/")[2])[:100] or "upload"

"""Our OpenAPI document and our answers agree: schemathesis asks, a real server answers."""

import re
from pathlib import Path

from tests.abuse.document import ask, prepare

EXAMPLES = 2
ALIKE = ("editVideo", "extendVideo", "remixVideo", "quote")
"""Operations whose body is ``createVideo``'s, which is asked about in their place."""


def test_document_is_true(tmp_path: Path) -> None:
    """
    Whatever the document allows or forbids, no answer is our fault, and each has a documented status, type and shape.

    ``make abuse`` asks a hundred times as much, of every operation.
    """
    target = prepare(tmp_path)
    said = ask(target, examples=EXAMPLES, without=ALIKE)
    assert said.returncode == 0, said.stdout[-20_000:] + said.stderr
    cases = re.search(r"(\d+) generated", said.stdout)
    assert cases is not None
    assert 1000 < int(cases[1])
    target.check_log()
    target.stop()

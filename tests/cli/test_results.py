"""Laws of a batch's results file: whatever was cut off, it says what is known, and to one run at a time."""

from pathlib import Path

import msgspec
import pytest

from gateway.cli.batch.results import COMPLETED, ORDERED, ORDERING, Batch, Results, Upload
from gateway.cli.common import UsageError
from tests.cli.batches import lines_of, result, run, write
from tests.server import Server

BEGIN = Batch(id="b", input="prompts.json", gateway="http://here")


def test_a_results_file_cut_off_anywhere_is_read_to_its_last_whole_record(tmp_path: Path) -> None:
    """A record is there or was never written; what is added later stands after it."""
    path = tmp_path / "r.jsonl"
    records = [BEGIN, Upload(sha256="s", file_id="f"), result("1", ORDERING), result("1", ORDERED)]
    whole = b"".join(msgspec.json.encode(each) + b"\n" for each in records)
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    for cut in sorted({0, *ends, *(end - 1 for end in ends), *range(7, len(whole), 31)}):
        path.write_bytes(whole[:cut])
        known = whole[:cut].count(b"\n")
        with Results(path) as kept:
            assert (kept.batch is None, len(kept.uploads)) == (known < 1, int(known > 1))
            assert ({} if known < 3 else {"1": records[known - 1]}) == kept.lines
            if kept.batch is None:
                kept.keep(BEGIN)
            kept.keep(result("2", COMPLETED))
        assert COMPLETED == lines_of(path)[-1].status
        assert len(path.read_bytes().splitlines()) == len(lines_of(path)) + 1 + int(known > 1)


def test_a_results_file_has_one_writer_and_one_batch(tmp_path: Path, server: Server) -> None:
    """A second run, another file's results, and a call another gateway may have heard are refused."""
    kept = tmp_path / "prompts.results.jsonl"
    path = write(tmp_path, ["[fail] a"])
    with Results(kept) as held:
        held.keep(BEGIN)
        held.keep(result("1", ORDERING))
        with pytest.raises(UsageError, match="another run is at work"):
            run(path, server.url)
    with pytest.raises(UsageError, match="may have been bought at http://here"):
        run(path, server.url)
    path.rename(tmp_path / "others.json")
    with pytest.raises(UsageError, match=r"holds what became of prompts\.json"):
        run(tmp_path / "others.json", server.url, results=kept)
    kept.write_text("not ours\n")
    with pytest.raises(UsageError, match="line 1 is no record of a batch"):
        run(tmp_path / "others.json", server.url, results=kept)
    assert "not ours\n" == kept.read_text()

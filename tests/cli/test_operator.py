"""Laws of what an operator meets: a mistake is said in a line that names what to change, and nothing is made by it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in an empty folder: its exit code, what it printed, and what it complained of."""
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(words)
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return command


@pytest.mark.parametrize(
    "words",
    ["doctor", "spend", "compare", "halt", "go-on", "keys list", "keys revoke key_1", "jobs unknown", "media gc"],
)
def test_a_command_in_the_wrong_folder_says_so(run: Run, tmp_path: Path, words: str) -> None:
    """It answers nothing of a store that is not there, and makes none."""
    code, out, err = run(*words.split())

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "data/reelgate.db does not exist" in err
    assert list(tmp_path.iterdir()) == []


def test_the_first_key_comes_before_the_first_start(run: Run) -> None:
    """A gateway that listens to the world needs one to start; the store is made for it, and then there to be read."""
    assert run("keys", "create", "--name", "first")[0] == 0

    assert run("keys", "list")[1].rstrip().endswith("first")
    assert run("doctor")[0] == 0

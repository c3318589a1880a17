"""Laws of ``reelgate new-provider``: what it writes loads, and what is still to be done is said by the tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server import ROOT


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the repository's code, to be changed."""
    for name in ("gateway", "providers", "tests/providers"):
        shutil.copytree(ROOT / name, tmp_path / name)  # compiled as it may be, and as old
    for path in (ROOT / "pyproject.toml", *(ROOT / "tests").glob("*.py")):
        shutil.copy(path, tmp_path / path.relative_to(ROOT))
    return tmp_path


def run(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a repository, with that repository's code."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **environ},
        capture_output=True,
        text=True,
        timeout=120,
    )


def conformance(folder: Path) -> subprocess.CompletedProcess[str]:
    """Put whatever concerns the new provider to the test."""
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--no-header")
    return run(folder, "-m", "pytest", *options, "tests/providers/test_conformance.py", "-k", "acme")


def test_a_reseller_is_a_listing_alone(repository: Path) -> None:
    """One file, which loads, sells, and passes what a listing is held to."""
    made = run(repository, "-m", "gateway.cli", "new-provider", "acme", "--like", "gemini")
    assert 0 == made.returncode, made.stderr
    assert [str(Path("providers/acme.toml")), "Now follow providers/README.md from step 2."] == made.stdout.splitlines()
    assert not (repository / "providers" / "acme.py").exists()
    assert "every fact below is gemini's until you checked it" in (repository / "providers" / "acme.toml").read_text()
    table = run(repository, "-m", "gateway.cli", "table")
    assert "`acme`" in table.stdout
    tested = conformance(repository)
    assert 0 == tested.returncode, tested.stdout


def test_an_operators_folder_gets_its_listing(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Wherever the command is run; nothing of the package is touched, and the next command knows the seller."""
    folder, elsewhere = tmp_path_factory.mktemp("resellers"), tmp_path_factory.mktemp("elsewhere")
    environ = {"REELGATE_PROVIDERS": str(folder), "PYTHONPATH": str(repository)}
    made = run(elsewhere, "-m", "gateway.cli", "new-provider", "acme", "--like", "gemini", **environ)
    assert 0 == made.returncode, made.stderr
    assert [folder / "acme.toml"] == list(folder.iterdir())
    assert not (repository / "providers" / "acme.toml").exists()
    assert "`acme`" in run(elsewhere, "-m", "gateway.cli", "table", **environ).stdout
    twice = run(elsewhere, "-m", "gateway.cli", "new-provider", "acme", **environ)
    assert (2, "there is a provider acme already") == (twice.returncode, twice.stderr.strip().partition(": ")[2])


@pytest.mark.parametrize("like", ["gemini", "aigenerate", "sandbox"])
def test_an_own_dialect_starts_from_anothers(repository: Path, like: str) -> None:
    """The adapter is copied under its own name and found; the tests say which cases are still to be written."""
    made = run(repository, "-m", "gateway.cli", "new-provider", "acme", "--like", like, "--own-dialect")
    assert 0 == made.returncode, made.stderr
    assert (repository / "tests" / "providers" / "acme" / "cases.toml").exists()
    program = "from gateway.offers.accounts import adapter; print(adapter('acme').__name__, adapter('acme').__module__)"
    assert ["Acme", "providers.acme"] == run(repository, "-c", program).stdout.split()
    tested = conformance(repository)
    assert 1 == tested.returncode
    assert "FAILED tests/providers/test_conformance.py::test_every_dialect_brings_every_scenario[acme]" in tested.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["Acme"], "'Acme' is no slug"),
        (["gemini"], "there is a provider gemini already"),
        (["base"], "there is a provider base already"),
        (["acme", "--like", "nobody"], "there is no provider nobody to copy; there are aigenerate"),
        (["acme", "--root", "gateway"], "run this in the repository"),
    ],
)
def test_what_cannot_be_made_is_said(repository: Path, words: list[str], told: str) -> None:
    """A line that says what to change, and nothing is written."""
    before = sorted(repository.rglob("*"))
    made = run(repository, "-m", "gateway.cli", "new-provider", *words)

    assert 2 == made.returncode
    assert made.stderr.startswith("reelgate: ")
    assert told in made.stderr
    assert before == sorted(repository.rglob("*"))


def test_nothing_is_written_over(repository: Path) -> None:
    """A provider that has begun keeps its files."""
    (repository / "providers" / "acme.py").write_text("# mine\n")
    made = run(repository, "-m", "gateway.cli", "new-provider", "acme", "--own-dialect")

    assert (2, "# mine\n") == (made.returncode, (repository / "providers" / "acme.py").read_text())
    assert not (repository / "providers" / "acme.toml").exists()

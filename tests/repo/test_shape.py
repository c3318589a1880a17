"""Laws of the repository itself."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

from providers.base.listing import listings

ROOT = Path(__file__).parents[2]
PYTHON = sorted([*ROOT.glob("gateway/**/*.py"), *ROOT.glob("providers/**/*.py")])


def test_imports_point_one_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service stands on the library; decisions are pure. The contracts are in pyproject.toml."""
    monkeypatch.chdir(ROOT)

    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_does_someone_elses_work(path: Path) -> None:
    """Nothing is over 500 lines, and no function over 80."""
    text = path.read_text()

    assert len(text.splitlines()) <= 500
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno <= 80, node.name


@pytest.mark.parametrize("dialect", sorted({listing.dialect for listing in listings().values()}))
def test_an_adapter_is_as_long_as_one_api_needs(dialect: str) -> None:
    """What it shares with others is in the contract, what its provider says in a module beside it."""
    assert len((ROOT / "providers" / f"{dialect}.py").read_text().splitlines()) <= 300


def test_sql_is_in_one_place() -> None:
    """No module but the store's engine holds a statement."""
    word = re.compile(r"\b(SELECT .+ FROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM)\b")
    holders = {path.name for path in PYTHON if word.search(path.read_text())}

    assert holders == set()


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    """A gateway that has rendered nothing has loaded no codec, and no test tool."""
    heavy = {"av", "PIL", "jwt", "numpy", "pytest"}
    program = f"import sys, gateway.cli.serve, gateway.app; print(sorted(set(sys.modules) & {heavy}))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT)

    assert done.stdout.strip() == "[]"


def test_dependencies_are_few_and_locked_by_hash() -> None:
    """At most sixteen direct ones, and every file of every package has its hash."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lock = tomllib.loads((ROOT / "uv.lock").read_text())

    assert len(project["dependencies"]) <= 17
    for package in lock["package"]:
        for file in [*package.get("wheels", []), *filter(None, [package.get("sdist")])]:
            assert file["hash"].startswith("sha256:"), package["name"]


def test_nothing_speaks_of_a_machine() -> None:
    """No tracked text names a folder of the machine it was written on."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    place = re.compile(r"(?<![\w.])/(work|root|farm)/[a-z]")
    for name in listed:
        if name.endswith((".py", ".md", ".toml", ".txt", ".yml", ".sql", "Makefile", "Dockerfile", "run")):
            assert not place.search((ROOT / name).read_text()), name

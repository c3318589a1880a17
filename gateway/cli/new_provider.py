"""``reelgate new-provider``: the files a new provider starts from, copied from one that is like it."""

import os
import re
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from gateway.cli.common import UsageError
from gateway.offers.accounts import adapter
from providers.base.listing import FOLDER, listings

CASES = """# Where the samples come from: a public page's address, or "recorded from NAME VERSION against a local stub".
listing = "{slug}"
orders = []
looks = []
refusals = []
"""


def new_provider(name: str, *, like: str = "sandbox", own_dialect: bool = False, root: Path = Path()) -> None:
    """
    Write the files of a new provider; what is true of it is yours to fill in.

    A reseller that speaks a known dialect is a listing alone, written to the folder REELGATE_PROVIDERS names, where it
    names one. One with its own dialect is a copy of the adapter too, and its cases for the conformance tests.

    Parameters
    ----------
    name
        Its slug: a lower-case word.
    like
        The provider to copy from.
    own_dialect
        Copy the adapter too, for a dialect nobody speaks yet.
    root
        The repository.
    """
    known = listings()
    if not re.fullmatch(r"[a-z][a-z0-9]{1,30}", name):
        raise UsageError(f"{name!r} is no slug: a lower-case word of letters and digits")
    if name in known or (root / "providers" / name).exists():
        raise UsageError(f"there is a provider {name} already")
    if like not in known:
        raise UsageError(f"there is no provider {like} to copy; there are {', '.join(known)}")
    model, folder = known[like], root / "providers"
    theirs = Path(os.environ.get(FOLDER, "") or folder)
    source = next((each / f"{like}.toml" for each in (folder, theirs) if (each / f"{like}.toml").exists()), None)
    if source is None and theirs != folder and not own_dialect:
        source = Path(str(resources.files("providers"))) / f"{like}.toml"
    if source is None:
        raise UsageError(f"{folder} holds no {like}.toml: run this in the repository, or name it with --root")
    text = source.read_text(encoding="utf-8")
    text = re.sub(r'(?m)^slug = ".*"$', f'slug = "{name}"', text, count=1)
    text = re.sub(r'(?m)^name = ".*"$', f'name = "{name.title()}"', text, count=1)
    dialect = name if own_dialect else model.dialect
    text = re.sub(r'(?m)^dialect = ".*"$', f'dialect = "{dialect}"', text, count=1)
    today = datetime.now(UTC).date()
    wanted = {
        (folder if own_dialect else theirs)
        / f"{name}.toml": f"# Copied from {like} on {today}: every fact below is {like}'s until you checked it.\n{text}"
    }
    if own_dialect:
        code = (folder / f"{model.dialect}.py").read_text(encoding="utf-8")
        spoken = adapter(model.dialect).__name__
        wanted[folder / f"{name}.py"] = re.sub(rf'(?<=class ){spoken}\b|(?<="){spoken}(?=")', name.title(), code)
        wanted[root / "tests" / "providers" / name / "cases.toml"] = CASES.format(slug=name)
    for path in wanted:
        if path.exists():
            raise UsageError(f"{path} is there already")
    for path, content in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        print(path)
    print("Now follow providers/README.md from step 2.")

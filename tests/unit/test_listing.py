"""Laws of reading listings: what a listing may not say is named with its file and what to change."""

import re
import shutil
from pathlib import Path

import pytest

from providers.base.listing import FOLDER, ListingError, listings, load, read
from tests.server import ROOT, Server

GOOD = """
slug = "sandbox"
name = "Acme"
dialect = "gemini"
base_url = "https://acme.test"
docs = "https://acme.test/docs"
submit_class = "E"
submit_class_source = "https://acme.test/docs: nothing"
poll_seconds = 5
deadline_seconds = 600

[[offers]]
model = "google/veo-3.1"
wire_name = "veo"
mode = ["text"]
seconds = [8, 4]
resolution = ["720p"]
aspect_ratio = ["16:9"]
audio = [true]

[[plans]]
name = "gold"
usd_month = "10"
credits_month = 100
since = 2026-01-01
source = "https://acme.test/plans"
checked = 2026-02-01

[[plans]]
name = "gold"
usd_month = "12"
credits_month = 100
since = 2026-02-01
source = "https://acme.test/plans"
checked = 2026-02-01

[[fees]]
name = "rent"
usd = "15"
per = "month"
since = 2026-01-01
source = "https://acme.test/plans"
checked = 2026-02-01

[[prices]]
models = ["google/veo-3.1"]
credits = "10"
per = "video"
since = 2026-01-01
source = "https://acme.test/prices"
checked = 2026-02-01

[[rules]]
models = ["*"]
when = { seconds = [4] }
only = { plan = ["gold"] }
why = "4 s on gold only"
""".replace('"sandbox"', '"acme"')


def test_a_good_listing_reads() -> None:
    """What every fault below is one change away from."""
    acme = read(GOOD.encode(), "acme.toml")

    assert ("acme", 1, 2, 1) == (acme.slug, len(acme.offers), len(acme.plans), len(acme.offers[0].rules))


FAULTS = {
    "not TOML": ("slug =", "slug", "Invalid|Expected|TOML"),
    "a word nobody knows": ("poll_seconds = 5", "poll_second = 5", "poll_second`"),
    "a word in an offer nobody knows": (
        "audio = [true]",
        "audio = [true]\nsound = true",
        r"sound.+offers\[0\]|`sound`",
    ),
    "a word in a price nobody knows": ('credits = "10"\nper', 'credit = "10"\nper', "`credit`"),
    "a needed word is missing": ('name = "Acme"\n', "", "`name`"),
    "another file's slug": ('slug = "acme"', 'slug = "other"', "slug is 'other'; it is the file's name"),
    "a dialect nobody speaks": ('"gemini"', '"klingon"', "providers/klingon.py is missing"),
    "a private module for a dialect": ('"gemini"', '"_veo"', "which nobody speaks"),
    "an address of another kind": ('"https://acme.test"', '"ftp://acme.test"', "base_url must start with https://"),
    "no pause between looks": ("poll_seconds = 5", "poll_seconds = 0", "poll_seconds must be above 0"),
    "a rate of nothing": (
        "[[offers]]",
        '[rate]\norders = 0\nseconds = 10\nsource = "x"\n\n[[offers]]',
        "at least one order",
    ),
    "a credit's price in words": (
        "poll_seconds = 5",
        'poll_seconds = 5\nusd_credit = "a cent"',
        "usd_credit is 'a cent'",
    ),
    "plans out of order": (
        "since = 2026-02-01",
        "since = 2025-02-01",
        "since 2025-02-01 follows one since 2026-01-01; put",
    ),
    "a price without its day": ('per = "video"\nsince = 2026-01-01', 'per = "video"', "`since`"),
    "a price nobody vouches for": (
        'source = "https://acme.test/prices"',
        'source = " "',
        "has no source; say whose word",
    ),
    "checked before it was true": (
        'prices"\nchecked = 2026-02-01',
        'prices"\nchecked = 2025-12-31',
        "prices.+checked before, on 2025-12-31",
    ),
    "a plan's price in words": (
        'usd_month = "10"',
        'usd_month = "ten"',
        "plans: gold: usd_month is 'ten'; write plain",
    ),
    "a plan without credits": ("credits_month = 100", "credits_month = 0", "credits_month must be above 0"),
    "a fee in words": ('usd = "15"', 'usd = "1e3"', "fees: rent: '1e3' is no amount; write plain"),
    "both dollars and credits": ('credits = "10"', 'credits = "10"\nusd = "1"', "needs usd or credits, and not both"),
    "neither dollars nor credits": ('credits = "10"', 'credits = ""', "needs usd or credits, and not both"),
    "a price below zero": ('credits = "10"', 'credits = "-1"', "'-1' is no amount; write plain"),
    "a price with a sign": ('credits = "10"', 'usd = "$1"', r"'\$1' is no amount; write plain"),
    "tokens without their number": ('per = "video"', 'per = "token"', "per token without tokens"),
    "a price of nobody's model": (
        'models = ["google/veo-3.1"]',
        'models = ["google/veo-9"]',
        "one nobody offers; name",
    ),
    "a price of no model": ('models = ["google/veo-3.1"]', "models = []", "one nobody offers; name"),
    "a price on an unknown word": (
        'credits = "10"',
        'credits = "10"\nwhen = { colour = ["red"] }',
        "speaks of colour; it can speak of",
    ),
    "a price on an unknown plan": (
        'credits = "10"',
        'credits = "10"\nwhen = { plan = ["golf"] }',
        "names the plan 'golf'; there are gold",
    ),
    "a rule on an unknown word": ("seconds = [4] }", "second = [4] }", "'4 s on gold only' speaks of second; it can"),
    "a rule on an unknown mode": (
        "when = { seconds = [4] }",
        'when = { mode = ["txt"] }',
        "names the mode 'txt'; there are .*text",
    ),
    "a rule on an unknown plan": ('only = { plan = ["gold"] }', 'only = { plan = ["god"] }', "names the plan 'god'"),
    "a rule without an end": ('only = { plan = ["gold"] }', "only = {}", "has no only; say what is sold"),
    "a rule without a why": ('why = "4 s on gold only"', 'why = " "', "no why; write the sentence"),
    "a rule for nobody's model": ('models = ["*"]', 'models = ["veo"]', "name models offered here"),
    "a rule for no model": ('models = ["*"]', "models = []", "name models offered here"),
    "an offer of nothing": ("seconds = [8, 4]", "seconds = []", "seconds is empty or says a value twice"),
    "an offer saying things twice": ("seconds = [8, 4]", "seconds = [8, 8]", "seconds is empty or says a value twice"),
    "a picture of no bytes": ("seconds = [8, 4]", "seconds = [8, 4]\nimage_max = 0", "image_max is bytes, above 0"),
    "a length below nothing": ("seconds = [8, 4]", "seconds = [8, -4]", "below its least: seconds 0"),
    "an unknown mode": ('mode = ["text"]', 'mode = ["txt"]', "'txt'"),
    "an unknown feature": ("audio = [true]", 'audio = [true]\nfeatures = ["sed"]', "no feature sed; there are seed"),
    "no resolution at all": ('resolution = ["720p"]', 'resolution = ["HD"]', "HD at 16:9 is no size; write 720p"),
    "no ratio at all": ('aspect_ratio = ["16:9"]', 'aspect_ratio = ["16x9"]', "720p at 16x9 is no size; write"),
    "a ratio of nothing": ('aspect_ratio = ["16:9"]', 'aspect_ratio = ["0:0"]', "720p at 0:0 is no size; write"),
    "own clips for what it does not sell": ("audio = [true]", 'audio = [true]\nown = ["extend"]', "own names a mode"),
    "an end without a why": (
        "audio = [true]",
        "audio = [true]\nended = 2026-01-01",
        "ended and ended_why come together",
    ),
    "the same offer twice": (
        "[[plans]]",
        GOOD[GOOD.index("[[offers]]") : GOOD.index("[[plans]]")] + "[[plans]]",
        "offered twice; leave one",
    ),
    "an example of nothing sold": (
        "[[plans]]",
        '[[examples]]\nmodel = "x/y"\non = 2026-01-01\nusd = "1"\nsource = "s"\n[[plans]]',
        "no such offer",
    ),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_is_named_with_its_file(what: str) -> None:
    """Whoever wrote the file reads which one it is, where, and what to change."""
    old, new, told = FAULTS[what]
    assert old in GOOD, what
    with pytest.raises(ListingError) as caught:
        read(GOOD.replace(old, new, 1).encode(), "resellers/acme.toml")
    message = str(caught.value)

    assert message.startswith("resellers/acme.toml: ")
    assert re.search(told, message), message
    assert "Traceback" not in message


def test_what_is_not_text_is_named() -> None:
    """So is a file that is no text at all."""
    with pytest.raises(ListingError, match=r"^acme\.toml: "):
        read(b"\xff\xfe\x00", "acme.toml")


def test_listings_of_an_operators_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder named in the environment adds its listings; it changes none that is here."""
    here = set(listings())
    (tmp_path / "acme.toml").write_text(GOOD)
    (tmp_path / "notes.txt").write_text("no listing")
    monkeypatch.setenv(FOLDER, str(tmp_path))

    assert here | {"acme"} == set(listings())
    shutil.copy(ROOT / "providers" / "flow.toml", tmp_path / "flow.toml")
    monkeypatch.setenv(FOLDER, f"{tmp_path}/")
    with pytest.raises(ListingError, match=r"flow\.toml: there is a provider flow already"):
        listings()
    monkeypatch.setenv(FOLDER, str(tmp_path / "nowhere"))
    with pytest.raises(ListingError, match="no folder: name one"):
        listings()
    monkeypatch.delenv(FOLDER)
    assert here == set(listings())


def test_every_listing_here_names_its_file() -> None:
    """The slug is the file's name."""
    for slug in listings():
        assert slug == load(slug).slug


@pytest.mark.parametrize("command", [["check"], ["serve"], ["table"]])
def test_a_broken_listing_stops_the_start_readably(tmp_path: Path, command: list[str]) -> None:
    """One line on standard error, and the exit status of a configuration that cannot be started with."""
    folder = tmp_path / "resellers"
    folder.mkdir()
    (folder / "acme.toml").write_text(GOOD.replace("poll_seconds", "pole_seconds"))
    done = Server(tmp_path, REELGATE_PROVIDERS=str(folder)).cli(*command, check=False)

    assert (2, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith(f"reelgate: {folder}/acme.toml: ")
    assert "pole_seconds" in done.stderr
    assert 1 == len(done.stderr.strip().splitlines())

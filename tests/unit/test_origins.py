"""Laws of who may use a gateway without keys: this machine's programs and people, and no web page open on it."""

import pytest

from gateway.door.origins import foreign

NONE: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:8080", "LOCALHOST:1", "localhost.", "gate.localhost:8080", "127.0.0.1", "[::1]",
        "127.9.9.9:9000", "[::1]:8080", "[0:0:0:0:0:0:0:1]:1", "[::ffff:127.0.0.1]", "", "video.example.com:8443",
    ],
)  # fmt: skip
def test_this_machine_is_served_by_its_own_names(host: str) -> None:
    """Whatever it calls itself, at whatever port a tunnel ends, and by the name the operator gave."""
    names = frozenset({"video.example.com"})
    assert "" == foreign([host], [], [], names)
    assert "" == foreign([host], ["same-origin"], [f"http://{host}"], names)
    assert "" == foreign([host], ["none"], [], names)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:8080", "127.0.0.1.evil.example", "127.evil.example", "localhost.evil.example",
        "notlocalhost", "10.0.0.1", "[fd00::1]:8080", "[::ffff:10.0.0.1]", "0.0.0.0:8080", "2130706433",
    ],
)  # fmt: skip
def test_a_name_of_somebody_elses_is_refused(host: str) -> None:
    """A page whose name now stands for 127.0.0.1 is of our origin as browsers see it; its name betrays it."""
    said = foreign([host], ["same-origin"], [f"http://{host}"], NONE)
    assert host.strip("[]").partition("]")[0].partition(":8080")[0] in said
    assert "reelgate keys create" in said


@pytest.mark.parametrize(
    ("sites", "origins"),
    [
        (["cross-site"], []),
        (["same-site"], []),
        (["cross-site"], ["https://evil.example"]),
        ([], ["https://evil.example"]),
        ([], ["null"]),
        ([], ["http://localhost:3000"]),
        ([], ["http://localhost"]),
        ([], ["http://localhost:8080.evil.example"]),
        (["same-origin", "cross-site"], []),
        (["same-origin"], ["https://evil.example"]),
        (["anything new"], []),
    ],
)
def test_a_foreign_page_is_refused(sites: list[str], origins: list[str]) -> None:
    """A browser that says another page asks is believed, and so is one that cannot say whose page it is."""
    assert "no web page but its own" in foreign(["localhost:8080"], sites, origins, NONE)
    assert "" == foreign(["localhost:8080"], sites, origins, NONE, reads=True)
    assert "" != foreign(["evil.example"], sites, origins, NONE, reads=True)


def test_programs_send_neither() -> None:
    """Curl and the SDKs say nothing of pages; our own page behind a proxy that speaks TLS is still ours."""
    assert "" == foreign(["127.0.0.1:8080"], [], [], NONE)
    assert "" == foreign(["localhost"], [], ["https://localhost"], NONE)

"""Laws of secrets: from one key, never the same for two, and never made from nothing."""

import base64
from pathlib import Path

import pytest

from gateway.events.vault import NAME, Vault, hash_token, open_vault
from gateway.settings import SettingsError


def test_the_same_name_has_the_same_secret() -> None:
    """Whatever process asks; another key, owner or version makes another."""
    one = Vault(b"a" * 32)
    assert one.signing_secret("whep_1", 1) == Vault(b"a" * 32).signing_secret("whep_1", 1)
    others = {
        one.signing_secret("whep_1", 1),
        one.signing_secret("whep_1", 2),
        one.signing_secret("whep_2", 1),
        Vault(b"b" * 32).signing_secret("whep_1", 1),
    }
    assert 4 == len(others)
    assert {32} == {len(base64.b64decode(each.removeprefix("whsec_"))) for each in others}
    assert one.hook_token("att_1") != one.hook_token("att_2")
    assert one.hook_token("att_1") not in hash_token(one.hook_token("att_1"))


@pytest.mark.parametrize("key", ["", "short", "x" * 31])
def test_a_key_that_can_be_guessed_stops_the_start(key: str, tmp_path: Path) -> None:
    """An empty one signs for everybody."""
    with pytest.raises(SettingsError, match=NAME):
        open_vault({NAME: key}, tmp_path)
    (tmp_path / "secret.key").write_text(key)
    with pytest.raises(SettingsError, match=NAME):
        open_vault({}, tmp_path)


def test_a_key_is_made_once_and_for_us_alone(tmp_path: Path) -> None:
    """The next start finds the same; nobody else can read it; the environment comes first."""
    folder = tmp_path / "media"
    secret = open_vault({}, folder).signing_secret("a", 1)
    assert secret == open_vault({}, folder).signing_secret("a", 1)
    assert secret != open_vault({NAME: "k" * 32}, folder).signing_secret("a", 1)
    assert [0o600] == [path.stat().st_mode & 0o777 for path in folder.iterdir()]

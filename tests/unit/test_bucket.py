"""An object store is opened by its URL and the environment's words for it, or says which are missing."""

from pathlib import Path

import pytest

from gateway.clips.media import open_media
from gateway.settings import MediaSettings, SettingsError

ENVIRON = {"AWS_REGION": "eu-central-1", "AZURE_STORAGE_ACCOUNT_NAME": "reelgate"}


@pytest.mark.parametrize("url", ["s3://bucket/some/prefix", "gs://bucket", "az://container/prefix/"])
@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:9000"])
def test_every_cloud_is_opened(url: str, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of it yet, and nothing it keeps is a file."""
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    media = open_media(MediaSettings(url=url, endpoint=endpoint, local=str(tmp_path / "local")))

    assert media.shelf.path("clips/ab/video/0.mp4") is None
    assert media.incoming == tmp_path / "local" / "incoming"


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure does not know whose container it is."""
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(SettingsError, match=r"media\.url: az://container.*[Aa]ccount"):
        open_media(MediaSettings(url="az://container", local=str(tmp_path)))

"""Laws of objects that name media: what clients say out of habit is taken, anything else is refused by its field."""

from typing import Any

import pytest

from gateway.api.create import VideoCreate
from gateway.api.wishes import media
from gateway.problems import ProblemError

PLACE = "https://x.example/a.png"


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("frame_images", [{"type": "image_url", "image_url": {"url": PLACE, "detail": "high"}}]),
        ("frame_images", [{"image_url": {"url": PLACE, "detail": None}, "frame_type": "last_frame"}]),
        ("input_reference", {"file_id": "file_1", "object": "file"}),
        ("video", {"id": "video_1", "object": "video"}),
    ],
)
def test_habits_are_no_mistakes(field: str, said: Any) -> None:
    """How closely a model should look, and what an object is, change no clip."""
    (found,) = media(VideoCreate(**{field: said}))
    assert found.param.startswith(field)


@pytest.mark.parametrize("stranger", [{"crop": 1}, {"mime_type": "image/png"}])
def test_strangers_are(stranger: dict[str, Any]) -> None:
    """Whoever says more than is read would think that it was heard."""
    with pytest.raises(ProblemError) as refused:
        media(VideoCreate(input_reference={"url": PLACE, **stranger}))
    (name,) = stranger
    assert (refused.value.status, refused.value.param) == (400, f"input_reference.{name}")

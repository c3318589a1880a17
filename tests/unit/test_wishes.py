"""Laws of a wish: what a call means is read before it is judged."""

from typing import Any

import pytest

from gateway.api.create import VideoCreate
from gateway.api.wishes import wish
from gateway.problems import ProblemError
from providers.base.order import Input, Mode, Role

FILM = Input(role=Role.SOURCE, media_type="video/mp4", sha256="0", size=1, seconds=4)


def wished(*inputs: Input, mode: Mode | None = None, **said: Any) -> Any:
    return wish(VideoCreate(**said), inputs, mode=mode, default_model="sora-2").request


@pytest.mark.parametrize(
    ("said", "mode"), [({"task": "upscale"}, None), ({"task": "upscale", "prompt": " "}, None), ({}, Mode.UPSCALE)]
)
def test_an_upscale_needs_no_prompt(said: dict[str, Any], mode: Mode | None) -> None:
    """By the call's own task as by its address; nothing new is to be seen in it."""
    assert Mode.UPSCALE is wished(FILM, mode=mode, **said).mode


@pytest.mark.parametrize("said", [{}, {"task": "edit"}, {"task": "extend"}, {"task": "auto", "prompt": "\n"}])
def test_whatever_else_is_made_needs_one(said: dict[str, Any]) -> None:
    with pytest.raises(ProblemError) as caught:
        wished(FILM, **said)

    assert "prompt" == caught.value.param

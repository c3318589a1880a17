"""Laws of a call's fields: what they mean is read before it is judged, and a wrong one is told in plain words."""

import re
from pathlib import Path
from typing import Any

import pytest

from gateway.api.create import WORDS, VideoCreate, parse
from gateway.api.forms import Body
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


@pytest.mark.parametrize(
    ("said", "param", "told"),
    [
        ({"callback_url": "app.example.com/hook"}, "callback_url", "an address with a host, like https://"),
        ({"model": "my model"}, "model", "the name of a model, like google/veo-3.1"),
        ({"provider": {"only": ["Flow"]}}, "provider.only[0]", "the name of a provider, in lower case, like flow"),
        ({"elements": [{"name": " "}]}, "elements[0].name", "a text that is not blank"),
    ],
)
def test_a_text_of_another_shape_is_told_in_words(said: dict[str, Any], param: str, told: str) -> None:
    """Nobody has to read a pattern to learn what is wanted."""
    with pytest.raises(ProblemError) as caught:
        parse(Body({"prompt": "a", **said}, strict=True))

    assert param == caught.value.param
    assert f"{param}: expected {told}" in caught.value.message
    assert "regex" not in caught.value.message


@pytest.mark.parametrize(
    ("said", "micros"),
    [
        (0.1 + 0.2, 300_000),
        (0.7 + 0.1, 800_000),
        (999_999.1 + 0.2, 999_999_300_000),
        (1e-06, 1),
        (0.000001 * 3, 3),
        ("0.3", 300_000),
        (2, 2_000_000),
        (0, 0),
    ],
)
def test_what_floats_add_up_to_is_the_amount_meant(said: float | str, micros: int) -> None:
    """Half of a micro-dollar is still no amount; nor is a text that says more digits than there are."""
    call = VideoCreate(prompt="a", max_cost_usd=said)

    assert micros == wish(call, (), mode=None, default_model="m").preferences.max_usd_micros


@pytest.mark.parametrize(
    "said", [0.0000005, 0.3000001, 0.30000001, "0.30000000000000004", -0.1, 1e300, 10**30, 1_000_000.1]
)
def test_what_is_no_amount_is_refused(said: float | str) -> None:
    with pytest.raises(ProblemError) as caught:
        wished(prompt="a", max_cost_usd=said)

    assert "max_cost_usd" == caught.value.param


def test_every_pattern_of_a_call_has_its_words() -> None:
    """A new one is written beside them; ids in names of our own making are told by who reads those."""
    here = Path(__file__).parents[2] / "gateway"
    written = {
        pattern for path in here.rglob("*.py") for pattern in re.findall(r'pattern=r"([^"]+)"', path.read_text())
    }

    assert written - {r"^file_[0-9a-f]{32}\Z"} == {*WORDS}

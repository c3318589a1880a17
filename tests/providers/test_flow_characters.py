"""What a table of exchanges cannot say of Flow's characters: kept, made anew, at one account, before what buys."""

import msgspec
import pytest
from msgspec.structs import replace

from providers._flow import MARKER, marked
from providers._flow_characters import key, spoken, write
from providers.base.catalog import Refusal, fit
from providers.base.errors import Again, Billed, Invalid, ProviderError, Refused, Unavailable
from providers.base.listing import load
from providers.base.order import Element, Input, Mode, Request, Role, Spec
from tests.providers.cases import Case, Exchange, Given, Player, open_provider, order_of

LISTING = load("flow")
FAST, QUALITY, OMNI = "google/veo-3.1-fast", "google/veo-3.1", "google/gemini-omni-flash"
CAROL = {"name": "Carol", "description": "A curious traveler"}
VOICE = f"user:1-email:{b'b@x.y'.hex()}-voice:2-mid:3"


def shown(number=0, *, media_type="image/png", name="Carol"):
    return Input(role=Role.ELEMENT, media_type=media_type, sha256=f"{number}" * 64, size=1, name=name)


def asked(*elements, pictures=1, **more):
    inputs = tuple(shown(number) for number in range(pictures))
    return Request(prompt="-", model=OMNI, mode=Mode.REFERENCE, elements=elements, inputs=inputs, **more)


def order(folder, *elements, names=("Carol",), model=OMNI, given=(), **request):
    pictures = [Given(role=Role.ELEMENT, media_type="image/png", name=name) for name in names]
    said = {"prompt": "@carol runs", "elements": elements or (CAROL,), **request}
    return order_of(Case(name="-", offer=model, plan="pro", request=said, inputs=[*given, *pictures]), LISTING, folder)


def upload(email="a@x.y", *, at="assets", name="1", status=200):
    said = {"mediaGenerationId": {"mediaGenerationId": f"user:1-email:{email.encode().hex()}-image:{name}"}}
    return Exchange(call=f"POST /v1/google-flow/{at}", status=status, reply_json=said)


def made(email="a@x.y", *, name="c", status=200, body=None):
    said = {"character": f"user:1-email:{email.encode().hex()}-character:{name}-imgs:1", "entityId": name}
    return Exchange(call="POST /v1/google-flow/characters", status=status, reply_json=said if body is None else body)


def bought(status=201, body=None):
    reply = body or {"jobid": "1", "status": "created"}
    return Exchange(call="POST /v1/google-flow/videos", buys=True, status=status, reply_json=reply)


async def submitted(provider, each, *script):
    """What is sent for an order, every exchange of its script made."""
    wire = Player("flow", provider, [*script])
    await provider.submit(each, wire)
    assert [] == wire.left
    return msgspec.json.decode(wire.calls[-1].body)


# Words


def test_what_is_not_said_is_not_sent():
    """Flow refuses parameters it does not know, and an empty text is none."""
    assert {"displayName": "Carol", "imageReference_1": "a", "imageReference_2": "b"} == write(
        Element(name="Carol"), ["a", "b"]
    )


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("umbriel", "Umbriel"), ("KORE", "Kore"), (VOICE, VOICE), ("", ""), ("Carol", ""), ("Newcomer", ""),
        ("user:1-email:6a6f-character:2-imgs:2-voice:3", ""), (f"x {VOICE}", ""),
    ],
)  # fmt: skip
def test_a_voice_is_a_preset_or_one_made_at_flow(said, named):
    """Whatever else it is called, nobody there knows it; a character with a voice is no voice."""
    assert named == spoken(Element(name="Carol", voice_id=said))


@pytest.mark.parametrize("name", ["Carol", "carol", "Captain Cat", "character_7"])
def test_the_prompt_speaks_of_a_character(name):
    """An element's name becomes the marker of the place its character has, behind those made before."""
    request = asked(Element(name="Tom"), Element(name=name), characters=("user:1-character:2",), pictures=0)
    became = marked(replace(request, prompt=f"@{name} meets @TOM and @user:1-character:2"))
    mine = f"@{name}" if MARKER.fullmatch(name) else "@character_3"

    assert f"{mine} meets @character_2 and @character_1" == became


def test_a_character_is_known_by_what_it_is_made_of():
    """Its name, what is said of it, its voice and its pictures in order: and by nothing else of the order."""
    first = Element(name="Carol", description="quick", voice_id="Kore")
    same = [
        key(first, asked(first, pictures=2)),
        key(replace(first, voice_id="kore"), asked(first, pictures=2)),
        key(first, asked(first, Element(name="Tom"), pictures=2, seed=7, characters=("user:1-character:2",))),
    ]
    turned = replace(asked(first), inputs=(shown(1), shown(0)))
    others = [
        key(replace(first, description="slow"), asked(first, pictures=2)),
        key(replace(first, voice_id=""), asked(first, pictures=2)),
        key(first, asked(first)),
        key(first, turned),
        key(replace(first, name="Caro"), replace(turned, inputs=(shown(0, name="Caro"), shown(1, name="Caro")))),
    ]

    assert 1 == len({*same})
    assert 1 + len(others) == len({same[0], *others})


# Rules


@pytest.mark.parametrize(
    ("model", "mode", "elements", "more", "field"),
    [
        (FAST, "reference", 3, {}, None), (FAST, "reference", 4, {}, "input_references"),
        (FAST, "reference", 2, {"characters": ("a", "b")}, "input_references"), (OMNI, "reference", 7, {}, None),
        (OMNI, "reference", 6, {"characters": ("a",)}, None),
        (OMNI, "reference", 7, {"characters": ("a",)}, "input_references"),
        (OMNI, "edit", 5, {}, None), (OMNI, "edit", 6, {}, "input_references"),
        (FAST, "text", 1, {}, "input_references"), (FAST, "first_frame", 1, {}, "input_references"),
        (FAST, "frames", 1, {}, "input_references"), (FAST, "extend", 1, {}, "input_references"),
        (OMNI, "upscale", 1, {}, "input_references"), (QUALITY, "text", 1, {}, "elements"),
        (FAST, "reference", 1, {"voices": ({"id": "Kore"},)}, None),
    ],
)  # fmt: skip
def test_elements_share_what_characters_share(model, mode, elements, more, field):
    """The room there is for pictures that guide a clip, and what they cannot be had with."""
    cast = tuple(Element(name=f"{number}") for number in range(elements))
    request = Request(prompt="-", model=model, mode=Mode(mode), elements=cast, **more)
    spec = fit(LISTING.offer(model), request, plan="pro")

    assert isinstance(spec, Spec) is (field is None), spec
    assert field is None or field in [each.field for each in spec if isinstance(each, Refusal)]


# Orders


async def test_a_character_is_made_once(tmp_path):
    """The next order names it at once, and another element of the same pictures needs them no more."""
    provider = open_provider(LISTING, USEAPI_EMAIL="")
    first = order(tmp_path)
    sent = await submitted(provider, first, upload(), made(), bought())
    again = await submitted(provider, first, bought())
    other = await submitted(provider, order(tmp_path, {"name": "Carol"}), made(name="d"), bought())

    assert "@character_1 runs" == sent["prompt"]
    assert sent == again
    assert sent["character_1"] != other["character_1"]
    assert not any(name.startswith("referenceImage") for name in sent)


async def test_a_character_in_doubt_is_made_anew(tmp_path):
    """After an order was found invalid it is made again, of pictures sent again, as whichever is gone is not said."""
    provider = open_provider(LISTING, USEAPI_EMAIL="")
    one, gone = order(tmp_path), {"error": "character user:1-email:6a-character:c-imgs:1 not found"}
    wire = Player("flow", provider, [upload(), made(), bought(), bought(400, gone), upload(), made(name="d"), bought()])
    await provider.submit(one, wire)
    with pytest.raises(Invalid) as raised:
        await provider.submit(one, wire)
    await provider.submit(one, wire)

    assert [] == wire.left
    assert Billed.NO is raised.value.billed
    assert "6a-character" not in str(raised.value)
    assert msgspec.json.decode(wire.calls[-1].body)["character_1"].endswith("character:d-imgs:1")


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (made(body={}), Unavailable), (made(body={"character": ""}), Unavailable), (made(body=[]), Unavailable),
        (made(status=500, body={}), Unavailable), (made(status=404, body={}), Unavailable),
        (made(status=400, body={"error": "personalityNotes is too long"}), Invalid),
        (made(status=400, body={"error": {"code": 400, "details": [{"reason": "PUBLIC_ERROR_MINOR"}]}}), Refused),
    ],
)  # fmt: skip
async def test_nothing_is_bought_without_its_character(reply, kind, tmp_path):
    """Where none is made the order does not leave, and nothing was spent."""
    provider = open_provider(LISTING, USEAPI_EMAIL="")
    wire = Player("flow", provider, [upload(), reply])
    with pytest.raises(ProviderError) as raised:
        await provider.submit(order(tmp_path), wire)

    assert [] == wire.left
    assert kind is type(raised.value)
    assert Billed.NO is raised.value.billed
    assert Again.NEVER is not raised.value.again
    assert all(call.repeatable for call in wire.calls)


async def test_all_of_an_order_lies_at_one_google_account(tmp_path):
    """A character kept at another account than the order's is made there too; one at its own is not."""
    provider = open_provider(LISTING, USEAPI_EMAIL="")
    await submitted(provider, order(tmp_path), upload("a@x.y"), made("a@x.y"), bought())
    there = order(tmp_path, characters=(f"user:1-email:{b'b@x.y'.hex()}-character:9-imgs:1",))
    sent = await submitted(provider, there, upload("b@x.y", at="assets/b%40x.y"), made("b@x.y"), bought())
    kept = await submitted(provider, order(tmp_path), bought())

    assert {f"-email:{b'b@x.y'.hex()}-" in sent[f"character_{number}"] for number in (1, 2)} == {True}
    assert sent["character_2"] == kept["character_1"]


async def test_a_voice_says_where_its_character_is_made(tmp_path):
    """A voice made at Flow lies at one account, so its character's pictures go there."""
    provider = open_provider(LISTING, USEAPI_EMAIL="")
    said = {**CAROL, "voice_id": VOICE}
    wire = Player("flow", provider, [upload("b@x.y", at="assets/b%40x.y"), made("b@x.y"), bought()])
    await provider.submit(order(tmp_path, said), wire)

    assert VOICE == msgspec.json.decode(wire.calls[1].body)["voice"]


async def test_several_elements_are_made_one_after_the_other(tmp_path):
    """Each of its own pictures, all at the account of the first, and each at its place."""
    provider = open_provider(LISTING, USEAPI_EMAIL="")
    both = order(tmp_path, CAROL, {"name": "Tom"}, names=("Tom", "Carol", "Tom"), prompt="@Tom and @Carol")
    sent = await submitted(
        provider, both,
        upload(name="carol"), made(name="carol"),
        upload(at="assets/a%40x.y", name="tom"), upload(at="assets/a%40x.y", name="tom2"), made(name="tom"), bought(),
    )  # fmt: skip

    assert "@character_2 and @character_1" == sent["prompt"]
    assert ["carol", "tom"] == [sent[f"character_{number}"].split(":")[3].removesuffix("-imgs") for number in (1, 2)]

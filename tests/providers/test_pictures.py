"""Laws of pictures at every seller: whatever a client may hand in is sold, and handed over as the listing takes it."""

import hashlib
import re
from base64 import b64encode
from io import BytesIO
from pathlib import Path

import pytest
from msgspec.structs import replace
from PIL import Image

from gateway.clips.inputs import IMAGES, MAX_IMAGE, sniff
from gateway.clips.picture import convert
from gateway.offers.asking import notices_of
from providers.base.catalog import fit
from providers.base.conversion import READ, conversion, foreseen, takes
from providers.base.listing import Listing, Offer
from providers.base.order import Input, Mode, Spec
from tests.providers.cases import open_provider, write
from tests.providers.test_conformance import called, offers, wish_for

SIZE = 64, 48
TYPE = re.compile(rb"image/[a-z]+")
PICTURED = [each for each in offers() if {*each.values[2:]} & {Mode.FIRST_FRAME, Mode.FRAMES, Mode.REFERENCE}]


def handed(given: Input, kind: str, offer: Offer, folder: Path, *, turned: bool) -> tuple[Input, Input]:
    """Make an input a picture of a kind, and what an offer is handed for it, as the engine does, in a folder."""
    folder.mkdir(exist_ok=True)
    out, exif = BytesIO(), Image.Exif()
    exif[0x0112] = 6 if turned and kind != "GIF" else 1
    colour = hashlib.sha256(given.role.encode()).digest()[:3]
    Image.new("RGB", SIZE, tuple(colour)).save(out, kind, **({} if kind == "GIF" else {"exif": exif}))
    came = described(given, out.getvalue(), folder)
    into = conversion(offer, came)
    if into is None:
        return came, came
    convert(str(folder / came.sha256), str(folder / "made"), into.types, into.most)
    return came, described(came, (folder / "made").read_bytes(), folder)


def described(given: Input, data: bytes, folder: Path) -> Input:
    """Lay bytes in a folder by their hash, and say what they are."""
    sha256 = hashlib.sha256(data).hexdigest()
    (folder / sha256).write_bytes(data)
    kind, width, height = sniff(folder / sha256, len(data))
    return replace(given, media_type=kind, width=width, height=height, size=len(data), sha256=sha256)


def test_every_picture_that_is_taken_in_can_be_converted() -> None:
    """None of the types a client may hand in is left out."""
    assert {*IMAGES.values()} == READ


@pytest.mark.parametrize("turned", [False, True], ids=["upright", "turned"])
@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize(("listing", "offer", "mode"), PICTURED)
async def test_what_is_quoted_is_handed_over_as_it_is_taken(
    listing: Listing, offer: Offer, mode: Mode, kind: str, tmp_path: Path, *, turned: bool
) -> None:
    """It can be ordered; what leaves is whole, of the types of the listing alone, and as large as the picture looks."""
    plan = listing.plans[-1].name if listing.plans else ""
    request, _ = wish_for(listing, offer, mode, tmp_path)
    if not request.inputs[0].media_type.startswith("image/"):
        pytest.skip("it takes no pictures as references")
    both = [handed(each, kind, offer, tmp_path / "inputs", turned=turned) for each in request.inputs]
    asked = replace(request, inputs=tuple(came for came, _ in both))
    spec = fit(offer, asked, plan=plan)
    assert isinstance(spec, Spec), spec

    taken = takes(offer, "image")
    told = notices_of(offer, listing.slug, asked)
    assert sum(came != became for came, became in both) == len(told)
    for came, became in both:
        assert not taken or became.media_type in taken
        assert offer.image_max is None or became.size <= offer.image_max
        if came != became:
            upright = SIZE[::-1] if turned and kind != "GIF" else SIZE
            assert upright == (became.width, became.height)
            with Image.open(tmp_path / "inputs" / became.sha256) as shown:
                shown.load()

    files = {became.sha256: tmp_path / "inputs" / became.sha256 for _, became in both}
    order = write(offer, replace(asked, inputs=tuple(became for _, became in both)), spec, files)
    calls = await called(listing, order)
    sent = b"\n".join(each for call in calls for each in (call.headers["content-type"].encode(), call.body))
    assert sent
    said = {each.decode() for each in TYPE.findall(sent)}
    assert not taken or said <= {*taken}
    for sha256, path in files.items():
        data = path.read_bytes()
        assert data in sent or b64encode(data) in sent or order.links[sha256].encode() in sent


@pytest.mark.parametrize("kind", IMAGES.values())
@pytest.mark.parametrize(("listing", "offer", "mode"), PICTURED)
def test_no_adapter_objects_to_what_is_foreseen(
    listing: Listing, offer: Offer, mode: Mode, kind: str, tmp_path: Path
) -> None:
    """A picture is asked after as what it will be: whoever is quoted is not refused for its type when it is bought."""
    plan = listing.plans[-1].name if listing.plans else ""
    request, _ = wish_for(listing, offer, mode, tmp_path)
    if not request.inputs[0].media_type.startswith("image/"):
        pytest.skip("it takes no pictures as references")
    large = [replace(each, media_type=kind, size=MAX_IMAGE) for each in request.inputs]
    spec = fit(offer, replace(request, inputs=tuple(large)), plan=plan)
    assert isinstance(spec, Spec), spec
    order = write(offer, replace(request, inputs=tuple(foreseen(offer, large))), spec, {})
    assert [] == [*open_provider(listing).objections(order)]

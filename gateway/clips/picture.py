"""
Convert pictures; runs in another process, imported only there.

Bytes come from strangers, and nothing but their header was looked at before: a decoder that crashes takes that process
with it, not the gateway. The same picture becomes the same bytes each time, with the same libraries.
"""

import warnings
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageCms, ImageOps

from gateway.clips.header import TooLongError, Watched
from gateway.clips.inputs import IMAGES, MAX_PIXELS

QUALITIES = (95, 85, 75)
"""How well a JPEG is written: the first that is small enough; what is below shows."""
JPEG_SIDE = 65_500
"""Longest side of a JPEG in pixels; libjpeg writes none longer."""
DECODE_SECONDS = 20.0
"""Time of the processor a picture may take to decode; the largest honest ones take two."""
BLOCK = 2048
"""Bytes a decoder is given before it is looked at the time: a JPEG can say in few to go over all of it again."""
LOSSY = frozenset({"JPEG"})
BEHIND = "white"
"""What shows behind what was transparent where that cannot be kept."""


class NotAPictureError(ValueError):
    """A file cannot be decoded, or not be converted; the message repeats nothing of it, and no path."""


def convert(source: str, target: str, types: Sequence[str], most: int | None) -> None:
    """
    Write a picture anew as one of some types, upright and in sRGB, its pixels as many as they were.

    What is transparent, or came without loss, becomes a PNG where that is wanted and small enough; else it is a JPEG.

    :param most: how many bytes it may have at most.
    :raises NotAPictureError: when it cannot be decoded, or not be made small enough.
    :raises OSError: when our own disk takes nothing.
    """
    picture, lossless = _read(source)
    for data in _written(picture, types, lossless=lossless):
        if most is None or len(data) <= most:
            Path(target).write_bytes(data)
            return
    raise NotAPictureError("it cannot be made small enough")


def _read(path: str) -> tuple[Image.Image, bool]:
    """
    Decode a picture, and say whether it came without loss.

    :raises NotAPictureError: for any error; what a decoder may raise is written down nowhere.
    :raises OSError: when our own disk does not give it.
    """
    try:
        with warnings.catch_warnings(), Watched(path, DECODE_SECONDS) as file:
            warnings.simplefilter("ignore")
            with Image.open(file, formats=list(IMAGES)) as opened:
                if opened.width * opened.height > MAX_PIXELS or getattr(opened, "is_animated", False):
                    raise NotAPictureError("it is too large, or moves")
                opened.decodermaxblock = BLOCK
                opened.load()
                _turn(opened)
                return _plain(opened), opened.format not in LOSSY and not _is_lossy_webp(path)
    except (NotAPictureError, MemoryError):
        raise  # A want of memory is ours.
    except TooLongError as error:
        raise NotAPictureError("it takes too long to decode") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # The disk's: a decoder's has no number.
        raise NotAPictureError("its pixels cannot be read") from error


def _turn(picture: Image.Image) -> None:
    """Turn a picture as it says it is to be shown; what it says in words nobody can read turns nothing."""
    try:
        ImageOps.exif_transpose(picture, in_place=True)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001, S110  As of any decoder.
        pass


def _plain(picture: Image.Image) -> Image.Image:
    """Have a picture in eight bits of sRGB, with what is transparent where something is, and nothing beside pixels."""
    profile, alpha = picture.info.get("icc_profile"), None
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        alpha = picture.getchannel("A")
        if alpha.getextrema() == (255, 255):
            alpha = None
    elif picture.mode.startswith("I"):  # 16 bits of grey, which a plain conversion would cut off.
        picture = picture.convert("I").point([value // 256 for value in range(65_536)], "L")
    if profile:
        own = picture if picture.mode in {"RGB", "L", "CMYK"} else picture.convert("RGB")
        picture = _in_srgb(own, profile)
    if alpha is None or picture.mode != "RGBA":
        picture = picture.convert("RGB")
    if alpha and picture.mode != "RGBA":
        picture.putalpha(alpha)
    picture.info = {}
    return picture


def _in_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Turn a picture's colours from its own profile to sRGB; one that does not fit it is passed over."""
    try:
        own, srgb = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(picture, own, srgb, outputMode="RGB") or picture
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture


def _is_lossy_webp(path: str) -> bool:
    """Whether a file is a WebP whose pixels are VP8. https://developers.google.com/speed/webp/docs/riff_container."""
    with Path(path).open("rb") as file:
        if file.read(12)[8:] != b"WEBP":
            return False
        while len(head := file.read(8)) == 8:
            if head[:4] in {b"VP8 ", b"VP8L"}:
                return head[:4] == b"VP8 "
            size = int.from_bytes(head[4:], "little")
            file.seek(size + size % 2, 1)
    return False


def _written(picture: Image.Image, types: Sequence[str], *, lossless: bool) -> Iterator[bytes]:
    """Write a picture as each type it may become, the fittest first."""
    is_png_fitter = lossless or picture.mode == "RGBA"
    if is_png_fitter and "image/png" in types:
        yield _png(picture)
    if "image/jpeg" in types and max(picture.size) <= JPEG_SIDE:
        flat = _flat(picture)
        for quality in QUALITIES:
            out = BytesIO()
            flat.save(out, "JPEG", quality=quality, subsampling=0 if quality == QUALITIES[0] else 2)
            yield out.getvalue()
    if not is_png_fitter and "image/png" in types:
        yield _png(picture)


def _png(picture: Image.Image) -> bytes:
    """Write a PNG; level 1 is several times as fast, and a tenth larger."""
    out = BytesIO()
    picture.save(out, "PNG", compress_level=1)
    return out.getvalue()


def _flat(picture: Image.Image) -> Image.Image:
    """Lay what is transparent on a ground of one colour."""
    if picture.mode == "RGB":
        return picture
    ground = Image.new("RGB", picture.size, BEHIND)
    ground.paste(picture, mask=picture.getchannel("A"))
    return ground

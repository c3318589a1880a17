"""Laws of the pictures that are cut out of JSON: what is left, with them back in their places, is what was sent."""

import asyncio
import base64
import json
import os
import resource
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Request

from gateway.api import cutting, forms
from gateway.api.cutting import Cutter
from gateway.api.forms import Body
from gateway.clips import enclosed, inputs
from gateway.clips.enclosed import Enclosed
from gateway.clips.inputs import InputError, read_data_url
from gateway.clips.uploads import Upload
from gateway.problems import ProblemError

GOOGLES = ("bytesBase64Encoded", "imageBytes", "videoBytes", "encodedVideo", "data")
DATA = st.binary(min_size=30, max_size=120).map(lambda data: base64.b64encode(data).decode())
NEARLY = st.builds(
    lambda data, at, more: data[:at] + more + data[at:],
    DATA,
    st.integers(0, 99),
    st.text(max_size=3) | st.text("=", max_size=20),
)
"""Base64 that something may stand in."""
HEADS = st.sampled_from(("data:image/png;base64,", "DATA:;base64,", "data:a;b=c;base64,", "data:image/png,", "x"))
TEXT = st.text(max_size=90) | st.builds(str.__add__, HEADS, NEARLY) | DATA | st.just('"data": "') | st.just("\\" * 40)
KEYS = st.sampled_from(GOOGLES) | TEXT
JSON = st.recursive(
    TEXT | st.integers(-9, 9) | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=9,
)
BODY = st.dictionaries(KEYS, JSON, min_size=1, max_size=4)
WRITTEN: dict[str, Callable[[str], str]] = {
    "plainly": str,
    "as PHP does": lambda text: text.replace("/", r"\/"),
    "as .NET does": lambda text: text.replace("+", r"\u002B"),
    "as Gson does": lambda text: text.replace("=", r"\u003d"),
}


@contextmanager
def cut(text: bytes, *, window: int = 64, most: int = 10**6) -> Iterator[Cutter]:
    """Cut a text, looked at through a window of such a size."""
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryFile() as file,
        pytest.MonkeyPatch.context() as changed,
    ):
        changed.setattr(cutting, "WINDOW", window)
        file.write(text)
        file.flush()
        cutter = Cutter(file.fileno(), len(text), Path(folder), most=most)
        for _ in cutter.cut():
            pass
        yield cutter
        for upload in cutter.uploads:
            upload.drop()
        assert not [*Path(folder).iterdir()]


def whole(url: str) -> bytes | str:
    """Unpack a data URL as one that is held in memory is; or say what is wrong with it."""
    try:
        return b"".join(read_data_url(url))
    except InputError as error:
        return error.code


def unpacked(upload: Enclosed) -> bytes | str:
    """Read what was cut out; or say what is wrong with it."""
    return upload.fault.code if upload.fault else upload.path.read_bytes()


def check(sent: Any, read: Any, key: str, window: int) -> None:
    """Compare what was sent with what was read of it."""
    if isinstance(read, dict):
        assert [*sent] == [*read]
        for name in read:
            check(sent[name], read[name], name, window)
    elif isinstance(read, list):
        for each, other in zip(sent, read, strict=True):
            check(each, other, "", window)
    elif isinstance(read, Enclosed):
        assert whole(f"data:;base64,{sent}" if key in GOOGLES else sent) == unpacked(read)
    else:
        assert sent == read
        url = isinstance(sent, str) and sent[:22] == "data:image/png;base64," and key not in GOOGLES
        assert not (url and len(sent) > 2 * window and isinstance(whole(sent), bytes))


@given(BODY, st.integers(24, 99), st.sampled_from(sorted(WRITTEN)), st.booleans(), st.sampled_from((None, 1)))
def test_what_is_left_and_what_was_cut_out_are_what_was_sent(
    sent: dict[str, Any], window: int, how: str, ascii_: bool, indent: int | None
) -> None:
    """Wherever a piece ends, and however it is written; but a key that says what it is fits into one."""
    text = WRITTEN[how](json.dumps(sent, ensure_ascii=ascii_, indent=indent)).encode("utf-8", "surrogatepass")
    sent = msgspec.json.decode(text)
    with cut(text, window=window) as cutter:
        assert cutter.size == len(cutter.read())
        check(sent, cutter.put_back(msgspec.json.decode(cutter.read())), "", window)


@given(st.lists(DATA | NEARLY, min_size=1, max_size=4), st.integers(40, 200), st.integers(1, 50))
def test_base64_in_pieces_is_base64(parts: list[str], longest: int, size: int) -> None:
    """It is the same bytes, or wrong for the same reason, wherever a piece ends."""
    text = "".join(parts).encode("ascii", "replace")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as changed:
        changed.setattr(inputs, "LONGEST", longest)
        changed.setattr(enclosed, "LONGEST", longest)
        upload = Enclosed(Path(folder))
        for at in range(0, len(text), size):
            upload.unpack(text[at : at + size])
        upload.close()
        assert whole(f"data:;base64,{text.decode()}") == unpacked(upload)
        upload.drop()


URL = "data:image/png;base64," + "A" * 400


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (f'{{"a": "{URL}"}}', 1),
        (f'{{"a": "{URL}", "a": "{URL}"}}', 2),
        (f'["{URL}" \n, "x", "{URL}"\t]', 2),
        (f'{{"{URL}": 1}}', 0),  # A key.
        (f'{{"a": "\\"{URL}"}}', 0),  # It is not what the string begins with.
        (f'{{"a": "x\\", \\"b\\": \\"{URL}"}}', 0),
        (f'{{"a": "\\"data\\": ", "b": "{"A" * 400}"}}', 0),
        (f'{{"x\\"data": "{"A" * 400}"}}', 0),
        (f'{{"data" : "{"A" * 400}"}}', 1),
        (f'{{"date": "{"A" * 400}"}}', 0),
        (f'{{"data": "{URL}"}}', 1),  # And no base64, as where it is short.
        (f'{{"a": "{URL}\\t"}}', 0),
        (f'{{"a": "{URL}é"}}', 0),
        (f'{{"a": "{URL}', 0),
        (f'{{"a": "{URL}" "b": 1}}', 0),
        (f'{{"a": "{URL}\\', 0),
    ],
)
def test_only_a_string_that_is_a_picture_is_cut_out(text: str, count: int) -> None:
    """A value, of nothing but what base64 may have been meant by."""
    with cut(text.encode()) as cutter:
        assert count == len(cutter.uploads)
        assert (cutter.read() == text.encode()) is (count == 0)


def test_what_is_wrong_is_where_it_was_sent() -> None:
    """A place in what is left is told as the one in the body."""
    text = f'{{"a": "{URL}", "b": ["{URL}", 1 2]}}'.encode()
    with pytest.raises(ProblemError) as plainly:
        forms.decode_object(text)
    with cut(text) as cutter, pytest.raises(ProblemError) as cut_out:
        forms.decode_object(cutter.read(), cutter.place)
    assert len(cutter.uploads) == 2
    assert plainly.value.message == cut_out.value.message


def test_nobody_knows_the_marks_of_another_body() -> None:
    """Neither of the next one, nor of the same sent again."""
    text = f'["{URL}"]'.encode()
    with cut(text) as one, cut(text) as other:
        assert one.read() != other.read()
        assert msgspec.json.decode(one.read()) == other.put_back(msgspec.json.decode(one.read()))


def test_what_nobody_decodes_is_not_looked_through() -> None:
    """More text beside the pictures, or more pictures, than any call needs."""
    many = ",".join([f'"{URL}"'] * (cutting.MOST_PICTURES + 2))
    for text, most in ((f'["{URL}", "{"x y" * 999}", "{URL}"]', 999), (f"[{many}]", 10**6)):
        with cut(text.encode(), most=most) as cutter:
            assert cutter.size > most or cutter.crowded
            assert len(cutter.uploads) < text.count(URL)


def pictured(data: bytes) -> bytes:
    """Write a body that holds a picture."""
    return f'{{"a": ["data:;base64,{base64.b64encode(data).decode()}"]}}'.encode()


async def read(text: bytes, folder: Path, turn: asyncio.Lock) -> Body:
    """Read a body without memory to lend."""
    pieces = iter(range(0, len(text), cutting.WINDOW))

    async def receive() -> dict[str, Any]:
        at = next(pieces)
        more = at + cutting.WINDOW < len(text)
        return {"type": "http.request", "body": text[at : at + cutting.WINDOW], "more_body": more}

    async def lend(size: int) -> Callable[[], None]:
        raise AssertionError(size)

    scope: Any = {"type": "http", "headers": [(b"content-type", b"application/json")]}
    call: Any = Request(scope, receive)  # type: ignore[arg-type]
    return await forms.read_body(call, folder=folder, max_bytes=len(text), seconds=20, lend=lend, turn=turn)


async def test_a_picture_is_never_held(tmp_path: Path) -> None:
    """Neither as text nor as bytes: no memory is asked for, and none taken; and it is gone with its body."""
    data = bytes(6 * 2**20)
    text = pictured(data)
    tracemalloc.start()
    try:
        body = await read(text, tmp_path, asyncio.Lock())
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    (found,) = body.fields["a"]
    assert data == found.path.read_bytes()
    assert most < 2**20
    body.drop()
    assert not os.listdir(tmp_path)  # noqa: PTH208


async def test_who_is_called_off_waits_for_the_turn_to_end() -> None:
    """What is worked on is there until then, and nobody else's turn comes before."""
    begun, goes_on, done, turn = threading.Event(), threading.Event(), threading.Event(), asyncio.Lock()

    def work() -> Iterator[None]:
        begun.set()
        goes_on.wait(20)
        done.set()
        yield

    working = asyncio.ensure_future(forms._in_turns(work(), turn))
    await asyncio.to_thread(begun.wait)
    working.cancel()
    asyncio.get_running_loop().call_soon(goes_on.set)
    async with turn:
        assert done.is_set()
    with pytest.raises(asyncio.CancelledError):
        await working


async def test_what_takes_one_turn_waits_for_nobody(tmp_path: Path) -> None:
    """However many large ones are looked through."""
    turn = asyncio.Lock()
    async with turn, asyncio.timeout(20):
        body = await read(pictured(bytes(2**18)), tmp_path, turn)
    body.drop()


@pytest.mark.parametrize("piece", [3_000, 20_000])
def test_what_a_full_disk_did_not_take_is_gone(tmp_path: Path, piece: int) -> None:
    """Else what was refused would keep it full."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    upload = Upload(tmp_path, "a picture")
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, usual[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            any(map(upload.write, repeat(bytes(piece), 9)))
        upload.drop()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert not [*tmp_path.iterdir()]


async def test_who_has_few_steps_waits_for_few_of_others() -> None:
    """Turns go round: a small body behind large ones is not the last to be done."""
    turn, ended = asyncio.Lock(), []

    async def work(name: str, steps: int) -> None:
        await forms._in_turns(iter([None] * steps), turn)
        ended.append(name)

    await asyncio.gather(work("large", 99 * forms.STEPS), work("huge", 200 * forms.STEPS), work("small", 3))
    assert ended == ["small", "large", "huge"]

"""
Bombs and slow clients: what is small to send and large to take, and what is never done sending.

Each is thrown at a real server while somebody asks whether it lives; what its processes grew by at most is read off
the kernel's own high-water mark. ``python -m tests.abuse`` throws them at full size and says what it saw.
"""

import base64
import gzip
import json
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.abuse import wire
from tests.abuse.table import read
from tests.abuse.target import Target
from tests.abuse.wire import Answer

MIB = 2**20
MOST_GROWTH = 64 * MIB
"""What a server may grow by under one of them."""
PNG = read().contents["png"].encode("latin-1")


class Seen(NamedTuple):
    """Hold what one bomb did."""

    statuses: list[int]
    growth: int
    """Bytes all processes grew by together, at most."""
    slowest: float
    """Seconds the slowest look at ``/health/live`` took meanwhile, by the clock."""
    busiest: float
    """
    Seconds at most of one such look without those in which the server, or who asked, was ready to run and had no
    processor, as the machine was at something else; but never less than the server's loop was at work in it.
    """


def chunk(kind: bytes, data: bytes) -> bytes:
    """Write a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, packed: bytes = b"", depth: int = 8) -> bytes:
    """Write a PNG that says it is so large, around whatever is packed."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", packed or zlib.compress(b"\0")) + chunk(b"IEND", b"")


def packed_zeros(size: int) -> bytes:
    """Pack so many zeros, a thousandth of their size, without ever holding them."""
    pack = zlib.compressobj(9)
    return b"".join([*(pack.compress(bytes(MIB)) for _ in range(size // MIB)), pack.flush()])


def texted_png(size: int) -> bytes:
    """Write a small PNG with a packed text of such a size before its picture."""
    text = chunk(b"zTXt", b"Comment\0\0" + packed_zeros(size))
    return PNG[:33] + text + PNG[33:]


def webp(side: int) -> bytes:
    """Write a WebP that says it is as large as one can be."""
    data = b"\0\0\0\0" + (side - 1).to_bytes(3, "little") * 2
    body = b"WEBP" + b"VP8X" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif(frames: int, side: int = 4000) -> bytes:
    """Write a GIF of many large frames that say nothing."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02L\x01\0"
    return b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes(6) + frame * frames + b";"


def jpeg(side: int) -> bytes:
    """Write a JPEG that says it is as large as one can be."""
    head = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, side, side, 3) + b"\1\x22\0\2\x11\1\3\x11\1"
    return b"\xff\xd8" + head + frame + b"\xff\xda\0\x0c\3\1\0\2\x11\3\x11\0\x3f\0" + bytes(64) + b"\xff\xd9"


def atom(kind: bytes, data: bytes, *, size: int | None = None) -> bytes:
    """Write an atom of an MP4, and what size it says it has."""
    said = len(data) + 8 if size is None else size
    if said >= 2**32:
        return struct.pack(">I4sQ", 1, kind, said) + data
    return struct.pack(">I4s", said, kind) + data


def mp4(kind: str) -> bytes:
    """Write an MP4 whose atoms are absurd."""
    brand = atom(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41")
    full = struct.pack(">I", 0)
    header = atom(b"mvhd", full + struct.pack(">IIII", 0, 0, 1000, 2**31) + bytes(80))
    entry = atom(b"avc1", bytes(6) + b"\0\1" + bytes(16) + struct.pack(">HH", 65535, 65535) + bytes(50))
    described = atom(b"stsd", full + struct.pack(">I", 1) + entry)
    tables = {
        "times": atom(b"stts", full + struct.pack(">III", 2**32 - 1, 2**31, 1)),
        "sizes": atom(b"stsz", full + struct.pack(">II", 0, 2**32 - 1)),
        "offsets": atom(b"co64", full + struct.pack(">I", 2**32 - 1)),
        "chunks": atom(b"stsc", full + struct.pack(">IIII", 2**32 - 1, 1, 2**31, 1)),
        "samples": atom(b"stsz", full + struct.pack(">II", 1, 2**31))
        + atom(b"stts", full + struct.pack(">III", 1, 2**31, 1)),
    }
    if kind == "deep":
        inside = b""
        for _ in range(20_000):
            inside = atom(b"moov", inside)
        return brand + inside
    if kind == "huge":
        return brand + atom(b"moov", b"", size=2**63 - 1)
    table = atom(b"stbl", described + tables[kind])
    handler = atom(b"hdlr", full + bytes(4) + b"vide" + bytes(13))
    media = atom(b"mdia", atom(b"mdhd", full + struct.pack(">IIII", 0, 0, 1000, 2**31) + bytes(4)) + handler
                 + atom(b"minf", atom(b"vmhd", full + bytes(8)) + table))  # fmt: skip
    track = atom(b"tkhd", full + bytes(80)) + media
    return brand + atom(b"moov", header + atom(b"trak", track)) + atom(b"mdat", bytes(64))


def upload(target: Target, content: bytes) -> int:
    """Upload a file; answers the status, and keeps nothing."""
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    answer = target.call("POST", "/v1/files", head + content + b"\r\n--x--\r\n", kind="multipart/form-data; boundary=x")
    if answer.status == 200:
        target.call("DELETE", f"/v1/files/{answer.json['id']}")
    return answer.status


def order(target: Target, body: bytes, kind: str = "application/json", **headers: str) -> int:
    """Send the body of an order; what comes of it is not kept."""
    usual = {"Host": target.names["host"], "Authorization": f"Bearer {target.own}", "Content-Type": kind}
    head = wire.request("POST", "/v1/videos", {**usual, **headers, "Content-Length": str(len(body))}.items())
    with wire.open_to(target.server.port, seconds=60) as connection:
        answer = wire.exchange(connection, [head + body], "POST")
    if answer.status == 200:
        target.remove(answer.json["id"])
    return answer.status


def pictured(target: Target, content: bytes) -> int:
    """Order a clip from a picture in a data URL."""
    url = "data:image/png;base64," + base64.b64encode(content).decode()
    wanted = {"model": "sandbox/demo", "prompt": "x [reject]", "input_reference": {"image_url": url}}
    return order(target, json.dumps(wanted).encode())


def parts(count: int, size: int) -> bytes:
    """Write a form of many parts."""
    part = b'--x\r\nContent-Disposition: form-data; name="x%d"\r\n\r\n' + b"a" * size + b"\r\n"
    return b"".join(part.replace(b"%d", str(at).encode()) for at in range(count)) + b"--x--\r\n"


Bomb = Callable[[Target, float], list[int]]
"""Throws one, at a share of its full size; answers what came back."""
FORM = "multipart/form-data; boundary=x"

BOMBS: dict[str, Bomb] = {
    "a picture that says it is huge": lambda t, _: [
        upload(t, each) for each in (png(50_000, 50_000), webp(16_383), jpeg(65_535), png(2**31 - 1, 2**31 - 1))
    ],
    "a picture that unpacks to a gigabyte": lambda t, size: [
        send(t, png(6300, 6300, packed=packed_zeros(int(1024 * size) * MIB))) for send in (upload, pictured)
    ],
    "a text in a picture that unpacks to a gigabyte": lambda t, size: [
        send(t, texted_png(int(1024 * size) * MIB)) for send in (upload, pictured)
    ],
    "a picture of ten thousand pictures": lambda t, size: [
        send(t, gif(int(10_000 * size))) for send in (upload, pictured)
    ],
    "a clip of absurd atoms": lambda t, _: [
        upload(t, mp4(kind)) for kind in ("times", "sizes", "offsets", "chunks", "samples", "deep", "huge")
    ],
    "a body of nothing but depth": lambda t, size: [
        order(t, opening * int(10**6 * size)) for opening in (b"[", b'{"metadata":', b'{"a":[')
    ],
    "a body of nothing but breadth": lambda t, size: [
        order(t, b'{"metadata": [' + each * int(10**6 * size) + b"1]}") for each in (b"[],", b"{},", b"1.5,", b'"",')
    ],
    "a form of many parts": lambda t, size: [
        order(t, parts(int(20_000 * size), 10), FORM), order(t, parts(250, int(200_000 * size)), FORM)
    ],
    "a body that is packed": lambda t, size: [
        order(t, gzip.compress(b'{"prompt": "' + b"a" * int(256 * size) * MIB + b'"}'), **{"Content-Encoding": "gzip"})
    ],
    "connections that say nothing": lambda t, size: crowd(t, int(2000 * size), b""),
    "heads that do not end": lambda t, size: crowd(t, int(1000 * size), b"GET /v1/videos HTTP/1.1\r\nHost: x\r\nX-A:"),
    "bodies that do not end": lambda t, size: crowd(t, int(500 * size), unended(t)),
    "large texts that do not end": lambda t, size: [
        status for kind in LARGE for status in stopped(t, 16, kind, int(60 * size * MIB))
    ],
    "large pictures as text": lambda t, size: together(t, 16, framed(int(19.5 * size * MIB))),
    "pictures too large as text": lambda t, size: together(t, 16, endless(int(60 * size * MIB))),
    "large texts": lambda t, size: together(t, 16, b'{"prompt": "%s"}' % (b"x" * int(60 * size * MIB))),
    "readers that do not read": lambda t, size: crowd(t, int(500 * size), asking(t)),
}  # fmt: skip


LARGE = {
    "application/json": b'{"model": "sandbox/demo", "input_reference": {"image_url": "data:image/png;base64,',
    FORM: b'--x\r\nContent-Disposition: form-data; name="input_reference"\r\n\r\ndata:image/png;base64,',
}
"""How an order begins that holds a picture as text, by its kind."""


def stopped(target: Target, count: int, kind: str, size: int) -> list[int]:
    """Have so many such orders under way at once, of all of which the last megabyte does not come."""
    head = {"Host": target.names["host"], "Authorization": f"Bearer {target.own}", "Content-Type": kind}
    begun = wire.request("POST", "/v1/quotes", [*head.items(), ("Content-Length", str(size + MIB))]) + LARGE[kind]
    with ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(wire.open_to(target.server.port))
            connection.sendall(begun)
            for _ in range(size // MIB):
                connection.sendall(b"A" * MIB)
        return [ask(target).status for _ in range(5)]


def framed(size: int) -> bytes:
    """Write the body of a call whose first and last frame are pictures of such a size, as text."""
    url = b"data:image/png;base64," + base64.b64encode(PNG + bytes(size))
    frames = b",".join(
        b'{"frame_type": "%s_frame", "image_url": {"url": "%s"}}' % (kind, url) for kind in (b"first", b"last")
    )
    return b'{"model": "sandbox/demo", "prompt": "x", "frame_images": [%s]}' % frames


def endless(size: int) -> bytes:
    """Write the body of a call whose only picture is larger than any may be."""
    return LARGE["application/json"] + b"A" * size + b'"}}'


def together(target: Target, count: int, body: bytes) -> list[int]:
    """Have so many ask at once what a call would cost; answers what came, and what whoever was turned away heard."""
    head = {"Host": target.names["host"], "Authorization": f"Bearer {target.own}", "Content-Type": "application/json"}
    said = wire.request("POST", "/v1/quotes", [*head.items(), ("Content-Length", str(len(body)))])
    with ExitStack() as stack:
        connections = [stack.enter_context(wire.open_to(target.server.port, seconds=60)) for _ in range(count)]
        for connection in connections:
            connection.sendall(said)
            connection.sendall(memoryview(body)[:-1])
        for connection in connections:
            connection.sendall(body[-1:])
        return [wire.exchange(connection, [], "POST").status for connection in connections]


def unended(target: Target) -> bytes:
    """Write the beginning of an upload."""
    head = {"Host": target.names["host"], "Authorization": f"Bearer {target.own}", "Content-Type": FORM}
    begun = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(1000)
    return wire.request("POST", "/v1/files", [*head.items(), ("Content-Length", str(32 * MIB))]) + begun


def asking(target: Target) -> bytes:
    """Write a call for a clip, again and again, more than a socket holds."""
    head = {"Host": target.names["host"], "Authorization": f"Bearer {target.own}"}
    return wire.request("GET", f"/v1/videos/{target.names['done']}/content", head.items()) * 50


def crowd(target: Target, count: int, said: bytes) -> list[int]:
    """Have so many connections open at once, each of which has said something and says no more."""
    with ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(wire.open_to(target.server.port))
            connection.setblocking(False)
            if said:
                try:
                    connection.send(said)
                except BlockingIOError:
                    continue
        return [ask(target).status for _ in range(5)]


def ask(target: Target) -> Answer:
    """Ask whether the server lives."""
    with wire.open_to(target.server.port) as connection:
        return wire.exchange(connection, [b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"], "GET")


def family(pid: int) -> Iterator[int]:
    """List a process and those it started."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from family(int(child))


def memory(pid: int, what: str) -> int:
    """Read how much memory a process has, or had at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{what}:")[2].split()[0]) * 1024


def clocked(pid: int, thread: int) -> tuple[float, float]:
    """
    Read how many seconds a server's loop has run, and how many its threads and one of ours were ready to and could not.

    Nothing where the kernel does not count that.
    """
    ran = waited = 0.0
    tasks = [*Path(f"/proc/{pid}/task").iterdir(), Path(f"/proc/self/task/{thread}")]
    for task in tasks:
        with suppress(FileNotFoundError, ProcessLookupError):
            on, off, _ = map(int, (task / "schedstat").read_text().split())
            ran, waited = ran + (on / 1e9 if task.name == str(pid) else 0), waited + off / 1e9
    return ran, waited


@contextmanager
def watched(target: Target, looks: list[tuple[float, float]]) -> Iterator[None]:
    """Ask whether the server lives, again and again meanwhile."""
    done, pid = threading.Event(), target.server.pid

    def look() -> None:
        mine = threading.get_native_id()
        while not done.wait(0.05):
            ran, waited = clocked(pid, mine)
            seconds = ask(target).seconds
            after = clocked(pid, mine)
            looks.append((seconds, max(after[0] - ran, seconds - (after[1] - waited))))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def throw(target: Target, name: str, size: float = 1.0) -> Seen:
    """Throw a bomb, and say what it did."""
    before: dict[int, int] = {}
    for pid in family(target.server.pid):
        Path(f"/proc/{pid}/clear_refs").write_text("5")
        before[pid] = memory(pid, "VmRSS")
    looks: list[tuple[float, float]] = []
    with watched(target, looks):
        statuses = BOMBS[name](target, size)
    growth = sum(memory(pid, "VmHWM") - before.get(pid, 0) for pid in family(target.server.pid))
    slowest, busiest = (max((look[of] for look in looks), default=0.0) for of in (0, 1))
    return Seen(statuses, growth, slowest, busiest)

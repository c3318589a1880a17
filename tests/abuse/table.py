"""
Read the table: what is sent and what must come back, as ``rows.toml`` says it.

A row of the table holds one or more forms; what a form leaves out its row says, and what neither says is the
ordinary case: ``GET``, or ``POST`` of JSON to ``/v1/videos`` where there is a body, with a good key.
"""

import base64
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from tests.abuse import wire

DATA = Path(__file__).parent / "rows.toml"
Pair = Annotated[list[Any], Meta(min_length=2, max_length=3)]
"""A header or a part, and how often; ``<n>`` in it counts."""


class Form(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hold a multipart body: parts by field name, by ``name|filename``, or by their whole head."""

    parts: list[Pair]
    bare: bool = False
    """Whether model and prompt are left out."""
    boundary: str = "frontier"
    type: str = "multipart/form-data; boundary=<boundary>"
    end: bool = True


class Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hold one form of input and the answer it must get."""

    row: int
    input: str
    """The row's words in the table."""
    name: str
    status: int | list[int]
    code: str | None = None
    param: str | None = None
    header: dict[str, str] = {}
    """How these headers of the answer begin."""
    layer: Literal["app", "server"] = "app"
    """Who answers: the application, or granian, whose refusals have no body."""
    answer: Literal["problem", "video", "file", "list", "clip", "none"] = "problem"
    stored: bool = False
    """Whether a job or a file comes of it, which then holds what was sent."""
    sent: dict[str, Any] = {}
    """What the stored thing must show, besides what can be read off the body."""
    closes: bool = False
    """Whether the connection ends with the answer."""
    within: float = 10
    """Seconds the answer may take."""
    note: str = ""

    method: str = ""
    path: str = "/v1/videos"
    also: list[str] = []
    """Other paths where the same must happen."""
    key: Literal["own", "other", "none"] = "own"
    host: bool = True
    headers: list[Pair] = []
    type: str | None = None
    fields: str | None = None
    """Members of a JSON object, added to an ordinary order."""
    json: str | None = None
    bytes: str | None = None
    """A body of any bytes, in Latin-1."""
    form: Form | None = None
    raw: str | None = None
    """A whole request, in Latin-1."""
    chunked: bool = False
    times: tuple[str, int] | None = None
    """What ``<*>`` stands for: a text and how often."""
    each: list[str] = []
    """Names of contents: one entry for each, ``<it>`` being the content and ``<b64>`` its base64."""
    it: str = ""

    @property
    def id(self) -> str:
        """Name the test."""
        return f"{self.row:03}-{self.name}".replace(" ", "-")

    @property
    def statuses(self) -> list[int]:
        """Say which answers are right."""
        return self.status if isinstance(self.status, list) else [self.status]

    @property
    def verb(self) -> str:
        """Say which method is used."""
        has_body = any(each is not None for each in (self.fields, self.json, self.bytes, self.form))
        return self.method or ("POST" if has_body else "GET")


class Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hold the whole file."""

    left_out: dict[str, str]
    """Rows that are not here, and why."""
    contents: dict[str, str]
    """Files by name, in Latin-1; ``png`` is a real picture."""
    row: list[dict[str, Any]]

    def entries(self) -> Iterator[Entry]:
        """Write every row out into its entries."""
        for row in self.row:
            common = {name: value for name, value in row.items() if name != "forms"}
            for form in row["forms"]:
                yield from _spread(msgspec.convert({**common, **form}, Entry), self.contents)


def read() -> Table:
    """Read the file; a word it should not hold stops everything."""
    return msgspec.convert(tomllib.loads(DATA.read_text(encoding="utf-8")), Table)


def compose(entry: Entry, names: Mapping[str, str]) -> list[bytes]:
    """
    Write the request of an entry as the pieces to send.

    ``names`` are what the placeholders stand for: keys, ids, the host.
    """
    says = {**names, "it": entry.it, "b64": base64.b64encode(entry.it.encode("latin-1")).decode()}
    if entry.raw is not None:
        return [_fill(entry.raw, entry, says).encode("latin-1")]
    kind, body = _body(entry, says)
    headers = [("Host", says["host"])] if entry.host else []
    if entry.key != "none":
        headers.append(("Authorization", f"Bearer {says[entry.key]}"))
    if kind:
        headers.append(("Content-Type", kind))
    headers += _repeat(entry.headers)
    if entry.chunked:
        headers.append(("Transfer-Encoding", "chunked"))
    elif entry.verb not in {"GET", "HEAD"} and not any(name.lower() == "content-length" for name, _ in headers):
        headers.append(("Content-Length", str(len(body))))
    filled = [(name, _fill(value, entry, says)) for name, value in headers]
    head = wire.request(entry.verb, _fill(entry.path, entry, says), filled)
    return [head, *wire.chunks(body)] if entry.chunked else [head + body]


def order(fields: str) -> str:
    """Write an ordinary order with some members of its JSON object given."""
    usual = {"model": '"sandbox/demo"', "prompt": '"a red fox"', "seconds": '"1"', "resolution": '"360p"'}
    same = {"duration": "seconds", "size": "resolution"}
    named = set(re.findall(r'"(\w+)"\s*:', re.sub(r"[\[{].*[\]}]", "", fields, flags=re.DOTALL)))
    named |= {same[name] for name in named & set(same)}
    members = [f'"{name}": {value}' for name, value in usual.items() if name not in named]
    return "{" + ", ".join([*members, fields]) + "}"


def _spread(entry: Entry, contents: Mapping[str, str]) -> Iterator[Entry]:
    """Write an entry out over its contents and its paths."""
    for path in (entry.path, *entry.also):
        name = entry.name if path == entry.path else f"{entry.name} at {path[:40]}"
        for content in entry.each or [None]:
            if content is None:
                yield replace(entry, path=path, name=name)
            else:
                yield replace(entry, path=path, name=f"{name} {content}", it=contents[content])


def _body(entry: Entry, says: Mapping[str, str]) -> tuple[str | None, bytes]:
    """Write a body and its type."""
    if entry.form is not None:
        kind, body = _multipart(entry.form, entry, says)
        return entry.type or kind, body
    text = order(entry.fields) if entry.fields is not None else entry.json
    if text is not None:
        return _type(entry), _fill(text, entry, says).encode()
    if entry.bytes is not None:
        return _type(entry), _fill(entry.bytes, entry, says).encode("latin-1")
    return entry.type, b""


def _type(entry: Entry) -> str:
    """Say which Content-Type a body has that is no form."""
    return "application/json" if entry.type is None else entry.type


def _multipart(form: Form, entry: Entry, says: Mapping[str, str]) -> tuple[str, bytes]:
    """Write a multipart body and its type."""
    usual = [] if form.bare else [("model", "sandbox/demo"), ("prompt", "a red fox"), ("resolution", "360p")]
    boundary = _fill(form.boundary, entry, says)
    out = []
    for head, content in [*usual, *_repeat(form.parts)]:
        out += [f"--{boundary}", _fill(_head(head), entry, says), "", _fill(content, entry, says)]
    if form.end:
        out.append(f"--{boundary}--")
    return form.type.replace("<boundary>", boundary), ("\r\n".join(out) + "\r\n").encode("latin-1")


def _head(words: str) -> str:
    """Write the head of a part."""
    if ":" in words:
        return words
    name, bar, filename = words.partition("|")
    tail = f'; filename="{filename}"\r\nContent-Type: image/png' if bar else ""
    return f'Content-Disposition: form-data; name="{name}"{tail}'


def _repeat(pairs: list[Pair]) -> Iterator[tuple[str, str]]:
    """Write out what comes several times."""
    for name, value, *often in pairs:
        for at in range(often[0] if often else 1):
            yield name.replace("<n>", str(at)), value.replace("<n>", str(at))


def _fill(text: str, entry: Entry, says: Mapping[str, str]) -> str:
    """Put in what the placeholders stand for."""
    for name in re.findall(r"<(\w+)>", text[:10_000]):
        if name in says:
            text = text.replace(f"<{name}>", says[name])
    if entry.times:
        text = text.replace("<*>", entry.times[0] * entry.times[1])
    return text

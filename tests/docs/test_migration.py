"""Laws of the migration guide: every snippet leaves a clip, and what it says is refused is."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import ROOT, Server

GUIDE = (ROOT / "docs" / "migration.md").read_text()
SNIPPETS = re.findall(r"^```(python|sh|js)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
RUNNERS = {"python": [sys.executable, "-W", "ignore"], "sh": ["bash", "-eu"], "js": [shutil.which("node") or ""]}
MODULES = ROOT / "tests" / "sdk" / "node" / "node_modules"
SUFFIXES = {"python": "py", "sh": "sh", "js": "mjs"}
BY_NAME = "https://video.example.com"
"""The gateway, for an SDK that fetches nothing from this machine; led back to it where a router would do that."""
LED_BACK = """
import net from 'node:net';

const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (...words) {
  const options = Array.isArray(words[0]) ? words[0][0] : words[0];
  if (options?.host === 'video.example.com') {
    options.host = '127.0.0.1';
    delete options.lookup;
  }
  return connect.apply(this, words);
};
"""
ALIASES = re.findall(r"^```toml\n\[aliases\]\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def configured(folder: Path) -> Server:
    """Make a gateway that is configured as the guide says: our own file, and each line it adds."""
    config = (ROOT / "config.toml").read_text()
    (folder / "config.toml").write_text(config.replace("[aliases]\n", "[aliases]\n" + "".join(ALIASES), 1))
    made = Server(folder)
    made.module = "tests.hasty"
    return made


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A gateway that asks for no key."""
    made = configured(tmp_path_factory.mktemp("open")).start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A gateway that asks for the key the guide's reader puts in, as every one that sells does."""
    made = configured(tmp_path_factory.mktemp("guide"))
    key = made.create_key("--name", "guide")
    made.start()
    yield made, key
    made.stop()


def row(containing: str) -> str:
    """Find what is said to hold here: the first cell of the one row that holds some words."""
    (found,) = (line for line in GUIDE.splitlines() if line.startswith("|") and containing in line)
    return found.split("|")[1]


@pytest.mark.parametrize(
    ("language", "snippet"), SNIPPETS, ids=[re.sub(r"\W+", "-", snippet[:60]).strip("-") for _, snippet in SNIPPETS]
)
def test_a_snippet_leaves_a_clip(guarded: tuple[Server, str], tmp_path: Path, language: str, snippet: str) -> None:
    """Run as it stands, but for where the gateway listens, and its key."""
    gateway, key = guarded
    if not RUNNERS[language][0]:
        pytest.skip("Node is not here")
    if "from '@" in snippet:
        if not (MODULES / "@openrouter").exists():
            pytest.skip("the SDK for Node is not here: make test installs it where npm is")
        (tmp_path / "node_modules").symlink_to(MODULES)
    program = tmp_path / f"snippet.{SUFFIXES[language]}"
    named = f"http://video.example.com:{gateway.port}"
    changes = {"http://127.0.0.1:8080": gateway.url, BY_NAME: named, "rgk_...": key}
    for said, put in changes.items():
        snippet = snippet.replace(said, put)
    program.write_text(snippet)
    runner = [*RUNNERS[language]]
    if named in snippet:
        (tmp_path / "led_back.mjs").write_text(LED_BACK)
        runner += ["--import", str(tmp_path / "led_back.mjs")]
    done = subprocess.run([*runner, str(program)], capture_output=True, text=True, cwd=tmp_path, timeout=58)

    assert done.returncode == 0, done.stderr
    (clip,) = tmp_path.glob("*.mp4")
    assert clip.read_bytes()[4:8] == b"ftyp"


def test_every_base_url_is_served() -> None:
    """The guide names each address that a dialect is answered at."""
    assert {"python", "sh", "js"} == {language for language, _ in SNIPPETS}
    for path in ("/v1", "/api/v1", "/v1/google-flow"):
        assert f"`http://127.0.0.1:8080{path}`" in GUIDE


SOURCES = (
    "OpenAI Videos",
    "LiteLLM",
    "CometAPI",
    "AI Generate and kie.ai",
    "useapi.net",
    "Gemini API",
    "Vertex AI",
    "OpenRouter",
    "Vercel AI SDK",
)


@pytest.mark.parametrize("source", SOURCES)
def test_each_source_has_its_line_and_a_call(source: str) -> None:
    """Whoever comes from there finds a section with a snippet that runs."""
    sections = [each for each in GUIDE.split("\n## ")[1:] if each.startswith(source)]

    assert sections
    assert any(re.search(r"^```(?:python|sh|js)$", each, re.MULTILINE) for each in sections)


def test_the_names_an_app_brings_stand_for_models() -> None:
    """Without its line under ``[aliases]`` a name of somebody else's is not known: the guide has to give both."""
    brought = tomllib.loads("".join(ALIASES))

    assert {"veo", "veo3.1"} == set(brought)
    assert set() == set(brought) & set(tomllib.loads((ROOT / "config.toml").read_text())["aliases"])


def test_what_litellm_takes_beside_is_refused_by_name(gateway: Server) -> None:
    """Each field the guide names is a 400 that names it; in a query or a header nobody reads it."""
    fields = re.findall(r"`(\w+)`", row("`custom_llm_provider`"))
    assert len(fields) == 4
    for field in fields:
        answer = gateway.post("/v1/videos", {"model": "veo", "prompt": "a cat", field: "gemini"})
        assert (400, field) == (answer.status_code, answer.json()["error"]["param"])
    order = {"model": "sandbox/demo", "prompt": "a cat", "seconds": 1}
    for field in fields[1:]:
        assert 400 == gateway.post(f"/v1/videos?{field}=gemini", order).status_code
    plain = gateway.post(f"/v1/videos?{fields[0]}=gemini", order)
    assert plain.status_code == 200
    assert 200 == gateway.get(f"/v1/videos?{fields[0]}=gemini").status_code


def test_what_openai_took_and_nobody_sells_is_refused(gateway: Server) -> None:
    """Shapes and lengths are a 422 that names what is sold; twelve seconds are made by the model that makes them."""
    said = row("`1024x1792`")
    for size in re.findall(r"`(\d+x\d+)`", said):
        answer = gateway.post("/v1/videos", {"model": "sora-2", "prompt": "a cat", "size": size})
        error = answer.json()["error"]
        assert (422, "no_offer", "size") == (answer.status_code, error["code"], error["param"])
        assert re.search(rf"google/veo-3.1-fast sells size [\dx, ]*720x1280, [\dx, ]*; not {size}", error["message"])
    answer = gateway.post("/v1/videos", {"model": "google/veo-3.1-fast", "prompt": "a cat", "seconds": "12"})
    assert (422, "seconds") == (answer.status_code, answer.json()["error"]["param"])
    (longer,) = re.findall(r"`(google/[\w.-]+)`", said)
    ordered = {"model": "sora-2", "prompt": "a cat", "seconds": "12", "size": "1280x720"}
    assert gateway.post("/v1/quotes", ordered).json()["data"][0]["offer"] == f"sandbox:{longer}"
    assert gateway.post("/v1/batches", {}).status_code == 404


def test_what_is_left_open_is_what_the_guide_says(gateway: Server) -> None:
    """An app that named neither length nor shape gets another clip than at OpenAI, and is told so."""
    made = gateway.post("/v1/videos", {"model": "sora-2", "prompt": "a cat"}).json()

    assert f"{made['seconds']} seconds of {made['size']}" in row("leaves `seconds`")


def test_an_id_of_litellms_is_not_known(gateway: Server) -> None:
    """What LiteLLM has under way is LiteLLM's: its ids hold a provider and a model in base64."""
    brought = "video_bGl0ZWxsbTpjdXN0b21fbGxtX3Byb3ZpZGVyOmdlbWluaTttb2RlbF9pZDp2ZW8="

    assert (404, "video_not_found") == (
        gateway.get(f"/v1/videos/{brought}").status_code,
        gateway.get(f"/v1/videos/{brought}").json()["error"]["code"],
    )

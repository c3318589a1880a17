"""Laws of the gateway behind nginx: set up as docs/running.md says, clips are the same bytes, sent by the kernel."""

import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from tests.server import ROOT, Server, eventually, free_port

CLIP = {"model": "sandbox/demo", "prompt": "a paper boat", "seconds": 1, "resolution": "360p"}
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A gateway that leaves the sending to whoever is in front."""
    server = Server(tmp_path_factory.mktemp("gateway"), REELGATE__SERVER__SENDFILE="x-accel:/clips/").start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def clip(gateway: Server) -> str:
    """Where one finished clip lies."""
    path = f"/v1/videos/{gateway.post('/v1/videos', CLIP).json()['id']}"
    eventually(lambda: gateway.get(path).json()["status"] == "completed")
    return f"{path}/content"


@pytest.fixture(scope="module")
def front(gateway: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The nginx of docs/running.md."""
    if NGINX is None:
        pytest.skip("nginx is not here: apt-get install nginx-light")
    place, port = tmp_path_factory.mktemp("nginx"), free_port()
    (said,) = re.findall(r"^```nginx\n(.*?)^```$", (ROOT / "docs" / "running.md").read_text(), re.MULTILINE | re.DOTALL)
    said = said.replace("127.0.0.1:8080", f"127.0.0.1:{gateway.port}").replace("listen 80", f"listen 127.0.0.1:{port}")
    said = said.replace("/data/media", f"{gateway.folder}/media")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    config = place / "nginx.conf"
    config.write_text(
        f"""
        {f"user {getpass.getuser()};" if os.geteuid() == 0 else ""}
        daemon off;
        pid {place}/pid;
        error_log stderr crit;
        events {{}}
        http {{
            access_log off;
            {" ".join(f"{kind}_temp_path {place}/{kind};" for kind in kinds)}
            {said}
        }}
        """
    )
    process = subprocess.Popen([NGINX, "-p", str(place), "-c", str(config), "-e", "stderr"])
    url = f"http://127.0.0.1:{port}"
    eventually(lambda: process.poll() is not None or _answers(url), seconds=10)
    yield url
    process.terminate()
    assert process.wait(10) == 0


def _answers(url: str) -> bool:
    """Whether the gateway can be asked through it."""
    try:
        return httpx.get(f"{url}/health/live", trust_env=False).is_success
    except httpx.TransportError:
        return False


def test_nginx_sends_the_same_clip(gateway: Server, front: str, clip: str) -> None:
    """Whole, in part, as a head or not at all: a client cannot tell the bytes apart, and what they are is said."""
    ours = gateway.get(clip)
    with httpx.Client(base_url=front, trust_env=False) as http:
        whole, head = http.get(clip), http.head(clip)
        part = http.get(clip, headers={"range": "bytes=4-7", "if-range": whole.headers["etag"]})
        again = http.get(clip, headers={"if-none-match": whole.headers["etag"]})
        beyond = http.get(clip, headers={"range": "bytes=99999999-"})
        thumbnail = http.get(f"{clip}?variant=thumbnail")

    assert (whole.status_code, whole.content) == (200, ours.content)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(ours.content)))
    assert (part.status_code, part.content) == (206, b"ftyp")
    assert (again.status_code, beyond.status_code) == (304, 416)
    assert thumbnail.content[8:12] == b"WEBP"
    for name in (
        "content-type", "content-disposition", "cache-control", "repr-digest", "accept-ranges",
        "content-security-policy", "x-content-type-options",
    ):  # fmt: skip
        assert ours.headers[name] == whole.headers[name], name
    assert whole.headers["x-request-id"]
    assert "x-accel-redirect" not in whole.headers


def test_nginx_sends_what_a_link_opens(gateway: Server, front: str, clip: str) -> None:
    """By a signed link the kernel sends the same file, which nginx's own validator shows; another seal opens none."""
    link = gateway.get(clip.removesuffix("/content")).json()["urls"]["download"]
    through, direct, forged = (
        httpx.get(each, trust_env=False) for each in (f"{front}{link}", f"{gateway.url}{link}", f"{front}{link}x")
    )

    assert (200, 200, 403) == (through.status_code, direct.status_code, forged.status_code)
    assert through.content == direct.content
    assert httpx.head(f"{front}{clip}", trust_env=False).headers["etag"] == through.headers["etag"]
    assert direct.headers["etag"] != through.headers["etag"]


def test_nobody_gets_a_clip_past_the_gateway(front: str, clip: str) -> None:
    """What nginx may send is the gateway's to say."""
    inside = f"/clips/{clip.split('/')[3][-2:]}/{clip.split('/')[3]}/0.mp4"

    assert 404 == httpx.get(f"{front}{inside}", trust_env=False).status_code


def test_a_direct_client_is_served_here(gateway: Server, clip: str) -> None:
    """Who does not come through nginx gets bytes and no path."""
    direct = gateway.get(clip)
    asked = httpx.get(f"{gateway.url}{clip}", headers={"x-sendfile-type": "X-Accel-Redirect"}, trust_env=False)

    assert direct.content[4:8] == b"ftyp"
    assert "x-accel-redirect" not in direct.headers
    assert re.fullmatch(r"/clips/\w\w/video_\w{32}/0\.mp4", asked.headers["x-accel-redirect"])


def test_without_the_setting_nobody_is_left_empty_handed(server: Server) -> None:
    """The word of a client alone turns nothing over."""
    path = f"/v1/videos/{server.post('/v1/videos', CLIP).json()['id']}"
    eventually(lambda: server.get(path).json()["status"] == "completed")
    asked = httpx.get(f"{server.url}{path}/content", headers={"x-sendfile-type": "X-Accel-Redirect"}, trust_env=False)

    assert asked.content[4:8] == b"ftyp"

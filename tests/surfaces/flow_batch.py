"""
Make a batch of clips through useapi's Google Flow API, with nothing but the standard library.

    python flow_batch.py BASE TOKEN EMAIL prompts.json FOLDER

``prompts.json`` is a list of ``{"prompt", "startImage"?, "endImage"?, ...}``: pictures by path, and whatever else
``POST /videos`` takes. Every picture is uploaded once; every clip is ordered at once, then waited for and downloaded.
"""

import json
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(method: str, url: str, token: str, body: bytes | None = None, kind: str = "application/json") -> Any:
    """Call the API and read its answer."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
    request = urllib.request.Request(url, body, headers, method=method)
    with OPENER.open(request, timeout=30) as answer:
        return answer.status, json.load(answer)


def main(base: str, token: str, email: str, prompts: str, folder: str) -> None:
    """Order, wait, download."""
    account = urllib.parse.quote(email, safe="")
    _, about = call("GET", f"{base}/accounts/{account}", token)
    assert about["health"] == "OK", about
    uploaded: dict[str, str] = {}
    jobs: dict[str, str] = {}
    for number, item in enumerate(json.loads(Path(prompts).read_text())):
        for name in ("startImage", "endImage"):
            if path := item.get(name):
                if path not in uploaded:
                    kind = TYPES[Path(path).suffix]
                    _, asset = call("POST", f"{base}/assets/{account}", token, Path(path).read_bytes(), kind)
                    uploaded[path] = asset["mediaGenerationId"]["mediaGenerationId"]
                item[name] = uploaded[path]
        order = {"email": email, **item, "async": True}
        status, job = call("POST", f"{base}/videos", token, json.dumps(order).encode())
        assert (status, job["status"]) == (201, "created"), job
        jobs[job["jobid"]] = f"clip{number}"
    while jobs:
        time.sleep(0.3)
        for jobid, name in list(jobs.items()):
            _, job = call("GET", f"{base}/jobs/{jobid}", token)
            if job["status"] not in {"completed", "failed"}:
                continue
            del jobs[jobid]
            print(name, job["status"], job.get("error", ""))  # noqa: T201 - what the one who runs it reads
            for number, media in enumerate(job.get("response", {}).get("media", [])):
                with OPENER.open(media["videoUrl"], timeout=30) as clip:  # its address is all it needs
                    Path(folder, f"{name}-{number}.mp4").write_bytes(clip.read())


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Laws of useapi's first page: its snippets run as they stand there, but for the address, the token and the model."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server import Server

# useapi.net/docs/api-google-flow-v1/post-google-flow-videos (November 26, 2025), "Examples"
CURL = """
curl -X POST \\
     -H "Authorization: Bearer YOUR_API_TOKEN" \\
     -H "Content-Type: application/json" \\
     -d '{
       "prompt": "A serene mountain landscape at sunset with camera slowly panning right",
       "model": "veo-3.1-fast",
       "aspectRatio": "landscape",
       "count": 2,
       "seed": 123456
     }' \\
     "https://api.useapi.net/v1/google-flow/videos" > response.json

# Extract video URLs using jq
cat response.json | jq -r '.operations[0].operation.metadata.video.fifeUrl'
cat response.json | jq -r '.operations[1].operation.metadata.video.fifeUrl'

# Download videos using curl
curl "$(cat response.json | jq -r '.operations[0].operation.metadata.video.fifeUrl')" --output video_1.mp4
curl "$(cat response.json | jq -r '.operations[1].operation.metadata.video.fifeUrl')" --output video_2.mp4
"""
NODE = """
const token = 'YOUR_API_TOKEN';
const apiUrl = 'https://api.useapi.net/v1/google-flow/videos';

const response = await fetch(apiUrl, {
  method: 'POST',
  headers: {
    'Authorization': `Bearer ${token}`,
    'Content-Type': 'application/json'
  },
  body: JSON.stringify({
    prompt: 'A serene mountain landscape at sunset with camera slowly panning right',
    model: 'veo-3.1-fast',
    aspectRatio: 'landscape',
    count: 2,
    seed: 123456
  })
});

const result = await response.json();
console.log('Generated videos:', result.operations.length);

// Download videos
for (const [index, op] of result.operations.entries()) {
  const video = op.operation.metadata.video;
  console.log(`Video ${index + 1} seed:`, video.seed);
  console.log(`mediaGenerationId:`, video.mediaGenerationId);
  console.log(`Video URL:`, video.fifeUrl);

  // Download video (Node.js)
  const videoResponse = await fetch(video.fifeUrl);
  const videoBuffer = await videoResponse.arrayBuffer();
  const fs = require('fs');
  fs.writeFileSync(`generated_video_${index + 1}.mp4`, Buffer.from(videoBuffer));

  // Download thumbnail (Node.js)
  const thumbResponse = await fetch(video.servingBaseUri);
  const thumbBuffer = await thumbResponse.arrayBuffer();
  fs.writeFileSync(`generated_video_${index + 1}_thumb.jpg`, Buffer.from(thumbBuffer));
}
"""
PYTHON = """
import requests

token = 'YOUR_API_TOKEN'
api_url = 'https://api.useapi.net/v1/google-flow/videos'

headers = {
    'Authorization': f'Bearer {token}',
    'Content-Type': 'application/json'
}

data = {
    'prompt': 'A serene mountain landscape at sunset with camera slowly panning right',
    'model': 'veo-3.1-fast',
    'aspectRatio': 'landscape',
    'count': 2,
    'seed': 123456
}

response = requests.post(api_url, headers=headers, json=data)
result = response.json()

print(f"Generated {len(result['operations'])} videos")

# Download videos
for index, op in enumerate(result['operations']):
    video = op['operation']['metadata']['video']
    print(f"Video {index + 1} seed:", video['seed'])
    print(f"mediaGenerationId:", video['mediaGenerationId'])

    # Download video
    video_response = requests.get(video['fifeUrl'])
    with open(f'generated_video_{index + 1}.mp4', 'wb') as f:
        f.write(video_response.content)

    # Download thumbnail
    thumb_response = requests.get(video['servingBaseUri'])
    with open(f'generated_video_{index + 1}_thumb.jpg', 'wb') as f:
        f.write(thumb_response.content)
"""
# Its snippet for Node awaits at the top and requires in the middle: as a module, with the one given to the other.
REQUIRE = "import { createRequire } from 'node:module';\nconst require = createRequire(import.meta.url);\n"
SNIPPETS: dict[str, tuple[list[str], str, str, str, str]] = {
    "curl": (
        ["bash", "-e"], "snippet.sh", CURL,
        '"model": "veo-3.1-fast"', '"model": "sandbox/demo", "duration": 1, "resolution": "360p"',
    ),
    "node": (
        ["node"], "snippet.mjs", REQUIRE + NODE,
        "model: 'veo-3.1-fast'", "model: 'sandbox/demo', duration: 1, resolution: '360p'",
    ),
    "python": (
        [sys.executable], "snippet.py", PYTHON,
        "'model': 'veo-3.1-fast'", "'model': 'sandbox/demo', 'duration': 1, 'resolution': '360p'",
    ),
}  # fmt: skip
"""Of each who runs it, its file, what it says, and what of that is made smaller."""


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_snippet_of_the_first_page_gets_both_clips(server: Server, tmp_path: Path, name: str) -> None:
    """Each operation's file and picture are fetched where it says, by its number."""
    (runner, *words), file, text, model, smaller = SNIPPETS[name]
    if not all(map(shutil.which, (runner, *(["curl", "jq"] if name == "curl" else [])))):
        pytest.skip(f"{name} is not here")
    assert model in text
    (tmp_path / file).write_text(text.replace(model, smaller).replace("https://api.useapi.net", server.url))

    done = subprocess.run([runner, *words, file], cwd=tmp_path, capture_output=True, text=True, timeout=58)
    assert 0 == done.returncode, done.stderr
    clips = [path.read_bytes() for path in sorted(tmp_path.glob("*.mp4"))]
    assert [b"ftyp", b"ftyp"] == [each[4:8] for each in clips]
    assert clips[0] != clips[1]
    if name != "curl":
        assert [b"RIFF", b"RIFF"] == [path.read_bytes()[:4] for path in sorted(tmp_path.glob("*_thumb.jpg"))]
        assert ("Video 1 seed: 123456" in done.stdout, "Video 2 seed: 123456" in done.stdout) == (True, True)


def test_a_job_tells_its_clips_in_every_generation_s_words(api: httpx.Client) -> None:
    """As the page on a job had them in November 2025, and has them now: the same clips at the same addresses."""
    body = {"prompt": "a boat", "model": "sandbox/demo", "duration": 1, "resolution": "360p", "aspectRatio": "portrait"}
    answer = api.post("/v1/google-flow/videos", json=body).json()
    told = api.get(f"/v1/google-flow/jobs/{answer['jobId']}").json()["response"]

    assert (answer["media"][0]["mediaGenerationId"], 1) == (
        told["operations"][0]["mediaGenerationId"], len(told["operations"]),
    )  # fmt: skip
    (media,), (operation,) = told["media"], told["operations"]
    video: dict[str, Any] = operation["operation"]["metadata"]["video"]
    assert video == operation["video"]
    assert (media["videoUrl"], media["videoUrl"], media["thumbnailUrl"], media["mediaGenerationId"]) == tuple(
        video[each] for each in ("fifeUrl", "uri", "servingBaseUri", "mediaGenerationId")
    )
    assert ("MEDIA_GENERATION_STATUS_SUCCESSFUL", "VIDEO_ASPECT_RATIO_PORTRAIT", "a boat") == (
        operation["status"], video["aspectRatio"], video["prompt"],
    )  # fmt: skip


def test_its_order_is_taken_by_the_name_it_has(api: httpx.Client) -> None:
    """Two clips of Veo with a seed: 8 seconds, as the page promises."""
    body = {"prompt": "[fail]", "model": "veo-3.1-fast", "aspectRatio": "landscape", "count": 2, "seed": 123456}
    job = api.post("/v1/google-flow/videos", json={**body, "async": True})

    assert (201, 2, 8) == (job.status_code, job.json()["request"]["count"], job.json()["request"]["duration"]), job.text

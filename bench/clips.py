"""
Make the clips the stub serves: real H.264 and AAC, padded to size with a trailing ``free`` box.

Every player and prober skips the box, so a 100 MB clip costs no more to make or to probe than a tiny one.
"""

from fractions import Fraction
from pathlib import Path

import av

SIZES = {"10mb": 10_000_000, "100mb": 100_000_000}
SECONDS, WIDTH, HEIGHT, RATE, SOUND = 4, 1280, 720, 24, 48_000
_BLOCK = 1 << 20


def make(directory: Path) -> None:
    """Write one clip of every size, named after it."""
    seed = directory / "seed.mp4"
    _encode(seed)
    for name, size in SIZES.items():
        _pad(seed, directory / f"{name}.mp4", size)


def _encode(path: Path) -> None:
    """Encode a few seconds of flat colour and silence."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as out:
        video = out.add_stream("libx264", rate=RATE, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = out.add_stream("aac", rate=SOUND, layout="stereo")
        for number in range(SECONDS * RATE):
            frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([64 + number]) * plane.buffer_size)
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            out.mux(video.encode(frame))
        for start in range(0, SECONDS * SOUND, 1024):
            sound = av.AudioFrame("fltp", "stereo", min(1024, SECONDS * SOUND - start))
            for channel in sound.planes:
                channel.update(bytes(channel.buffer_size))
            sound.sample_rate, sound.pts, sound.time_base = SOUND, start, Fraction(1, SOUND)
            out.mux(audio.encode(sound))
        out.mux(video.encode(None))
        out.mux(audio.encode(None))


def _pad(seed: Path, path: Path, size: int) -> None:
    """Copy the seed and let a ``free`` box fill the rest."""
    real = seed.read_bytes()
    rest = size - len(real)
    with path.open("wb") as out:
        out.write(real)
        out.write(rest.to_bytes(4) + b"free")
        left = rest - 8
        while left:
            left -= out.write(bytes(min(left, _BLOCK)))

#!/bin/sh
# PyAV 18.1.0 (FFmpeg 8): after a seek in an MPEG program stream the first packet bears the time stamp of a frame, but is
# not that frame's packet: it begins in the middle of one, and its size is another. Whoever matches frames by their
# stamps after a seek shows the wrong one. x2sam knows keys by stamp and size (x2sam/media/videofile.py).
# Output seen:
#   the key at 55800 has 7286 bytes; after a seek the packet at 55800 has 8187
# Fails if the packet that comes first is the frame's own.
set -e
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target "$folder/site" av==18.1.0 numpy==2.4.6
PYTHONPATH="$folder/site" "${PYTHON:-python3}" - "$folder/a.vob" <<'END'
import sys

import av
import numpy as np

noise = np.random.default_rng(0)
with av.open(sys.argv[1], "w", format="vob") as container:
    video = container.add_stream("mpeg2video", rate=25)
    video.width, video.height, video.pix_fmt, video.gop_size, video.bit_rate = 96, 64, "yuv420p", 12, 400_000
    for number in range(40):
        pixels = np.roll(noise.integers(0, 255, (64, 96, 3), np.uint8), number, 1)
        container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
    container.mux(video.encode(None))

with av.open(sys.argv[1]) as container:
    packets = [p for p in container.demux(container.streams.video[0]) if p.size]
key = [p for p in packets if p.is_keyframe][2]
with av.open(sys.argv[1]) as container:
    stream = container.streams.video[0]
    container.seek(key.dts, stream=stream)
    first = next(p for p in container.demux(stream) if p.size)
print(f"the key at {key.pts} has {key.size} bytes; after a seek the packet at {first.pts} has {first.size}")
assert first.pts == key.pts
assert first.size != key.size, "the stamp is right now"
END

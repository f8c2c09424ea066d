#!/bin/sh
# PyAV 18.1.0 (FFmpeg 8): a PDF with a photo in it opens as a film of one frame (format mjpeg), even though only
# containers of films are let in: the probe of raw MJPEG finds the JPEG further on. So does a zip archive or an office
# document. "It can be opened and decoded" does not make a file a film; x2sam looks at its first bytes too
# (x2sam/signatures.py).
# Output seen:
#   a PDF of Pillow: format mjpeg, 1 frame of 80x60
# Fails if the PDF is refused.
set -e
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target "$folder/site" av==18.1.0 pillow==12.3.0
PYTHONPATH="$folder/site" "${PYTHON:-python3}" - "$folder/scan.pdf" <<'END'
import sys

import av
from PIL import Image

Image.new("RGB", (80, 60), "teal").save(sys.argv[1])
limits = {"format_whitelist": "mov,matroska,avi,mjpeg", "protocol_whitelist": "file"}
with av.open(sys.argv[1], container_options=limits) as container:
    frames = list(container.decode(video=0))
    print(f"a PDF of Pillow: format {container.format.name}, {len(frames)} frame of {frames[0].width}x{frames[0].height}")
    assert (container.format.name, len(frames)) == ("mjpeg", 1)
END

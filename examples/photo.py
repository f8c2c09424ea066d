"""The README's picture: one photo, a phrase, a click and a list of names, as nano answers them.

python examples/photo.py docs/images/photo.png
"""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image
from skimage import data

from x2sam import X2Sam

HEIGHT = 300


def main(path: str) -> None:
    photo = data.chelsea()  # by Stefan van der Walt, CC0
    session = X2Sam.from_pretrained("nano").open(photo)
    results = [
        session.segment("the cat"),
        session.segment(regions=(230, 120)),
        session.segment(["cat", "dog", "stuff: wall"]),
    ]
    panels = [Image.fromarray(np.asarray(result.draw())[..., :3]) for result in results]
    width = round(HEIGHT * panels[0].width / panels[0].height)
    sheet = Image.new("RGB", (len(panels) * (width + 8) - 8, HEIGHT), "white")
    for i, panel in enumerate(panels):
        sheet.paste(panel.resize((width, HEIGHT)), (i * (width + 8), 0))
    sheet.save(path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "photo.png")

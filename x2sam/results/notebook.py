"""Results as notebooks show them: the picture with its masks, which name themselves; of a film a player."""

from __future__ import annotations

import base64
import html
from io import BytesIO

import numpy as np
from PIL import Image

from x2sam.results import draw
from x2sam.results.contents import Contents
from x2sam.results.outlines import rings
from x2sam.types import Frame, FrameResult

SIDE = 960
"""Pixels of a picture's larger side, at most; of a film's frames a half of it."""
FRAMES = 60
"""Frames of a player at most, evenly spread."""
STYLE = """<style>body{margin:0;font:13px sans-serif}figure{margin:0;position:relative;display:inline-block}
img{display:block}svg{position:absolute;inset:0;width:100%;height:100%}
path{fill-opacity:.4;stroke-width:1.5;vector-effect:non-scaling-stroke}
path:hover{fill-opacity:.7}#name{min-height:1.4em;padding:2px}input{width:70%}</style>"""
SCRIPT = """<script>
const named=document.getElementById('name');
document.addEventListener('mouseover',e=>{named.textContent=e.target.dataset?.name||''});
const slider=document.querySelector('input');
if(slider){const all=[...document.querySelectorAll('figure')],said=document.getElementById('at');let timer;
const show=()=>{all.forEach((f,i)=>{f.style.display=i==slider.value?'inline-block':'none'});
said.textContent=all[slider.value].dataset.at};
slider.oninput=show;document.querySelector('button').onclick=()=>{if(timer){clearInterval(timer);timer=0;return}
timer=setInterval(()=>{slider.value=(+slider.value+1)%all.length;show()},120)};show()}
</script>"""


def page(result: Contents) -> str:
    """A result as a page of its own within an ``iframe``, so that nothing of the notebook is touched."""
    count = min(len(result.frames), FRAMES)
    chosen = np.unique(np.linspace(0, len(result.frames) - 1, count).round().astype(int)).tolist()
    side = SIDE if len(chosen) == 1 else SIDE // 2
    figures = [_figure(result, result.frames[i], side) for i in chosen]
    player = f'<div><button>&#9654;</button> <input type="range" min="0" max="{len(figures) - 1}" value="0"> '
    player = player + '<span id="at"></span></div>' if len(figures) > 1 else ""
    said = html.escape(result.text) if result.text else "" if result.found else "nothing found"
    body = (
        f'<!doctype html><meta charset="utf-8">{STYLE}{"".join(figures)}{player}<div id="name"></div><div>{said}</div>'
    )
    height, width = result.clip.size
    scale = min(1.0, side / max(height, width))
    tall = round(height * scale) + 40 + (30 if player else 0) + (60 if said else 0)
    wide = max(240, round(width * scale) + 8)
    content = html.escape(body + SCRIPT, quote=True)
    return f'<iframe srcdoc="{content}" width="{wide}" height="{tall}" style="border:0;max-width:100%"></iframe>'


def _figure(result: Contents, found: FrameResult, side: int) -> str:
    """A frame and the outlines of its masks over it, in its own coordinates."""
    picture = Image.fromarray(result.clip.frame_at(found.index))
    picture.thumbnail((side, side))
    marks = "".join(
        f'<path d="{outline(s.mask)}" fill-rule="evenodd" fill="{colour}" stroke="{colour}" data-name="{name}">'
        f"<title>{name}</title></path>"
        for s in sorted(found.segments, key=lambda s: -s.area)
        for colour in ["#{:02x}{:02x}{:02x}".format(*draw.colour(s.object_id))]
        for name in [html.escape(f"{s.label} {s.score:.2f} (#{s.object_id})", quote=True)]
    )
    at = f"frame {found.index}" + ("" if found.time is None else f", {found.time:.2f} s")
    return (
        f'<figure data-at="{at}"><img src="{picture_url(np.asarray(picture))}">'
        f'<svg viewBox="0 0 {found.width} {found.height}" preserveAspectRatio="none">{marks}</svg></figure>'
    )


def outline(mask: np.ndarray) -> str:
    """A mask ``[H, W]`` as the path of an svg, pixel for pixel where it is filled by the even-odd rule."""
    return "".join("M" + "L".join(f"{x} {y}" for x, y in ring.tolist()) + "Z" for ring in rings(mask))


def picture_url(frame: Frame) -> str:
    """A picture ``[H, W, 3]`` as a data: URL."""
    buffer = BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()

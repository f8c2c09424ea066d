// The picture with its masks on one canvas: zoom, pan, and what the pointer draws. Coordinates of the medium are "x, y";
// those of the window "left, top".

import { bitmapOf, runsOf, measure } from './rle.js';

const MOST_TINTS = 600;
const SIDES = { image: 4096, video: 1920 };
const AHEAD = 6;
const MOST_FRAMES = 80;

export class View {
  constructor(canvas, app) {
    this.canvas = canvas;
    this.app = app;
    this.context = canvas.getContext('2d');
    this.scale = 1;
    this.left = this.top = 0;
    this.opacity = 0.45;
    this.bare = false; // masks are left out
    this.fitted = true;
    this.draft = null; // what is being drawn: { tool, points }
    this.pointer = null;
    this.cross = null;
    this.pending = []; // marks that wait for their answer
    this.brushing = null;
    this.#frames = new Map();
    this.#tints = new Map();
    new ResizeObserver(() => this.#resize()).observe(canvas);
  }

  #frames;
  #tints;
  #wanted = false;
  #shown = null;

  get work() { return this.app.work; }

  /** Draw soon. */
  soon() {
    if (this.#wanted) return;
    this.#wanted = true;
    requestAnimationFrame(() => { this.#wanted = false; this.draw(); });
  }

  open() {
    for (const bitmap of this.#frames.values()) bitmap.then((b) => b.close(), () => {});
    this.#frames.clear();
    this.#tints.clear();
    this.#shown = null;
    this.cross = this.draft = null;
    this.fit();
  }

  // --- where things are ---

  #resize() {
    const ratio = devicePixelRatio || 1, { clientWidth, clientHeight } = this.canvas;
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    if (this.fitted) this.fit();
    this.draw(); // at once: a canvas that has changed its size is empty
  }

  fit() {
    if (!this.work) return;
    const { width, height } = this.work.media, { clientWidth, clientHeight } = this.canvas;
    this.scale = Math.min(clientWidth / width, clientHeight / height) || 1;
    this.left = (clientWidth - width * this.scale) / 2;
    this.top = (clientHeight - height * this.scale) / 2;
    this.fitted = true;
    this.soon();
  }

  /** Zoom by a factor around a place of the canvas; the middle by default. */
  zoom(by, left = this.canvas.clientWidth / 2, top = this.canvas.clientHeight / 2) {
    const scale = Math.min(64, Math.max(0.02, this.scale * by)), real = scale / this.scale;
    this.left = left - (left - this.left) * real;
    this.top = top - (top - this.top) * real;
    this.scale = scale;
    this.#keep();
  }

  pan(right, down) {
    this.left += right;
    this.top += down;
    this.#keep();
  }

  /** Some of the picture stays in sight. */
  #keep() {
    const { width, height } = this.work.media, { clientWidth, clientHeight } = this.canvas, edge = 40;
    this.left = Math.min(clientWidth - edge, Math.max(edge - width * this.scale, this.left));
    this.top = Math.min(clientHeight - edge, Math.max(edge - height * this.scale, this.top));
    this.fitted = false;
    this.soon();
  }

  /** A place of the window as x, y of the medium, kept inside it. */
  at(clientX, clientY) {
    const box = this.canvas.getBoundingClientRect(), { width, height } = this.work.media;
    const x = (clientX - box.left - this.left) / this.scale, y = (clientY - box.top - this.top) / this.scale;
    return [Math.min(width, Math.max(0, x)), Math.min(height, Math.max(0, y))];
  }

  inside(clientX, clientY) {
    const box = this.canvas.getBoundingClientRect(), { width, height } = this.work.media;
    const x = (clientX - box.left - this.left) / this.scale, y = (clientY - box.top - this.top) / this.scale;
    return x >= 0 && y >= 0 && x <= width && y <= height;
  }

  /** x, y of the medium as a place of the canvas. */
  place([x, y]) { return [x * this.scale + this.left, y * this.scale + this.top]; }

  // --- pictures ---

  /** The picture of a frame; those that follow are fetched, too. */
  frame(index) {
    const fetched = this.#fetch(index);
    if (this.work.film) for (let i = 1; i <= AHEAD; i++) if (index + i < this.work.length) this.#fetch(index + i);
    return fetched;
  }

  #fetch(index) {
    const known = this.#frames.get(index);
    if (known) {
      this.#frames.delete(index);
      this.#frames.set(index, known);
      return known;
    }
    const { id, media } = this.work;
    const path = `/v1/sessions/${id}/pictures/${index}?side=${Math.min(SIDES[media.kind], Math.max(16, media.width, media.height))}`;
    const coming = this.app.api.blob(path).then((content) => createImageBitmap(content));
    coming.catch(() => this.#frames.delete(index));
    this.#frames.set(index, coming);
    while (this.#frames.size > MOST_FRAMES) {
      const [first, old] = this.#frames.entries().next().value;
      this.#frames.delete(first);
      old.then((bitmap) => { if (bitmap !== this.#shown?.bitmap) bitmap.close(); }, () => {});
    }
    return coming;
  }

  /** Show a frame; resolves when it is there. */
  async show(index) {
    const work = this.work, bitmap = await this.frame(index);
    if (work !== this.work || index !== this.app.frame) return;
    this.#shown = { index, bitmap };
    this.canvas.dataset.frame = index;
    this.soon();
  }

  // --- masks ---

  /** A mask in its colour, as a canvas of its box; strong at its edge. */
  #tint(counts, colour) {
    const key = `${colour}${counts}`, known = this.#tints.get(key);
    if (known) return known;
    const { height, width } = this.work.media, runs = runsOf(counts), { area, box } = measure(runs, height);
    const made = { box, area, canvas: null };
    if (area) made.canvas = tinted(bitmapOf(runs, height, width), width, height, box, colour, this.opacity);
    if (this.#tints.size > MOST_TINTS) this.#tints.clear();
    this.#tints.set(key, made);
    return made;
  }

  setOpacity(opacity) {
    this.opacity = opacity;
    this.#tints.clear();
    this.soon();
  }

  // --- brush ---

  /** Begin to paint on a mask (counts or null); `add` false: to erase. */
  brush(id, counts, colour, add) {
    const { height, width } = this.work.media;
    const bitmap = counts ? bitmapOf(runsOf(counts), height, width) : new Uint8Array(height * width);
    const canvas = new OffscreenCanvas(width, height);
    const box = counts ? measure(runsOf(counts), height).box : [0, 0, 0, 0];
    if (box[2]) canvas.getContext('2d').drawImage(tinted(bitmap, width, height, box, colour, this.opacity), box[0], box[1]);
    this.brushing = { id, bitmap, canvas, colour, add, last: null };
  }

  /** Go on to a point. Pixels whose middle is within the radius of the stroke are set. */
  stroke([x, y], radius) {
    const { bitmap, canvas, colour, add, last } = this.brushing, { height, width } = this.work.media;
    const [a, b] = last ?? [x, y], value = add ? 1 : 0, dx = x - a, dy = y - b, square = dx * dx + dy * dy;
    const x0 = Math.max(0, Math.floor(Math.min(a, x) - radius)), x1 = Math.min(width, Math.ceil(Math.max(a, x) + radius));
    const y0 = Math.max(0, Math.floor(Math.min(b, y) - radius)), y1 = Math.min(height, Math.ceil(Math.max(b, y) + radius));
    for (let row = y0; row < y1; row++) {
      for (let column = x0; column < x1; column++) {
        const px = column + 0.5 - a, py = row + 0.5 - b;
        const along = square ? Math.min(1, Math.max(0, (px * dx + py * dy) / square)) : 0;
        if ((px - along * dx) ** 2 + (py - along * dy) ** 2 <= radius * radius) bitmap[row * width + column] = value;
      }
    }
    const pad = edgeOf(width, height) + 1;
    const box = [Math.max(0, x0 - pad), Math.max(0, y0 - pad), Math.min(width, x1 + pad), Math.min(height, y1 + pad)];
    if (box[2] > box[0] && box[3] > box[1]) {
      const context = canvas.getContext('2d');
      context.clearRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
      context.drawImage(tinted(bitmap, width, height, box, colour, this.opacity), box[0], box[1]);
    }
    this.brushing.last = [x, y];
    this.soon();
  }

  // --- drawing ---

  draw() {
    const { context, canvas, work } = this, ratio = devicePixelRatio || 1;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!work || !this.#shown) return;
    const begun = performance.now();
    context.setTransform(ratio * this.scale, 0, 0, ratio * this.scale, ratio * this.left, ratio * this.top);
    context.imageSmoothingEnabled = this.scale < 3;
    context.drawImage(this.#shown.bitmap, 0, 0, work.media.width, work.media.height);
    if (!this.bare) this.#masks();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.#marks();
    this.drawn = performance.now() - begun; // for whoever measures
  }

  #masks() {
    const { context, work, app } = this;
    for (const { id, colour, shown } of work.objects) {
      if (!shown) continue;
      if (this.brushing?.id === id) { context.drawImage(this.brushing.canvas, 0, 0); continue; }
      const cell = work.cell(id, this.#shown.index);
      if (!cell?.counts) continue;
      const { canvas, box } = this.#tint(cell.counts, colour);
      if (!canvas) continue;
      context.drawImage(canvas, box[0], box[1]);
      if (app.selected.includes(id)) {
        context.strokeStyle = '#fff';
        context.lineWidth = 1.5 / this.scale;
        context.setLineDash([5 / this.scale, 4 / this.scale]);
        context.strokeRect(box[0] - 2 / this.scale, box[1] - 2 / this.scale, box[2] - box[0] + 4 / this.scale, box[3] - box[1] + 4 / this.scale);
        context.setLineDash([]);
      }
    }
  }

  #marks() {
    const { work, app } = this, frame = this.#shown.index;
    for (const id of app.selected) {
      const object = work.object(id);
      for (const mark of work.cell(id, frame)?.marks ?? []) this.#mark(mark, object.colour);
    }
    for (const wait of this.pending) if (wait.frame === frame) this.#mark(wait.mark, wait.colour, true);
    if (this.draft) this.#mark(this.draft, '#fff');
    const { context } = this, tool = app.tool, hover = this.pointer ?? (this.cross && this.place(this.cross));
    if (hover && (tool === 'brush' || tool === 'eraser')) {
      ring(context, hover, app.radius * this.scale, '#000', 3);
      ring(context, hover, app.radius * this.scale, '#fff', 1.5);
    }
    if (this.cross) {
      const [left, top] = this.place(this.cross);
      for (const [colour, wide] of [['#000', 4], ['#fff', 2]]) {
        context.strokeStyle = colour;
        context.lineWidth = wide;
        context.beginPath();
        context.moveTo(left - 14, top); context.lineTo(left - 3, top); context.moveTo(left + 3, top); context.lineTo(left + 14, top);
        context.moveTo(left, top - 14); context.lineTo(left, top - 3); context.moveTo(left, top + 3); context.lineTo(left, top + 14);
        context.stroke();
      }
    }
  }

  #mark({ tool, points }, colour, waits = false) {
    const { context } = this, places = points.map((point) => this.place(point));
    context.lineJoin = context.lineCap = 'round';
    if (tool === 'point' || tool === 'negative') {
      const [left, top] = places[0];
      context.beginPath();
      context.arc(left, top, 6, 0, 7);
      context.fillStyle = tool === 'point' ? colour : '#111';
      context.fill();
      ring(context, places[0], 6, '#fff', 2);
      context.strokeStyle = '#fff';
      context.lineWidth = 2;
      context.beginPath();
      context.moveTo(left - 3, top); context.lineTo(left + 3, top);
      if (tool === 'point') { context.moveTo(left, top - 3); context.lineTo(left, top + 3); }
      context.stroke();
      if (waits) ring(context, places[0], 11, '#fff', 2);
      return;
    }
    const path = new Path2D();
    if (tool === 'box') {
      const [a, b] = [places[0], places.at(-1)];
      path.rect(Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.abs(a[0] - b[0]), Math.abs(a[1] - b[1]));
    } else places.forEach(([left, top], i) => (i ? path.lineTo(left, top) : path.moveTo(left, top)));
    context.setLineDash(waits ? [6, 5] : []);
    for (const [ink, wide] of [['#000', 4], [colour, 2]]) {
      context.strokeStyle = ink;
      context.lineWidth = wide;
      context.stroke(path);
    }
    context.setLineDash([]);
  }
}

function ring(context, [left, top], radius, colour, wide) {
  context.strokeStyle = colour;
  context.lineWidth = wide;
  context.beginPath();
  context.arc(left, top, Math.max(1, radius), 0, 7);
  context.stroke();
}

const edgeOf = (width, height) => Math.max(1, Math.round(Math.max(width, height) / 700));

/** The part of a bitmap within a box as a canvas: its pixels in a colour, its edge without transparency. */
function tinted(bitmap, width, height, [x0, y0, x1, y1], colour, opacity) {
  const canvas = new OffscreenCanvas(x1 - x0, y1 - y0), context = canvas.getContext('2d');
  const image = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer), edge = edgeOf(width, height), far = edge * width;
  const value = parseInt(colour.slice(1), 16);
  const ink = ((value & 255) << 16) | (value & 0xff00) | (value >> 16);
  const thin = (ink | (Math.round(255 * opacity) << 24)) >>> 0, strong = (ink | 0xff000000) >>> 0;
  for (let y = y0, i = 0; y < y1; y++) {
    for (let x = x0, p = y * width + x0; x < x1; x++, p++, i++) {
      if (!bitmap[p]) continue;
      const inner = x >= edge && x + edge < width && y >= edge && y + edge < height
        && bitmap[p - edge] && bitmap[p + edge] && bitmap[p - far] && bitmap[p + far];
      pixels[i] = inner ? thin : strong;
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

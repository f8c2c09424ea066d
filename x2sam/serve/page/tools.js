// Pointer and keyboard on the picture: tools make marks, brush strokes, selections and movements of them.

import { countsOf, holds, measure, runsFrom, runsOf } from './rle.js';

export const TOOLS = [
  { name: 'move', key: 'v', sign: '✥', title: 'Move', about: 'Drag moves the picture, a click selects' },
  { name: 'point', key: 'p', sign: '⊕', title: 'Point', about: 'Click on the object' },
  { name: 'negative', key: 'n', sign: '⊖', title: 'Not this', about: 'Click on what does not belong to it' },
  { name: 'box', key: 'b', sign: '▭', title: 'Box', about: 'Drag a box around it' },
  { name: 'scribble', key: 's', sign: '∿', title: 'Scribble', about: 'Draw over it' },
  { name: 'brush', key: 'd', sign: '●', title: 'Brush', about: 'Paint its mask' },
  { name: 'eraser', key: 'e', sign: '○', title: 'Eraser', about: 'Wipe from its mask' },
];
const STILL = 5; // pixels of the window that a click may move
const NEAR = 9; // pixels within which a mark is hit
const MOST_POINTS = 900;

export class Tools {
  constructor(app, bar) {
    this.app = app;
    this.pointers = new Map();
    this.space = false;
    this.drag = null;
    this.painting = null;
    for (const tool of TOOLS) bar.append(this.#button(tool));
    const another = document.createElement('button');
    Object.assign(another, { type: 'button', title: 'The next mark begins another object (A)', innerHTML: '<b aria-hidden="true">+</b>New', onclick: () => app.select([]) });
    const size = document.createElement('label');
    size.innerHTML = 'Brush<input type="range" id="radius" min="1" max="100" aria-label="Size of the brush">';
    bar.append(another, size);
    this.size = size.querySelector('input');
    this.size.oninput = () => { app.radius = +this.size.value; app.view.soon(); };
    const { canvas } = app.view;
    canvas.addEventListener('pointerdown', (event) => this.#down(event));
    canvas.addEventListener('pointermove', (event) => this.#move(event));
    canvas.addEventListener('pointerup', (event) => this.#up(event));
    canvas.addEventListener('pointercancel', (event) => this.#cancel(event));
    canvas.addEventListener('pointerleave', () => { app.view.pointer = null; app.view.soon(); });
    canvas.addEventListener('contextmenu', (event) => event.preventDefault());
    canvas.addEventListener('wheel', (event) => this.#wheel(event), { passive: false });
    this.choose('point');
  }

  #button({ name, key, sign, title, about }) {
    const button = document.createElement('button');
    Object.assign(button, { type: 'button', title: `${about} (${key.toUpperCase()})`, innerHTML: `<b aria-hidden="true">${sign}</b>${title}`, onclick: () => this.choose(name) });
    button.dataset.tool = name;
    return button;
  }

  choose(name) {
    const { app } = this;
    this.#stopPainting();
    app.tool = name;
    app.view.draft = null;
    for (const button of document.querySelectorAll('[data-tool]')) button.setAttribute('aria-pressed', button.dataset.tool === name);
    this.#cursor();
    app.view.soon();
  }

  brushSize(radius) {
    this.app.radius = Math.min(400, Math.max(1, radius));
    this.size.value = this.app.radius;
    this.app.view.soon();
  }

  #cursor() {
    const { canvas } = this.app.view, { tool } = this.app;
    canvas.classList.toggle('pan', this.space || tool === 'move');
    canvas.classList.toggle('brush', !this.space && (tool === 'brush' || tool === 'eraser'));
  }

  hold(space) { this.space = space; this.#cursor(); }

  // --- pointer ---

  #wheel(event) {
    event.preventDefault();
    const box = event.target.getBoundingClientRect(), step = event.deltaMode ? 33 * event.deltaY : event.deltaY;
    this.app.view.zoom(Math.exp(-step / (event.ctrlKey ? 120 : 500)), event.clientX - box.left, event.clientY - box.top);
    this.app.changed();
  }

  #down(event) {
    const { app } = this, { view } = app;
    if (!app.work) return;
    view.canvas.focus({ preventScroll: true });
    view.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (this.pointers.size === 2) {
      this.#stopPainting(true);
      view.draft = null;
      this.drag = { kind: 'pinch', ...this.#pinched() };
      return;
    }
    const pan = event.button === 1 || event.button === 2 || this.space || app.tool === 'move';
    const kind = pan ? 'pan' : app.tool, point = view.at(event.clientX, event.clientY);
    this.drag = { kind, begun: [event.clientX, event.clientY], last: [event.clientX, event.clientY], point, moved: false };
    view.cross = null;
    if (kind === 'box' || kind === 'scribble') view.draft = { tool: kind, points: kind === 'box' ? [point, point] : [point] };
    if (kind === 'brush' || kind === 'eraser') this.#startPainting(point);
  }

  #move(event) {
    const { app, drag } = this, { view } = app;
    if (!app.work) return;
    const box = view.canvas.getBoundingClientRect();
    view.pointer = event.pointerType === 'touch' ? null : [event.clientX - box.left, event.clientY - box.top];
    if (this.pointers.has(event.pointerId)) this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (!drag) { if (app.tool === 'brush' || app.tool === 'eraser') view.soon(); return; }
    if (drag.kind === 'pinch') {
      const now = this.#pinched();
      view.pan(now.middle[0] - drag.middle[0], now.middle[1] - drag.middle[1]);
      view.zoom(now.distance / drag.distance, now.middle[0] - box.left, now.middle[1] - box.top);
      Object.assign(drag, now);
      app.changed();
      return;
    }
    drag.moved ||= Math.hypot(event.clientX - drag.begun[0], event.clientY - drag.begun[1]) > STILL;
    if (drag.kind === 'pan') {
      if (drag.moved) view.pan(event.clientX - drag.last[0], event.clientY - drag.last[1]);
      drag.last = [event.clientX, event.clientY];
      if (this.space) this.panned = true;
      return;
    }
    for (const part of event.getCoalescedEvents?.() ?? [event]) {
      const point = view.at(part.clientX, part.clientY);
      if (this.painting) view.stroke(point, app.radius);
      if (drag.kind === 'box') view.draft.points = [drag.point, point];
      if (drag.kind === 'scribble' && view.draft.points.length < MOST_POINTS) {
        const [x, y] = view.draft.points.at(-1);
        if (Math.hypot(point[0] - x, point[1] - y) * view.scale >= 3) view.draft.points.push(point);
      }
    }
    view.soon();
  }

  #up(event) {
    const { app, drag } = this, { view } = app;
    this.pointers.delete(event.pointerId);
    if (!drag || drag.kind === 'pinch') { if (!this.pointers.size) this.drag = null; return; }
    this.drag = null;
    const clicked = !drag.moved, inside = view.inside(event.clientX, event.clientY);
    if (drag.kind === 'pan') { if (clicked && !this.space && event.button === 0) this.#pick(drag.point, event.shiftKey || event.ctrlKey); return; }
    if (this.painting) { this.#stopPainting(); return; }
    const { draft } = view;
    view.draft = null;
    view.soon();
    if (drag.kind === 'point' || drag.kind === 'negative') {
      if (clicked && inside && !this.#takeBack(drag.point)) this.#mark(drag.kind, [drag.point]);
    } else if (drag.moved && draft) this.#mark(draft.tool, draft.points);
    else app.say(drag.kind === 'box' ? 'Drag from one corner of the box to the other.' : 'Draw over the object.');
  }

  #cancel(event) {
    this.pointers.delete(event.pointerId);
    this.drag = null;
    this.app.view.draft = null;
    this.#stopPainting(true);
    this.app.view.soon();
  }

  #pinched() {
    const [[a, b], [c, d]] = [...this.pointers.values()];
    return { middle: [(a + c) / 2, (b + d) / 2], distance: Math.max(1, Math.hypot(a - c, b - d)) };
  }

  // --- what it means ---

  #mark(tool, points) {
    const { app } = this;
    if (tool === 'negative' && !app.work.cell(app.group.id, app.frame)?.counts) {
      app.say('Choose the object first that this does not belong to.');
      return;
    }
    app.finding.mark({ tool, points });
  }

  /** A click on a mark of the selected object takes it back. */
  #takeBack(point) {
    const { app } = this, { view, work } = app, id = app.group.id, marks = work.cell(id, app.frame)?.marks ?? [];
    const [left, top] = view.place(point);
    const place = marks.findIndex(({ tool, points }) => {
      const [x, y] = view.place(points[0]);
      return (tool === 'point' || tool === 'negative') && Math.hypot(x - left, y - top) <= NEAR;
    });
    if (place < 0) return false;
    app.finding.unmark(id, app.frame, place);
    return true;
  }

  #pick([x, y], more) {
    const { app } = this, { work } = app;
    const hit = [...work.objects].reverse().find(({ id, shown }) => {
      const counts = shown && work.cell(id, app.frame)?.counts;
      return counts && holds(runsOf(counts), work.media.height, Math.floor(x), Math.floor(y));
    });
    if (!hit) { if (!more) app.select([]); return; }
    app.select(more ? [...app.selected.filter((id) => id !== hit.id), hit.id] : [hit.id]);
  }

  // --- brush ---

  #startPainting(point) {
    const { app } = this, { work, view } = app, add = app.tool === 'brush';
    let { id } = app.group;
    if (!add && !work.cell(id, app.frame)?.counts) { app.say('Choose the object first to erase from.'); return; }
    const step = work.begin(add ? 'brush' : 'eraser');
    if (!id || !work.object(id)) {
      id = step.add({ name: app.className() });
      app.group.id = id;
      app.keep(app.group);
    }
    const old = work.cell(id, app.frame);
    this.painting = { step, id, frame: app.frame };
    view.brush(id, old?.counts ?? null, work.object(id).colour, add);
    view.stroke(point, app.radius);
  }

  #stopPainting(drop = false) {
    if (!this.painting) return;
    const { step, id, frame } = this.painting, { work, view } = this.app, { height, width } = work.media;
    const runs = runsFrom(view.brushing.bitmap, height, width), { area } = measure(runs, height);
    this.painting = view.brushing = null;
    if (drop) step.drop();
    else {
      step.cell(id, frame, { counts: area ? countsOf(runs) : null, score: 1, by: 'hand', marks: [], base: null });
      step.end();
    }
    view.soon();
  }

  // --- keyboard ---

  /** Move the cross by so many steps; it appears where the middle of what is seen is. */
  cross(right, down, fine) {
    const { app } = this, { view, work } = app, { clientWidth, clientHeight } = view.canvas, { width, height } = work.media;
    if (!view.cross) {
      const middle = [(clientWidth / 2 - view.left) / view.scale, (clientHeight / 2 - view.top) / view.scale];
      view.cross = [Math.min(width - 0.5, Math.max(0.5, Math.floor(middle[0]) + 0.5)), Math.min(height - 0.5, Math.max(0.5, Math.floor(middle[1]) + 0.5))];
    } else {
      const by = fine ? 1 : Math.max(1, Math.round(12 / view.scale));
      view.cross = [Math.min(width - 0.5, Math.max(0.5, view.cross[0] + right * by)), Math.min(height - 0.5, Math.max(0.5, view.cross[1] + down * by))];
    }
    if (this.painting) view.stroke(view.cross, app.radius);
    if (view.draft?.tool === 'box') view.draft.points = [view.draft.points[0], view.cross];
    if (view.draft?.tool === 'scribble') view.draft.points.push(view.cross);
    app.say(`Cross at ${Math.floor(view.cross[0])}, ${Math.floor(view.cross[1])}`);
    view.soon();
  }

  /** Enter: act where the cross is; strokes and boxes begin with it and end with it. */
  act() {
    const { app } = this, { view } = app;
    if (!view.cross) { this.cross(0, 0); return; }
    if (app.tool === 'move') this.#pick(view.cross, false);
    else if (app.tool === 'point' || app.tool === 'negative') { if (!this.#takeBack(view.cross)) this.#mark(app.tool, [view.cross]); }
    else if (this.painting) this.#stopPainting();
    else if (app.tool === 'brush' || app.tool === 'eraser') this.#startPainting(view.cross);
    else if (view.draft) {
      const { tool, points } = view.draft;
      view.draft = null;
      if (points.length > 1) this.#mark(tool, points.length > 900 ? points.slice(0, 900) : points);
    } else view.draft = { tool: app.tool, points: [view.cross] };
    view.soon();
  }

  /** Escape: what was begun is left, then the cross, then the selection. Says whether there was something. */
  leave() {
    const { app } = this, { view } = app;
    if (this.painting) this.#stopPainting(true);
    else if (view.draft) view.draft = null;
    else if (view.cross) view.cross = null;
    else if (app.selected.length) app.select([]);
    else return false;
    view.soon();
    return true;
  }
}



// The document: objects, their masks frame by frame, and what was done to them, so that it can be undone. What changes is
// saved with the session; lists are replaced, never changed in place.

import * as api from './api.js';

const MOST_CELLS = 500;
const SAVE_AFTER = 250;
export const MOST_STEPS = 500;

/** Colours of new objects: neighbours lie far apart on the wheel. */
export function colourOf(id) {
  const hue = (id * 222.5) % 360, light = [0.55, 0.66, 0.47][Math.floor(id / 5) % 3], a = 0.95 * Math.min(light, 1 - light);
  const part = (n) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (light - a * Math.max(-1, Math.min(k - 3, 9 - k, 1)))).toString(16).padStart(2, '0');
  };
  return `#${part(0)}${part(8)}${part(4)}`;
}

export class Work {
  constructor(id, document, changed, failed) {
    this.id = id;
    this.media = document.media;
    this.length = document.media.length || 1;
    this.film = document.media.kind === 'video';
    this.fps = document.fps || 10;
    this.objects = document.objects;
    this.classes = document.classes;
    this.talk = document.talk;
    this.cells = new Map();
    for (const { object, frame, cell } of document.cells) this.#row(object).set(frame, cell);
    this.revision = document.revision;
    this.undone = [];
    this.done = [];
    this.changed = changed;
    this.failed = failed;
    this.#highest = Math.max(0, ...this.objects.map((each) => each.id));
  }

  #highest;
  #dirty = { lists: false, cells: new Map() };
  #saving = null;
  #timer = 0;

  #row(id) {
    if (!this.cells.has(id)) this.cells.set(id, new Map());
    return this.cells.get(id);
  }

  object(id) { return this.objects.find((each) => each.id === id); }
  cell(id, frame) { return this.cells.get(id)?.get(frame); }
  row(id) { return this.cells.get(id) ?? new Map(); }

  // --- changing ---

  /** A step that can be undone: change through it, then call end(). Several may be open at once: each knows its own. */
  begin(label) {
    const step = { label, objects: new Map(), cells: new Map(), order: null, classes: null };
    const set = (id, frame, cell) => {
      const key = `${id}/${frame}`;
      if (!step.cells.has(key)) step.cells.set(key, { id, frame, before: this.cell(id, frame) });
      step.cells.get(key).after = cell;
      this.#set(id, frame, cell);
    };
    const put = (id, after) => {
      const at = this.objects.findIndex((each) => each.id === id);
      if (!step.objects.has(id)) step.objects.set(id, { id, at, before: this.objects[at] });
      step.objects.get(id).after = after;
      this.#put(id, after);
    };
    const classes = (names) => {
      step.classes = { before: step.classes?.before ?? this.classes, after: names };
      this.classes = names;
      this.#touch();
    };
    return {
      cell: set,
      classes,
      add: (about) => {
        const id = ++this.#highest, object = { id, name: 'object', colour: colourOf(id), shown: true, sure: 0, ...about };
        put(id, object);
        if (!this.classes.includes(object.name)) classes([...this.classes, object.name]);
        return id;
      },
      object: (id, about) => put(id, { ...this.object(id), ...about }),
      order: (ids) => {
        step.order = { before: step.order?.before ?? this.objects.map((each) => each.id), after: ids };
        this.#order(ids);
      },
      remove: (id) => {
        for (const frame of this.row(id).keys()) set(id, frame, undefined);
        put(id, undefined);
      },
      drop: () => this.#apply(step, 'before'),
      end: () => {
        if (!step.cells.size && !step.objects.size && !step.order && !step.classes) return;
        this.done.push(step);
        if (this.done.length > MOST_STEPS) this.done.shift();
        this.undone = [];
        this.changed();
      },
    };
  }

  edit(label, change) {
    const step = this.begin(label);
    const given = change(step);
    step.end();
    return given;
  }

  undo() { return this.#go(this.done, this.undone, 'before'); }
  redo() { return this.#go(this.undone, this.done, 'after'); }

  #go(from, to, side) {
    const step = from.pop();
    if (!step) return null;
    this.#apply(step, side);
    to.push(step);
    return step;
  }

  #apply(step, side) {
    const objects = [...step.objects.values()];
    if (side === 'before') objects.reverse();
    for (const { id, at, [side]: object } of objects) this.#put(id, object, at);
    if (step.order) this.#order(step.order[side]);
    if (step.classes) this.classes = step.classes[side];
    for (const { id, frame, [side]: cell } of step.cells.values()) this.#set(id, frame, cell);
    this.#touch();
  }

  /** An object as it is now: changed, gone, or there (again), at its place. */
  #put(id, object, at = -1) {
    const there = this.objects.some((each) => each.id === id);
    if (there) this.objects = object ? this.objects.map((each) => (each.id === id ? object : each)) : this.objects.filter((each) => each.id !== id);
    else if (object) this.objects = this.objects.toSpliced(at < 0 ? this.objects.length : at, 0, object);
    this.#touch();
  }

  #order(ids) {
    const place = (object) => (ids.includes(object.id) ? ids.indexOf(object.id) : ids.length);
    this.objects = this.objects.toSorted((a, b) => place(a) - place(b));
    this.#touch();
  }

  say(talk) { this.talk = talk.slice(-400); this.#touch(); }

  #set(id, frame, cell) {
    if (cell === undefined) this.#row(id).delete(frame);
    else this.#row(id).set(frame, cell);
    this.#dirty.cells.set(`${id}/${frame}`, [id, frame]);
    this.#touch(false);
  }

  #touch(lists = true) {
    this.#dirty.lists ||= lists;
    this.changed();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.save().catch(() => {}), SAVE_AFTER);
  }

  // --- saving ---

  get unsaved() { return this.#dirty.lists || this.#dirty.cells.size > 0 || this.#saving !== null; }

  /** Send what has changed; resolves when everything is saved. */
  async save() {
    clearTimeout(this.#timer);
    while (this.unsaved) {
      this.#saving ??= this.#send().finally(() => { this.#saving = null; this.changed(); });
      await this.#saving;
    }
  }

  /** Everything is to be sent again, to another session. */
  move(id) {
    this.id = id;
    this.revision = 0;
    for (const [object, row] of this.cells) for (const frame of row.keys()) this.#dirty.cells.set(`${object}/${frame}`, [object, frame]);
    this.#dirty.lists = true;
    return this.save();
  }

  async #send() {
    const { lists, cells } = this.#dirty;
    const sent = [...cells.values()].slice(0, MOST_CELLS), known = new Set(this.objects.map((each) => each.id));
    this.#dirty = { lists: false, cells: new Map([...cells].slice(MOST_CELLS)) };
    const change = {
      revision: this.revision,
      ...(lists ? { objects: this.objects, classes: this.classes, talk: this.talk } : {}),
      cells: sent.filter(([id]) => known.has(id)).map(([object, frame]) => ({ object, frame, cell: this.cell(object, frame) ?? null })),
    };
    try {
      this.revision = (await api.post(`/v1/sessions/${this.id}/work`, change)).revision;
    } catch (error) {
      this.#dirty.lists ||= lists;
      for (const [id, frame] of sent) this.#dirty.cells.set(`${id}/${frame}`, [id, frame]);
      this.failed(error);
      throw error;
    }
  }
}

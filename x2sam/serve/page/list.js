// The objects at the side, what can be done with the selected ones, the classes, and what was asked and answered.

import { countsOf, runsOf, union } from './rle.js';

const make = (tag, about = {}, ...inside) => {
  const element = Object.assign(document.createElement(tag), about);
  element.append(...inside);
  return element;
};

export class List {
  constructor(app) {
    this.app = app;
    this.rows = new Map();
    this.list = document.querySelector('#objects');
    this.chosen = document.querySelector('#chosen');
    this.classes = document.querySelector('#classes');
    this.count = document.querySelector('#count');
    this.turns = document.querySelector('#talk ol');
    this.renaming = null;
  }

  get work() { return this.app.work; }

  render() {
    const { work, app } = this, top = work ? [...work.objects].reverse() : [];
    this.count.textContent = top.length || '';
    for (const [id, row] of this.rows) if (!work?.object(id)) { row.remove(); this.rows.delete(id); }
    top.forEach((object, i) => {
      const row = this.rows.get(object.id) ?? this.#row(object.id);
      this.#fill(row, object);
      if (this.list.children[i] !== row) this.list.insertBefore(row, this.list.children[i] ?? null);
    });
    this.#selected();
    this.#names();
    if (this.turnsOf !== work?.talk) this.talk();
  }

  #row(id) {
    const { app } = this;
    const eye = make('button', { type: 'button', className: 'eye', onclick: () => this.show([id]) });
    const colour = make('input', { type: 'color', onchange: () => this.work.edit('colour', (step) => step.object(id, { colour: colour.value })) });
    const name = make('button', { type: 'button', className: 'name', ondblclick: () => this.rename(id), onclick: (event) => {
      const more = event.ctrlKey || event.metaKey || event.shiftKey;
      app.select(more ? (app.selected.includes(id) ? app.selected.filter((each) => each !== id) : [...app.selected, id]) : [id]);
    } });
    const note = make('span', { className: 'note' });
    const gone = make('button', { type: 'button', textContent: '×', onclick: () => this.remove([id]) });
    const row = make('li', {}, eye, colour, name, note, gone);
    Object.assign(row, { parts: { eye, colour, name, note, gone } });
    this.rows.set(id, row);
    return row;
  }

  #fill(row, object) {
    const { app, work } = this, { eye, colour, name, note, gone } = row.parts, { id, shown } = object;
    const cell = work.cell(id, app.frame), selected = app.selected.includes(id), seen = [object, cell, selected, this.renaming === id];
    if (row.seen?.every((each, i) => each === seen[i])) return;
    row.seen = seen;
    const weak = cell?.counts && cell.score < object.sure;
    const state = !cell ? (work.film ? 'not yet followed' : 'no mask') : !cell.counts ? 'not here' : weak ? `weak (${cell.score.toFixed(2)})` : cell.by === 'hand' && !cell.marks.length ? 'by hand' : cell.score.toFixed(2);
    row.style.setProperty('--colour', object.colour);
    row.classList.toggle('selected', selected);
    row.classList.toggle('hidden', !shown);
    eye.textContent = shown ? '◉' : '○';
    eye.setAttribute('aria-label', `${shown ? 'Hide' : 'Show'} ${object.name} ${id}`);
    if (colour.value !== object.colour) colour.value = object.colour;
    colour.setAttribute('aria-label', `Colour of ${object.name} ${id}`);
    if (this.renaming !== id) name.textContent = object.name;
    name.setAttribute('aria-label', `${object.name} ${id}, ${state}`);
    name.setAttribute('aria-pressed', selected);
    note.textContent = state;
    note.classList.toggle('weak', Boolean(weak));
    gone.setAttribute('aria-label', `Delete ${object.name} ${id}`);
  }

  /** What can be done with the selected objects. */
  #selected() {
    const { app, work } = this, ids = app.selected, object = ids.length === 1 ? work.object(ids[0]) : null;
    const button = (text, title, onclick) => make('button', { type: 'button', textContent: text, title, onclick });
    const parts = [];
    if (object) {
      const cell = work.cell(object.id, app.frame);
      if (cell?.counts && cell.score < object.sure) parts.push(make('span', { className: 'weak', textContent: `weak (${cell.score.toFixed(2)}): add a click` }));
      parts.push(button('Rename', 'Rename (R)', () => this.rename(object.id)), button('↑', 'To the front (])', () => this.order(1)), button('↓', 'To the back ([)', () => this.order(-1)));
      if (work.film) parts.push(button('Not here', 'It is not on this frame (X)', () => this.absent()));
      if (cell?.marks.length) {
        const marks = cell.marks.map((mark, i) => make('button', {
          type: 'button', textContent: `${{ point: '⊕', negative: '⊖', box: '▭', scribble: '∿' }[mark.tool]} ${i + 1} ×`,
          ariaLabel: `Take back ${mark.tool} ${i + 1}`, title: 'Take this mark back', onclick: () => app.finding.unmark(object.id, app.frame, i),
        }));
        parts.push(make('span', { className: 'marks', ariaLabel: 'Marks', role: 'group' }, ...marks));
      }
    }
    if (ids.length > 1) parts.push(button(`Merge ${ids.length}`, 'Merge into one (M)', () => this.merge()), button(`Delete ${ids.length}`, 'Delete (Del)', () => this.remove(ids)));
    replace(this.chosen, parts);
  }

  #names() {
    const { app, work } = this, classes = work?.classes ?? [];
    replace(this.classes, work?.objects.length ? classes.slice(0, 9).map((name, i) => {
      const button = make('button', { type: 'button', title: `Give the selected objects this name (${i + 1})`, onclick: () => app.classify(i) });
      button.append(make('kbd', { textContent: i + 1 }), name);
      return button;
    }) : []);
  }

  // --- what is done ---

  rename(id = this.app.selected[0]) {
    const row = this.rows.get(id), object = this.work?.object(id);
    if (!row || !object) return;
    this.renaming = id;
    const input = make('input', { type: 'text', value: object.name, maxLength: 100, ariaLabel: `Name of ${object.name} ${id}` });
    const end = (keep) => {
      if (this.renaming !== id) return;
      this.renaming = null;
      const name = input.value.trim().replace(/\s+/g, ' ');
      input.replaceWith(row.parts.name);
      if (keep && name && name !== object.name) this.work.edit('rename', (step) => {
        step.object(id, { name });
        this.#tidy(step, name);
      });
      this.app.changed();
      row.parts.name.focus();
    };
    input.onkeydown = (event) => { if (event.key === 'Enter' || event.key === 'Escape') { event.preventDefault(); event.stopPropagation(); end(event.key === 'Enter'); } };
    input.onblur = () => end(true);
    row.parts.name.replaceWith(input);
    input.select();
  }

  /** Classes that are in use, and the new one. */
  #tidy(step, name) {
    const used = new Set(this.work.objects.map((each) => each.name));
    step.classes([...this.work.classes.filter((each) => used.has(each) && each !== name), name]);
  }

  classify(ids, name) {
    this.work.edit('class', (step) => { for (const id of ids) step.object(id, { name }); });
  }

  show(ids) {
    const shown = !this.work.object(ids[0])?.shown;
    this.work.edit(shown ? 'show' : 'hide', (step) => { for (const id of ids) step.object(id, { shown }); });
  }

  remove(ids) {
    this.work.edit('delete', (step) => { for (const id of ids) step.remove(id); });
    this.app.select(this.app.selected.filter((id) => !ids.includes(id)));
    this.app.say(`Deleted. Ctrl+Z brings it back.`);
  }

  /** One up or down among the objects; what is later lies above. */
  order(by) {
    const { work, app } = this, id = app.selected[0], at = work.objects.findIndex((each) => each.id === id), to = at + by;
    if (at < 0 || to < 0 || to >= work.objects.length) return;
    const ids = work.objects.map((each) => each.id);
    ids.splice(to, 0, ...ids.splice(at, 1));
    work.edit('order', (step) => step.order(ids));
  }

  absent() {
    const { work, app } = this;
    work.edit('not here', (step) => { for (const id of app.selected) step.cell(id, app.frame, { counts: null, score: 1, by: 'hand', marks: [], base: null }); });
  }

  /** All selected objects become the first of them. */
  merge() {
    const { work, app } = this, [kept, ...others] = app.selected;
    if (!others.length) { app.say('Select several objects first (Ctrl or Shift and click).'); return; }
    work.edit('merge', (step) => {
      const frames = new Set(app.selected.flatMap((id) => [...work.row(id).keys()]));
      for (const frame of frames) {
        const cells = app.selected.map((id) => work.cell(id, frame)).filter(Boolean), masks = cells.filter((cell) => cell.counts);
        const counts = masks.length ? countsOf(masks.map((cell) => runsOf(cell.counts)).reduce(union)) : null;
        const by = cells.some((cell) => cell.by === 'hand') ? 'hand' : 'model';
        step.cell(kept, frame, { counts, score: Math.max(...(masks.length ? masks : cells).map((cell) => cell.score)), by, marks: [], base: null });
      }
      for (const id of others) step.remove(id);
    });
    app.select([kept]);
  }

  // --- asked and answered ---

  /** The turns; `coming`: an answer that is on its way. The newest is in sight. */
  talk(coming = null) {
    const { app, work } = this;
    this.turnsOf = work?.talk;
    const turns = (work?.talk ?? []).map(({ who, text, objects }) => {
      const turn = make('li', { className: who }, text);
      const there = objects.map((id) => work.object(id)).filter(Boolean);
      if (there.length) turn.append(make('br'), ...there.slice(0, 40).map((object) => {
        const button = make('button', { type: 'button', textContent: object.name, title: 'Select it', onclick: () => { app.select([object.id]); app.goWhere(object.id); } });
        button.style.setProperty('--colour', object.colour);
        return button;
      }));
      return turn;
    });
    if (coming !== null) turns.push(make('li', { className: 'x2sam', textContent: `${coming} …` }));
    this.turns.replaceChildren(...turns);
    turns.at(-1)?.scrollIntoView({ block: 'nearest' });
  }
}

/** New children; a button that was focused stays so by its name. */
function replace(parent, parts) {
  const focused = parent.contains(document.activeElement) ? document.activeElement.textContent : null;
  parent.replaceChildren(...parts);
  if (focused !== null) [...parent.querySelectorAll('button')].find((each) => each.textContent === focused)?.focus();
}

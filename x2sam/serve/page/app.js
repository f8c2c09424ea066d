// What is open, what is selected, which frame is seen; the parts of the page ask it, and it has them show what changed.

import * as api from './api.js';
import { Finding } from './finding.js';
import { List } from './list.js';
import * as rle from './rle.js';
import { start } from './start.js';
import { Timeline } from './timeline.js';
import { Tools } from './tools.js';
import { View } from './view.js';
import { Work } from './work.js';

const $ = (selector) => document.querySelector(selector);

export class App {
  constructor() {
    this.api = api;
    this.rle = rle;
    this.work = null;
    this.frame = 0;
    this.selected = [];
    this.group = { id: null }; // the object that marks belong to; without an id the next one makes it
    this.radius = 12;
    this.tasks = [];
    this.file = null;
    this.view = new View($('#picture'), this);
    this.finding = new Finding(this);
    this.list = new List(this);
    this.timeline = new Timeline(this);
    this.tools = new Tools(this, $('#tools'));
    this.tools.brushSize(12);
  }

  #wanted = false;
  #class = null;

  // --- what is seen ---

  /** Everything is shown anew, soon. */
  changed() {
    if (this.#wanted) return;
    this.#wanted = true;
    requestAnimationFrame(() => { this.#wanted = false; this.#render(); });
  }

  #render() {
    const { work, view } = this;
    if (work) this.selected = this.selected.filter((id) => work.object(id));
    this.list.render();
    this.timeline.render();
    $('#zoom output').value = `${Math.round(view.scale * 100)} %`;
    $('#undo').disabled = !work?.done.length;
    $('#redo').disabled = !work?.undone.length;
    $('#undo').title = work?.done.length ? `Undo: ${work.done.at(-1).label} (Ctrl+Z)` : 'Undo (Ctrl+Z)';
    $('#redo').title = work?.undone.length ? `Redo: ${work.undone.at(-1).label} (Ctrl+Shift+Z)` : 'Redo (Ctrl+Shift+Z)';
    $('#export').disabled = !work?.objects.length;
    $('#saved').textContent = !work ? '' : work.unsaved ? 'Saving …' : work.revision ? 'Saved' : '';
    view.soon();
  }

  say(text) { $('#status').textContent = text; }

  /** The one way in which errors are shown. */
  fail(error) {
    if (error.status === 404 && this.work) { this.#recover(error); return; }
    this.say('');
    console.warn(error);
    $('#problem p').textContent = error.status === undefined ? `Something went wrong in this page (${error.message}).` : error.message;
    $('#problem').hidden = false;
  }

  busy(on) {
    $('#stop').hidden = !on;
    $('#progress').hidden = !on;
    $('#progress').removeAttribute('value');
    document.body.classList.toggle('busy', on);
    if (on) { this.watching = true; $('#problem').hidden = true; }
  }

  progress(done, total, frame) {
    const now = performance.now();
    if (done === 1) this.begun = now;
    const left = Math.ceil(((now - this.begun) / Math.max(1, done - 1)) * (total - done) / 1000);
    Object.assign($('#progress'), { max: total, value: done });
    this.say(`Frame ${done} of ${total}${done > 2 && left > 1 ? ` · ${left} s left` : ''}`);
    if (this.watching && !this.going) { this.going = true; this.go(frame, false).finally(() => { this.going = false; }); }
  }

  answer(text) { this.list.talk(text); }

  // --- what is open ---

  async open(file, name = file.name || 'pasted.png') {
    this.say(`Opening ${name} …`);
    document.body.setAttribute('aria-busy', 'true');
    try {
      await this.leave();
      const session = await api.upload(file, name), { work } = this;
      this.file = { content: file, name };
      const same = ['name', 'width', 'height', 'length'].every((each) => work?.media[each] === session.media[each]);
      if (this.orphan && same) await this.#move(session.id);
      else await this.load(session.id);
    } catch (error) { this.fail(error); }
    document.body.removeAttribute('aria-busy');
  }

  /** Go to a session with its work. */
  async load(id) {
    const kept = await api.get(`/v1/sessions/${id}/work`);
    this.work = new Work(id, kept, () => this.changed(), (error) => this.#unsaved(error));
    this.orphan = false;
    this.frame = 0;
    this.#class = null;
    this.select([]);
    history.replaceState(null, '', `#${id}`);
    document.title = `${this.work.media.name} · x2sam`;
    document.body.dataset.state = 'open';
    document.body.dataset.kind = this.work.media.kind;
    this.view.open();
    this.list.talk();
    this.tools.brushSize(Math.max(2, Math.round(Math.max(this.work.media.width, this.work.media.height) / 60)));
    this.tools.size.max = Math.max(20, Math.round(Math.max(this.work.media.width, this.work.media.height) / 10));
    this.say(this.work.objects.length ? `${this.work.media.name}: ${this.work.objects.length} objects` : this.work.film ? 'Click on what to follow, or say it.' : 'Click on an object, or say what to find.');
    await this.go(0);
    this.changed();
    this.view.canvas.focus({ preventScroll: true });
  }

  /** Leave what is open; it is saved. */
  async leave() {
    this.timeline.stop();
    await this.finding.stop();
    try { await this.work?.save(); } catch (error) {
      if (error.status !== 404 && error.status !== 409) throw error; // of those it has been said what can be done
    }
  }

  /** To the list of what there is. */
  async home() {
    try { await this.leave(); } catch (error) { this.fail(error); return; }
    this.work = this.file = null;
    this.select([]);
    history.replaceState(null, '', location.pathname);
    document.title = 'x2sam';
    document.body.dataset.state = 'empty';
    delete document.body.dataset.kind;
    this.say('');
    this.changed();
    await start(this);
  }

  #unsaved(error) {
    if (error.status === 404) this.#recover(error);
    else if (error.status === 409) this.fail(Object.assign(error, { message: 'This was changed in another tab. Load the page again to go on with that; what you did here since is not saved.' }));
    else this.fail(error);
  }

  /** The service has forgotten the session: open the file again, and save everything there. */
  async #recover(error) {
    if (this.recovering) return;
    const { file } = this;
    if (!file) {
      this.orphan = true;
      $('#problem p').textContent = 'The service has forgotten this file. Drop it here again: your work is still in this page, and will be saved with it.';
      $('#problem').hidden = false;
      return;
    }
    this.recovering = true;
    try {
      await this.#move((await api.upload(file.content, file.name)).id);
    } catch (again) { $('#problem p').textContent = again.message; $('#problem').hidden = false; }
    this.recovering = false;
  }

  /** All that was made goes to another session of the same file. */
  async #move(id) {
    await this.work.move(id);
    this.orphan = false;
    history.replaceState(null, '', `#${id}`);
    await this.go(this.frame);
    $('#problem').hidden = true;
    this.say('The service had forgotten this file; it was opened again with all your work.');
  }

  // --- frames and objects ---

  /** Go to a frame; resolves when it is seen. */
  async go(frame, byHand = true) {
    if (byHand) this.watching = false;
    this.frame = frame;
    this.changed();
    try { await this.view.show(frame); } catch (error) { this.fail(error); }
  }

  /** To a frame where an object is. */
  goWhere(id) {
    const { work } = this, frames = [...work.row(id)].filter(([, cell]) => cell.counts).map(([frame]) => frame);
    if (work.film && frames.length && !work.cell(id, this.frame)?.counts) this.go(Math.min(...frames));
  }

  select(ids) {
    this.selected = ids;
    this.group = { id: ids[0] ?? null };
    this.changed();
  }

  /** The object that the last marks made is selected, and more marks belong to it. */
  keep(group) {
    this.selected = group.id ? [group.id] : [];
    this.group = group;
    this.changed();
  }

  /** The best score that an object has anywhere. */
  best(id) { return Math.max(0, ...[...this.work.row(id).values()].filter((cell) => cell.counts).map((cell) => cell.score)); }

  className() { return this.#class ?? 'object'; }

  /** The n-th class for the selected objects, or for those that will be made. */
  classify(n) {
    const name = this.work?.classes[n];
    if (!name) return;
    this.#class = name;
    if (this.selected.length) this.list.classify(this.selected, name);
    else this.say(`New objects are called “${name}”.`);
  }

  async undo(again = false) {
    await this.finding.stop();
    const step = again ? this.work?.redo() : this.work?.undo();
    if (!step) return;
    const cells = [...step.cells.values()];
    if (cells.length && !cells.some((each) => each.frame === this.frame)) this.go(Math.min(...cells.map((each) => each.frame)));
    this.select(this.selected.filter((id) => this.work.object(id)));
    this.say(`${again ? 'Done again' : 'Undone'}: ${step.label}.`);
  }

  follow() {
    const ids = this.selected.length ? this.selected : this.work.objects.map((each) => each.id);
    this.finding.follow(ids).catch((error) => this.fail(error));
  }
}

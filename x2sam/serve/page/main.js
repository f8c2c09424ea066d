// The page as a whole: what is open, what is selected, which frame is seen, and the keys.

import * as api from './api.js';
import { Finding } from './finding.js';
import { List } from './list.js';
import { Timeline } from './timeline.js';
import { TOOLS, Tools } from './tools.js';
import { View } from './view.js';
import { Work } from './work.js';

const $ = (selector) => document.querySelector(selector);
const ALIVE = 60_000; // between two signs of life, so that the session stays open
const NOTHING = { id: null };

class App {
  constructor() {
    this.api = api;
    this.work = null;
    this.frame = 0;
    this.selected = [];
    this.group = NOTHING; // the object that marks belong to; without an id the next one makes it
    this.radius = 12;
    this.tasks = [];
    this.failed = false;
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

  say(text) { $('#status').textContent = text; this.failed = false; }

  /** The one way in which errors are shown. */
  fail(error) {
    if (error.status === 404 && this.work) { this.#recover(error); return; }
    this.failed = true;
    this.say('');
    this.failed = true;
    console.warn(error);
    $('#problem p').textContent = error.status === undefined ? `Something went wrong in this page (${error.message}).` : error.message;
    $('#problem').hidden = false;
  }

  busy(on) {
    $('#stop').hidden = !on;
    $('#progress').hidden = !on;
    $('#progress').removeAttribute('value');
    document.body.classList.toggle('busy', on);
    if (on) { this.watching = true; this.failed = false; $('#problem').hidden = true; }
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
      const session = await api.upload(file, name);
      this.file = { content: file, name };
      await this.load(session.id);
    } catch (error) { this.fail(error); }
    document.body.removeAttribute('aria-busy');
  }

  /** Go to a session with its work. */
  async load(id) {
    const document_ = await api.get(`/v1/sessions/${id}/work`);
    this.work = new Work(id, document_, () => this.changed(), (error) => this.#unsaved(error));
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
    await this.work?.save();
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
    await start();
  }

  #unsaved(error) {
    if (error.status === 404) this.#recover(error);
    else if (error.status === 409) this.fail(Object.assign(error, { message: 'This was changed in another tab. Load the page again to go on with that; what you did here since is not saved.' }));
    else this.fail(error);
  }

  /** The service has forgotten the session: open the file again, and save everything there. */
  async #recover(error) {
    if (this.recovering) return;
    const { work, file } = this;
    if (!file) {
      this.failed = true;
      $('#problem p').textContent = `${error.message} Open the file again.`;
      $('#problem').hidden = false;
      return;
    }
    this.recovering = true;
    try {
      const session = await api.upload(file.content, file.name);
      await work.move(session.id);
      history.replaceState(null, '', `#${session.id}`);
      this.say('The service had forgotten this file; it was opened again with all your work.');
    } catch (again) { $('#problem p').textContent = again.message; $('#problem').hidden = false; }
    this.recovering = false;
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

// --- beginning ---------------------------------------------------------------------------------------------------------

const app = new App();

/** What can be opened: work that is kept, and examples. */
async function start() {
  try {
    const [kept, examples] = await Promise.all([api.get('/v1/work'), api.get('/page/examples/list')]);
    $('#kept').hidden = !kept.length;
    $('#kept ul').replaceChildren(...kept.map((each) => tile(each.media.name, `${each.objects} object${each.objects === 1 ? '' : 's'}`,
      `/v1/sessions/${each.id}/pictures/0?side=256`, () => app.load(each.id).catch((error) => app.fail(error)), async () => {
        if (each.objects && !(await sure(`Delete ${each.media.name} with its ${each.objects} objects from the service?`))) return;
        try { await api.remove(`/v1/sessions/${each.id}`); } catch (error) { app.fail(error); }
        start();
      })));
    $('#examples').hidden = !examples.length;
    $('#examples ul').replaceChildren(...examples.map((each) => tile(each.title, `“${each.prompt}”`, `/page/examples/${each.index}`, async () => {
      try {
        app.say(`Opening ${each.title} …`);
        const session = await api.post(`/page/examples/${each.index}`, {});
        await app.load(session.id);
        $('#words').value = each.prompt;
      } catch (error) { app.fail(error); }
    })));
  } catch (error) { app.fail(error); }
}

function tile(name, about, picture, open, remove) {
  const item = document.createElement('li'), button = document.createElement('button'), image = document.createElement('img');
  Object.assign(image, { src: picture, alt: '', loading: 'lazy' });
  Object.assign(button, { type: 'button', onclick: open });
  const small = Object.assign(document.createElement('small'), { textContent: about });
  button.append(image, name, small);
  item.append(button);
  if (remove) item.append(Object.assign(document.createElement('button'), { type: 'button', textContent: '×', ariaLabel: `Delete ${name}`, onclick: remove }));
  return item;
}

/** Ask; whether the answer is yes. */
function sure(question) {
  const dialog = $('#sure');
  $('#sure p').textContent = question;
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((answer) => { dialog.onclose = () => answer(dialog.returnValue === 'yes'); });
}

async function exports() {
  const { work } = app, list = $('#exports ul');
  try {
    const formats = await api.get(`/v1/sessions/${work.id}/work/formats`);
    list.replaceChildren(...formats.map(({ name, description }) => {
      const item = document.createElement('li'), button = document.createElement('button');
      Object.assign(button, { type: 'button', onclick: () => take(name, button) });
      button.append(name, Object.assign(document.createElement('small'), { textContent: description }));
      item.append(button);
      return item;
    }));
    $('#exports').showModal();
  } catch (error) { app.fail(error); }
}

async function take(format, button) {
  button.disabled = true;
  app.say(`Writing ${format} …`);
  try {
    await app.work.save();
    const { content, name } = await api.download(`/v1/sessions/${app.work.id}/work/export/${format}`);
    const link = Object.assign(document.createElement('a'), { href: URL.createObjectURL(content), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    app.say(`${name} is written.`);
  } catch (error) { $('#exports').close(); app.fail(error); }
  button.disabled = false;
}

$('#open').onclick = () => (app.work ? app.home() : $('#file').click());
$('#choose').onclick = () => $('#file').click();
$('#file').onchange = () => { const [file] = $('#file').files; $('#file').value = ''; if (file) app.open(file); };
$('#undo').onclick = () => app.undo();
$('#redo').onclick = () => app.undo(true);
$('#export').onclick = exports;
$('#help').onclick = () => $('#keys').showModal();
$('#stop').onclick = () => app.finding.stop();
$('#follow').onclick = () => app.follow();
$('#opacity').oninput = () => app.view.setOpacity($('#opacity').value / 100);
$('#problem button').onclick = () => { $('#problem').hidden = true; };
for (const button of document.querySelectorAll('[data-zoom]')) button.onclick = () => {
  if (button.dataset.zoom === 'fit') app.view.fit(); else app.view.zoom(+button.dataset.zoom);
  app.changed();
};
$('#ask').onsubmit = (event) => {
  event.preventDefault();
  if (!app.work) { app.say('Open a picture or a film first.'); return; }
  const text = $('#words').value, talk = $('#mode').value === 'talk';
  if (talk && !text.trim()) return;
  const asked = talk ? app.finding.talk(text.trim()) : app.finding.find(text, { task: $('#task').value, form: $('#form').value, alone: $('#alone').checked });
  asked.catch((error) => app.fail(error));
  if (talk) $('#words').value = '';
};

const main = $('main');
document.addEventListener('dragover', (event) => { event.preventDefault(); main.classList.add('over'); });
document.addEventListener('dragleave', () => main.classList.remove('over'));
document.addEventListener('drop', (event) => {
  event.preventDefault();
  main.classList.remove('over');
  if (event.dataTransfer.files[0]) app.open(event.dataTransfer.files[0]);
});
document.addEventListener('paste', (event) => { if (event.clipboardData.files[0]) app.open(event.clipboardData.files[0]); });
addEventListener('beforeunload', (event) => { if (app.work?.unsaved) { app.work.save().catch(() => {}); event.preventDefault(); } });
setInterval(() => { if (app.work) api.get(`/v1/sessions/${app.work.id}`).catch((error) => { if (error.status === 404) app.fail(error); }); }, ALIVE);

// --- keys --------------------------------------------------------------------------------------------------------------

const film = (act) => () => { if (app.work.film) act(); };
const chosen = (act) => () => { if (app.selected.length) act(); else app.say('Select an object first.'); };
const arrow = (right, down) => (event) => {
  if (app.work.film && !app.view.cross) { if (right) app.timeline.step(right * (event.shiftKey ? 10 : 1)); } else app.tools.cross(right, down, event.shiftKey);
};
/** Keys without Ctrl: what is pressed, what the sheet says, what is done. */
const KEYS = [
  ...TOOLS.map(({ name, key, title, about }) => [[key], `${title}: ${about.toLowerCase()}`, () => app.tools.choose(name)]),
  [['a'], 'New object: the next mark begins another', () => app.select([])],
  [['1', '2', '3', '4', '5', '6', '7', '8', '9'], 'Class of the selected objects', (event) => app.classify(+event.key - 1)],
  [['r', 'F2'], 'Rename', chosen(() => app.list.rename())],
  [['h'], 'Hide or show the selected objects', chosen(() => app.list.show(app.selected))],
  [['o'], 'Without any mask, and back', () => { app.view.bare = !app.view.bare; app.view.soon(); }],
  [['m'], 'Merge the selected objects', chosen(() => app.list.merge())],
  [['Delete', 'Backspace'], 'Delete the selected objects', chosen(() => app.list.remove(app.selected))],
  [[']'], 'One to the front', chosen(() => app.list.order(1))],
  [['['], 'One to the back', chosen(() => app.list.order(-1))],
  [['>', '<'], 'Larger, smaller brush', (event) => app.tools.brushSize(event.key === '>' ? Math.ceil(app.radius * 1.25) : Math.floor(app.radius / 1.25))],
  [['+', '='], 'Zoom in', () => app.view.zoom(1.25)],
  [['-'], 'Zoom out', () => app.view.zoom(0.8)],
  [['0'], 'Fit the window', () => app.view.fit()],
  [['f'], 'Follow the selected objects through the film, or all', film(() => app.follow())],
  [['x'], 'The selected objects are not on this frame', film(chosen(() => app.list.absent()))],
  [[',', '.'], 'Frame back, frame on', film((event) => app.timeline.step(0))],
  [['PageUp', 'PageDown'], 'To where something was shown by hand', () => {}],
  [['c'], 'Cross on or off (arrows move it, Enter marks)', () => { if (app.view.cross) { app.view.cross = null; app.view.soon(); } else app.tools.cross(0, 0); }],
  [['ArrowLeft'], 'Frame back; of a picture, the cross to the left', arrow(-1, 0)],
  [['ArrowRight'], 'Frame on; of a picture, the cross to the right', arrow(1, 0)],
  [['ArrowUp'], 'The cross up (Shift: a pixel)', arrow(0, -1)],
  [['ArrowDown'], 'The cross down', arrow(0, 1)],
  [['Enter'], 'Mark at the cross; boxes and strokes begin and end', () => app.tools.act()],
  [['Escape'], 'Leave what was begun, the cross, the selection', () => app.tools.leave()],
  [['/'], 'To the words', () => $('#words').focus()],
];
for (const row of KEYS) {
  if (row[0][0] === ',') row[2] = film((event) => event);
}
const actions = new Map(KEYS.flatMap(([keys, , act]) => keys.map((key) => [key, act])));
actions.set(',', film(() => app.timeline.step(-1)));
actions.set('.', film(() => app.timeline.step(1)));
actions.set('PageUp', film(() => app.timeline.jump(-1)));
actions.set('PageDown', film(() => app.timeline.jump(1)));
const SHEET = [
  ...KEYS.map(([keys, about]) => [keys.length > 4 ? [`${keys[0]} … ${keys.at(-1)}`] : keys, about]),
  [['Space'], 'Hold and drag: move the picture. Alone: play'],
  [['Ctrl+Z'], 'Undo'], [['Ctrl+Shift+Z', 'Ctrl+Y'], 'Redo'], [['Ctrl+E'], 'Export'], [['?'], 'This sheet'],
];
$('#keys tbody').append(...SHEET.map(([keys, about]) => {
  const row = document.createElement('tr'), left = document.createElement('td'), right = document.createElement('td');
  keys.forEach((key) => left.append(Object.assign(document.createElement('kbd'), { textContent: key.length === 1 ? key.toUpperCase() : key.replace('Arrow', '') }), ' '));
  right.textContent = about;
  row.append(left, right);
  return row;
}));

document.addEventListener('keydown', (event) => {
  const { target, key } = event, control = event.ctrlKey || event.metaKey;
  if (document.querySelector('dialog[open]')) return;
  const typing = target.matches('input[type=text], select');
  if (control && !typing && app.work) {
    const act = { z: () => app.undo(event.shiftKey), y: () => app.undo(true), e: exports }[key.toLowerCase()];
    if (act) { event.preventDefault(); act(); }
    return;
  }
  if (typing) { if (key === 'Escape') app.view.canvas.focus(); return; }
  if (key === '?') { $('#keys').showModal(); return; }
  if (!app.work || control || event.altKey) return;
  if (key === ' ') {
    if (target.matches('button, summary, input')) return;
    event.preventDefault();
    if (!event.repeat) { app.tools.panned = false; app.tools.hold(true); }
    return;
  }
  if (target.matches('input') && /^Arrow|^Page|^Home|^End/.test(key)) return; // sliders have these
  if (key === 'Enter' && target !== app.view.canvas) return;
  const act = actions.get(key.length === 1 ? key.toLowerCase() : key);
  if (!act) return;
  event.preventDefault();
  act(event);
  app.changed();
});
document.addEventListener('keyup', (event) => {
  if (event.key !== ' ' || !app.tools.space) return;
  app.tools.hold(false);
  if (!app.tools.panned && app.work?.film) app.timeline.toggle();
});
addEventListener('blur', () => app.tools.hold(false));

// --- go ----------------------------------------------------------------------------------------------------------------

(async () => {
  api.get('/v1/tasks').then((tasks) => {
    app.tasks = tasks;
    for (const each of tasks) {
      if (each.media !== 'image' || each.answer === 'none' || each.conditions === 'regions') continue;
      const title = each.title.replace(/^Image /, '');
      $('#task').append(Object.assign(document.createElement('option'), { value: each.name, textContent: title[0].toUpperCase() + title.slice(1) }));
    }
  }).catch((error) => app.fail(error));
  const id = location.hash.slice(1);
  if (id) {
    try { await app.load(id); return; } catch (error) {
      if (error.status !== 404) { app.fail(error); return; }
      app.work = null;
      history.replaceState(null, '', location.pathname);
    }
  }
  start();
})();
window.x2sam = app; // for whoever wants to look, and for tests

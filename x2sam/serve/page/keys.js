// The keys, and the sheet that names them.

import { exports } from './start.js';
import { TOOLS } from './tools.js';

const $ = (selector) => document.querySelector(selector);

export function keys(app) {
  const film = (act) => (event) => { if (app.work.film) act(event); };
  const chosen = (act) => (event) => { if (app.selected.length) act(event); else app.say('Select an object first.'); };
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
    [[',', '.'], 'Frame back, frame on', film((event) => app.timeline.step(event.key === '.' ? 1 : -1))],
    [['PageUp', 'PageDown'], 'To where something was shown by hand', film((event) => app.timeline.jump(event.key === 'PageUp' ? -1 : 1))],
    [['c'], 'Cross on or off (arrows move it, Enter marks)', () => { if (app.view.cross) { app.view.cross = null; app.view.soon(); } else app.tools.cross(0, 0); }],
    [['ArrowLeft'], 'Frame back; of a picture, the cross to the left', arrow(-1, 0)],
    [['ArrowRight'], 'Frame on; of a picture, the cross to the right', arrow(1, 0)],
    [['ArrowUp'], 'The cross up (Shift: a pixel)', arrow(0, -1)],
    [['ArrowDown'], 'The cross down', arrow(0, 1)],
    [['Enter'], 'Mark at the cross; boxes and strokes begin and end', () => app.tools.act()],
    [['Escape'], 'Leave what was begun, the cross, the selection', () => app.tools.leave()],
    [['/'], 'To the words', () => $('#words').focus()],
  ];
  const actions = new Map(KEYS.flatMap(([keys, , act]) => keys.map((key) => [key, act])));
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
      const act = { z: () => app.undo(event.shiftKey), y: () => app.undo(true), e: () => exports(app) }[key.toLowerCase()];
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
}

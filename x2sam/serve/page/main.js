// The page begins here: its parts are joined, its buttons wired, and what the address names is opened.

import * as api from './api.js';
import { App } from './app.js';
import { keys } from './keys.js';
import { exports, start } from './start.js';

const $ = (selector) => document.querySelector(selector);
const ALIVE = 60_000; // between two signs of life, so that the session stays open
const app = new App();
keys(app);

$('#open').onclick = () => (app.work ? app.home() : $('#file').click());
$('#choose').onclick = () => $('#file').click();
$('#file').onchange = () => { const [file] = $('#file').files; $('#file').value = ''; if (file) app.open(file); };
$('#undo').onclick = () => app.undo();
$('#redo').onclick = () => app.undo(true);
$('#export').onclick = () => exports(app);
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
  start(app);
})();
window.x2sam = app; // for whoever wants to look, and for tests

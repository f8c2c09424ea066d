// What can be opened (work that is kept, and examples), and what it can be exported to.

import * as api from './api.js';

const $ = (selector) => document.querySelector(selector);

/** What can be opened: work that is kept, and examples. */
export async function start(app) {
  try {
    const [kept, examples] = await Promise.all([api.get('/v1/work'), api.get('/page/examples/list')]);
    $('#kept').hidden = !kept.length;
    $('#kept ul').replaceChildren(...kept.map((each) => tile(each.media.name, `${each.objects} object${each.objects === 1 ? '' : 's'}`,
      `/v1/sessions/${each.id}/pictures/0?side=256`, () => app.load(each.id).catch((error) => app.fail(error)), async () => {
        if (each.objects && !(await sure(`Delete ${each.media.name} with its ${each.objects} objects from the service?`))) return;
        try { await api.remove(`/v1/sessions/${each.id}`); } catch (error) { app.fail(error); }
        start(app);
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

export async function exports(app) {
  const { work } = app, list = $('#exports ul');
  try {
    const formats = await api.get(`/v1/sessions/${work.id}/work/formats`);
    list.replaceChildren(...formats.map(({ name, description }) => {
      const item = document.createElement('li'), button = document.createElement('button');
      Object.assign(button, { type: 'button', onclick: () => take(app, name, button) });
      button.append(name, Object.assign(document.createElement('small'), { textContent: description }));
      item.append(button);
      return item;
    }));
    $('#exports').showModal();
  } catch (error) { app.fail(error); }
}

async function take(app, format, button) {
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

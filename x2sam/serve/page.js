// Time, sliders, downloads, files, and what the server says (see page.show.js).

// --- time -------------------------------------------------------------------------------------------------------------

function step(by) { held = true; show(wanted + by); }
function stop() { playing = false; play.textContent = '▶'; play.setAttribute('aria-label', 'Play'); }
function run() {
  if (!playing) return;
  const begun = performance.now();
  show(wanted + 1 >= state.length ? 0 : wanted + 1).then(() => {
    setTimeout(run, Math.max(0, 1000 / state.fps - (performance.now() - begun)));
  });
}
play.onclick = () => {
  if (playing) return stop();
  playing = held = true;
  play.textContent = '❚❚';
  play.setAttribute('aria-label', 'Pause');
  run();
};
scrub.oninput = () => { stop(); held = true; show(+scrub.value); };

// --- looks, downloads, buttons ----------------------------------------------------------------------------------------

function look() {
  const value = (name) => +$(`[data-look=${name}]`).value, before = value('before');
  view.style.setProperty('--opacity', value('opacity') / 100);
  view.style.setProperty('--before', `${before}%`);
  $('.cut').hidden = before === 0;
}
for (const slider of element.querySelectorAll('[data-look]')) slider.oninput = () => {
  if (slider.dataset.look === 'threshold') { filter = +slider.value; sift(); } else look();
};

async function download(name, button) {
  button.disabled = true;
  try {
    const answer = await fetch(address(`download/${name}` + (filter === null ? '' : `?threshold=${filter}`)));
    if (!answer.ok) throw new Error((await answer.json()).error.message);
    const file = /filename="?([^";]+)/.exec(answer.headers.get('content-disposition') || '');
    const link = Object.assign(document.createElement('a'), {
      href: URL.createObjectURL(await answer.blob()), download: file ? file[1] : name,
    });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  } catch (error) { complain(error.message); }
  button.disabled = false;
}

function complain(text) {
  $('.error').textContent = text || '';
  $('.error').hidden = !text;
}

$('[data-act=cancel]').onclick = () => trigger('cancel', {});
$('[data-act=resume]').onclick = () => { held = false; trigger('resume', {}); };

// A file that is dropped or pasted goes the way of the button that opens files.
function give(files) {
  const input = document.querySelector('#head input[type=file]');
  if (!input || !files || !files.length) return false;
  const one = new DataTransfer();
  one.items.add(files[0]);
  input.files = one.files;
  input.dispatchEvent(new Event('change', { bubbles: true }));
  return true;
}
view.ondragover = (event) => { event.preventDefault(); view.classList.add('over'); };
view.ondragleave = () => view.classList.remove('over');
view.ondrop = (event) => { event.preventDefault(); view.classList.remove('over'); give(event.dataTransfer.files); };
document.addEventListener('paste', (event) => { if (give(event.clipboardData.files)) event.preventDefault(); });

// --- what the server says ---------------------------------------------------------------------------------------------

function update() {
  const old = state;
  state = props.value || { key: null };
  const other = old.key !== state.key || old.medium !== state.medium;
  if (other) {
    pictures.clear();
    shown = -1;
    cross = draft = null;
    stop();
  }
  if (sent && (other || (old.busy && !state.busy) || (state.marks || []).length !== sent.known)) sent = null;
  if (other || old.revision !== state.revision) results.clear();
  if (other || old.usual !== state.usual || JSON.stringify(old.least) !== JSON.stringify(state.least)) filter = null;
  if (other || (state.busy && !old.busy && state.done === 0)) held = false;
  element.querySelector('.stage').dataset.state = !state.key ? 'empty' : state.busy ? 'busy' : 'ready';
  $('.empty').hidden = !!state.key;
  view.style.aspectRatio = state.key ? `${state.width} / ${state.height}` : '';
  view.style.setProperty('--shape', state.key ? state.width / state.height : 1.6);
  $('.time').hidden = !(state.length > 1);
  scrub.max = Math.max(0, (state.length || 1) - 1);
  $('.time .track i').style.width = `${100 * (state.done || 0) / (state.length || 1)}%`;
  $('.looks').hidden = !state.done;
  $('.say span').textContent = state.note || '';
  $('[data-part=task]').textContent = state.task || '';
  $('[data-act=cancel]').hidden = !state.busy;
  $('[data-act=resume]').hidden = !state.left;
  $('.bar').hidden = !state.busy;
  $('.bar').classList.toggle('known', typeof state.share === 'number');
  $('.bar i').style.width = typeof state.share === 'number' ? `${100 * state.share}%` : '';
  const chosen = (state.objects || []).find((object) => object.id === state.selected);
  $('[data-part=hint]').textContent = !state.key ? '' : chosen ? `Marks correct “${chosen.name}”` : 'Marks make a new object';
  complain(state.error);
  const list = $('.downloads div');
  $('.downloads').hidden = !(state.formats || []).length;
  list.replaceChildren(...(state.formats || []).map((format) => {
    const button = Object.assign(document.createElement('button'), { type: 'button', textContent: format.name, title: format.about });
    button.dataset.format = format.name;
    button.append(Object.assign(document.createElement('small'), { textContent: format.about }));
    button.onclick = () => download(format.name, button);
    return button;
  }));
  if (!state.key) {
    for (const part of [masks, drawn, tags, $('.objects')]) part.replaceChildren();
    canvas.width = canvas.height = 0;
    return;
  }
  if (other || (state.show !== lastShow && !held)) wanted = state.show;
  lastShow = state.show;
  show(wanted);
  const whole = old.busy && !state.busy && old.done < state.done && state.done === state.length;
  if (whole && state.length > 1 && !held && !matchMedia('(prefers-reduced-motion: reduce)').matches) play.onclick();
}

new ResizeObserver(() => { marks(); sift(); }).observe(view);
choose('point');
look();
watch('value', update);
update();
// Names of the events that Python listens to: 'mark' 'choose' 'rename' 'drop' 'cancel' 'resume'.

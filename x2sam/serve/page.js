// The stage: one picture with its masks, tools to mark it, a timeline. `props.value` says what there is (page_view.stage);
// pictures and masks are fetched frame by frame and kept here, so scrubbing, threshold and opacity ask nobody.
const $ = (selector) => element.querySelector(selector);
const view = $('.view'), canvas = $('canvas'), masks = $('.masks'), drawn = $('.marks'), tags = $('.tags');
const scrub = $('.time input'), play = $('[data-act=play]'), output = $('.time output');
const SVG = 'http://www.w3.org/2000/svg', KEEP = 400;

let state = { key: null }, tool = 'point', wanted = 0, shown = -1, showing = false, held = false;
let playing = false, draft = null, sent = null, cross = null, filter = null, lastShow = null;
const pictures = new Map(), results = new Map();

// --- fetching ---------------------------------------------------------------------------------------------------------

const address = (rest) => `page/${state.key}/${rest}`;

function kept(cache, index, make) {
  if (!cache.has(index)) {
    cache.set(index, make().catch(() => { cache.delete(index); return null; }));
    if (cache.size > KEEP) cache.delete(cache.keys().next().value);
  }
  return cache.get(index);
}

const picture = (index) => kept(pictures, index, async () => {
  const image = new Image();
  image.src = address(`frames/${index}?${state.medium}`);
  await image.decode();
  return image;
});

const found = (index) => index >= state.done ? [] : kept(results, index, async () => {
  const answer = await fetch(address(`masks/${index}?${state.revision}`));
  if (!answer.ok) throw new Error(answer.statusText);
  return answer.json();
});

// --- showing ----------------------------------------------------------------------------------------------------------

async function show(index) {
  wanted = Math.max(0, Math.min(index, (state.length || 1) - 1));
  if (showing || !state.key) return;
  showing = true;
  for (let again = true; again;) {
    const now = wanted, key = state.key, revision = state.revision;
    const [image, list] = await Promise.all([picture(now), found(now)]);
    if (key === state.key && image) paint(now, image, list || []);
    again = now !== wanted || key !== state.key || revision !== state.revision;
  }
  showing = false;
  if (playing && wanted + 1 < state.length) picture(wanted + 1), found(wanted + 1);
}

function paint(index, image, list) {
  shown = index;
  if (canvas.width !== image.naturalWidth || canvas.height !== image.naturalHeight) {
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
  }
  canvas.getContext('2d').drawImage(image, 0, 0);
  for (const layer of [masks, drawn]) layer.setAttribute('viewBox', `0 0 ${state.width} ${state.height}`);
  masks.replaceChildren(...list.map((mask) => {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', mask.path);
    path.style.setProperty('--colour', mask.colour);
    Object.assign(path.dataset, { id: mask.id, score: mask.score });
    return path;
  }));
  tags.replaceChildren(...list.map((mask) => {
    const tag = document.createElement('span');
    tag.textContent = mask.name;
    tag.append(Object.assign(document.createElement('b'), { textContent: mask.score.toFixed(2) }));
    tag.style.cssText = `--colour:${mask.colour};color:${mask.dark ? '#fff' : '#000'}`;
    Object.assign(tag.dataset, { id: mask.id, score: mask.score, x: mask.box[0], y: mask.box[1], y1: mask.box[3] });
    return tag;
  }));
  scrub.value = index;
  output.textContent = `${index + 1} / ${state.length}`;
  view.dataset.frame = index;
  chips(list);
  marks();
  sift();
}

// What is not sure enough is hidden; tags of the others find places that do not touch.
const unsure = (id, score) => score < (filter ?? (state.least || {})[id] ?? state.usual ?? 0);

function sift() {
  const taken = [];
  for (const path of masks.children) path.toggleAttribute('hidden', unsure(path.dataset.id, +path.dataset.score));
  for (const chip of element.querySelectorAll('.chip')) chip.hidden = unsure(chip.dataset.id, +chip.dataset.best) && !chip.classList.contains('chosen');
  const scale = view.clientWidth / (state.width || 1);
  for (const tag of tags.children) {
    tag.hidden = unsure(tag.dataset.id, +tag.dataset.score);
    if (tag.hidden) continue;
    const w = tag.offsetWidth, h = tag.offsetHeight;
    const x = Math.max(0, Math.min(tag.dataset.x * scale, view.clientWidth - w));
    const top = tag.dataset.y * scale, places = [top - h, top, tag.dataset.y1 * scale];
    for (let y = top + h; y < view.clientHeight; y += h) places.push(y);
    const free = (y) => y >= 0 && y + h <= view.clientHeight
      && !taken.some((t) => x < t.x + t.w && t.x < x + w && y < t.y + t.h && t.y < y + h);
    const y = places.find(free) ?? Math.max(0, top);
    taken.push({ x, y, w, h });
    tag.style.left = `${x}px`;
    tag.style.top = `${y}px`;
  }
  $('.looks output').textContent = filter === null ? 'usual' : filter.toFixed(2);
  if (filter === null) $('[data-look=threshold]').value = state.usual ?? 0.5;
}

// --- objects ----------------------------------------------------------------------------------------------------------

function chips(list) {
  const box = $('.objects'), scores = new Map(list.map((mask) => [mask.id, mask.score]));
  if (box.contains(document.activeElement) && document.activeElement.tagName === 'INPUT') return;
  const make = (tag, text, more) => Object.assign(document.createElement(tag), { textContent: text, ...more });
  const all = (state.objects || []).map((object) => {
    const chip = make('span', '', { className: 'chip' });
    chip.style.setProperty('--colour', object.colour);
    Object.assign(chip.dataset, { id: object.id, best: object.best });
    const chosen = object.id === state.selected;
    chip.classList.toggle('chosen', chosen);
    const pick = make('button', object.name, { type: 'button', title: chosen ? 'Chosen: marks correct it' : 'Choose' });
    pick.setAttribute('aria-pressed', chosen);
    const score = scores.get(object.id);
    pick.append(make('b', score === undefined ? '–' : score.toFixed(2)));
    pick.onclick = () => trigger('choose', { object: chosen ? null : object.id });
    chip.append(pick);
    if (chosen) {
      const name = make('button', '✎', { type: 'button', title: 'Rename' });
      name.setAttribute('aria-label', `Rename ${object.name}`);
      name.onclick = () => rename(chip, object);
      const drop = make('button', '×', { type: 'button', title: 'Remove' });
      drop.setAttribute('aria-label', `Remove ${object.name}`);
      drop.onclick = () => trigger('drop', { object: object.id });
      chip.append(name, drop);
    }
    return chip;
  });
  if (all.length) {
    const fresh = make('button', '+ New object', { type: 'button', className: 'fresh', title: 'Marks make a new object' });
    fresh.setAttribute('aria-pressed', state.selected === null);
    fresh.onclick = () => trigger('choose', { object: null });
    all.push(fresh);
  }
  box.replaceChildren(...all);
}

function rename(chip, object) {
  const field = Object.assign(document.createElement('input'), { value: object.name, maxLength: 60 });
  field.setAttribute('aria-label', 'Name');
  let over = false;
  const end = (take) => {
    if (over) return;
    over = true;
    field.remove();
    if (take && field.value.trim()) trigger('rename', { object: object.id, name: field.value.trim() });
    else show(wanted);
  };
  field.onkeydown = (event) => {
    event.stopPropagation();
    if (event.key === 'Enter') end(true);
    if (event.key === 'Escape') end(false);
  };
  field.onblur = () => end(true);
  chip.replaceChildren(field);
  field.select();
}

// --- marking ----------------------------------------------------------------------------------------------------------

function marks() {
  const unit = (state.width || 1) / Math.max(1, view.clientWidth);
  const shape = (kind, attributes, colour, extra = '') => {
    const node = document.createElementNS(SVG, kind);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.setAttribute('class', extra);
    node.style.setProperty('--colour', colour);
    return node;
  };
  const list = (state.marks || []).filter((mark) => mark.frame === shown);
  if (draft) list.push({ ...draft, colour: '#fff' });
  if (sent && sent.frame === shown) list.push(sent);
  const nodes = list.map((mark) => {
    const [x, y] = mark.points[0], [u, v] = mark.points[mark.points.length - 1];
    if (mark.tool === 'box') {
      const size = { x: Math.min(x, u), y: Math.min(y, v), width: Math.abs(u - x), height: Math.abs(v - y) };
      return shape('rect', size, mark.colour, 'line');
    }
    if (mark.tool === 'scribble') return shape('polyline', { points: mark.points.join(' ') }, mark.colour, 'line');
    const group = shape('g', { transform: `translate(${x} ${y}) scale(${unit})` }, mark.colour, 'dot');
    group.append(shape('circle', { r: 7 }, mark.colour));
    group.append(shape('path', { d: mark.tool === 'negative' ? 'M-4 0H4' : 'M-4 0H4M0 -4V4' }, mark.colour));
    return group;
  });
  if (cross) {
    const [x, y] = cross;
    nodes.push(shape('path', { d: `M${x - 14 * unit} ${y}h${28 * unit}M${x} ${y - 14 * unit}v${28 * unit}` }, '#fff', 'cross'));
  }
  drawn.replaceChildren(...nodes);
}

function place(event) {
  const box = view.getBoundingClientRect();
  const share = (v, low, size) => Math.max(0, Math.min(1, (v - low) / size));
  return [share(event.clientX, box.left, box.width) * state.width, share(event.clientY, box.top, box.height) * state.height];
}

function choose(name) {
  tool = name;
  for (const button of element.querySelectorAll('[data-tool]')) button.setAttribute('aria-pressed', button.dataset.tool === name);
  view.dataset.mode = name;
  draft = null;
  marks();
}

// A negative mark without a chosen object is for the mask below it.
function send(points) {
  let object = state.selected ?? null;
  if (tool === 'negative' && object === null) {
    const under = [...masks.children].reverse().find((path) => !path.hasAttribute('hidden')
      && path.isPointInFill(Object.assign(masks.createSVGPoint(), { x: points[0][0], y: points[0][1] })));
    object = under ? +under.dataset.id : null;
  }
  stop();
  held = true;
  sent = { tool, points, frame: shown, colour: '#fff', known: (state.marks || []).length };
  trigger('mark', { tool, points, frame: shown, object });
}

function finish() {
  const { points } = draft, [x, y] = points[0], [u, v] = points[points.length - 1];
  draft = null;
  const small = Math.hypot(u - x, v - y) * view.clientWidth / state.width < 6;
  if (small && tool !== 'scribble' && tool !== 'box') send([[x, y]]);
  else if (!small || (tool === 'scribble' && points.length > 1)) send(points);
  marks();
}

view.onpointerdown = (event) => {
  if (!state.key || shown < 0 || event.button) return;
  cross = null;
  draft = { tool, points: [place(event)] };
  if (tool === 'box' || tool === 'scribble') view.setPointerCapture(event.pointerId);
  marks();
};
view.onpointermove = (event) => {
  if (!draft || !event.buttons) return;
  if (tool === 'scribble') draft.points.push(place(event));
  else draft.points[1] = place(event);
  if (tool === 'box' || tool === 'scribble') marks();
};
view.onpointerup = () => draft && !draft.keys && finish();
view.onpointercancel = () => { draft = null; marks(); };

view.onkeydown = (event) => {
  const tools = { p: 'point', n: 'negative', b: 'box', s: 'scribble' };
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (!state.key || event.ctrlKey || event.metaKey || event.altKey) return;
  if (tools[event.key]) choose(tools[event.key]);
  else if (event.key === ',' || event.key === '.') stop(), step(event.key === '.' ? 1 : -1);
  else if (event.key === 'Escape') draft = cross = null;
  else if (steps[event.key]) {
    const far = state.width * (event.shiftKey ? 0.004 : 0.02), [dx, dy] = steps[event.key];
    const [x, y] = cross || [state.width / 2, state.height / 2];
    cross = [Math.max(0, Math.min(state.width, x + dx * far)), Math.max(0, Math.min(state.height, y + dy * far))];
    if (draft && tool === 'scribble') draft.points.push(cross);
    else if (draft) draft.points[1] = cross;
  } else if (event.key === 'Enter' || event.key === ' ') {
    cross = cross || [state.width / 2, state.height / 2];
    if (draft) finish();
    else if (tool === 'point' || tool === 'negative') send([cross]);
    else draft = { tool, points: [cross], keys: true };
  } else return;
  event.preventDefault();
  marks();
};
view.onblur = () => { if (cross) { cross = null; marks(); } };
for (const button of element.querySelectorAll('[data-tool]')) button.onclick = () => choose(button.dataset.tool);

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

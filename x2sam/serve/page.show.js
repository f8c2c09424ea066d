// The stage: one picture with its masks. `props.value` says what there is (page_view.stage); pictures and masks are
// fetched frame by frame and kept here, so scrubbing, threshold and opacity ask nobody. What is marked on it is in
// page.marks.js, what plays, loads and updates it in page.js; the three are read as one, in this order.
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

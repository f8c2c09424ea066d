// What the model is asked: by a mark, by words, by following. Each is one step that can be undone.

import { overlap, runsOf } from './rle.js';

const SAME = 0.9; // overlap from which a new answer is one that is there already

/** Typed words as the service takes them: nothing, names between commas, or a phrase or question. */
export function wording(text, task) {
  const words = text.trim().replace(/\s+/g, ' ');
  if (!words) return {};
  const list = task?.conditions === 'categories' || (words.includes(',') && !task && !words.endsWith('?'));
  return list ? { categories: words.split(',').map((name) => name.trim()).filter(Boolean) } : { prompt: words };
}

export class Finding {
  constructor(app) {
    this.app = app;
    this.running = null; // { abort, label }
  }

  #queue = Promise.resolve();

  get work() { return this.app.work; }

  // --- marks ---

  /** A mark on the frame that is shown: of the selected object, or of a new one. */
  mark(mark) {
    const { app } = this, frame = app.frame, work = this.work, { group } = app;
    const wait = { mark, frame, colour: group.id ? work.object(group.id).colour : '#ffffff' };
    app.view.pending.push(wait);
    app.view.soon();
    app.say('Looking …');
    this.#queue = this.#queue.then(async () => {
      try {
        if (work !== this.work) return;
        const old = group.id ? work.cell(group.id, frame) : undefined;
        const base = old?.marks.length ? old.base : old?.counts;
        await this.#show(group, frame, [...(old?.marks ?? []), mark], base ?? null);
      } catch (error) { app.fail(error); }
      app.view.pending = app.view.pending.filter((each) => each !== wait);
      app.view.soon();
    });
    return this.#queue;
  }

  /** Take one mark of an object back; without any its mask is what it was before them. */
  unmark(id, frame, place) {
    const { app, work } = this, old = work.cell(id, frame), marks = old.marks.filter((_, i) => i !== place);
    this.#queue = this.#queue.then(async () => {
      try {
        if (marks.some((mark) => mark.tool !== 'negative') || (marks.length && old.base)) await this.#show({ id }, frame, marks, old.base ?? null);
        else work.edit('take a mark back', (step) => step.cell(id, frame, old.base ? { ...old, counts: old.base, base: null, marks: [] } : undefined));
      } catch (error) { app.fail(error); }
    });
    return this.#queue;
  }

  async #show(group, frame, marks, base) {
    const { app, work } = this;
    const { segment, sure } = await app.api.post(`/v1/sessions/${work.id}/mark`, { frame, marks, base });
    if (work !== this.work) return;
    if (!segment?.area) {
      app.say('Nothing was found there. Try a box, or paint it with the brush (D).');
      return;
    }
    work.edit('mark', (step) => {
      const own = group.id && work.object(group.id) ? group.id : step.add({ name: app.className() });
      step.object(own, { sure });
      step.cell(own, frame, { counts: segment.rle.counts, score: segment.score, by: 'hand', marks, base });
      group.id = own;
    });
    if (app.group === group) app.keep(group);
    app.say(segment.score < sure ? `Weak (${segment.score.toFixed(2)}): add a click, or draw a box.` : `Found (${segment.score.toFixed(2)}).`);
  }

  // --- words ---

  async find(text, { task, form, alone }) {
    const { app, work } = this, words = text.trim() || 'What is there?';
    const row = app.tasks.find((each) => each.name === task);
    work.say([...work.talk, { who: 'you', text: words, objects: [] }]);
    const label = `“${words}”`, body = { ...wording(text, row), task: task || null, options: { form }, frame: work.film && !alone ? null : app.frame };
    const step = work.begin(label), made = new Map(), guesses = new Map(), looked = [];
    let said = '', sure = 0.5, again = 0;
    const whole = await this.#run(label, async (signal) => {
      for await (const [name, data] of app.api.events(`/v1/sessions/${work.id}/ask`, body, signal)) {
        if (name === 'begin') {
          sure = data.sure;
          app.say(data.place ? `Waiting: ${data.place} before you …` : `${data.title}: looking …`);
        } else if (name === 'text') {
          said += data.text;
          app.answer(said);
        } else if (name === 'frame') {
          looked.push(data.index);
          again += this.#found(step, data, sure, made, guesses);
          if (work.film && !alone && body.frame === null) app.progress(looked.length, work.length, data.index);
        }
      }
    });
    if (!made.size && !again && guesses.size) { // nothing is sure: the best guess, said to be one
      const [key, best] = [...guesses].reduce((a, b) => (b[1].score > a[1].score ? b : a));
      this.#create(step, key, best, sure, made);
    }
    for (const id of made.values()) for (const frame of looked) if (!work.cell(id, frame)) step.cell(id, frame, { counts: null, score: 1, by: 'model', marks: [], base: null });
    const ids = [...made.values()];
    if (ids.length) app.select(ids.length === 1 ? ids : []);
    step.end();
    const weak = ids.filter((id) => app.best(id) < sure);
    const summary = weak.length ? `Weak (${app.best(weak[0]).toFixed(2)}): add a click.`
      : ids.length ? `${ids.length} found.` : again ? 'Already there.' : looked.length ? 'Nothing of it was found.' : '';
    if (!looked.length && !said) { app.answer(null); return; }
    work.say([...work.talk, { who: 'x2sam', text: said || summary, objects: ids }]);
    app.answer(null);
    if (whole) app.say(said && !ids.length ? '' : summary);
  }

  /** A frame of an answer; what is sure enough becomes an object. Returns how many were there already. */
  #found(step, data, sure, made, guesses) {
    const { work } = this, { height, width } = work.media;
    let again = 0;
    for (const segment of data.segments) {
      if (!segment.area || segment.rle.size[0] !== height || segment.rle.size[1] !== width) continue;
      const key = segment.object_id, cell = { counts: segment.rle.counts, score: segment.score, by: 'model', marks: [], base: null };
      if (made.has(key)) { step.cell(made.get(key), data.index, cell); continue; }
      const guess = guesses.get(key) ?? { name: segment.label, score: 0, cells: new Map(), known: this.#known(segment, data.index) };
      guess.score = Math.max(guess.score, segment.score);
      guess.cells.set(data.index, cell);
      guesses.set(key, guess);
      if (guess.known) { again++; continue; }
      if (guess.score >= sure) this.#create(step, key, guess, sure, made);
    }
    return again;
  }

  #create(step, key, guess, sure, made) {
    const id = step.add({ name: guess.name.slice(0, 100) || 'object', sure });
    made.set(key, id);
    for (const [frame, cell] of guess.cells) step.cell(id, frame, cell);
  }

  /** Whether an object of this name has this mask already. */
  #known(segment, frame) {
    const { work } = this;
    return work.objects.some(({ id, name }) => {
      const counts = name === segment.label && work.cell(id, frame)?.counts;
      return counts && overlap(runsOf(counts), runsOf(segment.rle.counts), work.media.height) > SAME;
    });
  }

  // --- films ---

  /** Follow objects from where they were shown by hand; what was made by hand stays. */
  async follow(ids) {
    const { app, work } = this, keys = [];
    for (const id of ids) {
      const row = [...work.row(id)].filter(([, cell]) => cell.counts);
      const hand = row.filter(([, cell]) => cell.by === 'hand');
      const from = hand.length ? hand : row.filter(([frame]) => frame === app.frame);
      for (const [frame, cell] of from) keys.push({ id, frame, counts: cell.counts });
    }
    if (!keys.length) { app.say('Show what to follow first: click on it.'); return; }
    const label = 'follow', step = work.begin(label), known = new Set(keys.map((key) => `${key.id}/${key.frame}`));
    let count = 0;
    const whole = await this.#run(label, async (signal) => {
      for await (const [name, data] of app.api.events(`/v1/sessions/${work.id}/follow`, { keys }, signal)) {
        if (name === 'begin') app.say('Following …');
        if (name !== 'frame') continue;
        for (const id of data.looked) {
          const old = work.cell(id, data.index);
          if (known.has(`${id}/${data.index}`) || old?.by === 'hand' || !work.object(id)) continue;
          const segment = data.segments.find((each) => each.object_id === id && each.area && each.rle.size[0] === work.media.height && each.rle.size[1] === work.media.width);
          step.cell(id, data.index, { counts: segment?.rle.counts ?? null, score: segment?.score ?? 1, by: 'model', marks: [], base: null });
        }
        app.progress(++count, work.length, data.index);
      }
    });
    step.end();
    if (whole) app.say(`Followed: ${count} frames looked at.`);
  }

  // --- talk ---

  async talk(text) {
    const { app, work } = this;
    work.say([...work.talk, { who: 'you', text, objects: [], chat: true }]);
    const messages = work.talk.filter((each) => each.chat).map((each) => ({ role: each.who === 'you' ? 'user' : 'assistant', content: each.text }));
    let said = '', frames = [];
    const whole = await this.#run('talk', async (signal) => {
      app.say('Thinking …');
      for await (const [, data] of app.api.events('/v1/chat/completions', { messages, session: work.id, stream: true }, signal)) {
        const delta = data.choices?.[0]?.delta ?? {};
        said += delta.content ?? '';
        frames = delta.masks ?? frames;
        app.answer(said);
      }
    });
    const made = new Map();
    if (frames.length) work.edit('answer', (step) => { for (const frame of frames) this.#found(step, frame, 0, made, new Map()); });
    if (said || made.size) work.say([...work.talk, { who: 'x2sam', text: said, objects: [...made.values()], chat: true }]);
    app.answer(null);
    if (whole) app.say('');
  }

  // --- one at a time ---

  /** Run something that can be stopped, after what ran before; says whether it came to its end. */
  async #run(label, work) {
    this.stop();
    const abort = new AbortController(), running = { abort, label };
    running.ended = new Promise((end) => { running.end = end; });
    this.running = running;
    this.app.busy(true);
    let whole = false;
    try {
      await work(abort.signal);
      whole = true;
    } catch (error) {
      if (error.name === 'AbortError') this.app.say('Stopped. What was found so far stays.');
      else this.app.fail(error);
    }
    if (this.running === running) this.running = null;
    this.app.busy(this.running !== null);
    setTimeout(running.end); // when the step that it belongs to has ended
    return whole;
  }

  /** End what runs; resolves when it has. */
  async stop() {
    const { running } = this;
    this.running = null;
    running?.abort.abort();
    await running?.ended;
  }
}

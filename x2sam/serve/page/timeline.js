// Time below the picture: a row for each object, with where it is, where it is not, what nobody has looked at yet, and
// ticks where it was shown by hand.

const ROW = 18, NAME = 96;
const THERE = 1, WEAK = 2, GONE = 3;

export class Timeline {
  constructor(app) {
    this.app = app;
    this.section = document.querySelector('#time');
    this.canvas = document.querySelector('#lines');
    this.scrub = document.querySelector('#scrub');
    this.at = document.querySelector('#at');
    this.playButton = document.querySelector('#play');
    this.playing = false;
    this.scrub.oninput = () => { this.stop(); app.go(+this.scrub.value); };
    this.playButton.onclick = () => this.toggle();
    document.querySelector('#back').onclick = () => this.step(-1);
    document.querySelector('#on').onclick = () => this.step(1);
    this.canvas.onpointerdown = (event) => this.#press(event);
    this.canvas.onpointermove = (event) => { if (event.buttons) this.#press(event); };
    new ResizeObserver(() => this.render()).observe(this.section);
  }

  get work() { return this.app.work; }

  step(by) {
    this.stop();
    const { length } = this.work, loop = document.querySelector('#loop').checked, to = this.app.frame + by;
    this.app.go(loop ? (to + length) % length : Math.min(length - 1, Math.max(0, to)));
  }

  /** To the next frame (or the one before) where one of the selected objects, or any, was shown by hand. */
  jump(by) {
    const { work, app } = this, ids = app.selected.length ? app.selected : work.objects.map((each) => each.id);
    const ticks = ids.flatMap((id) => [...work.row(id)].filter(([, cell]) => cell.by === 'hand').map(([frame]) => frame));
    const to = by > 0 ? Math.min(...ticks.filter((frame) => frame > app.frame)) : Math.max(...ticks.filter((frame) => frame < app.frame));
    if (Number.isFinite(to)) { this.stop(); app.go(to); }
  }

  toggle() {
    if (this.playing) { this.stop(); return; }
    this.playing = true;
    this.playButton.textContent = '❚❚';
    this.playButton.setAttribute('aria-label', 'Pause');
    this.#play();
  }

  stop() {
    this.playing = false;
    this.playButton.textContent = '▶';
    this.playButton.setAttribute('aria-label', 'Play');
  }

  async #play() {
    while (this.playing && this.work?.film) {
      const begun = performance.now(), { frame } = this.app, end = frame + 1 >= this.work.length;
      if (end && !document.querySelector('#loop').checked) { this.stop(); return; }
      await this.app.go(end ? 0 : frame + 1, false);
      await new Promise((next) => setTimeout(next, Math.max(4, 1000 / this.work.fps - (performance.now() - begun))));
    }
  }

  #press(event) {
    const { work, app } = this, box = this.canvas.getBoundingClientRect(), wide = box.width - NAME;
    const row = Math.floor((event.clientY - box.top) / ROW), object = [...work.objects].reverse()[row];
    if (event.type === 'pointerdown' && object) app.select([object.id]);
    if (event.clientX - box.left < NAME) return;
    this.stop();
    app.go(Math.min(work.length - 1, Math.max(0, Math.floor(((event.clientX - box.left - NAME) / wide) * work.length))));
  }

  render() {
    const { work, app, canvas } = this;
    this.section.hidden = !work?.film;
    if (!work?.film) return;
    this.scrub.max = work.length - 1;
    this.scrub.value = app.frame;
    this.at.textContent = `${app.frame + 1} / ${work.length} · ${(app.frame / work.fps).toFixed(2)} s`;
    this.scrub.setAttribute('aria-valuetext', `Frame ${app.frame + 1} of ${work.length}`);
    const ratio = devicePixelRatio || 1, wide = canvas.parentElement.clientWidth, top = [...work.objects].reverse();
    canvas.style.height = `${top.length * ROW}px`;
    canvas.width = Math.max(1, wide * ratio);
    canvas.height = Math.max(1, top.length * ROW * ratio);
    const context = canvas.getContext('2d'), ink = getComputedStyle(document.body).color;
    context.scale(ratio, ratio);
    context.font = '12px system-ui, sans-serif';
    context.textBaseline = 'middle';
    const each = (wide - NAME) / work.length, x = (frame) => NAME + frame * each;
    top.forEach((object, i) => {
      const y = i * ROW, row = work.row(object.id);
      context.fillStyle = ink;
      context.globalAlpha = app.selected.includes(object.id) ? 1 : 0.7;
      context.fillText(object.name.length > 13 ? `${object.name.slice(0, 12)}…` : object.name, 4, y + ROW / 2);
      context.globalAlpha = 0.15; // nobody has looked: dots
      for (let at = NAME; at < wide; at += 6) context.fillRect(at, y + ROW / 2 - 1, 2, 2);
      context.globalAlpha = 1;
      const kinds = new Uint8Array(work.length + 1);
      for (const [frame, cell] of row) kinds[frame] = !cell.counts ? GONE : cell.score < object.sure ? WEAK : THERE;
      for (let from = 0, to = 1; from < work.length; from = to, to++) {
        while (to < work.length && kinds[to] === kinds[from]) to++;
        if (!kinds[from]) continue;
        const left = x(from), width = Math.max(1, x(to) - left), gone = kinds[from] === GONE;
        context.fillStyle = gone ? ink : object.colour;
        context.globalAlpha = kinds[from] === THERE ? 0.9 : 0.35;
        context.clearRect(left, y + ROW / 2 - 1, width, 2);
        context.fillRect(left, gone ? y + ROW / 2 - 0.5 : y + 4, width, gone ? 1 : ROW - 8);
      }
      context.globalAlpha = 1;
      for (const [frame, cell] of row) if (cell.by === 'hand') {
        context.fillStyle = ink;
        context.fillRect(x(frame) + each / 2 - 1.5, y + 1, 3, ROW - 2);
      }
    });
    context.fillStyle = '#dc2626';
    context.fillRect(x(app.frame) + each / 2 - 0.75, 0, 1.5, top.length * ROW);
    canvas.setAttribute('aria-label', top.map((object) => this.#words(object)).join('. ') || 'No object yet');
  }

  #words({ id, name }) {
    const cells = [...this.work.row(id).values()], there = cells.filter((cell) => cell.counts).length, hand = cells.filter((cell) => cell.by === 'hand').length;
    return `${name} ${id}: there on ${there}, not there on ${cells.length - there}, not yet followed on ${this.work.length - cells.length} frames, shown by hand on ${hand}`;
  }
}

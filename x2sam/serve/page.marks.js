// Marking: tools, pointer and keyboard on the picture (see page.show.js).

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

// The service's interface, as promises; what it refuses is an Error with its sentence and status.

export class Refused extends Error {
  constructor(message, status) { super(message); this.status = status; }
}

async function checked(answer) {
  if (answer.ok) return answer;
  let message = `The service answered ${answer.status}.`;
  try { message = (await answer.json()).error.message; } catch { /* no sentence came */ }
  throw new Refused(message, answer.status);
}

async function ask(path, options = {}) {
  try {
    return await checked(await fetch(path, options));
  } catch (error) {
    if (error instanceof Refused || error.name === 'AbortError') throw error;
    throw new Refused('The service cannot be reached. Your work stays here; try again when it is back.', 0);
  }
}

const body = (content) => ({
  method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(content),
});

export const get = async (path) => (await ask(path)).json();
export const post = async (path, content, more = {}) => (await ask(path, { ...body(content), ...more })).json();
export const remove = (path) => ask(path, { method: 'DELETE' });
export const blob = async (path) => (await ask(path)).blob();

export async function upload(file, name) {
  const form = new FormData();
  form.append('file', file, name);
  return (await ask('/v1/sessions', { method: 'POST', body: form })).json();
}

export async function download(path) {
  const answer = await ask(path);
  const named = /filename\*?="?(?:utf-8'')?([^";]+)/i.exec(answer.headers.get('content-disposition') || '');
  return { content: await answer.blob(), name: named ? decodeURIComponent(named[1]) : 'export' };
}

/** Server-sent events of a POST: [name, data] after [name, data]. Names are '' where only data comes. */
export async function* events(path, content, signal) {
  const answer = await ask(path, { ...body(content), signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  while (true) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      const field = (name) => block.split('\n').find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      const data = field('data');
      if (data === undefined || data === '[DONE]') continue;
      const parsed = JSON.parse(data);
      if (parsed.error) throw new Refused(parsed.error.message, parsed.error.status);
      yield [field('event') || '', parsed];
    }
  }
}

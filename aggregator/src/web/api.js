// The only module that asks the server. The token is the person's: typed in, kept until the tab is closed, sent in a header
// and never in an address.

/// What the server refused, in its words.
export class Refused extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? `the server answered ${status}`);
    this.status = status;
    this.fields = problem?.errors ?? [];
  }
}

let signIn = null;
let waiting = null;

/// Called when a token is needed; resolves when the person gave one.
export const onSignIn = ask => { signIn = ask; };
export const setToken = token => sessionStorage.setItem('token', token);
export const forgetToken = () => sessionStorage.removeItem('token');
export const hasToken = () => sessionStorage.getItem('token') !== null;

const headers = more => {
  const token = sessionStorage.getItem('token');
  return { ...more, ...token && { authorization: `Bearer ${token}` } };
};

async function answered(path, { method = 'GET', body, signal, accept } = {}) {
  for (let tried = 0; ; tried++) {
    const sent = sessionStorage.getItem('token');
    const answer = await fetch(path, {
      method, signal, cache: 'no-store', credentials: 'omit',
      headers: headers({ ...body && { 'content-type': typeof body === 'string' ? 'text/calendar' : 'application/json' }, ...accept && { accept } }),
      body: typeof body === 'string' ? body : body && JSON.stringify(body),
    });
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => null);
    if (answer.status !== 401 || !signIn || tried > 5) throw new Refused(answer.status, problem);
    // One question for all who wait for an answer; whoever was refused with an older token only tries again.
    if (sessionStorage.getItem('token') === sent) {
      waiting ??= signIn(sent !== null).finally(() => { waiting = null; });
      await waiting;
    }
  }
}

/// The JSON of an answer.
export const ask = async (path, options) => (await answered(path, options)).json();

/// A list that may be a part: what was found, and how many there are.
export const part = async (path, options) => {
  const answer = await answered(path, options);
  const found = await answer.json();
  return { found, total: Number(answer.headers.get('x-total-count') ?? found.length) };
};

/// One JSON value a line.
export const lines = async (path, options) => {
  const text = await (await answered(path, options)).text();
  return text.split('\n').filter(Boolean).map(line => JSON.parse(line));
};

/// A path with its segments and parameters escaped.
export const path = (segments, query = {}) => {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== '');
  const asked = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return `/${segments.map(encodeURIComponent).join('/')}${asked && `?${asked}`}`;
};

const wait = (milliseconds, signal) => new Promise(resolve => {
  const timer = setTimeout(resolve, milliseconds);
  signal.addEventListener('abort', () => { clearTimeout(timer); resolve(); }, { once: true });
});
const seen = signal => new Promise(resolve => {
  if (!document.hidden || signal.aborted) return resolve();
  const done = () => {
    if (document.hidden && !signal.aborted) return;
    document.removeEventListener('visibilitychange', done);
    resolve();
  };
  document.addEventListener('visibilitychange', done);
  signal.addEventListener('abort', done, { once: true });
});

/// Follows server-sent events until `signal` aborts. EventSource cannot send a token, so the stream is read by fetch. It is
/// opened anew when it breaks, and rests while nobody looks: browsers have few connections for one server.
export async function follow(path, signal, { event, state }) {
  let pause = 500;
  while (!signal.aborted) {
    await seen(signal);
    if (signal.aborted) return;
    const rest = new AbortController();
    const hide = () => document.hidden && rest.abort();
    document.addEventListener('visibilitychange', hide);
    try {
      const answer = await answered(path, { signal: AbortSignal.any([signal, rest.signal]), accept: 'text/event-stream' });
      state?.('live');
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      // What begins an event is put together when its end is there: megabytes come in many parts.
      for (let begun = [], last = '', part; !(part = await reader.read()).done;) {
        pause = 500;
        begun.push(part.value);
        const ends = part.value.includes('\n\n') || (last === '\n' && part.value.startsWith('\n'));
        last = part.value.at(-1) ?? last;
        if (!ends) continue;
        const events = begun.join('').split('\n\n');
        begun = [events.pop()];
        for (const one of events) {
          const field = name => one.split('\n').filter(line => line.startsWith(`${name}:`)).map(line => line.slice(name.length + 1).trim()).join('\n');
          const data = field('data');
          if (data) event(field('event') || 'message', JSON.parse(data));
        }
      }
    } catch (error) {
      if (error instanceof Refused && error.status !== 503 && error.status !== 429) {
        state?.('refused', error);
        if (error.status !== 404) return;
      }
    } finally {
      document.removeEventListener('visibilitychange', hide);
      rest.abort();
    }
    if (signal.aborted) return;
    if (!document.hidden) {
      state?.('lost');
      await wait(pause * (0.75 + Math.random() / 2), signal);
      pause = Math.min(2 * pause, 15000);
    }
  }
}

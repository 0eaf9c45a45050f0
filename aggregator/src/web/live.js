// What every page needs of now: who is asking, every group in a line, whether everything is paused. Kept by one stream.

import { ask, follow, path } from './api.js';

const listeners = new Set();
/// Revisions of lists as last told, by their event: a stream that begins anew repeats them.
const revisions = new Map();
let stream = null;

export const now = {
  /// Who is asking; null until known.
  me: null,
  /// Lines of `GET /overview` by name.
  groups: new Map(),
  /// Instances by name, where a page follows them; null until they are known.
  instances: null,
  /// What was last said of everything.
  everywhere: null,
  /// 'live', 'lost' or 'refused'.
  state: 'lost',
  /// The server's clock minus ours, seconds.
  ahead: 0,
};

const RANK = { viewer: 1, operator: 2, admin: 3 };

/// Whether whoever is asking may do what needs this role.
export const may = role => (RANK[now.me?.role] ?? 0) >= RANK[role];
/// The server's time, seconds since 1970.
export const serverNow = () => Date.now() / 1000 + now.ahead;
/// Calls back on news: `what` is 'groups', 'round', 'instances', 'demand', 'state', or a list that was changed: 'events', 'audit', 'access'. Returns
/// how to end it.
export const listen = callback => {
  listeners.add(callback);
  return () => listeners.delete(callback);
};
/// Reads, and again by `again` whenever a list was changed. It listens first, so that nothing falls between the two. Resolves with
/// how to end it.
export async function keep(list, read, again) {
  const end = listen(what => what === list && again());
  try {
    await read();
  } catch (error) {
    end();
    throw error;
  }
  return end;
}
const tell = (what, news) => listeners.forEach(listener => listener(what, news));

export async function whoAmI() {
  const before = Date.now() / 1000;
  now.me = await ask('/whoami');
  // Half a second is the clock's own grain.
  now.ahead = now.me.now + 0.5 - (before + Date.now() / 1000) / 2;
  if (Math.abs(now.ahead) < 2) now.ahead = 0;
  tell('state');
}

/// Every group in a line, asked for now.
export async function readAll() {
  const all = await ask('/overview');
  now.groups = new Map(all.groups.map(line => [line.name, line]));
  now.everywhere = all.everywhere;
  tell('groups', all);
}

/// Follows every group, or one alone; with `instances` those in it as well, with `demand` each minute of it.
export function watch(group, { instances, demand } = {}) {
  stream?.abort();
  stream = new AbortController();
  now.instances = null;
  let first = true, firstOfInstances = true;
  follow(path(['changes'], { group, instances, demand }), stream.signal, {
    event(name, data) {
      if (name === 'groups') {
        // A stream that begins anew says everything: what it leaves out is no more.
        if (first && !group) now.groups.clear();
        first = false;
        data.groups.forEach(line => now.groups.set(line.name, line));
        data.gone.forEach(gone => now.groups.delete(gone));
        now.everywhere = data.everywhere;
      } else if (name === 'instances') {
        if (firstOfInstances) now.instances = new Map();
        firstOfInstances = false;
        data.instances.forEach(one => now.instances.set(one.instance, one));
        data.gone.forEach(gone => now.instances.delete(gone));
      } else if ('revision' in data) {
        if (revisions.get(name) === data.revision) return;
        revisions.set(name, data.revision);
      }
      tell(name, data);
    },
    state(state, error) {
      if (state === 'live') first = firstOfInstances = true;
      // Another aggregator counts anew: by its number alone nobody knows what was missed.
      else revisions.clear();
      now.state = state;
      tell('state', error);
    },
  });
}

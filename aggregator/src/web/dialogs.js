// What is asked before something is done: each change has a reason, each loosening shows first what it would have meant.

import { ask, path, setToken } from './api.js';
import { badge, fill, h } from './dom.js';
import { now, readAll, serverNow, whoAmI } from './live.js';
import { lastWeek } from './reasons.js';
import { livedWeek } from './week.js';
import { MODES, MODE_SAYS } from './words.js';

/// Something was done, or could not be.
export function toast(text, kind = 'good') {
  const node = h('p', { class: `toast ${kind}` }, text);
  document.getElementById('notices').append(node);
  setTimeout(() => node.remove(), kind === 'bad' ? 12000 : 5000);
}

/// A dialog with a form. `work` gets the fields' values; what it throws is said in the dialog, which stays open then.
/// Resolves with what `work` gave, or undefined when the person left.
export function dialog({ title, body, confirm, kind = '', work, wide = false, must = false }) {
  return new Promise(resolve => {
    const said = h('p', { class: 'said bad', role: 'alert' });
    const leave = must ? null : h('button', { type: 'button', onclick: () => node.close() }, confirm ? 'Cancel' : 'Close');
    const go = confirm && h('button', { type: 'submit', class: `main ${kind}` }, confirm);
    let result;
    const id = `title-${Math.random().toString(36).slice(2)}`;
    const form = h('form', {
      async onsubmit(event) {
        event.preventDefault();
        fill(said);
        form.querySelectorAll('[aria-invalid]').forEach(field => field.removeAttribute('aria-invalid'));
        if (go) go.disabled = true;
        try {
          result = await work(Object.fromEntries(new FormData(form)), form);
          node.close();
        } catch (error) {
          fill(said, error.message);
          for (const { field } of error.fields ?? []) form.elements[field]?.setAttribute?.('aria-invalid', 'true');
          form.querySelector('[aria-invalid]')?.focus();
        } finally {
          if (go) go.disabled = false;
        }
      },
    }, h('h2', { id }, title), body, said, h('div', { class: 'buttons' }, leave, go));
    const node = h('dialog', {
      class: wide ? 'wide' : '', 'aria-labelledby': id,
      oncancel: event => must && event.preventDefault(),
      onclose() {
        node.remove();
        resolve(result);
      },
    }, form);
    document.body.append(node);
    node.showModal();
    (form.querySelector('[autofocus]') ?? form.querySelector('input, textarea, select') ?? leave ?? go)?.focus();
  });
}

/// A labelled field; `hint` is told with it.
export const field = (label, input, hint) =>
  h('label', { class: 'field' }, h('span', {}, label), input, hint && h('small', {}, hint));
export const reasonField = (more = {}) => field('Why', h('textarea', {
  name: 'reason', required: true, maxlength: 500, rows: 2, ...more,
}), 'Whoever is woken tonight reads it.');

/// Asks for a token. `wrong`: the one that was given did not do.
export const signIn = wrong => dialog({
  title: 'A token, please',
  must: true,
  confirm: 'Show',
  body: [
    h('p', {}, wrong ? 'This token is not known here, or its role may not look.' : 'This installation asks for a token.',
      ' One of the role viewer looks, operator pauses and enters events, admin resumes and sets modes.'),
    // A name for those who keep passwords; it is not sent.
    h('input', { class: 'hidden', name: 'username', autocomplete: 'username', value: 'foreshadow', tabindex: -1, 'aria-hidden': 'true' }),
    field('Token', h('input', { name: 'token', type: 'password', required: true, autocomplete: 'current-password', spellcheck: 'false' }),
      'Kept in this tab until it is closed, and nowhere else. Made by an admin: foreshadow tokens create --name you --role viewer'),
  ],
  async work({ token }) {
    setToken(token.trim());
    // The answer decides whether it was right; a wrong one asks again.
    setTimeout(() => whoAmI().catch(() => {}));
    return true;
  },
});

/// The red button: a group, or everything.
export async function pause(group) {
  const choice = (value, label, says, checked) => h('label', { class: 'choice' },
    h('input', { type: 'radio', name: 'whom', value, checked }), h('span', {}, h('b', {}, label), h('small', {}, says)));
  const done = await dialog({
    title: 'Pause', confirm: 'Pause now', kind: 'stop',
    body: [
      h('p', {}, 'From now on nothing is changed: nobody launched, detached or terminated. Machines run on, samples, forecasts and plans go on. An admin resumes.'),
      h('fieldset', {}, h('legend', {}, 'Whom'), group && choice('group', `Group ${group}`, 'the others go on', true),
        choice('all', 'Everything', 'every group of this installation', !group)),
      reasonField({ autofocus: true }),
    ],
    async work({ whom, reason }) {
      const one = whom === 'group';
      await ask(one ? path(['groups', group, 'pause']) : '/pause', { method: 'POST', body: { reason } });
      await readAll();
      return one ? group : 'Everything';
    },
  });
  if (done) toast(`${done}: paused. Nothing is changed from now on.`);
}

/// Ends a pause.
export async function resume(group) {
  const done = await dialog({
    title: group ? `Resume ${group}` : 'Resume everything', confirm: 'Resume', kind: 'go',
    body: [
      h('p', {}, group ? 'Its mode holds again from the next plan on, within ten seconds.' : 'Every group’s mode holds again from its next plan on. Groups that are paused by themselves stay so.'),
      reasonField(),
    ],
    async work({ reason }) {
      await ask(group ? path(['groups', group, 'resume']) : '/resume', { method: 'POST', body: { reason } });
      await readAll();
      return group ?? 'Everything';
    },
  });
  if (done) toast(`${done}: resumed.`);
}

/// How far Foreshadow may go in a group. Loosening shows first the last week lived again, and what its plans wanted.
export async function changeMode(line, named) {
  const rank = mode => MODES.indexOf(mode);
  const week = h('div', { class: 'week plans', 'aria-live': 'polite' }), again = h('div', { class: 'week again' });
  let course = null, chart = null, lived = null, turn = 0, seen = true, asking = null;
  const close = () => {
    // A request that waits keeps one of the browser's few connections.
    asking?.abort();
    chart?.close();
    lived?.close();
    chart = lived = null;
  };
  const choose = async mode => {
    close();
    const mine = ++turn;
    fill(again);
    seen = rank(mode) <= rank(line.mode);
    if (rank(mode) <= rank(line.mode)) return fill(week, rank(mode) < rank(line.mode) && h('p', {}, 'This tightens: it holds at once.'));
    if (!course) fill(week, h('p', { class: 'empty' }, 'Reading the plans of the last week…'));
    const wanted = () => turn === mine && again.isConnected;
    asking = new AbortController();
    livedWeek(line.name, mode, again, { wanted, named, signal: asking.signal }).then(shown => {
      if (shown) lived = shown;
      // Also where it cannot be lived again: the dialog says why.
      if (turn === mine) seen = true;
    });
    try {
      course ??= await ask(path(['groups', line.name, 'course'], { from: '-7d' }));
      if (!wanted()) return;
      const shown = lastWeek(course, line.mode, mode, serverNow());
      chart = shown.chart;
      fill(week, shown.node);
    } catch (error) {
      if (wanted()) fill(week, h('p', { class: 'said bad' }, `The plans of the last week cannot be read: ${error.message}`));
    }
  };
  const choice = mode => h('label', { class: 'choice' },
    h('input', { type: 'radio', name: 'mode', value: mode, checked: mode === line.mode, onchange: () => choose(mode) }),
    h('span', {}, h('b', {}, mode), mode === line.mode && badge('now'), h('small', {}, MODE_SAYS[mode])));
  const allowed = MODES.filter(mode => rank(mode) <= rank(line.at_most));
  const done = await dialog({
    title: `Mode of ${line.name}`, confirm: 'Set mode', kind: 'go', wide: true,
    body: [
      h('fieldset', {}, h('legend', {}, 'How far Foreshadow may go'), allowed.map(choice)),
      allowed.length < MODES.length && h('p', { class: 'muted' }, `The configuration file allows ${line.at_most} at most.`),
      again, week, reasonField(),
    ],
    async work({ mode, reason }) {
      if (mode === line.mode) throw new Error(`${line.name} is in ${mode} already: choose another mode, or cancel.`);
      if (!seen) throw new Error('The last week is being lived again: see what would have followed first.');
      await ask(path(['groups', line.name, 'mode']), { method: 'POST', body: { mode, reason } });
      await readAll();
      return mode;
    },
  });
  close();
  if (done) toast(`${line.name}: mode ${done}.`);
}

/// Keys, and where to read on.
export const help = pages => dialog({
  title: 'Keys',
  body: [
    h('dl', { class: 'keys' }, [
      ...pages.filter(page => page.key).map(page => [page.key, page.name]),
      ['/', 'go to a group'], ['p', 'pause'], ['t', 'theme: as the system says, light, dark'], ['?', 'this'],
    ].flatMap(([key, says]) => [h('dt', {}, h('kbd', {}, key)), h('dd', {}, says)])),
    h('p', {}, 'On a chart: ', h('kbd', {}, '←'), ' ', h('kbd', {}, '→'), ' move the cursor (with Shift farther), ', h('kbd', {}, '+'), ' ', h('kbd', {}, '-'),
      ' zoom, ', h('kbd', {}, 'PgUp'), ' ', h('kbd', {}, 'PgDn'), ' go back and ahead, ', h('kbd', {}, '0'), ' shows all, ', h('kbd', {}, 'Enter'), ' shows the plan of that time. By pointer: drag to zoom, double click for all.'),
    h('p', { class: 'muted' }, 'Times are of your zone; point at one for UTC. The same by command line: foreshadow help.'),
    now.me?.open && h('p', {}, h('a', { href: '/openapi.json' }, 'API'), ' · ', h('a', { href: '/metrics' }, 'metrics'), ' · ', h('a', { href: '/readyz' }, 'readiness')),
  ],
});

/// Goes to a group by a part of its name.
export async function jump() {
  const found = h('ul', { class: 'found' });
  const list = text => {
    const names = [...now.groups.keys()].filter(name => name.toLowerCase().includes(text.toLowerCase())).slice(0, 12);
    fill(found, names.length ? names.map(name => h('li', {}, h('a', { href: `#/groups/${encodeURIComponent(name)}`, onclick: event => event.target.closest('dialog').close() }, name)))
      : h('li', { class: 'muted' }, 'no group has that in its name'));
    return names;
  };
  readAll().then(() => list('')).catch(() => {});
  await dialog({
    title: 'Go to a group', confirm: 'Go',
    body: [field('A part of its name', h('input', { name: 'part', autocomplete: 'off', spellcheck: 'false', oninput: event => list(event.target.value) })), found],
    async work({ part }) {
      const [first] = list(part);
      if (!first) throw new Error('No group has that in its name.');
      location.hash = `#/groups/${encodeURIComponent(first)}`;
    },
  });
}

// Who changed what, when and why.

import { ask, path } from './api.js';
import { toast } from './dialogs.js';
import { badge, fill, h, steady, table } from './dom.js';
import { keep, may } from './live.js';
import { time } from './words.js';

const SAYS = {
  pause: 'paused', resume: 'resumed', set_mode: 'set the mode of', take_over: 'took over', put_shadow_config: 'set how long shadows are measured', enter_event: 'entered an event', delete_event: 'took back',
  adopt_shadow: 'adopted', extend_shadow: 'extended the lease of', release_shadow: 'released', take_stranded: 'took on a stranded shadow', below_last_week: 'gave leave to go below last week',
  accept_limits: 'accepted looser limits', import_history: 'imported a past', remove_history: 'took an imported past back', retract_samples: 'retracted samples of',
  create_token: 'made a token', create_join_token: 'made a join token', revoke_token: 'revoked a token', revoke_certificates: 'revoked the certificate of', release_certificates: 'released the certificate of',
  enrol: 'let in', refuse_second_claim: 'refused a second claim to',
};

/// A moment as bodies of requests write it.
const MOMENT = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/;

/// One value of a detail.
function shownAs(key, one) {
  if (typeof one === 'number' && key.endsWith('_micros')) return time(one / 1e6);
  if (typeof one === 'number' && one > 1e9 && one < 1e10) return time(one);
  if (typeof one === 'string' && MOMENT.test(one)) return time(Date.parse(one) / 1000);
  return typeof one === 'object' ? JSON.stringify(one) : String(one);
}

/// A detail is a name, or an object of fields; times in it are told as times.
function told(detail) {
  let fields;
  try {
    fields = JSON.parse(detail);
  } catch {
    return detail;
  }
  if (fields === null || typeof fields !== 'object') return detail;
  const shown = Object.entries(fields).filter(([key, one]) => key !== 'reason' && one !== null && one !== '');
  return shown.flatMap(([key, one], index) => [index > 0 && ', ', `${key.replace(/_micros$/, '').replaceAll('_', ' ')} `, shownAs(key, one)]);
}

export async function open(host, context) {
  if (!may('operator')) {
    fill(host, h('h1', {}, 'Audit'), h('p', { class: 'empty' }, 'Who changed what is told to operators and admins.'));
    return {};
  }
  const list = h('div');
  let entries = [], asked = 0;
  const show = () => {
    const wanted = (context.query.find ?? '').toLowerCase();
    const found = entries.filter(entry => !wanted || [entry.caller, entry.action, entry.detail, entry.reason].some(text => text.toLowerCase().includes(wanted)));
    steady(list, [found, entries.length], () => table('Audit log', [{ name: 'When' }, { name: 'Who' }, { name: 'Did' }, { name: 'What' }, { name: 'Why' }], found.map(entry => ({ cells: [
      time(entry.at_micros / 1e6), [entry.caller, ' ', badge(entry.role)], SAYS[entry.action] ?? entry.action.replaceAll('_', ' '), h('span', { class: 'detail' }, told(entry.detail)), h('span', { class: 'reason' }, entry.reason || '–')] })),
    entries.length ? 'No entry has that.' : 'Nothing was ever changed here.'));
  };
  const read = async () => {
    const mine = ++asked;
    const found = await ask(path(['audit'], { limit: 500 }));
    // A slow answer to an older question is no news.
    if (mine !== asked) return;
    entries = found;
    show();
  };
  fill(host, h('h1', {}, 'Audit'), h('p', { class: 'muted' }, 'Every change by a person or a program, the latest five hundred. What Foreshadow itself did stands in each group’s journal.'),
    h('div', { class: 'controls' }, h('label', { class: 'control' }, 'Has', h('input', { type: 'search', value: context.query.find ?? '', autocomplete: 'off', oninput: event => context.set({ find: event.target.value }) }))), list);
  return { update: show, close: await keep('audit', read, () => read().catch(error => toast(error.message, 'bad'))) };
}

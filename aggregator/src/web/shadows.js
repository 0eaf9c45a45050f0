// Shadows: who stands out of service and is measured, under which lease, at what price; and what may be done with them.

import { ask, path } from './api.js';
import { dialog, reasonField, toast } from './dialogs.js';
import { badge, button, h, table } from './dom.js';
import { may } from './live.js';
import { ago, money, span, time, utc, within } from './words.js';

/// Hours between two times, in what they cost.
const cost = (session, from, to) => session.price_per_hour === null || session.price_per_hour === undefined ? null
  : session.price_per_hour * Math.max(0, Math.min(to, session.ended ?? to) - Math.max(from, session.started)) / 3600;

/// What sessions cost between two times; `unpriced` have no known price.
export function spend(sessions, from, to) {
  const costs = sessions.filter(session => (session.ended ?? to) > from && session.started < to).map(session => cost(session, from, to));
  return { sum: costs.filter(one => one !== null).reduce((sum, one) => sum + one, 0), unpriced: costs.filter(one => one === null).length, sessions: costs.length };
}

const of = session => session.origin === 'ours' ? 'ours' : 'foreign';

/// Lanes of a chart: a bar as long as it stood in shadow, and a paler one to the end of its lease. Sessions that do not overlap
/// share a lane. No more than `most` lanes, those whose sessions ended last, and how many sessions are `left` off with the others.
export function lanes(sessions, { from, to, now }, most) {
  const lanes = [];
  const seen = sessions.filter(session => (session.ended ?? Math.max(now, session.until)) > from && session.started < to).sort((a, b) => a.started - b.started);
  for (const session of seen) {
    const until = session.ended ?? Math.max(now, session.until);
    let lane = lanes.find(lane => lane.free <= session.started);
    if (!lane) lanes.push(lane = { spans: [], free: 0, sessions: 0 });
    lane.sessions++;
    lane.free = until + (to - from) / 60;
    const stood = (session.ended ?? now) - session.started;
    const title = [`${session.instance}, ${of(session)}: in shadow for ${span(stood)}, since ${within(session.started, { from, to, now })} (${utc(session.started)} UTC)`, session.ended ? 'over' : `lease ends ${ago(session.until, now)}`,
      session.price_per_hour !== null && `${money(session.price_per_hour)} an hour, ${money(cost(session, session.started, now))} so far`, session.reason].filter(Boolean).join('\n');
    lane.spans.push({ from: session.started, to: session.ended ?? now, kind: `${of(session)} ${session.ended ? 'over' : ''}`, title,
      label: `${session.instance}${session.price_per_hour !== null ? ` · ${money(session.price_per_hour)}/h` : ''}` });
    if (!session.ended && session.until > now) lane.spans.push({ from: now, to: session.until, kind: `${of(session)} lease`, title });
  }
  const drawn = new Set(lanes.toSorted((a, b) => b.free - a.free).slice(0, most));
  return { lanes: lanes.filter(lane => drawn.has(lane)), left: lanes.filter(lane => !drawn.has(lane)).reduce((sum, lane) => sum + lane.sessions, 0) };
}

const SAYS = {
  adopt: ['Adopt', 'It becomes ours: from then on it may be re-attached, and terminated when all agree.'],
  extend: ['Extend', 'Its lease runs for another length, up to its hard limit.'],
  release: ['Release', 'It is measured no more, left running, and never touched.'],
};

async function change(word, session, again) {
  const [title, says] = SAYS[word];
  const done = await dialog({
    title: `${title} ${session.instance}`, confirm: title, kind: word === 'adopt' ? 'stop' : 'go',
    body: [h('p', {}, says), reasonField()],
    work: ({ reason }) => ask(path(['shadow', 'sessions', session.instance, word]), { method: 'POST', body: { reason } }),
  });
  if (done) {
    toast(`${session.instance}: ${word === 'adopt' ? 'adopted' : word === 'extend' ? 'extended' : 'released'}.`);
    again();
  }
}

/// Sessions as a table, open ones first, with what the role allows; `rest` shows those that are not listed, where there are any.
export function list(sessions, now, again, { most, rest, none = 'Nothing stands in shadow, and nothing did in this range.' }) {
  const order = [...sessions].sort((a, b) => (a.ended === null ? 0 : 1) - (b.ended === null ? 0 : 1) || b.started - a.started);
  const acts = session => session.ended !== null ? '' : h('div', { class: 'acts' },
    session.origin === 'foreign' && may('admin') && button('Adopt', { class: 'small' }, () => change('adopt', session, again)),
    session.origin === 'ours' && may('operator') && button('Extend', { class: 'small' }, () => change('extend', session, again)),
    may('operator') && button('Release', { class: 'small' }, () => change('release', session, again)));
  const listed = order.slice(0, most);
  return [table('Shadow sessions', [{ name: 'Instance' }, { name: 'Origin' }, { name: 'Since' }, { name: 'Lease' }, { name: 'Price an hour', kind: 'number' },
    { name: 'So far', kind: 'number' }, { name: 'Why' }, { name: '' }], listed.map(session => ({ cells: [
    [session.instance, session.instance_type && h('small', {}, session.instance_type)], badge(of(session), of(session)), time(session.started),
    session.ended !== null ? ['over ', time(session.ended)] : [time(session.until, at => ago(at, now)), h('small', {}, 'limit ', time(session.hard_limit))],
    money(session.price_per_hour), money(cost(session, session.started, now)), h('span', { class: 'reason' }, session.reason), acts(session)] })), none),
  order.length > listed.length && rest(order.length - listed.length)];
}

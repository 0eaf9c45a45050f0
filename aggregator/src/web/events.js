// What is known ahead: listed, on a calendar, entered, edited and taken back. An event raises the forecast in its window.

import { ask, path } from './api.js';
import { dialog, field, reasonField, toast } from './dialogs.js';
import { badge, button, fill, h, steady, table } from './dom.js';
import { keep, may, now, readAll, serverNow } from './live.js';
import { ago, number, plural, span, time, utc, zone } from './words.js';

const pad = value => String(value).padStart(2, '0');
/// A time of the viewer's clock, as a field for one wants it.
const local = seconds => {
  const at = new Date(seconds * 1000);
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}T${pad(at.getHours())}:${pad(at.getMinutes())}`;
};
/// The same with its offset from UTC, as the server wants it.
const instant = text => {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) throw new Error('Starts: is no time.');
  const offset = -at.getTimezoneOffset();
  return `${text.length === 16 ? `${text}:00` : text}${offset < 0 ? '-' : '+'}${pad(Math.floor(Math.abs(offset) / 60))}:${pad(Math.abs(offset) % 60)}`;
};
const seconds = text => Date.parse(text) / 1000;
const scope = event => event.every_group ? 'every group' : event.group;
const repeats = event => event.repeat === 'none' ? 'once' : `${event.every > 1 ? `every ${event.every} ${event.repeat === 'daily' ? 'days' : 'weeks'}` : event.repeat}, by the clocks of ${event.time_zone}`;

/// Enters an event, or edits one: the new one is entered before the old one is taken back, so that its window is never bare.
async function edit(old, group, done) {
  const starts = old ? seconds(old.next?.starts ?? old.starts) : Math.ceil((serverNow() + 3600) / 3600) * 3600;
  const input = (name, type, value, more = {}) => h('input', { name, type, value, required: true, ...more });
  const choose = (name, options, value, more = {}) => h('select', { name, ...more }, options.map(([key, text]) => h('option', { value: key, selected: key === value }, text)));
  const repeat = h('div', { class: 'row', hidden: (old?.repeat ?? 'none') === 'none' }, field('Every so many', input('every', 'number', old?.every || 1, { min: 1, max: 52, required: null })),
    field('By the clocks of', input('time_zone', 'text', old?.time_zone ?? zone, { required: null }), 'An IANA zone: 18:00 stays 18:00 when they change.'),
    field('Until', h('input', { name: 'until', type: 'datetime-local', value: old?.until ? local(seconds(old.until)) : '' }), 'Empty: for good.'));
  const entered = await dialog({
    title: old ? `Edit ${old.name}` : 'A new event', confirm: old ? 'Save' : 'Enter', kind: 'go', wide: true,
    body: [
      field('Name', input('name', 'text', old?.name ?? '', { maxlength: 100, autofocus: true })),
      field('For', choose('group', [['', 'every group'], ...[...now.groups.keys()].map(name => [name, name])], old ? old.group ?? '' : group ?? '')),
      h('div', { class: 'row' }, field('Starts', input('starts', 'datetime-local', local(starts)), `Your clock: ${zone}`),
        field('Lasts, minutes', input('minutes', 'number', old ? old.duration_seconds / 60 : 60, { min: 1, step: 'any' })),
        field('Climbs before, minutes', input('ramp', 'number', old ? old.ramp_seconds / 60 : 0, { min: 0, step: 'any' }))),
      h('div', { class: 'row' }, field('Times the demand', input('intensity', 'number', old?.intensity ?? 2, { min: 1, step: 'any' }), 'Demand while it lasts over demand without it: 2 is twice.'),
        field('Repeats', choose('repeat', [['none', 'no'], ['daily', 'daily'], ['weekly', 'weekly']], old?.repeat ?? 'none', { onchange: event => { repeat.hidden = event.target.value === 'none'; } }))),
      repeat, reasonField(),
    ],
    async work(given) {
      const body = { name: given.name, starts: instant(given.starts), duration_seconds: Math.round(60 * Number(given.minutes)), ramp_seconds: Math.round(60 * Number(given.ramp)), intensity: Number(given.intensity), reason: given.reason };
      Object.assign(body, given.group ? { group: given.group } : { every_group: true });
      if (given.repeat !== 'none') Object.assign(body, { repeat: given.repeat, every: Number(given.every) || 1, time_zone: given.time_zone, ...given.until && { until: instant(given.until) } });
      const made = await ask('/events', { method: 'POST', body });
      if (old) {
        try {
          await ask(path(['events', old.id], { reason: `replaced by event ${made.id}: ${given.reason}`.slice(0, 500) }), { method: 'DELETE' });
        } catch (error) {
          throw new Error(`The new event ${made.id} is entered, and the old one is still there: ${error.message}`);
        }
      }
      return made;
    },
  });
  if (!entered) return;
  toast(`${entered.name}: ${old ? 'replaced' : 'entered'}. The forecast follows within ten seconds.`);
  done();
}

/// Events of a calendar file, as the server reads them: shown first, entered one by one, each that is refused by its reason.
async function bring(done) {
  const [list, found] = [h('div', { 'aria-live': 'polite' }), []];
  const show = async file => {
    found.length = 0;
    try {
      if (file) found.push(...await ask(path(['calendar'], { time_zone: zone }), { method: 'POST', body: await file.text() }));
    } catch (error) {
      fill(list, h('p', { class: 'said bad' }, error.message));
      return;
    }
    fill(list, found.length ? h('ul', { class: 'found' }, found.map((one, index) => h('li', {}, h('label', { class: 'choice' }, h('input', { type: 'checkbox', name: `take-${index}`, checked: true }),
      h('span', {}, h('b', {}, one.name), h('small', {}, time(one.starts), `, ${span(one.ends - one.starts)}`))))))
      : file && h('p', { class: 'said bad' }, 'Nothing in this file takes place within thirteen weeks.'));
  };
  const entered = await dialog({
    title: 'Events of a calendar', confirm: 'Enter those', kind: 'go', wide: true,
    body: [
      field('A calendar file (.ics)', h('input', { type: 'file', name: 'file', accept: '.ics,text/calendar', required: true, onchange: event => show(event.target.files[0]) })), list,
      h('div', { class: 'row' }, field('For', h('select', { name: 'group' }, h('option', { value: '' }, 'every group'), [...now.groups.keys()].map(name => h('option', { value: name }, name)))),
        field('Times the demand', h('input', { name: 'intensity', type: 'number', value: 1.5, min: 1, step: 'any', required: true }), 'A calendar does not say it: of all of them, to be edited one by one.')),
      reasonField(),
    ],
    async work(given) {
      const chosen = found.filter((one, index) => given[`take-${index}`]);
      if (!chosen.length) throw new Error('No event is chosen.');
      const refused = [];
      for (const one of chosen) {
        const body = { name: one.name.slice(0, 100), starts: new Date(one.starts * 1000).toISOString(), duration_seconds: one.ends - one.starts, intensity: Number(given.intensity), reason: given.reason };
        Object.assign(body, given.group ? { group: given.group } : { every_group: true });
        await ask('/events', { method: 'POST', body }).catch(error => refused.push(`${one.name}: ${error.message}`));
      }
      if (refused.length) throw new Error(`${chosen.length - refused.length} of ${chosen.length} are entered. Refused: ${refused.join('; ')}`);
      return chosen.length;
    },
  });
  if (entered) toast(`${plural(entered, 'event')} entered. The forecast follows within ten seconds.`);
  done();
}

async function remove(event, done) {
  const gone = await dialog({
    title: `Take back ${event.name}`, confirm: 'Take back', kind: 'stop', body: [h('p', {}, 'The forecast falls back within ten seconds. What has taken place stays as the explanation of its history.'), reasonField()],
    work: ({ reason }) => ask(path(['events', event.id], { reason }), { method: 'DELETE' }),
  });
  if (gone) {
    toast(`${event.name}: taken back.`);
    done();
  }
}

const DAY = 86400;

/// Six weeks from the Monday before `first`, each day with what takes place.
function calendar(events, first, at) {
  const days = [];
  const date = new Date(first * 1000);
  for (let index = 0; index < 42; index++) {
    const [from, label] = [date.getTime() / 1000, date.getDate()];
    const month = date.toLocaleDateString(undefined, { month: 'short' });
    const full = date.toLocaleDateString(undefined, { weekday: 'long', day: 'numeric', month: 'long' });
    date.setDate(date.getDate() + 1);
    const to = date.getTime() / 1000;
    const here = events.flatMap(event => (event.occurrences ?? []).filter(one => seconds(one.starts) < to && seconds(one.ends) > from).map(one => ({ event, one })))
      .sort((a, b) => seconds(a.one.starts) - seconds(b.one.starts));
    days.push(h('li', { class: `day ${at >= from && at < to ? 'today' : ''} ${to <= at ? 'past' : ''}`, 'aria-label': `${full}: ${plural(here.length, 'event')}` },
      h('span', { class: 'date' }, label === 1 || index === 0 ? `${label} ${month}` : label),
      here.slice(0, 3).map(({ event, one }) => h('span', { class: 'entry', title: `${event.name}, ${scope(event)}: ${number(event.intensity, 1)} times the demand\n${utc(seconds(one.starts))} to ${utc(seconds(one.ends))} (UTC)` },
        seconds(one.starts) >= from && time(seconds(one.starts), seconds => new Date(seconds * 1000).toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' })), ' ', event.name)),
      here.length > 3 && h('small', {}, `and ${here.length - 3} more`)));
  }
  return days;
}

export async function open(host, context) {
  if (!now.groups.size) await readAll();
  const [board, list, title] = [h('ol', { class: 'calendar' }), h('div'), h('h2', { 'aria-live': 'polite' })];
  let known = [], current = [], asked = 0;
  const monday = () => {
    const shown = Number(context.query.from);
    const date = new Date((Number.isFinite(shown) && shown > 0 ? shown : serverNow()) * 1000);
    date.setHours(0, 0, 0, 0);
    date.setDate(date.getDate() - (date.getDay() + 6) % 7);
    return date.getTime() / 1000;
  };
  const read = async () => {
    const from = monday();
    const { group } = context.query;
    const mine = ++asked;
    const found = await Promise.all([ask(path(['events'], { group, from, to: from + 42 * DAY })), ask(path(['events'], { group, all: context.query.past ? 'true' : null }))]);
    // A slow answer to an older question is no news.
    if (mine !== asked) return;
    [known, current] = found;
    show();
  };
  const again = () => read().catch(error => toast(error.message, 'bad'));
  const show = () => {
    const at = serverNow();
    fill(title, new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'long', year: 'numeric' }).formatRange(monday() * 1000, (monday() + 42 * DAY - 1) * 1000));
    fill(board, calendar(known, monday(), at));
    steady(list, [current, Math.floor(at / 60)], () => table('Events', [{ name: 'Event' }, { name: 'For' }, { name: 'Next' }, { name: 'Lasts' }, { name: 'Times the demand', kind: 'number' }, { name: 'Measured', kind: 'number' }, { name: 'Repeats' }, { name: 'Entered' }, { name: '' }],
      current.map(event => ({ kind: event.deleted_at ? 'deleted' : '', cells: [
        [event.name, h('small', {}, event.reason)], scope(event), event.deleted_at ? badge('taken back', 'bad', event.delete_reason) : event.next ? [time(seconds(event.next.starts)), h('small', {}, ago(seconds(event.next.starts), at))] : badge('over'),
        [span(event.duration_seconds), event.ramp_seconds > 0 && h('small', {}, `climbs ${span(event.ramp_seconds)}`)], number(event.intensity, 1), event.measured.length ? [number(event.measured.at(-1).factor, 2), event.measured.at(-1).at_least && h('small', {}, 'at least')] : '–',
        repeats(event), [event.entered_by, h('small', {}, time(seconds(event.entered_at)))],
        may('operator') && !event.deleted_at && h('div', { class: 'acts' }, button('Edit', { class: 'small' }, () => edit(event, null, again)), button('Take back', { class: 'small' }, () => remove(event, again)))] })),
      'Nothing is announced. A sale, a broadcast, a release: what is known ahead raises the forecast in its window.'));
  };
  const turn = weeks => context.set({ from: weeks ? Math.round(monday() + weeks * 7 * DAY + DAY / 2) : null }, { push: true });
  fill(host, h('h1', {}, 'Events'),
    h('div', { class: 'controls' },
      may('operator') && button('New event', { class: 'main go' }, () => edit(null, context.query.group, again)), may('operator') && button('From a calendar…', {}, () => bring(again)),
      h('label', { class: 'control' }, 'Group', h('select', { onchange: event => context.set({ group: event.target.value }) }, h('option', { value: '' }, 'any'), [...now.groups.keys()].map(name => h('option', { value: name, selected: name === context.query.group }, name)))),
      h('label', { class: 'control' }, h('input', { type: 'checkbox', checked: Boolean(context.query.past), onchange: event => context.set({ past: event.target.checked ? 1 : null }) }), ' also those over and taken back')),
    h('div', { class: 'controls calendar-head' }, title, button('←', { 'aria-label': 'Four weeks earlier' }, () => turn(-4)), button('Today', {}, () => turn(0)), button('→', { 'aria-label': 'Four weeks later' }, () => turn(4))),
    h('div', { class: 'weekdays', 'aria-hidden': 'true' }, Array.from({ length: 7 }, (_, index) => h('span', {}, new Date((monday() + index * DAY + DAY / 2) * 1000).toLocaleDateString(undefined, { weekday: 'short' })))),
    board, h('h2', {}, 'All of them'), list);
  return { update: again, close: await keep('events', read, again) };
}

// Plans in words: every step and every step not taken with its reason, and what a week of plans comes to.

import { Chart } from './chart.js';
import { badge, figure, fill, h, table } from './dom.js';
import { ago, hold as holdWords, metric, number, percent, plural, span, step, time } from './words.js';

const WAYS = {
  scale_out: { done: 'Not launched', verb: 'wanted' },
  scale_in: { done: 'Not taken away', verb: 'possible' },
  shadow: { done: 'Left in shadow', verb: 'there' },
};

/// A plan: what it does or would do, what it leaves and why.
export function plan(plan, now) {
  const words = new Map((plan.holds ?? []).map((hold, index) => [JSON.stringify(hold), plan.holds_in_words?.[index]]));
  const hold = one => h('li', {}, badge(one.hold, 'hold'), ' ', words.get(JSON.stringify(one)) ?? Object.entries(one)
    .filter(([name]) => name !== 'hold').map(([name, value]) => `${name.replaceAll('_', ' ')} ${typeof value === 'object' ? JSON.stringify(value) : value}`).join(', '));
  const steps = plan.steps.map((one, index) => {
    const verdict = plan.verdicts?.find(verdict => verdict.step === index);
    const names = one.instances ?? [];
    return h('li', { class: `step ${step(one.step).kind}` },
      h('p', {}, badge(one.permitted ? 'does' : 'would', one.permitted ? 'good' : ''), ' ', h('strong', {}, `${step(one.step).does} ${one.count ?? one.to ?? names.length}`),
        names.length > 0 && h('span', { class: 'muted' }, ` ${names.slice(0, 4).join(', ')}${names.length > 4 ? ` and ${names.length - 4} more` : ''}`)),
      h('p', {}, one.reason),
      verdict && (verdict.allowed ? h('p', { class: 'muted' }, 'The checker would let it.')
        : h('ul', { class: 'refusals' }, verdict.refusals.map(why => h('li', {}, badge('checker refuses', 'bad'), ' ', why)))));
  });
  const left = plan.not_taken.map(one => {
    const way = WAYS[one.direction] ?? { done: one.direction, verb: '' };
    return h('li', { class: 'step left' }, h('p', {}, h('strong', {}, way.done), one.instances > 0 && `: ${one.instances} ${way.verb}`), h('p', {}, one.reason),
      one.holds.length > 0 && h('ul', { class: 'holds' }, one.holds.map(hold)));
  });
  const inTheWay = new Set(plan.not_taken.flatMap(one => one.holds.map(hold => JSON.stringify(hold))));
  const other = (plan.holds ?? []).filter(one => !inTheWay.has(JSON.stringify(one)));
  return h('div', { class: 'plan' },
    h('p', { class: 'muted' }, `Plan ${plan.generation}, `, time(plan.made_at, at => ago(at, now)), `, mode ${plan.mode}: ${plan.serving} serving, ${plan.warming} warming, `,
      `${plan.need_now ?? '?'} needed now, ${plan.need_ahead ?? '?'} ahead`, plan.binding && ` (${metric(plan.binding)} asks for most)`, ` at ${percent(plan.confidence)} confidence.`),
    steps.length ? h('ol', { class: 'steps' }, steps) : h('p', {}, left.length ? 'No step; why, stands below.' : 'No step: as things stand nothing has to change.'),
    left.length > 0 && h('ol', { class: 'steps' }, left),
    other.length > 0 && h('details', {}, h('summary', {}, `Also true: ${plural(other.length, 'hold')}`), h('ul', { class: 'holds' }, other.map(hold))),
    h('details', {}, h('summary', {}, 'How the need was counted'), table('Need by metric', [
      { name: 'Metric' }, { name: 'Demand', kind: 'number' }, { name: 'Idle baseline', kind: 'number' }, { name: 'Now', kind: 'number' }, { name: 'Ahead', kind: 'number' },
      { name: 'Over the shadow window', kind: 'number' }, { name: 'If idle used nothing', kind: 'number' }, { name: 'Trust', kind: 'number' }, { name: 'Raised by' },
    ], plan.needs.map(need => ({ cells: [metric(need.metric), number(need.demand), number(need.baseline, 1), need.reactive ?? '–', need.ahead ?? '–', need.window ?? '–',
      need.without_baseline ?? '–', number(need.trust, 2), [...new Set([...need.events ?? [], ...need.window_events ?? []])].join(', ') || '–'] })), 'No metric has a target.')));
}

/// A line of what a plan wanted, for lists.
export const brief = plan => {
  const steps = plan.steps.map(one => `${one.permitted ? '' : 'would '}${step(one.step).does} ${one.count ?? one.to ?? one.instances?.length ?? ''}`);
  const holds = [...new Set(plan.not_taken.flatMap(one => one.holds.map(hold => hold.hold)))];
  return steps.length ? steps.join(', ') : holds.length ? `no step: ${holds.slice(0, 3).map(holdWords).join(', ')}${holds.length > 3 ? '…' : ''}` : 'no step';
};

const ALLOWS = { observe: [], 'scale-out': ['launch', 'reattach', 'extend', 'floor'], full: ['launch', 'reattach', 'extend', 'floor', 'detach', 'terminate', 'release', 'adopt'] };
/// Stretches that are farther apart were not one wish, seconds.
const APART = 900;

/// What the plans of a week come to under another mode: how often each step was wanted, and the need beside what served.
export function summary(course, now, wanted) {
  const end = index => Math.min(now, course.stretches[index + 1] && course.stretches[index + 1].from - course.stretches[index].until <= APART
    ? course.stretches[index + 1].from : course.stretches[index].until);
  const wishes = new Map();
  const total = { seconds: 0, short: 0, spare: 0, held: new Map() };
  course.stretches.forEach((stretch, index) => {
    const length = Math.max(0, end(index) - stretch.from);
    total.seconds += length;
    const need = Math.max(stretch.need_now ?? 0, stretch.need_ahead ?? 0);
    if (stretch.need_now !== null && stretch.serving < stretch.need_now) total.short += length;
    if (stretch.need_now !== null && stretch.need_ahead !== null) total.spare += Math.max(0, stretch.serving - need) * length;
    for (const hold of new Set(stretch.holds)) total.held.set(hold, (total.held.get(hold) ?? 0) + length);
    for (const one of stretch.steps.filter(one => wanted.includes(one.step))) {
      const wish = wishes.get(one.step) ?? { times: 0, most: 0, seconds: 0, until: -Infinity, spans: [] };
      if (stretch.from - wish.until > APART) {
        wish.times++;
        wish.spans.push({ from: stretch.from, to: end(index) });
      } else {
        wish.spans[wish.spans.length - 1].to = end(index);
      }
      wish.most = Math.max(wish.most, one.instances);
      wish.seconds += length;
      wish.until = end(index);
      wishes.set(one.step, wish);
    }
  });
  return { ...total, wishes };
}

/// The last week under a looser mode. `chart` is to be closed.
export function lastWeek(course, before, mode, now) {
  if (!course.stretches.length) {
    return { node: h('p', { class: 'said' }, 'There are no plans of the last week to judge by. Let it observe for a while first, or run: foreshadow backtest'), chart: null };
  }
  const wanted = ALLOWS[mode].filter(one => !ALLOWS[before].includes(one));
  const found = summary(course, now, wanted);
  const told = [...found.wishes].map(([name, wish]) => h('li', {}, h('strong', {}, `${step(name).does}: ${plural(wish.times, 'time')}`),
    `, ${wish.most} at most in one plan, wanted for ${span(wish.seconds)} altogether`));
  const { chart, data } = courseChart(course, now);
  chart.draw(data);
  return {
    chart,
    node: h('section', { 'aria-label': 'The last week' },
      h('h3', {}, `What ${mode} would have allowed, by ${plural(course.plans, 'plan')} of the last ${span(3600 * Math.ceil((now - course.stretches[0].from) / 3600))}`),
      told.length ? h('ul', {}, told) : h('p', {}, `No plan wanted anything that ${before} does not allow already.`),
      h('dl', { class: 'figures' }, figure('Too few served', span(found.short), 'below present need'),
        figure('Nobody needed', number(found.spare / 3600), 'instance-hours above need now and ahead'),
        figure('Plans cover', span(found.seconds))),
      chart.node,
      found.held.size > 0 && h('p', { class: 'muted' }, 'Holds, by share of the time: ', [...found.held].sort((a, b) => b[1] - a[1]).slice(0, 6)
        .map(([word, seconds]) => `${holdWords(word)} ${percent(seconds / found.seconds)}`).join(', '), '.'),
      h('p', { class: 'muted' }, 'These plans were made without being carried out, so each repeats what the one before wanted: they say when and how much, not what would have followed.')),
  };
}

/// Columns of a course for a chart: what served, what was needed now, what ahead.
export function columns(course, now) {
  const times = [], serving = [], need = [], ahead = [];
  course.stretches.forEach((stretch, index) => {
    const next = course.stretches[index + 1];
    const end = next && next.from - stretch.until <= APART ? next.from : stretch.until;
    for (const at of end > stretch.from ? [stretch.from, Math.min(end, now) - 1] : [stretch.from]) {
      times.push(at);
      serving.push(stretch.serving);
      need.push(stretch.need_now ?? NaN);
      ahead.push(stretch.need_ahead ?? NaN);
    }
    if (next && next.from - stretch.until > APART) {
      times.push(end + 1);
      [serving, need, ahead].forEach(column => column.push(NaN));
    }
  });
  return { times, serving, need, ahead };
}

function courseChart(course, now) {
  const chart = new Chart({ label: 'Serving and need of the last week', height: 150 });
  const { times, serving, need, ahead } = columns(course, now);
  const line = (name, kind, values) => ({ name, kind, values, times, shape: 'stairs', gap: Infinity });
  return { chart, data: { from: Math.max(course.stretches[0].from, now - 7 * 86400), to: now, now,
    lines: [line('serving', 'serve', serving), line('need now', 'load', need), line('need ahead', 'ahead', ahead)] } };
}

/// The latest plan and those before it, each to be opened.
export function history(plans, now, host) {
  fill(host, plans.map((one, index) => h('details', { open: index === 0 ? true : null }, h('summary', {}, time(one.made_at), ' ', h('span', {}, brief(one))), plan(one, now))));
}

// The last week lived again in another mode: what would have followed, beside what happened.

import { ask, path } from './api.js';
import { Chart } from './chart.js';
import { figure, fill, h } from './dom.js';
import { hold, number, plural, span, step } from './words.js';

/// Asks until the week is there and shows how far it is in `place`. Gives the chart, which is to be closed, or null; `wanted` says
/// whether anybody still looks, `signal` aborts when nobody does, `named` tells a metric's name.
export async function livedWeek(group, mode, place, { wanted, named, signal }) {
  const bar = h('progress', { max: 1, 'aria-label': `The last week in ${mode}: how far it is` });
  const left = h('p', { class: 'muted' });
  fill(place, h('section', {}, h('h3', {}, `The last week in ${mode}, lived again`), bar, left));
  // Somebody else may have begun it, or have one lived first: how fast it goes is known from the first share on.
  let first = null, after;
  for (;;) {
    try {
      // The server answers when there is more to tell than what it said last.
      const week = await ask(path(['groups', group, 'week'], { mode, after }), { signal });
      if (!wanted()) return null;
      if (!('done' in week)) return show(week, place, named);
      bar.value = after = week.done;
      if (week.behind) {
        // Somebody else's comes first.
        fill(left, `The week of ${week.behind} is lived first…`);
        continue;
      }
      first ??= { at: performance.now(), done: week.done };
      const seconds = (performance.now() - first.at) / 1000, more = week.done - first.done;
      fill(left, more > 0.03 && seconds > 3 ? `about ${span(Math.ceil(seconds * (1 - week.done) / more))} left` : 'The planner lives through what was recorded…');
    } catch (error) {
      if (!wanted()) return null;
      fill(place, h('p', { class: 'said' }, `The last week cannot be lived again: ${error.message}.`));
      return null;
    }
  }
}

const share = value => `${number(value, value && value < 10 ? 2 : 0)} %`;

function show(week, place, named) {
  const { was, would } = week;
  const times = week.need.map((_, index) => week.from + index * week.column_seconds);
  const line = (name, kind, values) => ({ name, kind, values: values.map(value => value ?? NaN), times, shape: 'stairs', gap: Infinity });
  const chart = new Chart({ label: `Serving in ${week.mode}, and as it was`, height: 170 });
  // Nobody knows how many served in what was imported without them.
  const hours = was ? `${number(was.instance_hours)} as it was: ${number(Math.abs(was.instance_hours - would.instance_hours))} ${was.instance_hours >= would.instance_hours ? 'saved' : 'more'}` : 'how many served then is not known';
  const minutes = name => was ? `of the minutes; ${share(was[name])} as it was` : 'of the minutes';
  const by = Object.entries(week.driven_by), all = by.reduce((sum, [, some]) => sum + some, 0);
  const steps = Object.entries(week.steps).filter(([, instances]) => instances);
  fill(place, h('section', { 'aria-label': 'The last week lived again' },
    h('h3', {}, `The last ${span(week.until - week.from)} in ${week.mode}, lived again`),
    h('dl', { class: 'figures' },
      figure('Instance-hours', number(would.instance_hours), hours),
      figure('Above the target', share(would.above_target), minutes('above_target')),
      // Of a load of its own unit nobody knows what 90 % are.
      would.above_90 !== undefined && figure('Above 90 %', share(would.above_90), minutes('above_90')),
      week.mode === 'full' && figure('In shadow', number(week.shadow_hours), 'of the instance-hours')),
    chart.node,
    h('p', {}, steps.length ? `Instances: ${steps.map(([name, instances]) => `${step(name).does} ${number(instances)}`).join(', ')}.` : 'Nothing would have been done.'),
    Object.keys(week.holds).length > 0 && h('p', { class: 'muted' }, 'Kept by holds: ', Object.entries(week.holds).sort((a, b) => b[1] - a[1]).slice(0, 5)
      .map(([word, minutes]) => `${hold(word)} ${span(60 * minutes)}`).join(', '), '.'),
    h('p', { class: 'muted' }, 'The recorded load under today’s target, bounds, confidence and lead times, with the checks and the pace of production as they come; ',
      by.length > 1 ? `driven by ${by.map(([metric, some]) => `${named(metric)} in ${share(all ? 100 * some / all : 0)}`).join(', ')} of the minutes: the larger need counts. ` : by.length ? `driven by ${named(by[0][0])}. ` : '',
      week.mode === 'scale-out' && 'Beside it a provider scales in by target tracking at the same target. ',
      week.bridged > 0 && `${plural(week.bridged, 'minute')} that nobody measured ${week.bridged === 1 ? 'is a' : 'are'} straight line${week.bridged === 1 ? '' : 's'}.`)));
  chart.draw({ from: week.from, to: week.until, now: week.until, lines: [
    line('as it was', 'serve dashed', week.served), line(`in ${week.mode}`, 'serve', week.would_serve), line('needed', 'load', week.need),
    ...week.mode === 'full' ? [line('in shadow', 'shadow', week.shadows)] : []] });
  return chart;
}

// What stands behind the forecasts: which models compete, what each has earned, and whether the intervals held.

import { ask, path } from './api.js';
import { Chart } from './chart.js';
import { badge, figure, fill, h, table } from './dom.js';
import { listen, now, readAll, serverNow } from './live.js';
import { BANDS, ago, byName, metric, number, percent, span, time } from './words.js';

const NAMES = Object.keys(BANDS);

/// Every group with its models in a word.
async function fleet(host, context) {
  await readAll();
  const body = h('div');
  const show = () => {
    const wanted = (context.query.find ?? '').toLowerCase();
    const found = [...now.groups.values()].filter(line => line.name.toLowerCase().includes(wanted) || (line.model ?? '').toLowerCase().includes(wanted)).sort((a, b) => (a.trust ?? -1) - (b.trust ?? -1) || byName(a.name, b.name));
    fill(body, table('Forecasts by group', [{ name: 'Group' }, { name: 'Models and their shares, first hour', short: 'Models' }, { name: 'Trust', kind: 'number' }, { name: 'Interval held', kind: 'number' }, { name: 'Promised', kind: 'number' }],
      found.slice(0, 200).map(line => ({ cells: [h('a', { href: `#/models/${encodeURIComponent(line.name)}` }, line.name), line.model ?? h('span', { class: 'muted' }, 'no forecast yet'), number(line.trust, 2), percent(line.measured_coverage), percent(line.nominal_coverage)] })), 'No group yet.'),
    found.length > 200 && h('p', { class: 'muted' }, `${number(found.length - 200)} more: narrow the search.`));
  };
  fill(host, h('h1', {}, 'Models'), h('p', { class: 'muted' }, 'Models compete in every group on its own past; the least trusted first. Choose a group to see what each model has earned.'),
    h('div', { class: 'controls' }, h('label', { class: 'control' }, 'Group or model has', h('input', { type: 'search', value: context.query.find ?? '', autocomplete: 'off', oninput: event => context.set({ find: event.target.value }) }))), body);
  show();
  const end = listen(what => what === 'groups' && !body.contains(document.activeElement) && show());
  return { update: show, close: end };
}

/// A bar with its figure; the figure says it, the bar shows it.
const bar = (share, kind) => h('div', { class: 'bar' }, h('meter', { min: 0, max: 1, value: share, 'aria-hidden': 'true', class: kind }), h('span', {}, percent(share)));

/// A share of a band by hour, each over the day before it: how often the interval held, or what a forecast cost.
function rolling(hours, band, of, per) {
  const mine = hours.filter(hour => hour.band === band && hour[per] > 0).sort((a, b) => a.hour - b.hour);
  let first = 0, part = 0, whole = 0;
  return mine.map(hour => {
    part += hour[of];
    whole += hour[per];
    for (; mine[first].hour <= hour.hour - 86400; first += 1) {
      part -= mine[first][of];
      whole -= mine[first][per];
    }
    return [hour.hour + 1800, part / whole];
  });
}

/// One line for each band that has anything to show.
function bands(hours, of, per, scale) {
  const kinds = ['load', 'ahead', 'shadow'];
  return NAMES.map((band, index) => ({ name: BANDS[band], kind: kinds[index], points: rolling(hours, band, of, per) })).filter(line => line.points.length)
    .map(({ points, ...line }) => ({ ...line, times: points.map(point => point[0]), values: points.map(point => scale * point[1]), gap: 4 * 3600 }));
}

/// On a narrow screen a model is a card, and those without a share are folded away.
const NARROW = matchMedia('(max-width: 720px)');

function members(standing, folded) {
  const order = [...standing.members].sort((a, b) => b.weights[0] - a.weights[0] || (a.losses[0] ?? 9) - (b.losses[0] ?? 9));
  const loss = value => value === null ? h('span', { class: 'muted' }, '–') : h('span', { class: value < 1 ? 'better' : '' }, number(value, 2));
  const contributes = member => member.weights.some(weight => weight > 0);
  const row = member => ({ cells: [h('code', {}, member.model), member === order[0] && member.weights[0] > 0 ? badge('champion', 'good') : contributes(member) ? badge('contributes') : badge('challenger', 'hold'),
    ...NAMES.flatMap((_, band) => [member.weights[band] > 0 ? bar(member.weights[band], 'ahead') : h('span', { class: 'muted' }, 'none'), loss(member.losses[band])])] });
  const shown = (caption, members, empty) => h('div', { class: 'members' }, table(caption,
    [{ name: 'Model' }, { name: 'Standing' }, ...NAMES.flatMap(name => [{ name: `Share, ${BANDS[name]}`, short: BANDS[name].replace(' ahead', '') }, { name: `Loss, ${BANDS[name]}`, short: 'loss', kind: 'number' }])], members.map(row), empty));
  const others = order.filter(member => !contributes(member));
  if (!NARROW.matches || others.length < 2 || others.length === order.length) return shown('Models', order, 'No model could be replayed on this history yet.');
  return [shown('Models with a share', order.filter(contributes)),
    h('details', { open: folded.open, ontoggle: event => { folded.open = event.target.open; } }, h('summary', {}, `${others.length} challengers without a share`), shown('Challengers without a share', others))];
}

const PARTS = { width: 'the interval is narrow', coverage: 'it held what it promised', skill: 'better than seasonal naive', history: 'enough history', freshness: 'the last hour was observed' };

async function one(host, context, name) {
  const charts = [];
  let found = {}, course = null;
  const body = h('div'), folded = { open: false };
  fill(host, h('nav', { class: 'crumbs', 'aria-label': 'Where you are' }, h('a', { href: '#/models' }, 'Models'), ' / ', h('a', { href: `#/groups/${encodeURIComponent(name)}` }, name)), h('h1', {}, `Models of ${name}`), body);
  const section = (title, id, ...children) => h('section', { 'aria-labelledby': id }, h('h2', { id }, title), children);
  const show = () => {
    charts.splice(0).forEach(chart => chart.close());
    fill(body, Object.entries(found).map(([key, { standing, refused, target, declared, hours: past }]) => {
      const title = declared?.title ?? metric(key);
      if (!standing) return section(title, `of-${key}`, h('p', {}, refused ? `Not forecast: ${refused}.` : 'No forecast yet: it comes after 30 minutes of data.'));
      // The simulated group of the demo has a clock of its own.
      const at = now.groups.get(name)?.simulated ? standing.made_at : serverNow();
      const coverage = new Chart({ label: `Coverage of ${title} over time`, height: 180, floor: true, format: value => `${number(value)} %` });
      const trust = new Chart({ label: `Trust in ${title} over time`, height: 130, format: value => number(value, 2) });
      const losses = new Chart({ label: `Loss of ${title} over time`, height: 160, format: value => number(value, 2) });
      charts.push(coverage, losses, trust);
      const nominal = 100 * (standing.coverage[0]?.nominal ?? 0.8);
      const covered = bands(past, 'inside', 'outcomes', 100), lost = bands(past, 'loss', 'day_before', 1);
      const oldest = Math.min(at - 6 * 3600, ...covered.map(line => line.times[0]));
      coverage.draw({ from: oldest, to: at, now: at, lines: covered, rules: [{ name: 'promised', value: nominal, kind: 'target', scales: true }, { value: 100, kind: 'none', scales: true }] });
      losses.draw({ from: oldest, to: at, now: at, lines: lost, rules: [{ name: 'as the day before', value: 1, kind: 'target', scales: true }, { value: 0, kind: 'none', scales: true }] });
      const hours = Object.keys(course?.trust ?? {}).map(Number).sort((a, b) => a - b);
      if (hours.length) trust.draw({ from: Math.min(hours[0], at - 6 * 3600), to: at, now: at, lines: [{ name: 'lowest of each hour', kind: 'load', shape: 'stairs', gap: 7200, times: hours, values: hours.map(hour => course.trust[hour]) }], rules: [] });
      const naive = standing.skill.map((skill, index) => skill === null ? null : `${BANDS[NAMES[index]]}: ${number(skill, 2)}`).filter(Boolean);
      return section(title, `of-${key}`,
        h('dl', { class: 'figures' }, figure('Trust', number(standing.trust.score, 2), 'how far plans follow it'), ...standing.coverage.map(band => figure(`Held, ${BANDS[band.band]}`, percent(band.measured), [`promised ${percent(band.nominal)}, ${number(band.observations)} outcomes`, band.wide && `5 to 95 %: ${percent(band.wide.measured)} of ${percent(band.wide.nominal)}`].filter(Boolean).join('; '))),
          figure('History', span(standing.history_seconds)), figure('Selected', time(standing.trained_at, seconds => ago(seconds - seconds % 60, at - at % 60))), figure('Target', declared ? number(target) : `${number(target)} %`, declared && `${declared.unit ?? title} an instance`)),
        h('h3', {}, 'Champion and challengers'), h('p', { class: 'muted' }, 'Loss is pinball loss beside that of seasonal naive on the group’s own replayed past: below 1 is better. A model that does not beat it gets no share.'), members(standing, folded),
        naive.length > 0 && h('p', {}, 'All together, beside seasonal naive: ', naive.join(', '), '.'),
        h('h3', {}, 'Did the intervals hold?'), covered.length ? [h('p', { class: 'muted' }, 'Over the day before each hour, of the last thirty days.'), coverage.node]
          : h('p', { class: 'muted' }, 'Nothing that was published has come due yet; the figures above are from the replay of the past.'),
        lost.length > 0 && [h('h3', {}, 'What did they cost?'), h('p', { class: 'muted' }, 'Pinball loss beside that of the load a day before, over the day before each hour: below 1 is better.'), losses.node],
        h('h3', {}, 'Trust'), h('ul', { class: 'parts' }, Object.entries(PARTS).map(([part, says]) => h('li', {}, bar(standing.trust[part], 'serve'), h('span', {}, says)))), hours.length > 1 && [h('p', { class: 'muted' }, 'By the plans of the last thirty days.'), trust.node]);
    }), !Object.keys(found).length && h('p', { class: 'empty' }, 'This group was not planned yet.'));
  };
  const read = async () => {
    [found, course] = await Promise.all([ask(path(['groups', name, 'models'])), ask(path(['groups', name, 'course'], { from: '-30d' }))]);
    show();
  };
  await read();
  let minute = Math.floor(serverNow() / 60);
  const end = listen((what, data) => {
    const passed = what === 'round' && data.group === name && Math.floor(serverNow() / 60) > minute;
    // What somebody points at stays.
    if (!passed || body.contains(document.activeElement)) return;
    minute = Math.floor(serverNow() / 60);
    read().catch(() => {});
  });
  NARROW.addEventListener('change', show);
  return {
    close() {
      end();
      NARROW.removeEventListener('change', show);
      charts.forEach(chart => chart.close());
    },
  };
}

export const open = (host, context) => context.segments[1] ? one(host, context, context.segments[1]) : fleet(host, context);

// Every group in a row: what serves, what is needed now and ahead, how far it may go, what holds, what stands in shadow.
// Rows are paged, so that two thousand groups cost what fifty do; what changed is changed in place.

import { ask, path } from './api.js';
import { spark } from './chart.js';
import { badge, figure, fill, h, s, steady } from './dom.js';
import { listen, now, readAll } from './live.js';
import { MODES, byName, hold, money, number, percent, plural, step } from './words.js';

const PAGE = 50;
/// Lines of demand are asked for by those who are seen, a few at once; how long they are, seconds. From then on each minute comes
/// with the stream, of all groups; after more than this without one, nobody looked, and the line is asked for anew.
const LENGTH = 10800, MISSED = 180, AT_ONCE = 4;
const demand = new Map();
/// The line of a group that was not asked for yet.
const UNKNOWN = [];

/// A minute that is over goes to the lines that were asked for.
function takeMinute({ start, demand: values }) {
  for (const [name, value] of Object.entries(values)) {
    const points = demand.get(name)?.points;
    const last = points?.at(-1)?.[0] ?? start - 60;
    if (!points || start <= last) continue;
    if (start - last > MISSED && !now.groups.get(name)?.simulated) demand.delete(name);
    else demand.set(name, { points: [...points.filter(([at]) => at > start - LENGTH), [start, value]] });
  }
}

const need = line => Math.max(line.need_now ?? -1, line.need_ahead ?? -1);
const shadows = line => line.shadows.ours + line.shadows.foreign;
/// What deserves to be looked at first.
const urgency = line => (line.need_now !== null && line.need_now !== undefined && line.need_now > line.serving ? 8 : 0) + (line.paused ? 4 : 0) + (line.need_now === null || line.need_now === undefined ? 3 : 0)
  + (line.need_ahead > line.serving ? 2 : 0) + (line.steps.length ? 1 : 0) + line.holds.length / 100;
const ORDERS = {
  attention: ['What needs a look', (a, b) => urgency(b) - urgency(a)],
  name: ['Name', () => 0],
  serving: ['Serving', (a, b) => b.serving - a.serving],
  gap: ['Most above need', (a, b) => b.serving - need(b) - (a.serving - need(a))],
  spend: ['Shadow spend', (a, b) => b.shadows.price_per_hour - a.shadows.price_per_hour || shadows(b) - shadows(a)],
};

/// Serving, need now and need ahead on one line: a bar and two ticks.
function glyph(line) {
  const most = Math.max(1, line.serving, line.need_now ?? 0, line.need_ahead ?? 0) * 1.1;
  const x = value => 1 + 88 * value / most;
  const tick = (value, kind) => value !== null && value !== undefined && s('path', { class: `tick ${kind}`, d: `M${x(value)} 1V17` });
  return s('svg', { class: 'glyph', width: 92, height: 18, viewBox: '0 0 92 18', 'aria-hidden': 'true' },
    s('rect', { class: 'serve', x: 1, y: 5, width: Math.max(1, x(line.serving) - 1), height: 8, rx: 2 }), tick(line.need_now, 'load'), tick(line.need_ahead, 'ahead'));
}

export const modeBadge = line => [
  badge(line.mode, `mode ${line.mode}`, line.at_most !== 'full' ? `the configuration allows ${line.at_most} at most` : undefined),
  line.paused && badge('paused', 'bad'), line.simulated && badge('simulated', 'ahead'),
];

export const shadowWords = ({ ours, foreign, price_per_hour: price, unpriced }) => ours + foreign === 0 ? '–'
  : `${[ours && `${ours} ours`, foreign && `${foreign} foreign`].filter(Boolean).join(', ')}${unpriced < ours + foreign ? ` · ${money(price)}/h${unpriced ? `, ${unpriced} unpriced` : ''}` : ''}`;

const COLUMNS = [
  ['Group', ''], ['Demand, 3 h', ''], ['Mode', ''], ['Serving', 'number'], ['Needs now', 'number'], ['Needs ahead', 'number'], ['', 'capacity'], ['Trust', 'number'],
  ['Interval held', 'number'], ['Next', ''], ['Holds', ''], ['In shadow', ''],
];

/// One row; made once, filled whenever its line changes.
class Row {
  constructor() {
    this.cells = COLUMNS.map(([name, kind], index) => h(index ? 'td' : 'th', { scope: index ? null : 'row', class: kind, data: { name } }, h('div')));
    this.node = h('tr', {}, this.cells);
  }

  show(line) {
    if (this.line === line) return;
    if (this.line?.name !== line.name) this.drawn = null;
    this.line = line;
    // `build` is not called where the cell shows `what` already.
    const cell = (index, what, build) => steady(this.cells[index].firstChild, what, build);
    cell(0, line.name, () => h('a', { href: `#/groups/${encodeURIComponent(line.name)}` }, line.name));
    cell(2, [line.mode, line.paused, line.simulated, line.at_most], () => modeBadge(line));
    cell(3, [line.serving, line.warming, line.reporting], () => [number(line.serving), (line.warming > 0 || line.reporting < line.serving) && h('small', {}, [line.warming > 0 && `${line.warming} warming`,
      line.reporting < line.serving && `${line.reporting} reporting`].filter(Boolean).join(', '))]);
    cell(4, line.need_now, () => line.need_now ?? '–');
    cell(5, line.need_ahead, () => line.need_ahead ?? '–');
    cell(6, [line.serving, line.need_now, line.need_ahead], () => glyph(line));
    cell(7, line.trust, () => number(line.trust, 2));
    cell(8, [line.measured_coverage, line.nominal_coverage, line.wide_measured_coverage, line.wide_nominal_coverage], () => h('span', {
      title: line.wide_nominal_coverage !== null && `The interval from 5 to 95 % promises ${percent(line.wide_nominal_coverage)}: ${line.wide_measured_coverage === null ? 'not measured yet' : `it held ${percent(line.wide_measured_coverage)}`}`,
    }, line.measured_coverage === null ? '–' : percent(line.measured_coverage), line.nominal_coverage !== null && h('small', {}, `of ${percent(line.nominal_coverage)}`)));
    cell(9, line.steps, () => line.steps.length ? line.steps.map(([name, count, permitted]) => h('span', { class: 'next' }, `${permitted ? '' : 'would '}${step(name).does} ${count}`)) : h('span', { class: 'muted' }, 'nothing'));
    cell(10, line.holds, () => line.holds.length ? h('span', { class: 'clamp', title: line.holds.join(', ') }, line.holds.map(hold).join(', ')) : h('span', { class: 'muted' }, 'none'));
    cell(11, line.shadows, () => shadowWords(line.shadows));
    this.spark();
  }

  spark() {
    const points = demand.get(this.line.name)?.points ?? UNKNOWN;
    if (this.drawn === points) return;
    this.drawn = points;
    fill(this.cells[1].firstChild, points === UNKNOWN || points.length > 1 ? spark(points) : h('span', { class: 'muted' }, '–'));
  }
}

/// Asks for the demand of these groups, a few at once.
async function readDemand(names, alive, done) {
  const due = names.filter(name => !demand.has(name));
  const work = async () => {
    for (let name; alive() && (name = due.shift()) !== undefined;) {
      demand.set(name, {});
      try {
        const minutes = await ask(path(['groups', name, 'minutes'], { from: '-3h' }));
        demand.set(name, { points: minutes.map(minute => [minute.start, minute.gross_mean]) });
        if (alive()) done();
      } catch {
        // The row stays without a line until it is seen again; the rest of it says what there is to say.
        demand.delete(name);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

export async function open(host, context) {
  // What is known follows the stream.
  if (!now.groups.size) await readAll();
  let alive = true;
  const rows = [];
  const figures = h('dl', { class: 'figures' });
  const body = h('tbody');
  const count = h('p', { class: 'muted', 'aria-live': 'polite' });
  const pager = h('div', { class: 'pager' });
  const note = h('div');
  const control = (name, label, options) => h('label', { class: 'control' }, label, h('select', {
    name, onchange: event => context.set({ [name]: event.target.value, page: null }),
  }, options.map(([value, text]) => h('option', { value, selected: (context.query[name] ?? '') === value }, text))));
  const search = h('input', {
    type: 'search', name: 'find', value: context.query.find ?? '', placeholder: 'web', 'aria-label': 'Groups whose name has', autocomplete: 'off',
    oninput: event => context.set({ find: event.target.value, page: null }),
  });
  fill(host, h('h1', {}, 'Fleet'), figures,
    h('div', { class: 'controls' }, h('label', { class: 'control' }, 'Name has', search),
      control('mode', 'Mode', [['', 'any'], ...MODES.map(mode => [mode, mode]), ['paused', 'paused']]),
      control('order', 'Order', Object.entries(ORDERS).map(([value, [text]]) => [value === 'attention' ? '' : value, text]))),
    count, h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Groups' },
      h('table', { class: 'fleet' }, h('thead', {}, h('tr', {}, COLUMNS.map(([name, kind]) => h('th', { scope: 'col', class: kind }, name || h('span', { class: 'hidden' }, 'Serving and need, drawn'))))), body)), pager, note);

  const show = () => {
    const all = [...now.groups.values()];
    const { find = '', mode = '', order = 'attention' } = context.query;
    const wanted = all.filter(line => line.name.toLowerCase().includes(find.toLowerCase()) && (!mode || (mode === 'paused' ? line.paused : line.mode === mode)));
    wanted.sort((a, b) => (ORDERS[order] ?? ORDERS.attention)[1](a, b) || byName(a.name, b.name));
    const pages = Math.max(1, Math.ceil(wanted.length / PAGE));
    const page = Math.min(pages, Math.max(1, Number(context.query.page) || 1));
    const shown = wanted.slice((page - 1) * PAGE, page * PAGE);
    while (rows.length < shown.length) rows.push(new Row());
    shown.forEach((line, index) => {
      rows[index].show(line);
      if (rows[index].node.parentNode !== body) body.append(rows[index].node);
    });
    rows.slice(shown.length).forEach(row => row.node.remove());
    const sum = of => all.reduce((total, line) => total + (of(line) ?? 0), 0);
    const short = all.filter(line => line.need_now !== null && line.need_now !== undefined && line.need_now > line.serving).length;
    const price = sum(line => line.shadows.price_per_hour);
    fill(figures, figure('Groups', number(all.length), `${plural(all.filter(line => line.mode !== 'observe').length, 'acts', 'act')}, ${all.filter(line => line.paused).length} paused`),
      figure('Serving', number(sum(line => line.serving)), `${sum(line => line.warming)} warming`), figure('Needed now', number(sum(line => line.need_now)), short ? `${plural(short, 'group')} below it` : 'no group below it'),
      figure('Needed ahead', number(sum(line => line.need_ahead)), 'within the launch lead'),
      figure('In shadow', number(sum(shadows)), sum(line => line.shadows.unpriced) < sum(shadows) ? `${money(price)} an hour${sum(line => line.shadows.unpriced) ? `, ${number(sum(line => line.shadows.unpriced))} unpriced` : ''}` : 'no prices configured'));
    fill(count, wanted.length === all.length ? plural(all.length, 'group') : `${number(wanted.length)} of ${plural(all.length, 'group')}`, pages > 1 && `, ${(page - 1) * PAGE + 1} to ${Math.min(wanted.length, page * PAGE)}`);
    const turn = (to, text) => h('button', { type: 'button', disabled: to < 1 || to > pages, onclick: () => context.set({ page: to === 1 ? null : to }, { push: true }) }, text);
    fill(pager, pages > 1 && [turn(page - 1, 'Earlier'), h('span', {}, `page ${page} of ${pages}`), turn(page + 1, 'Later')]);
    fill(note, !all.length && h('div', { class: 'empty' }, h('p', {}, 'No group yet.'), h('p', {}, 'Name groups in the inventory, or start an agent: ', h('code', {}, 'foreshadow-agent --aggregator … --group web'), '. A group appears within ten seconds.')));
    return shown.map(line => line.name);
  };
  let visible = show();
  const drawn = () => rows.forEach(row => row.line && row.node.isConnected && row.spark());
  const sparks = () => readDemand([...visible], () => alive, drawn);
  sparks();
  const end = listen((what, news) => {
    if (what === 'demand') {
      takeMinute(news);
      drawn();
      sparks();
    }
    if (what !== 'groups') return;
    const before = visible.join('\n');
    visible = show();
    if (visible.join('\n') !== before) sparks();
  });
  return {
    update() {
      if (search.value !== (context.query.find ?? '')) search.value = context.query.find ?? '';
      visible = show();
      sparks();
    },
    close() {
      alive = false;
      end();
    },
  };
}

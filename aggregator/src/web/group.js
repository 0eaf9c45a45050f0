// One group: what it carries and will carry, what serves and should, what stands in shadow, and why nothing else is done. The
// charts share one axis and one cursor; the range is in the address.

import { ask, part, path } from './api.js';
import { Chart, Cursor } from './chart.js';
import { changeMode, dialog, pause, resume } from './dialogs.js';
import { badge, button, figure, fill, h, steady, table } from './dom.js';
import { modeBadge } from './fleet.js';
import { listen, may, now, readAll, serverNow } from './live.js';
import { columns, history, plan } from './reasons.js';
import { indexAt } from './scale.js';
import { lanes, list, spend } from './shadows.js';
import { BANDS, ago, metric, money, number, percent, plural, span, step, time, utc, within } from './words.js';

const SPANS = [['3h', 3], ['6h', 6], ['24h', 24], ['3d', 72], ['7d', 168], ['14d', 336]];
const USUAL = '6h';
/// Ahead of now no more than a day is forecast, seconds.
const AHEAD = 86400;
/// How long sessions that ended are kept, seconds.
const KEPT_ENDED = 7 * 86400;
/// How many are shown before somebody asks for all: marks, as many as the server gives at once; event windows, lanes and rows.
const MOST = { marks: 500, windows: 400, lanes: 24, sessions: 60, intents: 40 };
const PLANS = 12;
/// Of the demo's simulated group no journal is kept.
const ON_TERMINAL = 'This group is simulated: that stands on the demo’s terminal.';

/// The path of a quantile, by its nearest level.
const level = (forecast, wanted) => forecast.paths.reduce((best, path) => Math.abs(path.quantile - wanted) < Math.abs(best.quantile - wanted) ? path : best).demand;

class Group {
  constructor(host, context) {
    this.name = context.segments[1];
    this.context = context;
    this.alive = true;
    /// What of [`MOST`] somebody asked for all of.
    this.all = new Set();
    this.cursor = new Cursor();
    const onRange = (from, to) => context.set(from === undefined ? { from: null, to: null } : { from, to }, { push: true });
    const onPick = at => this.planOf(at);
    const shared = { cursor: this.cursor, onRange, onPick };
    this.charts = {
      demand: new Chart({ ...shared, label: 'Demand and forecast', height: 270, unit: 'utilisation points' }),
      capacity: new Chart({ ...shared, label: 'Capacity, planned and actual', height: 200, unit: 'instances' }),
      shadows: new Chart({ ...shared, label: 'Shadow sessions', height: 80 }),
    };
    const section = (title, id, ...children) => h('section', { 'aria-labelledby': id }, h('h2', { id }, title), children);
    this.at = {};
    const slot = name => { this.at[name] = h('div'); return this.at[name]; };
    fill(host,
      slot('problem'), slot('top'), slot('figures'), slot('ranges'),
      section('Demand and forecast', 'demand', slot('coverage'), this.charts.demand.node, slot('windowsLeft'), this.tabled()),
      section('Capacity', 'capacity', this.charts.capacity.node, slot('marksLeft')),
      section('Shadows', 'shadows', slot('spent'), this.charts.shadows.node, slot('lanesLeft'), slot('sessions')),
      section('Why', 'why', h('p', { class: 'muted' }, 'What the latest plans do, would do and leave, each with its reason. A click on a chart, or Enter, shows the plan of that time.'), slot('plans')),
      section('Evidence', 'evidence', slot('evidence')),
      section('What was done', 'done', slot('intents')),
      section('Members', 'members', slot('members')));
  }

  get now() {
    // The simulated group of the demo has a clock of its own.
    return this.detail?.summary.simulated ? this.detail.plan?.made_at ?? serverNow() : serverNow();
  }

  range() {
    const { from, to, span: wanted } = this.context.query;
    if (Number(from) < Number(to)) return { from: Number(from), to: Number(to), fixed: true };
    const hours = (SPANS.find(([name]) => name === wanted) ?? SPANS.find(([name]) => name === USUAL))[1];
    return { from: this.now - 3600 * hours, to: this.now + Math.min(AHEAD, 3600 * hours), fixed: false };
  }

  async read(what) {
    const group = this.name;
    const { from, to } = this.range();
    const span = { from: Math.floor(from / 60) * 60, to: Math.ceil(Math.min(to, serverNow()) / 60) * 60 + 60 };
    const past = span.from < span.to;
    const reads = {
      detail: () => ask(path(['groups', group])),
      minutes: () => past ? ask(path(['groups', group, 'minutes'], { ...span, metric: this.metric })) : [],
      course: () => past ? ask(path(['groups', group, 'course'], span)) : ask(path(['groups', group, 'course'])),
      models: () => ask(path(['groups', group, 'models'])),
      events: () => ask(path(['events'], { group, from: span.from, to: Math.round(to) })),
      sessions: () => this.sessionsOf(Math.floor(from), Math.ceil(to)),
      marks: () => this.intentsOf({ from: Math.floor(from), to: Math.ceil(to) }, MOST.marks, this.all.has('marks')),
      intents: () => this.intentsOf({}, MOST.intents, this.all.has('intents')),
      plans: () => ask(path(['plans'], { group, limit: PLANS })),
    };
    const mine = this.reading = (this.reading ?? 0) + 1;
    await Promise.all(what.map(async name => {
      const found = await reads[name]();
      // A slow answer to an older question is no news.
      if (mine >= (this.newest?.[name] ?? 0)) {
        this.newest = { ...this.newest, [name]: mine };
        this[name] = found;
        if (name === 'minutes') this.series = this.demandOf(found);
      }
    }));
  }

  /// Those that stand in shadow, and those that did in a range.
  async sessionsOf(from, to) {
    const of = more => part(path(['shadow', 'sessions'], { group: this.name, ...more }));
    const [open, stood] = await Promise.all([of({ open: true }), of({ from, to, limit: this.all.has('sessions') || this.all.has('lanes') ? null : MOST.marks })]);
    const known = new Set(open.found.map(session => session.session));
    return { open: open.found, stood: stood.found, total: stood.total, listed: [...open.found, ...stood.found.filter(session => !known.has(session.session))] };
  }

  /// Intents, newest first, and how many there are. For all of them the server is asked again from where its answer ended.
  async intentsOf(range, most, all) {
    const known = new Map();
    for (let to = range.to, total; ;) {
      const { found, total: left } = await part(path(['intents'], { group: this.name, ...range, to, limit: all ? 500 : most }));
      total ??= left;
      const before = known.size;
      found.forEach(intent => known.set(intent.token, intent));
      if (!all || found.length === left || known.size === before) return { found: [...known.values()], total };
      to = found.at(-1).written_at;
    }
  }

  /// Says how many are not shown, and offers them.
  rest(name, left, says, reads) {
    return h('p', { class: 'rest' }, says, ' ', button(`Show ${number(left)} more`, { class: 'small' }, () => {
      this.all.add(name);
      return this.again(reads);
    }));
  }

  /// The same below a chart, where there are any.
  left(slot, name, left, says, reads) {
    steady(this.at[slot], left > 0 && [left, says], () => left > 0 && this.rest(name, left, says, reads));
  }

  /// Demand net of the idle baseline, as columns.
  demandOf(minutes) {
    const baseline = this.need()?.baseline ?? 0;
    // A loop: `Float64Array.from` asks an iterator for each of twenty thousand minutes.
    const column = of => {
      const values = new Float64Array(minutes.length);
      for (let index = 0; index < minutes.length; index++) values[index] = of(minutes[index]);
      return values;
    };
    return {
      times: column(minute => minute.start), mean: column(minute => Math.max(0, minute.gross_mean - baseline * minute.weight)),
      most: column(minute => Math.max(0, minute.gross_maximum - baseline * minute.weight)), serving: column(minute => minute.serving),
      bounded: column(minute => minute.lower_bound ? Math.max(0, minute.gross_mean - baseline * minute.weight) : NaN),
    };
  }

  get metric() {
    return this.context.query.metric ?? this.detail?.forecasts[0]?.metric ?? 'cpu';
  }
  /// Of a metric of the user's own, what was declared of it.
  get declared() {
    return this.models?.[this.metric]?.declared;
  }
  get unit() {
    return this.declared ? this.declared.unit ?? this.named(this.metric) : 'utilisation points';
  }
  named = name => this.models?.[name]?.declared?.title ?? metric(name);
  need = () => this.detail?.plan?.needs?.find(need => need.metric === this.metric);
  forecast = () => this.detail?.forecasts.find(forecast => forecast.metric === this.metric);
  line = () => now.groups.get(this.name);

  head() {
    const line = this.line();
    if (!line) return;
    const { standing } = this.detail;
    const own = standing.group?.paused && standing.group;
    steady(this.at.top, [standing, line.mode, line.paused, line.at_most, now.me?.role], () => [
      h('nav', { class: 'crumbs', 'aria-label': 'Where you are' }, h('a', { href: '#/' }, 'Fleet'), ' / '),
      h('div', { class: 'title' }, h('h1', {}, this.name), modeBadge(line),
        h('div', { class: 'acts' },
          own && may('admin') && button('Resume group', { class: 'go' }, () => resume(this.name)),
          !own && may('operator') && button('Pause group', { class: 'stop' }, () => pause(this.name)),
          may('admin') && !line.simulated && button('Mode…', {}, () => changeMode(line, this.named)))),
      own && h('p', { class: 'paused' }, badge('paused', 'bad'), ' ', h('strong', {}, own.by), `: “${own.reason}”, `, time(own.at, at => ago(at, serverNow())), '.'),
      line.simulated && h('p', { class: 'said' }, 'This group is simulated: its load, its cloud and its time. Its forecast and its plans are made as those of a real one are. Who is in it, its shadows one by one and all that was done stand on the demo’s terminal.'),
      standing.group && !own && standing.group.mode !== 'observe' && h('p', { class: 'muted' }, `Mode ${standing.group.mode} since `, time(standing.group.at), ` by ${standing.group.by}: “${standing.group.reason}”.`)]);
  }

  numbers() {
    const { summary, lead_times: leads, plan } = this.detail;
    const [need, forecast, line] = [this.need(), this.forecast(), this.line()];
    const open = this.sessions?.open ?? [];
    fill(this.at.figures, h('dl', { class: 'figures' },
      figure('Serving', number(summary.serving), `${summary.reporting} reporting, ${summary.warming} warming`),
      figure('Needed now', plan?.need_now ?? '–', plan?.binding && `by ${this.named(plan.binding)}`),
      figure('Needed ahead', plan?.need_ahead ?? '–', `within ${span(leads.launch.seconds)}`),
      this.declared
        ? figure('Demand', number(need?.demand), this.unit, `${this.named(this.metric)}: load of the whole group`)
        : figure('Demand', number(need?.demand), 'points of utilisation', 'Load of the group net of the idle baseline, in utilisation points of the reference instance'),
      figure('Trust', number(forecast?.trust, 2), forecast ? 'of 1' : 'no forecast yet'),
      figure('Interval held', percent(forecast?.measured_coverage), forecast && `promised ${percent(forecast.nominal_coverage)}`, 'How often demand really stayed within the interval from the 10 % to the 90 % quantile'),
      figure('In shadow', number(open.length || summary.shadow + summary.draining), open.length > 0 && `${money(open.reduce((sum, session) => sum + (session.price_per_hour ?? 0), 0))} an hour`),
      line && figure('Bounds', `${line.minimum} – ${line.maximum}`, `${percent(line.confidence)} confidence`)));
  }

  rangeBar() {
    const { from, to, fixed } = this.range();
    const chosen = fixed ? null : this.context.query.span ?? USUAL;
    const move = by => this.context.set({ from: Math.round(from + by * (to - from)), to: Math.round(to + by * (to - from)) }, { push: true });
    const metrics = Object.keys(this.models ?? {});
    steady(this.at.ranges, [chosen, metrics, this.metric, Math.floor(from / 60), Math.floor(to / 60)], () => h('div', { class: 'controls' }, h('div', { class: 'segments', role: 'group', 'aria-label': 'Range' }, SPANS.map(([name]) => h('button', {
      type: 'button', 'aria-pressed': String(name === chosen), onclick: () => this.context.set({ span: name === USUAL ? null : name, from: null, to: null }, { push: true }),
    }, name))),
    h('button', { type: 'button', 'aria-label': 'Earlier', onclick: () => move(-0.5) }, '←'), h('button', { type: 'button', 'aria-label': 'Later', onclick: () => move(0.5) }, '→'),
    fixed && h('button', { type: 'button', onclick: () => this.context.set({ from: null, to: null }, { push: true }) }, 'Back to now'),
    metrics.length > 1 && h('label', { class: 'control' }, 'Metric', h('select', { onchange: event => this.context.set({ metric: event.target.value }) }, metrics.map(name => h('option', { value: name, selected: name === this.metric }, this.named(name))))),
    h('span', { class: 'muted' }, time(from), ' to ', time(to))));
  }

  draw() {
    const { from, to } = this.range();
    const common = { from, to, now: this.now };
    const forecast = this.forecast();
    const windows = (this.events ?? []).flatMap(event => (event.occurrences ?? []).map(one => {
      const [rises, ends] = [one.rises, one.ends].map(at => Date.parse(at) / 1000);
      const detail = `${event.name}: ${number(event.intensity, 1)} times the demand`;
      return { name: event.name, from: rises, to: ends, detail, title: `${detail}\n${within(rises, common)} to ${within(ends, common)}\n${utc(rises)} to ${utc(ends)} (UTC)` };
    })).filter(window => window.to > from && window.from < to).sort((a, b) => b.from - a.from);
    const windowsLeft = this.all.has('windows') ? 0 : Math.max(0, windows.length - MOST.windows);
    windows.splice(windows.length - windowsLeft);
    this.left('windowsLeft', 'windows', windowsLeft, `The newest ${number(windows.length)} event windows of this range are drawn.`, ['events']);
    windows.reverse();
    const { times, mean, most, serving, bounded } = this.series;
    const fans = [], lines = [];
    if (forecast) {
      const at = Float64Array.from(forecast.paths[0].demand, (_, index) => forecast.start_seconds + (index + 0.5) * forecast.step_seconds);
      const fan = (name, low, high, kind) => ({ name, kind, times: at, low: level(forecast, low), high: level(forecast, high) });
      fans.push(fan('5 to 95 %', 0.05, 0.95, 'wide'), fan('10 to 90 %', 0.1, 0.9, 'narrow'));
      lines.push({ name: 'forecast, median', kind: 'ahead', times: at, values: level(forecast, 0.5), gap: Infinity });
    }
    lines.push({ name: 'demand', kind: 'load', times, values: mean }, { name: 'highest ten seconds', kind: 'peak', times, values: most });
    if (bounded.some(value => !Number.isNaN(value))) lines.push({ name: 'at least (lower bound)', kind: 'bounded', times, values: bounded });
    this.charts.demand.options.unit = this.unit;
    this.charts.demand.draw({ ...common, windows, fans, lines });
    this.drawCapacity(common, windows, { times, serving });
    const { stood, total } = this.sessions;
    const drawn = lanes(stood, common, this.all.has('lanes') ? Infinity : MOST.lanes);
    // An axis with nothing on it says nothing.
    this.charts.shadows.node.hidden = !drawn.lanes.length;
    this.charts.shadows.draw({ ...common, lanes: drawn.lanes });
    const undrawn = drawn.left + total - stood.length;
    this.left('lanesLeft', 'lanes', undrawn, `${plural(total - undrawn, 'session')} of ${number(total)} in this range are drawn.`, ['sessions']);
  }

  /// The charts as a table, for those who would rather read, or copy.
  tabled() {
    const host = h('div');
    return h('details', { ontoggle: event => event.target.open && fill(host, this.rows()) }, h('summary', {}, 'The same as a table'), host);
  }

  rows() {
    const { from, to } = this.range();
    const size = [300, 900, 1800, 3600, 7200, 21600, 43200, 86400].find(size => (to - from) / size <= 30) ?? 86400;
    const forecast = this.forecast();
    const rows = [];
    for (let at = Math.ceil(from / size) * size; at <= to; at += size) {
      const inside = index => index >= 0 && index < this.series.times.length && at - this.series.times[index] < 150;
      const index = indexAt(this.series.times, at);
      const step = forecast && Math.floor((at - forecast.start_seconds) / forecast.step_seconds);
      const ahead = wanted => forecast && step >= 0 && step < forecast.paths[0].demand.length ? number(level(forecast, wanted)[step]) : '–';
      const { ahead: needs } = this.course;
      const need = needs && needs.need[Math.floor((at - needs.start) / needs.step_seconds)];
      rows.push({ cells: [time(at), inside(index) ? number(this.series.mean[index]) : '–', ahead(0.1), ahead(0.5), ahead(0.9), inside(index) ? this.series.serving[index] : '–', need ?? '–'] });
    }
    return table('Demand, forecast and need', [{ name: 'Time' }, { name: 'Demand', kind: 'number' }, { name: 'Forecast 10 %', kind: 'number' }, { name: '50 %', kind: 'number' }, { name: '90 %', kind: 'number' },
      { name: 'Served', kind: 'number' }, { name: 'Will be needed', kind: 'number' }], rows, 'Nothing is known of this range.');
  }

  drawCapacity(common, windows, served) {
    const planned = columns(this.course, this.now);
    const { ahead, minimum, maximum } = this.course;
    const lines = [
      { name: 'serving', kind: 'serve', shape: 'stairs', times: served.times, values: served.serving },
      { name: 'need now', kind: 'load', shape: 'stairs', times: planned.times, values: planned.need, gap: Infinity },
      { name: 'planned: need ahead', kind: 'ahead', shape: 'stairs', times: planned.times, values: planned.ahead, gap: Infinity },
    ];
    if (ahead) {
      lines.push({ name: 'forecast need', kind: 'ahead dashed', shape: 'stairs', gap: Infinity, times: ahead.need.map((_, index) => ahead.start + index * ahead.step_seconds), values: ahead.need.map(need => need ?? NaN) });
    }
    const { found, total } = this.marks;
    this.left('marksLeft', 'marks', total - found.length, `The newest ${number(found.length)} steps of this range are marked.`, ['marks']);
    const marks = found.filter(intent => intent.written_at >= common.from && intent.written_at <= common.to).map(intent => {
      const [at, { shape, kind, does }] = [intent.written_at, step(intent.action)];
      const said = `${within(at, common)} ${does} ${intent.count ?? intent.to ?? intent.instances?.length ?? ''}: ${intent.reason}`;
      return { at, shape, kind, said, title: `${said}\n${utc(at)} (UTC)` };
    });
    const tells = at => {
      const near = (common.to - common.from) / 80;
      return marks.filter(mark => Math.abs(mark.at - at) < near).slice(0, 3).map(mark => h('span', { class: 'item', title: `${utc(mark.at)} (UTC)` }, mark.said));
    };
    const rules = [{ name: 'minimum', value: minimum, kind: 'bound' }, maximum < 1.6 * lines[0].values.reduce((most, value) => Math.max(most, value), 1) && { name: 'maximum', value: maximum, kind: 'bound', scales: true }].filter(Boolean);
    this.charts.capacity.draw({ ...common, windows, lines, marks, rules, tells });
  }

  words() {
    const standing = this.models?.[this.metric]?.standing;
    const refused = this.models?.[this.metric]?.refused;
    const models = h('a', { href: `#/models/${encodeURIComponent(this.name)}` }, 'Models');
    const spoken = (band, of) => of.measured === null ? `${BANDS[band]}: not measured yet` : h('span', {}, `${BANDS[band] ?? band}: `, h('strong', {}, percent(of.measured)), ` of ${number(of.observations)}`);
    // Each interval that is drawn: what it promises, and what it held by how far ahead it was said.
    const held = (kind, name, bands, more) => bands.length > 0 && h('p', { class: 'held' }, h('i', { class: `swatch fan ${kind}` }), `The ${name} promises ${percent(bands[0][1].nominal)}. It held `,
      bands.flatMap(([band, of], index) => [index > 0 && ', ', spoken(band, of)]), '.', more);
    fill(this.at.coverage, standing ? [held('narrow', 'darker interval, 10 to 90 %,', standing.coverage.map(band => [band.band, band])),
      held('wide', 'paler interval, 5 to 95 %,', standing.coverage.filter(band => band.wide).map(band => [band.band, band.wide]), [' ', models])]
      : h('p', { class: 'muted' }, refused ? `Not forecast: ${refused}.` : 'No forecast yet: it comes after 30 minutes of data.'));
    const { from, to } = this.range();
    const cost = spend(this.sessions.stood, from, Math.min(to, this.now));
    const whole = this.sessions.total === this.sessions.stood.length;
    fill(this.at.spent, cost.sessions > 0 && h('p', {}, `${whole ? '' : 'The newest '}${plural(cost.sessions, 'session')} in this range${from < this.now - KEPT_ENDED ? ' (those that ended are kept for seven days)' : ''}, `, cost.unpriced < cost.sessions ? [h('strong', {}, money(cost.sum)), ' spent'] : 'no price is configured for their types',
      cost.unpriced > 0 && cost.unpriced < cost.sessions && `, ${cost.unpriced} without a price`, '.'));
    steady(this.at.sessions, [this.sessions, Math.floor(this.now / 60)], () => list(this.sessions.listed, this.now, () => this.again(['sessions', 'detail']), {
      most: this.all.has('sessions') ? Infinity : MOST.sessions, rest: left => this.rest('sessions', left, `and ${number(left)} more that ended.`, ['sessions']),
      none: this.detail.summary.simulated ? ON_TERMINAL : undefined,
    }));
  }

  evidenceOf() {
    const { launch, reattach } = this.detail.lead_times;
    const found = this.models?.[this.metric];
    const lead = (name, one) => h('li', {}, h('strong', {}, `${name}: ${span(one.seconds)}`), one.measured >= 3 ? `, nine in ten of ${one.measured} measured` : `, from the policy: ${one.measured} of 3 measured`,
      one.spread && h('small', {}, ` shortest ${span(one.spread[0])}, median ${span(one.spread[1])}, longest ${span(one.spread[2])}`));
    const doubt = { too_few_shadows: 'too few shadows and no regression to agree with', disagreement: 'shadows and regression are more than three points apart', no_serving: 'nothing serving reports' };
    const b = found?.baseline;
    fill(this.at.evidence, h('div', { class: 'columns' },
      h('div', {}, h('h3', {}, 'Lead times'), h('ul', {}, lead('Launch to serving', launch), lead('Re-attach to serving', reattach)), h('p', { class: 'muted' }, 'What is planned ahead by: the launch lead and one step of the forecast.')),
      b && !this.declared && h('div', {}, h('h3', {}, `Idle baseline of ${metric(this.metric)}`), h('ul', {}, h('li', {}, h('strong', {}, `In use: ${number(b.points, b.points > 0 && b.points < 1 ? 2 : 1)} points`), found.doubt && `, zero because ${doubt[found.doubt] ?? found.doubt}`),
        h('li', {}, `From shadows: ${b.from_shadows === null ? 'none' : `${number(b.from_shadows, 1)} points, the median of ${b.shadows}`}`), h('li', {}, `From the regression of load over traffic: ${b.from_regression === null ? 'none' : `${number(b.from_regression, 1)} points, through ${plural(b.regression_minutes, 'minute')} of those that serve`}`),
        (found.idle ?? []).map(one => h('li', {}, `${one.instance_type}: ${number(one.points, 1)} points, ${number(one.spread, 1)} apart at most, ${plural(one.shadows, 'shadow')}, ${plural(one.readings, 'reading')} of ten seconds${one.regression ? `; by those that serve ${number(one.regression.points, 1)} points, through ${plural(one.regression.minutes, 'minute')}` : ''}`))),
      h('p', { class: 'muted' }, `What an instance uses when it does nothing. Target ${number(found.target)} %. It moves a point an hour at most.`))));
  }

  done() {
    steady(this.at.intents, [this.intents, this.detail.summary.mode], () => [table('Intents and outcomes', [{ name: 'Written' }, { name: 'Step' }, { name: 'Instances' }, { name: 'Outcome' }, { name: 'Why' }],
      this.intents.found.map(intent => ({ cells: [time(intent.written_at), badge(step(intent.action).does, step(intent.action).kind), intent.instances?.join(', ') ?? intent.count ?? `at ${intent.to}`,
        intent.settled ? [badge(intent.settled.settled, intent.settled.settled === 'done' ? 'good' : 'bad'), h('small', {}, intent.settled.why?.join('; ') ?? `after ${span(intent.settled_at - intent.written_at)}`)] : badge('open', ''),
        h('span', { class: 'reason' }, intent.reason)] })), this.detail.summary.simulated ? ON_TERMINAL : this.detail.summary.mode === 'observe' ? 'Nothing was ever done here: in observe nothing is.' : 'Nothing was done here yet.'),
    this.intents.total > this.intents.found.length && this.rest('intents', this.intents.total - this.intents.found.length, `The newest ${number(this.intents.found.length)}.`, ['intents'])]);
    const { members } = this.detail;
    steady(this.at.members, members, () => [table('Who is in the group', [{ name: 'Instance' }, { name: 'Mode' }, { name: 'Since' }, { name: 'Type' }, { name: 'Zone' }, { name: 'Agent' }],
      members.slice(0, 100).map(member => ({ cells: [member.instance, badge(member.mode, member.mode), time(member.since_micros / 1e6), member.instance_type ?? '–', member.zone ?? '–',
        member.connected ? `connected, ${member.agent_version ?? '?'}` : 'silent'] })), this.detail.summary.simulated ? ON_TERMINAL : 'Nobody is known to be in this group.'),
    members.length > 0 && h('p', {}, h('a', { href: `#/instances?group=${encodeURIComponent(this.name)}` }, `All ${plural(members.length, 'instance')} with their load`))]);
  }

  /// The plan that held at a time.
  async planOf(at) {
    if (at > this.now) return;
    const found = await ask(path(['plans'], { group: this.name, limit: 1, to: Math.round(at) }));
    await dialog({ title: ['The plan of ', time(Math.round(at), at => within(at, { ...this.range(), now: this.now }))], wide: true, body: found.length ? plan(found[0], this.now) : h('p', {}, 'No plan of that time is kept: they are for thirty days.') });
  }

  async again(what) {
    this.busy = true;
    try {
      await this.read(what);
      if (!this.alive) return;
      fill(this.at.problem);
      this.show(what);
    } catch (error) {
      if (this.alive) fill(this.at.problem, h('p', { class: 'said bad' }, `What is shown may be old: ${error.message}`));
    } finally {
      this.busy = false;
    }
  }

  show(what) {
    const has = (...names) => names.some(name => what.includes(name));
    if (has('detail')) this.head();
    if (has('detail', 'sessions')) this.numbers();
    this.rangeBar();
    if (has('detail', 'minutes', 'course', 'events', 'sessions', 'marks')) this.draw();
    if (has('models', 'sessions')) this.words();
    if (has('detail', 'models')) this.evidenceOf();
    if (has('detail', 'intents')) this.done();
    // What somebody reads is not taken away under the eyes: plans that were opened stay, new ones wait above.
    if (has('plans')) this.history();
  }

  history() {
    const newest = this.plans[0]?.generation;
    const open = [...this.at.plans.querySelectorAll('details[open]')].length;
    const reading = this.at.plans.contains(document.activeElement) || open > 1;
    if (!reading || !this.shown) {
      history(this.plans, this.now, this.at.plans);
      this.shown = newest;
    } else if (newest !== this.shown && !this.at.plans.querySelector('.newer')) {
      this.at.plans.prepend(button('Newer plans', { class: 'newer' }, () => history(this.plans, this.now, this.at.plans)));
    }
  }
}

const EVERYTHING = ['detail', 'minutes', 'course', 'models', 'events', 'sessions', 'marks', 'intents', 'plans'];
/// What each round may have changed; the rest changes with the minutes.
const ROUND = ['detail', 'sessions', 'marks', 'intents', 'plans'];

export async function open(host, context) {
  const group = new Group(host, context);
  if (!now.groups.has(group.name)) await readAll();
  await group.read(['detail']);
  await group.read(EVERYTHING.slice(1));
  group.show(EVERYTHING);
  let minute = Math.floor(serverNow() / 60);
  const end = listen((what, data) => {
    if (what === 'round' && data.group === group.name && !group.busy) {
      // A past that was chosen is over. Simulated time runs fast: its minutes come with every round.
      const passed = Math.floor(serverNow() / 60) > minute && group.range().to >= serverNow() - 120;
      if (passed) minute = Math.floor(serverNow() / 60);
      group.again(passed ? EVERYTHING : group.line()?.simulated ? [...ROUND, 'minutes', 'course'] : ROUND);
    } else if (what === 'events') group.again(['events']);
    else if (what === 'groups' && group.line()) {
      // What of it needs more than its line comes with the round.
      group.head();
      group.numbers();
    }
  });
  let asked = JSON.stringify(context.query);
  return {
    update() {
      // The pages' own parameters only: the same question is not asked again.
      if (asked === (asked = JSON.stringify(context.query))) return;
      group.rangeBar();
      // Another metric, another range: no word of the former stays under the new chart.
      group.numbers();
      group.words();
      group.evidenceOf();
      // What was asked for in full was that of the former range; rows below the charts stay as they are.
      ['marks', 'windows', 'lanes'].forEach(name => group.all.delete(name));
      group.again(['minutes', 'course', 'events', 'sessions', 'marks']);
    },
    close() {
      group.alive = false;
      end();
      Object.values(group.charts).forEach(chart => chart.close());
    },
  };
}

// Instances as they report: load of the last ten minutes, how their samples come in, which agent they run. Live by the stream of
// what changes and by that of samples; the past of a row is asked for when it is seen.

import { follow, lines, path } from './api.js';
import { spark } from './chart.js';
import { badge, figure, fill, h, steady } from './dom.js';
import { listen, now, readAll, serverNow, watch } from './live.js';
import { brief, byName, bytes, compareVersions, number, percent, plural, span, time } from './words.js';

const WINDOW = 600, PAGE = 50, AT_ONCE = 4;
/// Samples of more instances than these are not followed at once.
const FOLLOWED = 400;
const COLUMNS = [['Instance', ''], ['Group', ''], ['Mode', ''], ['CPU, 10 min', ''], ['CPU', 'number'], ['Memory', 'number'], ['Network in, out', 'number'], ['Newest sample', 'number'], ['Waits in its spool', 'number'], ['Dropped', 'number'], ['Agent', '']];

/// How an agent's version stands to the aggregator's own; nothing where they are the same or one is not known.
function skew(version) {
  const own = now.me?.version;
  if (!version || !own || version === own) return null;
  const order = compareVersions(version, own);
  if (order === 0) return null;
  return order === null ? 'another version than the aggregator' : order < 0 ? 'older than the aggregator' : 'newer than the aggregator';
}

class Row {
  constructor(instance) {
    this.points = [];
    this.cells = COLUMNS.map(([name, kind], index) => h(index ? 'td' : 'th', { scope: index ? null : 'row', class: kind, data: { name } }, h('div')));
    this.node = h('tr', {}, this.cells);
    this.show(instance);
  }

  cell(index, ...children) {
    fill(this.cells[index].firstChild, children);
  }

  show(instance) {
    // News is another object.
    if (this.instance === instance) return;
    this.instance = instance;
    const { spool } = instance;
    this.newest = Math.max(this.newest ?? 0, (spool.newest_micros ?? 0) / 1e6);
    this.cell(0, instance.instance, h('small', {}, [instance.instance_type, instance.zone].filter(Boolean).join(', ')));
    steady(this.cells[1].firstChild, instance.group, () => h('a', { href: `#/groups/${encodeURIComponent(instance.group)}` }, instance.group));
    this.cell(2, badge(instance.out_of_service ?? instance.mode, instance.mode), h('small', {}, 'since ', time(instance.since_micros / 1e6, at => brief(at, serverNow()))), instance.claim_disagrees && badge('claims otherwise', 'bad', `its agent says ${instance.claimed_state}`));
    this.cell(8, spool.waiting ? badge(plural(spool.waiting, 'sample'), 'hold') : '0');
    this.cell(9, spool.dropped ? badge(number(spool.dropped), 'bad') : '0');
    const apart = skew(instance.agent_version);
    this.cell(10, instance.agent_version ?? '–', apart && [' ', badge(apart, 'hold', `agent ${instance.agent_version}, aggregator ${now.me.version}`)], h('small', {}, instance.connected ? (instance.ready === false ? 'connected, not ready' : 'connected') : 'silent', spool.first_acknowledged_millis != null && `, first kept after ${number(spool.first_acknowledged_millis / 1000, 1)} s`));
    this.values();
  }

  take(sample) {
    const at = Date.parse(sample.at) / 1000;
    this.points.push([at, sample.cpu_percent]);
    this.newest = Math.max(this.newest ?? 0, at);
    if (at >= (this.sampled ?? 0)) {
      this.sampled = at;
      this.sample = sample;
    }
    this.dirty = true;
  }

  values() {
    const { sample } = this;
    const at = serverNow();
    const age = this.newest ? at - this.newest : null;
    // Of one whose samples are not followed it is known that it is late, and else not how new its newest is.
    const { late } = this.instance, followed = Boolean(sample);
    this.cell(7, age === null ? h('span', { class: 'muted' }, 'none yet') : late || (followed && age > 30) ? badge(span(age), 'bad') : followed ? `${number(Math.max(0, age))} s ago` : 'in the last 30 s');
    if (!sample) return;
    this.cell(4, `${number(sample.cpu_percent, 1)} %`, sample.cpu_steal_percent > 1 && h('small', {}, `${number(sample.cpu_steal_percent, 1)} % stolen`));
    this.cell(5, sample.memory_used_bytes === null || !sample.memory_total_bytes ? '–' : percent(sample.memory_used_bytes / sample.memory_total_bytes), sample.memory_total_bytes && h('small', {}, `of ${bytes(sample.memory_total_bytes)}`));
    this.cell(6, sample.network ? `${bytes(sample.network.in_bytes)}/s, ${bytes(sample.network.out_bytes)}/s` : '–');
  }

  draw() {
    if (!this.dirty) return;
    this.dirty = false;
    const from = serverNow() - WINDOW;
    this.points.sort((a, b) => a[0] - b[0]);
    while (this.points.length && this.points[0][0] < from) this.points.shift();
    this.cell(3, spark([[from, null], ...this.points, [serverNow(), null]], { width: 120, most: 100, floor: 0, kind: this.instance.mode === 'shadow' ? 'shadow' : 'load' }));
    this.values();
  }

  async past(signal) {
    this.asked = true;
    for (const sample of await lines(path(['shadow', 'metrics'], { instance: this.instance.instance, from: '-10m' }), { signal })) this.take(sample);
    this.draw();
  }
}

export async function open(host, context) {
  if (!now.groups.size) await readAll();
  const stop = new AbortController();
  const rows = new Map();
  const [figures, body, pager, note, count] = [h('dl', { class: 'figures' }), h('tbody'), h('div', { class: 'pager' }), h('div'), h('p', { class: 'muted', 'aria-live': 'polite' })];
  let all = [], followed = null, following = null;
  const group = () => context.query.group || undefined;
  const select = h('select', { onchange: event => context.set({ group: event.target.value, page: null }) });
  const search = h('input', { type: 'search', value: context.query.find ?? '', autocomplete: 'off', oninput: event => context.set({ find: event.target.value, page: null }) });
  const mode = h('select', { onchange: event => context.set({ mode: event.target.value, page: null }) }, ['', 'warming', 'serving', 'draining', 'shadow'].map(value => h('option', { value, selected: value === (context.query.mode ?? '') }, value || 'any')));
  fill(host, h('h1', {}, 'Instances'), figures, h('div', { class: 'controls' }, h('label', { class: 'control' }, 'Name has', search), h('label', { class: 'control' }, 'Group', select), h('label', { class: 'control' }, 'Mode', mode)),
    count, h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Instances' }, h('table', { class: 'instances' }, h('thead', {}, h('tr', {}, COLUMNS.map(([name, kind]) => h('th', { scope: 'col', class: kind }, name)))), body)), pager, note);

  const follows = () => {
    const wanted = group() ?? (all.length <= FOLLOWED ? '' : null);
    if (wanted === followed) return;
    followed = wanted;
    following?.abort();
    if (wanted === null) return;
    following = new AbortController();
    follow(path(['shadow', 'metrics'], { group: wanted || undefined }), AbortSignal.any([stop.signal, following.signal]), { event: (name, sample) => name === 'sample' && rows.get(sample.instance)?.take(sample) });
  };

  const shown = () => {
    const { find = '', mode: wanted = '' } = context.query;
    // Thousands, and something changes in one of them each second.
    if (!find && !wanted) return all;
    return all.filter(one => one.instance.toLowerCase().includes(find.toLowerCase()) && (!wanted || one.mode === wanted));
  };

  const show = () => {
    const found = shown();
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    const page = Math.min(pages, Math.max(1, Number(context.query.page) || 1));
    const here = found.slice((page - 1) * PAGE, page * PAGE);
    for (const one of here) {
      if (rows.has(one.instance)) rows.get(one.instance).show(one);
      else rows.set(one.instance, new Row(one));
    }
    const names = new Set(here.map(one => one.instance));
    for (const name of rows.keys()) if (!names.has(name)) rows.delete(name);
    const nodes = here.map(one => rows.get(one.instance).node);
    if (nodes.length !== body.childNodes.length || nodes.some((node, index) => body.childNodes[index] !== node)) body.replaceChildren(...nodes);
    const versions = new Map();
    let [silent, serving, waiting, dropped] = [0, 0, 0, 0];
    for (const one of all) {
      if (one.agent_version) versions.set(one.agent_version, (versions.get(one.agent_version) ?? 0) + 1);
      if (!one.connected) silent++;
      if (one.mode === 'serving') serving++;
      waiting += one.spool.waiting;
      dropped += one.spool.dropped;
    }
    fill(figures, figure('Instances', number(all.length), `${serving} serving`), figure('Connected', number(all.length - silent), silent ? `${silent} silent` : 'all of them'),
      figure('Wait in spools', number(waiting), 'samples on their way'), figure('Dropped', number(dropped), dropped ? 'by agents whose spool was full' : 'none'),
      figure('Agents', versions.size <= 1 ? [...versions.keys()][0] ?? '–' : `${versions.size} versions`,
        [...versions].sort(([a], [b]) => compareVersions(a, b) || byName(a, b)).map(([version, many]) => `${version}: ${many}${skew(version) ? `, ${skew(version)}` : ''}`).join('; ') || undefined,
        now.me && `The aggregator is ${now.me.version}`));
    fill(count, `${number(found.length)} of ${plural(all.length, 'instance')}`, followed === null && ': too many to follow at once; choose a group for live load');
    const turn = (to, text) => h('button', { type: 'button', disabled: to < 1 || to > pages, onclick: () => context.set({ page: to === 1 ? null : to }, { push: true }) }, text);
    fill(pager, pages > 1 && [turn(page - 1, 'Earlier'), h('span', {}, `page ${page} of ${pages}`), turn(page + 1, 'Later')]);
    fill(note, !all.length && h('p', { class: 'empty' }, 'No instance reports here yet.'));
    const due = [...rows.values()].filter(row => !row.asked);
    const work = async () => {
      for (let row; (row = due.shift()) && !stop.signal.aborted;) await row.past(stop.signal).catch(() => {});
    };
    Array.from({ length: AT_ONCE }, work);
  };

  let places = new Map();
  // Thousands are put in order when somebody comes or goes, and not for every figure that changes.
  const take = news => {
    if (!now.instances) return;
    if (news && all.length === now.instances.size && !news.gone.length && news.instances.every(one => all[places.get(one.instance)]?.group === one.group)) {
      news.instances.forEach(one => { all[places.get(one.instance)] = one; });
    } else {
      all = [...now.instances.values()].sort((a, b) => (a.group === b.group ? byName(a.instance, b.instance) : byName(a.group, b.group)));
      places = new Map(all.map((one, index) => [one.instance, index]));
    }
    follows();
    show();
  };
  const choices = () => steady(select, [[...now.groups.keys()], group()], () => [h('option', { value: '' }, 'any'), ...[...now.groups.keys()].map(name => h('option', { value: name, selected: name === group() }, name))]);
  let told;
  const first = new Promise((resolve, reject) => { told = { resolve, reject }; });
  const end = listen((what, news) => {
    if (what === 'instances') {
      take(news);
      told.resolve();
    } else if (what === 'groups') choices();
    else if (what === 'state' && now.state === 'refused') told.reject(news);
  });
  let watched = null;
  const read = () => {
    choices();
    if (watched === (watched = group() ?? '')) return take();
    rows.clear();
    watch(group(), { instances: true });
  };
  read();
  try {
    await first;
  } catch (error) {
    end();
    throw error;
  }
  const timer = setInterval(() => document.hidden || rows.forEach(row => { row.dirty = true; row.draw(); }), 1000);
  return {
    update: read,
    close() {
      stop.abort();
      end();
      clearInterval(timer);
    },
  };
}

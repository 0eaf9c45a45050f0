// Charts over time, as SVG: lines, fans, windows, marks and lanes on one axis, with a cursor that several charts share.
//
// A chart is used by pointer (move, drag to zoom, double click for all) and by keyboard (arrows, + and -, 0). What the cursor
// is on is told in words below the chart, so that nothing is known by colour or by eye alone.

import { fill, h, s } from './dom.js';
import { greatestIn, indexAt, thin, ticks, timeTicks } from './scale.js';
import { clock, day, moment, number, utc } from './words.js';

const LEFT = 46, RIGHT = 10, TOP = 14, BOTTOM = 22, LANE = 20;

/// Charts that share one cursor.
export class Cursor {
  charts = new Set();
  at = null;
  move(at) {
    this.at = at;
    this.charts.forEach(chart => chart.point());
  }
}

const path = points => points.map(([x, y], index) => `${index ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`).join('');
const stairs = points => points.map(([x, y], index) =>
  index ? `H${x.toFixed(1)}V${y.toFixed(1)}` : `M${x.toFixed(1)} ${y.toFixed(1)}`).join('');

const SHAPES = {
  up: 'M0-5 5 4H-5z', down: 'M0 5 5-4H-5z', back: 'M0-5 5 0 0 5-5 0z', end: 'M-4-4 4 4M4-4-4 4', event: 'M0-5a5 5 0 1 0 .01 0z',
};

/// Marks stand above what is drawn, below the unit.
const MARKS = 12;

/// One chart. `options`: label, height, format, unit, cursor, onRange(from, to) or onRange() for all, onPick(at). `floor`: the axis
/// begins below the least that is drawn, at a whole ten, and not at nothing.
export class Chart {
  constructor(options) {
    this.options = { height: 220, format: number, cursor: new Cursor(), ...options };
    this.svg = s('svg', { 'aria-hidden': 'true' });
    this.legend = h('div', { class: 'legend' });
    this.frame = h('div', {
      class: 'plot', tabindex: 0, role: 'group', 'aria-label': `${options.label}. Arrow keys move the cursor, plus and minus zoom, 0 shows all.`,
      onkeydown: event => this.key(event),
      onpointermove: event => this.pointer(event), onpointerleave: () => this.drag ?? this.options.cursor.move(null),
      onpointerdown: event => this.begin(event), onpointerup: event => this.end(event),
      onpointercancel: () => { this.drag = null; this.point(); },
    }, this.svg);
    this.node = h('figure', { class: 'chart' }, this.frame, this.legend);
    this.options.cursor.charts.add(this);
    this.width = 0;
    this.observer = new ResizeObserver(([entry]) => {
      const width = Math.round(entry.contentRect.width);
      if (width && width !== this.width) {
        this.width = width;
        this.render();
      }
    });
    this.observer.observe(this.frame);
  }

  close() {
    this.observer.disconnect();
    clearTimeout(this.picking);
    this.options.cursor.charts.delete(this);
  }

  /// `data`: from, to, now, and any of lines, fans, windows, marks, rules, lanes.
  draw(data) {
    this.data = { lines: [], fans: [], windows: [], marks: [], rules: [], lanes: null, ...data };
    if (this.width) this.render();
  }

  x = time => LEFT + (this.width - LEFT - RIGHT) * (time - this.data.from) / (this.data.to - this.data.from);
  time = x => this.data.from + (x - LEFT) * (this.data.to - this.data.from) / (this.width - LEFT - RIGHT);

  render() {
    const { data } = this;
    if (!data) return;
    this.top = TOP + (data.marks.length ? MARKS : 0);
    this.height = data.lanes ? this.top + BOTTOM + LANE * Math.max(1, data.lanes.length) : this.options.height;
    const [width, height] = [this.width, this.height];
    const bottom = height - BOTTOM;
    this.svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.svg.setAttribute('width', width);
    this.svg.setAttribute('height', height);
    let most = 1;
    this.least = 0;
    if (!data.lanes) {
      for (const line of data.lines) most = Math.max(most, greatestIn(line.times, line.values, data.from, data.to));
      for (const fan of data.fans) if (fan.scales !== false) most = Math.max(most, greatestIn(fan.times, fan.high, data.from, data.to));
      for (const rule of data.rules) if (rule.scales) most = Math.max(most, rule.value);
      if (this.options.floor) {
        const drawn = [...data.lines.flatMap(line => line.values), ...data.rules.filter(rule => rule.name).map(rule => rule.value)];
        const least = drawn.reduce((least, value) => Math.min(least, value), most);
        this.least = Math.max(0, 10 * Math.floor(least / 10 - 0.5));
      }
      most += 0.08 * (most - this.least);
    }
    this.most = most;
    this.y = value => this.top + (bottom - this.top) * (1 - Math.min(1.02, (value - this.least) / (most - this.least)));
    // What lies below the pointer is what is asked for, and not the line that follows it.
    this.pointed = s('g', { 'pointer-events': 'none' });
    const inner = s('g', { 'clip-path': `url(#${this.clip()})` });
    fill(this.svg,
      s('defs', {}, s('clipPath', { id: this.clip() }, s('rect', { x: LEFT, y: 0, width: Math.max(0, width - LEFT - RIGHT), height: bottom + 1 }))),
      this.axes(bottom), inner, this.pointed);
    inner.append(...this.windows(bottom), ...data.fans.map(fan => this.fan(fan)));
    if (data.now > data.from && data.now < data.to) {
      inner.append(s('path', { class: 'now', d: `M${this.x(data.now)} ${this.top}V${bottom}` }));
    }
    inner.append(...data.rules.map(rule => s('path', { class: `rule ${rule.kind ?? ''}`, d: `M${LEFT} ${this.y(rule.value).toFixed(1)}H${width}` })),
      ...data.lines.map(line => this.line(line)), ...(data.lanes ?? []).map((lane, index) => this.lane(lane, index)),
      ...data.marks.map(mark => this.mark(mark)));
    this.point();
  }

  clip() {
    this.id ??= `clip-${Math.random().toString(36).slice(2)}`;
    return this.id;
  }

  axes(bottom) {
    const { data, width } = this;
    const group = s('g', { class: 'axes' });
    const times = timeTicks(data.from, data.to, Math.max(2, (width - LEFT) / 84));
    for (const tick of times) {
      const x = this.x(tick.at);
      group.append(s('path', { class: tick.day ? 'grid day' : 'grid', d: `M${x.toFixed(1)} ${this.top}V${bottom}` }));
      if (x > LEFT + 14 && x < width - 22) {
        group.append(s('text', { x, y: bottom + 15, 'text-anchor': 'middle', class: tick.day ? 'day' : null }, tick.day ? day(tick.at) : clock(tick.at)));
      }
    }
    if (data.lanes) return group;
    if (this.options.unit) group.append(s('text', { class: 'unit', x: LEFT, y: 10 }, this.options.unit));
    for (const value of ticks(this.least, this.most, Math.max(2, (bottom - this.top) / 44))) {
      const y = this.y(value);
      group.append(s('path', { class: 'grid', d: `M${LEFT} ${y.toFixed(1)}H${width - RIGHT}` }),
        s('text', { x: LEFT - 6, y: y + 4, 'text-anchor': 'end' }, this.options.format(value)));
    }
    return group;
  }

  /// Where events take place: shaded, with a name where there is room.
  windows(bottom) {
    let free = -Infinity;
    return this.data.windows.filter(window => window.to > this.data.from && window.from < this.data.to).flatMap(window => {
      const [left, right] = [Math.max(LEFT, this.x(window.from)), this.x(Math.min(this.data.to, window.to))];
      const nodes = [s('rect', { class: 'window', x: left, y: this.top, width: Math.max(2, right - left), height: bottom - this.top }, s('title', {}, window.title ?? window.detail)),
        s('path', { class: 'flag', d: `M${left.toFixed(1)} ${this.top}V${bottom}` })];
      const name = window.name.length > 22 ? `${window.name.slice(0, 21)}…` : window.name;
      if (left > free && left + 7.2 * name.length < this.width) {
        nodes.push(s('text', { class: 'flag', x: left + 4, y: this.top + 11 }, name));
        free = left + 7.6 * name.length + 8;
      }
      return nodes;
    });
  }

  runs(times, values, gap) {
    return thin(times, values, this.data.from, this.data.to, this.width - LEFT - RIGHT, gap);
  }

  line({ times, values, kind, shape, gap = 150 }) {
    const at = run => run.map(([time, value]) => [this.x(time), this.y(value)]);
    const drawn = this.runs(times, values, gap).map(run => (shape === 'stairs' ? stairs : path)(at(run)));
    // A point by itself is a point.
    return s('path', { class: `line ${kind}`, d: drawn.map(one => /[LHV]/.test(one) ? one : `${one}h1.5`).join('') });
  }

  fan({ times, low, high, kind }) {
    const edge = values => this.runs(times, values, Infinity)[0]?.map(([time, value]) => [this.x(time), this.y(value)]) ?? [];
    const [upper, lower] = [edge(high), edge(low).reverse()];
    return s('path', { class: `fan ${kind}`, d: upper.length ? `${path(upper)}${path(lower).replace('M', 'L')}Z` : '' });
  }

  lane({ spans }, index) {
    const y = this.top + index * LANE + 3;
    return s('g', {}, spans.filter(span => span.to > this.data.from && span.from < this.data.to).map(span => {
      const [left, right] = [this.x(Math.max(span.from, this.data.from)), this.x(Math.min(span.to, this.data.to))];
      const width = Math.max(3, right - left);
      const long = span.label && 6.6 * span.label.length + 8 < width;
      return s('g', { class: `span ${span.kind}` }, s('rect', { x: left, y, width, height: LANE - 6, rx: 3 }), s('title', {}, span.title),
        long && s('text', { x: left + 5, y: y + LANE - 10 }, span.label));
    }));
  }

  mark({ at, shape, kind, title, value }) {
    const y = value === undefined ? this.top - 4 : this.y(value);
    return s('path', { class: `mark ${kind}`, d: SHAPES[shape] ?? SHAPES.back, transform: `translate(${this.x(at).toFixed(1)} ${y.toFixed(1)})` }, s('title', {}, title));
  }

  /// The value of a line at a time, where it has one there.
  valueAt({ times, values, gap = 150 }, at) {
    const index = indexAt(times, at);
    return index < 0 || at - times[index] > gap || Number.isNaN(values[index]) ? null : values[index];
  }

  point() {
    const { data } = this;
    if (!data || !this.width || !this.pointed) return;
    const at = this.options.cursor.at;
    const inside = at !== null && at >= data.from && at <= data.to;
    fill(this.pointed);
    if (inside) this.pointed.append(s('path', { class: 'cursor', d: `M${this.x(at).toFixed(1)} ${this.top}V${this.height - BOTTOM}` }));
    if (this.drag?.to !== undefined) {
      const [left, right] = [this.x(this.drag.from), this.x(this.drag.to)].sort((a, b) => a - b);
      this.pointed.append(s('rect', { class: 'chosen', x: left, y: this.top, width: right - left, height: this.height - BOTTOM - this.top }));
    }
    const told = inside ? at : Math.min(data.now ?? data.to, data.to);
    const item = (kind, name, value, title) => h('span', { class: 'item', title }, h('i', { class: `swatch ${kind}` }), name, value !== null && h('b', {}, value));
    const { format } = this.options;
    const items = data.lines.filter(line => line.name && line.times.length).map(line => {
      const value = this.valueAt(line, told);
      if (inside && value !== null) this.pointed.append(s('circle', { class: `dot ${line.kind}`, cx: this.x(at), cy: this.y(value), r: 3.2 }));
      return item(line.kind, line.name, value === null ? (inside ? '–' : null) : format(value));
    });
    items.push(...data.fans.map(fan => {
      const index = indexAt(fan.times, told);
      const here = inside && index >= 0 && told <= fan.times[fan.times.length - 1];
      return item(`fan ${fan.kind}`, fan.name, here ? `${format(fan.low[index])} – ${format(fan.high[index])}` : null);
    }), ...data.rules.filter(rule => rule.name).map(rule => item(`rule ${rule.kind ?? ''}`, rule.name, format(rule.value))));
    const here = data.windows.filter(window => inside && at >= window.from && at < window.to).map(window => item('window', window.detail, null, window.title));
    fill(this.legend, inside && h('span', { class: 'item at', title: utc(Math.round(at)) }, moment(Math.round(at))), inside && h('small', { class: 'utc' }, `${utc(Math.round(at))} (UTC)`), items, here, inside && (data.tells?.(at) ?? null));
  }

  pointer(event) {
    const at = this.time(event.clientX - this.frame.getBoundingClientRect().left);
    if (this.drag && Math.abs(event.clientX - this.drag.x) > 6) this.drag.to = at;
    this.options.cursor.move(at);
  }

  begin(event) {
    if (event.button || !this.options.onRange) return;
    this.drag = { from: this.time(event.clientX - this.frame.getBoundingClientRect().left), x: event.clientX };
    this.frame.setPointerCapture(event.pointerId);
  }

  end(event) {
    const { drag } = this;
    this.drag = null;
    if (drag?.to !== undefined) this.zoom(Math.min(drag.from, drag.to), Math.max(drag.from, drag.to));
    else if (drag && this.picking) {
      // The second half of a double click. The browser's own event needs an element that stays, and the cursor's does not.
      clearTimeout(this.picking);
      this.picking = null;
      this.options.onRange();
    } else if (drag) {
      this.picking = setTimeout(() => {
        this.picking = null;
        this.options.onPick?.(drag.from);
      }, 350);
    }
    this.point();
  }

  zoom(from, to) {
    // Nothing is measured finer than a minute.
    if (to - from >= 600) this.options.onRange?.(Math.round(from), Math.round(to));
  }

  key(event) {
    const { data } = this;
    if (!data || event.ctrlKey || event.metaKey || event.altKey) return;
    const length = data.to - data.from;
    const at = this.options.cursor.at ?? Math.min(data.now ?? data.to, data.to);
    const far = length / (event.shiftKey ? 12 : 120);
    const pan = by => this.options.onRange?.(Math.round(data.from + by), Math.round(data.to + by));
    const work = {
      ArrowLeft: () => this.options.cursor.move(Math.max(data.from, at - far)),
      ArrowRight: () => this.options.cursor.move(Math.min(data.to, at + far)),
      Home: () => this.options.cursor.move(data.from), End: () => this.options.cursor.move(data.to),
      PageUp: () => pan(-length / 2), PageDown: () => pan(length / 2),
      '+': () => this.zoom(at - length / 4, at + length / 4), '=': () => this.zoom(at - length / 4, at + length / 4),
      '-': () => this.options.onRange?.(Math.round(at - length), Math.round(at + length)),
      0: () => this.options.onRange?.(), Escape: () => this.options.cursor.move(null),
      Enter: () => this.options.onPick?.(at),
    }[event.key];
    if (!work) return;
    event.preventDefault();
    event.stopPropagation();
    work();
  }
}

/// A line without axes: [time, value] with `null` where nothing is known. Decoration: what it shows is told beside it.
export function spark(points, { width = 96, height = 24, kind = 'load', most, floor } = {}) {
  const known = points.filter(point => point[1] !== null);
  if (known.length < 2) return s('svg', { class: 'spark', width, height, 'aria-hidden': 'true' });
  const [from, to] = [points[0][0], points[points.length - 1][0]];
  const values = known.map(point => point[1]);
  const top = most ?? Math.max(1e-9, ...values);
  // The shape is what matters, not the distance from nothing; but a quiet line stays quiet.
  const low = floor ?? Math.max(0, Math.min(...values) - 0.15 * top);
  const runs = thin(known.map(point => point[0]), known.map(point => point[1]), from, to, width, (to - from) / 4);
  const at = ([time, value]) => [width * (time - from) / (to - from || 1), height - 2 - (height - 4) * Math.min(1, (value - low) / (top - low || 1))];
  return s('svg', { class: 'spark', width, height, viewBox: `0 0 ${width} ${height}`, 'aria-hidden': 'true' },
    s('path', { class: `line ${kind}`, d: runs.map(run => path(run.map(at))).join('') }));
}

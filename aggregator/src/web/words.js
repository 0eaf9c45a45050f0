// Numbers, times and terms as people read them. Times are the viewer's; UTC is told when pointed at.

import { h } from './dom.js';

export const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

const CLOCK = { hour: '2-digit', minute: '2-digit' };
const DAY = { weekday: 'short', day: 'numeric', month: 'short' };
/// Each is made when it is used first: it costs more than hundreds of times to write.
const written = options => {
  let format;
  return seconds => (format ??= new Intl.DateTimeFormat(undefined, { hourCycle: 'h23', ...options })).format(seconds * 1000);
};

export const clock = written(CLOCK);
export const day = written(DAY);
export const moment = written({ ...DAY, ...CLOCK, second: '2-digit' });
const minute = written({ ...DAY, ...CLOCK });
const date = written({ day: 'numeric', month: 'short' });
/// A time of the last day by the clock, an older one by its day.
export const brief = (seconds, now) => now - seconds < 86400 ? clock(seconds) : date(seconds);
/// A time of a range that is looked at: by the clock alone where that can be no other day's.
export const within = (seconds, { from, to, now }) => Math.max(to, now) - Math.min(from, seconds) < 86400 ? clock(seconds) : minute(seconds);
export const utc = seconds => `${new Date(seconds * 1000).toISOString().replace('.000Z', 'Z')}`;

/// A moment, with UTC when pointed at.
export const time = (seconds, shown) => seconds == null ? '–'
  : h('time', { datetime: utc(seconds), title: `${utc(seconds)} (UTC)` }, (shown ?? moment)(seconds));

/// How long ago, or how far ahead, of `now`.
export const ago = (seconds, now) => {
  const apart = Math.round(seconds - now);
  return apart > 0 ? `in ${span(apart)}` : `${span(-apart)} ago`;
};

/// A length of time in its two largest units.
export function span(seconds) {
  if (seconds == null) return '–';
  const whole = Math.round(Math.abs(seconds));
  const parts = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  const first = parts.findIndex(([, size]) => whole >= size);
  if (first < 0) return '0 s';
  const [unit, size] = parts[first];
  const [next, smaller] = parts[first + 1] ?? [];
  const rest = next ? Math.floor(whole % size / smaller) : 0;
  return `${Math.floor(whole / size)} ${unit}${rest ? ` ${rest} ${next}` : ''}`;
}

/// Names in the order people expect: 2 before 10.
export const byName = new Intl.Collator(undefined, { numeric: true }).compare;
/// By digits: each costs more to make than hundreds of numbers to write.
const numbers = [];
export const number = (value, digits = 0) => value == null ? '–'
  : (numbers[digits] ??= new Intl.NumberFormat(undefined, { minimumFractionDigits: digits, maximumFractionDigits: digits })).format(value);
export const percent = (share, digits = 0) => share == null ? '–' : `${number(100 * share, digits)} %`;
const versionOf = text => {
  const found = /^v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+.*)?$/.exec(text ?? '');
  return found && { numbers: [1, 2, 3].map(part => Number(found[part] ?? 0)), before: found[4]?.split('.') };
};
/// Versions in their order, as semantic versioning has it: below 0, 0 or above 0; null where one of them is none.
export function compareVersions(a, b) {
  const [one, other] = [versionOf(a), versionOf(b)];
  if (!one || !other) return null;
  const apart = one.numbers.map((part, index) => part - other.numbers[index]).find(Boolean);
  if (apart) return apart;
  // What comes before a release is older than it, and shorter is older where the rest is the same.
  if (!one.before || !other.before) return (one.before ? 0 : 1) - (other.before ? 0 : 1);
  for (let index = 0; index < Math.max(one.before.length, other.before.length); index++) {
    const [left, right] = [one.before[index], other.before[index]];
    if (left === right) continue;
    if (left === undefined || right === undefined) return left === undefined ? -1 : 1;
    const [first, second] = [left, right].map(part => /^\d+$/.test(part) ? Number(part) : NaN);
    if (!Number.isNaN(first) && !Number.isNaN(second)) return first - second;
    if (Number.isNaN(first) !== Number.isNaN(second)) return Number.isNaN(first) ? 1 : -1;
    return left < right ? -1 : 1;
  }
  return 0;
}
export const plural = (count, one, many) => `${number(count)} ${count === 1 ? one : many ?? `${one}s`}`;
/// Money has the currency of the configured prices, which nobody said.
export const money = value => value == null ? '–' : number(value, value !== 0 && Math.abs(value) < 10 ? 3 : 2);
export const bytes = value => {
  if (value == null) return '–';
  const power = Math.min(4, Math.floor(Math.log2(Math.max(1, value)) / 10));
  return `${number(value / 1024 ** power, power ? 1 : 0)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][power]}`;
};

export const MODES = ['observe', 'scale-out', 'full'];
export const MODE_SAYS = {
  observe: 'plans are made and shown, nothing is done',
  'scale-out': 'may launch and re-attach, never takes a machine away',
  full: 'may also detach into shadow and, when all agree, terminate',
};
export const METRICS = { cpu: 'CPU', memory: 'memory', network_in: 'network in', network_out: 'network out' };
export const metric = name => METRICS[name] ?? name;
export const BANDS = { '1h': 'up to 1 h ahead', '6h': '1 to 6 h ahead', '24h': 'beyond 6 h' };

/// What holds, in a few words; how much and since when is told with the plan.
export const HOLDS = {
  NoEvidence: 'its load is not known', StaleSamples: 'samples are old', Incomplete: 'too few report', Saturated: 'an instance is saturated', StaleInventory: 'the inventory is old',
  PartialInventory: 'the inventory is partial', NoForecast: 'no forecast yet', LowTrust: 'too little trust', ShortHorizon: 'the forecast is too short', WarmUp: 'just started',
  Surprise: 'less than was thought possible', BaselineInDoubt: 'idle baseline in doubt', WithoutBaseline: 'no further down without the idle baseline', Paused: 'paused',
  NotOwner: 'another installation owns it', Deploying: 'a deploy is running', ForeignScaleIn: 'the provider scales in as well', Untold: 'the provider does not say', ClockJump: 'the clock jumped',
  CommonCause: 'too many groups at once', LaunchesFailing: 'launches fail', UnauthenticatedEvidence: 'agents are not authenticated', ClaimedGroup: 'known from agents alone', AtMinimum: 'at the minimum',
  AtMaximum: 'at the maximum', LaunchCapped: 'launches are capped', Protected: 'instances are protected', Warming: 'instances warm up', Changing: 'a change is under way', Paced: 'machines go slowly',
  BudgetSpent: 'the budget is spent', ShadowDisagrees: 'shadows do not agree', BackOff: 'the next launch waits', Hung: 'CPU does not follow the network', Stolen: 'hosts give processors to others', OutOfCredits: 'CPU credits run out', MemoryFull: 'memory is nearly full', Vetoed: 'errors or latency speak against it', VetoUntold: 'errors or latency are not told',
  NeverReady: 'instances never get ready', Unpriced: 'a price is missing', CarriesTooMuch: 'those who stay would carry too little', UnevenZones: 'zones would become uneven', SmallChange: 'too small to be worth a change',
};
export const hold = word => HOLDS[word] ?? word;

/// What a step does, and its shape on a chart.
export const STEPS = {
  launch: { does: 'launch', past: 'launched', shape: 'up', kind: 'good' },
  reattach: { does: 're-attach', past: 're-attached', shape: 'back', kind: 'good' },
  attach: { does: 're-attach', past: 're-attached', shape: 'back', kind: 'good' },
  exit_standby: { does: 'bring back from standby', past: 'brought back', shape: 'back', kind: 'good' },
  detach: { does: 'detach into shadow', past: 'detached', shape: 'down', kind: 'shadow' },
  enter_standby: { does: 'put into standby', past: 'put into standby', shape: 'down', kind: 'shadow' },
  leave: { does: 'take out of the group', past: 'taken out of the group', shape: 'down', kind: 'shadow' },
  floor: { does: 'keep a floor of', past: 'set the floor', shape: 'up', kind: 'good' },
  terminate: { does: 'terminate', past: 'terminated', shape: 'end', kind: 'bad' },
  extend: { does: 'extend the lease of', past: 'extended', shape: 'back', kind: '' },
  release: { does: 'release', past: 'released', shape: 'back', kind: '' },
  adopt: { does: 'adopt', past: 'adopted', shape: 'back', kind: '' },
};
export const step = name => STEPS[name] ?? { does: name, past: name, shape: 'back', kind: '' };

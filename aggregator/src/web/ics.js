// Calendars as others write them (RFC 5545): what can be an event here, and why the rest cannot. Pure.

const DAYS = ['SU', 'MO', 'TU', 'WE', 'TH', 'FR', 'SA'];
const DAY = 86400;

/// Seconds since 1970 of a time on the clocks of a zone.
export function zoned([year, month, day, hour = 0, minute = 0, second = 0], zone) {
  const wanted = Date.UTC(year, month - 1, day, hour, minute, second);
  const format = new Intl.DateTimeFormat('en-US', { timeZone: zone, hourCycle: 'h23', year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric', second: 'numeric' });
  const shown = at => {
    const part = Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, Number(value)]));
    return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second);
  };
  // The offset of the guess, and once more where a change of the clocks lies between.
  let at = wanted;
  for (let times = 0; times < 2; times++) at += wanted - shown(at);
  return at / 1000;
}

const text = value => value.replace(/\\n/gi, ' ').replace(/\\([\\;,])/g, '$1').trim();

function moment({ value, parameters }, zone) {
  const found = value.match(/^(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z?))?$/);
  if (!found) throw new Error(`the time ${value} is none`);
  const numbers = found.slice(1, 7).filter(part => part !== undefined).map(Number);
  const of = found[7] ? 'UTC' : parameters.TZID ?? zone;
  try {
    return { at: zoned(numbers, of), zone: of, whole: found[4] === undefined };
  } catch {
    throw new Error(`the zone ${of} is not known here`);
  }
}

const UNITS = { W: 7 * DAY, D: DAY, H: 3600, M: 60, S: 1 };
const duration = value => [...value.matchAll(/(\d+)([WDHMS])/g)].reduce((sum, [, count, unit]) => sum + Number(count) * UNITS[unit], 0);

/// How it repeats: { repeat, every, until } and the days of the week it begins on.
function rule(value, start, zone) {
  if (!value) return { repeat: 'none', days: [null] };
  const given = Object.fromEntries(value.split(';').map(part => part.split('=')));
  const repeat = { DAILY: 'daily', WEEKLY: 'weekly' }[given.FREQ];
  const unknown = Object.keys(given).filter(name => !['FREQ', 'INTERVAL', 'UNTIL', 'COUNT', 'BYDAY', 'WKST'].includes(name));
  if (!repeat || unknown.length) throw new Error(`it repeats by ${unknown[0] ?? given.FREQ}: here events repeat daily or weekly`);
  const every = Number(given.INTERVAL ?? 1);
  const days = repeat === 'weekly' && given.BYDAY ? given.BYDAY.split(',').map(day => DAYS.indexOf(day)) : [null];
  if (days.includes(-1) || repeat === 'daily' && given.BYDAY) throw new Error(`it repeats on ${given.BYDAY}: here events repeat daily or weekly`);
  let until = given.UNTIL ? moment({ value: given.UNTIL, parameters: {} }, zone).at : null;
  if (given.COUNT) until = start + Math.floor((Number(given.COUNT) - 1) / days.length) * every * (repeat === 'daily' ? 1 : 7) * DAY + 1;
  return { repeat, every, until, days };
}

/// Every event of a calendar as { name, starts, seconds, repeat, every, until, zone }, or { name, problem }.
export function read(calendar, zone) {
  const lines = calendar.replace(/\r?\n[ \t]/g, '').split(/\r?\n/);
  const events = [];
  let event = null, depth = 0;
  for (const line of lines) {
    const [head, ...rest] = line.split(':');
    const [name, ...parameters] = head.toUpperCase() === head ? head.split(';') : [head.split(';')[0].toUpperCase(), ...head.split(';').slice(1)];
    const value = rest.join(':');
    if (name === 'BEGIN' && value === 'VEVENT') { event = {}; depth = 0; }
    else if (event && name === 'BEGIN') depth++;
    else if (event && name === 'END' && value === 'VEVENT') { events.push(event); event = null; }
    else if (event && name === 'END') depth--;
    // An alarm within an event has times of its own.
    else if (event && !depth) event[name] ??= { value, parameters: Object.fromEntries(parameters.map(one => one.split('=')).map(([key, said]) => [key.toUpperCase(), said?.replace(/^"|"$/g, '')])) };
  }
  return events.flatMap(found => {
    const name = text(found.SUMMARY?.value ?? '') || 'without a name';
    try {
      if (!found.DTSTART) throw new Error('it has no beginning');
      const start = moment(found.DTSTART, zone);
      const seconds = found.DTEND ? moment(found.DTEND, zone).at - start.at : found.DURATION ? duration(found.DURATION.value) : start.whole ? DAY : 0;
      if (!(seconds > 0)) throw new Error('it takes no time');
      const { days, ...repeats } = rule(found.RRULE?.value, start.at, start.zone);
      const weekday = new Date(Date.parse(`${found.DTSTART.value.slice(0, 4)}-${found.DTSTART.value.slice(4, 6)}-${found.DTSTART.value.slice(6, 8)}T00:00:00Z`)).getUTCDay();
      return days.map(day => ({ name: name.slice(0, 100), starts: start.at + (day === null ? 0 : ((day - weekday + 7) % 7) * DAY), seconds, zone: start.zone, ...repeats }));
    } catch (error) {
      return [{ name, problem: error.message }];
    }
  });
}

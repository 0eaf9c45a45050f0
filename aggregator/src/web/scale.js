// Numbers to pixels: ticks that people expect, and lines thinned to what a screen can show. Pure.

/// Round values that span `low` to `high`, about `count` of them.
export function ticks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = power * [1, 2, 5, 10].find(one => one * power >= rough * 0.999);
  const found = [];
  for (let value = Math.ceil(low / size) * size; value <= high + size * 1e-9; value += size) {
    found.push(Number(value.toPrecision(12)));
  }
  return found;
}

const STEPS = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200];

/// Times on the viewer's clock between `from` and `to` (seconds), about `count` of them; `day` says that a day begins.
export function timeTicks(from, to, count) {
  const rough = (to - from) / Math.max(1, count);
  const size = STEPS.find(step => step >= rough);
  const days = Math.max(1, Math.ceil(rough / 86400));
  const found = [];
  const date = new Date(from * 1000);
  date.setHours(0, 0, 0, 0);
  // Midnight by midnight, so that a change of the clocks moves no label.
  for (let passed = 0; date.getTime() / 1000 <= to; date.setDate(date.getDate() + 1), passed++) {
    const midnight = date.getTime() / 1000;
    if (!size && passed % days) continue;
    if (midnight >= from) found.push({ at: midnight, day: true });
    for (let after = size; size && after < 86400; after += size) {
      const at = midnight + after;
      if (at > to) break;
      if (at >= from) found.push({ at, day: false });
    }
  }
  return found;
}

/// The index of the last time at or before `at`; -1 before the first.
export function indexAt(times, at) {
  let [low, high] = [-1, times.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (times[middle] <= at) low = middle; else high = middle - 1;
  }
  return low;
}

/// The points of a line worth drawing between `from` and `to` on `columns` pixels: of each pixel's points the first, the
/// least, the greatest and the last, in their order. A peak of one minute is seen on a chart of two weeks. A gap longer than
/// `gap` seconds, or a value that is none, breaks the line: the answer is a list of runs of [time, value].
export function thin(times, values, from, to, columns, gap) {
  const runs = [];
  let run = null, before = NaN;
  const width = (to - from) / Math.max(1, columns);
  let column = -Infinity, first = -1, least = -1, greatest = -1, last = -1;
  const flush = () => {
    if (first < 0) return;
    const [a, b] = least < greatest ? [least, greatest] : [greatest, least];
    let previous = -1;
    for (const index of [first, a, b, last]) {
      if (index !== previous) run.push([times[index], values[index]]);
      previous = index;
    }
    first = -1;
  };
  // One before and one after, so that a line reaches the edges.
  const start = Math.max(0, indexAt(times, from));
  for (let index = start; index < times.length; index++) {
    const [time, value] = [times[index], values[index]];
    if (Number.isNaN(value) || value === undefined || value === null) {
      before = NaN;
      continue;
    }
    if (!(time - before <= gap)) {
      flush();
      run = [];
      runs.push(run);
      column = -Infinity;
    }
    before = time;
    const here = Math.floor((time - from) / width);
    if (here !== column) {
      flush();
      column = here;
      first = least = greatest = index;
    }
    if (value < values[least]) least = index;
    if (value > values[greatest]) greatest = index;
    last = index;
    if (time > to) break;
  }
  flush();
  return runs.filter(points => points.length);
}

/// The greatest value between two times; -Infinity where there is none.
export function greatestIn(times, values, from, to) {
  let greatest = -Infinity;
  for (let index = Math.max(0, indexAt(times, from)); index < times.length && times[index] <= to; index++) {
    if (values[index] > greatest) greatest = values[index];
  }
  return greatest;
}

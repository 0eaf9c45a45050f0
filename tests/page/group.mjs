// A group's page: its ranges and keys, the plan of a time, what its times say, and that it says what the API says.

import assert from 'node:assert/strict';
import { api, axe, browser, given, go, text, until, watch } from './world.mjs';

/// The range of a group's charts: by button, by key, and in the address, from which it is shown again.
async function ranges(page) {
  const range = () => page.evaluate(() => Object.fromEntries(new URLSearchParams(location.hash.split('?')[1])));
  const pressed = () => page.locator('[aria-label=Range] [aria-pressed=true]').allInnerTexts();
  const fixed = async so => {
    await until('the address says another range', async () => so(await range()));
    const { from, to } = await range();
    return [from, to].map(Number);
  };
  for (const [name, shown] of [['24h', '24h'], ['14d', '14d'], ['6h', undefined]]) {
    await page.locator('[aria-label=Range]').getByRole('button', { name, exact: true }).click();
    await until(`${name} is in the address`, async () => (await range()).span === shown);
    assert.deepEqual(await pressed(), [name]);
  }
  await page.goBack();
  await until('the range before is back', async () => (await range()).span === '14d' && (await pressed()).join() === '14d');
  await page.reload();
  await page.locator('.plot svg .line.load').first().waitFor({ state: 'attached' });
  assert.deepEqual(await pressed(), ['14d'], 'a link shows the span');
  await page.locator('[aria-label=Range]').getByRole('button', { name: '6h', exact: true }).click();
  await until('it is the usual again', async () => (await range()).span === undefined);
  // Half of what is seen, back and ahead, by button and by key.
  const near = (a, b) => Math.abs(a - b) <= 2;
  await page.getByRole('button', { name: 'Earlier' }).click();
  const [from, to] = await fixed(({ from }) => from);
  assert.ok(Math.abs(to - from - 43200) < 120, `${to - from} s`);
  await page.getByRole('button', { name: 'Later', exact: true }).click();
  const later = await fixed(now => Number(now.from) > from);
  assert.ok(near(later[0] - from, (to - from) / 2) && near(later[1] - to, (to - from) / 2), `${later} after ${[from, to]}`);
  const plot = page.locator('.plot').first();
  // What is read of the range comes after the address.
  const drawn = async ([from]) => {
    await plot.focus();
    await until('the chart has it too', async () => {
      await page.keyboard.press('Home');
      // Drawn anew between the two, it has no cursor: no wait, but the key once more.
      const told = await page.locator('.legend .at').evaluateAll(([at]) => at?.title);
      return Date.parse(told) / 1000 === from;
    });
    await page.keyboard.press('Escape');
  };
  for (const [key, so, moved] of [
    ['PageUp', (now, [from]) => Number(now.from) < from, ([from, to]) => [from - (to - from) / 2, to - (to - from) / 2]],
    ['PageDown', (now, [from]) => Number(now.from) > from, ([from, to]) => [from + (to - from) / 2, to + (to - from) / 2]],
  ]) {
    const before = await fixed(({ from }) => from);
    await drawn(before);
    await page.keyboard.press(key);
    const after = await fixed(now => so(now, before));
    assert.ok(after.every((at, index) => near(at, moved(before)[index])), `${key}: ${after} after ${before}`);
  }
  for (const [key, times] of [['-', 2], ['+', 0.5], ['=', 0.5]]) {
    const before = await fixed(({ from }) => from);
    await drawn(before);
    await page.keyboard.press(key);
    const after = await fixed(now => Number(now.from) !== before[0]);
    assert.ok(Math.abs((after[1] - after[0]) / (before[1] - before[0]) - times) < 0.01, `${key}: ${after} after ${before}`);
  }
  const shared = await page.evaluate(() => location.hash);
  await page.reload();
  await page.getByRole('button', { name: 'Back to now' }).waitFor();
  assert.equal(await page.evaluate(() => location.hash), shared);
  await plot.focus();
  await page.keyboard.press('0');
  await until('all is shown again', async () => (await range()).from === undefined);
  assert.deepEqual(await pressed(), ['6h']);
}

/// By keyboard alone, with the range in the address.
export async function keys(page) {
  await go(page, '#/', 'table.fleet');
  for (const [key, path, heading] of [['e', 'events', 'Events'], ['i', 'instances', 'Instances'], ['m', 'models', 'Models'], ['c', 'access', 'Access'], ['a', 'audit', 'Audit'], ['f', '', 'Fleet']]) {
    await page.keyboard.press(key);
    await page.waitForFunction(path => location.hash === `#/${path}` && document.querySelector('#nav [aria-current=page]')?.getAttribute('href') === `#/${path}`, path);
    await page.locator('main h1', { hasText: new RegExp(`^${heading}`) }).waitFor();
  }
  await page.keyboard.press('?');
  await page.locator('dialog .keys').waitFor();
  await axe(page, 'the keys');
  await page.keyboard.press('Escape');
  await page.locator('dialog').waitFor({ state: 'detached' });
  await page.keyboard.press('/');
  await page.keyboard.type('we');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => location.hash === '#/groups/web');
  await page.locator('.plot svg .line.load').first().waitFor({ state: 'attached' });
  assert.match(await page.title(), /^web/);
  await page.locator('.plot').first().focus();
  assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), 'none', 'the focus is seen');
  for (let times = 0; times < 5; times++) await page.keyboard.press('ArrowLeft');
  assert.match(await text(page, '.legend'), /demand\s*\d+/);
  assert.equal(await page.locator('.plot .cursor').count(), 3, 'the charts share one cursor');
  await page.keyboard.press('+');
  await page.waitForFunction(() => /from=\d+&to=\d+/.test(location.hash));
  const link = await page.evaluate(() => location.href);
  await page.goBack();
  await page.waitForFunction(() => !/from=/.test(location.hash));
  // A link shows what its sender saw.
  const friend = watch(await browser.newPage());
  await friend.goto(link);
  await friend.getByRole('button', { name: 'Back to now' }).waitFor();
  await friend.close();
  await ranges(page);
  // The plan of a time.
  await page.locator('.plot').first().focus();
  for (let times = 0; times < 5; times++) await page.keyboard.press('ArrowLeft');
  await page.keyboard.press('Enter');
  await page.locator('dialog .plan').waitFor();
  const plan = await text(page, 'dialog .plan');
  for (const [what, words] of [
    ['a step not taken inwards', /Not taken away: 1 possible\s+one more could go by the forecast\s+BaselineInDoubt the idle cpu baseline is taken as zero: too few shadows/],
    ['a step not taken outwards', /Not launched: 2 wanted\s+two more are wanted than a launch may bring at once\s+LaunchCapped allowed 0, wanted 2/],
  ]) assert.match(plan, words, `${what}: ${plan}`);
  await page.keyboard.press('Escape');
  // By pointer: drag to zoom, double click for all.
  const box = await page.locator('.plot').first().boundingBox();
  await page.mouse.move(box.x + 300, box.y + 100);
  await page.mouse.down();
  await page.mouse.move(box.x + 600, box.y + 110, { steps: 4 });
  await page.mouse.up();
  await page.waitForFunction(() => /from=\d+&to=\d+/.test(location.hash));
  await page.mouse.dblclick(box.x + 500, box.y + 100);
  await page.waitForFunction(() => !/from=/.test(location.hash));
  // The theme by choice beats the system's.
  await page.keyboard.press('Escape');
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press('t');
  await page.keyboard.press('t');
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark');
  await page.reload();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark', 'it is kept');
  await page.keyboard.press('t');
}

/// A plan with steps: each with its own reason, what the checker says of it, and why shadows are left.
export async function refused(page) {
  const at = given.refused_at;
  await go(page, `#/groups/web?from=${at - 3600}&to=${at + 60}`, '.plot svg .line.load');
  await page.getByRole('button', { name: 'Back to now' }).waitFor();
  await page.locator('.plot').first().focus();
  await page.keyboard.press('End');
  await page.keyboard.press('Enter');
  await page.locator('dialog .plan').waitFor();
  const steps = await page.locator('dialog .plan .step').evaluateAll(steps => steps.map(step => step.innerText.replace(/\s+/g, ' ')));
  assert.deepEqual(steps, [
    'does re-attach 1 m-12 cpu needs 12 now; what stands in shadow comes back first The checker would let it.',
    'would detach into shadow 2 m-0, m-1 12 serve; 10 are needed over the next hour at 95 % checker refuses the detaches of fifteen minutes are spent checker refuses m-1 is protected from scale-in',
    'Left in shadow: 1 there m-13 is foreign: nobody adopted it',
  ]);
  await axe(page, 'a plan that the checker refuses');
  await page.keyboard.press('Escape');
  await page.locator('dialog').waitFor({ state: 'detached' });
}

/// Times are the viewer's and UTC is in the hover: of marks, of windows, of shadows, and of the plan that a time is asked for. What is longer
/// than a day says the day as well.
export async function times(page, pages) {
  const at = given.refused_at;
  const berlin = options => seconds => new Intl.DateTimeFormat('en-GB', { hourCycle: 'h23', timeZone: 'Europe/Berlin', hour: '2-digit', minute: '2-digit', ...options }).format(1000 * seconds);
  const utc = seconds => new Date(1000 * seconds).toISOString().replace('.000Z', 'Z');
  const events = await api(`/events?group=web&from=${at - 7200}&to=${at + 3600}`);
  for (const [span, shown] of [['3h', berlin({})], ['7d', berlin({ weekday: 'short', day: 'numeric', month: 'short' })]]) {
    // By both ways: a range of its own, and one that was chosen.
    for (const query of span === '3h' ? ['span=6h', `from=${at - 10800}&to=${at + 60}`] : ['span=7d']) {
      await go(page, `#/groups/web?${query}`, '.plot svg .line.load');
      await page.locator('[aria-labelledby=capacity] .mark').first().waitFor({ state: 'attached' });
      await page.waitForFunction(query => location.hash.endsWith(query), query);
      const titles = what => page.locator(`${what} > title`).evaluateAll(titles => titles.map(title => title.textContent));
      let marks, written;
      await until(`marks of ${query} are the viewer's`, async () => {
        written = (await api('/intents?group=web&limit=200')).map(intent => ({ first: shown(intent.written_at), last: `${utc(intent.written_at)} (UTC)` }));
        marks = await titles('[aria-labelledby=capacity] .plot .mark');
        return marks.length > 0 && marks.every(title => written.some(({ first, last }) => title.startsWith(`${first} `) && title.endsWith(`\n${last}`)));
      }).catch(error => { throw new Error(`${error.message}: ${JSON.stringify({ marks, written })}`); });
      const windows = await titles('[aria-labelledby=demand] .plot .window');
      const [one] = events.filter(event => event.name === 'Evening show').flatMap(event => event.occurrences);
      const [rises, ends] = [one.rises, one.ends].map(time => Date.parse(time) / 1000);
      const wanted = `${shown(rises)} to ${shown(ends)}\n${utc(rises)} to ${utc(ends)} (UTC)`;
      assert.ok(windows.some(title => title.endsWith(wanted)), `${query}: ${JSON.stringify({ windows, wanted })}`);
      const sessions = await api('/shadow/sessions?group=web'), spans = await titles('[aria-labelledby=shadows] .plot .span');
      assert.ok(spans.length > 0 && spans.every(title => sessions.some(({ started }) => title.includes(`since ${shown(started)} (${utc(started)} UTC)`))), `${query}: ${spans}`);
      await page.locator('.plot').first().focus();
      await page.keyboard.press('Home');
      await page.keyboard.press('ArrowRight');
      const cursor = page.locator('[aria-labelledby=demand] .legend .at');
      const pointed = Date.parse(await cursor.getAttribute('title')) / 1000;
      assert.equal(await cursor.innerText(), berlin({ weekday: 'short', day: 'numeric', month: 'short', second: '2-digit' })(pointed));
      await page.keyboard.press('Enter');
      const asked = page.locator('dialog h2 time');
      assert.equal(await asked.getAttribute('datetime'), utc(pointed));
      assert.equal(await asked.getAttribute('title'), `${utc(pointed)} (UTC)`);
      assert.equal(await page.locator('dialog h2').innerText(), `The plan of ${shown(pointed)}`);
      await page.keyboard.press('Escape');
      await page.locator('dialog').waitFor({ state: 'detached' });
    }
  }
  // By the mouse as well: what lies below it is what was pointed at, and the legend says UTC.
  await go(page, `#/groups/web?from=${at - 10800}&to=${at + 60}`, '.plot svg .line.load');
  for (const what of ['[aria-labelledby=shadows] .plot .span', '[aria-labelledby=demand] .plot .window']) {
    await page.locator(what).first().waitFor({ state: 'attached' });
    let seen;
    // Each round draws it anew: where it stands is asked in one go, and pointed at again where it went meanwhile.
    await until(`${what} is pointed at`, async () => {
      const place = await page.evaluate(what => {
        const node = document.querySelector(what);
        if (!node) return null;
        node.scrollIntoView({ block: 'center' });
        const box = node.getBoundingClientRect(), frame = node.closest('.plot').getBoundingClientRect();
        return [(Math.max(box.left, frame.left + 50) + Math.min(box.right, frame.right - 4)) / 2, (box.top + box.bottom) / 2];
      }, what);
      if (!place) return false;
      const [x, y] = place;
      await page.mouse.move(x - 3, y);
      await page.mouse.move(x, y, { steps: 3 });
      seen = await page.evaluate(([x, y]) => {
        let title = null;
        for (let node = document.elementFromPoint(x, y); node && !title; node = node.parentElement) title = node.querySelector(':scope > title')?.textContent;
        return { title, utc: document.querySelector('[aria-labelledby=demand] .legend .utc')?.textContent };
      }, [x, y]);
      return /UTC/.test(seen.title) && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \(UTC\)$/.test(seen.utc);
    }).catch(error => { throw new Error(`${error.message}: ${JSON.stringify(seen)}`); });
  }
  await page.mouse.move(2, 2);
  // Every time that stands in a page has its UTC.
  for (const [, hash, ready] of pages) {
    await go(page, hash, ready);
    const without = await page.locator('main time').evaluateAll(times => times.filter(time => time.title !== `${time.dateTime} (UTC)` || !time.dateTime.endsWith('Z')).map(time => time.outerHTML));
    assert.deepEqual(without, [], hash);
    // None stands as a program writes it.
    const raw = await page.locator('main').evaluate(main => {
      const copy = main.cloneNode(true);
      copy.querySelectorAll('time, title').forEach(time => time.remove());
      return copy.textContent.match(/.{0,20}\d{4}-\d\d-\d\dT\d\d.{0,20}/g);
    });
    assert.equal(raw, null, hash);
  }
}

/// What is shown of a group is what the API says.
export async function truth(page) {
  await go(page, '#/groups/web', '.plot svg .line.load');
  const group = await api('/groups/web');
  const shown = await text(page, 'main');
  for (const [what, words] of [
    ['the interval that was measured', /darker interval, 10 to 90 %, promises 80 %\. It held/], ['lead times with their evidence', /Launch to serving: 4 min, nine in ten of 6 measured/],
    ['the price of shadows', /0\.107/], ['why it was terminated', /forecast, present and the shadow agree/], ['what the cloud refused', /no capacity in us-east-1a/],
    ['the foreign shadows', /m-12/], ['the way back with its evidence', /Re-attach to serving: /],
  ]) assert.match(shown, words, what);
  await baseline(page);
  // How often the shown interval held, by band.
  let band, words;
  await until('the coverage is what the API says', async () => {
    const { coverage } = (await api('/groups/web/models')).cpu.standing;
    const held = (band, { measured, observations }) => `${{ '1h': 'up to 1 h ahead', '6h': '1 to 6 h ahead', '24h': 'beyond 6 h' }[band]}: ${measured === null ? 'not measured yet' : `${Math.round(100 * measured)} % of ${observations.toLocaleString('en-GB')}`}`;
    words = (await page.locator('.held').allInnerTexts()).map(line => line.replace(/\s+/g, ' '));
    band = [coverage.map(one => held(one.band, one)), coverage.map(one => held(one.band, one.wide))];
    // Of the wider one by the numbers of its own, which are not those of the other.
    return words.length === 2 && /5 to 95 %, promises 90 %/.test(words[1]) && coverage.every(one => one.wide.measured > one.measured)
      && band.every((bands, index) => bands.length === 3 && bands.every(one => words[index].includes(one)));
  }).catch(error => { throw new Error(`${error.message}: ${JSON.stringify({ words, band })}`); });
  for (const [what, drawn] of [
    ['the forecast fan', '.plot .fan'], ['the median of the forecast', '[aria-labelledby=demand] .plot .line.ahead'],
    ['what serves', '[aria-labelledby=capacity] .plot .line.serve'], ['what the plans needed', '[aria-labelledby=capacity] .plot .line.load'],
    ['what was planned', '[aria-labelledby=capacity] .plot .line.ahead:not(.dashed)'], ['what the forecast will need', '[aria-labelledby=capacity] .plot .line.ahead.dashed'],
    ['an event', '.plot .window'],
    ['what was done', '.plot .mark'], ['a shadow', '.plot .span'], ['its lease', '.plot .span.lease'], ['UTC where a time is pointed at', 'main time[title*="UTC"]'],
  ]) assert.ok(await page.locator(drawn).count() > 0, `not drawn: ${what}`);
  // Planned beside actual: both lines are drawn across the past, and are told with their names.
  for (const kind of ['.serve', '.ahead:not(.dashed)']) {
    const [left, right] = await page.locator(`[aria-labelledby=capacity] .plot .line${kind}`).evaluate(line => { const box = line.getBBox(); return [box.x, box.x + box.width]; });
    assert.ok(right - left > 300, `capacity ${kind} is ${right - left} px long`);
  }
  assert.match(await text(page, '[aria-labelledby=capacity] .legend'), /serving[^]*need now[^]*planned: need ahead[^]*forecast need/);
  for (const hold of group.plan.holds_in_words.slice(0, 3)) {
    assert.ok((await page.locator('main').evaluate(node => node.textContent)).includes(hold), `the hold: ${hold}`);
  }
  await go(page, '#/', 'table.fleet');
  // The row of a group: need ahead, what holds, what its shadows cost. The stream brings both to the same state.
  const row = name => page.locator('table.fleet tbody tr', { hasText: new RegExp(`^${name}`) });
  const held = holds => page.evaluate(async holds => {
    const { hold } = await import('/web/words.js');
    return holds.map(hold).join(', ');
  }, holds);
  const modes = line => [line.mode, line.paused && 'paused'].filter(Boolean).join('');
  for (const [name, shadows] of [['web', '1 ours, 1 foreign · 0.214/h'], ['search', '–']]) {
    let says, shown;
    await until(`the row of ${name} says what the API says`, async () => {
      const line = (await api('/overview')).groups.find(one => one.name === name);
      says = [modes(line), String(line.need_now), String(line.need_ahead), await held(line.holds) || 'none', shadows];
      shown = await Promise.all([2, 4, 5, 10, 11].map(index => row(name).locator('th, td').nth(index).innerText()));
      return shown.every((cell, index) => cell === says[index]);
    }).catch(error => { throw new Error(`${error.message}: ${JSON.stringify({ says, shown })}`); });
    assert.match(says[0], name === 'web' ? /^scale-out$/ : /^observe$/);
    assert.match(says[1], /^\d+$/, `${name} needs a number now`);
    if (name === 'search') assert.match(shown[3], /agents are not authenticated/);
  }
  await page.getByRole('link', { name: 'batch/night:eu@2' }).click();
  await page.waitForFunction(() => document.querySelector('main h1')?.textContent === 'batch/night:eu@2');
  await go(page, '#/groups/nobody', 'main .said.bad');
  assert.match(await text(page, 'main'), /"nobody" is not known/);
}

/// The idle baseline that is in use, with all it rests on: shadows and those that serve agree, and from nothing it rises by a point
/// an hour.
async function baseline(page) {
  let found;
  await until('the idle baseline is in use', async () => {
    found = (await api('/groups/web/models')).cpu;
    return found.baseline.points >= 0.01 && !found.doubt;
  });
  await page.reload();
  await page.locator('[aria-labelledby=evidence] h3').first().waitFor();
  const shown = await text(page, '[aria-labelledby=evidence]');
  const number = pattern => Number(pattern.exec(shown)?.[1]);
  const inUse = number(/In use: ([\d.]+) points\n/);
  assert.ok(inUse > 0 && inUse < 1 && Math.abs(inUse - found.baseline.points) < 0.02, `in use: ${inUse} of ${found.baseline.points}: ${shown}`);
  assert.ok(Math.abs(number(/From shadows: ([\d.]+) points, the median of 2/) - 2) < 0.6, shown);
  assert.ok(Math.abs(number(/From the regression of load over traffic: ([\d.]+) points, through \d+ minutes of those that serve/) - 2) < 0.2, shown);
  assert.ok(number(/regression of load over traffic: [\d.]+ points, through (\d+) minutes/) >= 30, shown);
  const [, points, spread, readings, line] = /m5\.large: ([\d.]+) points, ([\d.]+) apart at most, 2 shadows, (\d+) readings of ten seconds; by those that serve ([\d.]+) points, through \d+ minutes/.exec(shown).map(Number);
  assert.ok(Math.abs(points - line) < 1 && spread < 1 && readings >= 60, shown);
}

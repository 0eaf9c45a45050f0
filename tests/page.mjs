// The web page in Chromium. Started by tests/processes/page, which gives it on standard input as JSON: what to look at, the
// aggregator's address, where the modules are, where screenshots go, and tokens by role where there are any.
//
// Anything that is not as it should be throws; an error in the browser's console is not as it should be.

import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';

import { keys, refused, times, truth } from './page/group.mjs';
import { moves, noTimerAsks, ownMetric, seesTimers } from './page/live.mjs';
import { weight } from './page/weight.mjs';
import { FAILED, api, axe, browser, faults, given, go, narrowEnough, profile, sound, text, until, url, watch } from './page/world.mjs';

const PAGES = [
  ['fleet', '#/', 'table.fleet tbody tr >> nth=2'],
  ['group', '#/groups/web', '.plot svg .line.load'],
  // What is read of the range comes after its address: two midnights are on no other.
  ['group-week', '#/groups/web?span=7d', '[aria-labelledby=demand] .axes text.day >> nth=1'],
  ['group-metric', '#/groups/search?metric=requests', '.plot svg .line.load'],
  ['events', '#/events', '.calendar .entry'],
  ['instances', '#/instances?group=web', '.spark .line'],
  ['models', '#/models', 'main tbody tr'],
  ['models-web', '#/models/web', '.plot svg .line.load'],
  ['access', '#/access', 'main tbody tr'],
  ['audit', '#/audit', 'main h1'],
];

/// Until every row's load is drawn: pasts are asked for a few at a time.
const sparks = page => page.waitForFunction(() => {
  const rows = [...document.querySelectorAll('table.instances tbody tr')];
  return rows.length > 0 && rows.every(row => row.querySelector('.spark .line')?.getAttribute('d') && row.cells[4].innerText.includes('%'));
});

/// The charts of coverage and loss over time: a line for each band, from one side to the other, and what a cursor on them tells is
/// what was seeded.
async function held(page, width) {
  // The champion is who has the greatest share of the nearest band.
  const { members } = (await api('/groups/web/models')).cpu.standing;
  const [champion] = members.filter(({ weights }) => weights[0] > 0).toSorted((a, b) => b.weights[0] - a.weights[0]);
  const named = page.locator('main tr', { has: page.locator('.badge', { hasText: /^champion$/ }) });
  assert.ok(champion && await named.count() === 1, `one champion, ${champion?.model}`);
  assert.equal(await named.locator('code').innerText(), champion.model);
  const figures = (value, digits) => value.toLocaleString('en-GB', { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const bands = [['1h', 'up to 1 h ahead'], ['6h', '1 to 6 h ahead'], ['24h', 'beyond 6 h']];
  for (const [label, of, per, says] of [
    ['Coverage of CPU over time', 'inside', 'outcomes', share => `${figures(100 * share, 0)} %`], ['Loss of CPU over time', 'loss', 'day_before', share => figures(share, 2)],
  ]) {
    const plot = page.locator(`.plot[aria-label^="${label}"]`), legend = page.locator('figure.chart', { has: plot }).locator('.legend .item');
    const lines = await plot.locator('svg .line').evaluateAll(lines => lines.map(line => { const box = line.getBBox(); return { kind: line.getAttribute('class'), wide: box.width, high: box.height }; }));
    assert.deepEqual(lines.map(line => line.kind), ['line load', 'line ahead', 'line shadow'], label);
    for (const { kind, wide, high } of lines) assert.ok(wide > 0.6 * width && high > 10, `${label}, ${kind}: ${wide} by ${high} px`);
    await plot.focus();
    // At the oldest hour, and then a twelfth of the time further each: also within the day on which little held.
    await page.keyboard.press('Home');
    const told = [];
    for (let times = 0; times < 11; times++) {
      const at = Date.parse(await legend.first().getAttribute('title')) / 1000;
      const shown = await legend.allInnerTexts();
      for (const [index, [band, name]] of bands.entries()) {
        const mine = given.forecast_hours.filter(hour => hour.band === band && hour.hour + 1800 <= at);
        const day = mine.filter(hour => hour.hour > mine.at(-1).hour - 86400);
        const sum = what => day.reduce((sum, hour) => sum + hour[what], 0);
        assert.equal(shown[index + 1].replace(/\s+/g, ' '), `${name} ${says(sum(of) / sum(per))}`, `${label} at ${new Date(1000 * at).toISOString()}`);
      }
      told.push(shown[1]);
      await page.keyboard.press('Shift+ArrowRight');
    }
    assert.ok(new Set(told).size > 3, `${label}: all the same, ${told}`);
    await page.keyboard.press('Escape');
  }
  const folded = page.locator('.members + details');
  assert.equal(await folded.count(), width > 720 ? 0 : 1, 'models without a share are folded away where it is narrow');
  if (width <= 720) {
    const tall = await page.evaluate(() => document.documentElement.scrollHeight);
    assert.ok(tall < 2500, `the page of models is ${tall} px long`);
    await folded.locator('summary').click();
    await folded.locator('.badge', { hasText: 'challenger' }).first().waitFor();
    await folded.locator('summary').click();
  }
  await page.evaluate(() => {
    document.activeElement.blur();
    scrollTo(0, 0);
  });
}

/// Every page, both themes, narrow and wide.
async function everyPage(page) {
  for (const width of [1440, 360]) {
    for (const theme of ['light', 'dark']) {
      await page.setViewportSize({ width, height: width > 500 ? 900 : 780 });
      await page.emulateMedia({ colorScheme: theme });
      for (const [name, hash, ready] of PAGES) {
        await go(page, hash, ready);
        const where = `${name}, ${theme}, ${width} px`;
        await narrowEnough(page, where);
        await page.waitForFunction(() => !document.querySelector('.toast'));
        if (name === 'instances') await sparks(page);
        if (name === 'models-web') await held(page, width);
        if (name === 'group') for (const fan of ['wide', 'narrow']) assert.ok(await page.locator(`.plot .fan.${fan}`).isVisible(), `the ${fan} interval is not seen: ${where}`);
        // Nothing is shown as pointed at.
        await page.mouse.move(width - 2, 778);
        await page.evaluate(() => scrollTo(0, 0));
        await page.screenshot({ path: join(given.screenshots, `${name}-${theme}-${width}.png`), fullPage: true });
        await axe(page, where);
        // The red button stays within reach, however far down one is.
        await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
        const [button, screen] = [await page.locator('#tools .stop').boundingBox(), page.viewportSize()];
        assert.ok(button && button.x >= 0 && button.x + button.width <= screen.width && button.y >= 0 && button.y + button.height <= screen.height, `the red button is away, ${where}: ${JSON.stringify(button)}`);
      }
    }
  }
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.emulateMedia({ colorScheme: 'light' });
}

/// The red button, by clicking, and that another window sees it by itself.
async function pauses(page, other) {
  await go(page, '#/', 'table.fleet');
  await page.keyboard.press('p');
  await page.locator('dialog textarea').fill('a look at the red button');
  await page.screenshot({ path: join(given.screenshots, 'pause.png') });
  await axe(page, 'the pause dialog');
  await page.getByRole('button', { name: 'Pause now' }).click();
  await page.locator('#banner .paused').waitFor();
  assert.match(await text(page, '#banner .paused'), /Everything is paused.*a look at the red button/);
  await other.locator('#banner .paused').waitFor();
  assert.equal((await api('/overview')).everywhere.paused, true);
  await axe(page, 'a paused fleet');
  await page.locator('#tools').getByRole('button', { name: 'Resume' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Resume' }).click();
  assert.ok(await page.locator('dialog textarea:invalid').count(), 'a reason is needed');
  await page.locator('dialog textarea').fill('it works');
  await page.getByRole('dialog').getByRole('button', { name: 'Resume' }).click();
  await page.locator('#banner .paused').waitFor({ state: 'detached' });
  await other.locator('#banner .paused').waitFor({ state: 'detached' });
  // A group by itself.
  await go(page, '#/groups/web', '.plot svg .line.load');
  await page.getByRole('button', { name: 'Pause group' }).click();
  await page.locator('dialog textarea').fill('this one alone');
  await page.getByRole('button', { name: 'Pause now' }).click();
  await page.getByRole('button', { name: 'Resume group' }).click();
  await page.locator('dialog textarea').fill('enough');
  await page.getByRole('dialog').getByRole('button', { name: 'Resume' }).click();
  await page.getByRole('button', { name: 'Pause group' }).waitFor();
  assert.equal((await api('/groups/web')).standing.paused, false);
}

/// Loosening shows the last week and wants a reason.
async function mode(page) {
  await go(page, '#/groups/web', '.plot svg .line.load');
  await page.getByRole('button', { name: 'Mode…' }).click();
  await page.getByRole('radio', { name: /scale-out/ }).check();
  await page.locator('.plans .chart svg .line').first().waitFor({ state: 'attached' });
  assert.match(await text(page, '.plans'), /What scale-out would have allowed, by [\d,]+ plans of the last 7 d/);
  assert.match(await text(page, '.plans'), /launch: \d+ times/);
  assert.doesNotMatch(await text(page, '.plans'), /detach into shadow:/, 'scale-out takes nothing away');
  await page.locator('.again progress').waitFor();
  await page.locator('dialog textarea').fill('without looking');
  await page.getByRole('button', { name: 'Set mode' }).click();
  await page.getByText('see what would have followed first').waitFor();
  assert.equal((await api('/groups/web')).standing.mode, 'observe');
  await page.locator('dialog textarea').fill('');
  await page.getByRole('radio', { name: /^full/ }).check();
  await page.waitForFunction(() => /What full would have allowed/.test(document.querySelector('.plans').innerText));
  assert.match(await text(page, '.plans'), /detach into shadow: \d+ times/);
  // The other one's is lived to its end first.
  await page.locator('.again .chart svg .line').first().waitFor({ state: 'attached', timeout: 180000 });
  assert.match(await text(page, '.again'), /The last 7 d in full, lived again/);
  assert.match(await text(page, '.again'), /Instance-hours\s+[\d,]+\s*[\d,]+ as it was/i);
  await page.screenshot({ path: join(given.screenshots, 'mode.png') });
  await axe(page, 'the mode dialog');
  await page.getByRole('radio', { name: /scale-out/ }).check();
  await page.locator('.again .chart svg .line').first().waitFor({ state: 'attached', timeout: 180000 });
  await page.getByRole('button', { name: 'Set mode' }).click();
  assert.ok(await page.locator('dialog textarea:invalid').count(), 'a reason is needed');
  await page.locator('dialog textarea').fill('a week of plans looks right');
  await page.getByRole('button', { name: 'Set mode' }).click();
  await page.locator('.title .badge.scale-out').waitFor();
}

/// An event is entered, seen, edited and taken back; names are text.
async function events(page) {
  await go(page, '#/events', '.calendar .entry');
  assert.equal(await page.locator('main i').count(), 0, 'a name became markup');
  assert.match(await text(page, 'main'), /Release <i>day<\/i>/);
  await page.getByRole('button', { name: 'New event' }).click();
  await page.locator('dialog [name=name]').fill('Black <b>Friday</b>');
  await page.locator('dialog [name=group]').selectOption('web');
  await page.locator('dialog [name=intensity]').fill('0.5');
  await page.locator('dialog textarea').fill('the yearly sale');
  await axe(page, 'the event dialog');
  await page.locator('dialog [name=intensity]').fill('3');
  await page.locator('dialog [name=repeat]').selectOption('weekly');
  await page.screenshot({ path: join(given.screenshots, 'event.png') });
  await page.getByRole('button', { name: 'Enter' }).click();
  const row = page.locator('main tbody tr', { hasText: 'Black <b>Friday</b>' });
  await row.waitFor();
  assert.match(await row.innerText(), /weekly, by the clocks of Europe\/Berlin/);
  assert.ok(await page.locator('.calendar .entry', { hasText: 'Black' }).count() > 3, 'it is on the calendar each week');
  await row.getByRole('button', { name: 'Edit' }).click();
  await page.locator('dialog [name=intensity]').fill('2.5');
  await page.locator('dialog textarea').fill('less than thought');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.waitForFunction(() => [...document.querySelectorAll('main tbody tr')].some(row => /Black/.test(row.innerText) && /2\.5/.test(row.innerText)));
  assert.equal(await row.count(), 1, 'the old one is taken back');
  await row.getByRole('button', { name: 'Take back' }).click();
  await page.locator('dialog textarea').fill('postponed');
  await page.getByRole('dialog').getByRole('button', { name: 'Take back' }).click();
  await row.waitFor({ state: 'detached' });
  // A calendar file: what is in it is shown first, and what is chosen is entered.
  const day = new Date(Date.now() + 3 * 86400000).toISOString().slice(0, 10).replaceAll('-', '');
  const entry = (name, hour) => `BEGIN:VEVENT\r\nUID:${hour}@shop\r\nDTSTAMP:${day}T000000Z\r\nDTSTART:${day}T${hour}0000Z\r\nDURATION:PT1H\r\nSUMMARY:${name}\r\nEND:VEVENT\r\n`;
  const file = `BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//shop//EN\r\n${entry('Broadcast', '18')}${entry('Rehearsal', '10')}END:VCALENDAR\r\n`;
  await page.getByRole('button', { name: 'From a calendar' }).click();
  await page.locator('dialog [name=file]').setInputFiles({ name: 'shop.ics', mimeType: 'text/calendar', buffer: Buffer.from(file) });
  await page.locator('dialog .found li').nth(1).waitFor();
  await page.locator('dialog .found li', { hasText: 'Rehearsal' }).getByRole('checkbox').uncheck();
  await page.locator('dialog textarea').fill('the programme');
  await axe(page, 'the calendar dialog');
  await page.getByRole('button', { name: 'Enter those' }).click();
  await page.locator('main tbody tr', { hasText: 'Broadcast' }).waitFor();
  assert.equal(await page.locator('main tbody tr', { hasText: 'Rehearsal' }).count(), 0, 'only what is chosen');
}

/// Makes an event and a token in one window: another that shows the lists sees them come and go by itself.
async function lists(page, other) {
  const reason = async (window, text) => window.locator('dialog textarea:not([readonly])').fill(text);
  let loads = 0;
  other.on('load', () => { loads++; });
  await go(other, '#/events', '.calendar .entry');
  await go(page, '#/events', '.calendar .entry');
  await page.getByRole('button', { name: 'New event' }).click();
  await page.locator('dialog [name=name]').fill('Seen elsewhere');
  await reason(page, 'two windows');
  await page.getByRole('button', { name: 'Enter' }).click();
  const event = window => window.locator('main tbody tr', { hasText: 'Seen elsewhere' });
  await event(other).waitFor();
  await event(page).getByRole('button', { name: 'Take back' }).click();
  await reason(page, 'seen');
  await page.getByRole('dialog').getByRole('button', { name: 'Take back' }).click();
  await event(other).waitFor({ state: 'detached' });
  await go(other, '#/access', 'main h1');
  await go(page, '#/access', 'main h1');
  await page.getByRole('button', { name: 'New token' }).click();
  await page.locator('dialog [name=name]').fill('passing');
  await page.getByRole('button', { name: 'Make it' }).click();
  await page.getByRole('button', { name: 'Close' }).click();
  const token = window => window.locator('main tbody tr', { hasText: 'passing' });
  await token(other).getByRole('button', { name: 'Revoke' }).waitFor();
  await go(other, '#/audit', 'main tbody tr');
  await token(page).getByRole('button', { name: 'Revoke' }).click();
  await reason(page, 'it has passed');
  await page.getByRole('button', { name: 'Revoke now' }).click();
  await other.locator('main tbody tr', { hasText: 'it has passed' }).waitFor();
  await go(other, '#/access', 'main tbody tr');
  await token(other).locator('.badge.bad', { hasText: 'revoked' }).waitFor();
  assert.equal(await token(other).getByRole('button', { name: 'Revoke' }).count(), 0);
  assert.equal(loads, 0, 'without reload');
}

/// Whose agent is older, whose spool lags, and that load moves.
async function instances(page) {
  const { old, version, behind } = given.agents;
  await go(page, '#/instances?group=web', '.spark .line');
  await sparks(page);
  const row = name => page.locator('table.instances tbody tr', { has: page.locator('th', { hasText: new RegExp(`^${name}\\D`) }) });
  const own = (await api('/whoami')).version;
  const badge = row(old).locator('td').last().locator('.badge');
  assert.equal(await badge.innerText(), 'older than the aggregator');
  assert.equal(await badge.getAttribute('title'), `agent ${version}, aggregator ${own}`);
  assert.equal(await page.locator('table.instances .badge', { hasText: 'than the aggregator' }).count(), 1, 'of the same version nothing is said');
  assert.match(await text(page, '.figures'), new RegExp(`${version}: 1, older than the aggregator; ${own}: 13`));
  assert.match(await row(old).locator('td').last().innerText(), /connected, first kept after 2\.0 s$/);
  assert.match(await row('m-0').locator('td').last().innerText(), /connected$/, 'who does not tell is not shown as the quickest');
  assert.match(await row(behind).locator('td').nth(7).innerText(), /^\d+ samples$/);
  assert.equal(await row(old).locator('td').nth(7).innerText(), '0');
  // What waits and what was dropped rides on the stream: the list is asked for by nobody.
  const asked = [];
  page.on('request', request => { if (new URL(request.url()).pathname === '/instances') asked.push(request.url()); });
  await new Promise(later => setTimeout(later, 6000));
  assert.deepEqual(asked, [], 'the list of instances is polled');
  // What moves: the figure, and its line.
  const cpu = row('m-0').locator('td').nth(3), line = row('m-0').locator('.spark .line');
  const [figure, drawn] = [await cpu.innerText(), await line.getAttribute('d')];
  await until('another load is told', async () => await cpu.innerText() !== figure);
  await until('another line is drawn', async () => await line.getAttribute('d') !== drawn);
  // The order of versions: 10 after 9, what comes before a release before it, what is none nowhere.
  const order = await page.evaluate(async () => {
    const { compareVersions } = await import('/web/words.js');
    return [['0.9.0', '0.10.0'], ['1.0.0', '1.0.0-rc.1'], ['1.0.0-rc.2', '1.0.0-rc.10'], ['v1.2', '1.2.0+build'], ['main', '1.0.0']].map(([a, b]) => Math.sign(compareVersions(a, b)) || compareVersions(a, b));
  });
  assert.deepEqual(order, [-1, 1, -1, 0, null]);
}

/// A foreign shadow is adopted.
async function adopts(page) {
  await go(page, '#/groups/web', '[aria-labelledby=shadows] tbody tr');
  const row = page.locator('[aria-labelledby=shadows] tbody tr', { hasText: 'm-12' });
  assert.equal(await row.getByRole('button', { name: 'Extend' }).count(), 0, 'the lease of a foreign one is nobody’s to extend');
  await row.getByRole('button', { name: 'Adopt' }).click();
  await page.locator('dialog textarea').fill('nobody else wants it');
  await page.getByRole('dialog').getByRole('button', { name: 'Adopt' }).click();
  await row.locator('.badge.ours').waitFor();
  await row.getByRole('button', { name: 'Extend' }).waitFor();
  assert.equal((await api('/shadow/sessions?group=web')).find(one => one.instance === 'm-12' && one.ended === null).origin, 'ours');
  await logged(page, [['adopted', 'm-12', 'nobody else wants it']]);
}

/// That the audit page tells of each: did, what, why, in one line.
async function logged(page, wanted, who = '') {
  await go(page, '#/audit', 'main tbody tr');
  for (const [did, what, why] of wanted) {
    const row = page.locator('main tbody tr', { hasText: why }).filter({ hasText: did }).filter({ hasText: what }).filter({ hasText: who });
    await row.first().waitFor();
    assert.match(await row.first().locator('time').first().getAttribute('title'), /UTC/);
  }
}

/// A token is made, shown once, and revoked.
async function access(page) {
  await go(page, '#/access', 'main h1');
  await page.getByRole('button', { name: 'New token' }).click();
  await page.locator('dialog [name=name]').fill('grafana');
  await page.getByRole('button', { name: 'Make it' }).click();
  const token = await page.locator('dialog textarea[readonly]').inputValue();
  assert.match(token, /^fs_/);
  await axe(page, 'a token that was made');
  await page.getByRole('button', { name: 'Close' }).click();
  const row = page.locator('main tbody tr', { hasText: 'grafana' });
  await row.getByRole('button', { name: 'Revoke' }).click();
  await page.locator('dialog textarea').fill('a look at it');
  await page.getByRole('button', { name: 'Revoke now' }).click();
  await row.locator('.badge.bad', { hasText: 'revoked' }).waitFor();
  await page.locator('.toast', { hasText: 'Revoke grafana: done.' }).waitFor();
  const kept = (await api('/tokens')).find(one => one.name === 'grafana');
  assert.ok(kept.revoked_micros > 0 && !JSON.stringify(kept).includes(token));
}

/// Every dialog, narrow and wide, in both themes: how each is opened, and from where.
async function dialogs(page) {
  const press = name => page.getByRole('button', { name, exact: true }).first().click();
  const shadow = (instance, name) => page.locator('[aria-labelledby=shadows] tbody tr', { hasText: instance }).getByRole('button', { name }).click();
  const row = (words, name) => page.locator('main tbody tr', { hasText: words }).first().getByRole('button', { name, exact: true }).click();
  const post = (path, body) => api(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  await post('/groups/search/pause', { reason: 'for its dialog' });
  await post('/tokens', { name: 'for its dialog', role: 'viewer' });
  const web = ['#/groups/web', '[aria-labelledby=shadows] tbody tr'];
  const all = [
    ['keys', '#/', 'table.fleet', () => page.keyboard.press('?')],
    ['go', '#/', 'table.fleet', () => page.keyboard.press('/')],
    ['pause', '#/', 'table.fleet', () => page.keyboard.press('p')],
    ['pause-group', ...web, () => press('Pause group')],
    ['resume', '#/groups/search', '.title .badge.bad', () => press('Resume group')],
    ['mode', ...web, () => press('Mode…')],
    ['plan', ...web, async () => { await page.locator('.plot').first().focus(); await page.keyboard.press('Enter'); }, 'dialog .plan'],
    ['adopt', ...web, () => shadow('m-13', 'Adopt')],
    ['release', ...web, () => shadow('m-13', 'Release')],
    ['extend', ...web, () => shadow('m-12', 'Extend')],
    ['event', '#/events', '.calendar .entry', () => press('New event')],
    ['event-edit', '#/events', '.calendar .entry', () => row('Evening show', 'Edit')],
    ['event-back', '#/events', '.calendar .entry', () => row('Evening show', 'Take back')],
    ['calendar', '#/events', '.calendar .entry', () => press('From a calendar…')],
    ['token', '#/access', 'main tbody tr', () => press('New token')],
    ['token-made', '#/access', 'main tbody tr', async () => { await press('New token'); await page.locator('dialog [name=name]').fill('shown once'); await press('Make it'); }, 'dialog textarea[readonly]'],
    ['token-join', '#/access', 'main tbody tr', () => press('New join token')],
    ['token-revoke', '#/access', 'main tbody tr', () => row('for its dialog', 'Revoke')],
    ['certificate-revoke', '#/access', '[aria-labelledby=certificates] tbody tr', () => row('m-40', 'Revoke')],
    ['certificate-release', '#/access', '[aria-labelledby=certificates] tbody tr', () => row('m-42', 'Release')],
    ['resume-all', '#/', 'table.fleet', async () => { await post('/pause', { reason: 'for its dialog' }); await page.locator('#tools').getByRole('button', { name: 'Resume' }).click(); },
      'dialog[open] h2', () => post('/resume', { reason: 'it was shown' })],
  ];
  for (const width of [1440, 360]) {
    for (const theme of ['light', 'dark']) {
      await page.setViewportSize({ width, height: width > 500 ? 900 : 780 });
      await page.emulateMedia({ colorScheme: theme });
      for (const [name, hash, ready, open, shown = 'dialog[open] h2', undo = () => {}] of all) {
        await go(page, hash, ready);
        await open();
        await page.waitForSelector(shown);
        await judged(page, name, theme, width);
        await page.keyboard.press('Escape');
        await page.waitForSelector('dialog', { state: 'detached' });
        await undo();
        await page.locator('#banner .paused').waitFor({ state: 'detached' });
      }
    }
  }
  await post('/groups/search/resume', { reason: 'it was shown' });
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.emulateMedia({ colorScheme: 'light' });
}

/// A dialog that stands open: axe, a picture, and that all of it is within the screen's width.
async function judged(page, name, theme, width) {
  await page.waitForFunction(() => !document.querySelector('.toast'));
  const wide = await page.evaluate(() => {
    const dialog = document.querySelector('dialog[open]');
    return dialog.scrollWidth > dialog.clientWidth || dialog.getBoundingClientRect().right > document.documentElement.clientWidth;
  });
  assert.ok(!wide, `the dialog ${name} is wider than ${width} px`);
  await page.screenshot({ path: join(given.screenshots, `dialog-${name}-${theme}-${width}.png`) });
  await axe(page, `the dialog ${name}, ${theme}, ${width} px`);
}

async function pages() {
  await noTimerAsks();
  await seesTimers();
  // The group that is not there is asked for, and the answer is 404.
  const page = watch(await browser.newPage(), ['nobody']);
  const other = watch(await browser.newPage());
  await other.goto(`${url}/`);
  await page.goto(`${url}/`);
  await page.locator('.live.on').waitFor();
  await pauses(page, other);
  await lists(page, other);
  await moves(page, other);
  await other.close();
  await events(page);
  await adopts(page);
  await mode(page);
  await truth(page);
  await ownMetric(page);
  await refused(page);
  await times(page, PAGES);
  await keys(page);
  await instances(page);
  await access(page);
  await logged(page, [['paused', 'everything', 'a look at the red button'], ['set the mode of', 'web', 'a week of plans looks right'], ['entered an event', 'Black', 'the yearly sale'],
    ['revoked a token', 'grafana', 'a look at it']]);
  await dialogs(page);
  await everyPage(page);
}

/// Roles: who is offered what. Refused tokens ask again.
async function roles() {
  const offered = { viewer: [0, 0], operator: [1, 0], admin: [1, 1] };
  for (const [role, [pause, mode]] of Object.entries(offered)) {
    const page = watch(await browser.newPage(), ['401', '403']);
    await page.goto(`${url}/`);
    const field = page.locator('dialog [name=token]');
    if (role === 'viewer') {
      await field.fill('fs_wrong');
      await page.keyboard.press('Enter');
      await page.getByText('not known here').waitFor();
      for (const width of [1440, 360]) {
        for (const theme of ['light', 'dark']) {
          await page.setViewportSize({ width, height: 780 });
          await page.emulateMedia({ colorScheme: theme });
          await judged(page, 'sign-in', theme, width);
        }
      }
      await page.setViewportSize({ width: 1440, height: 900 });
    }
    await field.fill(given.tokens[role]);
    await page.keyboard.press('Enter');
    await page.locator('table.fleet tbody tr').first().waitFor();
    assert.match(await text(page, '.who'), new RegExp(`the-${role} · ${role}`));
    assert.equal(await page.locator('#tools .stop').count(), pause, `${role}: pause`);
    assert.equal(await page.locator('#nav a', { hasText: 'Audit' }).count(), pause, `${role}: audit`);
    assert.equal(await page.locator('#nav a', { hasText: 'Access' }).count(), pause, `${role}: access`);
    await go(page, '#/groups/web', '.title .badge');
    assert.equal(await page.getByRole('button', { name: 'Mode…' }).count(), mode, `${role}: mode`);
    assert.equal(await page.getByRole('button', { name: 'Pause group' }).count(), pause, `${role}: pause of a group`);
    // Shadows: i-8 is foreign, i-9 ours until the operator lets it go.
    const shadow = (instance, name) => page.locator('[aria-labelledby=shadows] tbody tr', { hasText: instance }).getByRole('button', { name, exact: true });
    await page.locator('[aria-labelledby=shadows] tbody tr', { hasText: 'i-8' }).waitFor();
    const acts = async instance => Promise.all(['Adopt', 'Extend', 'Release'].map(name => shadow(instance, name).count()));
    assert.deepEqual(await acts('i-8'), [mode, 0, pause], `${role}: a foreign shadow`);
    assert.deepEqual(await acts('i-9'), role === 'operator' ? [0, 1, 1] : [0, 0, 0], `${role}: a shadow of ours`);
    if (role === 'operator') {
      const kept = async () => (await api('/shadow/sessions?group=web', { headers: { authorization: `Bearer ${given.tokens.viewer}` } })).find(one => one.instance === 'i-9');
      const before = await kept();
      for (const [name, why] of [['Extend', 'a longer look'], ['Release', 'seen enough']]) {
        await shadow('i-9', name).click();
        await page.locator('dialog textarea').fill(why);
        await page.getByRole('dialog').getByRole('button', { name, exact: true }).click();
        if (name === 'Extend') await until('the lease is longer', async () => (await kept()).until > before.until);
      }
      await until('it is let go', async () => (await kept()).ended !== null);
      await shadow('i-9', 'Release').waitFor({ state: 'detached' });
    }
    if (pause) await logged(page, [['extended the lease of', 'i-9', 'a longer look'], ['released', 'i-9', 'seen enough']], 'the-operator');
    await listsOf(page, role);
    await go(page, '#/events', '.calendar');
    assert.equal(await page.getByRole('button', { name: 'New event' }).count(), pause, `${role}: events`);
    // The stream carries the token in a header.
    await page.locator('.live.on').waitFor();
    assert.ok(!page.url().includes('fs_'));
    assert.equal(await page.evaluate(() => Object.keys(localStorage).length), 0, 'a token outlives its tab');
    await page.close();
  }
  // An agent writes its samples and sees nothing.
  const page = watch(await browser.newPage(), ['401', '403']);
  await page.goto(`${url}/`);
  await page.locator('dialog [name=token]').fill(given.tokens.agent);
  await page.keyboard.press('Enter');
  await page.getByText('the role agent may not call').first().waitFor();
  assert.equal(await page.locator('table.fleet tbody tr').count(), 0);
}

/// What a role's stream tells of lists while an admin makes a token: of those it may not read nothing at all.
async function listsOf(page, role) {
  const bearer = who => ({ authorization: `Bearer ${given.tokens[who]}` });
  const told = page.evaluate(async headers => {
    const leave = new AbortController();
    setTimeout(() => leave.abort(), 5000);
    let text = '';
    try {
      const answer = await fetch('/changes', { headers, signal: leave.signal });
      for (const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader(); ;) text += (await reader.read()).value;
    } catch {
      // Five seconds are over.
    }
    return [...text.matchAll(/^event: ?(\w+)$/gm)].map(([, name]) => name);
  }, bearer(role));
  await new Promise(later => setTimeout(later, 2500));
  await api('/tokens', { method: 'POST', headers: { ...bearer('admin'), 'content-type': 'application/json' }, body: JSON.stringify({ name: `while ${role} listens`, role: 'viewer' }) });
  const names = await told;
  const times = name => names.filter(one => one === name).length;
  assert.equal(times('events'), 1, `${role}: ${names}`);
  // At first, and once more: an operator reads of certificates alone.
  assert.deepEqual([times('audit'), times('access')], { viewer: [0, 0], operator: [2, 1], admin: [2, 2] }[role], `${role}: ${names}`);
}

try {
  await { pages, roles, weight }[given.what]();
  sound();
} catch (error) {
  const [page] = browser.pages().slice(-1);
  await page?.screenshot({ path: FAILED }).catch(() => {});
  console.error(error.stack ?? error);
  if (faults.length) console.error(`and in the browser:\n${faults.join('\n')}`);
  process.exitCode = 1;
} finally {
  await browser.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 3 });
}

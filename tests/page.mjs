// The web page in Chromium. Started by tests/processes/page, which gives it on standard input as JSON: what to look at, the
// aggregator's address, where the modules are, where screenshots go, and tokens by role where there are any.
//
// Anything that is not as it should be throws; an error in the browser's console is not as it should be.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const given = JSON.parse(readFileSync(0, 'utf8'));
const require = createRequire(join(given.modules, 'package.json'));
const { chromium } = require('playwright-core');
const AXE = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const { url } = given;
const ARGUMENTS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const WITHIN = 20000;

mkdirSync(given.screenshots, { recursive: true });
const profile = mkdtempSync(join(tmpdir(), 'foreshadow-page-'));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args: ARGUMENTS, viewport: { width: 1440, height: 900 },
  locale: 'en-GB', timezoneId: 'Europe/Berlin', colorScheme: 'light', reducedMotion: 'reduce',
});
browser.setDefaultTimeout(WITHIN);

const faults = [];
/// What the console may say: `expected` words are looked for.
function watch(page, expected = []) {
  const told = text => expected.some(word => text.includes(word)) || faults.push(text);
  page.on('console', message => ['error', 'warning'].includes(message.type()) && told(`console ${message.type()}: ${message.text()}`));
  page.on('pageerror', error => told(`page error: ${error.stack ?? error}`));
  page.on('request', request => {
    if (new URL(request.url()).origin !== new URL(url).origin) faults.push(`asked elsewhere: ${request.url()}`);
    if (/fs_[0-9a-f]{8}/.test(request.url())) faults.push(`a token in an address: ${request.url()}`);
  });
  return page;
}
const sound = () => assert.deepEqual(faults, []);

/// Goes somewhere within the page and waits until it stands.
async function go(page, hash, ready) {
  await page.evaluate(hash => { location.hash = hash; }, hash);
  await page.waitForSelector(ready);
}

async function axe(page, where) {
  if (!await page.evaluate(() => 'axe' in window)) await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  const said = violations.map(found => `${found.id} (${found.impact}): ${found.help}\n  ${found.nodes.slice(0, 4).map(node => `${node.target.join(' ')}: ${node.failureSummary.replaceAll('\n', ' ')}`).join('\n  ')}`);
  assert.equal(said.length, 0, `axe at ${where}:\n${said.join('\n')}`);
}

async function narrowEnough(page, where) {
  const wide = await page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return null;
    // Who sticks out, of those that do not scroll by themselves.
    const out = [...document.querySelectorAll('main *, header *')].filter(node => node.getBoundingClientRect().right > width + 1 && !node.closest('.scroll, svg, #nav'));
    return out.slice(0, 5).map(node => `${node.tagName}.${node.className?.baseVal ?? node.className} to ${Math.round(node.getBoundingClientRect().right)}`);
  });
  assert.equal(wide, null, `wider than the screen at ${where}: ${wide}`);
}

const PAGES = [
  ['fleet', '#/', 'table.fleet tbody tr >> nth=2'],
  ['group', '#/groups/web', '.plot svg .line.load'],
  ['group-week', '#/groups/web?span=7d', '.plot svg .line.load'],
  ['events', '#/events', '.calendar .entry'],
  ['instances', '#/instances?group=web', '.spark .line'],
  ['models', '#/models', 'main tbody tr'],
  ['models-web', '#/models/web', 'main .bar'],
  ['access', '#/access', 'main tbody tr'],
  ['audit', '#/audit', 'main h1'],
];

/// Every page, both themes, narrow and wide.
async function everyPage(page) {
  await page.locator('.toast').first().waitFor({ state: 'detached' });
  for (const width of [1440, 360]) {
    for (const theme of ['light', 'dark']) {
      await page.setViewportSize({ width, height: width > 500 ? 900 : 780 });
      await page.emulateMedia({ colorScheme: theme });
      for (const [name, hash, ready] of PAGES) {
        await go(page, hash, ready);
        const where = `${name}, ${theme}, ${width} px`;
        await narrowEnough(page, where);
        await page.screenshot({ path: join(given.screenshots, `${name}-${theme}-${width}.png`), fullPage: true });
        await axe(page, where);
      }
    }
  }
  // The red button stays within reach, however far down one is on a small screen.
  await go(page, '#/groups/web', '.plot svg .line.load');
  await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
  const [button, height] = [await page.locator('#tools .stop').boundingBox(), page.viewportSize().height];
  assert.ok(button && button.y >= 0 && button.y + button.height <= height, `the red button is away: ${JSON.stringify(button)}`);
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.emulateMedia({ colorScheme: 'light' });
}

const text = (page, selector) => page.locator(selector).first().innerText();
const api = async (path, options) => {
  const answer = await fetch(`${url}${path}`, options);
  assert.ok(answer.ok, `${path}: ${answer.status}`);
  return answer.json();
};

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

/// By keyboard alone, with the range in the address.
async function keys(page) {
  await go(page, '#/', 'table.fleet');
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
  // The plan of a time.
  await page.locator('.plot').first().focus();
  await page.keyboard.press('Enter');
  await page.locator('dialog .plan').waitFor();
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

/// What is shown of a group is what the API says.
async function truth(page) {
  await go(page, '#/groups/web', '.plot svg .line.load');
  const group = await api('/groups/web');
  const shown = await text(page, 'main');
  for (const [what, words] of [
    ['the interval that was measured', /darker interval promises 80 %\. It held/], ['lead times with their evidence', /Launch to serving: 4 min, nine in ten of 6 measured/],
    ['the price of shadows', /0\.107/], ['why it was terminated', /forecast, present and the shadow agree/], ['what the cloud refused', /no capacity in us-east-1a/],
    ['the foreign shadows', /m-12/],
  ]) assert.match(shown, words, what);
  for (const [what, drawn] of [
    ['the forecast fan', '.plot .fan'], ['the median of the forecast', '.plot .line.ahead'], ['what serves', '.plot .line.serve'], ['an event', '.plot .window'],
    ['what was done', '.plot .mark'], ['a shadow and its lease', '.plot .span'], ['UTC where a time is pointed at', 'main time[title*="UTC"]'],
  ]) assert.ok(await page.locator(drawn).count() > 0, `not drawn: ${what}`);
  for (const hold of group.plan.holds_in_words.slice(0, 3)) {
    assert.ok((await page.locator('main').evaluate(node => node.textContent)).includes(hold), `the hold: ${hold}`);
  }
  await go(page, '#/', 'table.fleet');
  await page.getByRole('link', { name: 'batch/night:eu@2' }).click();
  await page.waitForFunction(() => document.querySelector('main h1')?.textContent === 'batch/night:eu@2');
  await go(page, '#/groups/nobody', 'main .said.bad');
  assert.match(await text(page, 'main'), /"nobody" is not known/);
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
  await row.getByText('revoked').waitFor();
  const [kept] = await api('/tokens');
  assert.ok(kept.name === 'grafana' && kept.revoked_micros > 0 && !JSON.stringify(kept).includes(token));
}

async function pages() {
  // The group that is not there is asked for, and the answer is 404.
  const page = watch(await browser.newPage(), ['404']);
  const other = watch(await browser.newPage());
  await other.goto(`${url}/`);
  await page.goto(`${url}/`);
  await page.locator('.live.on').waitFor();
  await pauses(page, other);
  await other.close();
  await events(page);
  await mode(page);
  await truth(page);
  await keys(page);
  await access(page);
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
      await page.screenshot({ path: join(given.screenshots, 'token.png') });
      await axe(page, 'the question for a token');
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

/// CPU time of the page's scripts, milliseconds: the thread's own time, so that a busy neighbour costs nothing.
async function scripting(page, work) {
  const session = await browser.newCDPSession(page);
  await session.send('Performance.enable', { timeDomain: 'threadTicks' });
  const read = async () => (await session.send('Performance.getMetrics')).metrics.find(metric => metric.name === 'ScriptDuration').value * 1000;
  const before = await read();
  await work();
  const after = await read();
  await session.detach();
  return after - before;
}

/// As if there were two thousand groups: what the server says of one is said of each, by the answer and by the stream.
async function multiplied() {
  const [line] = (await api('/overview')).groups;
  const page = watch(await browser.newPage());
  await page.addInitScript(({ line, count }) => {
    const groups = Array.from({ length: count }, (_, index) => ({ ...line, name: `group-${String(index).padStart(4, '0')}`, serving: index % 40, need_ahead: index % 37 }));
    const all = JSON.stringify({ now: Math.floor(Date.now() / 1000), everywhere: null, groups, gone: [] });
    const real = window.fetch;
    window.fetch = (path, options) => {
      if (path === '/overview') return Promise.resolve(new Response(all));
      if (path !== '/changes') return real(path.replace(/group-\d{4}/, line.name), options);
      const told = new ReadableStream({ start: stream => stream.enqueue(new TextEncoder().encode(`event: groups\ndata: ${all}\n\n`)) });
      return Promise.resolve(new Response(told));
    };
  }, { line, count: 2000 });
  return page;
}

async function weight() {
  const measured = {};
  const least = async (name, open, work) => {
    const taken = [];
    for (let times = 0; times < 3; times++) {
      const page = await open();
      await page.goto(`${url}/#/audit`);
      await page.waitForSelector('main h1');
      taken.push(await scripting(page, () => work(page)));
      await page.close();
    }
    measured[name] = taken.map(time => Math.round(time));
  };
  await least('2 000 groups', multiplied, async page => {
    await go(page, '#/', 'table.fleet tbody tr >> nth=49');
    assert.match(await text(page, 'main'), /2,000 groups, 1 to 50/);
  });
  await least('14 days at one minute', async () => watch(await browser.newPage()), async page => {
    await go(page, `#/groups/${given.group}?span=14d`, '.plot svg .line.load');
    await page.waitForFunction(() => document.querySelector('.plot .line.load').getAttribute('d').length > 10000);
  });
  console.log(`CPU milliseconds of scripting: ${JSON.stringify(measured)}`);
  for (const [name, taken] of Object.entries(measured)) assert.ok(Math.min(...taken) < 100, `${name}: ${taken} ms`);
  const page = await multiplied();
  await page.goto(`${url}/#/?find=group-19`);
  await page.waitForSelector('table.fleet tbody tr');
  assert.match(await text(page, 'main'), /100 of 2,000 groups/);
  await page.getByRole('button', { name: 'Later' }).click();
  await page.waitForFunction(() => /page=2/.test(location.hash) && /51 to 100/.test(document.querySelector('main').innerText));
  await page.screenshot({ path: join(given.screenshots, 'fleet-2000.png') });
}

try {
  await { pages, roles, weight }[given.what]();
  sound();
} catch (error) {
  const [page] = browser.pages().slice(-1);
  await page?.screenshot({ path: join(given.screenshots, `failed-${given.what}.png`) }).catch(() => {});
  console.error(error.stack ?? error);
  if (faults.length) console.error(`and in the browser:\n${faults.join('\n')}`);
  process.exitCode = 1;
} finally {
  await browser.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 3 });
}

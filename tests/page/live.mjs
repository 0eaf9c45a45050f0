// What moves by itself: curves, lists, an event of elsewhere; and that nothing of the page asks by a timer.

import assert from 'node:assert/strict';
import { api, browser, go, until, url } from './world.mjs';

/// Whatever a timer of the page asks the server for is said in the console, where an error is a fault. A stream that broke is opened anew
/// after a while, a click waits whether it is half of a double click, and who asks is asked for after signing in: those may.
export const noTimerAsks = () => browser.addInitScript(() => {
  const real = window.fetch;
  const may = /^\/(changes|shadow\/metrics|whoami|plans\?.*limit=1&)/;
  let timers = 0;
  const marked = work => typeof work !== 'function' ? work : (...given) => {
    timers++;
    // What goes on after an `await` belongs to it as well.
    let left = 50;
    const over = () => left-- > 0 ? Promise.resolve().then(over) : timers--;
    try {
      return work(...given);
    } finally {
      over();
    }
  };
  for (const name of ['setTimeout', 'setInterval']) {
    const own = window[name];
    window[name] = (work, ...rest) => own(marked(work), ...rest);
  }
  window.fetch = (path, options) => {
    if (timers && !may.test(path)) console.error(`a timer asks for ${path}`);
    return real(path, options);
  };
});

/// It does see one.
export async function seesTimers() {
  const page = await browser.newPage(), said = [];
  page.on('console', message => said.push(message.text()));
  await page.goto(`${url}/`);
  await page.evaluate(async () => {
    await fetch('/healthz?by=hand');
    await new Promise(later => setTimeout(later, 1));
    await fetch('/healthz?by=timer');
  });
  assert.deepEqual(said.filter(text => text.includes('healthz?by=') && text.startsWith('a timer')), ['a timer asks for /healthz?by=timer']);
  await page.close();
}

/// A group's curve goes on by itself, and an event that somebody enters elsewhere stands in it at once: in one window, without reload,
/// while another one writes. The small curves of the fleet go on as well, and nobody asks for them.
export async function moves(page, other) {
  let loads = 0;
  other.on('load', () => { loads++; });
  await go(other, '#/groups/web?span=3h', '.plot svg .line.load');
  await go(page, '#/', 'table.fleet .spark .line');
  const curve = () => page.locator('table.fleet tbody tr', { hasText: /^web/ }).locator('.spark .line').getAttribute('d');
  const small = await curve(), asked = [];
  page.on('request', request => { if (/\/minutes$/.test(new URL(request.url()).pathname)) asked.push(request.url()); });
  const windows = () => other.locator('[aria-labelledby=demand] .plot .window > title').allTextContents();
  const large = () => other.locator('[aria-labelledby=demand] .plot .line.load').getAttribute('d');
  // Where it is drawn moves with the clock; what is read anew is the minute that is over.
  let read = 0;
  other.on('response', answer => { read += answer.ok() && new URL(answer.url()).pathname === '/groups/web/minutes'; });
  const body = { group: 'web', name: 'Moves at once', starts: new Date(Date.now() + 60_000).toISOString(), duration_seconds: 600, intensity: 1.2, reason: 'a window that nobody touches' };
  const made = await api('/events', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  await until('an event of elsewhere is on the axis', async () => (await windows()).some(title => title.includes('Moves at once')));
  assert.ok((await fetch(`${url}/events/${made.id}?reason=seen`, { method: 'DELETE' })).ok);
  await until('it is gone from the axis', async () => !(await windows()).some(title => title.includes('Moves at once')));
  // The first round of the next minute brings the minute that is over.
  let drawn = await large();
  await until('the curve of a group goes on', async () => {
    if (read > 0) return await large() !== drawn;
    drawn = await large();
    return false;
  }, 90000);
  await until('its small curve does', async () => await curve() !== small, 90000);
  // What its models came to goes on as well.
  await go(other, '#/models/web', '#of-cpu');
  let models = 0;
  other.on('response', answer => { models += answer.ok() && new URL(answer.url()).pathname === '/groups/web/models'; });
  await other.locator('#of-cpu').evaluate(node => { node.dataset.before = 'this minute'; });
  await until('the models of a group are read anew', async () => models > 0 && await other.locator('#of-cpu[data-before]').count() === 0, 90000);
  assert.deepEqual(asked, [], 'small curves come with the stream');
  assert.equal(loads, 0, 'without reload');
}

/// A metric of the user's own is chosen, and what is shown is of it: its unit, its demand, its target, its forecast.
export async function ownMetric(page) {
  await go(page, '#/groups/search', '.plot svg .line.load');
  const choice = page.locator('.controls').getByLabel('Metric');
  await choice.waitFor();
  assert.deepEqual(await choice.locator('option').allInnerTexts(), ['CPU', 'Requests per second']);
  await choice.selectOption('requests');
  await page.waitForFunction(() => /metric=requests/.test(location.hash));
  const figure = name => page.locator('.figures .figure', { hasText: new RegExp(`^${name}`) }).locator('dd');
  let said, told, demand;
  const unit = page.locator('[aria-labelledby=demand] .plot .unit');
  await until('what is shown is of it', async () => {
    const { plan } = await api('/groups/search');
    const need = plan.needs.find(one => one.metric === 'requests');
    demand = need.demand;
    told = { demand: `${Math.round(need.demand).toLocaleString('en-GB')} 1/s`, need: `${plan.need_now} by Requests per second`, unit: '1/s' };
    const words = async name => (await figure(name).innerText()).replace(/\s+/g, ' ');
    said = { demand: await words('Demand'), need: await words('Needed now'), unit: await unit.textContent() };
    // So many that one instance carries two hundred, and CPU asks for less.
    return plan.binding === 'requests' && need.reactive === Math.ceil(need.demand / 200) && JSON.stringify(said) === JSON.stringify(told);
  }).catch(error => { throw new Error(`${error.message}: ${JSON.stringify({ said, told })}`); });
  // Its past and its forecast are drawn, and in its own size: hundreds on any day and at any hour, where CPU has tens.
  assert.ok(demand > 150, `${demand} requests a second are not told from CPU`);
  for (const what of ['.line.load', '.line.ahead', '.fan.wide', '.fan.narrow']) {
    const wide = await page.locator(`[aria-labelledby=demand] .plot ${what}`).evaluate(node => node.getBBox().width);
    assert.ok(wide > 100, `${what} of requests is ${wide} px wide`);
  }
  const marked = (await page.locator('[aria-labelledby=demand] .axes text').allTextContents()).filter(said => /^[\d,]+$/.test(said)).map(said => Number(said.replaceAll(',', '')));
  assert.ok(Math.max(...marked) * 1.5 > demand, `the axis is marked to ${marked}, the demand is ${demand}`);
  assert.match(await page.locator('.held').first().innerText(), /10 to 90 %, promises 80 %/);
  assert.doesNotMatch(await page.locator('[aria-labelledby=evidence]').innerText(), /Idle baseline/, 'nothing of it is idle');
  await page.reload();
  await choice.waitFor();
  assert.equal(await choice.inputValue(), 'requests', 'a link shows the metric');
  // Before its mode is loosened the last week is lived by what drives it.
  await page.getByRole('button', { name: 'Mode…' }).click();
  await page.getByRole('radio', { name: /scale-out/ }).check();
  await page.locator('.again .chart svg .line').first().waitFor({ state: 'attached', timeout: 180000 });
  const week = await page.locator('.again').innerText();
  assert.match(week, /driven by .*Requests per second/i);
  assert.doesNotMatch(week, /Above 90/i, 'of a load of its own unit nobody knows what 90 % are');
  await page.keyboard.press('Escape');
  await page.locator('dialog[open]').waitFor({ state: 'detached' });
  await go(page, '#/models/search', '#of-requests');
  const models = page.locator('[aria-labelledby=of-requests]');
  assert.equal(await models.locator('h2').innerText(), 'Requests per second');
  assert.match(await models.locator('.figure', { hasText: /^Target/ }).innerText(), /200\s+1\/s an instance/);
}

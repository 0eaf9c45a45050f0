// What every part of the page's tests uses: what was given, the browser, whatever is not as it should be.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const given = JSON.parse(readFileSync(0, 'utf8'));
const require = createRequire(join(given.modules, 'package.json'));
const { chromium } = require('playwright-core');
const AXE = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
export const { url } = given;
const ARGUMENTS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const WITHIN = 20000;

mkdirSync(given.screenshots, { recursive: true });
/// What is seen when something is not as it should be; of an earlier run there is none.
export const FAILED = join(given.screenshots, `failed-${given.what}.png`);
rmSync(FAILED, { force: true });
export const profile = mkdtempSync(join(tmpdir(), 'foreshadow-page-'));
export const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args: ARGUMENTS, viewport: { width: 1440, height: 900 },
  locale: 'en-GB', timezoneId: 'Europe/Berlin', colorScheme: 'light', reducedMotion: 'reduce',
});
browser.setDefaultTimeout(WITHIN);

export const faults = [];
/// What the console may say: `expected` words are looked for.
export function watch(page, expected = []) {
  const told = text => expected.some(word => text.includes(word)) || faults.push(text);
  page.on('console', message => ['error', 'warning'].includes(message.type()) && told(`console ${message.type()}: ${message.text()} ${message.location().url}`));
  page.on('pageerror', error => told(`page error: ${error.stack ?? error}`));
  page.on('request', request => {
    if (new URL(request.url()).origin !== new URL(url).origin) faults.push(`asked elsewhere: ${request.url()}`);
    if (/fs_[0-9a-f]{8}/.test(request.url())) faults.push(`a token in an address: ${request.url()}`);
  });
  return page;
}
export const sound = () => assert.deepEqual(faults, []);

/// Goes somewhere within the page and waits until it stands.
export async function go(page, hash, ready) {
  await page.evaluate(hash => { location.hash = hash; }, hash);
  await page.waitForSelector(ready);
}

export async function axe(page, where) {
  if (!await page.evaluate(() => 'axe' in window)) await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  const said = violations.map(found => `${found.id} (${found.impact}): ${found.help}\n  ${found.nodes.slice(0, 4).map(node => `${node.target.join(' ')}: ${node.failureSummary.replaceAll('\n', ' ')}`).join('\n  ')}`);
  assert.equal(said.length, 0, `axe at ${where}:\n${said.join('\n')}`);
}

export async function narrowEnough(page, where) {
  const wide = await page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return null;
    // Who sticks out, of those that do not scroll by themselves.
    const out = [...document.querySelectorAll('main *, header *')].filter(node => node.getBoundingClientRect().right > width + 1 && !node.closest('.scroll, svg, #nav'));
    return out.slice(0, 5).map(node => `${node.tagName}.${node.className?.baseVal ?? node.className} to ${Math.round(node.getBoundingClientRect().right)}`);
  });
  assert.equal(wide, null, `wider than the screen at ${where}: ${wide}`);
}

export const text = (page, selector) => page.locator(selector).first().innerText();
export const api = async (path, options) => {
  const answer = await fetch(`${url}${path}`, options);
  assert.ok(answer.ok, `${path}: ${answer.status}`);
  return answer.json();
};

/// Until it is so.
export async function until(what, so, within = WITHIN) {
  for (const end = Date.now() + within; !await so(); await new Promise(later => setTimeout(later, 200))) assert.ok(Date.now() < end, `never: ${what}`);
}

// The shell: which page is shown, the head with its pause button, the keys. A page is a module beside this one; what it shows
// is named by the part of the address behind #, ranges and filters included, so that a link shows what its sender saw.

import { forgetToken, hasToken, onSignIn } from './api.js';
import { help, jump, pause, resume, signIn, toast } from './dialogs.js';
import { badge, button, fill, h, steady } from './dom.js';
import { listen, may, now, readAll, serverNow, watch, whoAmI } from './live.js';
import { ago, time, zone } from './words.js';
import * as access from './access.js';
import * as audit from './audit.js';
import * as events from './events.js';
import * as fleet from './fleet.js';
import * as group from './group.js';
import * as instances from './instances.js';
import * as models from './models.js';

const PAGES = [
  { path: '', name: 'Fleet', key: 'f', module: fleet },
  { path: 'events', name: 'Events', key: 'e', module: events },
  { path: 'instances', name: 'Instances', key: 'i', module: instances },
  { path: 'models', name: 'Models', key: 'm', module: models },
  { path: 'access', name: 'Access', key: 'c', module: access, role: 'operator' },
  { path: 'audit', name: 'Audit', key: 'a', module: audit, role: 'operator' },
  { path: 'groups', module: group },
];

let open = null;
let generation = 0;

/// The address: its segments and its parameters.
function address() {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
  const decode = segment => {
    try {
      return decodeURIComponent(segment);
    } catch {
      return segment;
    }
  };
  return { segments: path.split('/').filter(Boolean).map(decode), query: Object.fromEntries(new URLSearchParams(query)) };
}

/// What a page gets: its parameters, and how to change them. `push` makes a step that Back undoes.
const context = (segments, query) => ({
  segments, query,
  set(patch, { push = false } = {}) {
    const given = Object.entries({ ...address().query, ...patch }).filter(([, value]) => value !== undefined && value !== null && value !== '');
    const asked = new URLSearchParams(given).toString();
    history[push ? 'pushState' : 'replaceState'](null, '', `#/${segments.map(encodeURIComponent).join('/')}${asked && `?${asked}`}`);
    this.query = Object.fromEntries(given);
    open?.page.update?.(this.query);
  },
});

async function route() {
  const { segments, query } = address();
  const page = PAGES.find(known => known.path === (segments[0] ?? '')) ?? PAGES[0];
  const identity = segments.join('/');
  head();
  if (open?.identity === identity) {
    open.context.query = query;
    open.page.update?.(query);
    return;
  }
  const mine = ++generation;
  open?.page.close?.();
  open = null;
  const main = document.getElementById('main');
  const host = h('div', { class: `page ${page.path || 'fleet'}` });
  const given = context(segments, query);
  fill(main, h('p', { class: 'empty' }, 'Reading…'));
  // What is followed on its page depends on the group that is chosen there.
  if (page.module !== instances) watch(['groups', 'models'].includes(page.path) ? segments[1] : undefined, { demand: page.module === fleet || undefined });
  try {
    const shown = await page.module.open(host, given) ?? {};
    if (mine !== generation) return shown.close?.();
    open = { identity, page: shown, context: given };
    fill(main, host);
    window.scrollTo(0, 0);
  } catch (error) {
    if (mine !== generation) return;
    fill(main, h('div', { class: 'page' }, h('h1', {}, 'This cannot be shown'), h('p', { class: 'said bad' }, error.message),
      h('p', {}, h('a', { href: '#/' }, 'All groups'))));
  }
  document.title = `${document.querySelector('main h1')?.textContent ?? page.name} · Foreshadow`;
}

const currentGroup = () => address().segments[0] === 'groups' ? address().segments[1] : undefined;
const allPaused = () => now.everywhere?.paused;

const theme = () => document.documentElement.dataset.theme ?? 'auto';
function turnTheme() {
  const next = { auto: 'light', light: 'dark', dark: 'auto' }[theme()];
  if (next === 'auto') {
    delete document.documentElement.dataset.theme;
    localStorage.removeItem('theme');
  } else {
    document.documentElement.dataset.theme = next;
    localStorage.setItem('theme', next);
  }
  head();
}

/// The head: pages, whether what is shown is live, who is asking, and the pause button.
function head() {
  const { segments } = address();
  const here = segments[0] === 'groups' ? '' : segments[0] ?? '';
  const role = now.me?.role;
  steady(document.getElementById('nav'), [here, role], () => PAGES.filter(page => page.name && (!page.role || !now.me || may(page.role))).map(page =>
    h('a', { href: `#/${page.path}`, 'aria-current': page.path === here ? 'page' : null }, page.name)));
  const state = now.me ? { live: 'live', lost: 'reconnecting', refused: 'refused' }[now.state] : 'not signed in';
  steady(document.getElementById('tools'), [now.state, theme(), now.me, hasToken(), allPaused()], () => [
    h('span', { class: `live ${now.me && now.state === 'live' ? 'on' : now.state}`, title: now.state === 'live' ? 'What is shown follows by itself' : 'What is shown may be old' }, state),
    button('Go to', { class: 'quiet wide', title: 'Go to a group: /' }, () => jump()),
    button(`Theme: ${theme()}`, { class: 'quiet wide', title: 'light, dark, or as the system says' }, turnTheme),
    button('?', { class: 'quiet', 'aria-label': 'Help and keys' }, () => help(PAGES)),
    now.me && h('span', { class: 'who', title: `Foreshadow ${now.me.version}` }, now.me.open ? 'everybody, no tokens' : `${now.me.name} · ${now.me.role}`),
    hasToken() && button('Sign out', { class: 'quiet wide' }, () => { forgetToken(); location.reload(); }),
    may('operator') && !allPaused() && button('Pause', { class: 'stop', title: 'The red button: p' }, () => pause(currentGroup())),
    allPaused() && may('admin') && button('Resume', { class: 'go' }, () => resume())]);
  const said = now.everywhere;
  steady(document.getElementById('banner'), [said, Math.floor(serverNow() / 60)], () => allPaused() && h('p', { class: 'paused' }, badge('paused', 'bad'), ' Everything is paused: nothing is changed in any group. ',
    h('strong', {}, said.by), `: “${said.reason}”, `, time(said.at, at => ago(at, serverNow())), '.'));
}

const typing = target => target.closest('input, textarea, select, dialog, [contenteditable]');

document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  const page = PAGES.find(page => page.key === event.key);
  const work = page ? () => { location.hash = `#/${page.path}`; }
    : { '?': () => help(PAGES), '/': () => jump(), t: turnTheme, p: () => may('operator') && !allPaused() && pause(currentGroup()) }[event.key];
  if (!work) return;
  event.preventDefault();
  work();
});

onSignIn(signIn);
listen((what) => {
  if (what !== 'round') head();
});
document.addEventListener('click', event => {
  // A part of this page is not a page.
  if (event.target.closest?.('.skip')) {
    event.preventDefault();
    document.getElementById('main').focus();
  }
});

async function start() {
  head();
  try {
    await whoAmI();
    await readAll();
  } catch (error) {
    toast(error.message, 'bad');
  }
  document.documentElement.dataset.zone = zone;
  // Not before it is known who asks: a page that opens earlier offers nothing, and stays.
  window.addEventListener('hashchange', route);
  await route();
}
start();

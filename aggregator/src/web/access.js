// Who may call and which instances may speak: managed tokens and agents' certificates, made, listed and ended.

import { ask, path } from './api.js';
import { dialog, field, reasonField, toast } from './dialogs.js';
import { badge, button, fill, h, steady, table } from './dom.js';
import { keep, may, now, serverNow } from './live.js';
import { ago, time } from './words.js';

const ROLES = { viewer: 'looks', operator: 'pauses, enters events, releases shadows', admin: 'resumes, sets modes, makes tokens', agent: 'writes samples and sees nothing' };
const seconds = micros => micros === null ? null : micros / 1e6;

/// Why a token does no more, or null while it does.
const over = (token, at) => token.revoked_micros !== null ? ['revoked', token.revoked_micros] : token.uses_left === 0 ? ['used up', null]
  : token.expires_micros !== null && seconds(token.expires_micros) <= at ? ['expired', token.expires_micros] : null;

/// A new token is in one answer and nowhere else: it is shown until the person has it.
const shown = made => dialog({
  title: `Token of ${made.name}`, confirm: null,
  body: [
    h('p', {}, 'It is shown now and never again. Foreshadow keeps a hash of it.'),
    field(made.kind === 'join' ? 'Join token' : 'Token', h('textarea', { readonly: true, rows: 3, autofocus: true, onfocus: event => event.target.select() }, made.token),
      made.kind === 'join' ? 'For the agents: a file, named by --join-token-file.' : 'For a program: a file that it alone reads, sent as Authorization: Bearer …'),
  ],
});

async function make(again) {
  const made = await dialog({
    title: 'New token', confirm: 'Make it', kind: 'go',
    body: [
      field('Name', h('input', { name: 'name', required: true, maxlength: 100, autocomplete: 'off' }), 'Whose it is. It stands in the audit log beside all that is done with it.'),
      field('Role', h('select', { name: 'role' }, Object.entries(ROLES).map(([role, does]) => h('option', { value: role }, `${role}: ${does}`)))),
      field('Good for, hours', h('input', { name: 'hours', type: 'number', min: 1, max: 87600 }), 'Empty: until it is revoked.'),
    ],
    work: ({ name, role, hours }) => ask('/tokens', { method: 'POST', body: { name, role, ...hours && { expires_hours: Number(hours) } } }),
  });
  if (made) await shown(made);
  again();
}

async function join(again) {
  const made = await dialog({
    title: 'New join token', confirm: 'Make it', kind: 'go',
    body: [
      h('p', {}, 'Each use lets one instance in: its agent gets a certificate of its own, which it renews by itself.'),
      field('Name', h('input', { name: 'name', required: true, maxlength: 100, autocomplete: 'off' }), 'What it is for.'),
      field('Uses', h('input', { name: 'uses', type: 'number', min: 1, max: 100000, value: 1, required: true })),
      field('Good for, hours', h('input', { name: 'hours', type: 'number', min: 1, max: 2160, value: 24, required: true })),
      field('Group', h('select', { name: 'group' }, h('option', { value: '' }, 'any'), [...now.groups.keys()].map(name => h('option', { value: name }, name))), 'With a group, only instances that the inventory knows as its members.'),
    ],
    work: ({ name, uses, hours, group }) => ask('/tokens/join', { method: 'POST', body: { name, uses: Number(uses), expires_hours: Number(hours), ...group && { group } } }),
  });
  if (made) await shown(made);
  again();
}

/// Asks for a reason, does it, says it.
async function end(title, says, confirm, work, again) {
  const done = await dialog({ title, confirm, kind: 'stop', body: [h('p', {}, says), reasonField({ autofocus: true })], work: async ({ reason }) => { await work(reason); return true; } });
  if (done) toast(`${title}: done.`);
  again();
}

const tokensOf = (tokens, again, at) => table('Every token', [{ name: 'Name' }, { name: 'Role' }, { name: 'Made' }, { name: 'Good until' }, { name: 'Uses left', kind: 'number' }, { name: 'Group' }, { name: '' }],
  [...tokens].sort((a, b) => (over(a, at) ? 1 : 0) - (over(b, at) ? 1 : 0) || b.created_micros - a.created_micros).map(token => {
    const ended = over(token, at);
    return { kind: ended ? 'deleted' : '', cells: [
      [token.name, h('small', {}, token.id)], token.kind === 'join' ? badge('join', 'ahead') : badge(token.role), [time(seconds(token.created_micros)), h('small', {}, `by ${token.created_by}`)],
      ended ? [badge(ended[0], 'bad'), ended[1] !== null && [' ', time(seconds(ended[1]))]] : token.expires_micros === null ? 'it is revoked' : [time(seconds(token.expires_micros)), h('small', {}, ago(seconds(token.expires_micros), at))],
      token.uses_left ?? '–', token.group ?? '–',
      !ended && h('div', { class: 'acts' }, button('Revoke', { class: 'small' }, () => end(`Revoke ${token.name}`, 'From now on nobody gets in with it.', 'Revoke now',
        reason => ask(path(['tokens', token.id], { reason }), { method: 'DELETE' }), again)))] };
  }), 'No token was made here. Those of the token file are good, and not listed.');

const certificatesOf = (enrolled, again, at) => table('Every certificate', [{ name: 'Instance' }, { name: 'Let in' }, { name: 'By' }, { name: 'Newest until' }, { name: 'Key' }, { name: '' }],
  enrolled.map(one => ({ kind: one.revoked_micros !== null ? 'deleted' : '', cells: [
    one.instance, time(seconds(one.enrolled_micros)), one.join_token,
    one.revoked_micros !== null ? [badge('revoked', 'bad'), ' ', time(seconds(one.revoked_micros))] : one.expires_micros === null ? '–' : [time(seconds(one.expires_micros)), h('small', {}, ago(seconds(one.expires_micros), at))],
    h('code', { title: `SHA-256 of its public key: ${one.key}` }, one.key.slice(0, 12)),
    h('div', { class: 'acts' },
      one.revoked_micros === null && may('operator') && button('Revoke', { class: 'small' }, () => end(`Revoke ${one.instance}`, 'Its stream ends at once, and it gets no certificate again until its id is released.', 'Revoke now',
        reason => ask(path(['certificates', one.instance, 'revoke']), { method: 'POST', body: { reason } }), again)),
      may('admin') && button('Release', { class: 'small' }, () => end(`Release ${one.instance}`, 'Its certificates end, and whoever comes next with a join token has its id.', 'Release',
        reason => ask(path(['certificates', one.instance, 'release']), { method: 'POST', body: { reason } }), again)))] })),
  'No instance has a certificate: agents enrol with a join token, over TLS.');

export async function open(host) {
  if (!may('operator')) {
    fill(host, h('h1', {}, 'Access'), h('p', { class: 'empty' }, 'Who may call is told to operators and admins.'));
    return {};
  }
  const [tokens, certificates] = [h('div'), h('div')];
  let asked = 0;
  const read = async () => {
    const mine = ++asked;
    const [made, enrolled] = await Promise.all([may('admin') ? ask('/tokens') : null, ask('/certificates')]);
    // A slow answer to an older question is no news.
    if (mine !== asked) return;
    const at = serverNow(), minute = Math.floor(at / 60);
    steady(tokens, [made, minute], () => made ? tokensOf(made, again, at) : h('p', { class: 'empty' }, 'Tokens are told to admins.'));
    steady(certificates, [enrolled, minute], () => certificatesOf(enrolled, again, at));
  };
  const again = () => read().catch(error => toast(error.message, 'bad'));
  fill(host, h('h1', {}, 'Access'),
    h('section', { 'aria-labelledby': 'tokens' }, h('h2', { id: 'tokens' }, 'Tokens'),
      may('admin') && h('div', { class: 'controls' }, button('New token', { class: 'main go' }, () => make(again)), button('New join token', {}, () => join(again))), tokens),
    h('section', { 'aria-labelledby': 'certificates' }, h('h2', { id: 'certificates' }, 'Certificates of agents'), certificates));
  return { update: again, close: await keep('access', read, again) };
}

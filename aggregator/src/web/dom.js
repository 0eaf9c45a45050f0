// The only place that makes elements: from names and text, never from markup. Whatever comes from outside is text.

const put = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name === 'data') Object.assign(node.dataset, value);
    else if (name === 'value' && 'value' in node) node.value = value;
    else if (name === 'checked') node.checked = true;
    else node.setAttribute(name, value === true ? '' : value);
  }
  // Nothing is appended for what is not there; 0 is there.
  node.append(...children.flat(Infinity).filter(child => child !== undefined && child !== null && child !== false)
    .map(child => child instanceof Node ? child : document.createTextNode(String(child))));
  return node;
};

/// An HTML element. `onclick: f` listens, `data: {…}` is the data set, absent values are left out.
export const h = (name, attributes, ...children) => put(document.createElement(name), attributes, children);

/// An SVG element.
export const s = (name, attributes, ...children) =>
  put(document.createElementNS('http://www.w3.org/2000/svg', name), attributes, children);

/// Replaces what a node holds.
export const fill = (node, ...children) => {
  node.replaceChildren();
  return put(node, {}, children);
};

const shown = new WeakMap();
const reachable = node => [...node.querySelectorAll('a[href], button, input, select, summary')];

/// Fills a node only when what it shows has changed: a button is not taken away while somebody presses it, and whatever had
/// the focus keeps it where it is still there.
export const steady = (node, what, build) => {
  const key = JSON.stringify(what);
  if (shown.get(node) === key) return;
  shown.set(node, key);
  const at = node.contains(document.activeElement) ? reachable(node).indexOf(document.activeElement) : -1;
  const label = at < 0 ? null : document.activeElement.textContent;
  fill(node, build());
  if (at >= 0) {
    const now = reachable(node);
    (now[at]?.textContent === label ? now[at] : now.find(one => one.textContent === label))?.focus({ preventScroll: true });
  }
};

/// A badge: a word with a colour of its own, which never says anything by colour alone.
export const badge = (text, kind, title) => h('span', { class: `badge ${kind ?? ''}`, title }, text);

/// A pair of a figure and what it is.
export const figure = (name, value, note, title) =>
  h('div', { class: 'figure', title }, h('dt', {}, name), h('dd', {}, value ?? '–', note && h('small', {}, note)));

/// A button that can be pressed once until its work is done.
export const button = (text, attributes, work) => {
  const node = h('button', { type: 'button', ...attributes }, text);
  node.addEventListener('click', async () => {
    // Not disabled meanwhile: a dialog gives the focus back to it.
    if (node.ariaBusy === 'true') return;
    node.ariaBusy = 'true';
    try {
      await work(node);
    } finally {
      node.ariaBusy = null;
    }
  });
  return node;
};

/// A table whose cells carry their column's name, so that a narrow screen shows them as a list, without those that have nothing to
/// say. Scrolls by itself where it must, and can be reached by keyboard then.
export const table = (caption, columns, rows, empty) => {
  if (!rows.length) return h('p', { class: 'empty' }, empty);
  const head = h('tr', {}, columns.map(column => h('th', { scope: 'col', class: column.kind }, column.name || h('span', { class: 'hidden' }, 'What may be done'))));
  const line = row => h('tr', { class: row.kind }, columns.map((column, index) =>
    h(index ? 'td' : 'th', { scope: index ? null : 'row', class: [column.kind, row.cells[index] === '–' && 'nothing'].filter(Boolean).join(' ') || null, data: { name: column.name, ...column.short && { short: column.short } } },
      h('div', {}, row.cells[index]))));
  return h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption },
    h('table', {}, h('caption', { class: 'hidden' }, caption), h('thead', {}, head), h('tbody', {}, rows.map(line))));
};

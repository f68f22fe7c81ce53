// The live status page. Everything that comes from the gateway is shown as text, never as HTML; rows are changed in
// place, so that focus, selection and scrolling stay where they are while numbers change each second.
'use strict';

const id = (name) => document.getElementById(name);

// ---- texts -----------------------------------------------------------------------------------------------------------

/** Names come from outside: what cannot be seen, or turns the direction of writing, is spelled out, and there is an end. */
function plain(text) {
  const all = String(text ?? '');
  const short = all.length > 300 ? `${all.slice(0, 300)}… (${all.length} characters)` : all;
  return short.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (c) => `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}⟩`);
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
function unitOf(bytes) {
  let unit = 0;
  while (bytes >= 1023.95 && unit < UNITS.length - 1) [bytes, unit] = [bytes / 1024, unit + 1];
  return unit;
}
const inUnit = (bytes, unit) => (bytes / 1024 ** unit).toFixed(unit === 0 ? 0 : 1);
const size = (bytes) => bytes == null ? 'unknown' : `${inUnit(bytes, unitOf(bytes))} ${UNITS[unitOf(bytes)]}`;
const rate = (bytes) => bytes == null ? 'unknown rate' : `${size(bytes)}/s`;
/** "0.8 of 1.0 MiB" */
const part = (bytes, whole) => whole ? `${inUnit(bytes ?? 0, unitOf(whole))} of ${size(whole)}` : size(bytes);
const percent = (bytes, whole) => whole ? Math.floor(Math.min(1, (bytes ?? 0) / whole) * 100) : null;
const count = (n, one, many = `${one}s`) => `${n ?? 0} ${n === 1 ? one : many}`;

function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 600 && s % 60) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h`;
}
/** Of what was: "12 s", "3 min", "5 h", "2 d". */
function age(seconds) {
  const s = Math.max(0, Math.round(seconds));
  return s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min` : s < 86400 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`;
}
const two = (n) => String(n).padStart(2, '0');
/** The reader's own time: hours alone if it was in the last day. */
function clock(time, now = Date.now() / 1000) {
  const t = new Date(time * 1000);
  const hours = `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}`;
  return Math.abs(now - time) < 72000 ? hours : `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())} ${hours}`;
}

// ---- the document ----------------------------------------------------------------------------------------------------

/** Writes only what has changed: nothing flickers, and nothing is laid out again in vain. */
function write(node, text) {
  if (node.shown === text) return;
  node.textContent = node.shown = text;
}
function attribute(node, name, value) {
  if (value == null ? !node.hasAttribute(name) : node.getAttribute(name) === String(value)) return;
  if (value == null) node.removeAttribute(name); else node.setAttribute(name, value);
}
function hide(node, hidden) {
  if (node.hidden !== hidden) node.hidden = hidden;
}
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
function time(node, at, text) {
  attribute(node, 'datetime', at == null ? null : new Date(at * 1000).toISOString());
  attribute(node, 'title', at == null ? null : clock(at, 0));
  write(node, text);
}
/** `label` names the bar for those who cannot see what it stands beside. */
function showProgress(bar, have, whole, label, text) {
  hide(bar, !whole);
  if (!whole) return;
  bar.max = whole;
  bar.value = Math.min(have ?? 0, whole);
  attribute(bar, 'aria-label', label);
  attribute(bar, 'aria-valuetext', text);
}

/**
 * Keeps the children of `parent` as `items` are: one for each key, made by `create`, which returns {node, update(item)};
 * moved only where the order has changed.
 */
function keyed(parent, keyOf, create) {
  let known = new Map();
  return (items) => {
    const next = new Map();
    for (const item of items) {
      let key = keyOf(item);
      while (next.has(key)) key += '\n';
      const entry = known.get(key) ?? create(item);
      entry.update(item);
      next.set(key, entry);
    }
    for (const [key, entry] of known) if (!next.has(key)) entry.node.remove();
    let place = parent.firstElementChild;
    for (const { node } of next.values()) {
      if (node === place) place = place.nextElementSibling;
      else parent.insertBefore(node, place);
    }
    known = next;
  };
}

/** A table whose header's buttons sort. `columns`: {name: row => number or text}; `first`: the name to begin with. */
function sortable(table, columns, first, keyOf, create) {
  const fill = keyed(table.tBodies[0], keyOf, create);
  const descending = new Set(['size', 'hits', 'seen', 'used', 'progress', 'pinned']);  // large ones first is what is asked for
  let [by, down] = [first, descending.has(first)];
  let rows = [];
  const tell = () => {
    for (const button of table.tHead.querySelectorAll('button')) {
      attribute(button.closest('th'), 'aria-sort', button.value !== by ? null : down ? 'descending' : 'ascending');
    }
  };
  const show = () => {
    const value = columns[by];
    const sign = down ? -1 : 1;
    const order = (a, b) => typeof a === 'string' ? a.localeCompare(b, 'en', { numeric: true }) : a - b;
    const sorted = rows.map((row) => [value(row), keyOf(row), row]);
    sorted.sort((a, b) => sign * order(a[0], b[0]) || order(a[1], b[1]));
    fill(sorted.map((entry) => entry[2]));
  };
  table.tHead.addEventListener('click', (event) => {
    const name = event.target.closest('button')?.value;
    if (!name) return;
    [by, down] = [name, name === by ? !down : descending.has(name)];
    tell();
    show();
  });
  tell();
  return (newRows) => {
    rows = newRows;
    show();
  };
}
const cell = (...children) => make('td', { role: 'cell' }, ...children);
const numberCell = (...children) => make('td', { role: 'cell', class: 'number' }, ...children);
const rowOf = (...cells) => make('tr', { role: 'row' }, ...cells);

// ---- in one sentence -------------------------------------------------------------------------------------------------

/** {level: good|warn|bad, kind: what is announced when it changes, text, remarks} */
function judge(s) {
  const upstream = s.upstream ?? {};
  const fills = s.fills ?? [];
  const devices = s.devices?.list ?? [];
  const trying = fills.filter((f) => f.state === 'retrying' || f.state === 'waiting');
  const busy = devices.filter((d) => d.state === 'downloading').length;
  const held = devices.filter((d) => d.state === 'held').length;
  const remarks = [...(s.reasons ?? []), ...(s.warnings ?? [])];
  if (upstream.state === 'unreachable') {
    const since = upstream.since == null ? '' : ` since ${duration(s.now - upstream.since)}`;
    const effect = fills.length || held ? 'Downloads wait; nothing is lost.' : 'What is in the cache is still delivered.';
    return { level: 'bad', kind: 'upstream', text: `Upstream is not reachable${since}: ${upstream.reason || 'no reason known'}. ${effect}`,
             remarks: remarks.filter((r) => !upstream.reason || !r.includes(upstream.reason)) };
  }
  if (s.cache?.trouble) return { level: 'bad', kind: 'cache', text: `The cache has a problem: ${s.cache.trouble}.`, remarks };
  if (s.ready === false) {
    return { level: 'bad', kind: 'ready', text: `The gateway is not ready: ${remarks[0] ?? 'no reason given'}.`, remarks: remarks.slice(1) };
  }
  if (trying.length) {
    const why = trying[0].why ? `: ${trying[0].why}` : '';
    return { level: 'warn', kind: 'fill', remarks,
             text: `${trying.length === 1 ? `The download of ${trying[0].name} waits` : `${trying.length} downloads wait`}${why}. Nothing is lost.` };
  }
  const doing = [busy ? `${count(busy, 'device')} updating` : 'no device is updating', ...(held ? [`${held} waiting`] : []),
                 ...(busy || fills.length ? [`link at ${s.link?.limit ? part(s.link.bytes_per_second, s.link.limit) + '/s' : rate(s.link?.bytes_per_second ?? 0)}`] : [])];
  return { level: remarks.length ? 'warn' : 'good', kind: remarks.length ? 'warnings' : 'well', remarks,
           text: `${remarks.length ? `It works, with ${count(remarks.length, 'warning')}` : 'All is well'}: ${doing.join(', ')}.` };
}

const ICONS = { good: ['#1a7f4b', 'M4.5 8.5l2.5 2.5 4.5-5'], warn: ['#b36b00', 'M8 4v5M8 11v1.3'], bad: ['#b3261e', 'M5 5l6 6M11 5l-6 6'] };
function showIcon(level) {
  const [color, path] = ICONS[level];
  attribute(id('icon'), 'href', `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">` +
    `<circle cx="8" cy="8" r="8" fill="${color}"/><path d="${path}" fill="none" stroke="#fff" stroke-width="2"/></svg>`)}`);
}

// ---- the parts of the page -------------------------------------------------------------------------------------------

let announced = '';
function showHeadline({ level, kind, text, remarks }) {
  attribute(id('headline'), 'data-level', level);
  write(id('headline'), plain(text));
  parts.remarks(remarks);
  hide(id('remarks'), !remarks.length);
  showIcon(level);
  const title = `${level === 'good' ? '✓' : '✕'} ${plain(text).split(/[:.] /)[0]} · gateway`;
  if (document.title !== title) document.title = title;
  // Read out when the state changes, not each time when a number does.
  if (announced && announced !== kind) write(id('announce'), plain(text));
  announced = kind;
}

function figure(name, level, value, more) {
  const box = id(`figure-${name}`);
  attribute(box, 'data-level', level);
  write(box.children[1], plain(value));
  write(box.children[2], plain(more));
}

function showFigures(s) {
  const { upstream = {}, link = {}, saved = {}, cache = {}, devices = {}, connections = {} } = s;
  const latency = upstream.latency_ms;
  const ms = (n) => n == null ? '?' : n < 10 ? n.toFixed(1) : Math.round(n);
  figure('upstream', { reachable: 'good', unreachable: 'bad' }[upstream.state], upstream.state === 'unreachable' ? 'not reachable' : upstream.state ?? 'unknown',
         `${(upstream.url ?? '').replace(/^https:\/\//, '')}${latency?.requests ? ` · ${ms(latency.median)} ms, 95 % within ${ms(latency.p95)} ms` : ''}`);
  const held = [link.held_downloads && `${count(link.held_downloads, 'download')} held`, link.held_reports && `${count(link.held_reports, 'report')} held`].filter(Boolean);
  figure('link', held.length ? 'warn' : null, link.limit ? `${part(link.bytes_per_second ?? 0, link.limit)}/s` : rate(link.bytes_per_second ?? 0),
         [...held, link.limit ? null : 'no limit', `${(link.requests_per_second ?? 0).toFixed(1)} requests/s`].filter(Boolean).join(' · '));
  figure('saved', null, saved.percent == null ? 'nothing yet' : `${saved.percent.toFixed(1)} %`,
         saved.percent == null ? 'no artifact was delivered' : `${size(saved.saved_bytes)} of ${size(saved.delivered_bytes)}`);
  figure('cache', cache.trouble ? 'bad' : null, cache.enabled === false ? 'off' : cache.max_size ? part(cache.size, cache.max_size) : size(cache.size ?? 0),
         cache.trouble || [count(cache.objects, 'artifact'), cache.parts && count(cache.parts, 'unfinished', 'unfinished'), cache.pinned_bytes && `${size(cache.pinned_bytes)} pinned`].filter(Boolean).join(' · '));
  const list = devices.list ?? [];
  const waiting = list.filter((d) => d.state === 'held' || d.state === 'cut').length;
  figure('devices', waiting ? 'warn' : null, String(devices.count ?? list.length),
         `${list.filter((d) => d.state === 'downloading').length} updating · ${waiting ? `${waiting} waiting · ` : ''}${count(connections.open, 'connection')}`);
  const problems = s.problems ?? [];
  figure('problems', problems.length ? 'warn' : null, String(problems.length || 'none'),
         problems.length ? `the last one ${age(s.now - Math.max(...problems.map((p) => p.at)))} ago` : '');
}

const FILL = { fetching: 'fetching', waiting: 'waits', retrying: 'tries again', verifying: 'is being verified' };
function makeFill() {
  const [name, host, state, numbers, why] = ['bdi', 'bdi', 'span', 'p', 'p'].map((tag) => make(tag));
  name.className = 'name';
  host.className = 'muted';
  numbers.className = 'numbers';
  state.className = 'state';
  why.className = 'why';
  const bar = make('progress');
  return {
    node: make('li', {}, make('p', {}, name, ' ', state), bar, numbers, why, make('p', { class: 'muted' }, 'from ', host)),
    update(f) {
      const done = percent(f.have, f.size);
      write(name, plain(f.name));
      write(host, plain(f.host));
      write(state, FILL[f.state] ?? plain(f.state));
      attribute(state, 'data-state', f.state);
      showProgress(bar, f.have, f.size, `${plain(f.name)}, fetched`, `${done} %, ${part(f.have, f.size)}`);
      write(numbers, [done == null ? null : `${done} %`, part(f.have, f.size), f.state === 'fetching' ? rate(f.bytes_per_second) : null,
                      f.seconds_left == null || f.state !== 'fetching' ? null : `${duration(f.seconds_left)} left`,
                      `${count(f.readers, 'device')} ${f.readers === 1 ? 'reads' : 'read'} it`].filter(Boolean).join(' · '));
      write(why, plain(f.why));
      hide(why, !f.why);
    },
  };
}

const STATE = { downloading: 'downloading', held: 'waits', done: 'downloaded', cut: 'connection cut', idle: 'idle' };
const ORDER = ['cut', 'held', 'downloading', 'done', 'idle'];
let now = 0;
function makeDevice() {
  const [name, doing, seen, artifact, state, why, numbers] = ['bdi', 'span', 'time', 'bdi', 'span', 'span', 'span'].map((tag) => make(tag));
  name.className = 'name';
  state.className = 'state';
  for (const node of [doing, why, numbers]) node.className = 'muted';
  const bar = make('progress');
  return {
    node: rowOf(cell(name, ' ', doing), cell(seen), cell(artifact, ' ', bar, ' ', numbers), cell(state, ' ', why)),
    update(d) {
      write(name, plain(d.device));
      write(doing, plain(d.doing));
      time(seen, d.seen, d.seen == null ? '–' : `${age(now - d.seen)} ago`);
      write(artifact, plain(d.artifact));
      const moving = d.state !== 'idle' && d.state !== 'done';
      showProgress(bar, d.bytes, moving ? d.size : 0, `${plain(d.device)}, delivered`, `${percent(d.bytes, d.size)} %`);
      write(numbers, d.artifact ? (moving && d.size ? `${percent(d.bytes, d.size)} % of ${size(d.size)}` : size(d.bytes)) : '');
      write(state, STATE[d.state] ?? plain(d.state));
      attribute(state, 'data-state', d.state);
      write(why, plain(d.why));
    },
  };
}
function showDevices(s) {
  const all = s.devices?.list ?? [];
  const words = id('devices-filter').value.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (d) => {
    const text = `${plain(d.device)} ${plain(d.artifact)} ${STATE[d.state] ?? d.state} ${plain(d.why)} ${plain(d.doing)}`.toLowerCase();
    return words.every((word) => text.includes(word));
  };
  const shown = words.length ? all.filter(fits) : all;
  parts.devices(shown);
  hide(id('devices-none'), all.length > 0);
  hide(id('devices-scroll'), !all.length);
  write(id('devices-shown'), words.length ? `${shown.length} of ${all.length}` : '');
  const more = s.devices?.more ?? 0;
  write(id('devices-more'), more ? `${count(more, 'more device')} not listed.` : '');
  hide(id('devices-more'), !more);
}

function makeObject() {
  const [name, host, unverified, added, used, pinned] = ['bdi', 'bdi', 'span', 'time', 'time', 'span'].map((tag) => make(tag));
  const [bytes, hits] = [numberCell(), numberCell()];
  name.className = 'name';
  host.className = 'muted';
  unverified.className = pinned.className = 'state';
  attribute(unverified, 'data-state', 'unverified');
  attribute(pinned, 'data-state', 'pinned');
  return {
    node: rowOf(cell(name, ' ', host, ' ', unverified), bytes, numberCell(added), numberCell(used), hits, cell(pinned)),
    update(o) {
      write(name, plain(o.name));
      write(host, plain(o.host));
      write(unverified, o.verified === false ? 'not verified' : '');
      write(bytes, size(o.size));
      time(added, o.added, o.added == null ? '–' : age(now - o.added));
      time(used, o.used, o.used == null ? '–' : `${age(now - o.used)} ago`);
      write(hits, String(o.hits ?? '–'));
      write(pinned, o.pinned ? 'pinned' : '');
    },
  };
}
function showCache(s) {
  const list = s.cache?.list ?? [];
  parts.cache(list);
  hide(id('cache-scroll'), !list.length);
  hide(id('cache-none'), list.length > 0);
  write(id('cache-none'), s.cache?.enabled === false ? 'The cache is off: each device fetches its artifact from upstream.' : 'Nothing is cached yet.');
  const more = s.cache?.more ?? 0;
  write(id('cache-more'), more ? `${count(more, 'more artifact')} not listed.` : '');
  hide(id('cache-more'), !more);
}

function makeProblem() {
  const [at, level, text, times] = ['time', 'span', 'span', 'span'].map((tag) => make(tag));
  level.className = 'state';
  times.className = 'muted';
  return {
    node: make('li', {}, at, ' ', level, ' ', text, ' ', times),
    update(p) {
      time(at, p.at, clock(p.at, now));
      write(level, plain(p.level));
      attribute(level, 'data-state', plain(p.level));
      write(text, plain(p.text));
      write(times, p.times > 1 ? `${p.times} times` : '');
    },
  };
}
function showProblems(s) {
  const list = [...(s.problems ?? [])].sort((a, b) => b.at - a.at);
  parts.problems(list);
  hide(id('problems-none'), list.length > 0);
  hide(id('problems'), !list.length);
}

// ---- the chart -------------------------------------------------------------------------------------------------------

const SVG = 'http://www.w3.org/2000/svg';
function drawn(tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text != null) node.textContent = text;
  return node;
}

/** A step of 1, 2 or 5 (of 2, 4, 8 in sizes: binary units) that gives at most `most` of them. */
function step(range, most) {
  let s = 1;
  while (range / s > most) s *= 2;
  return s;
}
const MINUTES = [1, 2, 5, 10, 15, 30, 60, 120, 240, 360, 720, 1440, 2880, 10080];

function showChart(s) {
  const chart = id('chart');
  const points = s.saved?.history ?? [];
  const enough = points.length > 1 && points.at(-1).at > points[0].at;
  chart.toggleAttribute('hidden', !enough);
  document.querySelector('.legend').hidden = !enough;
  const saved = s.saved ?? {};
  const total = saved.percent == null ? 'Nothing was delivered yet.' :
    `Since ${clock(s.started, s.now)}, ${size(saved.delivered_bytes)} went to devices and ${size(saved.upstream_bytes)} came from upstream` +
    `${saved.again_bytes ? `, of that ${size(saved.again_bytes)} a second time` : ''}: ${size(saved.saved_bytes)} saved (${saved.percent.toFixed(1)} %).`;
  write(id('chart-text'), total);
  if (!enough) return;

  const [width, height, left, right, top, bottom] = [Math.max(240, chart.clientWidth || 400), 180, 62, 8, 8, 22];
  const [begin, end] = [points[0].at, points.at(-1).at];
  const highest = Math.max(1024, ...points.map((p) => Math.max(p.delivered, p.upstream)));
  const x = (at) => left + (at - begin) / (end - begin) * (width - left - right);
  const y = (bytes) => height - bottom - bytes / highest * (height - top - bottom);
  const nodes = [];
  const jump = step(highest, 4);
  for (let bytes = 0; bytes <= highest; bytes += jump) {
    nodes.push(drawn('line', { class: 'grid', x1: left, x2: width - right, y1: y(bytes), y2: y(bytes) }));
    nodes.push(drawn('text', { class: 'tick', x: left - 6, y: y(bytes) + 4, 'text-anchor': 'end' }, bytes ? size(bytes) : '0'));
  }
  const minutes = MINUTES.find((m) => (end - begin) / 60 / m <= width / 90) ?? 10080;
  const zone = new Date(end * 1000).getTimezoneOffset() * 60;
  for (let at = Math.ceil((begin - zone) / 60 / minutes) * 60 * minutes + zone; at <= end; at += minutes * 60) {
    nodes.push(drawn('text', { class: 'tick', x: Math.min(x(at), width - 18), y: height - 6, 'text-anchor': 'middle' }, clock(at, at).slice(0, 5)));
  }
  const path = (name) => points.map((p) => `${x(p.at).toFixed(1)},${y(p[name]).toFixed(1)}`);
  nodes.push(drawn('polygon', { class: 'saved', points: [...path('delivered'), ...path('upstream').reverse()].join(' ') }));
  nodes.push(drawn('polyline', { class: 'delivered', points: path('delivered').join(' ') }));
  nodes.push(drawn('polyline', { class: 'upstream', points: path('upstream').join(' ') }));
  chart.setAttribute('viewBox', `0 0 ${width} ${height}`);
  chart.replaceChildren(...nodes);
}

// ---- what comes from the gateway -------------------------------------------------------------------------------------

let status = null;  // the last one
let lost = null;    // since when there is no answer, Unix seconds of this machine
let heard = 0;      // when the last status came, milliseconds of this machine
let events = null;
let asking = false;
const parts = {};

function begin() {
  id('essentials').replaceChildren(id('live').content.cloneNode(true));
  const list = keyed(id('remarks'), (r) => r, () => {
    const node = make('li');
    return { node, update: (r) => write(node, plain(r)) };
  });
  parts.remarks = list;
  const named = (o) => `${o.name}\n${o.host}`;
  parts.fills = keyed(id('fills'), named, makeFill);
  parts.problems = keyed(id('problems'), (p) => `${p.level}\n${p.text}`, makeProblem);
  parts.devices = sortable(id('devices'), {
    device: (d) => d.device ?? '', seen: (d) => d.seen ?? 0, progress: (d) => (d.size ? (d.bytes ?? 0) / d.size : -1),
    state: (d) => ORDER.indexOf(d.state),
  }, 'state', (d) => d.device ?? '', makeDevice);
  parts.cache = sortable(id('cache'), {
    name: (o) => o.name ?? '', size: (o) => o.size ?? 0, added: (o) => -(o.added ?? 0), used: (o) => o.used ?? 0, hits: (o) => o.hits ?? 0,
    pinned: (o) => Number(Boolean(o.pinned)),
  }, 'used', named, makeObject);
  id('devices-filter').addEventListener('input', () => {
    showDevices(status);
    write(id('announce'), `${id('devices-shown').textContent || 'all'} devices shown`);
  });
  new ResizeObserver(() => showChart(status)).observe(id('chart').parentElement);
}

function show() {
  if (!status) return;
  now = status.now;
  if (!parts.devices) begin();
  showHeadline(judge(status));
  if (document.hidden) return;
  showFigures(status);
  const trouble = (f) => (f.state === 'retrying' ? 0 : f.state === 'waiting' ? 1 : 2);
  const fills = [...(status.fills ?? [])].sort((a, b) => trouble(a) - trouble(b) || a.started - b.started);
  parts.fills(fills);
  hide(id('fills'), !fills.length);
  hide(id('fills-none'), fills.length > 0);
  showDevices(status);
  showCache(status);
  showProblems(status);
  showChart(status);
  write(id('about'), `mgw-gateway ${plain(status.version)} on ${location.host}, running for ${age(status.now - status.started)}`);
}

function receive(text) {
  try {
    status = JSON.parse(text);
  } catch {
    return;
  }
  heard = Date.now();
  const found = lost != null;
  lost = null;
  show();
  showConnection();
  if (found) write(id('announce'), `The gateway answers again. ${id('headline').textContent}`);
}

function showConnection() {
  const line = id('connection');
  hide(line, false);
  attribute(line, 'data-level', lost ? 'bad' : null);
  attribute(document.body, 'class', lost ? 'stale' : null);
  if (!lost) {
    write(line, events?.readyState === EventSource.OPEN ? 'live' : 'every 5 s');
    return;
  }
  write(line, `No answer from the gateway since ${clock(lost)} (${duration(Date.now() / 1000 - lost)}). ` +
    `${status ? 'What is below is from then. ' : ''}This page keeps trying.`);
  showIcon('bad');
  document.title = '✕ No answer · gateway';
}

function miss() {
  if (lost == null) {
    lost = (heard || Date.now()) / 1000;
    write(id('announce'), 'There is no answer from the gateway.');
  }
  showConnection();
}

async function ask() {
  if (asking) return;
  asking = true;
  try {
    const answer = await fetch('/status.json', { cache: 'no-store', signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(String(answer.status));
    receive(await answer.text());
  } catch {
    miss();
  } finally {
    asking = false;
  }
}

function listen() {
  events?.close();
  events = null;
  if (document.hidden) return;  // then it is asked for now and then: a browser has few connections to one host
  events = new EventSource('/events');
  events.addEventListener('status', (event) => receive(event.data));
  events.addEventListener('error', () => ask());
}

let asked = Date.now();
function tick() {
  if (lost) showConnection();
  if (Date.now() - Math.max(heard, asked) < 5000) return;
  asked = Date.now();
  if (!document.hidden && events?.readyState === EventSource.CLOSED) listen();
  ask();
}

id('zone').textContent = `Times are in ${Intl.DateTimeFormat().resolvedOptions().timeZone ?? 'this machine\'s zone'}.`;
document.addEventListener('visibilitychange', () => {
  listen();
  if (!document.hidden) ask();
});
listen();
setInterval(tick, 1000);

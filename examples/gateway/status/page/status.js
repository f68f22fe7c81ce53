// The live status page. Everything that comes from the gateway is shown as text, never as HTML; rows are changed in
// place, so that focus, selection and scrolling stay where they are while numbers change each second.
'use strict';

const id = (name) => document.getElementById(name);

// ---- texts -----------------------------------------------------------------------------------------------------------

/** Names come from outside: what cannot be seen, or turns the direction of writing, is spelled out, and there is an end. */
function plain(text, most = 300) {
  const all = String(text ?? '');
  const kept = all.length > most ? `${all.slice(0, most)}… (${all.length} characters)` : all;
  return kept.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (c) => `[U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}]`);
}
const short = (text) => plain(text, 100);

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
function unitOf(bytes) {
  let unit = 0;
  while (bytes >= 1023.95 && unit < UNITS.length - 1) [bytes, unit] = [bytes / 1024, unit + 1];
  return unit;
}
const inUnit = (bytes, unit, digits) => (bytes / 1024 ** unit).toFixed(unit ? digits : 0);
/** One digit behind the point; two of small numbers where it matters. */
const digitsOf = (bytes) => bytes / 1024 ** unitOf(bytes) < 10 ? 2 : 1;
const size = (bytes, digits = 1) => bytes == null ? 'unknown' : `${inUnit(bytes, unitOf(bytes), digits)} ${UNITS[unitOf(bytes)]}`;
const exact = (bytes) => size(bytes, digitsOf(bytes));
const rate = (bytes) => bytes == null ? 'unknown rate' : `${size(bytes)}/s`;
/** "0.8 of 1.0 MiB" */
const part = (bytes, whole, digits = 1) => whole ? `${inUnit(bytes ?? 0, unitOf(whole), digits)} of ${size(whole, digits)}` : size(bytes, digits);
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
/** "bdi.name": a <bdi> of class name. */
const nodes = (...kinds) => kinds.map((kind) => {
  const [tag, name] = kind.split('.');
  return make(tag, name ? { class: name } : {});
});
function time(node, at, text) {
  const known = at > 0 && at < 1e11;
  attribute(node, 'datetime', known ? new Date(at * 1000).toISOString() : null);
  attribute(node, 'title', known ? clock(at, 0) : null);
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

const { compare } = new Intl.Collator('en', { numeric: true });
const order = (a, b) => typeof a === 'string' ? compare(a, b) : a - b;

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
/** On a narrow screen, where columns have no heading above them, it says its own. */
const labelled = (label, ...children) => make('td', { role: 'cell', class: 'number', 'data-label': label }, ...children);
const rowOf = (...cells) => make('tr', { role: 'row' }, ...cells);

// ---- in one sentence -------------------------------------------------------------------------------------------------

function linkRate({ bytes_per_second: bytes, limit }) {
  return limit === 0 ? `${rate(bytes ?? 0)}, paused` : `${part(bytes ?? 0, limit)}/s`;
}
/** Of a fill or a device; it stands in the artifact's header, which may not have come yet. */
const artifactName = (name) => name ? short(name) : 'artifact, name not known yet';

/** Without what would end the sentence that it stands in. */
const inside = (text) => plain(text).replace(/[.\s]+$/, '');

/** How many of the devices are in a state. Of a list that was cut those in front are known: who waits, and who was cut off. */
function are(s, state) {
  const list = s.devices?.list ?? [];
  const least = s.devices?.more && list.at(-1)?.state === state ? 'at least ' : '';
  const number = list.filter((d) => d.state === state).length;
  return number && `${least}${number}`;
}

/** {level: good|warn|bad, kind: what is announced when it changes, text, remarks} */
function judge(s) {
  const { upstream = {}, fills = [], link = {}, cache = {} } = s;
  const [busy, held] = [are(s, 'downloading'), are(s, 'held')];
  const remarks = [...(s.reasons ?? []), ...(s.warnings ?? [])];
  if (upstream.state === 'unreachable') {
    const since = upstream.since == null ? '' : ` for ${age(s.now - upstream.since)} (since ${clock(upstream.since, s.now)})`;
    const effect = fills.length || held ? 'Downloads wait; nothing is lost.' : 'What is in the cache is still delivered.';
    return { level: 'bad', kind: 'upstream', remarks: remarks.filter((r) => !upstream.reason || !r.includes(upstream.reason)),
             text: `Upstream has not been reachable${since}: ${inside(upstream.reason || 'no reason known')}. ${effect}` };
  }
  if (cache.trouble) return { level: 'bad', kind: 'cache', remarks, text: `The cache has a problem: ${inside(cache.trouble)}.` };
  if (s.ready === false) {
    const [first, ...others] = remarks;
    return { level: 'bad', kind: 'ready', remarks: others, text: `The gateway is not ready: ${inside(first ?? 'no reason given')}.` };
  }
  const trying = fills.filter((f) => f.state === 'retrying' || f.state === 'waiting');
  if (trying.length) {
    const [{ name, why }] = trying;
    const what = trying.length > 1 ? `${trying.length} downloads wait` : `The download of ${name ? short(name) : 'an artifact'} waits`;
    return { level: 'warn', kind: 'fill', remarks, text: `${what}${why ? `: ${inside(why)}` : ''}. Nothing is lost.` };
  }
  const doing = [busy ? `${busy} ${busy === '1' ? 'device' : 'devices'} updating` : 'no device is updating'];
  if (held) doing.push(`${held} waiting`);
  if (busy || fills.length) doing.push(`link at ${linkRate(link)}`);
  const how = remarks.length ? `It works, with ${count(remarks.length, 'warning')}` : 'All is well';
  return { level: remarks.length ? 'warn' : 'good', kind: remarks.length ? 'warnings' : 'well', remarks, text: `${how}: ${doing.join(', ')}.` };
}

const MARKS = { good: '✓', warn: '!', bad: '✕' };
const ICONS = { good: ['#1a7f4b', 'M4.5 8.5l2.5 2.5 4.5-5'], warn: ['#b36b00', 'M8 4v5M8 11v1.3'], bad: ['#b3261e', 'M5 5l6 6M11 5l-6 6'] };
function showIcon(level) {
  const [color, path] = ICONS[level];
  attribute(id('icon'), 'href', `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">` +
    `<circle cx="8" cy="8" r="8" fill="${color}"/><path d="${path}" fill="none" stroke="#fff" stroke-width="2"/></svg>`)}`);
}

// ---- the parts of the page -------------------------------------------------------------------------------------------

let [announced, last, lastSince] = ['', '', 0];
function showHeadline({ level, kind, text, remarks }) {
  attribute(id('headline'), 'data-level', level);
  write(id('headline'), text);
  parts.remarks(remarks);
  hide(id('remarks'), !remarks.length);
  showIcon(level);
  const title = `${MARKS[level]} ${text.split(/[:.] /)[0]} · gateway`;
  if (document.title !== title) document.title = title;
  // Read out when the state changes, not each time when a number does, nor when a link only stumbles.
  announced ||= kind;
  if (last !== kind) [last, lastSince] = [kind, Date.now()];
  if (announced !== kind && Date.now() - lastSince >= 2000) {
    write(id('announce'), text);
    announced = kind;
  }
}

function figure(name, level, value, more) {
  const box = id(`figure-${name}`);
  attribute(box, 'data-level', level);
  write(box.children[1], plain(value));
  write(box.children[2], more.filter(Boolean).map((m) => m.length > 18 ? plain(m) : plain(m).replaceAll(' ', '\u00a0')).join(' · '));
}

function showFigures(s) {
  const { upstream = {}, link = {}, saved = {}, cache = {}, devices = {}, connections = {}, problems = [] } = s;
  const latency = upstream.latency_ms?.requests ? upstream.latency_ms : null;
  const ms = (n) => n == null ? '?' : n < 10 ? n.toFixed(1) : Math.round(n);
  const [level, state] = { reachable: ['good', 'reachable'], unreachable: ['bad', 'not reachable'] }[upstream.state] ?? [null, 'not asked yet'];
  figure('upstream', level, state, [(upstream.url ?? '').replace(/^https:\/\//, ''), latency && `${ms(latency.median)} ms`,
                                    latency && `95 % within ${ms(latency.p95)} ms`]);
  figure('link', null, linkRate(link), [
    link.held_downloads && `${count(link.held_downloads, 'download')} held`, link.held_reports && `${count(link.held_reports, 'report')} held`,
    link.limit == null && 'no limit', `${(link.requests_per_second ?? 0).toFixed(1)} requests/s`]);
  const nothing = saved.percent == null;
  figure('saved', null, nothing ? 'nothing yet' : `${saved.percent.toFixed(1)} %`,
         [nothing ? 'no artifact was delivered' : part(saved.saved_bytes, saved.delivered_bytes, digitsOf(saved.delivered_bytes))]);
  figure('cache', cache.trouble ? 'bad' : null, cache.enabled === false ? 'off' : size(cache.size ?? 0), [
    cache.trouble, cache.max_size && `of ${size(cache.max_size)}`, count(cache.objects, 'artifact'),
    cache.parts && `${cache.parts} unfinished`, cache.pinned_bytes && `${size(cache.pinned_bytes)} pinned`]);
  const [busy, held, cut] = ['downloading', 'held', 'cut'].map((name) => are(s, name));
  figure('devices', cut ? 'warn' : null, String(devices.count ?? 0),
         [`${busy} updating`, held && `${held} waiting`, cut && `${cut} cut off`, count(connections.open, 'connection')]);
  const newest = Math.max(0, ...problems.map((p) => p.at));
  figure('problems', problems.length && s.now - newest < 3600 ? 'warn' : null, String(problems.length || 'none'),
         [problems.length ? `the last one ${age(s.now - newest)} ago` : 'since the start']);
}

/** A list, or the sentence that there is none. */
function showList(name, list, box = id(name), any = list.length > 0) {
  parts[name](list);
  hide(box, !any);
  hide(id(`${name}-none`), any);
}
function showMore(name, more, what) {
  write(id(`${name}-more`), more ? `${count(more, what)} not listed.` : '');
  hide(id(`${name}-more`), !more);
}

const FILL = { fetching: '', waiting: 'waits', retrying: 'tries again', verifying: 'is being verified' };
function makeFill() {
  const [name, state, host, share] = nodes('bdi.name', 'span.state', 'bdi.muted', 'span.name');
  const [bar, numbers, readers, why] = nodes('progress', 'span', 'span.muted', 'p.why');
  return {
    node: make('li', {}, make('p', { class: 'ends' }, make('span', {}, name, ' ', state, ' ', host), share), bar,
               make('p', { class: 'ends' }, numbers, readers), why),
    update(f) {
      const done = percent(f.have, f.size);
      write(name, artifactName(f.name));
      write(host, f.host ? `from ${short(f.host)}` : '');
      write(state, FILL[f.state] ?? plain(f.state));
      attribute(state, 'data-state', f.state);
      write(share, done == null ? '' : `${done} %`);
      showProgress(bar, f.have, f.size, `${artifactName(f.name)}, fetched`, `${done} %, ${part(f.have, f.size)}`);
      const moving = f.state === 'fetching';
      const left = moving && f.seconds_left != null && `${duration(f.seconds_left)} left`;
      write(numbers, [part(f.have, f.size), moving && rate(f.bytes_per_second), left].filter(Boolean).join(' · '));
      write(readers, `${count(f.readers, 'device')} ${f.readers === 1 ? 'reads' : 'read'} it`);
      write(why, plain(f.why));
      hide(why, !f.why);
    },
  };
}

const STATE = { downloading: 'downloading', held: 'waiting', done: 'downloaded', cut: 'connection cut', idle: 'idle' };
const ORDER = ['cut', 'held', 'downloading', 'done', 'idle'];
let now = 0;
function makeDevice() {
  const [name, seen, doing, artifact, bar] = nodes('bdi', 'time', 'bdi.muted', 'bdi', 'progress');
  const [numbers, state, why] = nodes('span.muted', 'span.state', 'span.muted');
  return {
    node: rowOf(cell(name), cell(seen, ' ', doing), cell(make('span', { class: 'bar' }, artifact, bar, numbers)), cell(state, ' ', why)),
    update(d) {
      write(name, short(d.device));
      write(doing, short(d.doing));
      attribute(doing, 'title', short(d.doing) || null);
      time(seen, d.seen, d.seen == null ? '–' : now - d.seen < 2 ? 'now' : `${age(now - d.seen)} ago`);
      write(artifact, short(d.artifact) || '–');
      const moving = d.state !== 'idle' && d.state !== 'done';
      showProgress(bar, d.bytes, moving ? d.size : 0, `${short(d.device)}, delivered`, `${percent(d.bytes, d.size)} % of ${size(d.size)}`);
      write(numbers, !d.artifact ? '' : moving && d.size ? `${percent(d.bytes, d.size)} %` : size(d.bytes));
      write(state, STATE[d.state] ?? plain(d.state));
      attribute(state, 'data-state', d.state);
      write(why, plain(d.why).replace(/^waits(: | (?=for ))/, ''));  // the state says so
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
  showList('devices', shown, id('devices-scroll'), all.length > 0);
  showMore('devices', s.devices?.more, 'more device');
  write(id('devices-shown'), words.length ? `${shown.length} of ${all.length}` : '');
}

function makeObject() {
  const [name, unverified, host] = nodes('bdi.name', 'span.state', 'bdi.muted');
  const [added, used, pinned] = nodes('time', 'time', 'span.state');
  const [bytes, hits] = [labelled('Size'), labelled('Hits')];
  attribute(unverified, 'data-state', 'unverified');
  return {
    node: rowOf(cell(name, ' ', unverified, ' ', host), bytes, labelled('Age', added), labelled('Used', used), hits, labelled('Pinned', pinned)),
    update(o) {
      write(name, o.name ? short(o.name) : 'no artifact');
      write(host, o.host ? `from ${short(o.host)}` : '');
      write(unverified, o.verified === false ? 'not verified' : '');
      write(bytes, size(o.size));
      time(added, o.added, o.added == null ? '–' : age(now - o.added));
      time(used, o.used, o.used == null ? '–' : `${age(now - o.used)} ago`);
      write(hits, String(o.hits ?? '–'));
      write(pinned, o.pinned ? 'yes' : 'no');
      attribute(pinned, 'data-state', o.pinned ? 'pinned' : null);
    },
  };
}
function showCache(s) {
  showList('cache', s.cache?.list ?? [], id('cache-scroll'));
  showMore('cache', s.cache?.more, 'more artifact');
  write(id('cache-none'), s.cache?.enabled === false ? 'The cache is off: each device fetches for itself.' : 'Nothing is cached yet.');
}

function makeProblem() {
  const [at, level, text, times] = nodes('time', 'span.state', 'span', 'span.muted');
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
// ---- the chart -------------------------------------------------------------------------------------------------------

const SVG = 'http://www.w3.org/2000/svg';
function drawn(tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text != null) node.textContent = text;
  return node;
}

/** A power of two, so that the lines of the chart stand at round sizes. */
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
    `Since ${clock(s.started, s.now)}, ${exact(saved.delivered_bytes)} went to devices and ${exact(saved.upstream_bytes)} came from ` +
    `upstream${saved.again_bytes ? `, of that ${exact(saved.again_bytes)} a second time` : ''}: ` +
    `${exact(saved.saved_bytes)} saved (${saved.percent.toFixed(1)} %).`;
  write(id('chart-text'), total);
  if (!enough) return;

  const [width, height, left, right, top, bottom] = [Math.max(200, chart.clientWidth || 400), 180, 60, 8, 10, 22];
  const [begin, end] = [points[0].at, points.at(-1).at];
  const most = Math.max(1024, ...points.map((p) => Math.max(p.delivered, p.upstream)));
  const jump = step(most, 4);
  const highest = Math.ceil(most / jump) * jump;
  const x = (at) => left + (at - begin) / (end - begin) * (width - left - right);
  const y = (bytes) => height - bottom - bytes / highest * (height - top - bottom);
  const shapes = [];
  for (let bytes = 0; bytes <= highest; bytes += jump) {
    shapes.push(drawn('line', { class: 'grid', x1: left, x2: width - right, y1: y(bytes), y2: y(bytes) }));
    shapes.push(drawn('text', { class: 'tick', x: left - 6, y: y(bytes) + 4, 'text-anchor': 'end' }, bytes ? size(bytes).replace('.0', '') : '0'));
  }
  const label = (at, text, anchor) => shapes.push(drawn('text', { class: 'tick', x: x(at), y: height - 6, 'text-anchor': anchor }, text));
  const minutes = MINUTES.find((m) => (end - begin) / 60 / m <= width / 90) ?? 10080;
  const zone = new Date(end * 1000).getTimezoneOffset() * 60;
  for (let at = Math.ceil((begin - zone) / 60 / minutes) * 60 * minutes + zone; end - begin >= 180 && at <= end; at += minutes * 60) {
    label(at, clock(at, at).slice(0, 5), x(at) > width - 26 ? 'end' : 'middle');
  }
  if (end - begin < 180) {
    label(begin, clock(begin, end), 'start');
    label(end, clock(end, end), 'end');
  }
  const path = (name) => points.map((p) => `${x(p.at).toFixed(1)},${y(p[name]).toFixed(1)}`);
  shapes.push(drawn('polygon', { class: 'saved', points: [...path('delivered'), ...path('upstream').reverse()].join(' ') }));
  shapes.push(drawn('polyline', { class: 'delivered', points: path('delivered').join(' ') }));
  shapes.push(drawn('polyline', { class: 'upstream', points: path('upstream').join(' ') }));
  chart.setAttribute('viewBox', `0 0 ${width} ${height}`);
  chart.replaceChildren(...shapes);
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
  showList('fills', fills);
  showDevices(status);
  showCache(status);
  showList('problems', [...(status.problems ?? [])].sort((a, b) => b.at - a.at));
  showChart(status);
  write(id('about'), `mgw-gateway ${plain(status.version)} on ${location.host}, running for ${age(status.now - status.started)}`);
}

function receive(text) {
  let told;
  try {
    told = JSON.parse(text);
  } catch {
    return miss();
  }
  const found = lost != null;
  [status, heard, lost] = [told, Date.now(), null];
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
  const text = await fetch('/status.json', { cache: 'no-store', signal: AbortSignal.timeout(5000) })
    .then((answer) => (answer.ok ? answer.text() : null), () => null).catch(() => null);
  asking = false;
  if (text == null) miss(); else receive(text);
}

function listen() {
  events?.close();
  events = null;
  if (document.hidden) return;  // then it is asked now and then: a browser has few connections to one host
  events = new EventSource('/events');
  events.addEventListener('status', (event) => receive(event.data));
  events.addEventListener('error', () => ask());
}

let asked = Date.now();
function tick() {
  if (lost) showConnection();
  if (Date.now() - Math.max(heard, asked) < 5000) return;
  asked = Date.now();
  listen();  // also after one that is open and silent
  ask();
}

id('zone').textContent = `Times are in ${Intl.DateTimeFormat().resolvedOptions().timeZone ?? 'this machine\'s zone'}.`;
document.addEventListener('visibilitychange', () => {
  listen();
  if (!document.hidden) ask();
});
listen();
setInterval(tick, 1000);

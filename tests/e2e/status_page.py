"""The status page in a headless Chromium, before a stand-in that tells what a test wants and, at the end, before the gateway.

What a page is asked is not what it looks like, but what somebody would find there: texts, names of the accessibility
tree, where the focus is, whether something sticks out.
"""
import json
import re
import subprocess

from chromium import Browser
from status_stand_in import MIB, StandIn
from support import BIN, MiniMender, check, free_port, start_gateway

HOSTILE = '<script>document.title="taken"</script><img src=x onerror="document.title=1">'
TURNED = 'safe\u202egpj.exe\u202c\u200f\u0000\u0007'
STICKS_OUT = '''[...document.querySelectorAll('body *')].filter((e) => !e.closest('.unseen, .skip, svg, .scroll') && e.getClientRects().length &&
  (e.getBoundingClientRect().right > innerWidth + 1 || e.getBoundingClientRect().left < -1)).map((e) => e.outerHTML.slice(0, 200))'''
LIVE = "document.getElementById('headline')"


def surroundings(bench, **more):
    """(stand-in, browser)"""
    return bench.enter(StandIn(**more)), bench.enter(Browser(bench.path('browser', 'profile')))


def live(bench, browser, stand_in, **more):
    page = bench.enter(browser.page(**more))
    page.open(stand_in.url)
    page.until(LIVE)
    return page


def without_faults(page):
    check(not page.faults, f'the browser complains: {page.faults[:5]}')


def hostile(status):
    status['devices']['list'][0].update(device=HOSTILE, artifact=TURNED, why=HOSTILE, doing=HOSTILE, state=HOSTILE)
    status['devices']['list'][1].update(device='n' * 10000, artifact='m' * 10000, why='w ' * 5000)
    status['cache']['list'].append({'name': HOSTILE, 'host': 'h' * 10000, 'size': None, 'added': None, 'used': None, 'hits': None,
                                    'pinned': None, 'verified': None})
    status['fills'].append({'name': 'f' * 10000, 'host': HOSTILE, 'size': None, 'have': 5, 'bytes_per_second': None, 'seconds_left': None,
                            'readers': 1, 'state': 'retrying', 'why': HOSTILE + 'y' * 10000, 'started': status['now']})
    status['problems'].append({'at': status['now'], 'level': HOSTILE, 'text': HOSTILE + 'z' * 10000, 'times': 1})
    status.update(warnings=[HOSTILE, TURNED], version=HOSTILE)
    status['upstream']['url'] = 'https://' + 'u' * 10000


def test_progress_is_live_and_in_place(bench):
    stand_in, browser = surroundings(bench)
    page = live(bench, browser, stand_in)
    page.until("document.getElementById('connection').innerText === 'live'")
    check(re.match(r'All is well: 10 devices updating, 1 waiting, link at 0\.8 of 1\.0 MiB/s\.', page.text('#headline')), page.text('#headline'))
    page.evaluate("bar = document.querySelector('#fills progress'); row = document.querySelector('#devices tbody tr'); 0")
    check('52 %' in page.text('#fills') and '1 min 2 s left' in page.text('#fills') and '11 devices read it' in page.text('#fills'), page.text('#fills'))
    for have in (60, 75):
        stand_in.tell(lambda s: (s['fills'][0].update(have=have * MIB, seconds_left=9), s.update(now=s['now'] + 1)))
        page.until(f"document.querySelector('#fills progress').value === {have * MIB} && "
                   f"['{have} %', '9 s left'].every((text) => document.getElementById('fills').innerText.includes(text))")
    check(page.evaluate('bar.isConnected && row.isConnected'), 'bar and row were made anew')
    check(page.text('#announce') == '', f'numbers are read out: {page.text("#announce")!r}')

    def lose(s):
        s['upstream'].update(state='unreachable', reason='Connection refused', since=s['now'] - 180)
        s['fills'][0].update(state='retrying', why='Connection refused')
    stand_in.tell(lose)
    page.until("document.getElementById('headline').dataset.level === 'bad'")
    said = page.text('#headline')
    check(re.fullmatch(r'Upstream has not been reachable for 3 min \(since \d\d:\d\d:\d\d\): Connection refused\. Downloads wait; nothing is lost\.', said), said)
    page.until(f"document.getElementById('announce').textContent === {json.dumps(said)}")
    check(page.evaluate('document.title').startswith('✕ Upstream'), page.evaluate('document.title'))
    stand_in.tell(lambda s: (s['upstream'].update(state='reachable'), s.update(fills=[])))
    page.until("document.getElementById('fills').hidden && document.getElementById('headline').dataset.level === 'good'")
    without_faults(page)


def test_sorted_and_filtered_by_keyboard(bench):
    stand_in, browser = surroundings(bench)
    page = live(bench, browser, stand_in)
    first = "document.querySelector('#devices tbody td').innerText"
    check(page.evaluate(first) == 'device-04', 'what is wrong does not come first')

    def reach(wanted):
        for _ in range(30):
            page.press('Tab')
            if page.evaluate('document.activeElement.matches(%s)' % json.dumps(wanted)):
                return
        check(False, f'Tab does not lead to {wanted}')
    reach('#devices-filter')
    page.type('Release-2 5')
    page.until("document.querySelectorAll('#devices tbody tr').length < 12")
    check(page.text('#devices-shown') == '1 of 20' and page.evaluate(first) == 'device-05', page.text('#devices'))
    stand_in.tell(lambda s: s['devices']['list'][5].update(bytes=77 * MIB))
    page.until("document.querySelector('#devices tbody').innerText.includes('77 %')")
    page.type('9')
    check(page.evaluate("document.activeElement.id + ' ' + document.activeElement.value") == 'devices-filter Release-2 59', 'focus or text are gone')
    page.until("document.querySelectorAll('#devices tbody tr').length === 0")
    check('0 of 20 devices' in page.evaluate("document.getElementById('announce').textContent"), 'the number is not read out')
    page.press('Escape')
    page.until("document.querySelectorAll('#devices tbody tr').length === 20")

    reach('#devices th:first-child button')
    page.press('Enter')
    page.until(f"{first} === 'device-00'")
    page.press(' ')
    page.until(f"{first} === 'device-19'")
    check(page.evaluate("document.querySelector('#devices th').getAttribute('aria-sort')") == 'descending', 'the order is not told')
    page.evaluate("document.getElementById('devices-scroll').scrollTop = 100")
    before = page.evaluate("document.getElementById('devices-scroll').scrollTop")
    stand_in.tell(lambda s: s['devices']['list'].append(dict(s['devices']['list'][0], device='device-99', seen=s['now'])))
    page.until(f"{first} === 'device-99'")
    check(page.evaluate("document.activeElement.value") == 'device', 'the focus is gone')
    check(page.evaluate("document.getElementById('devices-scroll').scrollTop") >= before, 'it was scrolled')
    reach('#cache th:nth-child(5) button')
    page.press('Enter')
    page.until("document.querySelector('#cache tbody td').innerText.includes('sensor-fw-3')")
    without_faults(page)


# What somebody reads off the chart: the scale by its labels, and what the curves say by that. Times are those at which the
# labels stand, as the browser's clock shows them.
READ_CHART = """(() => {
  const svg = document.getElementById('chart'), all = (selector) => [...svg.querySelectorAll(selector)];
  const number = (node, name) => Number(node.getAttribute(name));
  const units = {B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30};
  const sizes = all('text[text-anchor=end]').filter((t) => /^0$|B$/.test(t.textContent)).map((t) => {
    const [n, unit] = t.textContent.split(' ');
    return {bytes: Number(n) * units[unit ?? 'B'], y: number(t, 'y') - 4, text: t.textContent};
  });
  const lines = all('line.grid').map((l) => number(l, 'y1'));
  const [low, high] = [sizes[0], sizes.at(-1)];
  const bytes = (y) => low.bytes + (low.y - y) / (low.y - high.y) * (high.bytes - low.bytes);
  const points = (selector) => svg.querySelector(selector).getAttribute('points').split(' ').map((p) => p.split(',').map(Number));
  const told = (selector) => points(selector).map(([x, y]) => [x, bytes(y)]);
  const times = all('text').filter((t) => /^\\d\\d:\\d\\d/.test(t.textContent)).map((t) => [t.textContent, number(t, 'x')]);
  const box = svg.getBoundingClientRect();
  const outside = all('text').filter((t) => { const b = t.getBoundingClientRect();
    return b.left < box.left - 1 || b.right > box.right + 1 || b.top < box.top - 1 || b.bottom > box.bottom + 1; }).map((t) => t.textContent);
  return {hidden: svg.hasAttribute('hidden'), sizes: sizes.map((s) => s.text), evenly: sizes.every((s, i) => Math.abs(s.y - lines[i]) < 0.01),
          lines: lines.length, times, outside, delivered: told('.delivered'), upstream: told('.upstream'), saved: points('.saved').length};
})()"""


def chart_says(page, history):
    """What the chart says is what the history does: each point, to a pixel. Returns what was read off it."""
    page.until(f"document.querySelector('#chart .delivered')?.getAttribute('points').split(' ').length === {len(history)}")
    chart = page.evaluate(READ_CHART)
    check(not chart['hidden'] and chart['evenly'] and chart['lines'] == len(chart['sizes']) >= 2, f'{chart}')
    check(not chart['outside'], f"labels stick out: {chart['outside']}")
    check(chart['saved'] == 2 * len(history), f"the area between the curves has {chart['saved']} corners")
    most = max(max(p['delivered'], p['upstream']) for p in history)
    begin, end = history[0]['at'], history[-1]['at']
    left, right = chart['delivered'][0][0], chart['delivered'][-1][0]
    check(right > left + 100, f'{chart}')
    for name in ('delivered', 'upstream'):
        for point, (x, bytes_) in zip(history, chart[name], strict=True):
            check(abs(bytes_ - point[name]) <= most / 100, f'{name} at {point["at"] - begin} s is {point[name]}; the chart says {bytes_}')
            check(abs(x - left - (point['at'] - begin) / (end - begin) * (right - left)) < 1, f'{name} at {point["at"] - begin} s: x is {x}')
    check(len(chart['times']) >= 2, f"{chart['times']}")
    for text, x in chart['times']:
        at = begin + (x - left) / (right - left) * (end - begin)
        clock = page.evaluate(f"[-1, 0, 1].map((n) => new Date(({at} + n) * 1000).toTimeString().slice(0, {len(text)}))")
        check(text in clock, f'{text} stands at {clock}')
    return chart


def test_the_chart_draws_what_was_saved(bench):
    stand_in, browser = surroundings(bench)
    page = live(bench, browser, stand_in)
    chart = chart_says(page, stand_in.status['saved']['history'])
    check(chart['sizes'] == ['0', '512 MiB', '1 GiB', '1.5 GiB'], f"{chart['sizes']}")
    text = page.text('#chart-text')
    check(re.fullmatch(r'Since \d\d:\d\d:\d\d, 1\.11 GiB went to devices and 150\.0 MiB came from upstream: 990\.0 MiB saved \(86\.8 %\)\.', text), text)
    described = [n for n in page.call('Accessibility.getFullAXTree')['nodes'] if not n['ignored'] and n['role']['value'] == 'image']
    check([(n['name']['value'], n.get('description', {}).get('value')) for n in described] == [('Bytes saved', text)], f'{described}')
    check([page.text(f'.legend .{name}') for name in ('delivered', 'upstream')] == ['to devices', 'from upstream'], page.text('.legend'))

    def go_on(s):
        last = s['saved']['history'][-1]
        s['now'] += 60
        s['saved']['history'].append({'at': s['now'], 'upstream': last['upstream'] + 90 * MIB, 'delivered': last['delivered'] + 1800 * MIB})
        s['saved'].update(upstream_bytes=240 * MIB, again_bytes=5 * MIB, delivered_bytes=2940 * MIB, saved_bytes=2700 * MIB, percent=91.8)
    stand_in.tell(go_on)
    check(chart_says(page, stand_in.status['saved']['history'])['sizes'] == ['0', '1 GiB', '2 GiB', '3 GiB'], 'the scale does not follow')
    check('240.0 MiB came from upstream, of that 5.00 MiB a second time: 2.64 GiB saved (91.8 %)' in page.text('#chart-text'), page.text('#chart-text'))
    page.resize(320)
    page.until("document.getElementById('chart').viewBox.baseVal.width < 320")
    chart_says(page, stand_in.status['saved']['history'])

    stand_in.tell(lambda s: s['saved'].update(history=s['saved']['history'][-2:-1] + [dict(s['saved']['history'][-1], at=s['now'] - 15)]))
    chart_says(page, stand_in.status['saved']['history'])  # of a minute: both its ends
    stand_in.tell(lambda s: s.update(saved={'upstream_bytes': 0, 'again_bytes': 0, 'delivered_bytes': 0, 'saved_bytes': 0, 'percent': None,
                                            'history': [{'at': s['now'], 'upstream': 0, 'delivered': 0}]}))
    page.until("document.getElementById('chart').hasAttribute('hidden') && document.querySelector('.legend').hidden")
    check(page.text('#chart-text') == 'Nothing was delivered yet.', page.text('#chart-text'))
    without_faults(page)


def test_what_is_in_the_cache(bench):
    stand_in, browser = surroundings(bench)
    page = live(bench, browser, stand_in)
    rows = "[...document.querySelectorAll('#cache tbody tr')].map((row) => [...row.cells].map((cell) => cell.innerText.trim()))"
    columns = page.evaluate("[...document.querySelectorAll('#cache th')].map((head) => head.innerText)")
    check(columns == ['Artifact', 'Size', 'Age', 'Last used', 'Hits', 'Pinned'], f'{columns}')
    release = ['release-1 from storage.example.com', '64.0 MiB', '9 d', '6 min ago', '40', 'yes']
    sensor = ['sensor-fw-3 not verified from files.example.org', '3.0 MiB', '2 h', '1 h ago', '212', 'no']
    base = ['base-os-12.4 from storage.example.com', '1.2 GiB', '31 d', '2 d ago', '7', 'no']

    def shown(*wanted):
        wanted = [[re.sub(r'\s+', ' ', text) for text in row] for row in wanted]
        return page.until(f"JSON.stringify({rows}.map((row) => row.map((text) => text.replace(/\\s+/g, ' ')))) === "
                          f'JSON.stringify({json.dumps(wanted)})')
    shown(release, sensor, base)  # what was used last comes first
    check('1.4 GiB' in page.text('#figure-cache') and '3\u00a0artifacts' in page.text('#figure-cache') and
          '64.0\u00a0MiB\u00a0pinned' in page.text('#figure-cache'), page.text('#figure-cache'))

    def sort(column):
        page.evaluate(f"document.querySelector('#cache th:nth-child({column}) button').click()")
    for column, first, second in ((2, (base, release, sensor), (sensor, release, base)), (3, (sensor, release, base), (base, release, sensor)),
                                  (5, (sensor, release, base), (base, release, sensor)), (6, (release, base, sensor), (base, sensor, release)),
                                  (1, (base, release, sensor), (sensor, release, base))):
        sort(column)
        shown(*first)
        sort(column)
        shown(*second)
    page.evaluate("kept = document.querySelector('#cache tbody tr:nth-child(2)'); 0")  # release-1

    def use(s):
        s['cache']['list'][0].update(hits=41, used=s['now'], pinned=False)
        s['cache']['list'][2].update(pinned=True, verified=True)
    stand_in.tell(use)
    shown(['sensor-fw-3 from files.example.org', *sensor[1:5], 'yes'], [*release[:3], '0 s ago', '41', 'no'], base)
    check(page.evaluate('kept.isConnected && kept.innerText.includes("release-1")'), 'rows were made anew')
    stand_in.tell(lambda s: s['cache'].update(list=[], objects=0))
    page.until("!document.getElementById('cache-none').hidden")
    check(page.text('#cache-none') == 'Nothing is cached yet.', page.text('#cache-none'))
    without_faults(page)


def test_hostile_texts_are_texts(bench):
    stand_in, browser = surroundings(bench)
    stand_in.tell(hostile)
    page = live(bench, browser, stand_in, width=320)
    shown = page.text()
    for wanted in ('<script>document.title', 'safe[U+202E]gpj.exe[U+202C][U+200F][U+0000][U+0007]', 'onerror='):
        check(wanted in shown, f'{wanted!r} is not shown')
    check(page.evaluate("document.querySelectorAll('main script, main img').length") == 0, 'HTML was made of it')
    check(page.evaluate('document.title') not in ('taken', '1') and len(shown) < 20000, f'{len(shown)} characters')
    for width in (320, 768, 1280):
        page.resize(width)
        page.until(f'innerWidth === {width}')
        check(page.evaluate('document.documentElement.scrollWidth') == width, f'{width} px: the page scrolls to the side')
        check(not page.evaluate(STICKS_OUT), f'{width} px: {page.evaluate(STICKS_OUT)}')
    stand_in.tell(lambda s: s.update(upstream={}, link={}, saved={}, fills=[{}], cache={'list': [{}]}, devices={'list': [{}]},
                                     problems=[{}], connections={}, reasons=None, warnings=None))
    page.until("document.getElementById('figure-saved').innerText.includes('nothing yet')")
    without_faults(page)


def test_dark_and_light_have_contrast(bench):
    stand_in, browser = surroundings(bench)
    colors = []
    for dark in (False, True):
        page = live(bench, browser, stand_in, dark=dark, reduced_motion=dark)
        colors.append(page.evaluate('getComputedStyle(document.body).backgroundColor'))
        check(not page.low_contrast(), f'dark={dark}: {page.low_contrast()}')
        for level in ('bad', 'warn'):
            stand_in.tell(lambda s: s.update(warnings=['a warning'], upstream={'state': 'unreachable' if level == 'bad' else 'reachable'}))
            page.until(f"document.getElementById('headline').dataset.level === '{level}'")
            check(not page.low_contrast(), f'dark={dark} {level}: {page.low_contrast()}')
        without_faults(page)
    check(colors[0] != colors[1], f'both are {colors[0]}')


def test_connection_lost_and_found_again(bench):
    stand_in, browser = surroundings(bench)
    page = live(bench, browser, stand_in)
    page.until("document.getElementById('connection').innerText === 'live'")
    stand_in.stop()
    page.until("document.getElementById('connection').dataset.level === 'bad'")
    check(re.match(r'No answer from the gateway since \d\d:\d\d:\d\d \(\d+ s\)', page.text('#connection')), page.text('#connection'))
    check('no answer' in page.evaluate("document.getElementById('announce').textContent"), 'it is not read out')
    check(not page.low_contrast(), f'{page.low_contrast()}')
    stand_in.status['fills'][0].update(have=99 * MIB)
    stand_in.start()
    page.until("document.getElementById('connection').innerText === 'live'")
    check('99 %' in page.text('#fills'), page.text('#fills'))
    check('answers again' in page.evaluate("document.getElementById('announce').textContent"), 'it is not read out')
    check(not [f for f in page.faults if 'Failed to load resource' not in f and 'ERR_' not in f], f'{page.faults}')


def test_without_events_it_asks(bench):
    stand_in, browser = surroundings(bench)
    stand_in.events = False
    page = live(bench, browser, stand_in)
    stand_in.tell(lambda s: s['fills'][0].update(have=61 * MIB))
    page.until("document.getElementById('fills').innerText.includes('61 %')")
    check(page.text('#connection') == 'every 5 s', page.text('#connection'))
    stand_in.events = True
    page.until("document.getElementById('connection').innerText === 'live'")


def test_many_rows_stay_where_they_are(bench):
    stand_in, browser = surroundings(bench)

    def many(s):
        like = s['devices']['list'][0]
        s['devices'].update(count=2500, more=2000, list=[dict(like, device=f'{n:032x}') for n in range(500)])
    stand_in.tell(many)
    page = live(bench, browser, stand_in)
    page.evaluate("moved = 0; new MutationObserver((m) => { moved += m.filter((r) => r.target.tagName === 'TBODY').length; })"
                  ".observe(document.getElementById('devices'), {childList: true, subtree: true}); 0")
    for n in (1, 2, 3):
        stand_in.tell(lambda s: [d.update(bytes=d['bytes'] + MIB, seen=s['now']) for d in s['devices']['list']])
        page.until(f"document.querySelector('#devices progress').value === {(40 + n) * MIB}")
    check(page.evaluate("document.querySelectorAll('#devices tbody tr').length") == 500 and page.evaluate('moved') == 0, 'rows were moved')
    check('2000 more devices' in page.text('#devices-more'), page.text('#devices-more'))
    without_faults(page)


def test_without_scripts_the_essentials_are_there(bench):
    stand_in, browser = surroundings(bench, essentials='<h2>Upstream</h2><table><tr><th scope="row">state</th><td>reachable</td></tr></table>')
    page = bench.enter(browser.page(width=320, scripts=False))
    page.open(stand_in.url)
    text = page.text()
    check('Gateway status' in text and 'reachable' in text and 'load it again' in text, text)
    check(stand_in.asked == ['/', '/status.css'] or '/status.js' not in stand_in.asked, f'{stand_in.asked}')
    without_faults(page)


INTERACTIVE = {'button', 'link', 'textbox', 'searchbox', 'progressbar', 'columnheader', 'table', 'image', 'region', 'group', 'main', 'checkbox'}


def test_everything_has_a_name_for_screen_readers(bench):
    stand_in, browser = surroundings(bench)
    for width in (1280, 320):
        page = live(bench, browser, stand_in, width=width)
        nodes = page.accessible()
        roles = [role for role, _, _ in nodes]
        for role, name, _ in nodes:
            if role in INTERACTIVE - {'main'}:
                check(name.strip(), f'{width} px: a {role} has no name')
        for role in ('main', 'banner', 'contentinfo', 'searchbox', 'table', 'progressbar', 'image', 'status', 'columnheader', 'cell', 'row'):
            check(role in roles, f'{width} px: no {role}')
        check(roles.count('columnheader') == 10 and roles.count('table') == 2, f'{width} px: {roles.count("columnheader")} columns')
        levels = [more['level'] for role, _, more in nodes if role == 'heading']
        check(levels[0] == 1 and set(levels[1:]) == {2} and len(levels) == 6, f'headings: {levels}')
        bar = next(n for r, n, _ in nodes if r == 'progressbar')
        check(bar == 'release-2, fetched', bar)
        without_faults(page)


def test_real_gateway_goes_away_and_comes_back(bench):
    """The gateway itself: an update that is live, no fault with its policy, its end, and the next one at the same address."""
    artifact, admin = bench.path('demo.mender'), free_port()
    subprocess.run([BIN / 'mgw-mini-mender', '--make-artifact', artifact, '--size', '10MiB', '--artifact-name', 'release-2',
                    '--device-type', 'mgw-demo'], check=True, capture_output=True)
    # Slow until all has been looked at, however long the browser takes for that.
    server = MiniMender(bench, artifact, 'release-2', '--device-type', 'mgw-demo', '--rate', str(MIB // 16))
    gateway = start_gateway(bench, server.url, ADMIN_LISTEN=f'127.0.0.1:{admin}')
    browser = bench.enter(Browser(bench.path('browser', 'profile')))
    page, plain = bench.enter(browser.page()), bench.enter(browser.page(width=320, scripts=False))
    url = f'http://127.0.0.1:{admin}/'
    page.open(url)
    page.until("document.getElementById('connection').innerText === 'live'")
    page.until("document.getElementById('headline').innerText === 'All is well: no device is updating.'")
    bench.start('fleet', [BIN / 'mgw-fleet', '--server', f'https://localhost:{gateway.port}', '--ca', bench.pki.ca, '--devices', '3'])
    bar = "Number(document.querySelector('#fills progress')?.value)"
    page.until(f'(first = {bar}) > 0')
    page.until(f'{bar} > first')
    page.until("document.getElementById('headline').innerText.startsWith('All is well: 3 devices updating')")
    plain.open(url)
    shown = plain.text()
    for wanted in ('release-2', 'Being fetched', 'Time left', 'Devices', 'In the cache', server.url):
        check(wanted in shown, f'without scripts {wanted!r} is not shown: {shown}')
    check(plain.evaluate('document.documentElement.scrollWidth') == 320, 'without scripts the page scrolls to the side')
    check(not plain.low_contrast(), f'{plain.low_contrast()}')
    server.post('/demo/rate?bytes_per_s=0')
    page.until("document.querySelectorAll('#cache tbody tr').length === 1 && document.getElementById('fills').hidden")
    without_faults(page)
    without_faults(plain)
    gateway.stop()
    page.until("document.getElementById('connection').dataset.level === 'bad'")
    start_gateway(bench, server.url, ADMIN_LISTEN=f'127.0.0.1:{admin}')
    page.until("document.getElementById('connection').innerText === 'live'")
    page.until("document.querySelectorAll('#devices tbody tr').length === 0 && !document.getElementById('devices-none').hidden")

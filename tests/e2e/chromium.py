"""A headless Chromium, spoken to through its DevTools pipe: messages are JSON, each ended by a NUL.

Debian's chromium-headless-shell or chromium; the Python standard library.
"""
import base64
import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import threading

from support import Failure, Skip, check, until

PROGRAMS = ('chromium-headless-shell', 'chromium', 'chromium-browser', 'google-chrome')
PATIENCE = 120  # seconds; several start at once, each from a disk that has not read Chromium yet
KEYS = {'Tab': 9, 'Enter': 13, 'Escape': 27, ' ': 32, 'ArrowDown': 40}

CONTRAST = '''(() => {
  const rgba = (text) => text.match(/[\\d.]+/g).map(Number);
  const over = (front, back) => { const a = front[3] ?? 1; return [0, 1, 2].map((i) => front[i] * a + back[i] * (1 - a)); };
  const backOf = (e) => e ? over(rgba(getComputedStyle(e).backgroundColor), backOf(e.parentElement)) : [255, 255, 255];
  const light = (c) => c.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = texts.nextNode());) {
    const e = node.parentElement, style = getComputedStyle(e);
    if (!node.data.trim() || !e.getClientRects().length || style.visibility !== 'visible' || e.closest('.unseen')) continue;
    const back = backOf(e), front = over(rgba(e instanceof SVGElement ? style.fill : style.color), back);
    const [dark, bright] = [light(front), light(back)].sort((a, b) => a - b);
    const ratio = (bright + 0.05) / (dark + 0.05), px = parseFloat(style.fontSize);
    if (ratio < (px >= 24 || (px >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5)) found.push([node.data, ratio]);
  }
  return found;
})()'''


class Browser:
    """Runs as long as the context: `page()` opens a tab of its own profile."""

    def __init__(self, directory):
        self.program = next((p for p in PROGRAMS if shutil.which(p)), None)
        if not self.program:
            raise Skip('neither chromium-headless-shell nor chromium is installed')
        self.directory = pathlib.Path(directory)
        self.lock, self.answered = threading.Lock(), threading.Condition()
        self.number, self.answers, self.pages, self.ended = 0, {}, {}, False

    def __enter__(self):
        to_browser, self.write_end = os.pipe()
        self.read_end, from_browser = os.pipe()
        its = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (to_browser, from_browser)]
        args = [self.program, '--headless=new', '--remote-debugging-pipe', f'--user-data-dir={self.directory}', '--no-first-run',
                '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-dev-shm-usage',
                '--hide-scrollbars', '--force-color-profile=srgb', '--font-render-hinting=none']
        if os.geteuid() == 0:
            args.append('--no-sandbox')  # there is none for root
        # It reads from 3 and writes to 4.
        shell = ['bash', '-c', 'exec "$@" 3<&{0} 4>&{1} {0}<&- {1}>&-'.format(*its), 'bash']
        own = {k: v for k, v in os.environ.items() if not k.lower().endswith('_proxy')}
        with open(self.directory.with_suffix('.log'), 'wb') as log:
            self.child = subprocess.Popen(shell + args, pass_fds=its, stdin=subprocess.DEVNULL, stdout=log,
                                          stderr=log, env={**own, 'TZ': 'Europe/Berlin', 'LANG': 'C.UTF-8'})
        for end in (to_browser, from_browser, *its):
            os.close(end)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        return self

    def __exit__(self, *failure):
        with contextlib.suppress(Exception):
            self.call('Browser.close')
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        os.close(self.write_end)
        self.reader.join(10)
        os.close(self.read_end)

    def _read(self):
        rest = b''
        while True:
            try:
                piece = os.read(self.read_end, 1 << 16)
            except OSError:
                piece = b''
            *messages, rest = (rest + piece).split(b'\0')
            for message in map(json.loads, messages):
                with self.answered:
                    if 'id' in message:
                        self.answers[message['id']] = message
                        self.answered.notify_all()
                    elif message.get('sessionId') in self.pages:
                        self.pages[message['sessionId']].happened(message['method'], message.get('params', {}))
            if not piece:
                with self.answered:
                    self.ended = True
                    self.answered.notify_all()
                return

    def call(self, method, session=None, **params):
        with self.lock:
            self.number += 1
            number = self.number
            message = {'id': number, 'method': method, 'params': params, **({'sessionId': session} if session else {})}
            data = json.dumps(message).encode() + b'\0'
            while data:
                data = data[os.write(self.write_end, data):]
        with self.answered:
            self.answered.wait_for(lambda: number in self.answers or self.ended, PATIENCE)
            check(number in self.answers, f'{method}: no answer from {self.program}')
            answer = self.answers.pop(number)
        if 'error' in answer:
            raise Failure(f'{method}: {answer["error"]}')
        return answer['result']

    def page(self, width=1280, height=800, **more):
        return Page(self, width, height, **more)


class Page:
    """A tab. `faults`: what the console, the policy and the audits complained of."""

    def __init__(self, browser, width, height, dark=False, scripts=True, reduced_motion=False):
        self.browser, self.faults, self.loaded = browser, [], set()
        context = browser.call('Target.createBrowserContext')['browserContextId']
        self.target = browser.call('Target.createTarget', url='about:blank', browserContextId=context)['targetId']
        self.session = browser.call('Target.attachToTarget', targetId=self.target, flatten=True)['sessionId']
        browser.pages[self.session] = self
        for domain in ('Page', 'Runtime', 'Log', 'Network', 'Audits', 'DOM', 'Accessibility'):
            self.call(f'{domain}.enable')
        self.call('Page.setLifecycleEventsEnabled', enabled=True)
        self.call('Emulation.setFocusEmulationEnabled', enabled=True)  # whichever tab was made last
        self.resize(width, height)
        self.call('Emulation.setEmulatedMedia', features=[
            {'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'},
            {'name': 'prefers-reduced-motion', 'value': 'reduce' if reduced_motion else 'no-preference'}])
        if not scripts:
            self.call('Emulation.setScriptExecutionDisabled', value=True)

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        with contextlib.suppress(Failure, OSError):
            self.browser.call('Target.closeTarget', targetId=self.target)

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def happened(self, method, params):
        if method == 'Page.lifecycleEvent' and params['name'] == 'load':
            self.loaded.add(params['loaderId'])
        elif method == 'Runtime.exceptionThrown':
            self.faults.append(f'exception: {params["exceptionDetails"]}')
        elif method == 'Log.entryAdded' and params['entry']['level'] in ('error', 'warning'):
            self.faults.append(f'log: {params["entry"]["text"]} {params["entry"].get("url", "")}')
        elif method == 'Runtime.consoleAPICalled' and params['type'] in ('error', 'warning', 'assert'):
            self.faults.append(f'console: {params["args"]}')
        elif method == 'Audits.issueAdded':
            self.faults.append(f'audit: {json.dumps(params["issue"])}')

    def resize(self, width, height=800):
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=False)

    def open(self, url):
        told = self.call('Page.navigate', url=url)
        check('errorText' not in told, f'{url}: {told}')
        # Of this document: the load of about:blank may only be told now.
        until(lambda: told['loaderId'] in self.loaded, PATIENCE, f'{url} to be loaded')

    def evaluate(self, expression):
        told = self.call('Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True)
        check('exceptionDetails' not in told, f'{expression}: {told.get("exceptionDetails")}')
        return told['result'].get('value')

    def until(self, expression, seconds=60):
        return until(lambda: self.evaluate(expression), seconds, expression)

    def text(self, selector='body'):
        return self.evaluate(f'document.querySelector({json.dumps(selector)}).innerText')

    def press(self, key, text=None):
        code = KEYS.get(key, 0)
        text = text or {'Enter': '\r', ' ': ' '}.get(key)
        self.call('Input.dispatchKeyEvent', type='keyDown' if text else 'rawKeyDown', key=key, windowsVirtualKeyCode=code,
                  **({'text': text} if text else {}))
        self.call('Input.dispatchKeyEvent', type='keyUp', key=key, windowsVirtualKeyCode=code)

    def type(self, text):
        for letter in text:
            self.press(letter, letter)

    def accessible(self):
        """[(role, name, properties)] of all nodes that are not left out of the accessibility tree."""
        nodes = self.call('Accessibility.getFullAXTree')['nodes']
        return [(n['role']['value'], n.get('name', {}).get('value', ''), {p['name']: p['value'].get('value') for p in n.get('properties', [])})
                for n in nodes if not n['ignored']]

    def low_contrast(self):
        """Texts that WCAG AA wants with more contrast (4.5, large ones 3), as [text, ratio]."""
        return self.evaluate(CONTRAST)

    def screenshot(self, path, whole=False):
        more = {}
        if whole:
            size = self.call('Page.getLayoutMetrics')['cssContentSize']
            more = {'captureBeyondViewport': True, 'clip': {'x': 0, 'y': 0, 'width': size['width'], 'height': size['height'], 'scale': 1}}
        data = self.call('Page.captureScreenshot', format='png', **more)['data']
        pathlib.Path(path).write_bytes(base64.b64decode(data))

#!/usr/bin/env python3
"""Checks the files of the status page as far as that needs no browser.

    policy     no script, style or handler inside the HTML; nothing from outside; no HTML, code or style made from texts
    ids        each id is there once; each that the script or a label speaks of is there, and each is spoken of
    labels     language, title, headings in order, names of regions, tables with caption and scope, fields with a label
    size       small enough to be embedded

`--self-test` plants a fault of each kind and wants it found. The last line says `N passed, N failed`.
"""
import html.parser
import pathlib
import re
import sys

PAGE = pathlib.Path(__file__).resolve().parents[2] / 'examples/gateway/status/page'
NAMES = ('page.html', 'status.css', 'status.js')
NAMESPACE = 'http://www.w3.org/2000/svg'
VOID = {'meta', 'link', 'input', 'br', 'img', 'hr'}
FORBIDDEN = (r'\.innerHTML\b', r'\.outerHTML\b', r'insertAdjacentHTML', r'document\.write', r'\beval\(', r'new Function', r"Attribute\([^)]*'style'",
             r"Attribute\([^)]*'on\w+'", r'\bimport\b', r'parseFromString', r'createContextualFragment')


class Element:
    def __init__(self, tag, attributes, inside):
        self.tag, self.attributes, self.inside, self.text = tag, attributes, inside, ''


class Reader(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.all, self.open, self.wrong = [], [], []
        self.feed(text)
        self.wrong += [f'<{e.tag}> is not closed' for e in self.open]

    def handle_starttag(self, tag, attributes):
        element = Element(tag, dict(attributes), list(self.open))
        self.all.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        if not self.open or self.open[-1].tag != tag:
            self.wrong.append(f'</{tag}> closes nothing')
        else:
            self.open.pop()

    def handle_data(self, data):
        for element in self.open:
            element.text += data


def faults(files):
    page, css, js = (files[name] for name in NAMES)
    reader = Reader(page)
    yield from reader.wrong
    found = reader.all

    for name, text in files.items():
        if len(text.encode()) > 60000:
            yield f'{name} is too large to be embedded'
        for url in re.findall(r'''(?:[a-z]+:)?//[\w.-]+\.\w[^\s'"`)]*''', re.sub(r'^\s*//.*', '', text, flags=re.M)):
            if not url.startswith(NAMESPACE):
                yield f'{name}: outside address {url}'
    if re.search(r'@import|url\(', css):
        yield 'status.css: fetches something'
    for pattern in FORBIDDEN:
        for match in re.finditer(pattern, js):
            yield f'status.js: {match[0]}'

    ids = [e.attributes['id'] for e in found if 'id' in e.attributes]
    for name in sorted({i for i in ids if ids.count(i) > 1}):
        yield f'id {name} is there twice'
    spoken = set(re.findall(r'''\bid\(['"`]([\w-]+)['"`]\)''', js)) | {f'figure-{n}' for n in re.findall(r"\bfigure\('(\w+)'", js)}
    spoken |= {m[1] + end for m in re.finditer(r"\bshowList\('(\w+)'", js) for end in ('', '-none')}
    spoken |= {f'{n}-more' for n in re.findall(r"\bshowMore\('(\w+)'", js)}
    for name in sorted(spoken - set(ids)):
        yield f'status.js: id {name} is not in page.html'
    for element in found:
        for attribute, value in element.attributes.items():
            if attribute == 'style' or attribute.startswith('on') or (value or '').startswith('javascript:'):
                yield f'page.html: {attribute} in <{element.tag}>'
            if attribute in ('for', 'aria-labelledby', 'aria-describedby') or (attribute == 'href' and (value or '').startswith('#')):
                spoken |= {value.lstrip('#')}
                if value.lstrip('#') not in ids:
                    yield f'page.html: {attribute} leads to {value}, which is not there'
    spoken |= set(re.findall(r'#([a-z][\w-]*)', css))
    for name in sorted(set(ids) - spoken):
        yield f'id {name} is not used'

    labels = {e.attributes.get('for') for e in found if e.tag == 'label' and e.text.strip()}
    for e in found:
        if e.tag == 'style' or (e.tag == 'script' and ('src' not in e.attributes or e.text.strip())):
            yield f'page.html: <{e.tag}> inside'
        if e.tag in ('button', 'a', 'h1', 'h2', 'caption', 'title', 'dt') and not e.text.strip():
            yield f'page.html: a <{e.tag}> without text'
        if e.tag == 'input' and e.attributes.get('id') not in labels:
            yield 'page.html: an <input> without a label'
        if e.tag == 'section' and not {'aria-label', 'aria-labelledby'} & set(e.attributes):
            yield 'page.html: a <section> without a name'
        if e.attributes.get('role') == 'img' and not {'aria-label', 'aria-labelledby'} & set(e.attributes):
            yield 'page.html: an image without a name'
        if e.tag == 'th' and e.attributes.get('scope') != 'col':
            yield 'page.html: a <th> without scope'
        if e.tag == 'table' and not any(c.tag == 'caption' and e in c.inside for c in found):
            yield 'page.html: a <table> without a caption'
        if 'tabindex' in e.attributes and e.attributes['tabindex'] not in ('0', '-1'):
            yield 'page.html: an order of its own for Tab'
    if not any(e.tag == 'html' and e.attributes.get('lang') for e in found):
        yield 'page.html: no language'
    levels = [int(e.tag[1]) for e in found if re.fullmatch('h[1-6]', e.tag)]
    if levels[:1] != [1] or levels.count(1) != 1 or any(b - a > 1 for a, b in zip(levels, levels[1:])):
        yield f'page.html: headings of levels {levels}'
    for tag in ('title', 'main', 'header', 'footer', 'noscript'):
        if [e.tag for e in found].count(tag) != 1:
            yield f'page.html: not one <{tag}>'
    if page.count('<!-- essentials -->') != 1:
        yield 'page.html: no place for the essentials'
    for needed in ('prefers-color-scheme: dark', 'prefers-reduced-motion', ':focus-visible', 'max-width'):
        if needed not in css:
            yield f'status.css: no {needed}'


def self_test(files):
    planted = [
        ('page.html', '<header>', '<header style="color: red">', 'style in <header>'),
        ('page.html', '<header>', '<header onclick="x()">', 'onclick in <header>'),
        ('page.html', '<header>', '<script>x()</script><header>', '<script> inside'),
        ('page.html', 'href="status.css"', 'href="https://cdn.example.com/a.css"', 'outside address'),
        ('page.html', 'id="fills"', 'id="fill"', 'id fills is not in page.html'),
        ('page.html', 'id="fills"', 'id="cache"', 'id cache is there twice'),
        ('page.html', 'for="devices-filter"', 'for="filter"', 'without a label'),
        ('page.html', '<caption class="unseen">', '<caption hidden></caption><caption>', '<caption> without text'),
        ('page.html', 'scope="col"', '', 'without scope'),
        ('page.html', '<h2 id="fills-title">Being fetched</h2>', '<h3 id="fills-title">Being fetched</h3>', 'headings of levels'),
        ('page.html', ' lang="en"', '', 'no language'),
        ('page.html', '<section id="summary" aria-label="Summary">', '<section id="summary">', '<section> without a name'),
        ('page.html', 'id="zone"', 'id="zone" class="x"><b id="unused"></b', 'id unused is not used'),
        ('status.css', 'body {', '@import "x"; body {', 'fetches something'),
        ('status.js', 'node.textContent =', 'node.innerHTML =', '.innerHTML'),
        ('status.js', "'use strict';", "'use strict'; fetch('//example.com/x');", 'outside address'),
    ]
    for name, old, new, wanted in planted:
        if old not in files[name]:
            yield f'self-test: {name} has no {old!r}'
        elif not any(wanted in f for f in faults({**files, name: files[name].replace(old, new, 1)})):
            yield f'self-test: not found: {wanted}'


files = {name: (PAGE / name).read_text(encoding='utf-8') for name in NAMES}
wrong = list(self_test(files) if '--self-test' in sys.argv[1:] else faults(files))
for line in wrong:
    print(line)
print(f'{0 if wrong else 1} passed, {len(wrong)} failed')
sys.exit(1 if wrong else 0)

#!/usr/bin/env python3
"""Makes docs/conformance.md, docs/cache.md and docs/compatibility.md from lists of rules and the tests' own names, and
checks that none drifted.

requirements.txt beside this file lists what the RFCs require of an intermediary, cache_rules.txt what the cache promises,
compatibility_rules.txt what Mender's clients, servers and gateway are like:

    # RFC 9112 2.2 Message Parsing     a section; the rows below belong to it
    MUST what is required              a row: MUST, SHOULD, MAY (a choice that we made), or RULE (of our own)
      in http/head_lines.hpp           where it is implemented, under include/mgw/; or a path that begins with examples/
      by a part of a test's name       a test that shows it; the part is found in one name only. `file.name` end to end,
                                       `consumers.folder` a project that uses mgw
      but why                          not met, or met otherwise than most would expect
      not why                          not for us to do

A row has `in` and `by`, or `not`. A test whose name begins with an RFC's section, as a TEST_CASE or as a `case:` in
tests/wire/*.txt, stands behind at least one row of requirements.txt. `--write` makes the pages anew; without it they have
to be as they would be made. The last line says `N passed, N failed`; the exit status is 1 if anything failed.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFORMANCE = """# Conformance

What the HTTP RFCs require of an intermediary, where it is done, and which tests show it. Made by
`tests/checks/conformance.py --write` from `tests/checks/requirements.txt` and the names of the tests; a test that is
renamed or taken away makes the check fail. Rows say in our words what the RFC says in its own. Headers are those under
`include/mgw/`; tests that are lines of a table of raw exchanges are marked †, and run over TCP, over TLS on both sides,
byte by byte, in random pieces and behind a cache.

[http_support.md](http_support.md) says the same from the other side: what is accepted, refused and changed.

"""
CACHE = """# The artifact cache

What it promises, where that is done, and which tests show it. Made by `tests/checks/conformance.py --write` from
`tests/checks/cache_rules.txt` and the names of the tests; a test that is renamed or taken away makes the check fail.
Headers are those under `include/mgw/`. Tests of `storage` run with `tests/run.sh --all`.

What happens when the link dies is decided in two places: [proxy/fetch.hpp](../include/mgw/proxy/fetch.hpp) says what
the fill does, [proxy/object_reader.hpp](../include/mgw/proxy/object_reader.hpp) what each client sees.
[cache-format.md](cache-format.md) describes the directory, [verification.md](verification.md) what is checked.

"""
COMPATIBILITY = """# Compatibility

What Mender's clients and servers do, what those who run gateways have reported, and what the original gateway offers: what
of it holds here, where, and which tests show it. Made by `tests/checks/conformance.py --write` from
`tests/checks/compatibility_rules.txt` and the names of the tests; a test that is renamed or taken away makes the check
fail. Headers are those under `include/mgw/` or `examples/gateway/`. Tests whose name begins with `client_`,
`real_clients` or `long_clients` run Mender's own client, `scripted_clients` what behaves as the C++ client and as
mender-mcu, `terminal` mender-connect; those of `long_clients`, `storage` and `deploy_…` run with
`tests/run.sh --all` only.
Tests that are lines of a table of raw exchanges are marked †; `consumers` are projects that use mgw.

**Not yet**, **not done**, **only warns**, **refuses to start** and **absent** mean what they say. [cache.md](cache.md) has the rules of
the cache, [configuration.md](configuration.md) all settings, [conformance.md](conformance.md) what HTTP requires.

"""


def place_path(place):
    return place if place.startswith('examples/') else f'include/mgw/{place}'


def tests():
    """{name: (file, is a raw exchange)}"""
    found = {}
    for path in sorted((ROOT / 'tests').rglob('*.[ch]pp')):
        for name in re.findall(r'TEST_CASE(?:_TEMPLATE(?:_DEFINE)?)?\(\s*"((?:[^"\\]|\\.)*)"', path.read_text(encoding='utf-8')):
            found[name] = (path.relative_to(ROOT), False)
    for path in sorted((ROOT / 'tests/wire').glob('*.txt')):
        for name in re.findall(r'^case: (.*)$', path.read_text(encoding='utf-8'), re.M):
            found.setdefault(name, (path.relative_to(ROOT), True))
    for path in sorted([*(ROOT / 'tests/e2e').glob('*.py'), *(ROOT / 'tests/deploy').glob('deploy_*.py')]):
        for name in re.findall(r'^def test_(\w+)', path.read_text(encoding='utf-8'), re.M):
            found[f'{path.stem}.{name}'] = (path.relative_to(ROOT), False)
    for path in sorted((ROOT / 'tests/consumers').glob('*/CMakeLists.txt')):
        found[f'consumers.{path.parent.name}'] = (path.relative_to(ROOT), False)
    return found


class Row:
    def __init__(self, section, level, text):
        self.section, self.level, self.text = section, level, text
        self.places, self.shown, self.but, self.no = [], [], '', ''


def read_rows(text, file):
    sections, rows = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith('# '):
            sections.append(line[2:])
        elif re.match(r'(MUST|SHOULD|MAY|RULE) ', line):
            level, what = line.split(' ', 1)
            rows.append(Row(sections[-1], level, what))
        elif re.match(r'  (in|by|but|not) ', line):
            kind, what = line.strip().split(' ', 1)
            if kind == 'in':
                rows[-1].places += what.split(', ')
            elif kind == 'by':
                rows[-1].shown.append(what)
            elif kind == 'but':
                rows[-1].but = what
            else:
                rows[-1].no = what
        elif line.strip():
            raise SystemExit(f'{file}:{number}: what is this? {line}')
    return sections, rows


def check(rows, known):
    """[(what, message or None)]; replaces parts of names in the rows by the names."""
    done, used = [], set()
    for r in rows:
        where = f'{r.section.split(" ", 3)[:3]} {r.text[:60]}'
        whole = bool(r.no) != bool(r.places and r.shown)
        done.append((where, None if whole else 'has neither `in` and `by` nor `not`, or both'))
        for place in r.places:
            there = (ROOT / place_path(place)).is_file()
            done.append((f'{where}: {place}', None if there else 'does not exist'))
        names = []
        for part in r.shown:
            matching = [part] if part in known else [n for n in known if part in n]
            names += matching
            message = None if len(matching) == 1 else f'{len(matching)} tests have this in their name'
            done.append((f'{where}: {part}', message))
        r.shown = names
        used.update(names)
    return done, used


def check_complete(used, known):
    return [(f'{path}: {name}', None if name in used else 'stands behind no row of requirements.txt')
            for name, (path, _) in known.items() if re.match(r'RFC \d+ [\d.]+: ', name)]


def cell(text):
    return text.replace('|', '\\|')


def page(head, sections, rows, known):
    out, last = head, ''
    for section in sections:
        rfc = re.match(r'(RFC \d+) (.*)', section)
        if rfc and rfc[1] != last:
            out += f'## {rfc[1]}\n\n'
            last = rfc[1]
        out += f'### {rfc[2]}\n\n| | required |' if rfc else f'## {section}\n\n| rule |'
        out += ' where | shown by |\n|---|---|---|' + ('---|\n' if rfc else '\n')
        for r in rows:
            if r.section != section:
                continue
            level = f'| {r.level} ' if rfc else ''
            what = cell(r.text) + (f' **{cell(r.but)}**' if r.but else '')
            if r.no:
                out += f'{level}| {what} | – | {cell(r.no)} |\n'
                continue
            where = ', '.join(f'[{p.removeprefix("examples/")}](../{place_path(p)})' for p in r.places)
            shown = '<br>'.join(cell(n) + (' †' if known[n][1] else '') for n in r.shown)
            out += f'{level}| {what} | {where} | {shown} |\n'
        out += '\n'
    return out.rstrip('\n') + '\n'


def main():
    known, done = tests(), []
    for source, target, head in (('requirements.txt', 'docs/conformance.md', CONFORMANCE),
                                 ('cache_rules.txt', 'docs/cache.md', CACHE),
                                 ('compatibility_rules.txt', 'docs/compatibility.md', COMPATIBILITY)):
        sections, rows = read_rows((pathlib.Path(__file__).parent / source).read_text(encoding='utf-8'), source)
        results, used = check(rows, known)
        done += results
        if head is CONFORMANCE:
            done += check_complete(used, known)
        made, path = page(head, sections, rows, known), ROOT / target
        if '--write' in sys.argv[1:]:
            path.write_text(made, encoding='utf-8')
        same = path.is_file() and path.read_text(encoding='utf-8') == made
        done.append((target, None if same else 'is not what would be made (--write)'))
    failed = [f'{what}: {message}' for what, message in done if message]
    for message in failed:
        print(message)
    print(f'{len(done) - len(failed)} passed, {len(failed)} failed')
    sys.exit(1 if failed else 0)


main()

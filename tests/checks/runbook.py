#!/usr/bin/env python3
"""Checks that docs/runbook.md has a row for everything the gateway may tell an operator.

    log        each message at warn or error of include/mgw/ and examples/gateway/, and each warning about the configuration
    requests   each reason of a request's line, and each error of the way upstream
    health     each reason and each warning of GET /api/internal/v1/gateway/health
    alerts     each alert of examples/gateway/deploy/alerts.yml has a heading, and its annotation `runbook` leads there

A row is a line of a table whose first cell has, in backticks, a stable piece of the message; `…` stands for what varies.
A row whose piece is in no message is found as well. `--list` prints what was found in the sources, `--self-test` plants a
fault of each kind. The last line says `N passed, N failed`; the exit status is 1 if anything failed.
"""
import pathlib
import re
import shutil
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = 'docs/runbook.md'
ALERTS = 'examples/gateway/deploy/alerts.yml'
LEVEL = re.compile(r'\b(?:log_level::(?:warn|error)|spdlog::level::(?:warn|err))\b')
STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"(?:\s*"((?:[^"\\\n]|\\.)*)")*')
# Functions that are given the text of a warning, or a part of it, by file; `all`: in every file.
TEXTS = {
    'all': (r'\bwarn\(', r'\b(?:warnings|unknown)\.(?:push_back|emplace_back)\('),
    'examples/gateway/config/check_certificates.hpp': (r'\bout\.push_back\(',),
    'examples/gateway/config/revocation_lists.hpp': (r'\bout\.push_back\(',),
    'examples/gateway/control/server.hpp': (r'\bno_commands\(',),
    'include/mgw/mender/authorizer.hpp': (r'\btell\(', r'\brefuse\('),
    'include/mgw/mender/inventory_additions.hpp': (r'\bas_it_is\(',),
    'include/mgw/mender/management_client.hpp': (r'\bpause\(',),
}
# Places that name a level and no text. The row must have this piece, which must be in that file.
ELSEWHERE = {
    'examples/gateway/access_log.hpp': None,  # lines of requests: their reasons are checked
    'examples/gateway/lifecycle/configuration_reload.hpp': None,  # the same, at a reload
    'examples/gateway/lifecycle/server_certificate.hpp': None,
    'examples/gateway/commands/run.hpp': None,  # warnings of the configuration: found where they are made
    'examples/gateway/control/cache_access.hpp': None,  # prints what the store says
    'include/mgw/mender/relay_options.hpp': None,  # warn() itself
    'include/mgw/mender/tenants.hpp': 'its tenant token',
    'include/mgw/proxy/certificate_refusals.hpp': 'refuses our certificate',
}
# What names levels as such, or is only printed by a command.
NO_LOG = ('examples/gateway/logging/logging.hpp', 'examples/gateway/status/problem_list.hpp', 'examples/gateway/commands/check_places.hpp',
          'examples/gateway/commands/show.hpp')
REASON = re.compile(r'\bfailure \+?= ')
ERRORS = ('include/mgw/upstream/error.hpp', 'include/mgw/mender/error.hpp')
HEALTH = ('examples/gateway/health.hpp', 'examples/gateway/assembly.hpp', 'examples/gateway/client_certificates.hpp')
HEALTH_TEXT = re.compile(r'\b(?:reasons|warnings)\.(?:push_back|emplace_back)\(|\bo\.cache_trouble = |\bis_refused\(\) \? ')


def without_comments(text):
    """Comments, and what is written as a character, give no strings."""
    return re.sub(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|\'(?:[^\'\\\n]|\\.)\'',
                  lambda m: m[0] if m[0][0] == '"' else ' ' * len(m[0]), text)


def closing(text, start):
    """Where the parenthesis that is open at `start` ends."""
    depth, i = 0, start
    while i < len(text):
        if text[i] == '"':
            i = STRING.match(text, i).end() if STRING.match(text, i) else i + 1
            continue
        if text[i] in '([{':
            depth += 1
        elif text[i] in ')]}':
            depth -= 1
            if depth < 0:
                return i
        i += 1
    return len(text)


def opening(text, at):
    """Where the parenthesis begins that is open at `at`."""
    depth = 0
    for i in range(at - 1, -1, -1):
        if text[i] in ')]}':
            depth += 1
        elif text[i] in '([{':
            depth -= 1
            if depth < 0:
                return i
    return 0


def literals(text):
    """Each piece of text, neighbours joined; what is shorter than a word does not count."""
    out = []
    for found in STRING.finditer(text):
        piece = ''.join(re.findall(r'"((?:[^"\\\n]|\\.)*)"', found[0])).replace('\\"', '"').replace('\\\\', '\\')
        if re.search(r'[a-z]{3}', piece, re.I):
            out.append(piece)
    return out


def line_of(text, at):
    return text.count('\n', 0, at) + 1


def sources(root):
    for base in ('include/mgw', 'examples/gateway'):
        for path in sorted((root / base).rglob('*.[hc]pp')):
            yield path.relative_to(root).as_posix(), without_comments(path.read_text(encoding='utf-8'))


def messages(root):
    """[(kind, where, [pieces])]"""
    out = []
    for name, text in sources(root):
        def add(kind, at, pieces):
            out.append((kind, f'{name}:{line_of(text, at)}', pieces))

        if name in HEALTH:
            for found in HEALTH_TEXT.finditer(text):
                end = closing(text, found.end()) if found[0].endswith('(') else text.index('\n', found.end())
                pieces = literals(text[found.end():end])
                if pieces:
                    add('health', found.start(), pieces)
        for found in REASON.finditer(text):
            pieces = literals(text[found.end():text.index(';', found.end())])
            for piece in pieces if name.startswith('include/') or 'notes()' in text[found.start() - 12:found.start()] else ():
                add('requests', found.start(), [piece])
        if name in ERRORS:
            for found in re.finditer(r'case \w+::\w+: return ("[^"]*");', text):
                if 'hop::' not in found[0]:
                    add('requests', found.start(), literals(found[1]))
        if name in NO_LOG or '/doctor/' in name:
            continue
        seen = set()
        for found in LEVEL.finditer(text):
            begin = opening(text, found.start())
            if begin in seen:
                continue
            seen.add(begin)
            pieces = literals(text[begin + 1:closing(text, begin + 1)])
            if pieces:
                add('log', found.start(), pieces)
            elif name not in ELSEWHERE:
                add('log', found.start(), ['(no text here: say in tests/checks/runbook.py where it comes from)'])
            elif ELSEWHERE[name]:
                add('log', found.start(), [ELSEWHERE[name]] if ELSEWHERE[name] in text else ['(not in this file any more)'])
        for pattern in () if name in HEALTH else TEXTS['all'] + TEXTS.get(name, ()):
            for found in re.finditer(pattern, text):
                whole = text[found.end():closing(text, found.end())]
                granted = re.match(r'[^,]*, true,', whole)  # a decision that is logged at info
                if literals(whole) and not granted:
                    add('log', found.start(), literals(whole))
    return out


def rows(page):
    """{kind: [key]} of the tables below each `<!-- runbook: KIND -->`"""
    out, kind = {}, None
    for line in page.splitlines():
        mark = re.match(r'<!-- runbook: (\w+) -->', line)
        if mark:
            kind = mark[1]
        elif line.startswith('#'):
            kind = None
        elif kind and line.startswith('| ') and not line.startswith('| ---'):
            out.setdefault(kind, []).extend(re.findall(r'`([^`]+)`', line.split(' | ')[0]))
    return out


def has(key, pieces):
    """Whether the parts of a key are in these pieces, in this order. A short key must be all of it."""
    if len(key.strip()) < 8:
        return pieces == [key]
    all_of_them, at = '\0'.join(pieces), 0
    for part in (p.strip() for p in key.split('…')):
        found = all_of_them.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return True


def anchors(page):
    return {re.sub(r'[^\w\- ]', '', t.strip().lower()).replace(' ', '-') for t in re.findall(r'^#{1,6} (.*)$', page, re.M)}


def run(root):
    path = root / PAGE
    page = path.read_text(encoding='utf-8') if path.is_file() else ''
    table, found, done = rows(page), messages(root), []
    for kind in ('log', 'requests', 'health'):
        of_kind = [m for m in found if m[0] == kind]
        done.append((f'{kind}: messages are found', None if len(of_kind) > 3 else f'{len(of_kind)} of them'))
        for _, where, pieces in of_kind:
            known = any(has(key, pieces) for key in table.get(kind, ()))
            done.append((f'{where}: {" … ".join(pieces)!r}', None if known else f'has no row in {PAGE} ({kind})'))
        for key in table.get(kind, ()):
            used = any(has(key, pieces) for _, _, pieces in of_kind)
            done.append((f'{PAGE}: row `{key}` ({kind})', None if used else 'is in no message of the sources'))
    alerts = (root / ALERTS).read_text(encoding='utf-8')
    known = anchors(page)
    parts = re.split(r'^      - alert: ', alerts, flags=re.M)[1:]
    for part in parts:
        name = part.split('\n', 1)[0]
        told = f'runbook: docs/runbook.md#{name.lower()}\n' in part
        done.append((f'alert {name}', None if told and name.lower() in known else
                     f'has no heading in {PAGE}' if told else f'has no annotation `runbook: docs/runbook.md#{name.lower()}`'))
    names = {part.split('\n', 1)[0] for part in parts}
    for name in re.findall(r'^#+ (MenderGateway\w+)$', page, re.M):
        done.append((f'{PAGE}: {name}', None if name in names else 'there is no such alert'))
    return len(done), [f'{what}: {why}' for what, why in done if why]


def self_test():
    faults = [
        ('include/mgw/proxy/fill_writer.hpp', '"no checkpoint: "', '"not checked: "', 'has no row in'),
        ('include/mgw/proxy/fill_writer.hpp', '"no checkpoint: "', '"not checked: "', 'row `no checkpoint:`'),
        ('include/mgw/mender/link_rewriter.hpp', 'link is too long', 'link has grown', 'has no row in'),
        ('include/mgw/proxy/tee_to_cache.hpp', '"too many downloads"', '"enough"', '(requests)'),
        ('include/mgw/upstream/error.hpp', '"the body fell silent"', '"the body slept"', '(requests)'),
        ('examples/gateway/health.hpp', '"the gateway is stopping"', '"bye for now"', '(health)'),
        ('examples/gateway/config/check.hpp', 'client certificates are accepted past their end', 'all is accepted', 'has no row in'),
        (ALERTS, 'alert: MenderGatewayDown', 'alert: MenderGatewayGone', 'has no annotation'),
        (PAGE, '### MenderGatewayDown', '### MenderGatewayGone', 'has no heading'),
    ]
    wrong = []
    for name, old, new, wanted in faults:
        with tempfile.TemporaryDirectory(prefix='mgw-runbook-') as scratch:
            copy = pathlib.Path(scratch)
            for part in ('include/mgw', 'examples/gateway', 'docs'):
                shutil.copytree(ROOT / part, copy / part)
            text = (copy / name).read_text(encoding='utf-8')
            if old not in text:
                wrong.append(f'self-test: {name} has no {old!r}')
                continue
            (copy / name).write_text(text.replace(old, new), encoding='utf-8')
            if not any(wanted in message for message in run(copy)[1]):
                wrong.append(f'self-test: not found in {name}: {wanted}')
    return len(faults), wrong


def main():
    if '--list' in sys.argv[1:]:
        for kind, where, pieces in messages(ROOT):
            print(f'{kind:8} {where:60} {" … ".join(pieces)}')
        return
    count, wrong = self_test() if '--self-test' in sys.argv[1:] else run(ROOT)
    for message in wrong:
        print(message)
    print(f'{count - len(wrong)} passed, {len(wrong)} failed')
    sys.exit(1 if wrong else 0)


main()

#!/usr/bin/env python3
"""Checks that the documentation says what the code does.

    snippets   the block after `<!-- file: PATH -->` is that file, byte for byte
    links      every relative link in a Markdown file leads to a file, and to a heading that is there
    paths      every path in backticks that begins with a folder of the repository exists
    options    docs/configuration.md has the table that examples/gateway/config/options.hpp makes
    metrics    docs/metrics.md has a row for each metric of examples/gateway/metrics/, and for no other; the alerts and the
               dashboard of examples/gateway/deploy/ name no other ones, and each alert has a test that makes it fire
    concepts   every concept of the toolkit has a page in docs/concepts/ that names it in a heading
    umbrellas  every umbrella header includes all of its folder

`--write` brings snippets, the table of options and the umbrellas up to date. `--self-test` plants a fault of each kind in
a copy and wants it found. The last line says `N passed, N failed`; the exit status is 1 if anything failed.
"""
import json
import pathlib
import re
import shutil
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SNIPPET = re.compile(r'(<!-- file: (\S+) -->\n```\w*\n)(.*?)(^```$)', re.S | re.M)
TABLE = re.compile(r'(<!-- options: begin -->\n)(.*?)(<!-- options: end -->)', re.S)
LINK = re.compile(r'(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)|!\[[^\]\n]*\]\(([^)\s]+)\)')
PATH = re.compile(r'`((?:include|examples|tests|fuzz|docs|cmake|bench|\.ci)/[\w./-]*)`')
CONCEPT = re.compile(r'^\s*concept (\w+) =', re.M)
STRING = r'"(?:[^"\\]|\\.)*"(?:\s*"(?:[^"\\]|\\.)*")*'
OPTION = re.compile(r'\{\s*"([\w.]+)",\s*"([A-Z][A-Z0-9_]+|)",\s*(' + STRING + r'|\w+),\s*(' + STRING + r'),')


def markdown(root):
    skipped = {'build', '.git', '.cache'}
    return [p for p in sorted(root.rglob('*.md')) if not skipped & set(p.relative_to(root).parts[:-1])]


def without_code(text):
    return re.sub(r'^```.*?^```$', '', text, flags=re.S | re.M)


def anchors(path):
    """The anchors GitHub makes of the headings."""
    out = set()
    for line in without_code(path.read_text(encoding='utf-8')).splitlines():
        if re.match(r'#{1,6} ', line):
            text = re.sub(r'[^\w\- ]', '', line.lstrip('#').strip().lower())
            out.add(text.replace(' ', '-'))
    return out


def literal(text):
    return ''.join(re.findall(r'"((?:[^"\\]|\\.)*)"', text)).replace('\\"', '"')


def read_options(root):
    """[(key, variable, accepts, help)] of the one table, and how many rows it seems to have."""
    text = (root / 'examples/gateway/config/options.hpp').read_text(encoding='utf-8')
    names = {n: literal(v) for n, v in re.findall(r'static constexpr auto\* (\w+) = (' + STRING + ');', text)}
    rows = [(k, e, literal(a) if a.startswith('"') else names.get(a, a), literal(h)) for k, e, a, h in OPTION.findall(text)]
    return rows, len(re.findall(r'\{"[A-Z][\w.]*",', text))


def option_table(root):
    rows, _ = read_options(root)
    out = '| key in the file, environment variable | what it sets (default) | accepted |\n|---|---|---|\n'
    for key, variable, accepts, text in rows:
        out += f'| `{key}`' + (f'<br>`{variable}`' if variable else '') + f' | {text} | {accepts} |\n'
    return out


def folders(root):
    base = root / 'include/mgw'
    return [p for p in sorted(base.iterdir()) if p.is_dir() and list(p.glob('*.hpp'))]


def umbrella_lines(root):
    """{umbrella: the include lines it must have}"""
    include = root / 'include'
    out = {p.with_suffix('.hpp'): [f'#include <{h.relative_to(include).as_posix()}>' for h in sorted(p.rglob('*.hpp'))]
           for p in folders(root)}
    out[include / 'mgw/mgw.hpp'] = [f'#include <mgw/{p.name}.hpp>' for p in folders(root)] + ['#include <mgw/version.hpp>']
    return out


# ---- checks: each yields (what, message or None) ---------------------------------------------------------------------

def check_snippets(root):
    for page in markdown(root):
        for _, name, text, _ in SNIPPET.findall(page.read_text(encoding='utf-8')):
            where = f'{page.relative_to(root)}: the snippet of {name}'
            source = root / name
            same = source.is_file() and source.read_text(encoding='utf-8') == text
            yield where, None if same else 'differs from the file'
    readme = root / 'README.md'
    shown = {m[1] for m in SNIPPET.findall(readme.read_text(encoding='utf-8'))} if readme.is_file() else set()
    yield 'README.md shows the custom gateway', None if 'examples/custom_gateway/main.cpp' in shown else 'it does not'


def check_links(root):
    for page in markdown(root):
        for found in LINK.finditer(without_code(page.read_text(encoding='utf-8'))):
            target = found[1] or found[2]
            if re.match(r'[a-z]+:', target):
                continue
            path, _, anchor = target.partition('#')
            where = f'{page.relative_to(root)}: link {target}'
            to = (page.parent / path).resolve() if path else page
            if not to.exists():
                yield where, 'leads nowhere'
            elif anchor and to.suffix == '.md' and anchor not in anchors(to):
                yield where, 'no such heading'
            else:
                yield where, None


def check_paths(root):
    for page in markdown(root):
        for name in sorted(set(PATH.findall(without_code(page.read_text(encoding='utf-8'))))):
            # What is written in capitals stands for a name.
            if re.search(r'\b[A-Z]{2,}\b', name) and not (root / name).exists():
                continue
            yield f'{page.relative_to(root)}: path {name}', None if (root / name).exists() else 'does not exist'


def check_options(root):
    rows, seen = read_options(root)
    yield 'options.hpp is understood', None if rows and len(rows) == seen else f'{len(rows)} of {seen} rows'
    page = root / 'docs/configuration.md'
    text = page.read_text(encoding='utf-8') if page.is_file() else ''
    for name in [n for row in rows for n in row[:2]]:
        if name:
            yield f'docs/configuration.md: {name}', None if f'`{name}`' in text else 'is missing'
    table = TABLE.search(text)
    yield 'docs/configuration.md: table', None if table and table[2] == option_table(root) else 'is not what options.hpp says (--write)'


def metric_names(root):
    found = set()
    for header in sorted((root / 'examples/gateway/metrics').glob('*.hpp')):
        found |= set(re.findall(r'\.(?:family|single)\(\s*"(\w+)"', header.read_text(encoding='utf-8')))
    return found


def check_metrics(root):
    names = metric_names(root)
    yield 'metrics are found', None if len(names) > 30 else f'{len(names)} of them'
    page = (root / 'docs/metrics.md').read_text(encoding='utf-8')
    told = {n for row in re.findall(r'^\| (`\w+`(?:, `\w+`)*) \|', page, re.M) for n in re.findall(r'\w+', row)}
    for name in sorted(names | told):
        yield f'metric {name}', (None if name in names & told else
                                 'there is no such metric' if name in told else 'is not in docs/metrics.md')


def check_deployed_metrics(root):
    deploy = root / 'examples/gateway/deploy'
    names = metric_names(root)
    names |= {n + s for n in names for s in ('_bucket', '_sum', '_count')}
    alerts, tests = ((deploy / n).read_text(encoding='utf-8') for n in ('alerts.yml', 'alerts_test.yml'))
    dashboard = json.loads((deploy / 'grafana.json').read_text(encoding='utf-8'))
    queries = [t['expr'] for p in dashboard['panels'] for t in p.get('targets', ())]
    ids = [p['id'] for p in dashboard['panels']]
    yield 'grafana.json: panels', None if len(queries) > 20 and len(set(ids)) == len(ids) else 'too few, or two with one id'
    told = {'grafana.json': '\n'.join(queries), 'alerts.yml': alerts, 'alerts_test.yml': tests}
    for name, text in told.items():
        for metric in sorted(set(re.findall(r'\b(?:mgw|mender_gateway|process)_\w+', text))):
            yield f'{name}: {metric}', None if metric in names else 'there is no such metric'
    for alert in re.findall(r'- alert: (\w+)', alerts):
        fires = re.search(rf'alertname="{alert}"[^\n]*value: [1-9]|alertname: {alert}\n\s+eval_time: \S+\n\s+exp_alerts:\n', tests)
        yield f'alert {alert}', None if fires else 'alerts_test.yml does not make it fire'


def check_concepts(root):
    headings = ''
    for page in sorted((root / 'docs/concepts').glob('*.md')):
        headings += ''.join(re.findall(r'^#.*\n', page.read_text(encoding='utf-8'), re.M))
    for header in sorted((root / 'include/mgw').rglob('*.hpp')):
        text = header.read_text(encoding='utf-8')
        name = header.relative_to(root)
        for concept in CONCEPT.findall(text):
            yield f'{name}: {concept}', None if f'`{concept}`' in headings else 'has no page in docs/concepts/'
        for page in re.findall(r'docs/[\w/-]+\.md', text):
            yield f'{name}: {page}', None if (root / page).is_file() else 'does not exist'


def check_umbrellas(root):
    for header, wanted in umbrella_lines(root).items():
        name = header.relative_to(root)
        has = re.findall(r'^#include <.*>$', header.read_text(encoding='utf-8'), re.M) if header.is_file() else []
        wrong = sorted(set(wanted) ^ set(has))
        yield str(name), f'not as its folder (--write): {", ".join(wrong)}' if wrong else None


CHECKS = (check_snippets, check_links, check_paths, check_options, check_metrics, check_deployed_metrics, check_concepts, check_umbrellas)


def write(root):
    for page in markdown(root):
        text = page.read_text(encoding='utf-8')
        new = SNIPPET.sub(lambda m: m[1] + (root / m[2]).read_text(encoding='utf-8') + m[4], text)
        if page == root / 'docs/configuration.md':
            new = TABLE.sub(lambda m: m[1] + option_table(root) + m[3], new)
        if new != text:
            page.write_text(new, encoding='utf-8')
            print(f'wrote {page.relative_to(root)}')
    for header, lines in umbrella_lines(root).items():
        text = header.read_text(encoding='utf-8') if header.is_file() else '#pragma once\n\n'
        new = re.sub(r'^#include <.*>\n', '', text, flags=re.M) + '\n'.join(lines) + '\n'
        if new != text:
            header.write_text(new, encoding='utf-8')
            print(f'wrote {header.relative_to(root)}')


def run(root):
    done = [result for check in CHECKS for result in check(root)]
    return len(done), [f'{what}: {message}' for what, message in done if message]


def self_test():
    """Each fault: a file, what is replaced in it, by what; and what the message must say."""
    faults = [
        ('examples/custom_gateway/main.cpp', 'int main', 'int  main', 'differs from the file'),
        ('README.md', '# ', '[x](docs/nowhere.md)\n# ', 'leads nowhere'),
        ('README.md', '# ', '[x](docs/tour.md#nowhere)\n# ', 'no such heading'),
        ('README.md', '# ', '`include/mgw/nowhere.hpp`\n# ', 'does not exist'),
        ('examples/gateway/config/options.hpp', '"WORKERS"', '"THREADS"', 'THREADS: is missing'),
        ('examples/gateway/metrics/gateway_facts.hpp', '"mgw_connections"', '"mgw_links"', 'mgw_links: is not in docs/metrics.md'),
        ('examples/gateway/deploy/grafana.json', 'max(mgw_cache_hung', 'max(mgw_cache_hangs', 'mgw_cache_hangs: there is no such'),
        ('examples/gateway/deploy/alerts.yml', 'mgw_cache_hung > 0', 'mgw_cache_hangs > 0', 'mgw_cache_hangs: there is no such'),
        ('examples/gateway/deploy/alerts.yml', 'alert: MenderGatewayDown', 'alert: MenderGatewayGone', 'does not make it fire'),
        ('docs/metrics.md', '| `mgw_fills` |', '| `mgw_fetches` |', 'mgw_fetches: there is no such metric'),
        ('examples/gateway/config/options.hpp', 'threads that serve', 'workers', 'is not what options.hpp says'),
        ('include/mgw/core/concepts.hpp', 'concept Stream =', 'concept Stray =', 'Stray: has no page'),
        ('include/mgw/http.hpp', '#include <mgw/http/range.hpp>\n', '', 'not as its folder'),
    ]
    wrong = []
    for name, old, new, wanted in faults:
        with tempfile.TemporaryDirectory(prefix='mgw-docs-') as scratch:
            copy = pathlib.Path(scratch) / 'copy'
            shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns('build', '.git', '.cache', 'seeds'))
            path = copy / name
            text = path.read_text(encoding='utf-8')
            if old not in text:
                wrong.append(f'self-test: {name} has no {old!r}')
                continue
            path.write_text(text.replace(old, new, 1), encoding='utf-8')
            if not any(wanted in message for message in run(copy)[1]):
                wrong.append(f'self-test: not found in {name}: {wanted}')
    return len(faults), wrong


def main():
    if '--write' in sys.argv[1:]:
        write(ROOT)
    count, messages = self_test() if '--self-test' in sys.argv[1:] else run(ROOT)
    for message in messages:
        print(message)
    print(f'{count - len(messages)} passed, {len(messages)} failed')
    sys.exit(1 if messages else 0)


main()

#!/usr/bin/env python3
"""Checks which folder includes which: dependencies of the toolkit point one way.

    core <- http <- body <- {net, route, cache} <- upstream <- proxy <- mender <- examples      ops -> core

Umbrella headers (files directly under include/mgw/) are exempt. Third-party headers are checked too: no part of the
toolkit needs a logging, command line or metrics library, Boost is for mender/ alone, and what claims to do no I/O
includes no Asio. `--self-test` plants a forbidden include of each kind in a scratch tree and wants it found.
"""
import pathlib
import re
import sys
import tempfile

BASE = {'core'}
TO_HTTP = BASE | {'http'}
TO_BODY = TO_HTTP | {'body'}
TO_UPSTREAM = TO_BODY | {'net', 'route', 'cache', 'upstream'}
ALLOWED = {
    'core': BASE,
    'http': TO_HTTP,
    'body': TO_BODY,
    'net': TO_BODY | {'net'},
    'route': TO_BODY | {'route'},
    'cache': TO_BODY | {'cache'},
    'upstream': TO_UPSTREAM,
    'proxy': TO_UPSTREAM | {'proxy'},
    'mender': TO_UPSTREAM | {'proxy', 'mender'},
    'ops': BASE | {'ops'},
}
# Files and folders whose code does no I/O and runs without an event loop.
WITHOUT_ASIO = ('http/', 'core/result.hpp', 'core/units.hpp', 'core/log.hpp')
FOREIGN = re.compile(r'^(spdlog|fmt|CLI|prometheus|nlohmann|systemd|doctest)/|^sd-')
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')


def includes(path):
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
        found = INCLUDE.match(line)
        if found:
            yield number, found[1]


def cycles(graph):
    """One message per include cycle among the headers."""
    state, out = {}, []

    def visit(node, trail):
        state[node] = 'open'
        for target in graph.get(node, ()):
            if state.get(target) == 'open':
                out.append('include cycle: ' + ' -> '.join(trail[trail.index(target):] + [target]))
            elif target not in state:
                visit(target, trail + [target])
        state[node] = 'done'

    for node in sorted(graph):
        if node not in state:
            visit(node, [node])
    return out


def check(root):
    """Returns (headers read, messages) for the tree whose include/mgw/ lies under `root`."""
    base = root / 'include' / 'mgw'
    messages, graph, count = [], {}, 0
    for path in sorted(base.rglob('*.hpp')):
        inside = path.relative_to(base)
        if len(inside.parts) == 1:
            continue
        count += 1
        folder, name = inside.parts[0], inside.as_posix()
        graph[name] = []
        for number, target in includes(path):
            where = f'include/mgw/{name}:{number}'
            if target.startswith('mgw/'):
                parts = target.split('/')
                if not (root / 'include' / target).is_file():
                    messages.append(f'{where}: <{target}> does not exist')
                if len(parts) == 2:
                    if target != 'mgw/version.hpp':
                        messages.append(f'{where}: a header of a folder includes an umbrella, <{target}>')
                    continue
                graph[name].append('/'.join(parts[1:]))
                if folder not in ALLOWED:
                    messages.append(f'{where}: folder {folder}/ has no place in the order')
                elif parts[1] not in ALLOWED[folder]:
                    messages.append(f'{where}: {folder}/ must not include {parts[1]}/ (<{target}>)')
            elif FOREIGN.match(target):
                messages.append(f'{where}: <{target}> belongs into a program, not into the toolkit')
            elif target.startswith('boost/') and folder != 'mender':
                messages.append(f'{where}: Boost is for mender/ alone (<{target}>)')
            elif target == 'asio.hpp' or target.startswith('asio/'):
                if name.startswith(WITHOUT_ASIO):
                    messages.append(f'{where}: does no I/O, so no Asio (<{target}>)')
                if target == 'asio.hpp':
                    messages.append(f'{where}: name the header of Asio that is needed')
            elif target.startswith(('tests/', 'examples/', 'support/', '../')):
                messages.append(f'{where}: <{target}> is no part of the toolkit')
    return count, messages + cycles(graph)


PLANTED = {
    'core/a.hpp': '#include <mgw/http/b.hpp>',
    'http/a.hpp': '#include <asio/buffer.hpp>',
    'core/log.hpp': '#include <asio/post.hpp>',
    'body/a.hpp': '#include <mgw/net/b.hpp>',
    'net/a.hpp': '#include <mgw/cache/b.hpp>',
    'cache/a.hpp': '#include "mgw/net/b.hpp"',
    'cache/b.hpp': '#  include <mgw/upstream/b.hpp>',
    'route/a.hpp': '#include <mgw/upstream/b.hpp>',
    'upstream/a.hpp': '#include <mgw/proxy/b.hpp>',
    'proxy/a.hpp': '#include <mgw/mender/b.hpp>',
    'ops/a.hpp': '#include <mgw/http/b.hpp>',
    'proxy/b.hpp': '#include <spdlog/spdlog.h>',
    'proxy/c.hpp': '#include <boost/json.hpp>',
    'proxy/d.hpp': '#include <asio.hpp>',
    'proxy/e.hpp': '#include <mgw/net.hpp>',
    'proxy/f.hpp': '#include <mgw/proxy/nowhere.hpp>',
    'elsewhere/a.hpp': '#include <mgw/core/a.hpp>',
}
CLEAN = {
    'net.hpp': '#include <mgw/net/b.hpp>',
    'net/b.hpp': '#include <asio/ip/tcp.hpp>\n#include <mgw/core/b.hpp>',
    'mender/b.hpp': '#include <boost/json/value.hpp>\n#include <mgw/proxy/g.hpp>',
    'proxy/g.hpp': '#include <mgw/version.hpp>',
    'core/b.hpp': '',
    'http/b.hpp': '',
    'upstream/b.hpp': '',
    'version.hpp': '',
}


def self_test():
    with tempfile.TemporaryDirectory(prefix='mgw-arrows-') as scratch:
        root = pathlib.Path(scratch)
        for name, text in {**PLANTED, **CLEAN}.items():
            path = root / 'include' / 'mgw' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + '\n')
        _, messages = check(root)
        wrong = [f'self-test: nothing found in the planted {n}' for n in PLANTED
                 if not any(f'include/mgw/{n}:' in m for m in messages)]
        wrong += [f'self-test: false alarm: {m}' for m in messages if any(f'include/mgw/{n}:' in m for n in CLEAN)]
        (root / 'include/mgw/core/a.hpp').write_text('#include <mgw/core/b.hpp>\n')
        (root / 'include/mgw/core/b.hpp').write_text('#include <mgw/core/a.hpp>\n')
        if not any(m.startswith('include cycle') for m in check(root)[1]):
            wrong.append('self-test: the planted include cycle was not found')
        return len(PLANTED) + 1, wrong


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    if '--self-test' in sys.argv[1:]:
        count, messages = self_test()
        done = f'{count} planted includes found, no false alarm'
    else:
        count, messages = check(root)
        done = f'{count} headers, all arrows point one way'
        if count == 0:
            messages = [f'no headers under {root}/include/mgw']
    for message in messages:
        print(message)
    if messages:
        sys.exit(1)
    print(done)


main()

#!/usr/bin/env python3
"""Forbids the forms of co_await that g++ 12 compiles to wrong code without a word.

They are found with clang-query in a translation unit that includes every header of the toolkit and in every source file
of examples/. What is forbidden (tests/checks/planted/*.cpp shows each):

    condition         co_await in the condition of if, while, do, for or switch (an init-statement is fine)
    braces            an aggregate or a braced list made inside a co_await expression, or around one
    lambda            a lambda that captures by value made inside a co_await expression
    choice            ?: inside or around co_await
    coroutine lambda  a coroutine lambda with captures: they die with the lambda, under any compiler

`--self-test` wants exactly the marked lines of planted/*.cpp found. Needs clang-query-19 and the installed Asio.
"""
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = os.environ.get('CLANG_QUERY', 'clang-query-19')
PLANTED = sorted((ROOT / 'tests/checks/planted').glob('*.cpp'))

# Inside a template nobody has instantiated yet, a co_await is of another kind.
LETS = '''
let ours isExpansionInFileMatching("{files}")
let awaits expr(anyOf(coawaitExpr(), dependentCoawaitExpr(), hasDescendant(coawaitExpr()), hasDescendant(dependentCoawaitExpr())))
let inside anyOf(hasDescendant(coawaitExpr()), hasDescendant(dependentCoawaitExpr()))
let valueLambda lambdaExpr(hasType(cxxRecordDecl(has(fieldDecl(unless(hasType(referenceType())))))))
let conversion castExpr(hasCastKind("CK_UserDefinedConversion"))
let parentheses cxxFunctionalCastExpr(hasCastKind("CK_NoOp"), hasType(hasCanonicalType(recordType())), unless(has(conversion)))
let braces anyOf(hasDescendant(initListExpr()), hasDescendant(parentheses))
'''
# Each names one kind of node first: what is asked of every node of a translation unit takes minutes.
MATCHES = [
    ('condition', 'ifStmt(ours, anyOf(hasCondition(awaits), hasConditionVariableStatement(inside)))'),
    ('condition', 'whileStmt(ours, hasCondition(awaits))'),
    ('condition', 'doStmt(ours, hasCondition(awaits))'),
    ('condition', 'forStmt(ours, hasCondition(awaits))'),
    ('condition', 'switchStmt(ours, hasCondition(awaits))'),
    ('braces', 'coawaitExpr(ours, braces)'),
    ('braces', 'dependentCoawaitExpr(ours, braces)'),
    ('braces', 'initListExpr(ours, inside)'),
    ('lambda', 'coawaitExpr(ours, hasDescendant(valueLambda))'),
    ('lambda', 'dependentCoawaitExpr(ours, hasDescendant(valueLambda))'),
    ('choice', 'conditionalOperator(ours, inside)'),
    ('choice', 'coawaitExpr(ours, hasDescendant(conditionalOperator()))'),
    ('choice', 'dependentCoawaitExpr(ours, hasDescendant(conditionalOperator()))'),
    ('coroutine lambda', 'lambdaExpr(ours, hasDescendant(coroutineBodyStmt()), hasAnyCapture(lambdaCapture()))'),
]
FOUND = re.compile(r'^(/[^:]+):(\d+):\d+: note: "root" binds here$')


def flags():
    """The definitions of Asio::Asio, read where CMake has them."""
    text = (ROOT / 'cmake/FindAsio.cmake').read_text()
    names = re.search(r'target_compile_definitions\(Asio::Asio INTERFACE([^)]*)\)', text)[1].split()
    return ['-std=c++20', '-Wno-everything', f'-I{ROOT}/include'] + ['-D' + n for n in names]


def query(source, files, made=None):
    """Returns (set of (file, line, kind), error text). `made`: where the headers are that CMake makes."""
    script = ['set output diag', 'set bind-root true', 'set traversal AsIs'] + LETS.format(files=files).split('\n')[1:-1]
    script += ['match ' + matcher for _, matcher in MATCHES]
    out, args = set(), [TOOL]
    for line in script:
        args += ['-c', line]
    extra = [f'-I{source.parent}', f'-I{ROOT}/examples'] + ([f'-I{made}'] if made else [])
    ran = subprocess.run(args + [str(source), '--'] + flags() + extra, capture_output=True, text=True)
    if ran.returncode != 0 or re.search(r'(^|: )(fatal )?error:', ran.stderr):
        return out, f'{source.name}: {TOOL} failed:\n' + (ran.stdout + ran.stderr)[-800:]
    # The answer to each query ends with a count.
    answers, lines = [], []
    for line in ran.stdout.split('\n'):
        lines.append(line)
        if re.match(r'^\d+ match(es)?\.$', line):
            answers.append(lines)
            lines = []
    if len(answers) != len(MATCHES):
        return out, (f'{source.name}: {TOOL} answered {len(answers)} of {len(MATCHES)} queries:\n'
                     + (ran.stdout + ran.stderr)[-800:])
    for (kind, _), answer in zip(MATCHES, answers):
        for line in answer:
            found = FOUND.match(line)
            if found:
                out.add((os.path.realpath(found[1]), int(found[2]), kind))
    return out, ''


def run(sources):
    """`sources`: of each what query() wants."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = list(pool.map(lambda one: query(*one), sources))
    return set().union(*(a for a, _ in answers)), [e for _, e in answers if e]


def self_test():
    wanted = set()
    for path in PLANTED:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            mark = re.search(r'// PLANTED (.*)$', line)
            if mark:
                wanted.add((str(path), number, mark[1].strip()))
    found, errors = run([(p, 'tests/checks/planted/') for p in PLANTED])
    errors += [f'self-test: not found: {pathlib.Path(f).name}:{n}: {k}' for f, n, k in sorted(wanted - found)]
    errors += [f'self-test: false alarm: {pathlib.Path(f).name}:{n}: {k}' for f, n, k in sorted(found - wanted)]
    return errors, f'{len(wanted)} planted cases found, no false alarm'


def check():
    headers = sorted(p.relative_to(ROOT / 'include').as_posix() for p in (ROOT / 'include/mgw').rglob('*.hpp'))
    sources = sorted(p for p in (ROOT / 'examples').rglob('*.cpp'))
    with tempfile.TemporaryDirectory(prefix='mgw-awaits-') as scratch:
        everything = pathlib.Path(scratch) / 'everything.cpp'
        everything.write_text(''.join(f'#include <{h}>\n' for h in headers))
        subprocess.run(['cmake', '-D', f'OUT={scratch}', '-P', ROOT / 'examples/gateway/status/page/embed.cmake'], check=True)
        found, errors = run([(everything, 'include/mgw/')] + [(s, 'examples/', scratch) for s in sources])
    errors += [f'{os.path.relpath(f, ROOT)}:{n}: {k}' for f, n, k in sorted(found)]
    return errors, f'{len(headers)} headers and {len(sources)} programs, no dangerous co_await'


errors, done = self_test() if '--self-test' in sys.argv[1:] else check()
for error in errors:
    print(error)
if errors:
    sys.exit(1)
print(done)

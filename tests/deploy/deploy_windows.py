"""The scripts for Windows, which nothing here can run: read by a grammar of PowerShell, compared with each other, and run by a
small interpreter of that language on a Windows that is a table (powershell/windows.mjs)."""
import functools
import json
import re
import shutil
import subprocess

from machines import KEPT, ROOT
from support import Skip, check

SCRIPTS = ROOT / 'examples/gateway/deploy/windows'
TOOLS = ROOT / 'tests/deploy/powershell'


def text(name):
    return (SCRIPTS / name).read_text(encoding='ascii')  # Windows PowerShell takes other files for its own code page


# What changes nothing of Windows, beside the functions of the scripts themselves.
READS = {'Get-ChildItem', 'Get-Command', 'Get-Date', 'Get-NetFirewallHyperVRule', 'Get-NetFirewallRule', 'Get-ScheduledTask',
         'Get-Service', 'Import-Module', 'Export-ModuleMember', 'Set-StrictMode', 'Join-Path', 'Test-Path', 'ConvertFrom-Json',
         'ConvertTo-Json', 'Out-Null', 'Start-Sleep', 'Write-Output', 'Write-Warning', 'New-TimeSpan', 'New-ScheduledTaskAction',
         'New-ScheduledTaskPrincipal', 'New-ScheduledTaskSettingsSet', 'New-ScheduledTaskTrigger', '[Convert]::FromBase64String',
         '[Convert]::ToBase64String', '[System.IO.File]::ReadAllBytes', '[System.IO.File]::ReadAllText', '[regex]::Matches',
         '[System.Security.Principal.WindowsIdentity]::GetCurrent', '[System.Text.Encoding]::GetEncoding', '& wsl.exe --version',
         '& wsl.exe @arguments', '& netsh.exe interface portproxy show', '& $script', '& (Join-Path'}
# What each script changes, and the module on its behalf; and by what Disable-MenderGateway.ps1 undoes it.
UNDONE_BY = {
    'Enable-MenderGateway.ps1': {
        'New-NetFirewallRule': 'Remove-NetFirewallRule', 'New-NetFirewallHyperVRule': 'Remove-NetFirewallHyperVRule',
        'Register-ScheduledTask': 'Unregister-ScheduledTask', 'Set-Service': 'Set-Service', 'Start-Service': 'Stop-Service',
        'Copy-Item': 'Remove-State', '& wsl.exe --shutdown': '& wsl.exe --shutdown'},
    'Update-PortProxy.ps1': {
        '& netsh.exe interface portproxy add': '& netsh.exe interface portproxy delete',
        '& netsh.exe interface portproxy delete': '& netsh.exe interface portproxy delete'},
    'MenderGateway.psm1': {
        '[System.IO.File]::WriteAllBytes': 'Write-Config', 'New-Item': 'Remove-State', '[System.IO.File]::WriteAllText':
        'Remove-State', 'Move-Item': 'Remove-State', 'Remove-Item': 'Remove-State'},
    'Disable-MenderGateway.ps1': {
        **{f'{verb}-ScheduledTask': '' for verb in ('Stop', 'Unregister')}, **{f'{verb}-Service': '' for verb in ('Set', 'Stop')},
        'Remove-NetFirewallRule': '', 'Remove-NetFirewallHyperVRule': '', 'Remove-Item': '', '& wsl.exe --shutdown': '',
        '& netsh.exe interface portproxy delete': ''}}


@functools.lru_cache(None)
def grammar():
    """Where the packages of the grammar are."""
    for tool in ('node', 'npm'):
        if not shutil.which(tool):
            raise Skip(f'{tool} is not installed')
    where = KEPT / 'powershell'
    where.mkdir(parents=True, exist_ok=True)
    for name in ('package.json', 'package-lock.json'):
        shutil.copy(TOOLS / name, where)
    got = subprocess.run(['npm', 'ci', '--ignore-scripts', '--no-audit', '--no-fund', '--fetch-retries', '1', '--fetch-timeout',
                          '30000'], cwd=where, capture_output=True, text=True, timeout=300)
    if got.returncode != 0:
        raise Skip('the grammar cannot be had from npm')
    return where / 'node_modules'


def node(*args, good=(0,), stdin_text=''):
    # The grammar is one large function: to optimize it takes a minute, to run it as it is a second.
    done = subprocess.run(['node', '--liftoff-only', *map(str, args)], input=stdin_text, capture_output=True, text=True,
                          timeout=300)
    check(done.returncode in good, f'{done.returncode}: {done.stdout[-2000:]} {done.stderr[-2000:]}')
    return done.stdout


def test_the_scripts_are_powershell(bench):
    modules = grammar()
    scripts = sorted(SCRIPTS.glob('*.ps*1'))
    check(len(scripts) == 4, str(scripts))
    node(TOOLS / 'parse.mjs', modules, *scripts)
    broken = bench.path('broken.ps1')
    broken.write_text(text('Update-PortProxy.ps1').replace('$end = (Get-Date)', '$end = (Get-Date'))
    node(TOOLS / 'parse.mjs', modules, broken, good=(1,))


def test_each_command_of_the_scripts_reads_or_is_undone(_):
    modules = grammar()
    own = {name for script in SCRIPTS.glob('*.ps*1') for name in re.findall(r'(?m)^function (\S+)', text(script.name))}
    calls = {name: set(node(TOOLS / 'parse.mjs', '--calls', modules, SCRIPTS / name).split('\n')) - {''} for name in UNDONE_BY}
    for name, changes in UNDONE_BY.items():
        said = calls[name] - READS - own
        check(said == set(changes), f'{name}: {said ^ set(changes)}')
        for change, undo in changes.items():
            check(not undo or undo in calls['Disable-MenderGateway.ps1'], f'{change} of {name} is not undone by {undo}')


ENABLE, DISABLE, UPDATE = 'Enable-MenderGateway.ps1', 'Disable-MenderGateway.ps1', 'Update-PortProxy.ps1'
DIRECTORY = 'C:\\Program Files\\MenderGateway'
CONFIG = 'C:\\Users\\Jürgen\\.wslconfig'
SEEN = ('files', 'directories', 'firewall', 'hyperv', 'tasks', 'proxies', 'services')
LINES = {  # files that a user may have, of all ways to write them: byte for byte, as Latin-1
    'none': None,
    'empty': '',
    'other lines': '[wsl2]\r\nmemory=4GB\r\nkernel=C:\\\\Jürgen\\\\k\r\n\r\n[experimental]\r\nsparseVhd=true\r\n',
    'LF, no last one, UTF-8': '# für mich\n[wsl2]\nmemory=4GB # naïve\nswapFile=D:\\\\Größe'.encode().decode('latin-1'),
    'a BOM': '[wsl2]\r\nmemory=4GB\r\n'.encode('utf-8-sig').decode('latin-1'),
    'bytes of no encoding': '[wsl2]\r\n# \x80\xad\xff\x85\xa0\r\n',
    'another mode': '[wsl2]\r\nmemory=4GB\r\n  NetworkingMode = NAT  \r\nswap=0\r\n',
    'another mode, twice, last line': '[wsl2]\nnetworkingMode=nat\n[other]\nnetworkingMode=x\n[WSL2]\nnetworkingMode=bridged',
    'an empty section': '[wsl2]',
    'no section, no last line end': '[experimental]\nsparseVhd=true',
    'mirrored already': '[wsl2]\nnetworkingMode=mirrored\n',
}


def before(**more):
    """A Windows on which others have a port proxy, a rule and a task, too."""
    return {'files': {}, 'directories': ['C:\\Program Files'], 'firewall': {'Web': {}}, 'hyperv': {'Other': {}},
            'tasks': {'Backup': {}}, 'proxies': {'0.0.0.0/8080': '10.0.0.5/80'},
            'services': {'iphlpsvc': {'StartType': 'Manual', 'Status': 'Stopped'}},
            'seconds': 0, 'shutdowns': 0, 'address': '172.20.1.2', 'build': 22631, 'wsl_version': ['WSL-Version: 2.0.9.0'], **more}


def step(script, mode=None, **more):
    parameters = {**({'Mode': mode} if mode else {}), **more.pop('parameters', {})}
    return {'script': script, 'parameters': parameters, **more}


def on_windows(*trials):
    """What became of each (Windows, steps): a list of results."""
    said = node(TOOLS / 'windows.mjs', grammar(), SCRIPTS, stdin_text=json.dumps([{'windows': w, 'steps': s} for w, s in trials]))
    return json.loads(said)


def seen(windows):
    return {kind: windows[kind] for kind in SEEN}


def whole(windows, mode, what):
    """Disable gives this Windows back, also if it or what it undoes is switched off before any of its changes."""
    (first,) = on_windows((windows, [step(ENABLE, mode), step(DISABLE)]))
    check(not first[0]['error'] and not first[1]['error'] and first[0]['windows'] != windows, f'{what}: {first}')
    trials = [(windows, [step(ENABLE, mode), step(DISABLE), step(DISABLE)]),
              (windows, [step(ENABLE, mode), step(ENABLE, mode), step(DISABLE)]),
              *((windows, [step(ENABLE, mode, ends_before=at), step(DISABLE)]) for at in range(1, first[0]['changes'] + 1)),
              *((windows, [step(ENABLE, mode, ends_before=at), step(ENABLE, mode), step(DISABLE)])
                for at in range(1, first[0]['changes'] + 1)),
              *((windows, [step(ENABLE, mode), step(DISABLE, ends_before=at), step(DISABLE)])
                for at in range(1, first[1]['changes'] + 1))]
    for (_, steps), results in zip(trials, on_windows(*trials)):
        for one, result in zip(steps, results):
            check(result['error'] == ('switched off' if 'ends_before' in one else None) and not result['errors'],
                  f'{what}, {steps}: {result["error"]} {result["errors"]}')
        left, wanted = seen(results[-1]['windows']), seen(windows)
        check(left == wanted, f'{what}, {steps}:\n{[(k, left[k], wanted[k]) for k in SEEN if left[k] != wanted[k]]}')
    check(len(trials) > 10, f'{what}: {len(trials)} trials')
    return first


def test_nat_is_undone_wherever_it_was_broken_off(_):
    for start, status in (('Manual', 'Stopped'), ('Manual', 'Running'), ('Disabled', 'Stopped'), ('Automatic', 'Running'),
                          ('Automatic', 'Stopped')):
        made, _undone = whole(before(services={'iphlpsvc': {'StartType': start, 'Status': status}}), 'Nat', f'{start}, {status}')
        windows = made['windows']
        check(windows['services']['iphlpsvc'] == {'StartType': 'Automatic', 'Status': 'Running'}, str(windows['services']))
        check(windows['proxies'] == {'0.0.0.0/8080': '10.0.0.5/80', '0.0.0.0/443': '172.20.1.2/443'}, str(windows['proxies']))
        check(set(windows['firewall']) == {'Web', 'MenderGateway-TCP-In'} and len(windows['tasks']) == 2, str(windows))


def test_mirrored_is_undone_byte_for_byte(_):
    for what, text_before in LINES.items():
        windows = before(files={} if text_before is None else {CONFIG: text_before})
        made, _undone = whole(windows, 'Mirrored', what)
        check('MenderGateway-HyperV-TCP-In' in made['windows']['hyperv'], what)
        text_now = made['windows']['files'][CONFIG]
        section, values = None, []
        for line in text_now.split('\n'):
            section = line.split('[')[1].split(']')[0].lower() if '[' in line else section
            if section == 'wsl2' and line.strip().lower().startswith('networkingmode'):
                values.append(line.split('=')[1].strip())
        check(values and set(values) == {'mirrored'}, f'{what}: {text_now!r}')
        # All other lines are as they were.
        other = [[line for line in re.split(r'\r?\n', t or '') if line and 'networkingmode' not in line.lower()]
                 for t in (text_before, text_now)]
        check(other[1] == other[0] or other[1] == [*other[0], '[wsl2]'], f'{what}: {other}')
        check(('\r\n' in text_now) == ('\r\n' in (text_before or '\r\n') or '\n' not in text_before), f'{what}: {text_now!r}')


def test_what_a_user_changed_since_stays(_):
    trials = [
        ('[wsl2]\nnetworkingMode=nat\nswap=0\n', lambda t: t + 'memory=1GB\n', '[wsl2]\nnetworkingMode=nat\nswap=0\nmemory=1GB\n'),
        (None, lambda t: t + 'memory=1GB\r\n', '[wsl2]\r\nmemory=1GB\r\n'),
        (None, lambda t: t + '\r\n[experimental]\r\nx=1\r\n', '\r\n[experimental]\r\nx=1\r\n'),
        (None, lambda t: t + '\r\n \r\n', None),
        ('[wsl2]\r\n', lambda t: t + 'swap=0\r\n', '[wsl2]\r\nswap=0\r\n'),
        ('', lambda t: t.replace('mirrored', 'bridged'), '[wsl2]\r\nnetworkingMode=bridged\r\n'),
        ('[wsl2]\r\n', lambda t: '[wsl2]\r\nmemory=1GB\r\n', '[wsl2]\r\nmemory=1GB\r\n'),
    ]
    made = on_windows(*((before(files={} if t is None else {CONFIG: t}), [step(ENABLE, 'Mirrored')]) for t, _, _ in trials))
    ends = on_windows(*((m[0]['windows'], [step(DISABLE, meanwhile={'files': {CONFIG: edit(m[0]['windows']['files'][CONFIG])}})])
                        for m, (_, edit, _) in zip(made, trials)))
    for (text_before, _, wanted), (end,) in zip(trials, ends):
        check(end['windows']['files'].get(CONFIG) == wanted, f'{text_before!r}: {end["windows"]["files"]} {wanted!r}')
        check(not end['error'] and DIRECTORY not in end['windows']['directories'], str(end))
    # A port proxy that somebody has led elsewhere, and a start type: left, and said.
    other = {'proxies': {'0.0.0.0/443': '10.0.0.7/443'}, 'services': {'iphlpsvc': {'StartType': 'Disabled', 'Status': 'Stopped'}}}
    ((_, end),) = on_windows((before(), [step(ENABLE, 'Nat'), step(DISABLE, meanwhile=other)]))
    check(end['windows']['proxies']['0.0.0.0/443'] == '10.0.0.7/443' and '10.0.0.7:443' in end['warnings'][0], str(end))
    check(end['windows']['services'] == other['services'] and not end['windows']['tasks'].get('MenderGateway port proxy'), str(end))


def test_what_others_made_is_named_and_not_touched(_):
    theirs = {
        'port proxy from 0.0.0.0:443 to 10.0.0.5:443': ('Nat', {'proxies': {'0.0.0.0/443': '10.0.0.5/443'}}),
        'port proxy from 192.168.8.3:443 to 10.0.0.5:80': ('Nat', {'proxies': {'192.168.8.3/443': '10.0.0.5/80'}}),
        "Remove-NetFirewallRule -Name 'MenderGateway-TCP-In'": ('Nat', {'firewall': {'MenderGateway-TCP-In': {}}}),
        "Unregister-ScheduledTask -TaskName 'MenderGateway port proxy'": ('Nat', {'tasks': {'MenderGateway port proxy': {}}}),
        "Remove-NetFirewallHyperVRule -Name 'MenderGateway-HyperV-TCP-In'":
            ('Mirrored', {'hyperv': {'MenderGateway-HyperV-TCP-In': {}}}),
        'is in UTF-16': ('Mirrored', {'files': {CONFIG: '\xff\xfe[\0'}}),
        'needs Windows 11 22H2': ('Mirrored', {'build': 20348}),
        'needs WSL 2.0.4': ('Mirrored', {'wsl_version': ['WSL-Version: 2.0.3.9']}),
        'has no Hyper-V firewall': ('Mirrored', {'no_hyperv_firewall': True}),
    }
    for (said, (_mode, there)), (tried, left) in zip(theirs.items(), on_windows(
            *((before(**there), [step(ENABLE, mode), step(DISABLE)]) for mode, there in theirs.values()))):
        check(said in (tried['error'] or ''), f'{said}: {tried["error"]}')
        check(seen(left['windows']) == seen(before(**there)) and tried['changes'] == 0, f'{said}: {left}')


def test_the_port_proxy_follows_wsl(_):
    options = {'Port': 443, 'TargetPort': 8443, 'Distribution': 'Ubuntu'}
    renew = functools.partial(step, UPDATE, **{'in': DIRECTORY})
    ((made, renewed, waited, theirs, disabled, late),) = on_windows((before(), [
        step(ENABLE, 'Nat', parameters=options), renew(meanwhile={'address': '172.31.9.9'}),
        renew(meanwhile={'address': None}), renew(meanwhile={'address': '172.31.9.9', 'proxies': {'0.0.0.0/443': '10.0.0.7/443'}}),
        step(DISABLE), step(UPDATE)]))
    check(made['windows']['proxies']['0.0.0.0/443'] == '172.20.1.2/8443' and made['windows']['asked'] == 'Ubuntu', str(made))
    check(renewed['windows']['proxies']['0.0.0.0/443'] == '172.31.9.9/8443' and not renewed['error'], str(renewed))
    check('no address after 300 s' in waited['error'] and waited['windows']['seconds'] > 300, str(waited['error']))
    check('is not of these scripts' in theirs['error'] and theirs['changes'] == 0, str(theirs))
    check(disabled['windows']['proxies']['0.0.0.0/443'] == '10.0.0.7/443', str(disabled))
    check('-Mode Nat comes first' in late['error'] and late['changes'] == 0, str(late))


def test_modes_are_changed_and_what_if_changes_nothing(_):
    quiet = {'parameters': {'WhatIf': True}}
    trials = [[step(ENABLE, mode, **quiet), step(ENABLE, mode), step(ENABLE, other, **quiet), step(DISABLE, **quiet),
               step(ENABLE, other), step(DISABLE)] for mode, other in (('Nat', 'Mirrored'), ('Mirrored', 'Nat'))]
    for results in on_windows(*((before(), steps) for steps in trials)):
        check([r['changes'] > 0 for r in results] == [False, True, False, False, True, True], str([r['changes'] for r in results]))
        check(not [r for r in results if r['error']] and 'What if' in results[0]['output'][0], str([r['error'] for r in results]))
        check(seen(results[-1]['windows']) == seen(before()), str(results[-1]['windows']))
    # The other mode's things are gone: one rule, in one firewall.
    for results in on_windows(*((before(), steps[:5]) for steps in trials)):
        windows = results[-1]['windows']
        check(len(windows['firewall']) + len(windows['hyperv']) == 3, f'{windows["firewall"]} {windows["hyperv"]}')


def test_facts_of_windows(_):
    check("'{40E0AC32-46A5-438A-A0B2-2B479E8F2E90}'" in text('MenderGateway.psm1'), 'the creator id of WSL')
    enable = text('Enable-MenderGateway.ps1')
    check('22621' in enable and "'2.0.4'" in enable, 'versions that mirrored networking needs')
    update = text('Update-PortProxy.ps1')
    check(update.index('portproxy delete') < update.index('portproxy add'), 'an old rule stays')
    page = (ROOT / 'docs/windows.md').read_text()
    for script in SCRIPTS.glob('*.ps1'):
        check(script.name in page, f'docs/windows.md does not speak of {script.name}')

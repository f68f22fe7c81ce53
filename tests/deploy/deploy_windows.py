"""The scripts for Windows, which nothing here can run: read by a grammar of PowerShell, and compared with each other."""
import re
import shutil
import subprocess

from machines import KEPT, ROOT, run
from support import Skip, check

SCRIPTS = ROOT / 'examples/gateway/deploy/windows'
TOOLS = ROOT / 'tests/deploy/powershell'


def text(name):
    return (SCRIPTS / name).read_text(encoding='ascii')  # Windows PowerShell takes other files for its own code page


def test_the_scripts_are_powershell(bench):
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
    scripts = sorted(SCRIPTS.glob('*.ps*1'))
    check(len(scripts) == 4, str(scripts))
    run('node', TOOLS / 'parse.mjs', where / 'node_modules', *scripts)
    broken = bench.path('broken.ps1')
    broken.write_text(text('Update-PortProxy.ps1').replace('$end = (Get-Date)', '$end = (Get-Date'))
    run('node', TOOLS / 'parse.mjs', where / 'node_modules', broken, good=(1,))


def test_what_is_set_up_is_undone(_):
    made, undone = text('Enable-MenderGateway.ps1'), text('Disable-MenderGateway.ps1')
    for new, gone in (('New-NetFirewallRule -Name $names.FirewallRule', 'Get-NetFirewallRule -Name $names.FirewallRule'),
                      ('New-NetFirewallHyperVRule @rule', 'Get-NetFirewallHyperVRule -Name $names.HyperVRule'),
                      ('Register-ScheduledTask -TaskName $names.Task', 'Get-ScheduledTask -TaskName $names.Task'),
                      ("-Key 'networkingMode' -Value 'mirrored'", "-Key 'networkingMode' -Value $state.NetworkingMode"),
                      ('Destination $script', 'Remove-Item -LiteralPath $names.Directory')):
        check(new in made, f'{new} is not in the one')
        check(gone in undone, f'{gone} is not in the other')
    check('portproxy add v4tov4' in text('Update-PortProxy.ps1') and 'portproxy delete v4tov4' in undone, 'the port proxy')
    # Nothing else is made that somebody would have to remove.
    makes = set(re.findall(r'\b(?:New|Register|Add)-(\w+)', made))
    check(makes == {'NetFirewallRule', 'NetFirewallHyperVRule', 'ScheduledTask', 'ScheduledTaskAction', 'ScheduledTaskTrigger',
                    'ScheduledTaskPrincipal', 'ScheduledTaskSettingsSet', 'TimeSpan'}, str(makes))


def test_facts_of_windows(_):
    check("'{40E0AC32-46A5-438A-A0B2-2B479E8F2E90}'" in text('MenderGateway.psm1'), 'the creator id of WSL')
    enable = text('Enable-MenderGateway.ps1')
    check('22621' in enable and "'2.0.4'" in enable, 'versions that mirrored networking needs')
    update = text('Update-PortProxy.ps1')
    check(update.index('portproxy delete') < update.index('portproxy add'), 'an old rule stays')
    page = (ROOT / 'docs/windows.md').read_text()
    for script in SCRIPTS.glob('*.ps1'):
        check(script.name in page, f'docs/windows.md does not speak of {script.name}')

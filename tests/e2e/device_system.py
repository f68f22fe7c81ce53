"""Attributes that the gateway adds to inventories, and those of its own host, with Debian's mender-client."""
import json
import pathlib
import shutil
import subprocess

from support import BIN, Device, MiniMender, check, gateway_environment, make_artifact, until

NEEDS_CLIENT = True
SCRIPT = pathlib.Path(__file__).resolve().parents[2] / 'examples/gateway/support/mender-inventory-mender-gateway'


def configuration(bench, system='site 7 "north"'):
    file = bench.path('gateway.conf')
    file.write_text(json.dumps({'Features': {'DeviceSystem': {
        'Enabled': True, 'SystemID': system,
        'DefaultInventory': [{'Name': 'region', 'Value': 'eu'}, {'Name': 'racks', 'Value': ['a', 'b']}]}}}))
    return file


def inventory(server):
    """Of the only device; None before it has sent one."""
    devices = list(server.stats()['devices'].values())
    return devices[0]['inventory'] if devices and devices[0]['inventory'] else None


def start(bench, *args):
    artifact, _ = make_artifact(bench, 'release-1', 1 << 16)  # what the device has already
    server = MiniMender(bench, artifact, 'release-1', *args)
    gateway = bench.start('gateway', [BIN / 'mgw-gateway', '--config', configuration(bench)],
                          gateway_environment(bench, server.url),
                          ready=r'mgw-gateway listening on https://127\.0\.0\.1:(\d+)\n')
    gateway.port = int(gateway.match[1])
    return server, gateway


def test_attributes_are_added(bench):
    server, gateway = start(bench)
    Device(bench, 1, gateway.port)
    got = until(lambda: inventory(server), 60, 'the inventory of the device')
    check(got.get('mender_gateway_system_id') == 'site 7 "north"', f'no system id: {got}')
    check(got.get('region') == 'eu' and got.get('racks') == ['a', 'b'], f'not the default inventory: {got}')
    check(got.get('artifact_name') == 'release-1' and 'mender_client_version' in got, f'the device\'s own is gone: {got}')


def test_a_full_inventory_goes_without(bench):
    server, gateway = start(bench, '--max-attributes', 4)
    Device(bench, 1, gateway.port)
    got = until(lambda: inventory(server), 60, 'the inventory of the device')
    check('mender_gateway_system_id' not in got and got.get('artifact_name') == 'release-1', f'unexpected: {got}')
    until(lambda: 'only without the gateway\'s attributes' in gateway.log, 10, 'the gateway to say so')


def test_the_gateways_own_host(bench):
    """The inventory script, where the client looks for it, and what it prints without a configuration."""
    server, gateway = start(bench)
    there = pathlib.Path('/usr/share/mender/inventory', SCRIPT.name)  # in this test run's own mount namespace
    shutil.copy(SCRIPT, there)
    own = bench.path('own.conf')
    own.write_text('{"Features": {"DeviceSystem": {"SystemID": "host\'s \\\\ \\"own\\" id"}}}')
    bench.stack.callback(there.unlink)
    environment = {'MENDER_GATEWAY_CONFFILE': str(own), 'PATH': f'{BIN}:/usr/bin:/bin'}
    Device(bench, 1, gateway.port, environment)
    got = until(lambda: inventory(server), 60, 'the inventory of the host')
    check(got.get('mender_is_gateway') == 'true', f'not a gateway: {got}')
    check(got.get('mender_gateway_system_id') == 'host\'s \\ "own" id', f'the host\'s own id was not kept: {got}')
    check(got.get('region') == 'eu', f'no default inventory: {got}')

    def printed(**environment):
        return subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, check=True).stdout
    first = 'mender_is_gateway=true\n'
    check(printed(PATH=f'{BIN}:/usr/bin:/bin', MENDER_GATEWAY_CONFFILE='/nowhere') == first, 'without a file')
    check(printed(PATH='/usr/bin:/bin') == first, 'without the program')
    check(printed(PATH=f'{BIN}:/usr/bin:/bin', MENDER_GATEWAY_CONFFILE='/dev/null', DEVICE_SYSTEM_ID='x') ==
          first + 'mender_gateway_system_id=x\n', 'from the environment')

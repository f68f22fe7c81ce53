"""A remote terminal through the gateway: Debian's mender-connect on a bus of its own, beside mender-client."""
import json
import shutil
import time
import urllib.parse

from support import Device, Failure, MiniMender, Skip, check, make_artifact, start_gateway, until

NEEDS_CLIENT = True

BUS = '''<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={}</listen>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
  </policy>
</busconfig>
'''


def start(bench, *server_arguments, **gateway):
    """A server, the gateway, and a device whose mender-connect is connected and has a shell. Returns the first two and the
    last."""
    for program in ('mender-connect', 'dbus-daemon'):
        if not shutil.which(program):
            raise Skip(f'{program} is not installed')
    artifact, _ = make_artifact(bench, 'release-1', 1 << 16)
    server = MiniMender(bench, artifact, 'release-1', '--ping-interval', 200, *server_arguments)
    gateway = start_gateway(bench, server.url, **gateway)
    bus = bench.path('bus')
    bench.path('bus.conf').write_text(BUS.format(bus))
    bench.start('bus', ['dbus-daemon', '--config-file', bench.path('bus.conf'), '--nofork', '--nopidfile'])
    until(bus.exists, 10, 'the bus')
    address = {'DBUS_SYSTEM_BUS_ADDRESS': f'unix:path={bus}'}
    Device(bench, 1, gateway.port, address, bus=True)
    conf = bench.path('connect.conf')
    conf.write_text(json.dumps({'ShellCommand': '/bin/sh', 'ShellArguments': [], 'User': 'root', 'ReconnectIntervalSeconds': 1}))
    # mender-connect looks whether its shell runs before it has noted that it does; then, about once in ten times, it never
    # reads what the shell writes.
    for n in range(10):
        connect = bench.start(f'connect-{n}', ['mender-connect', '--config', conf, '--debug', 'daemon'], address)
        until(lambda: terminal(server).get('connected'), 60, 'mender-connect to connect')
        run(server, 'echo here-$((20 + 2))')
        until(lambda: 'executed: ' in connect.log, 30, 'the shell')
        try:
            until(lambda: 'here-22' in terminal(server)['output'], 5, 'the shell to be heard')
            break
        except Failure:
            if terminal(server)['output']:  # it is heard, and slow
                until(lambda: 'here-22' in terminal(server)['output'], 60, 'the rest of what the shell wrote')
                break
            check(n != 9, 'mender-connect never reads what its shell writes')
            connect.stop()
            until(lambda: not terminal(server).get('connected'), 30, 'mender-connect to leave')
    return server, gateway, connect


def terminal(server):
    """Of the only device."""
    return next(iter(server.stats()['terminals']['devices'].values()), {})


def run(server, command):
    server.post('/demo/run?command=' + urllib.parse.quote(command))


def test_a_command_is_run(bench):
    server, gateway, _ = start(bench)
    connections = server.stats()['terminals']['connections']
    run(server, 'echo $((6 * 7))-from-the-device')
    until(lambda: '42-from-the-device' in terminal(server)['output'], 30, 'the output of the command')
    # A lot of it, in many messages.
    run(server, 'i=0; while [ $i -lt 2000 ]; do echo line-$i; i=$((i+1)); done; echo the-$((1+1))nd-end')
    until(lambda: 'the-2nd-end' in terminal(server)['output'], 30, 'the output of the second command')
    output = terminal(server)['output']
    check(all(f'line-{i}\r\n' in output for i in range(1000, 2000)), 'lines are missing')
    # Nothing but the server's pings for a while, and it is still there.
    pongs = terminal(server)['pongs']
    until(lambda: terminal(server)['pongs'] >= pongs + 10, 30, 'ten more pongs')
    check(server.stats()['terminals']['connections'] == connections, 'it was connected again')
    run(server, 'echo still-$((1+2))')
    until(lambda: 'still-3' in terminal(server)['output'], 30, 'the output after the silence')


def test_a_stop_says_goodbye(bench):
    server, gateway, connect = start(bench, DRAIN_TIMEOUT='100s')
    begun = time.monotonic()
    check(gateway.stop(60) == 0, 'the gateway did not end well')
    check(time.monotonic() - begun < 60, 'the gateway waited for the terminal')
    until(lambda: terminal(server)['close'] == 1001, 30, 'the server to be told')
    until(lambda: 'close 1001' in connect.log, 30, 'the device to be told')

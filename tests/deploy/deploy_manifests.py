"""Manifests that nothing here can carry out: parsed, and held against what the gateway and its image are."""
import re

from machines import ROOT, run
from support import BIN, Skip, check

DEPLOY = ROOT / 'examples/gateway/deploy'
UID = 65534
CACHE, STATE = '/var/cache/mender-gateway', '/var/lib/mender-gateway'


def load(path):
    try:
        import yaml
    except ImportError as e:
        raise Skip('python3-yaml is not installed') from e
    return list(yaml.safe_load_all(path.read_text()))


def good_settings(bench, environment):
    """--check-config takes them, with files in the places that they name."""
    out = bench.dir / 'gw'
    if not out.exists():
        run(BIN / 'mgw-gateway', 'setup', '--host', 'localhost', '--upstream', 'http://127.0.0.1:9', '--out', out)
    for name in environment:
        check(re.fullmatch(r'[A-Z0-9_]+', name), f'{name} is no variable')
    known = run(BIN / 'mgw-gateway', '--help')
    for name in environment:
        check(f'  {name}\n' in known, f'the gateway does not know {name}')
    here = {'HTTPS_SERVER_CERTIFICATE': str(out / 'server.crt'), 'HTTPS_SERVER_KEY': str(out / 'server.key'),
            'ARTIFACTS_PROXY_CACHE_PATH': str(bench.dir / 'cache'), 'STATE_DIRECTORY': str(bench.dir / 'state')}
    run(BIN / 'mgw-gateway', '--check-config', env={'PATH': '/usr/bin:/bin', **environment, **here})


def test_the_compose_file_agrees_with_the_image_and_with_what_setup_writes(bench):
    (compose,) = load(DEPLOY / 'docker/compose.yaml')
    gateway = compose['services']['gateway']
    good_settings(bench, gateway['environment'])
    (made,) = load(bench.dir / 'gw/compose.yaml')
    other = made['services']['gateway']
    check(gateway['image'] == other['image'], f'{gateway["image"]} {other["image"]}')
    check(gateway['stop_grace_period'] == other['stop_grace_period'], 'different times to stop')
    places = {v.split(':')[1] for v in gateway['volumes']}
    check(places == {v.split(':')[1] for v in other['volumes']}, f'{places} {other["volumes"]}')
    check({CACHE, STATE} < places and gateway['read_only'] is True and gateway['cap_drop'] == ['ALL'], str(gateway))
    dockerfile = (ROOT / gateway['build']['dockerfile']).read_text()
    check(f'USER {UID}:{UID}' in dockerfile and f'VOLUME ["{CACHE}", "{STATE}"]' in dockerfile, 'the image is another')
    inside, outside = gateway['ports'][0].split(':')[::-1]
    check(gateway['environment']['HTTPS_LISTEN'] == f':{inside}' and outside == '443', gateway['ports'][0])

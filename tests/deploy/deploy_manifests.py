"""Manifests that nothing here can carry out: parsed, and held against what the gateway and its image are."""
import hashlib
import os
import re
import sys

from machines import ROOT, run
from support import BIN, Skip, check

DEPLOY = ROOT / 'examples/gateway/deploy'
ALIVE = '/api/internal/v1/gateway/alive'
UID = 65534
CACHE, STATE, CERTIFICATES = '/var/cache/mender-gateway', '/var/lib/mender-gateway', '/etc/mender/certs'


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


def test_kubernetes_manifests_are_in_the_api_s_form(bench):
    manifest, wrong = DEPLOY / 'kubernetes/mender-gateway.yaml', bench.path('wrong.yaml')
    wrong.write_text(manifest.read_text().replace('timeoutSeconds:', 'timeoutSecond:'))
    # Debian's package is for Debian's Python, which need not be the one that runs this.
    for python in (sys.executable, '/usr/bin/python3'):
        form = [python, ROOT / 'tests/deploy/kubernetes_form.py']
        run(*form, manifest, good=(0, 77), cwd=bench.dir)
        said = run(*form, wrong, good=(1, 77), cwd=bench.dir)
        if 'is not installed' not in said:
            check('knows no timeoutSecond' in said, said)
            return
    raise Skip(said.strip())


def test_kubernetes_manifests_agree_with_each_other_and_with_the_image(bench):
    found = {one['kind']: one for one in load(DEPLOY / 'kubernetes/mender-gateway.yaml')}
    check(set(found) == {'ConfigMap', 'Service', 'StatefulSet', 'NetworkPolicy'}, str(set(found)))
    settings = found['ConfigMap']['data']
    check(all(isinstance(v, str) for v in settings.values()), f'a ConfigMap has texts alone: {settings}')
    good_settings(bench, settings)

    workload = found['StatefulSet']['spec']
    pod, labels = workload['template']['spec'], workload['template']['metadata']['labels']
    for selector in (workload['selector']['matchLabels'], found['Service']['spec']['selector'],
                     found['NetworkPolicy']['spec']['podSelector']['matchLabels']):
        check(selector.items() <= labels.items(), f'{selector} does not select {labels}')
    (container,) = pod['containers']
    ports = {p['name']: p['containerPort'] for p in container['ports']}
    check(ports == {'https': int(settings['HTTPS_LISTEN'].removeprefix(':'))} and ports['https'] >= 1024, str(ports))
    check(found['Service']['spec']['ports'][0]['targetPort'] in ports, 'the service leads nowhere')
    (way_in,) = found['NetworkPolicy']['spec']['ingress']
    check([p['port'] for p in way_in['ports']] == list(ports.values()), f'the policy: {way_in}')
    for probe in ('startupProbe', 'livenessProbe', 'readinessProbe'):
        check(container[probe]['httpGet'] == {'path': ALIVE, 'port': 'https', 'scheme': 'HTTPS'}, f'{probe}')

    user = pod['securityContext']
    check((user['runAsUser'], user['runAsGroup'], user['fsGroup'], user['runAsNonRoot']) == (UID, UID, UID, True), str(user))
    inside = container['securityContext']
    check(inside['readOnlyRootFilesystem'] and inside['capabilities']['drop'] == ['ALL'] and
          inside['allowPrivilegeEscalation'] is False, str(inside))
    claims = {c['metadata']['name'] for c in workload['volumeClaimTemplates']} | {v['name'] for v in pod['volumes']}
    mounts = {m['mountPath']: m['name'] for m in container['volumeMounts']}
    check(set(mounts) == {CACHE, STATE, CERTIFICATES} and set(mounts.values()) == claims, f'{mounts} {claims}')
    for name in ('HTTPS_SERVER_CERTIFICATE', 'HTTPS_SERVER_KEY'):
        check(settings[name].startswith(CERTIFICATES + '/tls.'), settings[name])
    drain = int(settings['DRAIN_TIMEOUT'].removesuffix('s'))
    check(pod['terminationGracePeriodSeconds'] >= drain + 10, 'killed before downloads have ended')
    check(pod['volumes'][0]['secret']['defaultMode'] == 0o440, str(pod['volumes']))
    # By docs/sizing.md, with a thousand idle connections and a hundred downloads.
    fills = int(settings['ARTIFACTS_PROXY_CACHE_MAX_CONCURRENT_FILLS'])
    (sizing,) = re.findall(r'16 MB  \+ .*\n.*10 to 75 MB', (ROOT / 'docs/sizing.md').read_text())
    limit = int(container['resources']['limits']['memory'].removesuffix('Mi'))
    check(sizing and limit * 2**20 > (16 + 75 * fills + 24 + 20) * 10**6, f'{fills} fills in {limit} MiB')
    size = {c['metadata']['name']: int(c['spec']['resources']['requests']['storage'].removesuffix('Gi').removesuffix('Mi'))
            for c in workload['volumeClaimTemplates']}
    check(int(settings['ARTIFACTS_PROXY_CACHE_MAX_SIZE'].removesuffix('GiB')) <= 0.95 * size['cache'], f'{size}')


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
    # The status page is the host's, and not the network's.
    for one in (gateway, other):
        check(one['ports'][1:] == ['127.0.0.1:9103:9103'] and one['environment']['ADMIN_LISTEN'] == ':9103', f'{one}')


def test_the_recipe_names_this_version_and_this_licence(_):
    version = re.search(r'MGW_VERSION "([\d.]+)"', (ROOT / 'include/mgw/version.hpp').read_text())[1]
    recipe = DEPLOY / f'yocto/mgw-gateway_{version}.bb'
    check(recipe.is_file(), f'no recipe for {version}')
    text = recipe.read_text()
    licence = hashlib.md5((ROOT / 'LICENSE').read_bytes()).hexdigest()
    check(f'file://LICENSE;md5={licence}' in text, f'LIC_FILES_CHKSUM: the file has {licence}')
    check('SYSTEMD_SERVICE:${PN} = "mender-gateway.service"' in text, 'no unit')
    # Each statement is complete: quotes in pairs, braces in pairs.
    for line in re.sub(r'\\\n', '', text).splitlines():
        if re.match(r'[A-Z][\w:${}-]* [?+:]*= ', line):
            check(line.count('"') == 2 and line.endswith('"'), f'recipe: {line}')
    check(text.count('{') == text.count('}'), 'recipe: braces')


def test_what_the_recipe_installs_is_found_by_its_packages(bench):
    build = BIN.parent
    if not (build / 'CPackConfig.cmake').is_file():
        raise Skip(f'{build} is no build directory of this project')
    run('cmake', '--build', build, '--target', 'mgw-gateway-files', timeout=1800)
    image = bench.path('image', 'x').parent
    run('cmake', '--install', build, '--component', 'gateway', '--prefix', '/', env={**os.environ, 'DESTDIR': str(image)})
    found = {'/' + p.relative_to(image).as_posix() for p in image.rglob('*') if not p.is_dir()}
    # Bitbake's own FILES, and those that the recipe adds.
    ours = re.compile(r'/usr/bin/|/etc/|/lib/systemd/system/|/usr/lib/(sysusers|tmpfiles)\.d/|/usr/share/mender/|'
                      r'/usr/share/(man|doc|bash-completion)/')
    check(len(found) > 10 and not [p for p in found if not ours.match(p)], f'in no package: {found}')
    recipe = next((DEPLOY / 'yocto').glob('*.bb')).read_text()
    configured = set(re.search(r'CONFFILES:\$\{PN\} = "(.*)"', recipe)[1].replace('${sysconfdir}', '/etc').split())
    check(configured == {p for p in found if p.startswith('/etc/')}, f'{configured}')

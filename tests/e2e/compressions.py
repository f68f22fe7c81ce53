"""Artifacts of each compression that Mender has, verified on their way through the gateway: good ones are stored, corrupted ones condemned; and signed ones, by keys that it knows."""
import hashlib
import io
import json
import os
import subprocess
import tarfile

from bombs import Site, refused, spoilt
from support import BIN, DEVICE_TYPE, check, gateway_environment
from verify import COMPRESSIONS, artifact, tar


PAYLOAD = hashlib.shake_256(b'noise').digest(300_000)
PAYLOAD += bytes(200_000) + PAYLOAD[::-1]
EC = 'ecparam', '-genkey', '-name', 'prime256v1', '-noout'


def written(bench, compression):
    """By Mender's own tool."""
    payload, out = bench.path('payload'), bench.path(f'{compression}.mender')
    payload.write_bytes(PAYLOAD)
    subprocess.run(['mender-artifact', 'write', 'module-image', '-T', 'single-file', '-n', f'by-{compression}', '-t', DEVICE_TYPE,
                    '--compression', compression, '-o', out, '-f', payload], check=True, capture_output=True)
    return out.read_bytes()


def corrupted(content, at):
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1:]


def test_good_ones_are_verified_and_corrupted_ones_condemned(bench):
    goods = {f'"{c}"': artifact(PAYLOAD, c) for c in COMPRESSIONS}
    goods.update((c, written(bench, c)) for c in ('none', 'gzip', 'lzma'))  # Debian's cannot write zstd
    # In the head; in the middle of the payload, where the client has the beginning; and at its end, the last bytes of which nobody has.
    bads = {f'{c}, corrupted {where}': corrupted(content, at) for c, content in goods.items() for where, at in (
        ('in its manifest', content.index(b'  version') - 5), ('in the middle', len(content) // 3), ('at its end', len(content) - 30_000))}
    cases = {**goods, **bads}
    site = Site(bench, cases.values())
    for number, (what, content) in enumerate(cases.items()):
        target = site.link(number)
        answer = site.get(target)
        lines = site.condemned(target)
        if what in goods:
            check(answer.status == 200 and answer.body == content and not lines, f'{what}: {answer.status}; the log says {lines}')
            again = site.get(site.link(number))
            check(again.body == content and ' hit' in again.headers['cache-status'], f'{what}: it is not stored: {again.headers}')
        else:
            check(refused(answer) or 'manifest' not in what and spoilt(answer, content), f'{what}: the client got {answer.status}; the log says {lines}')
            check(len(lines) == 1, f'{what}: the log says {lines}')
            check(refused(site.get(site.link(number))), f'{what}: it is served again')
    listed = subprocess.run([BIN / 'mgw-gateway', 'cache', 'list', '--json'], capture_output=True, check=True, timeout=60,
                            env={**os.environ, **gateway_environment(bench, site.origin.url)})
    objects = json.loads(listed.stdout)['objects']
    # Only the verifier knows name and head.
    check(sorted(o['name'] for o in objects) == sorted(['release-2'] * len(COMPRESSIONS) + ['by-none', 'by-gzip', 'by-lzma']), f'stored: {objects}')
    check(all(len(o['head']) == 64 for o in objects), f'one was not verified: {objects}')
    check(site.gateway.log.count(': complete, ') == len(goods), 'others are complete')
    site.end()


class Signer:
    """A key pair, made by `openssl` with these arguments."""

    def __init__(self, bench, name, *made):
        self.key, self.public, self.text = (bench.path(f'{name}.{what}') for what in ('key', 'pub', 'manifest'))
        self.openssl(*made, '-out', self.key)
        self.openssl('pkey', '-in', self.key, '-pubout', '-out', self.public)

    @staticmethod
    def openssl(*args, **more):
        return subprocess.run(['openssl', *args], check=True, capture_output=True, **more).stdout

    def signed(self, content):
        """The artifact, with a signature of its manifest."""
        files = {}
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for entry in archive:
                files[entry.name] = archive.extractfile(entry).read()
                if entry.name == 'manifest':
                    self.text.write_bytes(files['manifest'])
                    files['manifest.sig'] = self.openssl('base64', '-A', input=self.openssl('dgst', '-sha256', '-sign', self.key, self.text))
        return tar(files)


def test_signed_by_a_key_of_verify_keys_or_condemned(bench):
    ec, rsa = Signer(bench, 'ec', *EC), Signer(bench, 'rsa', 'genpkey', '-algorithm', 'RSA')
    plain = {name: artifact(payload, 'gz') for name, payload in (('large', PAYLOAD), ('small', b'x'))}
    goods = {'by an EC key': ec.signed(plain['large']), 'by an RSA key': rsa.signed(plain['large']), 'a small one': ec.signed(plain['small'])}
    bads = {'by another key': (Signer(bench, 'other', *EC).signed(plain['large']), 'manifest.sig: the signature is by none of the keys'),
            'not at all': (plain['large'], 'the artifact is not signed'),
            'a small one, not at all': (plain['small'], 'the artifact is not signed')}
    cases = {**goods, **{what: content for what, (content, _) in bads.items()}}
    site = Site(bench, cases.values(), ARTIFACTS_PROXY_CACHE_VERIFY_KEYS=f'{ec.public},{rsa.public}')
    for number, (what, content) in enumerate(cases.items()):
        target = site.link(number)
        answer = site.get(target)
        lines = site.condemned(target)
        if what in goods:
            check(answer.status == 200 and answer.body == content and not lines, f'{what}: {answer.status}; the log says {lines}')
            check(' hit' in site.get(site.link(number)).headers['cache-status'], f'{what}: it is not stored')
        else:
            check(refused(answer), f'{what}: the client got {answer.status}; the log says {lines}')
            check(len(lines) == 1 and bads[what][1] in lines[0], f'{what}: the log says {lines}')
            check(refused(site.get(site.link(number))), f'{what}: it is served again')
    site.end()

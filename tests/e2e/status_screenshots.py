#!/usr/bin/env python3
"""Makes the pictures of the documentation: `status_screenshots.py DIRECTORY` writes status-light.png, status-dark.png and
status-narrow.png there.

They show the real gateway (of build/release/bin, or $MGW_BIN) with the demo's server and devices: an update that some devices have, and
the next one half-way for others. Takes half a minute.
"""
import base64
import pathlib
import struct
import subprocess
import sys
import time
import zlib

sys.dont_write_bytecode = True
from chromium import Browser  # noqa: E402
from support import BIN, Bench, Failure, check, free_port, start_gateway  # noqa: E402

LIMIT = 4 << 20
# The picture's pixels as numbers of up to 256 of its colours, frequent ones that differ: half the bytes.
INDEXED = '''(async () => {
  const bitmap = await createImageBitmap(await (await fetch('data:image/png;base64,%s')).blob());
  const { width, height } = bitmap, drawing = new OffscreenCanvas(width, height).getContext('2d');
  drawing.drawImage(bitmap, 0, 0);
  const pixels = new Uint32Array(drawing.getImageData(0, 0, width, height).data.buffer), counts = new Map();
  for (const p of pixels) counts.set(p, (counts.get(p) ?? 0) + 1);
  const bytes = (p) => [p & 255, p >> 8 & 255, p >> 16 & 255];
  const far = (a, b) => a.reduce((sum, v, i) => sum + (v - b[i]) ** 2, 0);
  const colors = [];
  for (const [p] of [...counts].sort((a, b) => b[1] - a[1])) {
    if (colors.length < 256 && colors.every((c) => far(c, bytes(p)) > 60)) colors.push(bytes(p));
  }
  const nearest = new Map([...counts.keys()].map((p) => {
    const distances = colors.map((c) => far(c, bytes(p)));
    return [p, distances.indexOf(Math.min(...distances))];
  }));
  let text = '';
  for (const p of pixels) text += String.fromCharCode(nearest.get(p));
  return { width, height, colors: colors.flat(), pixels: btoa(text) };
})()'''
TYPE = 'sensor-hub'


def artifact(bench, name, size):
    path = bench.path(f'{name}.mender')
    subprocess.run([BIN / 'mgw-mini-mender', '--make-artifact', path, '--size', size, '--artifact-name', name, '--device-type', TYPE], check=True)
    return path


def small(page, path):
    picture = page.evaluate(INDEXED % base64.b64encode(path.read_bytes()).decode())
    width, pixels = picture['width'], base64.b64decode(picture['pixels'])
    lines = b''.join(b'\0' + pixels[at:at + width] for at in range(0, len(pixels), width))
    with open(path, 'wb') as out:
        out.write(b'\x89PNG\r\n\x1a\n')
        for kind, data in ((b'IHDR', struct.pack('>IIBBBBB', width, picture['height'], 8, 3, 0, 0, 0)),
                           (b'PLTE', bytes(picture['colors'])), (b'IDAT', zlib.compress(lines, 9)), (b'IEND', b'')):
            out.write(struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data)))


def main():
    into = pathlib.Path(sys.argv[1])
    into.mkdir(parents=True, exist_ok=True)
    with Bench('screenshots') as bench:
        browser = bench.enter(Browser(bench.path('browser', 'profile')))
        port = free_port()

        def offer(name, size, *more):
            return bench.start('server', [BIN / 'mgw-mini-mender', '--listen', f'127.0.0.1:{port}', '--cert', bench.pki.cert, '--key',
                                          bench.pki.key, '--artifact', artifact(bench, name, size), '--artifact-name', name,
                                          '--device-type', TYPE, *more], ready='mgw-mini-mender listening on ')
        server = offer('sensor-hub-4.1', '16MiB')
        gateway = start_gateway(bench, f'https://localhost:{port}', UPSTREAM_RATE_LIMIT=str(LIMIT))
        url = gateway.wait_for(r'status page: (http://\S+)\n', 10)[1]

        def fleet(devices, has, *more):
            return bench.start('fleet', [BIN / 'mgw-fleet', '--server', f'https://localhost:{gateway.port}', '--ca', bench.pki.ca,
                                         '--devices', devices, '--device-type', TYPE, '--artifact-name', has, *more])
        first = fleet(6, 'sensor-hub-4.0')
        check(first.child.wait(60) == 0, f'the first update failed: {first.tail()}')
        server.stop()
        offer('sensor-hub-4.2', '96MiB', '--cut-every', '40')
        fleet(8, 'sensor-hub-4.1')
        fleet(4, 'sensor-hub-4.1', '--connections-rate', 3 << 19)
        fleet(2, 'sensor-hub-4.1', '--connections-rate', 3 << 20)
        pages = [(name, bench.enter(browser.page(**more))) for name, more in (
            ('light', {'width': 1280}), ('dark', {'width': 1280, 'dark': True}), ('narrow', {'width': 360}))]
        for _, page in pages:
            page.open(url)
        pages[0][1].until("Number(document.querySelector('#fills progress')?.value) > 0.55 * document.querySelector('#fills progress').max", 60)
        time.sleep(1)  # of the bars' movement
        for name, page in pages:
            page.screenshot(into / f'status-{name}.png', whole=name != 'narrow')
            check(not page.faults, f'{name}: {page.faults}')
        blank = bench.enter(browser.page())
        for name, _ in pages:
            path = into / f'status-{name}.png'
            small(blank, path)
            print(f'{path}: {path.stat().st_size} bytes')


if __name__ == '__main__':
    try:
        main()
    except Failure as e:
        sys.exit(f'status_screenshots.py: {e}')

# SPDX-License-Identifier: Apache-2.0
"""vmkeep, restic, borg and zstd with the same images in one run."""
import json
import os
import resource
import shutil
import subprocess
import time

import systems

VMKEEP = os.environ.get('VMKEEP', 'vmkeep')
MIB = 1 << 20


def tree_bytes(path):
    return sum(os.lstat(os.path.join(folder, name)).st_size
               for folder, _, names in os.walk(path) for name in names)


class Peer:
    """A way to keep an image: save it, then say how much it keeps."""

    def __init__(self, folder):
        self.folder = folder
        self.place = f'{folder}/{self.name}.store'
        self.env = dict(os.environ, HOME=folder, RESTIC_PASSWORD='x',
                        BORG_PASSPHRASE='x', VMKEEP_PASSWORD='x',
                        BORG_BASE_DIR=folder + '/borg.base',
                        RESTIC_CACHE_DIR=folder + '/restic.cache',
                        XDG_CACHE_HOME=folder + '/cache',
                        RESTIC_PROGRESS_FPS='0.1')
        self.wall_s = self.cpu_s = 0.0

    def call(self, *argv):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.monotonic()
        subprocess.run(argv, check=True, env=self.env, cwd=self.folder,
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.wall_s = time.monotonic() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu_s = (after.ru_utime + after.ru_stime -
                      before.ru_utime - before.ru_stime)

    def stored(self):
        return tree_bytes(self.place)

    def start(self):
        """An empty place."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.init()

    def init(self):
        os.makedirs(self.place)


class Vmkeep(Peer):
    name = 'vmkeep'

    def init(self):
        self.call(VMKEEP, 'init', self.place)

    def save(self, image):
        self.call(VMKEEP, '-r', self.place, 'import', image, '--name', 'm')


class Restic(Peer):
    name = 'restic'

    def init(self):
        self.call('restic', 'init', '-r', self.place)

    def save(self, image):
        self.call('restic', '-r', self.place, 'backup', image)


class Borg(Peer):
    name = 'borg'
    count = 0

    def init(self):
        self.call('borg', 'init', '-e', 'repokey-blake2', self.place)

    def save(self, image):
        self.count += 1
        self.call('borg', 'create', f'{self.place}::{self.count}', image)


class Zstd(Peer):
    name = 'zstd -1 -T2'
    count = 0

    def save(self, image):
        self.count += 1
        self.call('zstd', '-q', '-f', '-1', '-T2', image, '-o',
                  f'{self.place}/{self.count}')


def warm(image):
    with open(image, 'rb', buffering=0) as f:
        while f.read(8 * MIB):
            pass


def print_row(*cells):
    print(''.join(f'{c:>13}' for c in cells), flush=True)


def first_backups(peers, image, rounds):
    """The best of some rounds each, in turn: the machine is not ours alone."""
    best = {}
    for _ in range(rounds):
        for p in peers:
            p.start()
            warm(image)
            p.save(image)
            if p.name not in best or p.wall_s < best[p.name][0]:
                best[p.name] = (p.wall_s, p.cpu_s)
    return best


def compare(folder, rounds):
    first, second = systems.make(folder)
    work = folder + '/work.raw'
    subprocess.run(['cp', '--sparse=always', first, work], check=True)
    peers = [Vmkeep(folder), Restic(folder), Borg(folder), Zstd(folder)]
    size = os.path.getsize(work)
    allocated = os.stat(work).st_blocks * 512
    print(f'raw ext4 image of {size / 1e6:.0f} MB, {allocated / 1e6:.0f} MB of '
          f'it allocated; best of {rounds}; load '
          f'{os.getloadavg()[0]:.1f} before')
    try:
        report(peers, work, second, rounds, allocated)
    finally:
        for p in peers:
            shutil.rmtree(p.place, ignore_errors=True)
        for name in ('borg.base', 'restic.cache', 'cache'):
            shutil.rmtree(f'{folder}/{name}', ignore_errors=True)
        os.unlink(work)


def report(peers, work, second, rounds, allocated):
    best = first_backups(peers, work, rounds)
    keep = [p for p in peers if p.name != Zstd.name]
    kept = {p.name: p.stored() for p in peers}
    mine = best['vmkeep'][0]
    print_row('first', 'seconds', 'CPU s', 'data MB/s', 'of vmkeep', 'stored MB',
              'of vmkeep')
    for p in peers:
        wall, cpu = best[p.name]
        print_row(p.name, f'{wall:.1f}', f'{cpu:.1f}',
                  f'{allocated / 1e6 / wall:.0f}', f'{wall / mine:.2f}x',
                  f'{kept[p.name] / 1e6:.0f}',
                  f'{kept[p.name] / kept["vmkeep"]:.2f}x')
    print()
    print_row('second system', 'seconds', 'added MB', 'of first')
    for p in keep:
        before = p.stored()
        p.save(second)
        added = p.stored() - before
        print_row(p.name, f'{p.wall_s:.1f}', f'{added / 1e6:.0f}',
                  f'{100 * added / kept[p.name]:.0f} %')
    print()
    dirty = systems.rewrite(work, 0.01, 3)
    print_row('1 % rewritten', 'seconds', 'added MB', 'of written',
              'of vmkeep')
    base = 0
    for p in keep:
        before = p.stored()
        p.save(work)
        added = p.stored() - before
        base = base or added
        print_row(p.name, f'{p.wall_s:.1f}', f'{added / 1e6:.1f}',
                  f'{added / dirty:.1f}x', f'{added / base:.2f}x')
    print(f'load {os.getloadavg()[0]:.1f} after', flush=True)

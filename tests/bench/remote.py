# SPDX-License-Identifier: Apache-2.0
"""vmkeep and restic over the same line, to the same S3 and SFTP servers."""
import contextlib
import json
import os
import shutil
import subprocess
import time

import vmtest

VMKEEP = os.environ.get('VMKEEP', 'vmkeep')
ROOT = vmtest.ROOT
MIB = 1 << 20


class Helper:
    """A program that says "ready TEXT" and serves until its input ends."""

    def __init__(self, *argv):
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        word, _, self.text = self.process.stdout.readline().strip() \
            .partition(' ')
        if word != 'ready':
            self.stop()
            raise RuntimeError(f'{argv[0]}: {word} {self.text}')

    def ask(self):
        self.process.stdin.write('\n')
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def running(*argv):
    helper = Helper(*argv)
    try:
        yield helper
    finally:
        helper.stop()


class S3:
    name = 'S3'
    server = 'rgw.py'

    def __init__(self, text):
        self.port = int(text)

    def vmkeep(self, port, name):
        return f's3:http://127.0.0.1:{port}/bench/{name}', {}

    def restic(self, port, name):
        return ['-r', f's3:http://127.0.0.1:{port}/bench-r/{name}']


class Sftp:
    name = 'SFTP'
    server = 'sshd.py'

    def __init__(self, folder):
        self.folder = folder
        with open(folder + '/ssh_config', encoding='utf-8') as f:
            words = f.read().split()
        self.port = int(words[words.index('Port') + 1])

    def ssh(self, port):
        return (f'ssh -F {self.folder}/ssh_config -p {port} '
                f'-oHostKeyAlias=[127.0.0.1]:{self.port}')

    def vmkeep(self, port, name):
        return (f'sftp:127.0.0.1:{self.folder}/data/{name}',
                {'VMKEEP_SSH_COMMAND': self.ssh(port)})

    def restic(self, port, name):
        return ['-r', f'sftp:127.0.0.1:{self.folder}/data/{name}', '-o',
                f'sftp.command={self.ssh(port)} 127.0.0.1 -s sftp']


def environment(folder):
    return dict(os.environ, HOME=folder, RESTIC_PASSWORD='x',
                VMKEEP_PASSWORD='x', RESTIC_CACHE_DIR=folder + '/restic.cache',
                VMKEEP_CACHE_DIR=folder + '/vmkeep.cache',
                AWS_ACCESS_KEY_ID='AKTEST', AWS_SECRET_ACCESS_KEY='SKTEST',
                RESTIC_PROGRESS_FPS='0.1')


class Peer:
    """What a program is called with; `port` is the line's."""

    def __init__(self, place, port, folder, run):
        self.place, self.port, self.folder = place, port, folder
        self.run = run
        self.env = environment(folder)

    def call(self, *argv):
        """Seconds, and MiB of the largest process."""
        start = time.monotonic()
        with open(self.folder + '/said', 'wb') as said:
            child = subprocess.Popen(argv, env=self.env, cwd=self.folder,
                                     stdin=subprocess.DEVNULL, stdout=said,
                                     stderr=said)
            _, status, usage = os.wait4(child.pid, 0)
        taken = time.monotonic() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            with open(self.folder + '/said', encoding='utf-8') as f:
                raise RuntimeError(f'{argv}: {f.read()[-2000:]}')
        return taken, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime

    def forget_all(self):
        for name in 'restic.cache', 'vmkeep.cache':
            shutil.rmtree(f'{self.folder}/{name}', ignore_errors=True)


class Vmkeep(Peer):
    name = 'vmkeep'

    def __init__(self, *args):
        super().__init__(*args)
        address, env = self.place.vmkeep(self.port, 'v' + self.run)
        self.env.update(env, VMKEEP_REPOSITORY=address)

    def init(self):
        return self.call(VMKEEP, 'init')

    def save(self, image):
        return self.call(VMKEEP, 'import', image, '--name', 'm')

    def list(self):
        return self.call(VMKEEP, 'list')

    def restore(self, to):
        return self.call(VMKEEP, 'restore', 'latest', '--to', to, '--format',
                         'raw')


class Restic(Peer):
    name = 'restic'

    def __init__(self, *args):
        super().__init__(*args)
        self.argv = ['restic', *self.place.restic(self.port, 'r' + self.run)]

    def init(self):
        return self.call(*self.argv, 'init')

    def save(self, image):
        return self.call(*self.argv, 'backup', image)

    def list(self):
        return self.call(*self.argv, 'snapshots')

    def restore(self, to):
        return self.call(*self.argv, 'restore', 'latest', '--target', to)


class Table:
    def __init__(self, link, mbit):
        self.link, self.mbit = link, mbit
        self.seconds = {}

    def row(self, peer, what, result, way=None):
        seconds, mib, cpu = result
        cells = [peer.place.name, peer.name, what, f'{seconds:.2f}',
                 f'{cpu:.1f}', f'{mib:.0f}']
        if self.link:
            passed = self.link.ask()
            rate = self.mbit * 1e6 / 8
            cells += [f'{passed[w]["bytes"] / 1e6:.1f}'
                      for w in ('up', 'down')]
            cells += [f'{100 * passed[way]["bytes"] / rate / seconds:.0f} %',
                      f'{100 * passed[way]["steady"]:.0f} %'] if way \
                else ['', '']
            cells.append(str(passed['connections']))
        else:
            cells += [''] * 5
        key = peer.place.name, what
        if peer.name == 'vmkeep':
            self.seconds[key] = seconds
        elif self.seconds.get(key):
            cells.append(f'{seconds / self.seconds[key]:.2f}x')
        print(f'{cells[0]:<5}{cells[1]:<8}{cells[2]:<11}' +
              ''.join(f'{c:>8}' for c in cells[3:]), flush=True)


HEAD = ('seconds', 'CPU s', 'MiB', 'MB up', 'MB down', 'of line', 'steady',
        'conns', 'vmkeep')


def find(folder, image):
    for at, _, names in os.walk(folder):
        for name in names:
            if name.endswith('.raw') or name == os.path.basename(image):
                return os.path.join(at, name)
    raise RuntimeError('nothing was restored')


def life(table, peers, image, folder):
    """Each step by each program, one right after the other."""
    link = table.link
    if link:
        link.ask()
    for p in peers:
        table.row(p, 'init', p.init())
    for p in peers:
        table.row(p, 'backup', p.save(image), 'up')
    for p in peers:
        table.row(p, 'unchanged', p.save(image))
    for p in peers:
        table.row(p, 'list', p.list())
    for p in peers:
        p.forget_all()  # another host has none either
        to = f'{folder}/out.{p.name}'
        os.mkdir(to)
        table.row(p, 'restore', p.restore(to + '/files'), 'down')
        subprocess.run(['cmp', image, find(to, image)], check=True)
        shutil.rmtree(to)


def compare(folder, mib, source, rtts, mbit, places, programs):
    image = folder + '/image.raw'
    if not os.path.exists(image):
        vmtest.image_of_files(image, mib, source)
    version = subprocess.run(['restic', 'version'], check=True, text=True,
                             stdout=subprocess.PIPE).stdout.split()[1] \
        if 'restic' in programs else 'none'
    allocated = os.stat(image).st_blocks * 512
    print(f'an ext4 image of {os.path.getsize(image) / 1e6:.0f} MB, '
          f'{allocated / 1e6:.0f} MB of it allocated; {mbit:.0f} Mbit/s each '
          f'way; restic {version}; load {os.getloadavg()[0]:.1f}')
    for rtt in rtts:
        print(f'\nround trip {rtt:.0f} ms' if rtt else
              '\nno line between: loopback')
        print(' ' * 24 + ''.join(f'{h:>8}' for h in HEAD))
        for kind in S3, Sftp:
            if kind.name in places:
                at(folder, image, kind, rtt, mbit, programs)
    print(f'load {os.getloadavg()[0]:.1f} after', flush=True)


def at(folder, image, kind, rtt, mbit, programs):
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(
            running(f'{ROOT}/tests/remote/{kind.server}'))
        place = kind(server.text)
        port, link = place.port, None
        if rtt:
            link = stack.enter_context(
                running(f'{ROOT}/tests/bench/slowlink.py', str(place.port),
                        str(rtt), str(mbit)))
            port = int(link.text)
        peers = [k(place, port, folder, f'-{rtt:.0f}')
                 for k in (Vmkeep, Restic) if k.name in programs]
        for p in peers:
            p.forget_all()
        life(Table(link, mbit), peers, image, folder)

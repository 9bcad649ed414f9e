#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the next backup sends again after one that was cut; hosts that share."""
import json
import random
import signal
import socket
import subprocess
import threading

from harness import PASSWORD, PATIENCE_S, main
from test_remote import MIB, Server, ok, s3_keys

PACK = 32 * MIB
FLYING = 3 * PACK  # that many packs are sent at once
TOLD = 64 * MIB  # what is sent is put into the index by such pieces


class Proxy:
    """Between the program and a server: counts what goes there, and does
    something at a moment."""

    def __init__(self, port):
        self.port, self.sent, self.cut_at = port, 0, None
        self.lock = threading.Lock()
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.own = self.listener.getsockname()[1]
        self.on_cut = lambda: None
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(('127.0.0.1', self.port))
            except OSError:
                near.close()  # as the server is away
                continue
            for a, b, counts in (near, far, True), (far, near, False):
                threading.Thread(target=self.pump, args=(a, b, counts),
                                 daemon=True).start()

    def pump(self, a, b, counts):
        try:
            while data := a.recv(1 << 18):
                if counts:
                    self.count(len(data))
                b.sendall(data)
        except OSError:
            pass
        for s in a, b:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def count(self, n):
        with self.lock:
            self.sent += n
            if self.cut_at is not None and self.sent >= self.cut_at:
                self.cut_at = None
                self.on_cut()

    def close(self):
        self.listener.close()


def whole(box, *args):
    """A run that may take its time: it has a lot to do."""
    child = box.start(*args)
    out, err = child.communicate(timeout=5 * PATIENCE_S)
    assert child.returncode == 0, (args, child.returncode, err)
    return out.decode()


def cut_runs(box, size, signals):
    """Import so much behind a proxy; each run is ended after so many bytes."""
    s3_keys(box)
    server = Server(box, 's3server.py')
    proxy = Proxy(int(server.text))
    box.env.update(
        VMKEEP_PASSWORD=PASSWORD,
        VMKEEP_REPOSITORY=f's3:http://127.0.0.1:{proxy.own}/fine/r')
    ok(box, 'init')
    path = box.path('large.raw')
    with open(path, 'wb') as f:
        source = random.Random(3)
        for _ in range(size // (16 * MIB)):
            f.write(source.randbytes(16 * MIB))
    passed = []
    for how, cut in signals:
        child = box.start('import', path, '--name', 'web', '--json',
                          '--no-progress')
        proxy.sent, proxy.cut_at = 0, cut
        proxy.on_cut = lambda: child.send_signal(how)
        child.communicate(timeout=5 * PATIENCE_S)
        assert child.returncode in (-9, 130), child.returncode
        passed.append(proxy.sent)
        assert ok(box, 'list', '--json').json() == []
    proxy.sent = 0
    s = json.loads(whole(box, 'import', path, '--name', 'web', '--json',
                         '--no-progress').splitlines()[-1])
    passed.append(proxy.sent)
    whole(box, 'check')
    whole(box, 'restore', 'latest', '--to', 'out', '--format', 'raw')
    subprocess.run(['cmp', path, box.path('out/large.raw')], check=True)
    proxy.close()
    print('# sent, MiB: ' + ' + '.join(str(n // MIB) for n in passed) +
          f' for {size // MIB}; the last run found'
          f' {(size - s["new_bytes"]) // MIB}', flush=True)
    return passed, s


def test_killed(box):
    """Killed three times: what is sent twice is bounded, whatever the moment"""
    size, cuts = 320 * MIB, (20 * MIB, 200 * MIB, 80 * MIB)
    passed, s = cut_runs(box, size, [(signal.SIGKILL, cut) for cut in cuts])
    # A kill loses what is not told of yet: less than a piece, and the packs
    # that are being sent.
    most = sum(min(cut, TOLD + FLYING) for cut in cuts)
    assert sum(passed) - size < most + 24 * MIB, passed
    assert s['new_bytes'] < size - (sum(cuts) - most) + 2 * MIB, s


def test_interrupted(box):
    """Ctrl-C: all packs that had arrived are found by the next run"""
    size, cut = 288 * MIB, 160 * MIB
    passed, s = cut_runs(box, size, [(signal.SIGINT, cut)])
    assert sum(passed) - size < FLYING + 8 * MIB, passed
    assert s['new_bytes'] < size - (cut - FLYING) + 2 * MIB, s


def test_two_hosts(box):
    """Two hosts with their own keys back up into one bucket at once; a third
    restores both"""
    s3_keys(box)
    server = Server(box, 's3server.py')
    repo = f's3:http://127.0.0.1:{server.text}/fine/shared'
    box.env.update(VMKEEP_REPOSITORY=repo, VMKEEP_PASSWORD=PASSWORD)
    ok(box, 'init')
    hosts = {}
    common = random.Random(1).randbytes(20 * MIB)
    for name in 'one', 'two':
        r = box.run('key', 'add', '--role', 'host', '--namespace', name,
                    env={'VMKEEP_NEW_PASSWORD': 'key of ' + name})
        assert r.code == 0, r.err
        hosts[name] = {'VMKEEP_PASSWORD': 'key of ' + name,
                       'VMKEEP_CACHE_DIR': box.path('cache-' + name),
                       'HOME': box.path('home-' + name)}
        with open(box.path(name + '.raw'), 'wb') as f:
            f.write(common)
            f.write(random.Random(name).randbytes(12 * MIB))
    for generation in range(3):
        children = [box.start('import', box.path(name + '.raw'), '--name',
                              name, '--json', '--no-progress', env=env)
                    for name, env in hosts.items()]
        for child in children:
            _, err = child.communicate(timeout=5 * PATIENCE_S)
            assert child.returncode == 0, err
        if generation < 2:
            for name in hosts:
                with open(box.path(name + '.raw'), 'r+b') as f:
                    f.seek((3 + generation) * MIB)
                    f.write(name.encode() * 1000)
    # Neither can read the other's, nor its own.
    for name, env in hosts.items():
        r = box.run('restore', name + '@latest', '--to', 'no', env=env)
        assert r.code == 12, (r.code, r.err)
    box.env['VMKEEP_CACHE_DIR'] = box.path('cache-third')
    listed = ok(box, 'list', '--json').json()
    assert sorted(b['machine'] for b in listed) == ['one'] * 3 + ['two'] * 3
    for name in hosts:
        ok(box, 'restore', name + '@latest', '--to', 'to-' + name, '--format',
           'raw')
        subprocess.run(['cmp', box.path(f'{name}.raw'),
                        box.path(f'to-{name}/{name}.raw')], check=True)
    whole(box, 'check', '--read-data')
    # The next who comes stores nothing twice.
    r = ok(box, 'import', box.path('one.raw'), '--name', 'third', '--json')
    assert r.json_lines()[-1]['new_bytes'] == 0, r.out


if __name__ == '__main__':
    main()

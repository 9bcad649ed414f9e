#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How often a distant storage is waited for: requests at a time, round trips."""
import os
import random
import shutil
import socket
import subprocess
import threading

from harness import PASSWORD, PATIENCE_S, Skip, main
from test_remote import MIB, REMOTE, Server, ok, s3_keys

SFTP_SERVER = '/usr/lib/openssh/sftp-server'
AT_A_TIME = 6  # reads of data that a restore has under way
GIVE_UP_S = 10


class Holder:
    """In front of an S3 server: lets no read of a pack of data through before
    `wanted` of them have come."""

    def __init__(self, port, wanted):
        self.port, self.wanted = port, wanted
        self.now = self.most = self.reads = 0
        self.changed = threading.Condition()
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.own = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(('127.0.0.1', self.port))
            threading.Thread(target=self.requests, args=(near, far),
                             daemon=True).start()
            threading.Thread(target=self.answers, args=(far, near),
                             daemon=True).start()

    def requests(self, near, far):
        """None of them has a body."""
        text = b''
        while data := near.recv(1 << 16):
            text += data
            while b'\r\n\r\n' in text:
                head, text = text.split(b'\r\n\r\n', 1)
                if head.startswith(b'GET ') and b'/packs/d/' in head:
                    self.hold()
                far.sendall(head + b'\r\n\r\n')
        far.close()

    @staticmethod
    def answers(far, near):
        try:
            while data := far.recv(1 << 18):
                near.sendall(data)
        except OSError:
            pass

    def hold(self):
        with self.changed:
            self.reads += 1
            self.now += 1
            self.most = max(self.most, self.now)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.most >= self.wanted, GIVE_UP_S)
            self.wanted = 0  # once is enough, and so is one wait in vain
            self.changed.notify_all()
            self.now -= 1


def test_reads_at_a_time(box):
    """S3: a restore has many reads under way, and reads nothing twice"""
    s3_keys(box)
    server = Server(box, 's3server.py')
    box.env.update(VMKEEP_PASSWORD=PASSWORD)
    repo = 's3:http://127.0.0.1:{}/fine/r'
    ok(box, 'init', repo.format(server.text))
    path = box.path('large.raw')
    with open(path, 'wb') as f:
        f.write(random.Random(5).randbytes(96 * MIB))
    r = box.run('-r', repo.format(server.text), 'import', path, '--name', 'm')
    assert r.code == 0, r.err
    holder = Holder(int(server.text), AT_A_TIME)
    r = box.run('-r', repo.format(holder.own), '-v', '--limit-download', '10G',
                'restore', 'latest', '--to', 'out', '--format', 'raw')
    assert r.code == 0, r.err
    subprocess.run(['cmp', path, box.path('out/large.raw')], check=True)
    assert holder.most >= AT_A_TIME, holder.most
    got = int(r.err.split('limit=download bytes=')[1].split()[0])
    assert got < 96 * MIB * 1.05, got
    print(f'# {holder.most} of {holder.reads} reads at a time, '
          f'{got / MIB:.1f} MiB for 96')


def trips_of(box, *args):
    """Of all connections of one run."""
    path = box.path('trips')
    if os.path.exists(path):
        os.unlink(path)
    ok(box, *args)
    with open(path, encoding='ascii') as f:
        lines = [[int(n) for n in line.split()] for line in f]
    print(f'# {args[0]}: trips, requests:', lines)
    return sum(line[0] for line in lines)


def test_round_trips(box):
    """SFTP: round trips of small commands"""
    if not os.path.exists(SFTP_SERVER):
        raise Skip('no ' + SFTP_SERVER)
    os.mkdir(box.path('repo'))
    box.env.update(
        VMKEEP_PASSWORD=PASSWORD,
        VMKEEP_REPOSITORY=f'sftp:host:{box.path("repo")}',
        VMKEEP_SSH_COMMAND=f'{REMOTE}/trips.py {box.path("trips")} '
                           f'{SFTP_SERVER}')
    path = box.path('small.raw')
    with open(path, 'wb') as f:
        f.write(random.Random(6).randbytes(MIB))
    counts = {'init': trips_of(box, 'init')}
    counts['first'] = trips_of(box, 'import', path, '--name', 'm')
    counts['again'] = trips_of(box, 'import', path, '--name', 'm')
    counts['list'] = trips_of(box, 'list')
    counts['show'] = trips_of(box, 'show', 'latest')
    counts['restore'] = trips_of(box, 'restore', 'latest', '--to', 'out',
                                 '--format', 'raw')
    most = {'init': 28, 'first': 28, 'again': 22, 'list': 15, 'show': 15,
            'restore': 23}
    assert all(counts[k] <= most[k] for k in most), (counts, most)


def rounds_of(box, path, *args):
    """How often a run waits for answers; VMKEEP_TRIPS=1 shows for which."""
    before = os.path.getsize(path) if os.path.exists(path) else 0
    ok(box, *args)
    with open(path, encoding='utf-8') as f:
        f.seek(before)
        lines = f.read().splitlines()
    if os.environ.get('VMKEEP_TRIPS'):
        print('\n'.join(f'#   {line}' for line in lines))
    rounds = len({line.split()[0] for line in lines})
    print(f'# {args[0]}: {rounds} rounds of {len(lines)} requests')
    return rounds


def test_rounds(box):
    """S3: round trips of small commands"""
    s3_keys(box)
    path = box.path('rounds')
    server = Server(box, 's3server.py', '--rounds', path)
    box.env.update(
        VMKEEP_PASSWORD=PASSWORD, VMKEEP_CACHE_DIR=box.path('cache'),
        VMKEEP_REPOSITORY=f's3:http://127.0.0.1:{server.text}/fine/r')
    image = box.path('small.raw')
    with open(image, 'wb') as f:
        f.write(random.Random(6).randbytes(MIB))
    counts = {'init': rounds_of(box, path, 'init')}
    counts['first'] = rounds_of(box, path, 'import', image, '--name', 'm')
    counts['again'] = rounds_of(box, path, 'import', image, '--name', 'm')
    counts['list'] = rounds_of(box, path, 'list')
    counts['show'] = rounds_of(box, path, 'show', 'latest')
    shutil.rmtree(box.path('cache'))  # another host has none either
    counts['restore'] = rounds_of(box, path, 'restore', 'latest', '--to', 'out',
                                  '--format', 'raw')
    most = {'init': 14, 'first': 11, 'again': 10, 'list': 5, 'show': 5,
            'restore': 8}
    assert all(counts[k] <= most[k] for k in most), (counts, most)


def test_many_folders(box):
    """SFTP: a listing reads many folders together"""
    if not os.path.exists(SFTP_SERVER):
        raise Skip('no ' + SFTP_SERVER)
    repo = box.path('repo')
    os.mkdir(repo)
    box.env.update(
        VMKEEP_PASSWORD=PASSWORD, VMKEEP_REPOSITORY=f'sftp:host:{repo}',
        VMKEEP_SSH_COMMAND=f'{REMOTE}/trips.py {box.path("trips")} '
                           f'{SFTP_SERVER}')
    ok(box, 'init')
    before = trips_of(box, 'list')
    for i in range(64):
        os.makedirs(f'{repo}/refs/00000001/{i:016x}')
    after = trips_of(box, 'list')
    # Sixteen at a time, each two trips; the two above them come first.
    assert after - before <= 2 * 2 + 2 * 64 // 16, (before, after)


if __name__ == '__main__':
    main()

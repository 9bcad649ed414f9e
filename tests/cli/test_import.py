#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""import: raw images into the repository, and back again."""
import fcntl
import json
import os
import random
import shutil
import signal
import struct
import subprocess

from harness import Machine, Skip, main, matches, under_way

MIB = 1 << 20


def image(box, name, *parts, size):
    """A sparse file: (offset, bytes) each."""
    with open(box.path(name), 'wb') as f:
        f.truncate(size)
        for offset, data in parts:
            f.seek(offset)
            f.write(data)
    return box.path(name)


def noise(seed, n):
    return random.Random(seed).randbytes(n)


def content(path):
    with open(path, 'rb') as f:
        return f.read()


def restored(box, to, *args):
    r = box.run('restore', 'latest', '--to', to, *args)
    assert r.code == 0, r.err
    return r


def test_there_and_back(box):
    """What was imported comes back, as raw byte for byte and as qcow2"""
    box.repository()
    path = image(box, 'web.raw', (0, noise(1, 3 * MIB + 777)),
                 (20 * MIB - 512, noise(2, 70000)), (37 * MIB, b'\0' * MIB),
                 (40 * MIB - 5, b'end'), size=40 * MIB)
    r = box.run('import', path, '--name', 'web-01', '--json', '--no-progress')
    assert (r.code, r.err) == (0, ''), r.err
    s, = r.json_lines()
    assert s['type'] == 'summary' and s['machine'] == 'web-01'
    assert s['method'] == 'import' and s['uuid'] == '' and s['pause_ms'] == 0
    assert s['disks'] == [{'name': 'web', 'size_bytes': 40 * MIB}]
    assert 3 * MIB < s['read_bytes'] < 6 * MIB, s  # the holes were not
    assert 3 * MIB < s['stored_bytes'] < 4 * MIB and s['warnings'] == []
    b, = box.run('list', '--json').json()
    assert b['id'] == s['backup_id'] and b['method'] == 'import'
    r = box.run('show', 'web-01@latest')
    assert r.code == 0 and path in r.out and 'qemu' not in r.out, r.out

    r = restored(box, 'raw', '--format', 'raw')
    assert os.listdir(box.path('raw')) == ['web.raw']
    assert r.out == box.path('raw/web.raw') + '\n' and 'start' not in r.err
    assert content(box.path('raw/web.raw')) == content(path)
    restored(box, 'boot', '--boot', '--format', 'raw', '--disk', 'web')
    assert content(box.path('boot/web.raw')) == content(path)

    if not shutil.which('qemu-img'):
        raise Skip('qemu-img is not installed')
    restored(box, 'qcow2')
    image2 = box.path('qcow2/web.qcow2')
    subprocess.run(['qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', path,
                    image2], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(['qemu-img', 'check', '-q', image2], check=True)


def test_odd_images(box):
    """Sizes that are no multiple of anything; empty and all zero ones"""
    box.repository()
    paths = [image(box, 'odd.img', (0, noise(3, 70001)), size=8 * MIB + 70001),
             image(box, 'tiny', (0, b'x'), size=1),
             image(box, 'empty.raw', size=0),
             image(box, 'hole.raw', size=64 * MIB)]
    r = box.run('import', *paths, '--name', 'odd')
    assert (r.code, r.err) == (0, ''), r.err
    matches(r'^imported odd: backup [0-9a-f]{8}\n  read .*, new .*, stored', r.out)
    restored(box, 'out', '--format', 'raw')
    for path, name in zip(paths, ('odd', 'tiny', 'empty', 'hole')):
        assert content(box.path(f'out/{name}.raw')) == content(path), name
    assert os.stat(box.path('out/hole.raw')).st_blocks == 0


def test_names_of_disks(box):
    """Disks are named after their files as far as that goes"""
    box.repository()
    os.mkdir(box.path('a'))
    os.mkdir(box.path('b'))
    paths = [image(box, name, (0, name.encode()), size=4096) for name in
             ('a/vda.raw', 'b/vda.raw', 'b/.hidden', 'b/a b.img', 'disk4')]
    r = box.run('import', *paths, '--name', 'm', '--json')
    assert r.code == 0, r.err
    names = [d['name'] for d in r.json_lines()[-1]['disks']]
    assert names == ['vda', 'disk1', 'disk2', 'disk3', 'disk4'], names
    restored(box, 'out', '--format', 'raw')
    for path, name in zip(paths, names):
        assert content(box.path(f'out/{name}.raw')) == content(path), name


def test_second_import_adds_little(box):
    box.repository()
    path = image(box, 'a.raw', (0, noise(4, 8 * MIB)), size=16 * MIB)
    assert box.run('import', path, '--name', 'm').code == 0
    with open(path, 'r+b') as f:
        f.seek(5 * MIB)
        f.write(noise(5, 4096))
    r = box.run('import', path, '--name', 'm', '--json')
    assert r.json_lines()[-1]['new_bytes'] <= 2 * 262144, r.out
    restored(box, 'out', '--format', 'raw')
    assert content(box.path('out/a.raw')) == content(path)


def segments(folder):
    """Of the index; beside them is what this host has seen."""
    return [name for name in os.listdir(folder) if name.endswith('.seg')]


def test_cache_of_the_index(box):
    """The index is kept in a private folder, and losing it costs nothing"""
    box.repository()
    path = image(box, 'a.raw', (0, noise(8, 4 * MIB)), size=8 * MIB)

    def new_bytes(**env):
        r = box.run('import', path, '--name', 'm', '--json', env=env)
        assert r.code == 0, r.err
        return r.json_lines()[-1]['new_bytes']

    assert box.run('list').code == 0
    assert not os.path.exists(box.path('.cache'))
    assert new_bytes() == 4 * MIB
    cache = box.path('.cache/vmkeep')
    (repo,) = os.listdir(cache)
    (name,) = segments(f'{cache}/{repo}')
    assert os.stat(f'{cache}/{repo}/{name}').st_mode & 0o777 == 0o600
    assert os.stat(cache).st_mode & 0o777 == 0o700
    with open(f'{cache}/{repo}/{name}', 'r+b') as f:
        f.seek(100)
        f.write(b'damage')
    assert new_bytes() == 0
    shutil.rmtree(cache)
    assert new_bytes() == 0 and segments(f'{cache}/{repo}') == [name]
    assert new_bytes(XDG_CACHE_HOME=box.path('xdg')) == 0
    assert segments(box.path(f'xdg/vmkeep/{repo}')) == [name]
    assert new_bytes(VMKEEP_CACHE_DIR=box.path('own')) == 0
    assert segments(box.path(f'own/{repo}')) == [name]
    for nowhere in ('/proc/none', path + '/below'):
        assert new_bytes(VMKEEP_CACHE_DIR=nowhere) == 0
    assert new_bytes(HOME='') == 0


def test_refusals(box):
    """What cannot be imported is said before anything is read"""
    box.repository()
    path = image(box, 'a.raw', (0, noise(6, 4096)), size=8192)
    for args, code, word in (
            (['import', path], 2, '--name'),
            (['import', '--name', 'm'], 2, 'IMAGE'),
            (['import', path, '--name', ''], 2, '--name'),
            (['import', path, '--name', 'a\nb'], 2, 'name'),
            (['import', path, '--name', 'x' * 256], 2, 'name'),
            (['import', path, '--name', 'm', '--format', 'vdi'], 2, 'vdi'),
            (['import', 'none.raw', '--name', 'm'], 1, 'none.raw'),
            (['import', box.dir, '--name', 'm'], 2, 'block device'),
            (['import', '/dev/null', '--name', 'm'], 2, 'block device'),
            (['import', *[path] * 65, '--name', 'm'], 2, '64')):
        r = box.run(*args)
        assert (r.code, r.out) == (code, ''), (args[:4], r.code, r.err)
        assert word in r.err, (args[:4], r.err)
    fifo = box.path('fifo')
    os.mkfifo(fifo)
    assert box.run('import', fifo, '--name', 'm').code == 2
    assert box.run('list', '--json').json() == []


def test_other_formats(box):
    """Images of other formats are refused, unless they are said to be raw"""
    box.repository()
    for magic, word in ((b'KDMV', 'vmdk'),
                        (b'vhdxfile', 'vhdx'), (b'conectix', 'vpc')):
        path = image(box, word, (0, magic + b'\0\0\0\3'), size=65536)
        r = box.run('import', path, '--name', 'm')
        assert r.code == 1 and word in r.err and 'qemu-img' in r.err, r.err
        r = box.run('import', path, '--name', 'm', '--format', 'raw')
        assert r.code == 0, r.err
    restored(box, 'out', '--format', 'raw')
    assert content(box.path('out/vpc.raw')) == content(path)


def test_locked(box):
    """A writer's lock, as QEMU holds it, is respected; a reader's is not"""
    box.repository()
    path = image(box, 'a.raw', (0, noise(7, 4096)), size=8192)
    with open(path, 'r+b') as f:
        for byte, code in ((100, 0), (101, 20)):
            lock = struct.pack('hhqqi4x', fcntl.F_RDLCK, 0, byte, 1, 0)
            fcntl.fcntl(f, fcntl.F_OFD_SETLK, lock)
            r = box.run('import', path, '--name', 'm')
            assert r.code == code, (byte, r.code, r.err)
    assert 'QEMU' in r.err and 'vmkeep backup' in r.err
    assert box.run('import', path, '--name', 'm').code == 0


def test_of_a_running_machine(box):
    """The disk of a running machine is refused, by its real locks"""
    box.repository()
    m = Machine(box, 'web-01', disk_mib=4)
    r = box.run('import', box.path('0.disk'), '--name', 'm')
    if r.code == 1:
        r = box.run('import', box.path('1.disk'), '--name', 'm')
    assert r.code == 20 and 'open for writing' in r.err, (r.code, r.err)
    assert m.status() == 'running'


def failed_under_way(box, name, disturb):
    """The error of an import that was disturbed in the middle; one that was
    faster than we are is tried again, with bytes that are new to it."""
    for _ in range(10):
        path = box.path(name)
        with open(path, 'wb') as f:
            for _ in range(200):
                f.write(os.urandom(MIB))
        child, p = under_way(box, 'import', path, '--name', 'm', reading=True)
        assert p['subject'] == 'm', p
        child.send_signal(signal.SIGSTOP)
        disturb(child, path)
        child.send_signal(signal.SIGCONT)
        out, err = child.communicate(timeout=180)
        if child.returncode == 0:
            continue
        last = json.loads(err.splitlines()[-1])
        assert b'summary' not in out and last['exit'] == child.returncode, err
        return last
    raise AssertionError('it was never disturbed in time')


def overwrite(_, path):
    with open(path, 'r+b') as f:
        f.seek(100)
        f.write(b'x')


def test_changed_meanwhile(box):
    """An image that changes while it is read is no backup"""
    box.repository()
    for disturb, words in ((overwrite, ('written',)),
                           (lambda _, p: os.truncate(p, 100 * MIB),
                            ('shorter', 'size')),
                           (lambda _, p: os.truncate(p, 300 * MIB),
                            ('size',))):
        e = failed_under_way(box, 'big.raw', disturb)
        assert e['exit'] == 1 and e['code'] == 'io', e
        assert any(w in e['message'] for w in words), e


def test_interrupted(box):
    """Ctrl-C ends it, and nothing has been published"""
    box.repository()
    e = failed_under_way(box, 'big.raw',
                         lambda child, _: child.send_signal(signal.SIGINT))
    assert e['exit'] == 130 and e['code'] == 'canceled', e
    assert box.run('import', box.path('big.raw'), '--name', 'm').code == 0


main()

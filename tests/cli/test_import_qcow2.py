#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""import of qcow2 images: what they hold now, and what their snapshots keep,
by what QEMU's own tools say of it.  A machine that goes on is in tests/qemu."""
import fcntl
import json
import os
import random
import re
import struct

from harness import Machine, main
from images import io, savevm, simple, snapshots, tool

MIB = 1 << 20


def content(path):
    with open(path, 'rb') as f:
        return f.read()


def imported(box, *args, code=0):
    r = box.run('import', *args, '--name', 'm', '--json', '--no-progress')
    assert r.code == code, (r.code, r.err)
    return r.json_lines()[-1]


def check_same(box, want, disk='a'):
    """The newest backup's disk is what a raw file holds."""
    tool(box, 'rm', '-rf', 'back')
    r = box.run('restore', 'latest', '--to', 'back', '--disk', disk, '--format',
                'raw')
    assert r.code == 0, r.err
    assert content(box.path(f'back/{disk}.raw')) == content(box.path(want))


def to_raw(box, image, *options, target='want.raw'):
    tool(box, 'qemu-img', 'convert', '-O', 'raw', *options, image, target)
    return target


def header(box, image, offset, form, value):
    """Overwrites a field of the header; what it was."""
    with open(box.path(image), 'r+b') as f:
        f.seek(offset)
        was, = struct.unpack(form, f.read(struct.calcsize(form)))
        f.seek(offset)
        f.write(struct.pack(form, value))
    return was


# ---- what comes out -------------------------------------------------------


def test_now_and_then(box):
    """The active state, and a snapshot by its name and by its id"""
    box.repository()
    image = simple(box)
    s = imported(box, image)
    assert s['method'] == 'import' and s['memory'] is False, s
    assert s['disks'] == [{'name': 'a', 'size_bytes': 4 * MIB}]
    assert s['images'] == [{'disk': 'a', 'format': 'qcow2', 'probed': True}]
    assert s['warnings'] == [] and s['read_bytes'] == 3 * MIB, s
    check_same(box, to_raw(box, image))
    info, = snapshots(box, image)
    for name in ('s', info['id']):
        s = imported(box, image, '--snapshot', name)
        assert s['read_bytes'] == 2 * MIB, s
        tool(box, 'rm', '-rf', 'back')
        r = box.run('restore', s['backup_id'], '--to', 'back', '--format',
                    'raw')
        assert r.code == 0, r.err
        to_raw(box, image, '-l', f'snapshot.name=s')
        assert content(box.path('back/a.raw')) == content(box.path('want.raw'))
        shown = box.run('show', s['backup_id'], '--json').json()
        assert shown['detail']['snapshot'] == 's', shown
        # It is as old as what it shows.
        assert shown['time'].startswith(
            tool(box, 'date', '-u', '-d', f'@{info["date-sec"]}',
                 '+%Y-%m-%dT%H:%M:%S').strip()), (shown['time'], info)
    r = box.run('import', image, '--name', 'm')
    assert 'disk a: taken for qcow2, as its first bytes say' in r.out, r.out
    r = box.run('import', image, '--name', 'm', '--format', 'qcow2')
    assert r.code == 0 and 'taken' not in r.out and 'memory' not in r.out, r.out


def test_kinds_of_images(box):
    """Cluster sizes, versions, compression, subclusters, odd ends"""
    box.repository()
    rng = random.Random(3)
    for i, options in enumerate((
            'compat=0.10', 'cluster_size=512', 'cluster_size=2M',
            'extended_l2=on,cluster_size=16k', 'compression_type=zstd',
            'refcount_bits=1', 'lazy_refcounts=on', 'preallocation=metadata')):
        image = f'i{i}.qcow2'
        tool(box, 'qemu-img', 'create', '-q', '-f', 'qcow2', '-o', options,
             image, str(9 * MIB + 512 * rng.randrange(100)))
        writes = []
        for _ in range(12):
            at = rng.randrange(9 * MIB) // 512 * 512
            n = min(9 * MIB - at, rng.randrange(1, 1000) * 512)
            writes.append(rng.choice((f'write -P {rng.randrange(256)} {at} {n}',
                                      f'write -z {at} {n}',
                                      f'discard {at} {n}')))
        io(box, image, *writes)
        if 'zstd' in options or 'compat' in options:
            tool(box, 'qemu-img', 'convert', '-c', '-O', 'qcow2', '-o', options,
                 image, 'c.qcow2')
            os.rename(box.path('c.qcow2'), box.path(image))
        imported(box, image)
        check_same(box, to_raw(box, image), disk=f'i{i}')


def test_files_below(box):
    """Backing files and data files are read as they are named to us, and only
    those"""
    box.repository()
    tool(box, 'qemu-img', 'create', '-q', '-f', 'raw', 'base.raw', '3M')
    tool(box, 'qemu-io', '-f', 'raw', '-c', 'write -P 1 0 3M', 'base.raw')
    tool(box, 'qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'base.raw', '-F',
         'raw', 'mid.qcow2', '4M')
    io(box, 'mid.qcow2', 'write -P 2 1M 64k')
    tool(box, 'qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'mid.qcow2',
         '-F', 'qcow2', 'a.qcow2')
    io(box, 'a.qcow2', 'write -P 3 2M 4k')
    tool(box, 'qemu-img', 'create', '-q', '-f', 'qcow2', '-o',
         'data_file=b.data', 'b.qcow2', '2M')
    io(box, 'b.qcow2', 'write -P 4 0 1M')
    want = {'a': to_raw(box, 'a.qcow2'),
            'b': to_raw(box, 'b.qcow2', target='want-b.raw')}
    below = ['--backing', 'moved/mid', '--backing', 'moved/base', '--data-file',
             'moved/data']
    os.mkdir(box.path('moved'))
    for name, new in (('mid.qcow2', 'mid'), ('base.raw', 'base'),
                      ('b.data', 'data')):
        os.rename(box.path(name), box.path('moved/' + new))
    s = imported(box, 'a.qcow2', 'b.qcow2', *below)
    assert [d['name'] for d in s['disks']] == ['a', 'b'], s
    for name, path in want.items():
        check_same(box, path, disk=name)
    for args, code, word in (
            (['a.qcow2'], 1, "'mid.qcow2'; name that file with --backing"),
            (['a.qcow2', '--backing', 'moved/mid'], 1, "'base.raw'"),
            (['b.qcow2'], 1, "'b.data'; name that file with --data-file"),
            (['a.qcow2', 'b.qcow2', *below, '--backing', 'x'], 2, '--backing x'),
            (['a.qcow2', 'b.qcow2', *below, '--data-file', 'y'], 2,
             '--data-file y')):
        r = box.run('import', *args, '--name', 'm')
        assert (r.code, r.out) == (code, '') and word in r.err, (args, r.err)


def test_memory(box):
    """A machine state comes along, and back as it was, bit for bit"""
    box.repository()
    tool(box, 'qemu-img', 'create', '-q', '-f', 'qcow2', 'a.qcow2', '8M')
    io(box, 'a.qcow2', 'write -P 9 0 1M')
    savevm(box, 'a.qcow2', 'tag')
    tool(box, 'cp', 'a.qcow2', 'b.qcow2')
    s = imported(box, 'a.qcow2', '--snapshot', 'tag')
    assert s['memory'] is True and s['warnings'] == [], s
    volumes = box.run('show', 'latest', '--json').json()['volumes']
    names = [v['name'] for v in volumes]
    assert 'ram/pc.ram' in names and 'state' in names, names
    r = box.run('restore', 'latest', '--to', 'back')
    assert r.code == 0 and '-loadvm vmkeep' in r.err, r.err
    assert os.listdir(box.path('back')) == ['a.qcow2']
    tool(box, 'qemu-img', 'check', '-q', 'back/a.qcow2')
    tag, = snapshots(box, 'back/a.qcow2')
    assert tag['name'] == 'vmkeep' and tag['vm-state-size'] > 100000, tag
    r = box.run('restore', 'latest', '--to', 'raw', '--format', 'raw')
    assert '-incoming' in r.err and 'vmkeep.vmstate' in r.err, r.err
    # Again from what was restored: nothing of it is new.
    again = imported(box, 'back/a.qcow2', '--snapshot', 'vmkeep')
    assert again['new_bytes'] == 0 and again['read_bytes'] > MIB, again
    # Only the disk, of the same file.
    s = imported(box, 'a.qcow2')
    assert s['memory'] is False and s['read_bytes'] == MIB, s
    r = box.run('import', 'a.qcow2', 'b.qcow2', '--name', 'm', '--snapshot',
                'tag')
    assert r.code == 2 and 'more than one' in r.err, r.err
    savevm(box, 'b.qcow2', 'tag')
    r = box.run('import', 'a.qcow2', 'b.qcow2', '--name', 'm', '--snapshot',
                '2')
    assert r.code == 1 and "no snapshot '2'" in r.err, r.err


def test_one_instant(box):
    """Snapshots that were not made together are no machine"""
    box.repository()
    simple(box)
    tool(box, 'qemu-img', 'create', '-q', '-f', 'qcow2', 'b.qcow2', '1M')
    tool(box, 'cp', 'a.qcow2', 'c.qcow2')
    tool(box, 'sleep', '1.1')
    tool(box, 'qemu-img', 'snapshot', '-c', 's', 'b.qcow2')
    r = box.run('import', 'a.qcow2', 'b.qcow2', '--name', 'm', '--snapshot',
                's')
    assert r.code == 2 and 'different instants' in r.err, r.err
    imported(box, 'a.qcow2', 'c.qcow2', '--snapshot', 's')


# ---- what is refused ------------------------------------------------------


def test_raw_that_looks_like_qcow2(box):
    """A guest may write what it likes to the start of its disk"""
    box.repository()
    image = simple(box)
    s = imported(box, image, '--format', 'raw')
    assert s['images'] == [{'disk': 'a', 'format': 'raw', 'probed': False}]
    check_same(box, image)
    # One that names a file of the host: nothing of that is read.
    box.write('secret', 'secret' * 1000)
    tool(box, 'qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'secret', '-F',
         'raw', 'evil.raw', '1M')
    r = box.run('import', 'evil.raw', '--name', 'm')
    assert r.code == 1 and "'secret'" in r.err, r.err
    assert imported(box, 'evil.raw', '--format', 'raw')['read_bytes'] < 300000
    with open(box.path('magic.raw'), 'wb') as f:
        f.write(b'QFI\xfb' + b'\1' * 65532)
    r = box.run('import', 'magic.raw', '--name', 'm')
    assert r.code == 1 and '--format raw' in r.err, r.err
    imported(box, 'magic.raw', '--format', 'raw')
    check_same(box, 'magic.raw', disk='magic')
    for args, word in ((['secret', '--snapshot', 's'], 'no snapshots'),
                       ([image, '--snapshot', 's', '--format', 'raw'],
                        'no snapshots'),
                       ([image, '--backing', 'x', '--format', 'raw'], 'other'),
                       ([image, '--format', 'vdi'], 'vdi'),
                       ([image, '--backing-format', 'vdi'], 'vdi')):
        r = box.run('import', *args, '--name', 'm')
        assert r.code == 2 and word in r.err, (args, r.err)
    r = box.run('import', 'secret', '--name', 'm', '--format', 'qcow2')
    assert r.code == 1 and 'qcow2' in r.err and '--format' not in r.err, r.err


def test_flags(box):
    """The dirty bit is a warning, the corrupt bit an end"""
    box.repository()
    image = simple(box)
    for bit, code, word in ((1, 3, 'not closed'), (2, 4, 'marked as corrupt')):
        header(box, image, 72, '>Q', bit)
        r = box.run('import', image, '--name', 'm')
        assert r.code == code and word in r.err, (r.code, r.err)
    r = box.run('import', image, '--name', 'm', '--snapshot', 's')
    assert r.code == 3 and 'marked as corrupt' in r.err, r.err
    header(box, image, 72, '>Q', 1)
    imported(box, image, '--snapshot', 's')
    header(box, image, 72, '>Q', 1 << 17)
    r = box.run('import', image, '--name', 'm', '--format', 'qcow2')
    assert r.code == 1, r.err


def test_damage(box):
    """What is missing is said before anything is stored"""
    box.repository()
    image = simple(box)
    size = os.path.getsize(box.path(image))
    os.truncate(box.path(image), size - 512 * 1024)
    r = box.run('import', image, '--name', 'm')
    assert r.code == 4 and re.search('missing.* ends at', r.err), r.err
    assert box.run('list', '--json').json() == []


def test_locks(box):
    """In use: the active state is refused, a snapshot is not"""
    box.repository()
    image = simple(box)
    with open(box.path(image), 'r+b') as f:
        for byte, code in ((100, 0), (101, 20)):
            lock = struct.pack('hhqqi4x', fcntl.F_RDLCK, 0, byte, 1, 0)
            fcntl.fcntl(f, fcntl.F_OFD_SETLK, lock)
            r = box.run('import', image, '--name', 'm')
            assert r.code == code, (byte, r.code, r.err)
        assert 'only its snapshots' in r.err and '--snapshot' in r.err, r.err
        imported(box, image, '--snapshot', 's')
    imported(box, image)


def test_of_a_running_machine(box):
    """By QEMU's own locks, and its own snapshot"""
    box.repository()
    m = Machine(box, 'web-01', disk_mib=4, data=b'hello')
    disk, = [f for f in os.listdir(box.dir) if f.endswith('.qcow2')]
    r = box.run('import', disk, '--name', 'm')
    assert r.code == 20 and 'open for writing' in r.err, (r.code, r.err)
    with m.connect() as c, c.makefile('rw') as f:
        f.readline()
        for command in ('{"execute":"qmp_capabilities"}',
                        '{"execute":"human-monitor-command","arguments":'
                        '{"command-line":"savevm now"}}'):
            f.write(command)
            f.flush()
            while '"return"' not in f.readline():
                pass
    s = imported(box, disk, '--snapshot', 'now')
    assert s['memory'] is True, s
    assert m.status() == 'running'


main()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""backup --exclude-disk: a disk is left out, and everybody says so."""
import os
import subprocess

from harness import PATIENCE_S, Machine, Skip, main, matches, wait_for

DATA = b'what is on the disk' * 1000
SIZE = 2 << 20


def able(r):
    """Leaves out what cannot be done here."""
    if r.code and 'userfaultfd' in r.err:
        raise Skip('no permission for userfaultfd')
    assert r.code == 0, r.err
    return r


def machine_with_two(box):
    """Its disks are vda and swap; in a repository of its own."""
    image = box.path('swap.img')
    with open(image, 'wb') as f:
        f.write(DATA)
        f.truncate(SIZE)
    box.repository()
    return Machine(box, f'two-{os.getpid()}', '-drive',
                   f'file={image},if=none,id=swap,format=raw', '-device',
                   'virtio-blk-pci,drive=swap,id=swap', disk_mib=1, data=DATA)


def save(box, m, *args):
    r = able(box.run('backup', '--qmp', m.socket, '--json', *args))
    s = r.json_lines()[-1]
    return s, {d['name']: d for d in s['disks']}


def content(path):
    """Of a disk, read out of its image by QEMU's own program."""
    subprocess.run(['qemu-img', 'check', '-q', path], check=True,
                   timeout=PATIENCE_S)
    subprocess.run(['qemu-img', 'convert', '-O', 'raw', path, path + '.plain'],
                   check=True, timeout=PATIENCE_S)
    with open(path + '.plain', 'rb') as f:
        return f.read()


def starts(box, m, folder):
    """The machine that the script of a restore starts comes up."""
    with open(os.path.join(folder, 'said'), 'wb') as said:
        p = subprocess.Popen([os.path.join(folder, 'run')], cwd=folder,
                             stdin=subprocess.DEVNULL, stdout=said,
                             stderr=said, start_new_session=True)
    box.children.append(p)
    m.process = p
    wait_for(lambda: os.path.exists(m.socket) or p.poll() is not None, 'start')
    wait_for(lambda: p.poll() is not None or m.status() == 'running', 'running')
    with open(os.path.join(folder, 'said'), 'rb') as said:
        assert p.poll() is None, said.read()
    p.kill()
    p.wait()
    if os.path.exists(m.socket):
        os.unlink(m.socket)


def stop(m):
    m.process.kill()
    m.process.wait()
    if os.path.exists(m.socket):
        os.unlink(m.socket)


def test_left_out(box):
    """It is in no volume; the report, show and restore say so; the machine starts"""
    m = machine_with_two(box)
    s, d = save(box, m, '--exclude-disk', 'swap')
    assert d['swap'] == {'name': 'swap', 'size_bytes': SIZE, 'read': 'excluded'}
    assert d['vda']['read'] == 'full' and s['method'] == 'live'
    assert s['warnings'] == []
    b = box.run('show', 'latest', '--json').json()
    assert b['detail']['excluded'] == ['swap']
    assert 'disk/swap' not in [v['name'] for v in b['volumes']]
    matches(r'\nleft out +disk swap is not in this backup\n',
            box.run('show', 'latest').out)
    r = able(box.run('backup', '--qmp', m.socket, '--exclude-disk', 'swap'))
    assert 'disk swap: left out\n' in r.out, r.out
    assert m.status() == 'running'
    stop(m)

    for way in ([], ['--boot'], ['--format', 'raw', '--boot']):
        to = box.path('-'.join(['to', *way]))
        r = box.run('restore', 'latest', '--to', to, *way)
        assert r.code == 3, r.err
        matches('warning: disk swap was left out of the backup', r.err)
        assert ('goes on' in r.err) == (way == []), r.err
        ending = '.raw' if 'raw' in way else '.qcow2'
        if ending == '.qcow2':
            assert content(os.path.join(to, 'swap.qcow2')) == bytes(SIZE)
            assert content(os.path.join(to, 'vda.qcow2')).startswith(DATA)
        else:
            assert os.path.getsize(os.path.join(to, 'swap.raw')) == SIZE
        with open(os.path.join(to, 'run'), encoding='utf-8') as f:
            assert '# NOTE: disk swap was left out of the backup' in f.read()
        starts(box, m, to)
    r = box.run('restore', 'latest', '--to', 'one', '--disk', 'vda')
    assert r.code == 0 and not os.path.exists(box.path('one/swap.qcow2')), r.err
    r = box.run('restore', 'latest', '--to', 'other', '--disk', 'swap')
    assert r.code == 1 and 'swap was left out of backup' in r.err, r.err
    r = box.run('restore', 'latest', '--to', 'json', '--json')
    assert r.json_lines()[-1]['excluded'] == ['swap']


def test_read_again(box):
    """A disk that was left out before is read whole, the others by what changed"""
    m = machine_with_two(box)
    save(box, m, '--exclude-disk', 'swap')
    _, d = save(box, m)
    assert d['vda']['read'] == 'changed', d
    assert d['swap']['read'] == 'full' and d['swap']['reason'], d
    _, d = save(box, m, '--exclude-disk', 'vda')
    assert d['vda']['read'] == 'excluded' and d['swap']['read'] == 'changed'
    _, d = save(box, m)
    assert d['vda']['read'] == 'full' and d['swap']['read'] == 'changed'
    stop(m)
    r = box.run('restore', 'latest', '--to', 'all')
    assert r.code == 0, r.err
    assert content(box.path('all/swap.qcow2')) == DATA + bytes(SIZE - len(DATA))
    assert content(box.path('all/vda.qcow2')).startswith(DATA)


def test_by_disk(box):
    """The method disk does it too; all disks cannot be left out of it"""
    m = machine_with_two(box)
    r = box.run('backup', '--qmp', m.socket, '--json', '--method', 'disk',
                '--exclude-disk', 'vda')
    d = {d['name']: d for d in r.json_lines()[-1]['disks']}
    assert d['vda']['read'] == 'excluded' and d['swap']['read'] == 'full', r.err
    r = box.run('backup', '--qmp', m.socket, '--method', 'disk',
                '--exclude-disk', 'vda', '--exclude-disk', 'swap')
    assert r.code == 20 and 'no disk' in r.err, r.err
    _, d = save(box, m, '--exclude-disk', 'vda', '--exclude-disk', 'swap')
    assert [d[n]['read'] for n in ('vda', 'swap')] == ['excluded'] * 2


def test_refused(box):
    m = machine_with_two(box)
    r = box.run('backup', '--qmp', m.socket, '--exclude-disk', 'vdb')
    assert r.code == 2 and 'no writable disk vdb' in r.err, r.err
    assert 'it has ' in r.err and 'vda' in r.err and 'swap' in r.err, r.err
    r = box.run('backup', '--qmp', m.socket, '--exclude-disk', 'swap',
                '--method', 'savevm')
    assert r.code == 20, r.err
    assert "cannot be captured by savevm without disk swap" in r.err
    r = box.run('backup', '--qmp', m.socket, '--exclude-disk', 'swap',
                '--method', 'savevm', '--allow', 'disk', '--json')
    assert r.json_lines()[-1]['method'] == 'disk', r.err
    r = box.run('backup', 'a', 'b', '--exclude-disk', 'swap')
    assert r.code == 2 and 'for one machine' in r.err, r.err
    assert m.status() == 'running'


main()

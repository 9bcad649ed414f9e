#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""copy: backups in another repository, with other keys."""
import glob
import json
import os
import random
import signal
import subprocess
import time

from harness import PASSWORD, PATIENCE_S, main, matches

MIB = 1 << 20
OTHER = 'battery staple'


def image(box, name, seed, mib=24):
    """A sparse file with two runs of data in different slots."""
    r = random.Random(seed)
    with open(box.path(name), 'wb') as f:
        f.truncate(mib * MIB + 1000)
        f.write(r.randbytes(3 * MIB))
        f.seek((mib - 7) * MIB + 512)
        f.write(r.randbytes(2 * MIB))
    return box.path(name)


def patch(path, offset, data):
    with open(path, 'r+b') as f:
        f.seek(offset)
        f.write(data)


def content(path):
    with open(path, 'rb') as f:
        return f.read()


def ok(box, *args, code=0, **how):
    r = box.run(*args, **how)
    assert r.code == code, (args, r.code, r.out, r.err)
    return r


def second(box, name='second', password=OTHER):
    """Another repository; the environment opens it as the target."""
    repo = box.path(name)
    ok(box, 'init', repo, env={'VMKEEP_PASSWORD': password})
    box.env['VMKEEP_TO_PASSWORD'] = password
    return repo


def there(box, repo, *args, password=OTHER, code=0):
    return ok(box, '-r', repo, *args, code=code,
              env={'VMKEEP_PASSWORD': password})


def save(box, path, name='web'):
    return ok(box, 'import', path, '--name', name, '--json',
              '--no-progress').json_lines()[-1]['backup_id']


def copy(box, to, *args, code=0):
    r = ok(box, 'copy', '--to', to, '--json', '--no-progress', *args,
           code=code)
    lines = r.json_lines()
    assert lines[-1]['type'] == 'summary' and lines[-1]['exit'] == code
    return [x for x in lines if x['type'] == 'copied'], lines[-1]


def objects(box, repo, password=OTHER):
    r = there(box, repo, 'check', '--read-data', '--json', '--no-progress',
              password=password)
    return r.json_lines()[-1]['objects']


def restored(box, repo, backup, to, password=OTHER):
    there(box, repo, 'restore', backup, '--to', to, '--format', 'raw',
          password=password)
    name, = os.listdir(box.path(to))
    return content(os.path.join(box.path(to), name))


def test_two_generations(box):
    """Two generations arrive whole; the second copies only what changed"""
    box.repository()
    to = second(box)
    path = image(box, 'web.raw', 1)
    first, before = save(box, path), content(path)
    done, s = copy(box, to)
    assert (s['copied'], s['there'], s['failed']) == (1, 0, 0), s
    assert done[0]['backup_id'] == first and 'base' not in done[0]
    assert 5 * MIB < s['new_bytes'] < 6 * MIB, s
    count = objects(box, to)
    patch(path, MIB, b'changed' * 500)
    patch(path, 40, bytes(8192))
    again, after = save(box, path), content(path)
    assert before != after
    done, s = copy(box, to)
    assert (s['copied'], s['there']) == (1, 1) and s['new_bytes'] < MIB, s
    assert done[0]['backup_id'] == again and done[0]['base'], done
    assert done[0]['read_bytes'] < MIB, done  # not the slots: the leaves
    assert 0 < objects(box, to) - count < 16
    # A third finds nothing to do.
    done, s = copy(box, to)
    assert not done and (s['copied'], s['there'], s['stored_bytes']) == \
        (0, 2, 0), s
    listed = there(box, to, 'list', '--json').json()
    mine = box.run('list', '--json').json()
    config = ok(box, 'debug', 'config').out
    assert [x['origin']['backup'] for x in listed] == [first, again]
    assert [x['time'] for x in listed] == [x['time'] for x in mine]
    assert len({x['origin']['repository'] for x in listed}) == 1
    assert listed[0]['origin']['repository'] in config, config
    assert 'origin' not in mine[0]
    shown = there(box, to, 'show', 'latest', '--json').json()
    assert shown['origin'] == listed[1]['origin']
    matches(f'copy of *backup {again} of repository',
            there(box, to, 'show', 'latest').out)
    for b, want in ((listed[0], before), (listed[1], after)):
        assert restored(box, to, b['id'], b['id']) == want


def test_base_is_no_chain(box):
    """A copy made on a base is copied again without one, from what is there"""
    box.repository()
    to = second(box)
    path = image(box, 'web.raw', 2)
    save(box, path)
    copy(box, to)
    patch(path, 2 * MIB - 5, os.urandom(300000))
    patch(path, 18 * MIB, bytes(MIB))
    with open(path, 'r+b') as f:
        f.seek(24 * MIB + 100)
        f.write(b'the end')
    save(box, path)
    done, _ = copy(box, to)
    assert done[0]['base']
    there(box, to, 'forget', done[0]['copy_id'])
    # Named, it is copied again; the forgotten one's objects are nearly all it
    # needs.
    os.rename(to + '/refs', to + '/hidden')
    os.mkdir(to + '/refs')
    done, s = copy(box, to, 'latest')
    # (Where the base was changed it is cut otherwise.)
    assert 'base' not in done[0] and s['new_bytes'] < MIB, (done, s)
    assert done[0]['copy_id'] not in os.listdir(to + '/hidden')
    assert restored(box, to, done[0]['copy_id'], 'out') == content(path)


def test_selection(box):
    """By name, by machine, the last N; a dry run; what is wrong is told"""
    box.repository()
    to = second(box)
    ids = []
    for seed, name in ((1, 'web'), (2, 'web'), (3, 'db'), (4, 'web')):
        ids.append(save(box, image(box, 'd.raw', seed, 8), name))
    r = ok(box, 'copy', '--to', to, '--machine', 'web', '--last', '2', '-n')
    assert ids[1][:8] in r.out and ids[3][:8] in r.out and 'dry run' in r.err
    assert ids[0][:8] not in r.out and ids[2][:8] not in r.out
    assert there(box, to, 'list', '--json').json() == []
    _, s = copy(box, to, '--last', '1', '--dry-run')
    assert (s['to_copy'], s['copied'], s['dry_run']) == (2, 0, True), s
    done, s = copy(box, to, ids[1][:10])
    assert [d['backup_id'] for d in done] == [ids[1]]
    done, s = copy(box, to, '--machine', 'web', '--last', '2')
    assert [d['backup_id'] for d in done] == [ids[3]] and s['there'] == 1
    done, s = copy(box, to)
    assert sorted(d['backup_id'] for d in done) == sorted([ids[0], ids[2]])
    assert s['there'] == 2
    for args, code, about in (
            (('--to', to, 'ffffffffff'), 1, 'no backup "ffffffffff"'),
            (('--to', to, '--machine', 'mail'), 1, 'mail'),
            (('--to', to, '--last', '0'), 2, '--last takes'),
            (('--to', to, '--last', '1', 'latest'), 2, 'not both'),
            ((), 2, '--to REPO'),
            (('--to', box.path('repo')), 2, 'the same repository'),
            (('--to', box.path('nowhere')), 10, 'vmkeep init')):
        r = box.run('copy', *args, env={
            'VMKEEP_TO_PASSWORD': PASSWORD if 'repo' in ''.join(args)
            else OTHER})
        assert r.code == code, (args, r.code, r.err)
        matches(about, r.err)
    r = box.run('copy', '--to', to, env={'VMKEEP_TO_PASSWORD': 'wrong'})
    assert r.code == 12, r.err
    matches('target', r.err)
    del box.env['VMKEEP_TO_PASSWORD']
    r = box.run('copy', '--to', to)
    assert r.code == 2, r.err
    matches('VMKEEP_TO_PASSWORD_FILE', r.err)
    box.write('pw', OTHER + '\n')
    ok(box, 'copy', '--to', to, '--to-password-file', box.path('pw'))
    ok(box, 'copy', '--to', to, '--to-password-command', f'echo {OTHER}')


def add_key(box, repo, role, password, new, *args):
    return ok(box, '-r', repo, 'key', 'add', '--role', role, *args, env={
        'VMKEEP_PASSWORD': password, 'VMKEEP_NEW_PASSWORD': new})


def test_roles(box):
    """A host's key may write copies, a restore key may read them"""
    repo = box.repository()
    to = second(box)
    path = image(box, 'web.raw', 5)
    save(box, path)
    add_key(box, repo, 'restore', PASSWORD, 'reader')
    add_key(box, repo, 'host', PASSWORD, 'writer')
    add_key(box, to, 'host', OTHER, 'pusher')
    add_key(box, to, 'restore', OTHER, 'looker')
    for source, target, code, about in (
            ('writer', 'pusher', 12, 'source'),
            ('reader', 'looker', 12, 'target')):
        r = box.run('copy', '--to', to, env={'VMKEEP_PASSWORD': source,
                                             'VMKEEP_TO_PASSWORD': target})
        assert r.code == code, (r.code, r.err)
        matches(about, r.err)
    box.env.update(VMKEEP_PASSWORD='reader', VMKEEP_TO_PASSWORD='pusher')
    _, s = copy(box, to)
    assert s['copied'] == 1, s
    # It can't open what it wrote, and knows it all the same.
    _, s = copy(box, to)
    assert (s['copied'], s['there']) == (0, 1), s
    patch(path, 100, b'new')
    box.env['VMKEEP_PASSWORD'] = PASSWORD
    save(box, path)
    box.env['VMKEEP_PASSWORD'] = 'reader'
    done, s = copy(box, to)
    assert s['copied'] == 1 and s['new_bytes'] < MIB and \
        'base' not in done[0], (done, s)
    assert restored(box, to, 'latest', 'out') == content(path)
    # What was forgotten is not copied again unless it is named.
    there(box, to, 'forget', done[0]['copy_id'])
    for password in 'pusher', OTHER:
        box.env['VMKEEP_TO_PASSWORD'] = password
        _, s = copy(box, to)
        assert (s['copied'], s['forgotten']) == (0, 1), s
    again, s = copy(box, to, done[0]['backup_id'])
    assert s['copied'] == 1 and s['new_bytes'] < MIB, s
    assert again[0]['copy_id'] != done[0]['copy_id']


def test_by_way_of_a_third(box):
    """A copy of a copy is of the first; copied back it is there already"""
    repo = box.repository()
    to, third = second(box), second(box, 'third', 'third one')
    path = image(box, 'web.raw', 6, 8)
    box.env['VMKEEP_TO_PASSWORD'] = OTHER
    first = save(box, path)
    copy(box, to)
    box.env['VMKEEP_TO_PASSWORD'] = 'third one'
    r = there(box, to, 'copy', '--to', third, '--json')
    assert r.json_lines()[-1]['copied'] == 1
    b, = there(box, third, 'list', '--json', password='third one').json()
    assert b['origin']['backup'] == first
    _, s = copy(box, third)
    assert (s['copied'], s['there']) == (0, 1), s
    box.env['VMKEEP_TO_PASSWORD'] = PASSWORD
    r = there(box, third, 'copy', '--to', repo, '--json',
              password='third one')
    assert r.json_lines()[-1]['there'] == 1


def largest_pack(repo):
    found = [os.path.join(where, n) for where, _, names in
             os.walk(os.path.join(repo, 'packs', 'd')) for n in names]
    return max(found, key=os.path.getsize)


def test_damage(box):
    """One damaged backup is not copied; the others are"""
    repo = box.repository()
    to = second(box)
    bad = save(box, image(box, 'a.raw', 7, 8), 'bad')
    hurt = largest_pack(repo)
    good = save(box, image(box, 'b.raw', 8, 8), 'good')
    os.chmod(hurt, 0o600)
    patch(hurt, os.path.getsize(hurt) // 2, b'\0' * 16)
    r = box.run('copy', '--to', to, '--json', '--no-progress')
    assert r.code == 3, (r.code, r.err)
    assert json.loads(r.err)['code'] == 'corrupt', r.err
    matches(bad[:8], r.err)
    matches('object', r.err)
    s = r.json_lines()[-1]
    assert (s['copied'], s['failed']) == (1, 1), s
    b, = there(box, to, 'list', '--json').json()
    assert b['origin']['backup'] == good
    r = box.run('copy', '--to', to, bad)
    assert r.code == 4, (r.code, r.err)
    there(box, to, 'check', '--read-data')


def lose_nodes(repo):
    for path in glob.glob(repo + '/packs/m/*/*'):
        os.remove(path)


def damage_nodes(repo):
    """Behind the table of what is in a pack (docs/format/pack.md)."""
    for path in glob.glob(repo + '/packs/m/*/*'):
        with open(path, 'r+b') as f:
            data = bytearray(f.read())
            table = int.from_bytes(data[20:24], 'little')
            for at in range(40 + table, len(data), 16):
                data[at] ^= 1
            f.seek(0)
            f.write(data)


def base_fails(box, harm, repair):
    box.repository()
    to = second(box)
    path = image(box, 'web.raw', 9)
    first = save(box, path)
    copy(box, to)
    patch(path, MIB, b'x' * 5000)
    save(box, path)
    harm(to)
    if repair:
        there(box, to, 'repair', code=4)
    r = ok(box, 'copy', '--to', to, '--json', '--no-progress', code=3)
    assert 'the one before is damaged' in r.err, r.err
    *done, s = r.json_lines()
    assert (s['copied'], s['there']) == (1, 1), s
    copied, = [x for x in done if x['type'] == 'copied']
    assert 'base' not in copied, copied
    assert restored(box, to, 'latest', 'out') == content(path)
    assert first in {b['origin']['backup']
                     for b in there(box, to, 'list', '--json').json()}


def test_base_is_lost(box):
    """What it would be made on is lost: all is copied"""
    base_fails(box, lose_nodes, repair=True)


def test_base_is_gone(box):
    """... is gone, and nobody has said so yet"""
    base_fails(box, lose_nodes, repair=False)


def test_base_is_damaged(box):
    """... is damaged"""
    base_fails(box, damage_nodes, repair=False)


def test_killed(box):
    """Killed in the middle, a copy goes on where it was"""
    box.repository()
    to = second(box)
    path = box.path('large.raw')
    with open(path, 'wb') as f:
        f.write(random.Random(10).randbytes(240 * MIB))
    save(box, path)
    packs = os.path.join(to, 'packs', 'd')
    for how, code in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        child = box.start('copy', '--to', to, '--json', '--no-progress')
        had = arrived(packs)
        while child.poll() is None and arrived(packs) < had + 70 * MIB:
            time.sleep(0.01)
        child.send_signal(how)
        child.communicate(timeout=PATIENCE_S)
        assert child.returncode == code, child.returncode
        assert there(box, to, 'list', '--json').json() == []
    s = copy(box, to)[1]
    # What arrived was not sent again, but for what the killed one had not
    # told of.
    assert s['copied'] == 1 and s['new_bytes'] < 100 * MIB, s
    there(box, to, 'restore', 'latest', '--to', 'out', '--format', 'raw')
    subprocess.run(['cmp', path, box.path('out/large.raw')], check=True)


def arrived(folder):
    total = 0
    for where, _, names in os.walk(folder):
        for n in names:
            try:
                total += os.path.getsize(os.path.join(where, n))
            except FileNotFoundError:
                pass
    return total


if __name__ == '__main__':
    main()

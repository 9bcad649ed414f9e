#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check and repair: what they say of sound and of damaged repositories."""
import os
import shutil

from harness import PASSWORD, main

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..',
                      'golden', 'repository-v1')


def golden(box):
    """A copy of the golden repository: three backups of the machine golden"""
    repo = box.path('golden')
    shutil.copytree(GOLDEN, repo)
    box.env.update(VMKEEP_PASSWORD=PASSWORD, VMKEEP_REPOSITORY=repo)
    return repo


def files(repo, folder):
    found = []
    for where, _, names in os.walk(os.path.join(repo, folder)):
        found += [os.path.join(where, name) for name in names]
    return sorted(found)


def flip(path, at=-1):
    os.chmod(path, 0o600)
    with open(path, 'r+b') as f:
        data = bytearray(f.read())
        data[at] ^= 1
        f.seek(0)
        f.write(data)


def test_new_repository(box):
    box.repository()
    r = box.run('check')
    assert (r.code, r.out) == (0, 'no faults found\n'), (r.out, r.err)
    for option in ([], ['--read-data'], ['--read-subset', '10%']):
        r = box.run('check', '--json', *option)
        assert (r.code, r.err) == (0, ''), r.err
        lines = r.json_lines()
        assert len(lines) == 1 and lines[0]['type'] == 'summary'
        assert lines[0]['faults'] == 0 and lines[0]['backups'] == 0


def test_bad_subset(box):
    """A part that is none is refused before a password is asked for"""
    r = box.run('-r', 'nowhere', 'check', '--read-subset', '11/7')
    assert r.code == 2 and '11/7' in r.err


def test_damaged_key(box):
    """A key bundle of another name is told, and exits with 4"""
    repo = box.repository()
    bundle = files(repo, 'keys')[0]
    copy = os.path.join(os.path.dirname(bundle), '0' * 32)
    with open(bundle, 'rb') as f, open(copy, 'wb') as to:
        to.write(f.read())
    r = box.run('check')
    assert r.code == 4, (r.code, r.out, r.err)
    assert 'keys/' + '0' * 32 in r.out and '1 faults' in r.out
    r = box.run('check', '--json')
    assert r.code == 4
    fault = r.json_lines()[0]
    assert fault['type'] == 'fault' and fault['what'] == 'key', fault


def test_damaged_ref(box):
    """An object that calls itself a backup is found and put out of use"""
    repo = box.repository()
    folder = os.path.join(repo, 'refs', '00000001', '0' * 16)
    os.makedirs(folder)
    name = '2026-11-22t10-00-00.000000001-' + '12' * 16
    with open(os.path.join(folder, name), 'wb') as f:
        f.write(b'no backup')
    r = box.run('check')
    assert r.code == 4 and name in r.out, (r.out, r.err)
    r = box.run('repair', '--dry-run')
    assert r.code == 4 and 'would be put out of use' in r.out
    assert files(repo, 'lost') == []
    r = box.run('repair', '--json')
    assert r.code == 0, (r.code, r.out, r.err)
    kinds = [line['type'] for line in r.json_lines()]
    assert kinds == ['fault', 'action', 'summary'], kinds
    assert len(files(repo, 'lost')) == 1
    assert os.path.exists(os.path.join(folder, name))
    r = box.run('check')
    assert (r.code, r.out) == (0, 'no faults found\n'), (r.out, r.err)
    assert 'out of use' in r.err
    flip(files(repo, 'lost')[0])
    r = box.run('check')
    assert r.code == 4 and 'lost_record' in r.out, r.out


def test_stats_of_nothing(box):
    box.repository()
    r = box.run('stats')
    assert r.code == 0 and '(all)' in r.out and 'DEDUP' in r.out, r.err
    r = box.run('stats', '--json')
    assert r.json()['machines'] == [] and r.json()['all']['backups'] == 0
    r = box.run('stats', 'web-01')
    assert r.code == 1 and 'web-01' in r.err


def test_damaged_pack(box):
    """What a damaged pack hurts is told, and all but that is saved"""
    repo = golden(box)
    assert box.run('check', '--read-data').code == 0
    pack = max(files(repo, 'packs/d'), key=lambda path: len(box.run(
        'debug', 'pack', os.path.basename(path), '--json').json()['objects']))
    flip(pack)
    assert box.run('check').code == 0
    r = box.run('check', '--read-data')
    assert r.code == 4, r.err
    name = os.path.relpath(pack, repo)
    assert f'pack: {name}: ' in r.out and f'object: {name}, object ' in r.out
    assert 'extent: backup ' in r.out and ' of golden, disk/vda, bytes' in r.out
    r = box.run('check', '--read-data', '--json')
    extents = [x for x in r.json_lines() if x.get('what') == 'extent']
    assert extents and all(x['machine'] == 'golden' for x in extents)
    assert all(x['offset_bytes'] % 4096 == 0 for x in extents)
    assert r.json_lines()[-1]['lost_bytes'] == sum(
        x['length_bytes'] for x in extents)
    r = box.run('repair')
    assert r.code == 4 and f'{name}: put out of use' in r.out, (r.out, r.err)
    assert 'salvaged' in r.out and 'are damaged' in r.out, r.out
    assert os.path.exists(pack)


def test_lost_index(box):
    """Without its index nothing can be read; repair makes it again"""
    repo = golden(box)
    for path in files(repo, 'index'):
        os.remove(path)
    r = box.run('check')
    assert r.code == 4 and 'vmkeep repair' in r.out
    r = box.run('repair')
    assert r.code == 0 and 'all 3 backups are whole' in r.out, (r.out, r.err)
    assert box.run('check', '--read-data').code == 0


def test_stats_of_three(box):
    golden(box)
    r = box.run('stats', 'golden', '--json')
    one = r.json()['all']
    assert r.code == 0 and one['backups'] == 3, r.err
    assert one['data_bytes'] > one['unique_bytes'] > one['stored_bytes'] > 0
    assert r.json()['machines'][0]['machine'] == 'golden'


def test_debug(box):
    """Every structure is printed, as text and as JSON"""
    repo = golden(box)
    config = box.run('debug', 'config', '--json').json()
    assert len(config['repository_id']) == 32 and len(config['keys']) == 4
    backup = box.run('list', '--json').json()[0]['id']
    ref = box.run('debug', 'ref', backup[:8], '--json').json()
    assert ref['manifest']['machine'] == 'golden'
    tree = box.run('debug', 'tree', backup, 'disk/vda', '--json').json()
    kinds = [x['what'] for x in tree['tree']]
    assert kinds[0] == 'node' and kinds.count('slot') == 2, kinds
    assert tree['tree'][0]['object'] == ref['roots'][0]['object']
    node = box.run('debug', 'object', ref['roots'][0]['object'], '--json')
    slots = [x['object'] for x in tree['tree'] if x['what'] == 'slot']
    assert node.json()['children'] == slots, node.err
    for path in files(repo, 'packs'):
        name = os.path.basename(path)
        pack = box.run('debug', 'pack', name[:9], '--json').json()
        assert pack['is_sound'] and pack['bytes'] == os.path.getsize(path)
        assert pack['name'].endswith(name)
    index = os.path.relpath(files(repo, 'index')[0], repo)
    segment = box.run('debug', 'index', index, '--json').json()
    assert segment['entries_in_all'] == len(segment['entries']) > 0
    for args in (['config'], ['ref', backup], ['index', index],
                 ['tree', backup, 'disk/vda'], ['object', slots[0]]):
        r = box.run('debug', *args)
        assert r.code == 0 and r.out.count('\n') > 4, (args, r.err)


def test_parts_of_leaves(box):
    """They are where `debug tree` says, and `stats` counts them"""
    golden(box)
    backups = [x['id'] for x in box.run('list', '--json').json()]
    trees = [[x for x in box.run('debug', 'tree', backup, 'disk/vda',
                                 '--json').json()['tree']
              if x['what'] in ('leaf', 'part')] for backup in backups]
    whole = {x['object']: x for x in trees[0]}
    found = 0
    for x in trees[2]:
        leaf = whole.get(x['object'])
        if x['what'] != 'part' or not leaf:
            continue
        assert x['leaf_bytes'] == leaf['bytes'] > x['bytes'], x
        # What did not change stayed where it was.
        assert x['leaf_offset'] == x['offset'] - leaf['offset'], x
        found += 1
    assert found >= 4, trees[2]
    one, = box.run('stats', 'golden', '--json').json()['machines']
    leaves = {x['object']: x.get('leaf_bytes', x['bytes'])
              for tree in trees for x in tree}
    assert one['unique_bytes'] == sum(leaves.values())
    assert one['data_bytes'] == sum(x['bytes'] for tree in trees for x in tree)


def test_debug_of_nothing(box):
    golden(box)
    for args, code in ((['ref', 'ffff'], 1), (['pack', 'xyz'], 1),
                       (['object', '00'], 2), (['object', 'ab' * 16], 1),
                       (['tree', 'latest', 'disk/no'], 1), (['ref'], 2),
                       (['rope', 'x'], 2), (['config', 'x'], 2)):
        r = box.run('debug', *args)
        assert (r.code, r.out) == (code, ''), (args, r.code, r.err)


def test_repair_of_the_sound(box):
    box.repository()
    r = box.run('repair')
    assert (r.code, r.out) == (0, 'no faults found\n'), (r.out, r.err)


main()

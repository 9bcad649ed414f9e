# SPDX-License-Identifier: Apache-2.0
"""forget, prune, and what list shows of it."""
import os
import shutil
import subprocess
import tempfile

from harness import PASSWORD, main

WRITE_REPO = os.environ['WRITE_REPO']


ORIGINAL = tempfile.TemporaryDirectory(prefix='vmkeep-cli-')
subprocess.run([WRITE_REPO, os.path.join(ORIGINAL.name, 'repo')], check=True,
               stdout=subprocess.DEVNULL)


def repository(box):
    """A repository with three backups; their ids, the oldest first."""
    repo = box.path('repo')
    shutil.copytree(os.path.join(ORIGINAL.name, 'repo'), repo)  # with times
    box.env.update(VMKEEP_REPOSITORY=repo, VMKEEP_PASSWORD=PASSWORD)
    return [b['id'] for b in box.run('list', '--json').json()]


def objects(box):
    return sorted(os.path.join(d, f)
                  for d, _, files in os.walk(box.path('repo')) for f in files)


def test_forget_by_policy(box):
    *old, new = repository(box)
    before = objects(box)
    r = box.run('forget', '--keep-last', '1', '--dry-run', '--json')
    assert r.code == 0, r.err
    doc = r.json()
    assert [b['id'] for b in doc['forgotten']] == old[::-1], doc
    assert [b['id'] for b in doc['kept']] == [new], doc
    assert doc['kept'][0]['reasons'] == ['last'] and doc['dry_run'] is True
    assert objects(box) == before

    r = box.run('forget', '--keep-last', '1')
    assert r.code == 0 and '2 forgotten, 1 kept' in r.err, (r.out, r.err)
    assert [b['id'] for b in box.run('list', '--json').json()] == [new]
    every = box.run('list', '--all', '--json').json()
    assert [(b['id'], b['state']) for b in every] == \
        [(b, 'forgotten') for b in old] + [(new, 'good')], every
    r = box.run('list')
    assert '2 more are forgotten' in r.err and 'forgotten' not in r.out
    assert 'forgotten' in box.run('list', '--all').out
    # By its id it is still there.
    assert box.run('show', old[0], '--json').json()['id'] == old[0]
    assert box.run('show', 'latest', '--json').json()['id'] == new
    # And the newest stays, whatever the policy.
    r = box.run('forget', '--keep-within', '1h', '--json')
    assert r.json()['forgotten'] == [], r.out


def test_forget_by_name(box):
    old, *others = repository(box)
    r = box.run('forget', old[:10])
    assert r.code == 0, r.err
    assert [b['id'] for b in box.run('list', '--json').json()] == others
    r = box.run('forget', old)
    assert r.code == 2 and 'already' in r.err, (r.code, r.err)
    assert box.run('forget', 'feedbeef').code == 1


def test_keys(box):
    """Maintenance prunes without reading; forgetting takes who may and can"""
    repository(box)
    for role in ('maintenance', 'restore'):
        r = box.run('key', 'add', '--role', role,
                    env={'VMKEEP_NEW_PASSWORD': role})
        assert r.code == 0, r.err
    before = objects(box)
    for role, why in (('maintenance', 'does not open backup'),
                      ('restore', 'may not forget')):
        env = {'VMKEEP_PASSWORD': role}
        r = box.run('forget', '--keep-last', '1', env=env)
        assert r.code == 12 and why in r.err, (role, r.code, r.err)
        assert objects(box) == before
    env = {'VMKEEP_PASSWORD': 'maintenance'}
    r = box.run('prune', '--json', env=env)
    assert r.code == 0 and r.json()['backups'] == 3, r.err
    r = box.run('list', '--all', '--json', env=env)
    assert [b['sealed'] for b in r.json()] == [True] * 3, r.out
    r = box.run('prune', env={'VMKEEP_PASSWORD': 'restore'})
    assert r.code == 12, r.err
    assert box.run('check', '--read-data').code == 0


def test_forget_what(box):
    """Nothing is forgotten by a slip of the tongue"""
    repository(box)
    before = objects(box)
    for args in ([], ['--keep-daily', '0'], ['--keep-daily', 'x'],
                 ['--keep-within', '3'], ['--keep-within', '0d'],
                 ['--keep-last', '-1']):
        r = box.run('forget', *args)
        assert r.code == 2 and r.out == '', (args, r.code, r.err)
    r = box.run('forget', 'web-99', '--keep-last', '1')
    assert r.code == 1 and 'web-99' in r.err, r.err
    assert objects(box) == before


def test_prune(box):
    repository(box)
    before = objects(box)
    r = box.run('prune', '--dry-run', '--json')
    assert r.code == 0, r.err
    doc = r.json()
    assert doc['backups'] == 3 and doc['live_bytes'] > 0 and doc['dry_run']
    assert objects(box) == before
    assert box.run('forget', '--keep-last', '1').code == 0
    doc = box.run('prune', '--json').json()
    assert (doc['retired'], doc['deleted_packs']) == (2, 0), doc
    assert not set(before) - set(objects(box))
    r = box.run('prune', '--max-repack', '1G')
    assert r.code == 0 and 'deleted' in r.out and '3 backups' in r.err, r.err
    assert box.run('prune', '--max-repack', 'much').code == 2


def test_prune_stops_at_damage(box):
    """What cannot be read keeps everything"""
    repository(box)
    ref = [o for o in objects(box) if '/refs/' in o][0]
    with open(ref, 'r+b') as f:
        f.seek(200)
        f.write(b'x')
    r = box.run('prune')
    assert r.code == 4 and 'nothing was removed' in r.err, (r.code, r.err)
    assert box.run('forget', '--keep-last', '1').code == 4


main()

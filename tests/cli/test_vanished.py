# SPDX-License-Identifier: Apache-2.0
"""Backups that this host has seen, and that the storage does not show."""
import os
import shutil
import subprocess
import tempfile

from harness import PASSWORD, main

WRITE_REPO = os.environ['WRITE_REPO']
HOUR_S = 3600

ORIGINAL = tempfile.TemporaryDirectory(prefix='vmkeep-cli-')
subprocess.run([WRITE_REPO, os.path.join(ORIGINAL.name, 'repo')], check=True,
               stdout=subprocess.DEVNULL)


def repository(box, name='repo'):
    """A repository with three backups; their ids, the oldest first."""
    repo = box.path(name)
    shutil.copytree(os.path.join(ORIGINAL.name, 'repo'), repo)  # with times
    box.env.update(VMKEEP_REPOSITORY=repo, VMKEEP_PASSWORD=PASSWORD)
    return [b['id'] for b in box.run('list', '--json').json()]


def find(box, folder, ident=''):
    return [os.path.join(d, f)
            for d, _, names in os.walk(os.path.join(box.path('repo'), folder))
            for f in names if ident in f]


def hide(box, ident):
    """Take the ref out of the storage; where it was, and where it is."""
    path, = find(box, 'refs', ident)
    os.rename(path, box.path(ident))
    return path, box.path(ident)


def memory(box):
    """The file of what this host has seen."""
    cache = box.env.get('VMKEEP_CACHE_DIR', box.path('.cache/vmkeep'))
    return [os.path.join(d, f) for d, _, names in os.walk(cache)
            for f in names if f.startswith('seen-')]


def assert_whole(box):
    r = box.run('check')
    assert r.code == 0 and 'vanished' not in r.out, (r.out, r.err)
    assert r.out.endswith('no faults found\n'), r.out
    r = box.run('list')
    assert r.code == 0 and 'gone' not in r.err, r.err


def missed(box):
    """What check tells of vanished backups: id to fault."""
    r = box.run('check', '--json')
    lines = r.json_lines()
    found = {x['backup']: x for x in lines if x.get('what') == 'vanished'}
    assert lines[-1]['vanished_backups'] == len(found), r.out
    assert r.code == (4 if found else 0), (r.code, r.out)
    return found


def test_newest(box):
    """The newest backup is gone: check says which, list warns"""
    *_, new = repository(box)
    assert_whole(box)
    path, aside = hide(box, new)
    for _ in range(2):  # and again
        r = box.run('check')
        assert r.code == 4, (r.code, r.out, r.err)
        line, = [x for x in r.out.splitlines() if x.startswith('vanished: ')]
        assert f'backup {new[:8]} as of ' in line, line
        assert os.path.basename(path) in line and 'last seen' in line, line
        assert 'set back to an older state' in line, line
        assert '1 backups that were here have vanished' in r.out, r.out
        assert 'vmkeep repair' not in r.err, r.err
        r = box.run('list')
        assert r.code == 0, r.err
        warning, = r.err.splitlines()
        assert '1 backups' in warning and 'vmkeep check' in warning, warning
    fault, = missed(box).values()
    assert fault['name'].endswith(new), fault
    assert fault['time'] < fault['last_seen'], fault
    r = box.run('list', '--json')
    assert len(r.json()) == 2 and '"warning"' in r.err, r.err
    os.rename(aside, path)
    assert_whole(box)
    assert missed(box) == {}


def test_others(box):
    """Also one in the middle, and all of them"""
    first, middle, last = repository(box)
    path, aside = hide(box, middle)
    assert set(missed(box)) == {middle}
    os.rename(aside, path)
    assert_whole(box)
    for ident in (first, middle, last):
        hide(box, ident)
    assert set(missed(box)) == {first, middle, last}
    assert '3 backups' in box.run('list').err


def test_rollback(box):
    """The storage as it was before the last import: import misses it too"""
    repository(box)
    old = box.path('old')
    image = box.path('disk.raw')
    with open(image, 'wb') as f:
        f.write(os.urandom(1 << 20))
    r = box.run('import', image, '--name', 'm', '--json')
    assert r.code == 0, r.err
    shutil.copytree(box.path('repo'), old)
    r = box.run('import', image, '--name', 'm', '--json')
    assert r.code == 0 and r.err == '', r.err
    ident = r.json_lines()[-1]['backup_id']
    shutil.rmtree(box.path('repo'))
    os.rename(old, box.path('repo'))
    r = box.run('import', image, '--name', 'm')
    assert r.code == 3 and '1 backups' in r.err, (r.code, r.err)
    fault, = missed(box).values()
    assert fault['backup'] == ident and fault['machine'] == 'm', fault


def age(path, hours):
    then = os.stat(path).st_mtime - hours * HOUR_S
    os.utime(path, (then, then))


def test_forget_and_prune(box):
    """What was forgotten is not missed, at no step of its way"""
    old, *_ = repository(box)
    assert_whole(box)
    assert box.run('forget', old).code == 0
    assert_whole(box)
    for what, hours in (('refs', 103), ('retired', 73)):
        mark, = find(box, 'retired', old)
        age(mark, hours)
        r = box.run('prune')
        assert r.code == 0, r.err
        assert find(box, what, old) == [], what
        assert_whole(box)
    assert missed(box) == {}


def test_forgotten_elsewhere(box):
    """Nor if this host never saw the mark while the ref was there"""
    old, *_ = repository(box)
    there = {'VMKEEP_CACHE_DIR': box.path('another host')}
    assert box.run('forget', old, env=there).code == 0
    mark, = find(box, 'retired', old)
    age(mark, 103)
    assert box.run('prune', env=there).code == 0
    assert find(box, 'refs', old) == []
    assert_whole(box)


def test_false_mark(box):
    """Only a mark that maintenance has signed says that it was forgotten"""
    old, other, _ = repository(box)
    there = {'VMKEEP_CACHE_DIR': box.path('another host')}
    assert box.run('forget', other, env=there).code == 0
    path, _ = hide(box, old)
    mark, = find(box, 'retired', other)
    false = path.replace('/refs/', '/retired/')
    os.makedirs(os.path.dirname(false), exist_ok=True)
    shutil.copyfile(mark, false)
    assert set(missed(box)) == {old}


def test_without_memory(box):
    """Without a cache there is nothing to miss, and nothing else changes"""
    *_, new = repository(box)
    file, = memory(box)
    assert os.stat(file).st_mode & 0o77 == 0
    hide(box, new)
    os.rename(file, box.path('kept'))
    assert missed(box) == {}
    file, = memory(box)
    with open(box.path('kept'), 'rb') as f:
        data = bytearray(f.read())
    data[40] ^= 1
    with open(file, 'wb') as f:
        f.write(data)
    assert missed(box) == {}
    data[40] ^= 1
    with open(file, 'wb') as f:
        f.write(data)
    assert set(missed(box)) == {new}
    nowhere = {'VMKEEP_CACHE_DIR': '/dev/null/cache'}
    r = box.run('check', env=nowhere)
    assert 'vanished' not in r.out, r.out


def test_another_place(box):
    """A copy of a repository at another place may be older"""
    *_, new = repository(box)
    assert_whole(box)
    shutil.copytree(box.path('repo'), box.path('copy'))
    ref, = [os.path.join(d, f) for d, _, names
            in os.walk(box.path('copy/refs')) for f in names if new in f]
    os.remove(ref)
    r = box.run('-r', box.path('copy'), 'list')
    assert r.code == 0 and r.err == '', r.err
    assert_whole(box)


def test_roles(box):
    """Who may only restore misses it as well"""
    *_, new = repository(box)
    r = box.run('key', 'add', '--role', 'restore',
                env={'VMKEEP_NEW_PASSWORD': 'restore'})
    assert r.code == 0, r.err
    hide(box, new)
    r = box.run('list', env={'VMKEEP_PASSWORD': 'restore'})
    assert r.code == 0 and '1 backups' in r.err, r.err


main()

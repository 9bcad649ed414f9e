#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check and repair: what they say of sound and of damaged repositories."""
import os

from harness import main


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


def test_repair_of_the_sound(box):
    box.repository()
    r = box.run('repair')
    assert (r.code, r.out) == (0, 'no faults found\n'), (r.out, r.err)


main()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Repositories: made, found, not found, and what is in them."""
import os

from harness import PASSWORD, main, matches

ENV = {'VMKEEP_PASSWORD': PASSWORD}


def test_init(box):
    r = box.run('init', 'repo', env=ENV)
    assert (r.code, r.err) == (0, ''), r.err
    matches(r'^Made the repository [0-9a-f]{32} at repo\.\n', r.out)
    assert 'password' in r.out and 'vmkeep backup' in r.out
    r = box.run('-r', 'repo', 'list', env=ENV)
    assert (r.code, r.out) == (0, '')
    assert r.err == ('vmkeep: no backups yet; `vmkeep backup MACHINE` makes '
                     'one\n')


def test_init_as_json(box):
    r = box.run('init', '--json', 'repo', env=ENV)
    answer = r.json()
    assert (r.code, r.err) == (0, '')
    assert answer['repository'] == 'repo' and answer['created'] is True
    matches('^[0-9a-f]{32}$', answer['repository_id'])


def test_init_quietly(box):
    r = box.run('-q', 'init', 'repo', env=ENV)
    assert r.code == 0 and r.out.count('\n') == 1


def test_init_by_option_and_variable(box):
    assert box.run('init', '-r', 'a', env=ENV).code == 0
    assert box.run('init', env={**ENV, 'VMKEEP_REPOSITORY': 'b'}).code == 0
    assert box.run('init', 'c', '-r', 'c', env=ENV).code == 0
    assert box.run('init', 'file:d', env=ENV).code == 0
    for name in 'abcd':
        r = box.run('-r', name, 'list', '--json', env=ENV)
        assert (r.code, r.json()) == (0, []), name


def test_init_of_two(box):
    r = box.run('init', 'a', '-r', 'b', env=ENV)
    assert r.code == 2 and 'a' in r.err and 'b' in r.err
    assert os.listdir(box.dir) == []


def test_init_again(box):
    """An existing repository is not touched, and no password asked for"""
    repo = box.repository()
    r = box.run('init', repo, env={'VMKEEP_PASSWORD': ''})
    assert (r.code, r.out) == (1, '') and 'already' in r.err, r.err
    assert box.run('list').code == 0
    r = box.run('init', '--json', env={'VMKEEP_PASSWORD': ''})
    assert r.json_error()['code'] == 'exists'


def test_init_in_a_full_folder(box):
    os.mkdir(box.path('home'))
    box.write('home/diary', 'dear diary')
    r = box.run('init', 'home', env=ENV)
    assert r.code == 1 and 'home' in r.err
    assert os.listdir(box.path('home')) == ['diary']


def test_init_where_nothing_can_be(box):
    box.write('file', '')
    r = box.run('init', 'file/repo', env=ENV)
    assert r.code in (1, 13) and 'file' in r.err
    r = box.run('init', '/proc/repo', env=ENV)
    assert r.code in (1, 13) and '/proc/repo' in r.err


def test_no_repository_named(box):
    r = box.run('list', env=ENV)
    assert r.code == 2 and 'VMKEEP_REPOSITORY' in r.err and '-r' in r.err
    assert box.run('list', env={**ENV, 'VMKEEP_REPOSITORY': ''}).code == 2


def test_missing_repository(box):
    """A repository that is not there, before any password"""
    os.mkdir(box.path('empty'))
    for name in ('nowhere', 'empty'):
        for args in (['list'], ['show', 'latest'],
                     ['restore', 'latest', '--to', 'x']):
            r = box.run('-r', name, *args)
            assert (r.code, r.out) == (10, ''), (r.code, r.err)
            assert f'no repository at {name}' in r.err, r.err
            assert f'vmkeep init {name}' in r.err
    r = box.run('-r', 'nowhere', '--json', 'list')
    assert r.json_error()['code'] == 'no_repository'
    assert sorted(os.listdir(box.dir)) == ['empty']


def test_unknown_forms(box):
    r = box.run('-r', 'gopher://x/y', 'list')
    assert r.code == 2 and 'gopher' in r.err, r.err


def test_wrong_password(box):
    repo = box.repository()
    r = box.run('list', env={'VMKEEP_PASSWORD': 'wrong'})
    assert (r.code, r.out) == (12, '')
    assert 'password' in r.err and repo in r.err
    r = box.run('list', '--json', env={'VMKEEP_PASSWORD': 'wrong'})
    assert r.json_error()['code'] == 'wrong_key'


def test_no_such_backup(box):
    box.repository()
    for name in ('latest', 'web-01@latest', '0123', 'x' * 5000):
        r = box.run('show', name)
        assert (r.code, r.out) == (1, ''), (r.code, r.err)
        assert len(r.err) < 1200
    r = box.run('restore', 'latest', '--to', 'there', '--json')
    assert r.code == 1 and r.json_error()['code'] == 'not_found'
    assert not os.path.exists(box.path('there'))
    r = box.run('list', 'web-01')
    assert r.code == 1 and 'web-01' in r.err


def test_a_damaged_repository(box):
    """Damage is told by exit code 4, not by silence"""
    repo = box.repository()
    config = os.path.join(repo, 'config')
    with open(config, 'r+b') as f:
        f.truncate(20)
    r = box.run('list')
    assert (r.code, r.out) == (4, ''), (r.code, r.err)


main()

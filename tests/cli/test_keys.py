#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keys: who may do what, recovery keys, and that no secret is ever shown."""
import glob
import os
import re
import struct

from harness import PASSWORD, Machine, Terminal, main, matches, wait_for

RECOVERY = r'\b[0-9A-HJKMNP-TV-Z]{8}(?:-[0-9A-HJKMNP-TV-Z]{8}){3}\b'


def add(box, role, password, *args):
    r = box.run('key', 'add', '--role', role, *args, '--json',
                env={'VMKEEP_NEW_PASSWORD': password})
    assert r.code == 0, r.err
    assert r.json()['role'] == role
    return r.json()['key_id']


def run_as(box, password, *args, key=''):
    return box.run(*args, env={'VMKEEP_PASSWORD': password,
                               'VMKEEP_KEY': key})


def keys(box, password=PASSWORD):
    r = run_as(box, password, 'key', 'list', '--json')
    assert r.code == 0, r.err
    return {k['id']: k for k in r.json()}


def recovery_key(box):
    r = box.run('key', 'export', '--paper', '--json')
    assert r.code == 0, r.err
    return r.json()['recovery_key']


def test_roles(box):
    """A host backs up and reads nothing; the others do what is theirs"""
    box.repository()
    ids = {}  # named each time: trying all keys takes long

    def use(password, *args):
        return run_as(box, password, *args, key=ids.get(password, ''))

    machine = Machine(box, 'web-01', disk_mib=1)
    ids['of host'] = add(box, 'host', 'of host', '--namespace', 'web',
                         '--label', 'pve-03')
    ids['of reader'] = add(box, 'host', 'of reader', '--namespace', 'db',
                           '--can-restore')
    ids['of web'] = add(box, 'restore', 'of web', '--namespace', 'web')
    ids['of all'] = add(box, 'restore', 'of all')
    ids['of m'] = add(box, 'maintenance', 'of m')
    r = use('of host', 'backup', '--qmp', machine.socket, '--scratch',
               box.dir, '--json')
    assert r.code == 0, r.err
    backup = r.json_lines()[-1]['backup_id']
    r = use('of reader', 'backup', '--qmp', machine.socket,
               '--scratch', box.dir, '--json')
    assert r.code == 0, r.err
    other = r.json_lines()[-1]['backup_id']
    for password, reads in (('of host', []), ('of m', []),
                            ('of reader', [other]), ('of web', [backup]),
                            ('of all', [backup, other]),
                            (PASSWORD, [backup, other]),
                            (recovery_key(box), [backup, other])):
        r = use(password, 'list', '--json')
        assert r.code == 0, r.err
        listed = {b['id']: b for b in r.json()}
        assert sorted(listed) == sorted([backup, other]), password
        for ident, b in listed.items():
            assert b.get('sealed', False) == (ident not in reads), password
            assert ('machine' in b) == (ident in reads), password
        for ident in (backup, other):
            r = use(password, 'show', ident)
            if ident in reads:
                assert r.code == 0 and 'web-01' in r.out, r.err
            else:
                assert (r.code, r.out) == (12, ''), (password, r.err)
                assert 'this key cannot open' in r.err, r.err
    r = use('of host', 'restore', backup, '--to', 'there')
    assert r.code == 12 and not os.path.exists(box.path('there'))
    r = use('of host', 'list')
    assert 'sealed, namespace web' in r.out, r.out
    assert 'sealed, namespace db' in r.out, r.out
    assert 'web-01' not in r.out
    for password in ('of all', 'of m'):
        r = use(password, 'backup', '--qmp', machine.socket,
                   '--scratch', box.dir)
        assert r.code == 12 and 'may not write' in r.err, r.err
    assert machine.status() == 'running'


def test_list(box):
    box.repository()
    ident = add(box, 'host', 'x', '--namespace', 'web', '--label',
                'pve \x1b[2J03')
    all_keys = keys(box)
    assert len(all_keys) == 3
    host = all_keys[ident]
    assert (host['role'], host['namespace'], host['reads'], host['writer'],
            host['is_current']) == ('host', 'web', False, 2, False)
    assert keys(box, 'x')[ident]['is_current']
    r = box.run('key', 'list')
    assert r.code == 0 and '\x1b' not in r.out and ident[:8] in r.out


def test_one_key(box):
    """--key, or VMKEEP_KEY, says which key the password is for"""
    box.repository()
    ident = add(box, 'host', 'x')
    assert run_as(box, 'x', 'list', '--key', ident[:6]).code == 0
    env = {'VMKEEP_PASSWORD': 'x', 'VMKEEP_KEY': ident}
    assert box.run('list', env=env).code == 0
    r = box.run('list', '--key', ident)
    assert r.code == 12 and ident in r.err
    assert box.run('list', '--key', '', env=env).code == 0


def test_remove(box):
    box.repository()
    ident = add(box, 'host', 'x')
    for word in ('', 'nothing', 'ffffffffffff', '../config'):
        r = box.run('key', 'remove', word)
        assert (r.code, r.out) == (1, ''), (word, r.err)
    r = run_as(box, 'x', 'key', 'remove', ident)
    assert r.code == 12 and 'admin' in r.err
    r = box.run('key', 'remove', ident[:8])
    assert r.code == 0 and 'still has the keys' in r.out, r.err
    assert run_as(box, 'x', 'list').code == 12
    [own] = [k for k, v in keys(box).items() if v['is_current']]
    r = box.run('key', 'remove', own)
    assert r.code == 2 and '--role admin' in r.err
    add(box, 'admin', 'second')
    assert box.run('key', 'remove', own, '--json').json() == {'removed': own}
    assert box.run('list').code == 12
    assert run_as(box, 'second', 'list').code == 0


def test_change_password(box):
    box.repository()
    path = box.write('new', 'new one\n')
    r = box.run('key', 'change-password', '--new-password-file', path)
    assert r.code == 0 and 'new password' in r.out, r.err
    assert box.run('list').code == 12
    assert run_as(box, 'new one', 'list').code == 0
    r = run_as(box, 'new one', 'key', 'change-password',
               '--new-password-command', 'echo third')
    assert r.code == 0, r.err
    assert run_as(box, 'third', 'list').code == 0
    assert len(keys(box, 'third')) == 2


def test_change_password_on_a_terminal(box):
    """The old password is asked once, the new one twice"""
    box.repository()
    del box.env['VMKEEP_PASSWORD']
    t = Terminal(box, 'key', 'change-password')
    t.expect('Password for ')
    wait_for(lambda: not t.echoes(), 'the echo is off')
    t.type(PASSWORD + '\n')
    t.expect('New password for ')
    wait_for(lambda: not t.echoes(), 'the echo is off')
    t.type('new one\n')
    t.expect('again: ')
    t.type('new one\n')
    t.expect('has a new password')
    assert t.end() == 0
    assert run_as(box, 'new one', 'list').code == 0


def test_no_new_password(box):
    """Without any way to get one nothing has changed"""
    box.repository()
    before = sorted(keys(box))
    for args in (['add', '--role', 'host'], ['change-password']):
        r = box.run('key', *args)
        assert r.code == 2 and 'VMKEEP_NEW_PASSWORD_FILE' in r.err, r.err
    r = box.run('key', 'change-password', env={'VMKEEP_NEW_PASSWORD': 'a',
                'VMKEEP_NEW_PASSWORD_COMMAND': 'echo b'})
    assert r.code == 2 and 'VMKEEP_NEW_PASSWORD_COMMAND' in r.err
    assert sorted(keys(box)) == before
    assert os.listdir(box.path('repo')).count('config.d') == 0


def test_new_systemd_credential(box):
    box.repository()
    box.write('vmkeep.new-password', 'new one\n')
    r = box.run('key', 'change-password',
                env={'CREDENTIALS_DIRECTORY': box.dir})
    assert r.code == 0, r.err
    assert run_as(box, 'new one', 'list').code == 0


def test_credential_comes_last(box):
    """An option, then a variable, then the credential; a bad one is no none"""
    box.repository()
    del box.env['VMKEEP_PASSWORD']
    good, bad = box.write('good', PASSWORD), box.write('bad', 'wrong')
    os.mkdir(box.path('creds'))
    env = {'CREDENTIALS_DIRECTORY': box.path('creds')}
    box.write('creds/vmkeep.password', 'wrong')
    assert box.run('list', env=env).code == 12
    assert box.run('list', '--password-file', good, env=env).code == 0
    assert box.run('list', '--password-file', good,
                   env={**env, 'VMKEEP_PASSWORD': 'wrong'}).code == 0
    assert box.run('list', env={**env, 'VMKEEP_PASSWORD': PASSWORD}).code == 0
    box.write('creds/vmkeep.password', PASSWORD)
    assert box.run('list', env=env).code == 0
    assert box.run('list', env={**env, 'VMKEEP_PASSWORD_FILE': bad}).code == 12
    box.write('creds/vmkeep.password', '')
    r = box.run('list', env=env)
    assert r.code == 2 and 'empty' in r.err


# ---- recovery keys -----------------------------------------------------------


def test_init_on_a_terminal_shows_it(box):
    box.env['VMKEEP_PASSWORD'] = PASSWORD
    t = Terminal(box, 'init', 'repo')
    seen = ''
    while t.read():
        pass
    seen = t.seen
    assert t.end() == 0
    both = re.findall(RECOVERY, seen)
    assert len(both) == 2, seen
    r = run_as(box, '-'.join(both), '-r', 'repo', 'list')
    assert r.code == 0, r.err


def test_init_in_a_script_shows_it_if_asked(box):
    """No key in the log of a script; it is not lost either"""
    box.env['VMKEEP_PASSWORD'] = PASSWORD
    for args in ([], ['--json'], ['-q']):
        r = box.run('init', 'repo' + ''.join(args), *args)
        assert r.code == 0 and not re.findall(RECOVERY, r.out), r.out
    assert 'key export --paper' in box.run('init', 'b').out
    r = box.run('init', '--json', '--show-recovery-key', 'c')
    box.env['VMKEEP_REPOSITORY'] = 'c'
    assert r.json()['recovery_key'] == recovery_key(box)
    assert r.json()['recovery_key_id'] in keys(box)
    r = box.run('init', '-q', '--show-recovery-key', 'd')
    assert len(re.findall(RECOVERY, r.out)) == 2
    box.env['VMKEEP_REPOSITORY'] = 'b'
    assert run_as(box, recovery_key(box), 'list').code == 0


def test_forgotten_password(box):
    """With the recovery key a new password is made"""
    box.repository()
    key = recovery_key(box)
    typed = key.lower().replace('-', ' ').replace('1', 'l')
    r = run_as(box, typed, 'list')
    assert r.code == 0, r.err
    r = box.run('key', 'change-password', env={
        'VMKEEP_PASSWORD': key, 'VMKEEP_NEW_PASSWORD': 'x'})
    assert r.code == 2 and 'key add --role admin' in r.err
    r = box.run('key', 'add', '--role', 'admin', env={
        'VMKEEP_PASSWORD': key, 'VMKEEP_NEW_PASSWORD': 'new one'})
    assert r.code == 0, r.err
    assert run_as(box, 'new one', 'key', 'export', '--paper').code == 0


def test_recovery_key_with_an_error(box):
    box.repository()
    key = list(recovery_key(box))
    key[10] = 'A' if key[10] == 'B' else 'B'
    r = run_as(box, ''.join(key), 'list')
    assert r.code == 12 and 'group 2' in r.err, r.err
    assert ''.join(key[:8]) not in r.err


def test_another_recovery_key(box):
    box.repository()
    first = recovery_key(box)
    r = box.run('key', 'add', '--role', 'recovery')
    second = '-'.join(re.findall(RECOVERY, r.out))
    assert r.code == 0 and len(second) == 71 and second != first
    [old] = [i for i, k in keys(box, first).items() if k['is_current']]
    assert box.run('key', 'remove', old).code == 0
    assert run_as(box, first, 'list').code == 12
    assert run_as(box, second, 'list').code == 0


def test_only_admins_see_it(box):
    box.repository()
    for role in ('restore', 'host', 'maintenance'):
        add(box, role, role)
        for args in (['export', '--paper'], ['add', '--role', 'recovery'],
                     ['add', '--role', 'admin']):
            r = run_as(box, role, 'key', *args)
            assert (r.code, r.out) == (12, ''), (role, args, r.err)


def test_usage(box):
    box.repository()
    for args, word in (([], 'usage'), (['lst'], "'lst'"),
                       (['add'], '--role'), (['add', '--role', 'root'], 'root'),
                       (['remove'], 'ID'), (['list', 'x'], "'x'"),
                       (['export'], '--paper'), (['list', '--paper'], 'paper'),
                       (['remove', 'ab', '--role', 'host'], '--role'),
                       (['add', '--role', 'recovery', '--label', 'x'], 'label'),
                       (['add', '--role', 'admin', '--namespace', 'x'],
                        'namespace'),
                       (['add', '--role', 'host', '--namespace', 'a b'],
                        'letters'),
                       (['add', '--role', 'restore', '--can-restore'],
                        'host')):
        r = box.run('key', *args, env={'VMKEEP_NEW_PASSWORD': 'x'})
        assert (r.code, r.out) == (2, ''), (args, r.code, r.err)
        assert word in r.err and r.err.count('\n') == 1, r.err
    r = box.run('key', 'add', '--role', 'restore', '--namespace', 'none',
                env={'VMKEEP_NEW_PASSWORD': 'x'})
    assert r.code == 1 and 'none' in r.err
    assert len(keys(box)) == 2


def memory_of(repo, ident):
    """What trying a password on that key takes, in KiB (docs/format/keys.md)."""
    names = glob.glob(f'{repo}/keys/**/{ident}*', recursive=True)
    name, = [n for n in names if os.path.isfile(n)]
    with open(name, 'rb') as f:
        bundle = f.read()
    assert bundle[16] == 1, 'not opened by a password'
    note, = struct.unpack_from('<H', bundle, 18)
    passes, kib = struct.unpack_from('<II', bundle, 44 + note)
    assert passes == 3
    return kib


def test_pbkdf_memory(box):
    """How dear a password is to guess: as usual, by a variable, by an option"""
    usual = os.path.join(box.dir, 'usual')
    box.env['VMKEEP_PASSWORD'] = PASSWORD
    r = box.run('init', usual, env={'VMKEEP_PBKDF_MEMORY': ''})
    assert r.code == 0, r.err
    r = box.run('-r', usual, 'key', 'list', '--json')
    made, = [k['id'] for k in r.json() if k['role'] == 'admin']
    assert memory_of(usual, made) == 64 << 10
    repo = box.repository()
    made, = [i for i, k in keys(box).items() if k['role'] == 'admin']
    assert memory_of(repo, made) == 1 << 10
    added = add(box, 'admin', 'another', '--pbkdf-memory', '2M')
    assert memory_of(repo, added) == 2 << 10
    r = run_as(box, 'another', 'key', 'change-password', '--pbkdf-memory', '8K',
               '--new-password-file', box.write('pw', 'third'), '--json')
    assert r.code == 0, r.err
    assert memory_of(repo, r.json()['key_id']) == 8
    assert run_as(box, 'third', 'list').code == 0
    for size in ('7K', '1025M', '0', 'much', '-1M', ''):
        for args in (['init', box.path('new')],
                     ['key', 'add', '--role', 'admin'], ['key', 'change-password']):
            r = box.run(*args, '--pbkdf-memory', size,
                        env={'VMKEEP_NEW_PASSWORD': 'x'})
            assert r.code == 2 and '8K to 1024M' in r.err, (size, args, r.err)
    assert not os.path.exists(box.path('new'))
    r = box.run('init', box.path('new'), env={'VMKEEP_PBKDF_MEMORY': '2G'})
    assert r.code == 2 and 'VMKEEP_PBKDF_MEMORY 2G' in r.err, r.err
    r = box.run('key', 'list', '--pbkdf-memory', '1M')
    assert r.code == 2 and '--pbkdf-memory' in r.err, r.err


# ---- no secret is shown --------------------------------------------------------

SECRETS = ('planted-old-7Q', 'planted-new-8R', 'planted-cmd-9S')


def proc(pid, name):
    try:
        with open(f'/proc/{pid}/{name}', 'rb') as f:
            return f.read()
    except OSError:
        return b''


def test_no_secret_is_shown(box):
    """Not in arguments, environment, output or errors, however it goes"""
    old, new, by_command = SECRETS
    box.env['VMKEEP_REPOSITORY'] = box.path('repo')
    fifo = box.path('fifo')
    os.mkfifo(fifo)
    seen = b''
    for args, env in (
            (['init', '-vv'], {'VMKEEP_PASSWORD': old}),
            (['list', '-vv'], {'VMKEEP_PASSWORD': old}),
            (['list', '-vv'], {'VMKEEP_PASSWORD': old + 'x'}),
            (['list', '--json'], {'VMKEEP_PASSWORD': old + 'x'}),
            (['key', 'add', '--role', 'host', '-vv'],
             {'VMKEEP_PASSWORD': old, 'VMKEEP_NEW_PASSWORD': new}),
            (['key', 'change-password', '-vv'],
             {'VMKEEP_PASSWORD': new, 'VMKEEP_NEW_PASSWORD': by_command}),
            (['key', 'add', '--role', 'nobody'],
             {'VMKEEP_PASSWORD': old, 'VMKEEP_NEW_PASSWORD': new}),
            (['backup', '--qmp', 'none', '-vv'], {'VMKEEP_PASSWORD': old})):
        r = box.run(*args, env=env)
        seen += r.out.encode() + r.err.encode()
    # One that hangs, to be looked at: the password is taken, the new one is
    # waited for.
    child = box.start('key', 'change-password', '--new-password-file', fifo,
                      env={'VMKEEP_PASSWORD': old})
    wait_for(lambda: b'PATH=' in proc(child.pid, 'environ') and
             old.encode() not in proc(child.pid, 'environ'),
             'the variable is wiped')
    seen += proc(child.pid, 'cmdline') + proc(child.pid, 'environ')
    with open(fifo, 'w', encoding='utf-8') as f:
        f.write(new)
    out, err = child.communicate()
    assert child.returncode == 0, err
    seen += out + err
    for secret in SECRETS:
        assert secret.encode() not in seen, secret
    # What is in the repository is sealed.
    for folder, _, files in os.walk(box.path('repo')):
        for name in files:
            with open(os.path.join(folder, name), 'rb') as f:
                stored = f.read()
            assert not any(s.encode() in stored for s in SECRETS), name


def children(pid):
    found = []
    try:
        for task in os.listdir(f'/proc/{pid}/task'):
            with open(f'/proc/{pid}/task/{task}/children',
                      encoding='ascii') as f:
                found += f.read().split()
    except OSError:
        pass
    return found


def test_helpers_get_no_secret(box):
    """The processes that a backup starts have no password around them"""
    machine = Machine(box, 'web-01', disk_mib=48)
    box.env['VMKEEP_REPOSITORY'] = box.path('repo')
    secret = SECRETS[0]
    assert box.run('init', env={'VMKEEP_PASSWORD': secret}).code == 0
    child = box.start('backup', '--qmp', machine.socket, '--scratch', box.dir,
                      env={'VMKEEP_PASSWORD': secret})
    helpers, seen = set(), b''
    while child.poll() is None:
        for pid in children(child.pid):
            name = proc(pid, 'cmdline')
            if name.startswith(b'vmkeep-'):
                helpers.add(name)
                seen += name + proc(pid, 'environ')
    out, err = child.communicate()
    assert child.returncode == 0, err
    assert any(b'guard' in h for h in helpers), helpers
    assert b'VMKEEP_PASSWORD' not in seen and secret.encode() not in seen
    assert secret.encode() not in out + err


def test_secrets_are_no_options(box):
    for option in ('--password', '--new-password', '--recovery-key'):
        r = box.run('key', 'list', f'{option}={SECRETS[0]}')
        assert r.code == 2 and SECRETS[0] not in r.err, r.err
    matches('help password', box.run('list', '--password=x').err)


main()

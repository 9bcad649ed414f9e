#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""All the ways to give the password, the terminal above all."""
import os
import signal
import subprocess

from harness import PASSWORD, Terminal, main, matches, wait_for


def repository(box):
    repo = box.repository()
    del box.env['VMKEEP_PASSWORD']
    return repo


def opens(box, *args, env=None):
    r = box.run('list', '--json', *args, env=env)
    assert r.code == 0, r.err
    assert r.json() == []


def test_variable(box):
    repository(box)
    opens(box, env={'VMKEEP_PASSWORD': PASSWORD})


def test_files(box):
    repository(box)
    path = box.write('password', PASSWORD + '\n')
    opens(box, '--password-file', path)
    opens(box, env={'VMKEEP_PASSWORD_FILE': path})
    r = box.run('list', '--password-file', 'none')
    assert r.code == 1 and 'none' in r.err


def test_commands(box):
    repository(box)
    opens(box, '--password-command', f'echo "{PASSWORD}"')
    opens(box, env={'VMKEEP_PASSWORD_COMMAND': f'printf "{PASSWORD}"'})
    r = box.run('list', '--password-command', 'echo broken >&2; exit 7')
    assert r.code == 1 and 'exit code 7' in r.err and 'broken' in r.err
    assert r.err.count('echo') == 0, 'the command may hold a secret'


def test_inherited_descriptor(box):
    """A descriptor of the caller: --password-file /dev/fd/N"""
    repository(box)
    reader, writer = os.pipe()
    os.write(writer, PASSWORD.encode())
    os.close(writer)
    r = box.run('list', '--password-file', f'/dev/fd/{reader}',
                pass_fds=[reader])
    os.close(reader)
    assert r.code == 0, r.err


def test_stdin(box):
    repository(box)
    child = box.start('list', '--password-file', '/dev/stdin',
                      stdin=subprocess.PIPE)
    _, err = child.communicate(PASSWORD.encode())
    assert child.returncode == 0, err


def test_systemd_credential(box):
    repository(box)
    box.write('vmkeep.password', PASSWORD)
    opens(box, env={'CREDENTIALS_DIRECTORY': box.dir})


def test_two_at_once(box):
    repository(box)
    path = box.write('password', PASSWORD)
    r = box.run('list', '--password-file', path, '--password-command', 'true')
    assert r.code == 2
    r = box.run('list', env={'VMKEEP_PASSWORD': PASSWORD,
                             'VMKEEP_PASSWORD_FILE': path})
    assert r.code == 2 and 'VMKEEP_PASSWORD_FILE' in r.err


def test_none(box):
    """Without any way and without a terminal the ways are named"""
    repository(box)
    r = box.run('list')
    assert (r.code, r.out) == (2, '')
    assert 'VMKEEP_PASSWORD_FILE' in r.err and 'help password' in r.err
    assert box.run('list', '--json').json_error()['code'] == 'usage'


def test_terminal(box):
    """Asked for on the terminal, which does not show it"""
    repository(box)
    t = Terminal(box, 'list', '--json')
    t.expect('Password for ')
    wait_for(lambda: not t.echoes(), 'the echo is off')
    t.type(PASSWORD + '\n')
    t.expect('[]')
    assert PASSWORD not in t.seen
    assert t.end() == 0


def test_terminal_without_stdin(box):
    """Asked for on the terminal also if stdin is something else"""
    repository(box)
    t = Terminal(box, 'list', '--password-command', 'exec </dev/tty; read x; '
                 'echo "$x"')
    t.type(PASSWORD + '\n')
    t.expect('no backups')
    assert t.end() == 0


def test_terminal_wrong(box):
    repository(box)
    t = Terminal(box, 'list')
    t.expect(': ')
    wait_for(lambda: not t.echoes(), 'the echo is off')
    t.type('wrong\n')
    t.expect('wrong password')
    assert t.end() == 12


def test_terminal_twice_for_a_new_one(box):
    t = Terminal(box, 'init', 'repo')
    t.expect('New password for repo: ')
    wait_for(lambda: not t.echoes(), 'the echo is off')
    t.type(PASSWORD + '\n')
    t.expect('again: ')
    t.type(PASSWORD + '\n')
    t.expect('Made the repository')
    assert t.end() == 0
    opens(box, '-r', 'repo', env={'VMKEEP_PASSWORD': PASSWORD})


def test_terminal_twice_but_different(box):
    t = Terminal(box, 'init', 'repo')
    t.expect('New password for repo: ')
    wait_for(lambda: not t.echoes(), 'the echo is off')
    t.type('one\n')
    t.expect('again: ')
    t.type('two\n')
    t.expect('differ')
    assert t.end() == 2
    assert not os.path.exists(box.path('repo'))


def test_terminal_left(box):
    """Ctrl-C at the question ends it and gives the echo back"""
    repository(box)
    t = Terminal(box, 'list')
    t.expect('Password for ')
    wait_for(lambda: not t.echoes(), 'the echo is off')
    t.type('\x03')
    t.expect('interrupted')
    wait_for(t.echoes, 'the echo is back')
    assert t.end() == 130


def test_terminal_closed(box):
    """An empty line, and Ctrl-D, are no password"""
    repository(box)
    for keys in ('\n', '\x04'):
        t = Terminal(box, 'list')
        t.expect('Password for ')
        wait_for(lambda: not t.echoes(), 'the echo is off')
        t.type(keys)
        t.expect('empty')
        assert t.end() == 2


def test_killed_while_asking_a_command(box):
    """SIGTERM ends it at once while nothing has to be put right"""
    repository(box)
    child = box.start('list', '--json', '--password-command',
                      'echo started >&2; exec sleep 1000 >/dev/null 2>&1')
    assert child.stderr.readline() == b'started\n'
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate()
    assert child.returncode == 130 and out == b''
    matches('"exit":130', err.decode())


main()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Where the answer goes: closed and full outputs, terminals, signals."""
import os
import signal
import subprocess

from harness import main, matches


def test_full_stdout(box):
    """An answer that could not be written is a failure"""
    box.repository()
    for args in (['help'], ['--version'], ['init', 'other'],
                 ['backup', '--help']):
        with open('/dev/full', 'wb') as full:
            r = box.run(*args, stdout=full)
        assert r.code == 1, (args, r.code)
        matches('^vmkeep: ([a-z]+: )?cannot write the answer to stdout: No '
                'space left on device\n$', r.err)


def test_closed_stdout(box):
    repo = box.repository()
    for args in ('--version', 'help', 'list --json'):
        child = subprocess.run(
            ['sh', '-c', f'exec "$0" {args} >&-', os.environ['VMKEEP']],
            env=box.env, stderr=subprocess.PIPE, check=False, timeout=180)
        assert child.returncode == 1, (args, child.returncode)
        assert b'cannot write the answer' in child.stderr
    # No file of ours has become fd 1, to be written to as if it were stdout.
    child = subprocess.run(
        ['sh', '-c', 'exec "$0" list -r "$1" --password-command "readlink '
         '/proc/\\$PPID/fd/1 >&2" >&-', os.environ['VMKEEP'], repo],
        env=box.env, stderr=subprocess.PIPE, check=False, timeout=180)
    assert child.stderr.splitlines()[0] == b'/dev/null', child.stderr


def test_closed_stdin_and_stderr(box):
    box.repository()
    child = subprocess.run(
        ['sh', '-c', 'exec "$0" list --json <&- 2>&-', os.environ['VMKEEP']],
        env=box.env, stdout=subprocess.PIPE, check=False, timeout=180)
    assert (child.returncode, child.stdout) == (0, b'[]\n')
    child = subprocess.run(
        ['sh', '-c', 'exec "$0" bakcup <&- >&- 2>&-', os.environ['VMKEEP']],
        env=box.env, check=False, timeout=180)
    assert child.returncode == 2


def test_reader_gone(box):
    """A pipe whose reader is gone is a failure, not a silent death"""
    reader, writer = os.pipe()
    os.close(reader)
    r = box.run('help', '--json', stdout=writer)
    os.close(writer)
    assert r.code == 1 and 'Broken pipe' in r.err
    reader, writer = os.pipe()
    os.close(reader)
    r = box.run('bakcup', stderr=writer)
    os.close(writer)
    assert r.code == 2


def test_error_on_full_stdout_as_json(box):
    with open('/dev/full', 'wb') as full:
        r = box.run('help', '--json', stdout=full)
    e = r.json_error()
    assert (r.code, e['exit'], e['command']) == (1, 1, 'help')


def test_signals_that_do_nothing(box):
    """SIGUSR1 asks for progress and never kills"""
    child = box.start('--password-command',
                      'kill -USR1 $PPID; sleep 0.1; echo x', 'list', '-r',
                      box.repository())
    _, err = child.communicate(timeout=180)
    assert child.returncode == 12, err


def test_nohup(box):
    """A SIGHUP that was ignored stays ignored"""
    repo = box.repository()
    child = subprocess.run(
        ['sh', '-c', 'trap "" HUP; exec "$0" list -r "$1" --password-command '
         '"kill -HUP \\$PPID; echo x"', os.environ['VMKEEP'], repo],
        env=box.env, stderr=subprocess.PIPE, check=False, timeout=180)
    assert child.returncode == 12, (child.returncode, child.stderr)
    child = subprocess.run(
        ['sh', '-c', 'exec "$0" list -r "$1" --password-command '
         '"kill -HUP \\$PPID; echo x"', os.environ['VMKEEP'], repo],
        env=box.env, stderr=subprocess.PIPE, check=False, timeout=180)
    assert child.returncode == 130


def test_interrupted(box):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        child = box.start('init', 'repo', '--password-command',
                          f'kill -{number.value} $PPID; sleep 5')
        _, err = child.communicate(timeout=180)
        assert child.returncode == 130, (number, child.returncode)
        matches('vmkeep: interrupted\n$', err.decode())
        assert not os.path.exists(box.path('repo'))


def test_no_escapes_without_a_terminal(box):
    box.repository()
    for args in (['help'], ['machines'], ['list']):
        assert '\x1b' not in box.run(*args).out, args


def test_quiet(box):
    box.repository()
    r = box.run('-q', 'list')
    assert (r.code, r.out, r.err) == (0, '', '')


main()

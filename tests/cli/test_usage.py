#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the program says of itself, and of command lines that make no sense."""
import os

from harness import main, matches

HERE = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(HERE, '..', '..', 'docs', 'man', 'vmkeep.1.scd')


def everything(box):
    return box.run('help', '--json').json()


def test_alone(box):
    """vmkeep alone says what it is and what to do first"""
    r = box.run()
    assert (r.code, r.err) == (0, '')
    for word in ('vmkeep init', 'vmkeep machines', 'vmkeep backup',
                 'vmkeep restore', 'exit-codes'):
        assert word in r.out, word
    assert box.run('--help').out == r.out
    assert box.run('help').out == r.out


def test_version(box):
    r = box.run('--version')
    assert (r.code, r.err) == (0, '')
    matches(r'^vmkeep \d+\.\d+\.\d+\n$', r.out)
    version = box.run('--version', '--json').json()['version']
    assert r.out == f'vmkeep {version}\n'


def test_each_command_explains_itself(box):
    for c in everything(box)['commands']:
        by_option = box.run(c['name'], '--help')
        by_topic = box.run('help', c['name'])
        assert (by_option.code, by_option.err) == (0, ''), c['name']
        assert by_option.out == by_topic.out, c['name']
        assert f'usage: vmkeep {c["name"]}' in by_option.out
        assert 'Examples:' in by_option.out, c['name']
        for o in c['options']:
            assert '--' + o['name'] in by_option.out, o
        assert all(len(line) < 80 for line in by_option.out.splitlines())


def test_help_before_the_command(box):
    """--help may stand before the command"""
    assert box.run('--help', 'backup').out == box.run('help', 'backup').out


def test_topics(box):
    for topic in ('repository', 'password', 'names', 'exit-codes'):
        r = box.run('help', topic)
        assert r.code == 0 and r.out.startswith(topic), topic
    r = box.run('help', 'exit-codes')
    for row in everything(box)['exit_codes']:
        matches(rf'(?m)^ *{row["exit"]}  {row["meaning"]}$', r.out)


def test_help_on_nothing(box):
    r = box.run('help', 'exit-code')
    assert r.code == 2 and 'help exit-codes' in r.err
    r = box.run('help', 'bakcup')
    assert r.code == 2 and 'help backup' in r.err


def test_unknown_command(box):
    r = box.run('bakcup')
    assert (r.code, r.out) == (2, '')
    assert r.err == ("vmkeep: there is no command 'bakcup'; did you mean "
                     "`vmkeep backup`?\n")
    assert 'vmkeep list' in box.run('snapshots').err
    assert box.run('xyzzyxyzzy').code == 2


def test_unknown_option(box):
    r = box.run('backup', '--metod', 'live', 'x')
    assert (r.code, r.out) == (2, '')
    assert r.err == ('vmkeep: backup: there is no option --metod; did you '
                     'mean --method?\n')
    r = box.run('list', '-Z')
    assert r.code == 2 and 'no option -Z' in r.err


def test_wrong_operands(box):
    for args, word in ((['show'], 'BACKUP'), (['show', 'a', 'b'], "'b'"),
                       (['restore', 'latest'], '--to DIR'),
                       (['restore', 'latest', '--to', ''], '--to DIR'),
                       (['restore', '--to', 'x'], 'BACKUP'),
                       (['backup'], '--all'),
                       (['backup', 'x', '--all'], 'exclude'),
                       (['backup', '--qmp', 'x', '--all'], 'exclude'),
                       (['backup', 'x', '--method', 'magic'], 'magic'),
                       (['backup', 'x', '--max-pause', '1s'], '1s'),
                       (['backup', 'x', '--max-pause', '0'], '0'),
                       (['backup', 'x', '--method', 'savevm', '--max-pause',
                         '9'], 'not for savevm'),
                       (['backup', 'x', '--freeze-timeout', '-1'], '-1'),
                       (['backup', '--all', '--agent', 'x'], 'one machine'),
                       (['backup', '--all', '--allow', 'disk,x'], 'no method x'),
                       (['backup', '--all', '--parallel', '0'], 'parallel'),
                       (['backup', '--all', '--parallel', '65'], '1 to 64'),
                       (['restore', 'a', '--to', 'x', '--format', 'vmdk'],
                        'vmdk')):
        r = box.run(*args)
        assert (r.code, r.out) == (2, ''), (args, r.code)
        assert word in r.err and r.err.startswith(f'vmkeep: {args[0]}: '), r.err
        assert r.err.count('\n') == 1, r.err


def test_config_is_refused(box):
    r = box.run('--config', '/etc/vmkeep.conf', 'machines')
    assert r.code == 2 and '--config' in r.err and r.out == ''


def test_usage_errors_as_json(box):
    """Errors in the command line are JSON too, wherever --json stands"""
    for args in (['--json', 'bakcup'], ['bakcup', '--json'],
                 ['list', '--jso=x', '--json'], ['show', '--json'],
                 ['restore', 'latest', '--json', '--to']):
        r = box.run(*args)
        assert (r.code, r.out) == (2, ''), args
        assert r.json_error()['code'] == 'usage'
    assert box.run('show', '--json').json_error()['command'] == 'show'


def test_a_password_is_no_option(box):
    """A password given as an option is refused and not repeated"""
    r = box.run('list', '--password=hunter2')
    assert r.code == 2
    assert 'hunter2' not in r.err and 'help password' in r.err


def test_terminal_escapes_do_not_pass(box):
    r = box.run('\x1b[2J')
    assert r.code == 2 and '\x1b' not in r.err and '\\x1b[2J' in r.err
    r = box.run('show', '\x1b[2J', env={'VMKEEP_REPOSITORY': '/\x1b]0;x'})
    assert r.code == 10 and '\x1b' not in r.err


def test_option_letters_are_distinct(box):
    """No option of a command has a name or letter of a global one"""
    table = everything(box)
    for c in table['commands']:
        options = table['options'] + c['options']
        names = [o['name'] for o in options]
        letters = [o['letter'] for o in options if 'letter' in o]
        assert len(set(names)) == len(names), c['name']
        assert len(set(letters)) == len(letters), c['name']


def test_the_man_page_is_complete(box):
    """The man page has every command, option and exit code"""
    with open(PAGE, encoding='utf-8') as f:
        page = f.read().replace('\\', '')
    table = everything(box)
    for c in table['commands']:
        assert f'*{c["name"]}*' in page, c['name']
        for o in c['options']:
            assert f'*--{o["name"]}*' in page, o['name']
    for o in table['options']:
        assert f'*--{o["name"]}*' in page, o['name']
    for row in table['exit_codes']:
        matches(rf'(?m)^\*{row["exit"]}\*$', page)
        assert row['meaning'].lower() in page.lower(), row


main()

# SPDX-License-Identifier: Apache-2.0
"""Runs the program as a user or a script would; speaks TAP.

Each test is a function whose name starts with test_; its first line of
documentation, or its name, is what TAP calls it.  It gets a Box: an empty
folder of its own and an environment without anything of the caller's.
An argument runs only the tests with that in their names.
"""
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

VMKEEP = os.environ['VMKEEP']
PASSWORD = 'correct horse'
PATIENCE_S = 180  # after that something hangs

# A shell ignores it for what it starts in the background, and that is inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Skip(Exception):
    """Raised by a test that cannot run here, with the reason."""


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def json(self):
        return json.loads(self.out)

    def json_lines(self):
        return [json.loads(line) for line in self.out.splitlines()]

    def json_error(self):
        """The one error object on stderr, its shape checked."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        e = json.loads(lines[0])
        assert e['type'] == 'error', e
        assert e['exit'] == self.code, (e, self.code)
        assert isinstance(e['code'], str) and isinstance(e['message'], str), e
        return e


class Box:
    """Where one test lives."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='vmkeep-cli-')
        self.env = {'PATH': os.environ['PATH'], 'LC_ALL': 'C.UTF-8',
                    'TZ': 'UTC', 'HOME': self.dir,
                    'VMKEEP_PBKDF_MEMORY': '1M',  # the password is no secret
                    'VMKEEP_RUNTIME_DIR': os.path.join(self.dir, 'run')}
        for name in ('ASAN_OPTIONS', 'UBSAN_OPTIONS', 'TSAN_OPTIONS'):
            if name in os.environ:
                self.env[name] = os.environ[name]
        self.children = []

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        with open(self.path(name), 'w', encoding='utf-8') as f:
            f.write(text)
        return self.path(name)

    def start(self, *args, env=None, **how):
        """A vmkeep without a terminal, for the test to talk to."""
        how.setdefault('stdin', subprocess.DEVNULL)
        how.setdefault('stdout', subprocess.PIPE)
        how.setdefault('stderr', subprocess.PIPE)
        child = subprocess.Popen([VMKEEP, *args],
                                 env={**self.env, **(env or {})},
                                 cwd=self.dir, start_new_session=True, **how)
        self.children.append(child)
        return child

    def run(self, *args, **how):
        """A whole run: exit code, stdout, stderr."""
        child = self.start(*args, **how)
        out, err = child.communicate(timeout=PATIENCE_S)
        return Result(child.returncode, (out or b'').decode(),
                      (err or b'').decode())

    def repository(self):
        """A new one, which the environment then names and opens."""
        repo = self.path('repo')
        self.env['VMKEEP_PASSWORD'] = PASSWORD
        r = self.run('init', repo)
        assert r.code == 0, r.err
        self.env['VMKEEP_REPOSITORY'] = repo
        return repo

    def close(self):
        for child in self.children:
            try:
                os.killpg(child.pid, signal.SIGKILL)  # its own group
            except ProcessLookupError:
                pass
            child.communicate()
        shutil.rmtree(self.dir, ignore_errors=True)


class Machine:
    """A QEMU without a system in it: its firmware finds nothing to boot.

    Its disk is a qcow2 image that starts with `data`; without that, a raw one
    full of random bytes.
    """

    PROGRAM = 'qemu-system-x86_64'

    def __init__(self, box, name, *args, qmp=True, disk_mib=0, data=b''):
        for program in (self.PROGRAM, 'qemu-img'):
            if not shutil.which(program):
                raise Skip(f'{program} is not installed')
        self.name, self.socket = name, box.path(f'{len(box.children)}.qmp')
        argv = [self.PROGRAM, '-name', name, '-machine', 'pc', '-m', '32',
                '-accel', 'tcg', '-nodefaults', '-display', 'none', *args]
        if qmp:
            argv += ['-qmp', f'unix:{self.socket},server=on,wait=off']
        if disk_mib:
            argv += self.disk(box, disk_mib, data)
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, cwd=box.dir, start_new_session=True)
        box.children.append(self.process)
        self.pid = self.process.pid
        if qmp:
            wait_for(lambda: os.path.exists(self.socket) or self.has_ended(),
                     f'the monitor of {name}')
        else:
            wait_for(self.is_qemu, name)

    def disk(self, box, mib, data):
        image = box.path(f'{len(box.children)}.disk')
        kind = 'raw'
        with open(image, 'wb') as f:
            f.write(data or b'')
            for _ in range(0 if data else mib):
                f.write(os.urandom(1 << 20))
            f.truncate(mib << 20)
        if data:
            kind = 'qcow2'
            subprocess.run(['qemu-img', 'convert', '-O', kind, image,
                            image + '.' + kind],
                           check=True, timeout=PATIENCE_S)
            image += '.' + kind
        return ['-drive', f'file={image},if=none,id=vda,format={kind}',
                '-device', 'virtio-blk-pci,drive=vda,id=vda']

    def has_ended(self):
        if self.process.poll() is None:
            return False
        raise AssertionError(self.process.stderr.read().decode())

    def is_qemu(self):
        self.has_ended()
        with open(f'/proc/{self.process.pid}/comm', encoding='utf-8') as f:
            return f.read().startswith('qemu-system')

    def connect(self):
        s = socket.socket(socket.AF_UNIX)
        # QEMU's socket has its name a moment before it listens.
        wait_for(lambda: s.connect_ex(self.socket) == 0 or self.has_ended(),
                 f'the monitor of {self.name}')
        return s

    def status(self):
        """Its run state, by a monitor of our own for a moment."""
        with self.connect() as s, s.makefile('rw') as f:
            f.readline()
            f.write('{"execute":"qmp_capabilities"}'
                    '{"execute":"query-status"}\n')
            f.flush()
            f.readline()
            return json.loads(f.readline())['return']['status']


class Terminal:
    """A vmkeep on a terminal of its own."""

    def __init__(self, box, *args, env=None, columns=80):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(box.dir)
                os.execve(VMKEEP, [VMKEEP, *args],
                          {**box.env, 'TERM': 'xterm', **(env or {})})
            finally:
                os._exit(99)
        self.seen = ''
        self.code = None
        self.resize(columns)

    def resize(self, columns):
        import fcntl
        import struct
        import termios
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ,
                    struct.pack('HHHH', 25, columns, 0, 0))

    def echoes(self):
        import termios
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def read(self):
        """Some more of what it shows; False at its end."""
        ready, _, _ = select.select([self.fd], [], [], PATIENCE_S)
        assert ready, f'silent after: {self.seen!r}'
        try:
            data = os.read(self.fd, 4096)
        except OSError:
            return False
        self.seen += data.decode()
        return bool(data)

    def expect(self, text):
        """Waits for the text and forgets all up to it."""
        while text not in self.seen:
            assert self.read(), f'ended without {text!r}: {self.seen!r}'
        self.seen = self.seen.partition(text)[2]

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        """Waits for its end; the exit code."""
        while self.read():
            pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        self.code = os.waitstatus_to_exitcode(status)
        return self.code


def wait_for(condition, what):
    """Until it holds; a hang is a failure, how long it takes is not."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f'never: {what}'
        time.sleep(0.02)


def under_way(box, *args, reading=False):
    """A long command that has begun, or has read something: it, and what it
    answered to SIGUSR1."""
    # Once it asks for the password, no signal kills it unseen any more.
    child = box.start(*args, '--json', '--no-progress', '--password-command',
                      f'echo ready >&2; echo {PASSWORD}')
    assert child.stderr.readline() == b'ready\n'
    while True:
        child.send_signal(signal.SIGUSR1)
        ready, _, _ = select.select([child.stdout], [], [], 0.002)
        if ready:
            line = os.read(child.stdout.fileno(), 65536)
            assert line, child.stderr.read()
            p = json.loads(line.splitlines()[0])
            if p['done_bytes'] > 0 or not reading:
                return child, p


def matches(pattern, text):
    assert re.search(pattern, text), f'no {pattern!r} in {text!r}'


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored
    module = sys.modules['__main__']
    tests = [f for name, f in vars(module).items() if name.startswith('test_')
             and (len(sys.argv) < 2 or sys.argv[1] in name)]
    failed = 0
    print(f'1..{len(tests)}')
    for number, test in enumerate(tests, 1):
        title = (test.__doc__ or test.__name__[5:].replace('_', ' ')).splitlines()[0].rstrip('.')
        title = title.replace('#', 'no.')
        box = Box()
        try:
            test(box)
            print(f'ok {number} - {title}')
        except Skip as why:
            print(f'ok {number} - {title} # SKIP {why}')
        except Exception:  # whatever it is: this test failed
            failed += 1
            print(f'not ok {number} - {title}')
            for line in traceback.format_exc().splitlines():
                print(f'# {line}')
        finally:
            box.close()
        sys.stdout.flush()
    sys.exit(failed > 0)

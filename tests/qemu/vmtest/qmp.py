# SPDX-License-Identifier: Apache-2.0
"""A client of QEMU's monitor."""

import json
import socket
import time

from vmtest.process import Timeout


class QmpError(Exception):
    """QEMU refused a command; `kind` is its error class."""

    def __init__(self, command, error):
        super().__init__(f'{command}: {error.get("desc")}')
        self.kind = error.get('class')
        self.desc = error.get('desc')


class Qmp:
    """One connection.  A monitor serves one at a time: close it before another
    program is to use it."""

    def __init__(self, path, timeout=300):
        self.sock = socket.socket(socket.AF_UNIX)
        self.timeout = timeout
        self.buffer = b''
        self.events = []  # dicts, oldest first
        self.sock.settimeout(timeout)
        self.sock.connect(path)
        while 'event' in (greeting := self._message()):
            self.events.append(greeting)  # QEMU may be so early with it
        self.version = greeting['QMP']['version']['qemu']
        self.run('qmp_capabilities')

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _message(self, timeout=None):
        end = time.monotonic() + (timeout or self.timeout)
        while b'\n' not in self.buffer:
            left = end - time.monotonic()
            if left <= 0:
                raise Timeout('the monitor says nothing')
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(1 << 20)
            except socket.timeout as e:
                raise Timeout('the monitor says nothing') from e
            if not data:
                raise EOFError('QEMU closed the monitor')
            self.buffer += data
        line, self.buffer = self.buffer.split(b'\n', 1)
        return json.loads(line)

    def run(self, command, args=None, fd=None, timeout=None, **more):
        """Its "return".  Arguments: a dict, or names with _ for -."""
        arguments = dict(args or {})
        arguments.update({k.replace('_', '-'): v for k, v in more.items()})
        data = json.dumps({'execute': command,
                           'arguments': arguments}).encode() + b'\n'
        if fd is None:
            self.sock.sendall(data)
        else:
            socket.send_fds(self.sock, [data], [fd])
        while True:
            reply = self._message(timeout)
            if 'event' in reply:
                self.events.append(reply)
            elif 'error' in reply:
                raise QmpError(command, reply['error'])
            elif 'return' in reply:
                return reply['return']

    def hmp(self, line):
        """A command of the human monitor; what it prints."""
        return self.run('human-monitor-command', command_line=line)

    def wait_event(self, name, timeout=300):
        """The oldest kept or next event of that name; it is then forgotten."""
        end = time.monotonic() + timeout
        while True:
            for event in self.events:
                if event['event'] == name:
                    self.events.remove(event)
                    return event
            left = end - time.monotonic()
            if left <= 0:
                raise Timeout(f'no event {name} within {timeout} s')
            reply = self._message(left)
            if 'event' in reply:
                self.events.append(reply)

    def wait_migration(self, timeout=300):
        """Until it has ended, well or not; the reply of query-migrate."""
        end = time.monotonic() + timeout
        while True:
            state = self.run('query-migrate')
            if state.get('status') in ('completed', 'failed', 'cancelled'):
                return state
            if time.monotonic() > end:
                raise Timeout(f'the migration is still {state.get("status")}')
            time.sleep(0.01)

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""SFTP version 3 on a TCP port, in memory, which behaves or misbehaves.

usage: sftpserver.py

Says "ready PORT" and serves until its standard input ends.  A connection first
says a line, NAME or NAME-xN: what is in MISBEHAVIOURS under NAME goes wrong for
ever, or the first N times; each such line has a world of its own.  It has the
folder /r with r/a/one (100,000 bytes) and r/a/two.  In the world of few-N a
connection beyond N is ended, in that of few-N-hang it is told nothing;
r/most has as many bytes as there were others at a time, r/refused as such.
"""
import contextlib
import os
import re
import socketserver
import stat
import struct
import sys
import threading
import time

ONE = bytes((i * 7 + i // 256) % 256 for i in range(100000))
INIT, VERSION, OPEN, CLOSE, READ, WRITE, LSTAT, FSTAT = range(1, 9)
FSETSTAT, OPENDIR, READDIR, REMOVE, MKDIR, RENAME = 10, 11, 12, 13, 14, 18
STATUS, HANDLE, DATA, NAME, ATTRS, EXTENDED = 101, 102, 103, 104, 105, 200
OK, EOF, NO_FILE, DENIED, FAILURE, UNSUPPORTED = 0, 1, 2, 3, 4, 8
PATIENCE_S = 20


def u32(v):
    return struct.pack('>I', v)


def text(s):
    return u32(len(s)) + s


def attrs(data, when=1795341600):
    """Of a file's bytes, or with None of a folder."""
    mode = stat.S_IFDIR | 0o700 if data is None else stat.S_IFREG | 0o600
    return struct.pack('>IQIII', 1 | 4 | 8, len(data or b''), mode, when, when)


class World:
    def __init__(self, line):
        match = re.fullmatch(r'(.*?)(?:-x(\d+))?', line)
        self.name, self.lock = match[1], threading.RLock()
        self.left = int(match[2]) if match[2] else None
        self.folders = {'', '/r', '/r/a'}
        self.files = {'/r/a/one': bytearray(ONE), '/r/a/two': bytearray(b'two')}
        self.connections, self.most, self.refused = 0, bytearray(), bytearray()
        self.few = re.fullmatch(r'few-(\d+)(-hang)?', self.name)
        if self.few:
            self.files['/r/most'] = self.most
            self.files['/r/refused'] = self.refused

    @contextlib.contextmanager
    def connection(self):
        """Is it one too many?"""
        with self.lock:
            self.connections += 1
            too_many = self.few and self.connections > int(self.few[1])
            if too_many:
                self.refused.append(0)
            else:
                self.most.extend(bytes(max(
                    0, self.connections - len(self.most))))
        try:
            yield too_many
        finally:
            with self.lock:
                self.connections -= 1

    def misbehaves(self):
        if self.left is None:
            return True
        self.left -= 1
        return self.left >= 0


WORLDS, LOCK = {}, threading.Lock()


class End(Exception):
    pass


class Session(socketserver.StreamRequestHandler):
    timeout = PATIENCE_S

    def handle(self):
        line = self.rfile.readline().decode().strip()
        with LOCK:
            self.world = WORLDS.setdefault(line, World(line))
        self.handles, self.number = {}, 0
        with self.world.connection() as too_many:
            try:
                if too_many and self.world.few[2]:
                    hangs(self, INIT)
                while not too_many:
                    self.one()
            except (End, OSError, struct.error):
                pass

    def one(self):
        head = self.rfile.read(4)
        if len(head) < 4:
            raise End
        body = self.rfile.read(struct.unpack('>I', head)[0])
        kind, self.id = struct.unpack('>BI', body[:5])
        self.body, self.at = body, 5
        with self.world.lock:
            wrong, act = MISBEHAVIOURS.get(self.world.name, (None, None))
            wrongs = wrong if isinstance(wrong, tuple) else (wrong,)
            if kind in wrongs and self.world.misbehaves():
                act(self, kind)
            else:
                self.serve(kind)

    # ---- packets

    def take(self):
        n, = struct.unpack_from('>I', self.body, self.at)
        self.at += 4 + n
        return self.body[self.at - n:self.at]

    def number_of(self, form):
        v, = struct.unpack_from(form, self.body, self.at)
        self.at += struct.calcsize(form)
        return v

    def path(self):
        p = self.take().decode()
        return re.sub(r'/\.$|/$', '', p)

    def raw(self, data):
        self.wfile.write(data)

    def packet(self, kind, body, number=None):
        number = self.id if number is None else number
        self.raw(text(struct.pack('>BI', kind, number) + body))

    def status(self, code, message=b'because'):
        self.packet(STATUS, u32(code) + text(message) + text(b'en'))

    # ---- a server that behaves

    def serve(self, kind):
        if kind == INIT:
            self.raw(text(struct.pack('>BI', VERSION, 3) +
                          text(b'fsync@openssh.com') + text(b'1')))
            return
        getattr(self, f'do_{kind}')()

    def new_handle(self, value):
        self.number += 1
        handle = b'h%d' % self.number
        self.handles[handle] = value
        self.packet(HANDLE, text(handle))

    def do_3(self):  # OPEN
        path, flags = self.path(), self.number_of('>I')
        w = self.world
        parent = path.rpartition('/')[0]
        if flags & 8 and (path in w.files or parent not in w.folders):
            self.status(FAILURE if path in w.files else NO_FILE)
            return
        if flags & 8:
            w.files[path] = bytearray()
        if path not in w.files:
            self.status(NO_FILE)
            return
        self.new_handle(w.files[path])

    def do_4(self):  # CLOSE
        self.handles.pop(self.take(), None)
        self.status(OK)

    def do_5(self):  # READ
        data = self.handles[self.take()]
        at, n = self.number_of('>Q'), self.number_of('>I')
        if at >= len(data):
            self.status(EOF)
        else:
            self.packet(DATA, text(bytes(data[at:at + n])))

    def do_6(self):  # WRITE
        data = self.handles[self.take()]
        at, what = self.number_of('>Q'), self.take()
        data[at:at + len(what)] = what
        self.status(OK)

    def do_7(self):  # LSTAT
        path, w = self.path(), self.world
        if path in w.files:
            self.packet(ATTRS, attrs(w.files[path]))
        elif path in w.folders:
            self.packet(ATTRS, attrs(None))
        else:
            self.status(NO_FILE)

    def do_8(self):  # FSTAT
        self.packet(ATTRS, attrs(self.handles[self.take()]))

    def do_10(self):  # FSETSTAT
        self.status(OK)

    def names(self, folder):
        w = self.world
        for p in sorted(w.folders | set(w.files)):
            parent, _, name = p.rpartition('/')
            if parent == folder and name:
                yield name.encode(), attrs(w.files.get(p))

    def do_11(self):  # OPENDIR
        path = self.path()
        if path not in self.world.folders:
            self.status(NO_FILE)
        else:
            self.new_handle(list(self.names(path)))

    def do_12(self):  # READDIR
        left = self.handles[self.take()]
        if not left:
            self.status(EOF)
            return
        self.send_names(left[:2])
        del left[:2]

    def send_names(self, names):
        self.packet(NAME, u32(len(names)) + b''.join(
            text(n) + text(b'-rw') + a for n, a in names))

    def do_13(self):  # REMOVE
        gone = self.world.files.pop(self.path(), None)
        self.status(NO_FILE if gone is None else OK)

    def do_14(self):  # MKDIR
        path, w = self.path(), self.world
        if path in w.folders or path.rpartition('/')[0] not in w.folders:
            self.status(FAILURE)
        else:
            w.folders.add(path)
            self.status(OK)

    def do_18(self):  # RENAME
        a, b, w = self.path(), self.path(), self.world
        if a not in w.files or b.rpartition('/')[0] not in w.folders:
            self.status(NO_FILE)
        elif b in w.files:
            self.status(FAILURE)
        else:
            w.files[b] = w.files.pop(a)
            self.status(OK)

    def do_200(self):  # EXTENDED
        self.status(OK)


# ---- how it goes wrong ------------------------------------------------------

def ends(s, _):
    raise End


def status(code, message=b'because'):
    return lambda s, _: s.status(code, message)


def packet(kind, body):
    return lambda s, _: s.packet(kind, body)


def raw(data):
    def act(s, _):
        s.raw(data)
        raise End
    return act


def stalls(s, _):
    time.sleep(3)
    raise End


def hangs(s, _):
    time.sleep(600)
    raise End


def endless(data):
    def act(s, _):
        for _ in range(20000):
            s.raw(data)
        raise End
    return act


def other_id(s, kind):
    s.id += 1000
    s.serve(kind)


def twice(s, kind):
    at = s.at
    s.serve(kind)
    s.at = at
    s.serve(kind)


def lost(s, kind):
    """Done, but nobody is told."""
    real, s.wfile = s.wfile, open(os.devnull, 'wb')
    s.serve(kind)
    s.wfile = real
    raise End


def replaced(s, _):
    """Another host's object of this name comes first, and the reply is lost."""
    _, to = s.path(), s.path()
    s.world.folders.add(to.rpartition('/')[0])
    s.world.files[to] = bytearray(b'other')
    raise End


def short_reads(s, _):
    data = s.handles[s.take()]
    at, n = s.number_of('>Q'), s.number_of('>I')
    s.packet(DATA, text(bytes(data[at:at + max(1, n // 3)])))


def long_read(s, _):
    s.take()
    s.number_of('>Q')
    s.packet(DATA, text(b'x' * (s.number_of('>I') + 1)))


def names(*entries):
    return lambda s, _: s.send_names([(n, attrs(b'x')) for n in entries])


def listed_once(*entries):
    def act(s, _):
        left = s.handles[s.take()]
        if not left:
            s.status(EOF)
            return
        left.clear()
        s.send_names(list(entries))
    return act


BARE = u32(0)
FIFO = struct.pack('>II', 4, stat.S_IFIFO)
MISBEHAVIOURS = {
    # connections
    'init-ends': (INIT, ends),
    'init-stalls': (INIT, stalls),
    'init-garbage': (INIT, raw(b'Welcome to this host!\r\n')),
    'init-huge': (INIT, raw(u32(0xffffffff) + b'x' * 100)),
    'init-tiny': (INIT, raw(u32(1) + b'\x02')),
    'init-version-2': (INIT, raw(text(struct.pack('>BI', VERSION, 2)))),
    'init-version-6': (INIT, raw(text(struct.pack('>BI', 99, 6)))),
    'init-extension-cut': (INIT, raw(text(struct.pack('>BI', VERSION, 3) +
                                          u32(50) + b'x'))),
    'open-ends': (OPEN, ends),
    'open-stalls': (OPEN, stalls),
    'open-hangs': (OPEN, hangs),
    'open-other-id': (OPEN, other_id),
    'open-twice': (OPEN, twice),
    'open-denied': (OPEN, status(DENIED)),
    'open-ok-without-handle': (OPEN, status(OK)),
    'open-long-handle': (OPEN, packet(HANDLE, text(b'h' * 257))),
    'open-handle-cut': (OPEN, packet(HANDLE, u32(100) + b'h')),
    'open-data': (OPEN, packet(DATA, text(b'h'))),
    'open-status-cut': (OPEN, packet(STATUS, b'\0')),
    'open-status-huge': (OPEN, packet(STATUS, b'\xff' * 4)),
    'open-escape': (OPEN, status(FAILURE, b'\x1b[31mred\n' + b'x' * 5000)),
    # reading
    'read-ends': (READ, ends),
    'read-short': (READ, short_reads),
    'read-too-long': (READ, long_read),
    'read-empty': (READ, packet(DATA, text(b''))),
    'read-cut': (READ, packet(DATA, u32(1000) + b'x')),
    'read-early-end': (READ, status(EOF)),
    'read-fails': (READ, status(FAILURE)),
    'read-other-id': (READ, other_id),
    'read-twice': (READ, twice),
    'read-endless': (READ, endless(b'\0\0\xff\xff' + b'x' * 65535)),
    'fstat-no-size': (FSTAT, packet(ATTRS, BARE)),
    'fstat-huge': (FSTAT, packet(ATTRS, struct.pack('>IQ', 1, 2**63))),
    'fstat-cut': (FSTAT, packet(ATTRS, u32(15))),
    'fstat-extended': (FSTAT, packet(ATTRS, u32(1 << 31) + u32(2**32 - 1))),
    'fstat-ends': (FSTAT, ends),
    'lstat-bare': (LSTAT, packet(ATTRS, BARE)),
    'lstat-fifo': (LSTAT, packet(ATTRS, FIFO)),
    'lstat-denied': (LSTAT, status(DENIED)),
    # writing
    'write-fails': (WRITE, status(FAILURE, b'No space left')),
    'write-ends': (WRITE, ends),
    'write-other-id': (WRITE, other_id),
    'write-handle': (WRITE, packet(HANDLE, text(b'h'))),
    'sync-fails': (EXTENDED, status(FAILURE)),
    'sync-ends': (EXTENDED, ends),
    'rename-lost': (RENAME, lost),
    'rename-not-done': (RENAME, ends),
    'rename-fails': (RENAME, status(FAILURE)),
    'rename-unsupported': (RENAME, status(UNSUPPORTED)),
    'rename-overtaken': (RENAME, replaced),
    # removing
    'remove-denied': (REMOVE, status(DENIED)),
    'remove-lost': (REMOVE, lost),
    'remove-fails': (REMOVE, status(FAILURE)),
    # listing
    'list-ends': (READDIR, ends),
    'list-denied': (READDIR, status(DENIED)),
    'list-status-ok': (READDIR, status(OK)),
    'list-huge-count': (READDIR, packet(NAME, u32(2**32 - 1))),
    'list-cut': (READDIR, packet(NAME, u32(5) + text(b'one'))),
    'list-empty-for-ever': (READDIR, packet(NAME, u32(0))),
    'list-not-ours': (READDIR, listed_once(
        (b'.', attrs(None)), (b'..', attrs(None)), (b'../x', attrs(b'1')),
        (b'a/b', attrs(b'1')), (b'A', attrs(b'1')), (b'n\0x', attrs(b'1')),
        (b'\xff', attrs(b'1')), (b'one', attrs(b'1')),
        (b'two', attrs(b'1')))),
    'list-without-attributes': (READDIR, listed_once(
        (b'one', BARE), (b'two', BARE), (b'gone', BARE))),
    'list-fifo': (READDIR, listed_once((b'one', FIFO + b''),
                                       (b'two', attrs(b'1')))),
}


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, *_):
        pass


def main():
    server = Server(('127.0.0.1', 0), Session)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f'ready {server.server_address[1]}', flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == '__main__':
    main()

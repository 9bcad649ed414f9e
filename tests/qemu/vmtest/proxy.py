# SPDX-License-Identifier: Apache-2.0
"""A monitor between vmkeep and QEMU, which counts commands and can act on them."""

import array
import contextlib
import json
import os
import socket
import threading

_FDS = socket.CMSG_SPACE(8 * array.array('i').itemsize)


def _receive(sock):
    data, control, _, _ = sock.recvmsg(1 << 16, _FDS)
    fds = array.array('i')
    for level, kind, raw in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(raw[:len(raw) - len(raw) % fds.itemsize])
    return data, list(fds)


def _close(fds):
    for fd in fds:
        os.close(fd)


def _send(sock, data, fds):
    if fds:
        sent = sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                      array.array('i', fds))])
        data = data[sent:]
        _close(fds)
    sock.sendall(data)


def _split(held):
    """The first command of the bytes, or b'', and the rest.  Commands are JSON
    without anything between them; 0xFF, which is none, resynchronises QEMU, also
    in the midst of one."""
    end = held.find(b'\xff') + 1
    if end:
        return held[:end], held[end:]
    try:
        text = held.decode()
        _, end = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return b'', held
    size = len(text[:end].encode())
    return held[:size], held[size:]


class Proxy:
    """Listens at `path` and hands everything on to the monitor at `target`, for
    one client after the other.

    on_command(number, line) is called for each command of a client, counted
    from 1 over all clients, before it is handed on; if it returns False, the
    command is swallowed.  on_reply(line) is called for each line of QEMU's and
    returns the bytes to hand on in its place, or None for the line itself."""

    def __init__(self, path, target, on_command=None, on_reply=None):
        self.path = path
        self._target = target
        self.on_command = on_command
        self.on_reply = on_reply
        self.count = 0
        self.lines = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(8)
        self._open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._target)
            except OSError:  # QEMU is gone
                client.close()
                continue
            self._open += [client, server]
            down = threading.Thread(target=self._down, args=(server, client),
                                    daemon=True)
            down.start()
            self._up(client, server)
            down.join()

    def _up(self, client, server):
        held, fds = b'', []
        try:
            while True:
                data, more = _receive(client)
                if not data:
                    break
                held, fds = held + data, fds + more
                while held:
                    command, held = _split(held)
                    if not command:
                        break
                    if not command.endswith(b'\xff'):
                        self.count += 1
                        self.lines.append(command)
                    if (command.endswith(b'\xff') or
                            self.on_command is None or
                            self.on_command(self.count, command) is not False):
                        _send(server, command, fds)
                    else:
                        _close(fds)
                    fds = []
        except OSError:
            pass
        try:
            server.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _replied(self, line):
        instead = self.on_reply(line)
        return line if instead is None else instead

    def _down(self, server, client):
        held = b''
        try:
            while True:
                data = server.recv(1 << 16)
                if not data:
                    break
                if self.on_reply:
                    *lines, held = (held + data).split(b'\n')
                    data = b''.join(self._replied(x + b'\n') for x in lines)
                client.sendall(data)
        except OSError:
            pass
        try:
            client.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def cut(self):
        """End the connections there are; new ones are served."""
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self):
        for sock in [self._listener, *self._open]:
            # A thread that still reads would keep the connection alive.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)  # QEMU removes what has its socket's name

# SPDX-License-Identifier: Apache-2.0
"""A guest with qemu-ga in it, and what can be between that and vmkeep."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time

from vmtest.guest import CALM, guest_files


def agent_says(path, command):
    """What the guest's own agent answers."""
    with socket.socket(socket.AF_UNIX) as s, s.makefile('rb') as f:
        s.settimeout(180)
        s.connect(path)
        s.sendall(b'\xff{"execute":"guest-sync-delimited","arguments":{"id":7}}'
                  b'\n')
        while b'7' not in f.readline():
            pass
        s.sendall(json.dumps({'execute': command}).encode() + b'\n')
        return json.loads(f.readline())['return']


class SilentAgent:
    """A socket that takes everything and answers nothing."""

    def __init__(self, path):
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            client, _ = self.listener.accept()
            while client.recv(4096):
                pass


def guest_with_agent(t, extra=()):
    """ext4 in the first half of its disk, qemu-ga on its port."""
    disk = t.disk('v.raw', '128M')
    subprocess.run(['mke2fs', '-q', '-t', 'ext4', '-b', '4096', disk.path,
                    '64M'], check=True)
    files = guest_files('', t.folder)
    with open(t.path('initrd'), 'wb') as out:
        for name in ('initrd', 'agent'):
            with open(f'{files}/{name}', 'rb') as f:
                shutil.copyfileobj(f, out)
    return t.guest(
        disks=[disk], memory_mib=256, name='agent',
        # What waits for a thaw is no trouble.
        append=f'witness.ram=8 {CALM} rdinit=/init-agent '
               'sysctl.kernel.hung_task_timeout_secs=0',
        extra=['-initrd', t.path('initrd'), '-device', 'virtio-serial',
               '-chardev', f'socket,id=ga,path={t.path("ga")},server=on,'
                           'wait=off',
               '-device', 'virtserialport,chardev=ga,'
                          'name=org.qemu.guest_agent.0', *extra])


class Agent:
    """Whether the guest's file systems are frozen, asked of the guest itself:
    its agent is busy with vmkeep, so by what reaches the disk."""

    def __init__(self, path):
        self.path = path

    def frozen_now(self, seconds=1.5):
        """Nothing comes to the disk; a guest that is not frozen syncs more than
        twice in that time."""
        end = time.monotonic() + seconds
        first = self._written()
        while time.monotonic() < end:
            time.sleep(0.2)
            if self._written() != first:
                return False
        return True

    def writes(self):
        """Something does, however slow the host is."""
        return not self.frozen_now(180)

    def _written(self):
        with open(self.path, 'rb') as f:
            return f.read(32 << 20)


class AgentRelay:
    """A socket at `path` that hands on to the agent at `target`, for one client
    after the other.  `look(line)` is called for each line of the client's before
    it is handed on; what it returns, unless None, is done to the replies:
    "swallow" (from then on nothing is heard) or "close" (the connection ends
    once the agent has the line, and later ones too, until `heal`)."""

    def __init__(self, path, target, look):
        self.path, self.target, self.look = path, target, look
        self.mode = None
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def heal(self):
        self.mode = None

    def close(self):
        self.listener.close()
        os.unlink(self.path)

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.mode == 'close':
                client.close()
                continue
            with contextlib.suppress(OSError), client:
                server = socket.socket(socket.AF_UNIX)
                with server:
                    server.connect(self.target)
                    threading.Thread(target=self._down, daemon=True,
                                     args=(server, client)).start()
                    with contextlib.suppress(OSError):
                        self._up(client, server)
                    # The other thread's waiting would keep it open.
                    with contextlib.suppress(OSError):
                        server.shutdown(socket.SHUT_RDWR)

    def _up(self, client, server):
        while True:
            data = client.recv(4096)
            if not data:
                return
            self.mode = self.look(data) or self.mode
            server.sendall(data)
            if self.mode == 'close':
                time.sleep(3)  # so that the agent has carried it out
                return

    def _down(self, server, client):
        with contextlib.suppress(OSError):
            while True:
                data = server.recv(4096)
                if not data:
                    break
                if self.mode is None:
                    client.sendall(data)

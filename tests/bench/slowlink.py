#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A slow line in front of a server on loopback.

usage: slowlink.py PORT RTT_MS MBIT

Says "ready PORT" and passes connections on to 127.0.0.1:PORT until its standard
input ends; answers each line there with one of JSON: what passed since the one
before.

What it does of a real line: a byte takes half of RTT_MS there and half back, all
connections together have MBIT megabits a second in each direction, which
connections share in turn, and a new connection costs RTT_MS before its first
byte.  A connection begins with a window of ten segments, which grows by what
has arrived (RFC 5681's slow start, RFC 6928), to at most WINDOW_MAX, and
shrinks while it is idle, as Linux does.  Nothing is lost on the way.
"""
import collections
import heapq
import json
import selectors
import socket
import sys
import time

PIECE = 32 << 10
WINDOW_MIN = 14600
WINDOW_MAX = 4 << 20  # Linux: tcp_wmem
BACKLOG_S = .03       # that may wait for its turn on the line


class Direction:
    def __init__(self, bytes_a_second):
        self.rate = bytes_a_second
        self.free_at = 0.0  # when the last byte is on its way
        self.passed = []    # (time, bytes), of what arrived
        self.turn = 0

    def has_room(self, now):
        return self.free_at - now < BACKLOG_S

    def take(self, now, n):
        self.free_at = max(self.free_at, now) + n / self.rate
        return self.free_at

    def report(self):
        """All bytes, and the rate between a tenth and nine tenths of them."""
        passed, self.passed = self.passed, []
        total = sum(n for _, n in passed)
        marks, so_far = [], 0
        for when, n in passed:
            so_far += n
            marks.append((when, so_far))
        middle = [m for m in marks if .1 * total <= m[1] <= .9 * total]
        steady = 0.0
        if len(middle) > 1 and middle[-1][0] > middle[0][0]:
            steady = ((middle[-1][1] - middle[0][1]) /
                      (middle[-1][0] - middle[0][0]) / self.rate)
        return {'bytes': total, 'steady': steady}


class Half:
    """One direction of a connection."""

    def __init__(self, link, source, target, direction):
        self.link, self.source, self.target = link, source, target
        self.direction = direction
        self.coming = collections.deque()  # bytes; none: the end
        self.out = b''                     # arrived, and not taken yet
        self.all_arrived = self.done = self.dropped = False
        self.window, self.under_way = WINDOW_MIN, 0
        self.last = 0.0
        self.open = self.ended = False     # may be read; has no more to say

    def may_read(self, now):
        return (self.open and not self.ended and
                self.under_way < self.window and self.direction.has_room(now))

    def read(self, now):
        idle = now - self.last
        while self.under_way == 0 and self.window > WINDOW_MIN and \
                idle > self.link.rtt + .2:
            self.window = max(WINDOW_MIN, self.window // 2)
            idle -= self.link.rtt + .2
        try:
            data = self.source.recv(min(PIECE, self.window - self.under_way))
        except BlockingIOError:
            return
        except OSError:
            data = b''
        if not data:
            self.ended = True
        self.last = now
        self.under_way += len(data)
        when = self.direction.take(now, len(data)) + self.link.rtt / 2
        self.coming.append(data)
        self.link.at(when, self.arrive)

    def arrive(self, now):
        data = self.coming.popleft()
        if self.dropped:
            return
        self.all_arrived = not data
        self.out += data
        self.direction.passed.append((now, len(data)))
        self.push(now)

    def push(self, now):
        """Into the target, as much as it takes; the end when all is there."""
        try:
            n = self.target.send(self.out) if self.out else 0
        except BlockingIOError:
            n = 0
        except OSError:
            self.link.drop(self)
            return
        if n:
            self.out = self.out[n:]
            self.link.at(now + self.link.rtt / 2, lambda _: self.acknowledge(n))
        if self.all_arrived and not self.out and not self.done:
            self.done = True
            try:
                self.target.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            if self.other.done:
                self.link.drop(self)

    def acknowledge(self, n):
        self.under_way -= n
        self.window = min(WINDOW_MAX, self.window + n)


class Link:
    def __init__(self, port, rtt_ms, mbit):
        self.port, self.rtt = port, rtt_ms / 1000
        self.up, self.down = (Direction(mbit * 1e6 / 8) for _ in range(2))
        self.events, self.count, self.connections = [], 0, 0
        self.halves = []
        self.selector = selectors.DefaultSelector()
        self.listener = socket.create_server(('127.0.0.1', 0), backlog=64)
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(sys.stdin, selectors.EVENT_READ)
        self.interest = {}

    def at(self, when, do):
        self.count += 1
        heapq.heappush(self.events, (when, self.count, do))

    def accept(self, now):
        near, _ = self.listener.accept()
        self.connections += 1
        near.setblocking(False)
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.at(now + self.rtt / 2, lambda t: self.connect(near, t))

    def connect(self, near, now):
        try:
            far = socket.create_connection(('127.0.0.1', self.port))
        except OSError:
            near.close()
            return
        far.setblocking(False)
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        there = Half(self, near, far, self.up)
        back = Half(self, far, near, self.down)
        there.other, back.other = back, there
        self.halves += [there, back]
        back.open = True

        def opened(_):
            there.open = True
        self.at(now + self.rtt / 2, opened)

    def drop(self, half):
        for h in half, half.other:
            h.open, h.ended, h.dropped = False, True, True
            h.out = b''
            if h in self.halves:
                self.halves.remove(h)
        for s in half.source, half.target:
            if self.interest.pop(s, 0):
                self.selector.unregister(s)
            s.close()

    def watch(self, now):
        """Ask for what can be done now only."""
        wanted = {}
        for h in self.halves:
            if h.may_read(now):
                wanted[h.source] = wanted.get(h.source, 0) | \
                    selectors.EVENT_READ
            if h.out:
                wanted[h.target] = wanted.get(h.target, 0) | \
                    selectors.EVENT_WRITE
        for s in set(self.interest) | set(wanted):
            old, new = self.interest.get(s, 0), wanted.get(s, 0)
            if old == new:
                continue
            if not old:
                self.selector.register(s, new)
            elif not new:
                self.selector.unregister(s)
            else:
                self.selector.modify(s, new)
        self.interest = wanted

    def wait_s(self, now):
        """Until the next event, or until a line is free again."""
        ends = [d.free_at - BACKLOG_S for d in (self.up, self.down)
                if not d.has_room(now)]
        if self.events:
            ends.append(self.events[0][0])
        return max(0, min(ends) - now) if ends else None

    def pass_on(self, ready, now):
        for h in list(self.halves):
            if h.out and ready.get(h.target, 0) & selectors.EVENT_WRITE:
                h.push(now)
        for direction in self.up, self.down:
            turns = [h for h in self.halves if h.direction is direction and
                     ready.get(h.source, 0) & selectors.EVENT_READ]
            direction.turn += 1
            first = direction.turn % len(turns) if turns else 0
            for h in turns[first:] + turns[:first]:
                if h.may_read(now):
                    h.read(now)

    def serve(self):
        print(f'ready {self.listener.getsockname()[1]}', flush=True)
        while True:
            now = time.monotonic()
            while self.events and self.events[0][0] <= now:
                heapq.heappop(self.events)[2](now)
            self.watch(now)
            ready = {k.fileobj: mask for k, mask in
                     self.selector.select(self.wait_s(now))}
            now = time.monotonic()
            if ready.pop(self.listener, None):
                self.accept(now)
            if ready.pop(sys.stdin, None):
                if not sys.stdin.readline():
                    return
                print(json.dumps({'up': self.up.report(),
                                  'down': self.down.report(),
                                  'connections': self.connections}),
                      flush=True)
                self.connections = 0
            self.pass_on(ready, now)


if __name__ == '__main__':
    if len(sys.argv) != 4:
        sys.exit(__doc__.strip())
    Link(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])).serve()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the round trips of an SFTP connection.

usage: trips.py FILE PROGRAM [OPTION-OF-SSH...]

Runs PROGRAM, which speaks SFTP on its standard input and output, and passes on
what is said.  A trip begins with the first request behind an answer.  Answers
are kept until the client has said nothing for a moment, so what it asks without
waiting is of the same trip; only closing begins none.  Adds a line to FILE at
the end: trips, requests.
"""
import os
import select
import subprocess
import sys

MOMENT_S = .02
CLOSE = 4


class Packets:
    """Those that have gone by."""

    def __init__(self):
        self.seen, self.left = 0, b''

    def add(self, data):
        """Has one begun or ended that waits for an answer?"""
        self.left += data
        asks = False
        while len(self.left) >= 5:
            size = 4 + int.from_bytes(self.left[:4], 'big')
            asks |= self.left[4] != CLOSE
            if len(self.left) < size:
                break
            self.left = self.left[size:]
            self.seen += 1
        return asks


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data):]


def relay(child, asked):
    """The trips, until the client says no more."""
    near, far = 0, child.stdout.fileno()
    trips, answered, held = 0, True, b''
    try:
        while True:
            ready = select.select([near, far], [], [],
                                  MOMENT_S if held else None)[0]
            if near in ready:
                data = os.read(near, 1 << 18)
                if not data:
                    break
                if asked.add(data) and answered:
                    trips += 1
                    answered = False
                write_all(child.stdin.fileno(), data)
            if far in ready:
                data = os.read(far, 1 << 18)
                if not data:
                    break
                held += data
            if not ready:
                write_all(1, held)
                held, answered = b'', True
    except OSError:  # it has gone, and waits for no answer
        pass
    return trips


def main():
    child = subprocess.Popen(sys.argv[2:3], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    asked = Packets()
    trips = relay(child, asked)
    with open(sys.argv[1], 'a', encoding='ascii') as f:
        f.write(f'{trips} {asked.seen}\n')
    child.stdin.close()


main()

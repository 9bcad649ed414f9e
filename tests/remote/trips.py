#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the round trips of an SFTP connection.

usage: trips.py FILE PROGRAM [OPTION-OF-SSH...]

Runs the program, which speaks SFTP on its standard input and output, and passes
on what is said.  A trip begins with what the client says once it has an answer,
or first of all.  Every answer is kept until all has come that the client says
without it: for a moment, which a loaded machine may make too short, so there
may be more trips counted than there were, and never fewer.  Adds a line to FILE
at the end: trips, requests.  The options that ssh has been given before it are
ignored.
"""
import os
import select
import subprocess
import sys

MOMENT_S = .02


class Packets:
    """How many whole ones have gone by."""

    def __init__(self):
        self.seen, self.left = 0, b''

    def add(self, data):
        self.left += data
        while len(self.left) >= 4:
            size = 4 + int.from_bytes(self.left[:4], 'big')
            if len(self.left) < size:
                break
            self.left = self.left[size:]
            self.seen += 1


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data):]


def relay(child):
    """Until the client says no more."""
    near, far = 0, child.stdout.fileno()
    asked, trips, answered = Packets(), 0, True
    held = b''
    while True:
        wait = MOMENT_S if held else None
        ready = select.select([near, far], [], [], wait)[0]
        if near in ready:
            data = os.read(near, 1 << 18)
            if not data:
                return trips, asked.seen
            asked.add(data)
            trips += answered
            answered = False
            write_all(child.stdin.fileno(), data)
        if far in ready:
            data = os.read(far, 1 << 18)
            if not data:
                return trips, asked.seen
            held += data
        if not ready:
            try:
                write_all(1, held)
            except BrokenPipeError:  # it has gone, and waits for no answer
                return trips, asked.seen
            held, answered = b'', True


def main():
    child = subprocess.Popen(sys.argv[2:3], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    trips, asked = relay(child)
    child.stdin.close()
    with open(sys.argv[1], 'a', encoding='ascii') as f:
        f.write(f'{trips} {asked}\n')


main()

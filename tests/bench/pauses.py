# SPDX-License-Identifier: Apache-2.0
"""How long a guest stands still: for a live backup, and for QEMU's savevm."""
import os
import re

import vmtest

RESERVE_MIB = 96  # of its RAM, for the kernel and the witness's own tables


def print_row(*cells):
    print(''.join(f'{c:>14}' for c in cells), flush=True)


def gap_since(guest, first):
    """The longest time between two steps of the witness."""
    return max((r.gap_ms for r in guest.console.reports[first:]), default=0)


def stopped_since(guest, first):
    """How long the guest stood still by the clock of its host (under emulation
    its own clock stands still with it)."""
    return sum(r.stopped_ms for r in guest.console.reports[first:])


def seconds_of(event):
    t = event['timestamp']
    return t['seconds'] + t['microseconds'] / 1e6


def savevm(guest, name):
    """Milliseconds from QEMU's STOP to its RESUME event."""
    guest.qmp.run('query-status')  # hear those of the backup, to forget them
    guest.qmp.events.clear()
    said = guest.qmp.run('human-monitor-command', timeout=1800,
                         command_line='savevm ' + name)
    if said.strip():
        raise AssertionError(f'savevm: {said}')
    stop = guest.qmp.wait_event('STOP')
    resume = guest.qmp.wait_event('RESUME')
    guest.qmp.hmp('delvm ' + name)
    return (seconds_of(resume) - seconds_of(stop)) * 1000


def resident_mib(guest):
    with open(f'/proc/{guest.pid}/status', encoding='ascii') as f:
        return int(re.search(r'VmRSS:\s+(\d+)', f.read()).group(1)) >> 10


def measure(guest, vmkeep, rounds):
    print_row('', 'pause ms', 'by the guest', 'stop', 'disks', 'memory',
              'gap ms', 'gap without', 'savevm ms')
    pauses, seen, saves = [], [], []
    for number in range(1, rounds + 1):
        first = len(guest.console.reports)
        guest.wait_reports(3, timeout=600)
        idle = gap_since(guest, first)
        first = len(guest.console.reports)
        s = vmkeep.json('backup', '--qmp', guest.socket, timeout=1800).summary
        guest.wait_reports(2, timeout=600)  # what it knows of the pause comes late
        stopped = stopped_since(guest, first)
        gap = gap_since(guest, first)
        # It has bitmaps of ours; savevm, unlike loadvm, does not mind.
        saves.append(savevm(guest, f'bench{number}'))
        guest.wait_reports(2, timeout=600)  # it tells of that one late, too
        print_row(number, f'{s["pause_ms"]:.1f}', f'{stopped:.1f}',
                  *(f'{s["pause"][k]:.1f}' for k in
                    ('stop_ms', 'arm_ms', 'ram_ms')),
                  gap, idle, f'{saves[-1]:.0f}')
        pauses.append(s['pause_ms'])
        seen.append(stopped)
    mine, theirs = vmtest.median(pauses), vmtest.median(saves)
    print_row('median', f'{mine:.1f}', f'{vmtest.median(seen):.1f}', '', '',
              '', '', '', f'{theirs:.0f}')
    print(f'a live backup pauses for 1/{theirs / mine:.0f} of savevm',
          flush=True)


def compare(folder, mib, rounds):
    """Of a guest whose witness fills and rewrites nearly all of its RAM."""
    disks = [vmtest.Disk(f'{folder}/{name}') for name in ('a', 'b')]
    for disk in disks:
        vmtest.image_create(disk.path, '1G')
    table = (mib - RESERVE_MIB) * 3 // 4
    guest = vmtest.Guest(folder, disks=disks, memory_mib=mib,
                         append=f'witness.ram={table} witness.dirty={mib // 16}')
    try:
        guest.wait_reports(3, timeout=1200)
        print(f'{mib} MiB of RAM, {resident_mib(guest)} MiB resident, two '
              f'disks of qcow2, {rounds} times; load {os.getloadavg()[0]:.1f}:')
        vmkeep = vmtest.Vmkeep(folder)
        vmkeep.run('init')
        measure(guest, vmkeep, rounds)
        guest.check_no_trouble()
    finally:
        guest.kill()

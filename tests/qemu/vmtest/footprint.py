# SPDX-License-Identifier: Apache-2.0
"""What a stranger could leave behind in a QEMU: everything that a backup must
have put back when it is done.

The bitmaps and the snapshots of disks by which the next backup reads only what
has changed are meant to stay: tracking() has the bitmaps."""

from vmtest.qmp import QmpError

TRACKING = 'vmkeep:'  # and the repository's id, and the backup's


def tracking(qmp):
    """The tracking bitmaps, as {(NODE, BACKUP'S ID): REPOSITORY'S ID}."""
    found = {}
    for node in qmp.run('query-named-block-nodes', flat=True):
        for bitmap in node.get('dirty-bitmaps', []):
            if bitmap.get('name', '').startswith(TRACKING):
                _, repository, backup = bitmap['name'].split(':')
                found[node['node-name'], backup] = repository
    return found


def _nodes(qmp):
    nodes = {}
    for node in qmp.run('query-named-block-nodes', flat=True):
        bitmaps = sorted((b.get('name', ''), b['recording'], b['persistent'],
                          b.get('inconsistent', False))
                         for b in node.get('dirty-bitmaps', [])
                         if not b.get('name', '').startswith(TRACKING))
        nodes[node['node-name']] = {
            'driver': node['drv'], 'read-only': node['ro'],
            'file': node['file'], 'bitmaps': bitmaps,
            'detect-zeroes': node['detect_zeroes'],
            'write-threshold': node['write_threshold'],
            'cache': node['cache']}
    return nodes


def _graph(qmp):
    graph = qmp.run('x-debug-query-block-graph')
    names = {n['id']: f'{n["type"]} {n["name"]}' for n in graph['nodes']}
    edges = sorted(f'{names[e["parent"]]} -{e["name"]}-> {names[e["child"]]} '
                   f'may {",".join(sorted(e["perm"]))} '
                   f'lets {",".join(sorted(e["shared-perm"]))}'
                   for e in graph['edges'])
    return {'nodes': sorted(names.values()), 'edges': edges}


def _devices(qmp):
    devices = {}
    for d in qmp.run('query-block'):
        devices[d.get('qdev') or d['device']] = {
            'device': d['device'], 'io-status': d.get('io-status'),
            'locked': d['locked'],
            'node': d.get('inserted', {}).get('node-name'),
            'snapshots': sorted(
                s['name'] for s in d.get('inserted', {}).get('image', {})
                .get('snapshots', [])
                if not s['name'].startswith(TRACKING))}
    return devices


def _migration(qmp):
    on = [c['capability'] for c in qmp.run('query-migrate-capabilities')
          if c['state']]
    return {'capabilities': sorted(on),
            'parameters': qmp.run('query-migrate-parameters')}


def _nbd_server(qmp):
    """Is one running?  No command asks that, but one that starts it where it
    cannot be finds it running before it finds that out."""
    try:
        qmp.run('nbd-server-start', addr={'type': 'unix', 'data': {
            'path': '/vmtest-no-such-folder/socket'}})
    except QmpError as e:
        return 'already running' in e.desc
    raise AssertionError('an NBD server started nowhere')


def footprint(qmp):
    """A dict that is the same before and after if nothing was left behind."""
    exports = qmp.run('query-block-exports')
    return {
        'status': qmp.run('query-status'),
        'nodes': _nodes(qmp),
        'graph': _graph(qmp),
        'devices': _devices(qmp),
        'block jobs': sorted(j['device'] for j in qmp.run('query-block-jobs')),
        'jobs': sorted(j['id'] for j in qmp.run('query-jobs')),
        'exports': sorted(e['id'] for e in exports),
        'NBD server': _nbd_server(qmp),
        'fdsets': sorted(s['fdset-id'] for s in qmp.run('query-fdsets')),
        'objects': sorted(o['name'] for o in
                          qmp.run('qom-list', path='/objects')),
        'chardevs': sorted(c['label'] for c in qmp.run('query-chardev')),
        'migration': _migration(qmp),
    }


def difference(before, after, where=''):
    """Lines that say what is not the same; none if all is."""
    if isinstance(before, dict) and isinstance(after, dict):
        lines = []
        for key in sorted(set(before) | set(after)):
            lines += difference(before.get(key), after.get(key),
                                f'{where}/{key}' if where else key)
        return lines
    if before == after:
        return []
    if isinstance(before, list) and isinstance(after, list):
        return ([f'{where}: gone: {x}' for x in before if x not in after] +
                [f'{where}: new: {x}' for x in after if x not in before] or
                [f'{where}: {before} became {after}'])
    return [f'{where}: {before} became {after}']

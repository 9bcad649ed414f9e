# SPDX-License-Identifier: Apache-2.0
"""The vmkeep program, as a person or a script runs it."""

import json
import os
import subprocess

from vmtest import process
from vmtest.guest import ROOT


class Result:
    """What a run left.  documents: the JSON on its standard output, of --json:
    one for a question, one a line for long work."""

    def __init__(self, argv, status, out, err):
        self.argv = argv
        self.status = status
        self.out = out
        self.err = err

    def __str__(self):
        return (f'{" ".join(self.argv)}: exit {self.status}\n'
                f'{self.err}{self.out[-2000:]}')

    @property
    def documents(self):
        try:
            return [json.loads(self.out)]
        except ValueError:
            return [json.loads(x) for x in self.out.splitlines() if x.strip()]

    @property
    def document(self):
        """The only one."""
        document, = self.documents
        return document

    @property
    def summary(self):
        """The last line of long work."""
        last = self.documents[-1]
        if last.get('type') != 'summary':
            raise AssertionError(f'the last line is no summary: {self}')
        return last


class Vmkeep:
    """Runs it against one repository, which need not exist yet.

    within   words in front of the program, such as those that enter a
             namespace
    env      more variables"""

    def __init__(self, folder, repository=None, password='correct horse',
                 within=(), env=None):
        self.within = list(within)
        self.program = os.path.abspath(
            os.environ.get('VMKEEP', ROOT + '/build/src/cli/vmkeep'))
        self.folder = folder
        self.repository = repository or folder + '/repo'
        self.env = {k: v for k, v in os.environ.items()
                    if not k.startswith('VMKEEP')}
        self.env.update(VMKEEP_REPOSITORY=self.repository,
                        VMKEEP_PASSWORD=password,
                        VMKEEP_PBKDF_MEMORY='1M',  # which is no secret
                        HOME=folder, XDG_CACHE_HOME=folder + '/cache',
                        XDG_STATE_HOME=folder + '/state',
                        XDG_RUNTIME_DIR=folder + '/run',
                        VMKEEP_RUNTIME_DIR=folder + '/run', **(env or {}))
        os.makedirs(folder + '/run', mode=0o700, exist_ok=True)

    def start(self, *argv, **options):
        """A Popen of it that is under way."""
        options.setdefault('env', self.env)
        return process.start([*self.within, self.program, *argv],
                             cwd=self.folder, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, **options)

    def run(self, *argv, status=0, timeout=600):
        """Run it to its end; AssertionError if its exit status is not `status`
        (None: any)."""
        running = self.start(*argv)
        try:
            out, err = running.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as e:
            process.kill(running)
            raise process.Timeout(
                f'vmkeep {" ".join(argv)}: not within {timeout} s') from e
        result = Result(['vmkeep', *argv], running.returncode, out, err)
        if status is not None and result.status != status:
            raise AssertionError(f'exit status {status} wanted: {result}')
        return result

    def reconcile(self):
        """What every command does first: put right what was left.  Machines of
        other tests may end meanwhile, which is told."""
        self.run('machines', status=None)

    def json(self, *argv, **options):
        """The same with --json."""
        return self.run('--json', *argv, **options)

"""Which worker runs which tests: what is computed once for a file is computed by one worker.

pytest-xdist hands out tests one by one unless told otherwise, so that two workers set up the same
module's fixtures. Its own way of grouping (`--dist=loadgroup`) finds no groups under pytest 9.2,
where it renames tests in a way that has no effect any more.
"""

import re
from functools import cache
from pathlib import Path

from xdist.scheduler.loadscope import LoadScopeScheduling

_SHARED = re.compile(r'scope="module"|functools\.cache|import tiny_vlm|vlm_steps import')


class FilesAndTests(LoadScopeScheduling):
    """Files that compute something once go to one worker whole, first; other tests one by one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if _shares(self.config.rootpath / file) else nodeid


@cache
def _shares(path: Path) -> bool:
    return bool(_SHARED.search(path.read_text()))

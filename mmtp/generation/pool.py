"""Which prompts the pool on the device holds: the ones used last."""

from collections import OrderedDict
from collections.abc import Sequence


class Pool:
    """Places by what was read into them, the longest unused one first.

    Example:
        pool = Pool(2)
        pool.places([b"a", b"a", b"b"])  # ([0, 0, 1], [0, 2])
        pool.places([b"a"])              # ([0], [])
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._places: OrderedDict[bytes, int] = OrderedDict()

    def places(self, digests: Sequence[bytes]) -> tuple[list[int], list[int]]:
        """Places for at most `size` prompts at a time, which evict the longest unused ones.

        Returns:
            the place of each, and which of them are to be read first: the first of each new one.
        """
        missing = []
        for digest in digests:
            if digest in self._places:
                self._places.move_to_end(digest)
        for index, digest in enumerate(digests):
            if digest in self._places:
                continue
            missing.append(index)
            free = len(self._places)
            if free == self.size:
                _, free = self._places.popitem(last=False)
            self._places[digest] = free
        for digest in digests:
            self._places.move_to_end(digest)
        return [self._places[digest] for digest in digests], missing

    def clear(self) -> None:
        """Forgets all, since parameters changed."""
        self._places.clear()

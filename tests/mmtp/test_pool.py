"""Places of prompts against a list that is searched."""

from hypothesis import given
from hypothesis import strategies as st

from mmtp.generation.pool import Pool


@given(st.integers(1, 4), st.data())
def test_the_longest_unused_prompts_are_evicted(size, data):
    pool, held, order = Pool(size), {}, []
    for _ in range(data.draw(st.integers(1, 12))):
        names = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=size))
        digests = [bytes([n]) for n in names]
        places, missing = pool.places(digests)
        new = [i for i, n in enumerate(digests) if n not in held and n not in digests[:i]]
        assert missing == new
        for digest, place in zip(digests, places, strict=True):
            held = {d: p for d, p in held.items() if p != place or d == digest}
            held[digest] = place
        used = [d for d in order if d not in digests] + list(dict.fromkeys(digests[::-1]))[::-1]
        order = used[-size:]
        assert set(held) == set(order)
        assert len(set(held.values())) == len(held)
        assert max(held.values()) < size

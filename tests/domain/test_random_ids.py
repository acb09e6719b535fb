"""Random ids: never the same twice, from any thread and in any child."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from keyturn.domain.random_ids import ID_LENGTH, next_pair, random_pairs

FORK = """
import os
from keyturn.domain.random_ids import next_pair
next_pair()  # the pool has a batch now
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    os.write(writing, " ".join(id for _ in range(100) for id in next_pair()).encode())
    os._exit(0)
os.waitpid(child, 0)
theirs = os.read(reading, 65536).decode().split()
ours = [id for _ in range(100) for id in next_pair()]
print(len(set(theirs) | set(ours)))
"""


def test_a_pair_is_two_ids_of_base64url() -> None:
    pair = next_pair()

    assert len(pair) == 2
    assert all(re.fullmatch(rf"[A-Za-z0-9_-]{{{ID_LENGTH}}}", one) for one in pair)


def test_an_id_has_at_least_128_bits() -> None:
    assert ID_LENGTH * 6 >= 128


def test_no_id_comes_twice_over_many_batches() -> None:
    pairs = [next_pair() for _ in range(5000)]

    assert len({one for pair in pairs for one in pair}) == 10_000


def test_no_pair_is_given_to_two_threads() -> None:
    source = random_pairs()

    with ThreadPoolExecutor(8) as pool:
        pairs = list(pool.map(lambda _: source(), range(5000)))

    assert len({one for pair in pairs for one in pair}) == 10_000


def test_each_character_of_an_id_takes_every_value() -> None:
    texts = ["".join(next_pair()) for _ in range(5000)]  # one value missing: 1 in 10^30

    assert all(len({text[at] for text in texts}) == 64 for at in range(2 * ID_LENGTH))


def test_a_forked_child_has_ids_of_its_own(
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    distinct = run_python(FORK).stdout

    assert int(distinct) == 400

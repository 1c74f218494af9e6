#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_sync_test.py - check-sync tells good order comments from bad ones"""
import pathlib
import tempfile

import tap

PAIR = """
/* RELEASE(ring.fill) pairs with ACQUIRE(ring.take): the slot is full. */
atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
/* ACQUIRE(ring.take) pairs with RELEASE(ring.fill): see there. */
tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
"""
FENCES = """
/* FENCE(mark.skip) pairs with FENCE(take.read): write, then test. */
tide_fence_light(true);
/* FENCE(take.read) pairs with FENCE(mark.skip): take, then read. */
err = tide_fence_heavy(true);
"""

GOOD = {
    "a pair": PAIR,
    "a call over several lines": PAIR.replace(
        "(&ring->tail, tail + 1, ", "(\n\t&ring->tail,\n\tmax(tail, 1),\n\t"),
    "a comment over several lines": PAIR.replace(
        "pairs with ACQUIRE", "pairs\n * with ACQUIRE"),
    "a partner in the kernel": """
/* ACQUIRE(kring.take) pairs with KERNEL(kvm_dirty_ring_push): flags last. */
flags = atomic_load_explicit(&gfn->flags, memory_order_acquire);
""",
    "a relaxed access with its reason": """
/* Relaxed: only this thread writes it. */
n = atomic_load_explicit(&ring->tail, memory_order_relaxed);
""",
    "a thread fence": """
/* FENCE(a.b) pairs with SEQ_CST(c.d): Dekker. */
atomic_thread_fence(memory_order_seq_cst);
/* SEQ_CST(c.d) pairs with FENCE(a.b): Dekker. */
x = atomic_exchange_explicit(&y, 0, memory_order_seq_cst);
""",
    "a compare-exchange with two orders": PAIR.replace(
        "atomic_load_explicit(&ring->tail, memory_order_acquire)",
        "atomic_compare_exchange_strong_explicit(\n\t&ring->tail, &tail, 1,"
        "\n\tmemory_order_acquire,\n\tmemory_order_relaxed)"),
    "a release with an acquire on failure, both tagged": """
/* RELEASE(a.b) pairs with ACQUIRE(c.d): published.  ACQUIRE(a.e) pairs with
 * RELEASE(c.f): or the other's. */
atomic_compare_exchange_strong_explicit(&x, &y, 1, memory_order_release,
					memory_order_acquire);
/* ACQUIRE(c.d) pairs with RELEASE(a.b): read. */
y = atomic_load_explicit(&x, memory_order_acquire);
/* RELEASE(c.f) pairs with ACQUIRE(a.e): written. */
atomic_store_explicit(&x, 2, memory_order_release);
""",
    "an access inside another's arguments": PAIR.replace(
        "tail + 1", "1 + atomic_load_explicit(&n, memory_order_relaxed)")
    .replace("is full.", "is full.  Relaxed: n never changes."),
    "fences of our own": FENCES,
    "the declaration of a fence of our own":
        "int tide_fence_heavy(bool asymmetric);\n",
    "atomics in comments and strings":
        '/* atomic_load(&x) */ char *s = "atomic_store(&x, 1)";\n',
    "a compiler's own atomic in a macro for C++":
        "#define TIDE_LOAD(from) \\\n\t__atomic_load_n(from, \\\n"
        "\t\t__ATOMIC_RELAXED)\n",
    "a true list": "/*\n * x.c - x\n *\n * Synchronisation\n"
                   " *   ring.fill  publishes -> ring.take in pop\n */\n"
                   + PAIR,
}

BAD = {
    "an order without a tag": PAIR.replace("/* RELEASE(ring.fill) pairs",
                                           "/* RELEASE pairs"),
    "a tag of the wrong kind": PAIR.replace("RELEASE(ring.fill)",
                                            "SEQ_CST(ring.fill)"),
    "a tag without a partner": PAIR.replace(" pairs with RELEASE(ring.fill)",
                                            ""),
    "a partner that does not exist": PAIR.replace(
        "pairs with ACQUIRE(ring.take)", "pairs with ACQUIRE(ring.tale)"),
    "a partner that does not name it back": PAIR + """
/* ACQUIRE(ring.peek) pairs with RELEASE(ring.fill): see there. */
tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
""",
    "a tag defined twice": PAIR + PAIR,
    "two accesses under one tag": PAIR
        + "y = atomic_load_explicit(&ring->head, memory_order_acquire);\n",
    "a tag above no access": PAIR.replace("atomic_store_explicit", "store"),
    "a relaxed access without a reason":
        "n = atomic_load_explicit(&x, memory_order_relaxed);\n",
    "a comment too far away": "/* Relaxed: why not. */" + "\n" * 12
        + "n = atomic_load_explicit(&x, memory_order_relaxed);\n",
    "an implicit order": "n = atomic_load(&x);\n",
    "an implicit compare-exchange":
        "atomic_compare_exchange_weak\n\t(&x, &y, 1);\n",
    "a compiler's own atomic": "__sync_synchronize();\n",
    "a compiler's own atomic after such a macro":
        "#define TIDE_LOAD(from) from\n__atomic_load_n(x, 0);\n",
    "a compiler's own atomic in somebody else's macro":
        "#define LOAD(from) \\\n\t__atomic_load_n(from, 0)\n",
    "a compiler's older atomic in such a macro":
        "#define TIDE_FULL() __sync_synchronize()\n",
    "liburcu's own atomic": "uatomic_set(&x, 1);\n",
    "a thread fence without a tag":
        "atomic_thread_fence(memory_order_seq_cst);\n",
    "a fence of our own without a tag": FENCES + "tide_fence_light(true);\n",
    "an order weakened under its tag": PAIR.replace(
        "memory_order_acquire", "memory_order_relaxed"),
    "an acquire on failure without its tag": PAIR.replace(
        "atomic_store_explicit(&ring->tail, tail + 1, memory_order_release)",
        "atomic_compare_exchange_strong_explicit(&x, &y, 1,\n"
        "\tmemory_order_release, memory_order_acquire)"),
    "a listed edge that no longer exists":
        "/*\n * x.c - x\n *\n * Synchronisation\n"
        " *   ring.fill  publishes -> ring.gone in pop\n */\n" + PAIR,
}


def check(snippet, wanted):
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch) / "snippet.c"
        path.write_text(snippet, encoding="utf-8")
        status, text = tap.run_tool("tools/check-sync.py", str(path))
    if status != wanted:
        raise AssertionError(f"status {status}: {text}\n{snippet}")


def edges_cross_files():
    """Partners in two files find each other."""
    first, second = PAIR.split("/* ACQUIRE")
    with tempfile.TemporaryDirectory() as scratch:
        paths = [pathlib.Path(scratch) / "a.c", pathlib.Path(scratch) / "b.h"]
        paths[0].write_text(first, encoding="utf-8")
        paths[1].write_text("/* ACQUIRE" + second, encoding="utf-8")
        assert tap.run_tool("tools/check-sync.py", *map(str, paths))[0] == 0
        assert tap.run_tool("tools/check-sync.py", str(paths[0]))[0] == 1


tap.main(
    [(f"accepts {name}", lambda text=text: check(text, 0))
     for name, text in GOOD.items()]
    + [(f"refuses {name}", lambda text=text: check(text, 1))
       for name, text in BAD.items()]
    + [("edges cross files", edges_cross_files)])

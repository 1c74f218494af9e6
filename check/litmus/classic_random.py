#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""classic_random.py - random programs, explored and enumerated

The explorer is clever; this is not.  For a program as in classic.h it forms
every choice of what each read reads and of the order of each place's writes,
and keeps those that RC11's axioms allow, as they are written in the paper
(with C++20's release sequences).  The explorer must find the same outcomes in
the same number of executions, and a race where there is one.

Usage: classic_random.py CLASSIC_LITMUS SECONDS [SEED]
"""
import itertools
import random
import subprocess
import sys
import time

READ = {"rel": "rlx", "ar": "acq"}  # of a read-modify-write's order
WRITE = {"acq": "rlx", "ar": "rel"}
READS = "RAXC"


class Event:
    def __init__(self, kind, place, order, value, thread, half=False):
        self.kind, self.place, self.order = kind, place, order
        self.value, self.thread, self.half = value, thread, half

    def releases(self):
        return self.order in ("rel", "ar", "sc")

    def acquires(self):
        return self.order in ("acq", "ar", "sc")


def parse(word):
    head, _, order = word.partition(".")
    order, _, failure = order.partition("/")
    place = head[1] if len(head) > 1 and head[1].isalpha() else ""
    numbers = [int(c) for c in head if c.isdigit()]
    return head[0], place, numbers, order or "rlx", failure or "rlx"


def paths(words, values, thread):
    """What a thread may do: its events and registers, if each read has one of
    the values.  A path whose assumption fails is none."""
    found = [([], [], False)]
    for kind, place, numbers, order, failure in map(parse, words):
        after = []
        for events, regs, ended in found:
            if ended:
                after.append((events, regs + ["-"] * (kind in READS), True))
            elif kind == "W":
                write = Event("W", place, order, numbers[0], thread)
                after.append((events + [write], regs, False))
            elif kind == "F":
                fence = Event("F", "", order, 0, thread)
                after.append((events + [fence], regs, False))
            elif kind in "?&":
                holds = regs[-1] == numbers[0]
                if holds or kind == "&":
                    after.append((events, regs, not holds))
            else:
                for value in values:
                    after.append((events + access(kind, place, numbers, order,
                                                  failure, value, thread),
                                  regs + [value], False))
        found = after
    return [(events, regs) for events, regs, _ in found]


def access(kind, place, numbers, order, failure, value, thread):
    """The events of a word that reads @value."""
    if kind == "R":
        return [Event("R", place, order, value, thread)]
    if kind == "C" and value != numbers[0]:
        return [Event("R", place, failure, value, thread)]
    written = value + numbers[0] if kind == "A" else numbers[-1]
    return [Event("R", place, READ.get(order, order), value, thread),
            Event("W", place, WRITE.get(order, order), written, thread, True)]


# A relation is a set of later events for each event, as bits.
def bits(row):
    while row:
        low = row & -row
        yield low.bit_length() - 1
        row ^= low


def union(*relations):
    return [sum_of(rows) for rows in zip(*relations)]


def sum_of(rows):
    total = 0
    for row in rows:
        total |= row
    return total


def then(a, b):
    return [sum_of(b[i] for i in bits(row)) for row in a]


def closure(relation):
    rows = list(relation)
    for k in range(len(rows)):
        for i in range(len(rows)):
            if rows[i] >> k & 1:
                rows[i] |= rows[k]
    return rows


def has_cycle(relation):
    return any(row >> i & 1 for i, row in enumerate(closure(relation)))


def only(relation, keep):
    return [sum_of(1 << j for j in bits(row) if keep(i, j))
            for i, row in enumerate(relation)]


def program_order(events):
    return [sum_of(1 << j for j, b in enumerate(events)
                   if b.thread >= 0 and
                   (a.thread < 0 or (a.thread == b.thread and i < j)))
            for i, a in enumerate(events)]


def synchronises(events, sb, source):
    """Releases to acquires."""
    sw = [0] * len(events)
    for read, write in source.items():
        if events[read].order == "na":
            continue
        to = [f for f, e in enumerate(events) if e.acquires() and
              (f == read or (e.kind == "F" and sb[read] >> f & 1))]
        while events[write].thread >= 0 and events[write].order != "na":
            for head, e in enumerate(events):
                if e.releases() and (head == write or (
                        e.kind == "F" and sb[head] >> write & 1)):
                    sw[head] |= sum_of(1 << f for f in to)
            if not events[write].half:
                break
            write = source[write - 1]
    return sw


def is_sc(events, sb, hb, co, fr, eco):
    """psc_base | psc_F is acyclic."""
    same = [[a.kind != "F" and b.kind != "F" and a.place == b.place
             for b in events] for a in events]
    apart = only(sb, lambda i, j: not same[i][j])
    scb = union(sb, then(then(apart, hb), apart),
                only(hb, lambda i, j: same[i][j]), co, fr)
    one = [1 << i for i in range(len(events))]
    sc = [e.order == "sc" for e in events]
    fence = [e.order == "sc" and e.kind == "F" for e in events]
    ends = union(only(one, lambda i, j: sc[i]),
                 only(union(one, hb), lambda i, j: fence[j]))
    begins = union(only(one, lambda i, j: sc[i]),
                   only(union(one, hb), lambda i, j: fence[i]))
    far = union(hb, then(then(hb, eco), hb))
    return not has_cycle(union(then(then(begins, scb), ends),
                               only(far, lambda i, j: fence[i] and fence[j])))


def is_allowed(events, sb, hb, rf, co, source, position):
    fr = [0] * len(events)
    for write, at in position.items():
        if events[write].half and at != position[source[write - 1]] + 1:
            return False
    for read, write in source.items():
        fr[read] = co[write]
    eco = closure(union(rf, co, fr))
    if any(eco[j] >> i & 1 for i in range(len(events)) for j in bits(hb[i])):
        return False
    return is_sc(events, sb, hb, co, fr, eco)


def races(events, hb):
    return any(a.order == "na" and a.place == b.place and i != j and
               "W" in (a.kind, b.kind) and
               not hb[i] >> j & 1 and not hb[j] >> i & 1
               for i, a in enumerate(events) for j, b in enumerate(events))


def orders(events, places):
    """Each choice of modification orders."""
    writes = [[i for i, e in enumerate(events)
               if e.kind == "W" and e.place == place] for place in places]
    for choice in itertools.product(
            *[itertools.permutations(w[1:]) for w in writes]):
        yield [[w[0], *later] for w, later in zip(writes, choice)]


def graphs(events, places):
    """The allowed ones: their modification orders, and whether one races."""
    sb = program_order(events)
    reads = [i for i, e in enumerate(events) if e.kind == "R"]
    sources = [[j for j, w in enumerate(events) if w.kind == "W" and
                (w.place, w.value) == (events[i].place, events[i].value)]
               for i in reads]
    for choice in itertools.product(*sources):
        source = dict(zip(reads, choice))
        rf = [sum_of(1 << r for r, w in source.items() if w == i)
              for i in range(len(events))]
        if has_cycle(union(sb, rf)):
            continue
        hb = closure(union(sb, synchronises(events, sb, source)))
        for order in orders(events, places):
            position = {w: i for row in order for i, w in enumerate(row)}
            co = [0] * len(events)
            for row in order:
                for i, write in enumerate(row):
                    co[write] = sum_of(1 << later for later in row[i + 1:])
            if is_allowed(events, sb, hb, rf, co, source, position):
                yield order, races(events, hb)


def enumerate_text(text):
    """Outcomes, executions, and whether one races."""
    body, _, last = text.partition(" ; ")
    threads = [thread.split() for thread in body.split("|")]
    words = [parse(word) for thread in threads for word in thread]
    values = {0} | {n[-1] for kind, _, n, _, _ in words if kind in "WXC"}
    for kind, _, numbers, _, _ in words:
        if kind == "A":
            values |= {value + numbers[0] for value in values}
    places = sorted({place for _, place, _, _, _ in words if place})
    outcomes, executions, racing = set(), 0, False
    for choice in itertools.product(*[paths(thread, sorted(values), i)
                                      for i, thread in enumerate(threads)]):
        events = [Event("W", place, "rlx", 0, -1) for place in places]
        events += [event for path, _ in choice for event in path]
        regs = [reg for _, path in choice for reg in path]
        for order, race in graphs(events, places):
            final = [events[order[places.index(p)][-1]].value for p in last]
            outcomes.add("".join(map(str, regs + final)))
            executions += 1
            racing |= race
    return outcomes, executions, racing


def random_word(rnd, places, plain):
    def order(*some):
        return rnd.choice(some + (("na",) if plain else ()))

    kind = rnd.choice("WWWWRRRRAXCF")
    place, value = rnd.choice(places), rnd.choice("12")
    if kind == "F":
        return "F." + rnd.choice(["acq", "rel", "ar", "sc", "sc"])
    if kind == "W":
        return f"W{place}{value}." + order("rlx", "rel", "sc")
    if kind == "R":
        return f"R{place}." + order("rlx", "acq", "sc")
    both = rnd.choice(["rlx", "acq", "rel", "ar", "sc"])
    if kind == "C":
        return (f"C{place}{rnd.choice('01')}{value}.{both}/" +
                rnd.choice(["rlx", "acq", "sc"]))
    return f"{kind}{place}{'1' if kind == 'A' else value}.{both}"


def random_text(rnd):
    """2 to 4 threads and up to 7 words, not too many of which read."""
    while True:
        threads = [[] for _ in range(rnd.choice([2, 2, 3, 3, 4]))]
        places, plain = rnd.choice(["xy", "xy", "xyz"]), rnd.random() < 0.1
        for i in range(rnd.randrange(max(4, len(threads)), 8)):
            thread = threads[i] if i < len(threads) else rnd.choice(threads)
            thread.append(random_word(rnd, places, plain))
            if thread[-1][0] in READS and rnd.random() < 0.1:
                thread.append(rnd.choice("?&") + rnd.choice("01"))
        words = [word for thread in threads for word in thread]
        if (sum(word[0] in READS for word in words) < 6 and
                sum(word[0] == "A" for word in words) < 3):
            used = {word[1] for word in words if word[0] in "WAXC"}
            return (" | ".join(map(" ".join, threads)) +
                    " ; " + "".join(sorted(used)))


def main():
    program, seconds = sys.argv[1], float(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else time.time_ns()
    rnd, end, failed, count = random.Random(seed), time.time() + seconds, 0, 0
    with subprocess.Popen([program, "--lines"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as explorer:
        while time.time() < end:
            text = random_text(rnd)
            outcomes, executions, race = enumerate_text(text)
            explorer.stdin.write(text + "\n")
            explorer.stdin.flush()
            found = explorer.stdout.readline().split()
            # A race may be in what an assumption cuts off, which is not
            # enumerated.
            right = found[1:2] == ["1"] and (race or "?" in text) or (
                not race and found[:2] == [str(executions), "0"] and
                set(found[2:]) == outcomes - {""})
            if not right:
                failed += 1
                print(f"# {text}: {executions} {sorted(outcomes)}, race "
                      f"{race}; explored {found}")
            count += 1
        explorer.stdin.close()
    print(f"{'not ' if failed else ''}ok 1 - random programs as enumerated "
          f"({count} programs, {failed} wrong, seed {seed})\n1..1")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())

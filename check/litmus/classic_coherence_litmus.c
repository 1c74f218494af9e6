/* SPDX-License-Identifier: MIT */
/*
 * classic_coherence_litmus.c - one place, and orders of writes
 *
 * Counts.  Where every store writes another value and no place is written by
 * two threads, an outcome says what each read read, so there are as many
 * executions as outcomes.  Others are counted beside them.
 *
 * Sources.  [C] the coherence rules, C11 5.1.2.4; [T] the names and
 * verdicts of Alglave, Maranget and Tautschnig, Herding Cats (TOPLAS 2014);
 * [RC11] Lahav and others, Repairing Sequential Consistency in C/C++11 (PLDI
 * 2017); [P] C++20's release sequences, P0982R1.
 */
#include "classic.h"

#define ALL_2 "00 01 10 11"
#define ALL_3 "000 001 010 011 100 101 110 111"

static const struct classic all[] = {
	/* A place's writes come in n! orders. */
	{ "writers-1", "Wx1 ; x", "1", 1, NULL },
	{ "writers-2", "Wx1 | Wx2 ; x", "1 2", 2, NULL },
	{ "writers-3", "Wx1 | Wx2 | Wx3 ; x", "1 2 3", 6, NULL },
	{ "writers-4", "Wx1 | Wx2 | Wx3 | Wx4 ; x", "1 2 3 4", 24, NULL },
	{ "writers-apart", "Wx1 | Wy1 | Wz1 ; xyz", "111", 1, NULL },
	/* Orders of two pairs: 4!/(2! 2!) = 6. */
	{ "writers-2-and-2", "Wx1 Wx2 | Wx3 Wx4 ; x", "2 4", 6, NULL },
	/* Each of k reads has n + 1 sources: (n + 1)^k. */
	{ "reads-1", "Wx1 | Rx", "0 1", 2, NULL },
	{ "reads-2", "Wx1 | Rx | Rx", ALL_2, 4, NULL },
	{ "reads-3", "Wx1 | Rx | Rx | Rx", ALL_3, 8, NULL },
	{ "reads-of-3-writes", "Wx1 Wx2 Wx3 | Rx", "0 1 2 3", 4, NULL },
	/* The same value twice: 2! orders times 3 sources. */
	{ "same-value", "Wx1 | Wx1 | Rx", "0 1", 6, NULL },
	/* [C] read-read: never back in modification order. */
	{ "CoRR", "Wx1 | Rx Rx", "00 01 11", 3, NULL },
	{ "CoRR-acq", "Wx1.rel | Rx.acq Rx", "00 01 11", 3, NULL },
	{ "CoRR-sc-rlx", "Wx1.sc | Rx.sc Rx", "00 01 11", 3, NULL },
	/* Pairs that do not go back in a chain of 3: 6. */
	{ "CoRR-chain", "Wx1 Wx2 | Rx Rx", "00 01 02 11 12 22", 6, NULL },
	/* [C] Two orders, each with 6 such pairs. */
	{ "CoRR-2-writers", "Wx1 | Wx2 | Rx Rx ; x",
	  "001 002 011 012 021 022 111 112 122 211 221 222", 12, NULL },
	/* [C] Two readers agree: 1, 2 for one is never 2, 1 for the
	 * other. */
	{ "CoRR2", "Wx1 | Wx2 | Rx ?1 Rx ?2 | Rx ?2 Rx", "1222", 1, NULL },
	{ "CoRR2-acq",
	  "Wx1.rel | Wx2.rel | Rx.acq ?1 Rx.acq ?2 | Rx.acq ?2 "
	  "Rx.acq",
	  "1222", 1, NULL },
	/* [C] write-write. */
	{ "CoWW", "Wx1 Wx2 ; x", "2", 1, NULL },
	{ "CoWW-3", "Wx1 Wx2 Wx3 ; x", "3", 1, NULL },
	/* [C] read-write: a read does not see its own thread's later
	 * write, and a write is later than what was read before it. */
	{ "CoRW1", "Rx Wx1 ; x", "01", 1, NULL },
	{ "CoRW2", "Rx Wx2 | Wx1 ; x", "01 02 12", 3, NULL },
	/* 0 and 0 in both orders; 2 then 1; 1 then 2. */
	{ "CoRW-twice", "Rx Wx1 | Rx Wx2 ; x", "001 002 012 201", 4, NULL },
	/* [C] write-read: what was written, or later. */
	{ "CoWR0", "Wx1 Rx", "1", 1, NULL },
	{ "CoWR", "Wx1 Rx | Wx2 ; x", "11 12 22", 3, NULL },
	/* The first in order may read the second; the second only
	 * itself: 2 orders times 2. */
	{ "CoWR-twice", "Wx1 Rx | Wx2 Rx ; x", "111 121 122 222", 4, NULL },
	/* [T] 2+2W: 2 orders at each of two places, less the cycle.
	 * RC11 orders stores by sc only, and by fences if both have
	 * one. */
	{ "2+2W", "Wx1 Wy2 | Wy1 Wx2 ; xy", "11 12 21 22", 4, NULL },
	{ "2+2W-rel", "Wx1.rel Wy2.rel | Wy1.rel Wx2.rel ; xy", "11 12 21 22",
	  4, NULL },
	{ "2+2W-sc", "Wx1.sc Wy2.sc | Wy1.sc Wx2.sc ; xy", "12 21 22", 3,
	  NULL },
	{ "2+2W-one-sc", "Wx1.sc Wy2.sc | Wy1 Wx2 ; xy", "11 12 21 22", 4,
	  NULL },
	{ "2+2W-fences-sc", "Wx1 F.sc Wy2 | Wy1 F.sc Wx2 ; xy", "12 21 22", 3,
	  NULL },
	{ "2+2W-fences-ar", "Wx1 F.ar Wy2 | Wy1 F.ar Wx2 ; xy", "11 12 21 22",
	  4, NULL },
	{ "2+2W-one-fence", "Wx1 F.sc Wy2 | Wy1 Wx2 ; xy", "11 12 21 22", 4,
	  NULL },
	{ "2+2W-fence-and-sc", "Wx1 F.sc Wy2 | Wy1.sc Wx2.sc ; xy", "12 21 22",
	  3, NULL },
	{ "2W-same-way", "Wx1 Wy1 | Wx2 Wy2 ; xy", "11 12 21 22", 4, NULL },
	{ "2W-same-way-sc", "Wx1.sc Wy1.sc | Wx2.sc Wy2.sc ; xy", "11 12 21 22",
	  4, NULL },
	/* [T] S: a message and a later write to what it speaks of.  2
	 * values read times 2 orders, less what is forbidden. */
	{ "S", "Wx2 Wy1 | Ry Wx1 ; x", "01 02 11 12", 4, NULL },
	{ "S-rel-acq", "Wx2 Wy1.rel | Ry.acq Wx1 ; x", "01 02 11", 3, NULL },
	{ "S-sc", "Wx2.sc Wy1.sc | Ry.sc Wx1.sc ; x", "01 02 11", 3, NULL },
	{ "S-rel-rlx", "Wx2 Wy1.rel | Ry Wx1 ; x", "01 02 11 12", 4, NULL },
	{ "S-fences", "Wx2 F.rel Wy1 | Ry F.acq Wx1 ; x", "01 02 11", 3, NULL },
	{ "S-rel-data", "Wx2 Wy1.rel | Ry Wx$ ; x", "00 02 11 12", 4, NULL },
	/* [T] R: needs sc on both sides. */
	{ "R", "Wx1 Wy1 | Wy2 Rx ; y", "01 02 11 12", 4, NULL },
	{ "R-rel-acq", "Wx1.rel Wy1.rel | Wy2.rel Rx.acq ; y", "01 02 11 12", 4,
	  NULL },
	{ "R-sc", "Wx1.sc Wy1.sc | Wy2.sc Rx.sc ; y", "01 11 12", 3, NULL },
	{ "R-fences-sc", "Wx1 F.sc Wy1 | Wy2 F.sc Rx ; y", "01 11 12", 3,
	  NULL },
	{ "R-one-fence", "Wx1 Wy1 | Wy2 F.sc Rx ; y", "01 02 11 12", 4, NULL },
	{ "R-fence-and-sc", "Wx1 F.sc Wy1 | Wy2.sc Rx.sc ; y", "01 11 12", 3,
	  NULL },
};

int main(int argc, char **argv)
{
	return classic_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}

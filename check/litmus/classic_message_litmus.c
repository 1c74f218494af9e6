/* SPDX-License-Identifier: MIT */
/*
 * classic_message_litmus.c - messages, chains of them, and fences
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
	/* [T] MP: forbidden only if the flag's store is a release, and
	 * its load an acquire.  The data's order does not matter. */
	{ "MP-rlx-rlx", "Wx1 Wy1.rlx | Ry.rlx Rx", ALL_2, 4, NULL },
	{ "MP-rlx-acq", "Wx1 Wy1.rlx | Ry.acq Rx", ALL_2, 4, NULL },
	{ "MP-rlx-sc", "Wx1 Wy1.rlx | Ry.sc Rx", ALL_2, 4, NULL },
	{ "MP-rel-rlx", "Wx1 Wy1.rel | Ry.rlx Rx", ALL_2, 4, NULL },
	{ "MP-rel-acq", "Wx1 Wy1.rel | Ry.acq Rx", "00 01 11", 3, NULL },
	{ "MP-rel-sc", "Wx1 Wy1.rel | Ry.sc Rx", "00 01 11", 3, NULL },
	{ "MP-sc-rlx", "Wx1 Wy1.sc | Ry.rlx Rx", ALL_2, 4, NULL },
	{ "MP-sc-acq", "Wx1 Wy1.sc | Ry.acq Rx", "00 01 11", 3, NULL },
	{ "MP-sc-sc", "Wx1 Wy1.sc | Ry.sc Rx", "00 01 11", 3, NULL },
	{ "MP-data-sc", "Wx1.sc Wy1 | Ry Rx.sc", ALL_2, 4, NULL },
	{ "MP-data-ra", "Wx1.rel Wy1 | Ry Rx.acq", ALL_2, 4, NULL },
	/* C11 7.17.4: fence to fence, fence to load, store to fence. */
	{ "MP-fence-fence", "Wx1 F.rel Wy1 | Ry F.acq Rx", "00 01 11", 3,
	  NULL },
	{ "MP-fence-acq", "Wx1 F.rel Wy1 | Ry.acq Rx", "00 01 11", 3, NULL },
	{ "MP-rel-fence", "Wx1 Wy1.rel | Ry F.acq Rx", "00 01 11", 3, NULL },
	{ "MP-fences-ar", "Wx1 F.ar Wy1 | Ry F.ar Rx", "00 01 11", 3, NULL },
	{ "MP-fences-sc", "Wx1 F.sc Wy1 | Ry F.sc Rx", "00 01 11", 3, NULL },
	{ "MP-fence-sc-acq", "Wx1 F.sc Wy1 | Ry.acq Rx", "00 01 11", 3, NULL },
	{ "MP-fence-rlx", "Wx1 F.rel Wy1 | Ry Rx", ALL_2, 4, NULL },
	{ "MP-fence-sc-rlx", "Wx1 F.sc Wy1 | Ry Rx", ALL_2, 4, NULL },
	{ "MP-rlx-fence", "Wx1 Wy1 | Ry F.acq Rx", ALL_2, 4, NULL },
	/* The wrong kind, or the wrong place. */
	{ "MP-fences-swapped", "Wx1 F.acq Wy1 | Ry F.rel Rx", ALL_2, 4, NULL },
	{ "MP-fence-early", "F.rel Wx1 Wy1 | Ry F.acq Rx", ALL_2, 4, NULL },
	{ "MP-fence-late", "Wx1 Wy1 F.rel | Ry F.acq Rx", ALL_2, 4, NULL },
	{ "MP-fence-behind", "Wx1 F.rel Wy1 | Ry Rx F.acq", ALL_2, 4, NULL },
	/* A fence works for every store after it: z is no message of
	 * its own. */
	{ "MP-fence-2-stores", "Wx1 F.rel Wy1 Wz1 | Rz F.acq Rx", "00 01 11", 3,
	  NULL },
	/* ... and for every load before it. */
	{ "MP-fence-2-loads", "Wx1 Wy1.rel | Ry Rz F.acq Rx", "000 001 101", 3,
	  NULL },
	/* Plain data; a reader that looks only when it may. */
	{ "MP-plain", "Wx1.na Wy1.rel | Ry.acq &1 Rx.na", "0- 11", 2, NULL },
	{ "MP-plain-sc", "Wx1.na Wy1.sc | Ry.sc &1 Rx.na", "0- 11", 2, NULL },
	{ "MP-plain-fences", "Wx1.na F.rel Wy1 | Ry &1 F.acq Rx.na", "0- 11", 2,
	  NULL },
	{ "MP-waits", "Wx1.na Wy1.rel | Ry.acq ?1 Rx.na", "11", 1, NULL },
	/* A message and its answer. */
	{ "ping-pong",
	  "Wx1.na Wy1.rel Rz.acq ?1 Rx.na | Ry.acq ?1 Wx2.na "
	  "Wz1.rel",
	  "121", 1, NULL },
	/* [T] LB: the cycle is out of thin air for RC11. */
	{ "LB", "Rx Wy1 | Ry Wx1", "00 01 10", 3, NULL },
	{ "LB-acq-rel", "Rx.acq Wy1.rel | Ry.acq Wx1.rel", "00 01 10", 3,
	  NULL },
	{ "LB-sc", "Rx.sc Wy1.sc | Ry.sc Wx1.sc", "00 01 10", 3, NULL },
	{ "LB-fences", "Rx F.sc Wy1 | Ry F.sc Wx1", "00 01 10", 3, NULL },
	/* Of 4 sources the one in which both read the other's. */
	{ "LB-data", "Rx Wy$ | Ry Wx$", "00", 3, NULL },
	{ "LB-3", "Rx Wy1 | Ry Wz1 | Rz Wx1", "000 001 010 011 100 101 110", 7,
	  NULL },
	/* [T] WRC: who has seen a write passes it on.  8, less 1. */
	{ "WRC", "Wx1 | Rx Wy1 | Ry Rx", ALL_3, 8, NULL },
	{ "WRC-rel-acq", "Wx1 | Rx Wy1.rel | Ry.acq Rx",
	  "000 001 010 011 100 101 111", 7, NULL },
	{ "WRC-all-ra", "Wx1.rel | Rx.acq Wy1.rel | Ry.acq Rx.acq",
	  "000 001 010 011 100 101 111", 7, NULL },
	{ "WRC-fences", "Wx1 | Rx F.ar Wy1 | Ry F.ar Rx",
	  "000 001 010 011 100 101 111", 7, NULL },
	{ "WRC-rlx-middle", "Wx1.rel | Rx.acq Wy1 | Ry.acq Rx", ALL_3, 8,
	  NULL },
	{ "WRC-data", "Wx1 | Rx ?1 Wy$ | Ry.acq Rx", "100 101 110 111", 4,
	  NULL },
	/* [T] ISA2: a chain of two messages is as good as one. */
	{ "ISA2", "Wx1 Wy1 | Ry Wz1 | Rz Rx", ALL_3, 8, NULL },
	{ "ISA2-rel-acq", "Wx1 Wy1.rel | Ry.acq Wz1.rel | Rz.acq Rx",
	  "000 001 010 011 100 101 111", 7, NULL },
	{ "ISA2-rlx-middle", "Wx1 Wy1.rel | Ry Wz1.rel | Rz.acq Rx", ALL_3, 8,
	  NULL },
	{ "ISA2-fence-middle", "Wx1 Wy1.rel | Ry F.ar Wz1 | Rz.acq Rx",
	  "000 001 010 011 100 101 111", 7, NULL },
	{ "ISA2-rel-rlx", "Wx1 Wy1.rel | Ry.acq Wz1.rel | Rz Rx", ALL_3, 8,
	  NULL },
	/* [T] A write that one message speaks of, and another
	 * overwrites: WWC, 2 values read by each times 2 orders, less
	 * 2 and 1 with the first write last. */
	{ "WWC-rel-acq", "Wx2 | Rx ?2 Wy1.rel | Ry.acq Wx1 ; x", "201 202 211",
	  3, NULL },
	{ "WWC", "Wx2 | Rx ?2 Wy1 | Ry Wx1 ; x", "201 202 211 212", 4, NULL },
};

int main(int argc, char **argv)
{
	return classic_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}

/* SPDX-License-Identifier: MIT */
/*
 * classic_rmw_litmus.c - read-modify-writes and release sequences
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

static const struct classic all[] = {
	/* k read-modify-writes come in k! orders. */
	{ "add-1", "Ax1 ; x", "01", 1, NULL },
	{ "add-2", "Ax1 | Ax1 ; x", "012 102", 2, NULL },
	{ "add-3", "Ax1 | Ax1 | Ax1 ; x", "0123 0213 1023 1203 2013 2103", 6,
	  NULL },
	{ "add-4", "Ax1 | Ax1 | Ax1 | Ax1 ; x",
	  "01234 01324 02134 02314 03124 03214 10234 10324 12034 "
	  "12304 13024 13204 20134 20314 21034 21304 23014 23104 "
	  "30124 30214 31024 31204 32014 32104",
	  24, NULL },
	{ "add-4-sc", "Ax1.sc | Ax1.sc | Ax1.sc | Ax1.sc ; x",
	  "01234 01324 02134 02314 03124 03214 10234 10324 12034 "
	  "12304 13024 13204 20134 20314 21034 21304 23014 23104 "
	  "30124 30214 31024 31204 32014 32104",
	  24, NULL },
	{ "add-2-and-1", "Ax1 Ax1 | Ax1 ; x", "0123 0213 1203", 3, NULL },
	/* 4!/(2! 2!) orders. */
	{ "add-2-and-2", "Ax1 Ax1 | Ax1 Ax1 ; x",
	  "01234 02134 03124 12034 13024 23014", 6, NULL },
	{ "add-apart", "Ax1 | Ay1 ; xy", "0011", 1, NULL },
	{ "xchg-2", "Xx1 | Xx2 ; x", "012 201", 2, NULL },
	{ "xchg-3", "Xx1 | Xx2 | Xx3 ; x", "0123 0312 2013 3021 3102 2301", 6,
	  NULL },
	/* Not atomic: both may read 0, in two orders; else one after
	 * the other. */
	{ "add-by-halves", "Rx Wx1 | Rx Wx2 ; x", "001 002 012 201", 4, NULL },
	/* A store is before or after, never in between: 2; of two
	 * stores the order, too: 3 places times 2!. */
	{ "add-and-store", "Ax1 | Wx5 ; x", "05 56", 2, NULL },
	{ "add-and-2-stores", "Ax1 | Wx4 | Wx6 ; x", "04 06 45 46 64 67", 6,
	  NULL },
	/* One of two wins; the loser sees the winner. */
	{ "cas-one-wins", "Cx01 | Cx02 ; x", "011 202", 2, NULL },
	{ "cas-3-one-wins", "Cx01 | Cx02 | Cx03 ; x", "0111 2022 3303", 3,
	  NULL },
	{ "cas-chain", "Cx01 | Cx12 ; x", "001 012", 2, NULL },
	{ "cas-fails", "Cx51 ; x", "00", 1, NULL },
	/* CAS: which order counts.  y is 1 or not; 4, less 1 if it
	 * acquires. */
	{ "cas-acq-success", "Wx1 Wy1.rel | Cy12.acq Rx", "00 01 11", 3, NULL },
	{ "cas-rlx-success", "Wx1 Wy1.rel | Cy12.rlx/acq Rx", ALL_2, 4, NULL },
	{ "cas-acq-failure", "Wx1 Wy1.rel | Cy52.rlx/acq Rx", "00 01 11", 3,
	  NULL },
	{ "cas-rlx-failure", "Wx1 Wy1.rel | Cy52.acq/rlx Rx", ALL_2, 4, NULL },
	{ "cas-sc-failure", "Wx1 Wy1.rel | Cy52.sc/sc Rx", "00 01 11", 3,
	  NULL },
	{ "cas-rel-publishes", "Wx1 Cy01.rel | Ry.acq Rx", "000 001 011", 3,
	  NULL },
	{ "cas-acq-publishes-not", "Wx1 Cy01.acq | Ry.acq Rx",
	  "000 001 010 011", 4, NULL },
	{ "cas-failed-publishes-not", "Wx1 Cy52.sc/sc | Ry.acq Rx", "000 001",
	  2, NULL },
	{ "rmw-ar-both-ways", "Wx1 Ay1.ar | Ay1.ar Rx", "011 100 101", 3,
	  NULL },
	{ "rmw-rel-only", "Wx1 Ay1.rel | Ay1.rel Rx", "010 011 100 101", 4,
	  NULL },
	/* [P] A release sequence goes on through read-modify-writes of
	 * any thread and order.  The add after the store: 2 + 1 + 1
	 * for what is read of y; before it: 2 + 2 + 1. */
	{ "RS-rmw", "Wx1 Wy1.rel | Ay2 | Ry.acq Rx",
	  "000 001 011 020 021 100 101 111 131", 9, NULL },
	{ "RS-2-rmws", "Wx1 Wy1.rel | Ay1 ?1 | Ay1 ?2 | Ry.acq ?3 Rx", "1231",
	  1, NULL },
	{ "RS-own-rmw", "Wx1 Wy1.rel Ay1 | Ry.acq Rx", "100 101 111 121", 4,
	  NULL },
	{ "RS-cas", "Wx1 Wy1.rel | Cy12 ?1 | Ry.acq ?2 Rx", "121", 1, NULL },
	{ "RS-xchg", "Wx1 Wy1.rel | Xy2 ?1 | Ry.acq ?2 Rx", "121", 1, NULL },
	/* [P] ... and not through a store, though of the same thread. */
	{ "RS-own-store", "Wx1 Wy1.rel Wy2 | Ry.acq Rx", "00 01 11 20 21", 5,
	  NULL },
	/* 5 times the 2 orders of the stores. */
	{ "RS-other-store", "Wx1 Wy1.rel | Wy2 | Ry.acq Rx", "00 01 11 20 21",
	  10, NULL },
	{ "RS-store-and-rmw", "Wx1 Wy1.rel Wy2 | Ay1 ?2 | Ry.acq ?3 Rx",
	  "230 231", 2, NULL },
	{ "RS-own-store-fence", "Wx1 F.rel Wy1 Wy2 | Ry.acq Rx", "00 01 11 21",
	  4, NULL },
	/* With fences at either end. */
	{ "RS-fence-head", "Wx1 F.rel Wy1 | Ay1 ?1 | Ry.acq ?2 Rx", "121", 1,
	  NULL },
	{ "RS-fence-tail", "Wx1 Wy1.rel | Ay1 ?1 | Ry ?2 F.acq Rx", "121", 1,
	  NULL },
	{ "RS-fence-both", "Wx1 F.rel Wy1 | Ay1 ?1 | Ry ?2 F.acq Rx", "121", 1,
	  NULL },
	{ "RS-rlx-head", "Wx1 Wy1 | Ay1 ?1 | Ry.acq ?2 Rx", "120 121", 2,
	  NULL },
	{ "RS-rlx-tail", "Wx1 Wy1.rel | Ay1 ?1 | Ry ?2 Rx", "120 121", 2,
	  NULL },
	/* The read-modify-write in between hands its own past on only
	 * if it is a release, and has the store's only if it acquires. */
	{ "RS-middle-rlx", "Wx1 Wy1.rel | Wz1 Ay1 ?1 | Ry.acq ?2 Rx Rz",
	  "1210 1211", 2, NULL },
	{ "RS-middle-rel", "Wx1 Wy1.rel | Wz1 Ay1.rel ?1 | Ry.acq ?2 Rx Rz",
	  "1211", 1, NULL },
	{ "RS-middle-reads-rlx", "Wx1 Wy1.rel | Ay1 ?1 Rx", "10 11", 2, NULL },
	{ "RS-middle-reads-acq", "Wx1 Wy1.rel | Ay1.acq ?1 Rx", "11", 1, NULL },
	/* Larger ones, which the explorer got wrong once.  Add, store: 3
	 * values for the first, 2 of y, 1 for the last; store, add: 3 times 2
	 * times 2. */
	{ "add-among-reads", "Rx Wy1 | Ax1 Ry | Wx3 Rx ; x",
	  "00033 00133 03034 03044 03134 03144 10033 10133 30033 "
	  "30133 33034 33044 33134 33144 43034 43044 43134 43144",
	  18, NULL },
	/* 2 orders at z; at x 6, after whose 2 there are 2, 1, 3, 1, 3 and 2
	 * values to read. */
	{ "add-add-stores", "Ax1 | Az1 Wx2 Rx | Wz1 | Wx4 ; xz",
	  "00221 00241 00441 01222 01242 01442 20231 20241 20331 "
	  "20341 20441 21232 21242 21332 21342 21442 40221 40251 "
	  "40451 40551 41222 41252 41452 41552",
	  24, NULL },
	/* Plain data, without a race. */
	{ "RS-count-down",
	  "Wx1.na As1.rel | Wy1.na As1.rel | Rs.acq ?2 Rx.na Ry.na",
	  "01211 10211", 2, NULL },
	/* A lock of exchanges: who takes it first. */
	{ "xchg-lock", "Xl1.acq ?0 Wx1.na Wl0.rel | Xl1.acq ?0 Rx.na Wl0.rel",
	  "000 001", 2, NULL },
	{ "xchg-lock-3",
	  "Xl1.acq ?0 Rx.na Wx1.na Wl0.rel | Xl1.acq ?0 Rx.na "
	  "Wx2.na Wl0.rel | Xl1.acq ?0 Rx.na Wx3.na Wl0.rel",
	  "000102 000301 020001 030002 030100 020300", 6, NULL },
	{ "xchg-lock-rlx", "Xl1 ?0 Wx1.na Wl0.rel | Xl1 ?0 Rx.na Wl0.rel", NULL,
	  0, "data race" },
	{ "xchg-unlock-rlx", "Xl1.acq ?0 Wx1.na Wl0 | Xl1.acq ?0 Rx.na Wl0",
	  NULL, 0, "data race" },
	{ "cas-lock", "Cl01.acq ?0 Wx1.na Wl0.rel | Cl01.acq ?0 Rx.na Wl0.rel",
	  "000 001", 2, NULL },
	{ "try-lock",
	  "Cl01.acq &0 Rx.na Wx1.na Wl0.rel | Cl01.acq &0 Rx.na "
	  "Wx1.na Wl0.rel",
	  "0001 001- 0100 1-00", 4, NULL },
};

int main(int argc, char **argv)
{
	return classic_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}

/* SPDX-License-Identifier: MIT */
/*
 * classic_order_litmus.c - store buffering, IRIW, and sequential consistency
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
#define ALL_4                                           \
	"0000 0001 0010 0011 0100 0101 0110 0111 1000 " \
	"1001 1010 1011 1100 1101 1110 1111"

static const struct classic all[] = {
	/* [T] SB: forbidden by sc accesses everywhere, or a fence in
	 * both. */
	{ "SB", "Wx1 Ry | Wy1 Rx", ALL_2, 4, NULL },
	{ "SB-rel-acq", "Wx1.rel Ry.acq | Wy1.rel Rx.acq", ALL_2, 4, NULL },
	{ "SB-sc", "Wx1.sc Ry.sc | Wy1.sc Rx.sc", "01 10 11", 3, NULL },
	{ "SB-fences-sc", "Wx1 F.sc Ry | Wy1 F.sc Rx", "01 10 11", 3, NULL },
	{ "SB-fences-ar", "Wx1 F.ar Ry | Wy1 F.ar Rx", ALL_2, 4, NULL },
	{ "SB-one-fence", "Wx1 F.sc Ry | Wy1 Rx", ALL_2, 4, NULL },
	{ "SB-fence-and-ar", "Wx1 F.sc Ry | Wy1 F.ar Rx", ALL_2, 4, NULL },
	{ "SB-sc-and-ra", "Wx1.sc Ry.sc | Wy1.rel Rx.acq", ALL_2, 4, NULL },
	{ "SB-sc-stores", "Wx1.sc Ry | Wy1.sc Rx", ALL_2, 4, NULL },
	{ "SB-sc-loads", "Wx1 Ry.sc | Wy1 Rx.sc", ALL_2, 4, NULL },
	{ "SB-one-load-acq", "Wx1.sc Ry.acq | Wy1.sc Rx.sc", ALL_2, 4, NULL },
	{ "SB-one-store-rel", "Wx1.rel Ry.sc | Wy1.sc Rx.sc", ALL_2, 4, NULL },
	/* [RC11] psc: a fence is ordered with sc accesses, too. */
	{ "SB-fence-and-sc", "Wx1 F.sc Ry | Wy1.sc Rx.sc", "01 10 11", 3,
	  NULL },
	{ "SB-fence-early", "F.sc Wx1 Ry | F.sc Wy1 Rx", ALL_2, 4, NULL },
	{ "SB-fence-late", "Wx1 Ry F.sc | Wy1 Rx F.sc", ALL_2, 4, NULL },
	{ "SB-3", "Wx1 Ry | Wy1 Rz | Wz1 Rx", ALL_3, 8, NULL },
	{ "SB-3-sc", "Wx1.sc Ry.sc | Wy1.sc Rz.sc | Wz1.sc Rx.sc",
	  "001 010 011 100 101 110 111", 7, NULL },
	{ "SB-3-fences-sc", "Wx1 F.sc Ry | Wy1 F.sc Rz | Wz1 F.sc Rx",
	  "001 010 011 100 101 110 111", 7, NULL },
	{ "SB-3-two-fences", "Wx1 F.sc Ry | Wy1 F.sc Rz | Wz1 Rx", ALL_3, 8,
	  NULL },
	/* SB with a look at the own store first (SB+rfi). */
	{ "SB-rfi", "Wx1 Rx Ry | Wy1 Ry Rx", "1010 1011 1110 1111", 4, NULL },
	{ "SB-rfi-sc", "Wx1.sc Rx.sc Ry.sc | Wy1.sc Ry.sc Rx.sc",
	  "1011 1110 1111", 3, NULL },
	{ "SB-rfi-acq", "Wx1.sc Rx.acq Ry.sc | Wy1.sc Ry.acq Rx.sc",
	  "1011 1110 1111", 3, NULL },
	/* Read-modify-writes: acq_rel is no fence, sc is ordered. */
	{ "SB-xchg-ar", "Xx1.ar Ry.acq | Xy1.ar Rx.acq", "0000 0001 0100 0101",
	  4, NULL },
	{ "SB-xchg-sc", "Xx1.sc Ry.sc | Xy1.sc Rx.sc", "0001 0100 0101", 3,
	  NULL },
	/* [RC11] Not as on x86: an exchange of sc is no fence for what
	 * is relaxed after it. */
	{ "SB-xchg-sc-rlx", "Xx1.sc Ry | Xy1.sc Rx", "0000 0001 0100 0101", 4,
	  NULL },
	/* ... but two of one place are one after the other: 2 orders,
	 * in each the first reads anything, and the second what the
	 * first wrote. */
	{ "SB-rmw-fence", "Wx1 Az0.ar Ry | Wy1 Az0.ar Rx", "0001 0100 0101", 4,
	  NULL },
	{ "SB-rmw-fence-rlx", "Wx1 Az0 Ry | Wy1 Az0 Rx", "0000 0001 0100 0101",
	  8, NULL },
	/* [T] IRIW: 16, less the one in which the readers differ. */
	{ "IRIW", "Wx1 | Wy1 | Rx Ry | Ry Rx", ALL_4, 16, NULL },
	{ "IRIW-rel-acq", "Wx1.rel | Wy1.rel | Rx.acq Ry.acq | Ry.acq Rx.acq",
	  ALL_4, 16, NULL },
	{ "IRIW-sc", "Wx1.sc | Wy1.sc | Rx.sc Ry.sc | Ry.sc Rx.sc",
	  "0000 0001 0010 0011 0100 0101 0110 0111 1000 1001 1011 "
	  "1100 1101 1110 1111",
	  15, NULL },
	{ "IRIW-fences-sc", "Wx1 | Wy1 | Rx F.sc Ry | Ry F.sc Rx",
	  "0000 0001 0010 0011 0100 0101 0110 0111 1000 1001 1011 "
	  "1100 1101 1110 1111",
	  15, NULL },
	{ "IRIW-fences-ar", "Wx1 | Wy1 | Rx F.ar Ry | Ry F.ar Rx", ALL_4, 16,
	  NULL },
	{ "IRIW-one-fence", "Wx1 | Wy1 | Rx F.sc Ry | Ry.acq Rx", ALL_4, 16,
	  NULL },
	/* [RC11] sc stores and last loads are not enough,
	 * nor sc loads of relaxed stores. */
	{ "IRIW-acq-sc", "Wx1.sc | Wy1.sc | Rx.acq Ry.sc | Ry.acq Rx.sc", ALL_4,
	  16, NULL },
	{ "IRIW-sc-loads", "Wx1 | Wy1 | Rx.sc Ry.sc | Ry.sc Rx.sc", ALL_4, 16,
	  NULL },
	{ "IRIW-rel-sc", "Wx1.rel | Wy1.rel | Rx.sc Ry.sc | Ry.sc Rx.sc", ALL_4,
	  16, NULL },
	{ "IRIW-one-reader-acq",
	  "Wx1.sc | Wy1.sc | Rx.sc Ry.sc | Ry.acq Rx.acq", ALL_4, 16, NULL },
	/* [T] RWC; [RC11]. */
	{ "RWC", "Wx1 | Rx Ry | Wy1 Rx", ALL_3, 8, NULL },
	{ "RWC-rel-acq", "Wx1.rel | Rx.acq Ry.acq | Wy1.rel Rx.acq", ALL_3, 8,
	  NULL },
	{ "RWC-sc", "Wx1.sc | Rx.sc Ry.sc | Wy1.sc Rx.sc",
	  "000 001 010 011 101 110 111", 7, NULL },
	{ "RWC-fences-sc", "Wx1 | Rx F.sc Ry | Wy1 F.sc Rx",
	  "000 001 010 011 101 110 111", 7, NULL },
	{ "RWC-one-fence", "Wx1 | Rx F.ar Ry | Wy1 F.sc Rx", ALL_3, 8, NULL },
	{ "RWC-acq", "Wx1.sc | Rx.acq Ry.sc | Wy1.sc Rx.sc", ALL_3, 8, NULL },
	/* [T] W+RWC. */
	{ "W+RWC", "Wx1 Wy1 | Ry Rz | Wz1 Rx", ALL_3, 8, NULL },
	{ "W+RWC-fences-sc", "Wx1 Wy1.rel | Ry.acq F.sc Rz | Wz1 F.sc Rx",
	  "000 001 010 011 101 110 111", 7, NULL },
	{ "W+RWC-sc", "Wx1.sc Wy1.rel | Ry.acq Rz.sc | Wz1.sc Rx.sc",
	  "000 001 010 011 101 110 111", 7, NULL },
	/* [RC11] sb!=loc; hb; sb!=loc: a step at the same place is none. */
	{ "W+RWC-same-place",
	  "Wx1.sc Wx2.rel | Rx.acq ?2 Ry.sc ?0 | Wy1.sc Rx.sc", "200 201 202",
	  3, NULL },
	{ "W+RWC-rlx-flag", "Wx1 Wy1 | Ry F.sc Rz | Wz1 F.sc Rx", ALL_3, 8,
	  NULL },
	{ "W+RWC-one-fence", "Wx1 Wy1.rel | Ry.acq Rz | Wz1 F.sc Rx", ALL_3, 8,
	  NULL },
	/* [RC11] Z6.U: allowed, since happens-before
	 * leaves the first thread by a release that is not sc.  1, 2,
	 * 3 is the one order in which the second thread reads so; 2
	 * reads of x. */
	{ "Z6.U", "Wx1.sc Wy1.rel | Ay1.sc ?1 Ry ?3 | Wy3.sc Rx.sc", "130 131",
	  2, NULL },
	{ "Z6.U-sc", "Wx1.sc Wy1.sc | Ay1.sc ?1 Ry ?3 | Wy3.sc Rx.sc", "131", 1,
	  NULL },
	/* [T] Z6.3: a link by modification order, and one by
	 * reads. */
	{ "Z6.3", "Wx1 Wy1 | Wy2 Wz1 | Rz Rx ; y",
	  "001 002 011 012 101 102 111 112", 8, NULL },
	{ "Z6.3-fences-sc", "Wx1 F.sc Wy1 | Wy2 F.sc Wz1 | Rz F.sc Rx ; y",
	  "001 002 011 012 101 111 112", 7, NULL },
	{ "Z6.3-rel-acq",
	  "Wx1.rel Wy1.rel | Wy2.rel Wz1.rel | Rz.acq Rx.acq ; y",
	  "001 002 011 012 101 102 111 112", 8, NULL },
};

int main(int argc, char **argv)
{
	return classic_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}

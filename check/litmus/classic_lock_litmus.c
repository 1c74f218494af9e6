/* SPDX-License-Identifier: MIT */
/*
 * classic_lock_litmus.c - locks, races, assumptions and RCU
 *
 * Counts.  Where every store writes another value and no place is written by
 * two threads, an outcome says what each read read, so there are as many
 * executions as outcomes.  Others are counted beside them.
 *
 * Sources.  [C] the coherence rules, C11 5.1.2.4; [T] the names and
 * verdicts of Alglave, Maranget and Tautschnig, Herding Cats (TOPLAS 2014);
 * [RC11] Lahav and others, Repairing Sequential Consistency in C/C++11 (PLDI
 * 2017); [P] C++20's release sequences, P0982R1. RCU: the tests of Linux'
 * tools/memory-model (Alglave and others, ASPLOS 2018).
 */
#include "classic.h"

#define ALL_2 "00 01 10 11"

static const struct classic all[] = {
	/* Critical sections: n! orders. */
	{ "lock-2", "La Rx.na Wx1.na Ua | La Rx.na Wx2.na Ua", "01 20", 2,
	  NULL },
	{ "lock-3",
	  "La Rx.na Wx1.na Ua | La Rx.na Wx2.na Ua | La Rx.na "
	  "Wx3.na Ua",
	  "012 031 201 230 302 310", 6, NULL },
	{ "lock-excludes", "La Wx1 Rx Ua | La Wx2 Rx Ua ; x", "121 122", 2,
	  NULL },
	{ "locks-apart", "La Wx1 Ua | Lb Wy1 Ub ; xy", "11", 1, NULL },
	/* 4!/(2! 2!) orders. */
	{ "lock-twice-each", "La Wx1 Ua La Wx2 Ua | La Wx3 Ua La Wx4 Ua ; x",
	  "2 4", 6, NULL },
	/* A lock hands on what was before it.  First the reader: x is
	 * 0 or 1. */
	{ "lock-message", "Wx1 La Wy1 Ua | La Ry Ua Rx", "00 01 11", 3, NULL },
	{ "lock-not-held", "La Wx1.na Ua | Wx2.na", NULL, 0, "data race" },
	{ "two-locks-race", "La Wx1.na Ua | Lb Wx2.na Ub", NULL, 0,
	  "data race" },
	{ "lock-SB", "La Wx1 Ua La Ry Ua | La Wy1 Ua La Rx Ua", "01 10 11", 6,
	  NULL },
	/* Dead-locks, found. */
	{ "dead-lock-AB-BA", "La Lb Ub Ua | Lb La Ua Ub", NULL, 0,
	  "dead-lock" },
	{ "dead-lock-self", "La La", NULL, 0, "dead-lock" },
	{ "dead-lock-kept", "La | La", NULL, 0, "dead-lock" },
	{ "dead-lock-3", "La Lb Ub Ua | Lb Lc Uc Ub | Lc La Ua Uc", NULL, 0,
	  "dead-lock" },
	{ "dead-lock-seldom", "Wx1 La Lb Ub Ua | Rx &1 Lb La Ua Ub", NULL, 0,
	  "dead-lock" },
	/* ... and none invented.  Same order: 2; a third lock around:
	 * 2. */
	{ "no-dead-lock-AB-AB",
	  "La Lb Rx.na Wx1.na Ub Ua | La Lb Rx.na Wx2.na Ub Ua", "01 20", 2,
	  NULL },
	{ "no-dead-lock-gate",
	  "Lc La Lb Rx.na Wx1.na Ub Ua Uc | Lc Lb La Rx.na Wx2.na "
	  "Ua Ub Uc",
	  "01 20", 2, NULL },
	{ "no-dead-lock-one-by-one",
	  "La Wx1 Ua Lb Wy1 Ub | Lb Wy2 Ub La Wx2 Ua ; xy", "11 21 22", 3,
	  NULL },
	/* 2^3 orders, less 2 cycles, times 2 values.  A thread that
	 * waits for what another has done already is not stuck. */
	{ "no-dead-lock-dag", "La Lb Ub Ua Rx | Lb Lc Uc Ub | La Lc Uc Ua Wx1",
	  "0 1", 12, NULL },
	/* One waits with the lock, or without it. */
	{ "dead-lock-and-wait", "La Ry ?1 Ua | La Wy1 Ua", NULL, 0,
	  "dead-lock" },
	{ "no-dead-lock-and-wait", "La Ua Ry ?1 | La Wy1 Ua", "1", 2, NULL },
	/* Assumptions: only where they hold. */
	{ "assume-waits", "Wx1 | Rx ?1", "1", 1, NULL },
	{ "assume-never", "Wx1 | Rx ?2", "", 0, NULL },
	{ "assume-chain", "Wx1.rel | Rx.acq ?1 Wy1.rel | Ry.acq ?1 Rx", "111",
	  1, NULL },
	{ "assume-each-other", "Rx ?1 Wy1 | Ry ?1 Wx1", "", 0, NULL },
	/* Races, announced. */
	{ "race-write-write", "Wx1.na | Wx2.na", NULL, 0, "data race" },
	{ "race-write-read", "Wx1.na | Rx.na", NULL, 0, "data race" },
	{ "race-read-write", "Rx.na | Wx1.na", NULL, 0, "data race" },
	{ "race-plain-and-atomic", "Wx1.na | Rx.sc", NULL, 0, "data race" },
	{ "race-atomic-and-plain", "Wx1.sc | Rx.na", NULL, 0, "data race" },
	{ "race-MP-rlx", "Wx1.na Wy1 | Ry.acq &1 Rx.na", NULL, 0, "data race" },
	{ "race-MP-read-rlx", "Wx1.na Wy1.rel | Ry &1 Rx.na", NULL, 0,
	  "data race" },
	{ "race-MP-looks-anyway", "Wx1.na Wy1.rel | Ry.acq Rx.na", NULL, 0,
	  "data race" },
	{ "race-RS-store", "Wx1.na Wy1.rel Wy2 | Ry.acq &2 Rx.na", NULL, 0,
	  "data race" },
	{ "race-fences-apart", "Wx1.na F.sc | F.sc Rx.na", NULL, 0,
	  "data race" },
	{ "race-SB-ra", "Wx1.rel Ry.acq &0 Wz1.na | Wy1.rel Rx.acq &0 Wz2.na",
	  NULL, 0, "data race" },
	{ "race-late", "Wx1.na Wy1.rel Wx2.na | Ry.acq &1 Rx.na", NULL, 0,
	  "data race" },
	/* ... and not invented. */
	{ "no-race-reads", "Rx.na | Rx.na", "00", 1, NULL },
	{ "no-race-apart", "Wx1.na | Wy1.na ; xy", "11", 1, NULL },
	{ "no-race-atomic", "Wx1 | Wx2 ; x", "1 2", 2, NULL },
	{ "no-race-RS", "Wx1.na Wy1.rel | Ay1 ?1 | Ry.acq ?2 Rx.na", "121", 1,
	  NULL },
	{ "no-race-Dekker-sc",
	  "Wx1.sc Ry.sc &0 Wz1.na | Wy1.sc Rx.sc &0 Wz2.na ; z", "011 102 110",
	  3, NULL },
	{ "no-race-Dekker-fences",
	  "Wx1 F.sc Ry &0 Wz1.na | Wy1 F.sc Rx &0 Wz2.na ; z", "011 102 110", 3,
	  NULL },
	{ "no-race-chain",
	  "Wx1.na Wy1.rel | Ry.acq ?1 Wz1.rel | Rz.acq ?1 Rx.na", "111", 1,
	  NULL },
	/* The same, announced by the compiler's instrumentation only. */
	{ "race-hidden-write-write", "wx1 | wx2", NULL, 0, "data race" },
	{ "race-hidden-write-read", "wx1 | rx", NULL, 0, "data race" },
	{ "race-hidden-read-write", "rx | wx1", NULL, 0, "data race" },
	{ "race-hidden-MP-rlx", "wx1 Wy1 | Ry.acq &1 rx", NULL, 0,
	  "data race" },
	{ "race-hidden-MP-fence", "wx1 F.rel Wy1 | Ry &1 rx", NULL, 0,
	  "data race" },
	{ "race-hidden-late", "wx1 Wy1.rel wx2 | Ry.acq &1 rx", NULL, 0,
	  "data race" },
	{ "race-hidden-RS", "wx1 Wy1.rel Wy2 | Ry.acq &2 rx", NULL, 0,
	  "data race" },
	{ "race-hidden-lock", "La wx1 Ua | Lb rx Ub", NULL, 0, "data race" },
	{ "no-race-hidden-reads", "rx | rx", "00", 1, NULL },
	{ "no-race-hidden-apart", "wx1 | wy1 ; xy", "11", 1, NULL },
	{ "no-race-hidden-MP", "wx1 Wy1.rel | Ry.acq &1 rx", "0- 11", 2, NULL },
	{ "no-race-hidden-fences", "wx1 F.rel Wy1 | Ry &1 F.acq rx", "0- 11", 2,
	  NULL },
	{ "no-race-hidden-RS", "wx1 Wy1.rel | Ay1 ?1 | Ry.acq ?2 rx", "121", 1,
	  NULL },
	{ "no-race-hidden-lock", "La rx wx1 Ua | La rx wx2 Ua", "01 20", 2,
	  NULL },
	{ "no-race-hidden-answer",
	  "wx1 Wy1.rel Rz.acq ?1 rx | Ry.acq ?1 wx2 Wz1.rel", "121", 1, NULL },
	/* RCU: a section that sees what was done after a grace period
	 * sees what was done before it, whichever it reads first. */
	{ "RCU-MP", "Wx1 G Wy1 | [ Ry Rx ]", "00 01 11", 0, NULL },
	{ "RCU-MP-backwards", "Wx1 G Wy1 | [ Rx Ry ]", "00 10 11", 0, NULL },
	{ "RCU-no-section", "Wx1 G Wy1 | Ry Rx", ALL_2, 0, NULL },
	{ "RCU-no-grace-period", "Wx1 Wy1 | [ Ry Rx ]", ALL_2, 0, NULL },
	{ "RCU-is-no-fence", "Wx1 [ Ry ] | Wy1 [ Rx ]", ALL_2, 0, NULL },
	{ "RCU-two-sections", "Wx1 G Wy1 | [ Rx ] [ Ry ]", ALL_2, 0, NULL },
	{ "RCU-SB", "Wx1 G Ry | [ Wy1 Rx ]", "01 10 11", 0, NULL },
	{ "RCU-LB", "Rx G Wy1 | [ Ry Wx1 ]", "00 01 10", 0, NULL },
	/* The removal of what may be read still, and its end. */
	{ "RCU-free", "Wx1 G Wy1.na | [ Rx &0 Ry.na ]", "00 1-", 0, NULL },
	{ "RCU-free-at-once", "Wx1 Wy1.na | [ Rx &0 Ry.na ]", NULL, 0,
	  "data race" },
	{ "RCU-free-hidden", "Wx1 G wy1 | [ Rx &0 ry ]", "00 1-", 0, NULL },
	{ "RCU-free-after-section", "Wx1 G Wy1.na | [ Rx ] &0 Ry.na", NULL, 0,
	  "data race" },
};

int main(int argc, char **argv)
{
	return classic_main(all, sizeof(all) / sizeof(all[0]), argc, argv);
}

/* SPDX-License-Identifier: MIT */
/*
 * sigsegv.c - this process's memory, by mprotect(2) and a signal handler
 *
 * Theory of operation
 * -------------------
 * For kernels that lack what wp.c needs.  A logged slot's pages are made
 * read-only; the first write to one raises SIGSEGV, whose handler marks the
 * page, makes it writable and returns, and the write runs (thread 1: mark, then
 * writable).  A harvest takes a word of marks and makes its pages read-only
 * again.  Both hold the slot's lock from the one step to the other: a harvest
 * that fell between mark and writable would leave a page writable without a
 * mark (K2).  The lock is a word that is spun on, because a handler may use
 * nothing else; a harvest blocks all signals while it holds it, and touches no
 * tracked memory, so that no handler of its own thread ever waits for it.
 *
 * Every other page that is protected or not makes one mapping more, and a
 * process may have some 65,000.  Where mprotect says that there are no more,
 * the handler makes a larger block writable, all of which is then dirty; the
 * whole slot is one mapping in any case.
 *
 * The handler is the process's.  It is installed with the first tracker, runs
 * on the alternate stack if the thread has one, and calls whoever was there
 * before for every fault that is not ours.  A fault that was ours when it was
 * raised may find no slot any more: it is tried once more, after each removal.
 * One that comes again though nothing was made read-only since is not ours, as
 * when code jumps into tracked memory.
 *
 * It runs with all signals blocked: the handler of one that came meanwhile
 * could not write tracked memory, because SIGSEGV is blocked.  Who was there
 * before gets the signals that it would have had.  After fork() the child has
 * one thread, which waits for none that was in the handler.
 *
 * Memory that is mapped anew in a slot is not read-only, and nothing of it
 * faults.  So a harvest first looks at the process's mappings: what is writable
 * without a mark makes the whole slot dirty, and is armed again.
 *
 * What it cannot see: a system call that writes into a protected page fails
 * with EFAULT, and a page that is discarded reads as zero without a mark.
 *
 * Synchronisation
 *   guarded.publish  a slot's record is complete -> guarded.find
 *   guarded.enter    a handler is at work -> guarded.wait, before it is freed
 *   guarded.leave    it has left -> guarded.wait
 *   guarded.removed  a slot was taken out -> guarded.again
 *   guarded.unlock   what was done under a slot's lock -> guarded.lock
 */
#include "tracker/sigsegv.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/relax.h"
#include "log/bitmap.h"
#include "tracker/own_maps.h"

#define SLOTS_MAX 1024u

struct guarded {
	uintptr_t begin;
	uint64_t npages;
	_Atomic uint32_t lock;
	uint64_t epoch; /* unlike any other; a new one for each harvest */
	struct tide_bitmap dirty; /* and writable */
	const struct tide_slot *slot;
	const struct tide_sigsegv *tracker;
	bool strange; /* of the harvest: a part is not as we left it */
};

struct tide_sigsegv {
	struct tide_space *space;
};

/* What a handler can reach: there is one for the process. */
struct sigsegv_all {
	_Atomic(struct guarded *) slots[SLOTS_MAX];
	_Atomic uint32_t end;	   /* none from here on */
	_Atomic uint32_t handlers; /* that are at work */
	_Atomic uint64_t removals;
	_Atomic uint64_t epochs;
	struct sigaction before; /* the one that was there */
	uint32_t trackers;
	bool forks_known;      /* in_child() is called */
	bool left;	       /* in place, under somebody else's */
	struct tide_lock lock; /* of all that follows epochs, and of writing
				* slots */
};

static struct sigsegv_all all = {
	.lock = TIDE_LOCK_INITIALIZER(TIDE_RANK_SIGSEGV),
};

/* Of this thread: the removals when a fault was last tried once more. */
static __thread uint64_t tried __attribute__((tls_model("initial-exec")));
/* Of this thread: the last page that was made writable for it, and when. */
static __thread struct {
	uint64_t epoch, page;
} last __attribute__((tls_model("initial-exec")));

static void lock_slot(struct guarded *guarded)
{
	/* ACQUIRE(guarded.lock) pairs with RELEASE(guarded.unlock) */
	while (atomic_exchange_explicit(&guarded->lock, 1,
					memory_order_acquire))
		tide_relax();
}

static void unlock_slot(struct guarded *guarded)
{
	/* RELEASE(guarded.unlock) pairs with ACQUIRE(guarded.lock) */
	atomic_store_explicit(&guarded->lock, 0, memory_order_release);
}

static uint64_t next_epoch(void)
{
	/* Relaxed: all that counts is that no other has it. */
	return 1 +
	       atomic_fetch_add_explicit(&all.epochs, 1, memory_order_relaxed);
}

static void *address_of(const struct guarded *guarded, uint64_t page)
{
	return (void *)(guarded->begin + (page << TIDE_PAGE_SHIFT));
}

/* ---- the handler ---- */

static struct guarded *find(uintptr_t address)
{
	/* Relaxed: a slot that is not in yet is not protected yet. */
	uint32_t end = atomic_load_explicit(&all.end, memory_order_relaxed);

	for (uint32_t i = 0; i < end; i++) {
		/* SEQ_CST(guarded.find) pairs with SEQ_CST(guarded.publish);
		 * whoever takes it out waits for us. */
		struct guarded *guarded = atomic_load_explicit(
			&all.slots[i], memory_order_seq_cst);

		if (guarded && address - guarded->begin <
				       guarded->npages << TIDE_PAGE_SHIFT)
			return guarded;
	}
	return NULL;
}

/* Mark, then writable: the page, or as large a block as it takes.
 * Return: 0; an error. */
static int open_page(struct guarded *guarded, uint64_t page)
{
	uint64_t npages = 1;
	int failed;

	do {
		uint64_t first = page & ~(npages - 1), n = npages;

		if (n > guarded->npages - first)
			n = guarded->npages - first;
		tide_bitmap_set_range(&guarded->dirty, first, n);
		failed = mprotect(address_of(guarded, first),
				  n << TIDE_PAGE_SHIFT, PROT_READ | PROT_WRITE);
		npages *= 2;
	} while (failed && npages < 2 * guarded->npages);
	return failed;
}

/* Return: the fault is ours. */
static bool let_write(struct guarded *guarded, uint64_t page)
{
	bool ours;

	lock_slot(guarded);
	/* The same epoch and still marked: writable since we were here. */
	ours = last.epoch != guarded->epoch || last.page != page ||
	       !tide_bitmap_test(&guarded->dirty, page);
	if (ours)
		ours = !open_page(guarded, page);
	last.epoch = guarded->epoch;
	last.page = page;
	unlock_slot(guarded);
	return ours;
}

/* The signals that are blocked while the one before runs. */
static void block_as_before(const ucontext_t *context)
{
	sigset_t signals = all.before.sa_mask;
	sigset_t interrupted;

	/* The kernel's set is smaller than the library's. */
	(void)sigemptyset(&interrupted);
	memcpy(&interrupted, &context->uc_sigmask, _NSIG / 8);
	(void)sigorset(&signals, &signals, &interrupted);
	if (!(all.before.sa_flags & SA_NODEFER))
		(void)sigaddset(&signals, SIGSEGV);
	(void)pthread_sigmask(SIG_SETMASK, &signals, NULL);
}

/* As if we were not there. */
static void chain(int number, siginfo_t *info, void *context)
{
	bool sent = info->si_code <= 0; /* by kill(2), and not raised */

	block_as_before(context);
	if (all.before.sa_flags & SA_SIGINFO) {
		all.before.sa_sigaction(number, info, context);
		return;
	}
	if (all.before.sa_handler != SIG_DFL &&
	    all.before.sa_handler != SIG_IGN) {
		all.before.sa_handler(number);
		return;
	}
	if (sent && all.before.sa_handler == SIG_IGN)
		return;
	/* The fault comes again, and ends the process. */
	(void)signal(SIGSEGV, SIG_DFL);
	if (sent)
		(void)raise(SIGSEGV);
}

static void handle(int number, siginfo_t *info, void *context)
{
	struct guarded *guarded = NULL;
	bool ours = false;
	uint64_t removals;
	int saved = errno;

	/* SEQ_CST(guarded.enter) pairs with SEQ_CST(guarded.wait): who takes a
	 * slot out sees us, or we do not see the slot. */
	(void)atomic_fetch_add_explicit(&all.handlers, 1, memory_order_seq_cst);
	if (info->si_code == SEGV_ACCERR)
		guarded = find((uintptr_t)info->si_addr);
	if (guarded &&
	    let_write(guarded, ((uintptr_t)info->si_addr - guarded->begin) >>
				       TIDE_PAGE_SHIFT))
		ours = true;
	/* SEQ_CST(guarded.again) pairs with SEQ_CST(guarded.removed): whose
	 * slot is not found any more sees that one was removed. */
	removals = atomic_load_explicit(&all.removals, memory_order_seq_cst);
	/* RELEASE(guarded.leave) pairs with SEQ_CST(guarded.wait) */
	(void)atomic_fetch_sub_explicit(&all.handlers, 1, memory_order_release);
	errno = saved;
	if (ours)
		return;
	if (info->si_code == SEGV_ACCERR && tried != removals)
		tried = removals;
	else
		chain(number, info, context);
}

static bool is_ours(const struct sigaction *action)
{
	return action->sa_flags & SA_SIGINFO && action->sa_sigaction == handle;
}

/* With all.lock held. */
static int take_over(void)
{
	struct sigaction action = {
		.sa_sigaction = handle,
		.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART,
	};
	struct sigaction now;

	(void)sigfillset(&action.sa_mask);
	if (sigaction(SIGSEGV, NULL, &now))
		return -errno;
	/* Whoever put theirs over ours calls it: not a circle. */
	if (is_ours(&now) || (all.left && now.sa_handler != SIG_DFL &&
			      now.sa_handler != SIG_IGN))
		return 0;
	all.before = now; /* before a fault can ask for it */
	return sigaction(SIGSEGV, &action, NULL) ? -errno : 0;
}

/* The thread that forked is the only one, and was not in the handler. */
static void in_child(void)
{
	/* Relaxed: there is nobody else. */
	atomic_store_explicit(&all.handlers, 0, memory_order_relaxed);
	for (uint32_t i = 0; i < SLOTS_MAX; i++) {
		/* Relaxed: as above. */
		struct guarded *guarded = atomic_load_explicit(
			&all.slots[i], memory_order_relaxed);

		if (guarded)
			unlock_slot(guarded);
	}
}

static int install(void)
{
	int err = 0;

	tide_lock_acquire(&all.lock);
	if (!all.forks_known)
		err = -pthread_atfork(NULL, NULL, in_child);
	all.forks_known = !err;
	if (!err && !all.trackers)
		err = take_over();
	if (!err)
		all.trackers++;
	tide_lock_release(&all.lock);
	return err;
}

/* Somebody who has installed another one since keeps it, and calls ours. */
static void uninstall(void)
{
	struct sigaction now;

	tide_lock_acquire(&all.lock);
	if (--all.trackers == 0) {
		all.left = sigaction(SIGSEGV, NULL, &now) || !is_ours(&now);
		if (!all.left)
			(void)sigaction(SIGSEGV, &all.before, NULL);
	}
	tide_lock_release(&all.lock);
}

/* ---- slots ---- */

/* With all.lock held. */
static struct guarded *get_slot(uint32_t i)
{
	/* Relaxed: nobody changes it meanwhile. */
	return atomic_load_explicit(&all.slots[i], memory_order_relaxed);
}

/* With all.lock held. */
static void set_slot(uint32_t i, struct guarded *guarded)
{
	/* SEQ_CST(guarded.publish) pairs with SEQ_CST(guarded.find) */
	atomic_store_explicit(&all.slots[i], guarded, memory_order_seq_cst);
}

/* Where @slot is, or, if that is NULL, a free place; SLOTS_MAX: nowhere.  With
 * all.lock held. */
static uint32_t place_of(const struct tide_slot *slot)
{
	for (uint32_t i = 0; i < SLOTS_MAX; i++) {
		const struct guarded *guarded = get_slot(i);

		if (slot ? guarded && guarded->slot == slot : !guarded)
			return i;
	}
	return SLOTS_MAX;
}

/* By any slot of any space.  With all.lock held. */
static bool is_guarded(const struct guarded *other)
{
	for (uint32_t i = 0; i < SLOTS_MAX; i++) {
		const struct guarded *guarded = get_slot(i);

		if (guarded &&
		    guarded->begin <
			    other->begin + (other->npages << TIDE_PAGE_SHIFT) &&
		    other->begin < guarded->begin +
					   (guarded->npages << TIDE_PAGE_SHIFT))
			return true;
	}
	return false;
}

/* Return: 0; -ENOSPC; -EBUSY. */
static int publish(struct guarded *guarded)
{
	uint32_t i;
	int err = 0;

	tide_lock_acquire(&all.lock);
	i = place_of(NULL);
	if (i == SLOTS_MAX) {
		err = -ENOSPC;
	} else if (is_guarded(guarded)) {
		err = -EBUSY;
	} else {
		/* Relaxed: written with all.lock held. */
		uint32_t end =
			atomic_load_explicit(&all.end, memory_order_relaxed);

		/* Relaxed: who does not see it yet has no fault there yet. */
		atomic_store_explicit(&all.end, i < end ? end : i + 1,
				      memory_order_relaxed);
		set_slot(i, guarded);
	}
	tide_lock_release(&all.lock);
	return err;
}

static struct guarded *unpublish(const struct tide_slot *slot)
{
	struct guarded *guarded = NULL;
	uint32_t i;

	tide_lock_acquire(&all.lock);
	i = place_of(slot);
	if (i < SLOTS_MAX) {
		guarded = get_slot(i);
		/* SEQ_CST(guarded.removed) pairs with SEQ_CST(guarded.again) */
		(void)atomic_fetch_add_explicit(&all.removals, 1,
						memory_order_seq_cst);
		set_slot(i, NULL);
	}
	tide_lock_release(&all.lock);
	/* SEQ_CST(guarded.wait) pairs with SEQ_CST(guarded.enter) and
	 * RELEASE(guarded.leave) */
	while (guarded &&
	       atomic_load_explicit(&all.handlers, memory_order_seq_cst))
		tide_relax();
	return guarded;
}

static struct guarded *guarded_of(const struct tide_slot *slot)
{
	struct guarded *found = NULL;
	uint32_t i;

	tide_lock_acquire(&all.lock);
	i = place_of(slot);
	if (i < SLOTS_MAX)
		found = get_slot(i);
	tide_lock_release(&all.lock);
	return found;
}

static void destroy(struct guarded *guarded)
{
	if (!guarded)
		return;
	tide_bitmap_fini(&guarded->dirty);
	free(guarded);
}

static int protect_all(const struct tide_slot *slot, int protection)
{
	int saved = errno;
	int err = 0;

	if (mprotect(tide_slot_host(slot),
		     tide_slot_npages(slot) << TIDE_PAGE_SHIFT, protection))
		err = errno == ENOMEM ? -EFAULT : -errno;
	errno = saved;
	return err;
}

static void disarm(const struct tide_slot *slot)
{
	if (!guarded_of(slot))
		return;
	(void)protect_all(slot, PROT_READ | PROT_WRITE);
	destroy(unpublish(slot));
}

static int arm(const struct tide_sigsegv *sigsegv, struct tide_slot *slot)
{
	struct guarded *guarded = calloc(1, sizeof(*guarded));
	int err;

	if (!guarded)
		return -ENOMEM;
	guarded->slot = slot;
	guarded->tracker = sigsegv;
	guarded->begin = (uintptr_t)tide_slot_host(slot);
	guarded->npages = tide_slot_npages(slot);
	guarded->epoch = next_epoch();
	err = tide_bitmap_init(&guarded->dirty, guarded->npages);
	if (!err)
		err = publish(guarded);
	if (err) {
		destroy(guarded);
		return err;
	}
	err = protect_all(slot, PROT_READ);
	if (err)
		disarm(slot);
	return err;
}

static int sigsegv_slot_log(void *tracker, struct tide_slot *slot, bool on)
{
	const struct tide_sigsegv *sigsegv = tracker;
	uint64_t begin_ns = tide_now_ns();
	int err = 0;

	disarm(slot); /* if it is armed */
	if (on)
		err = arm(sigsegv, slot);
	tide_space_held(sigsegv->space, begin_ns);
	return err;
}

static bool is_taken(const struct tide_sigsegv *sigsegv,
		     const struct tide_slot *slot)
{
	uintptr_t begin = (uintptr_t)tide_slot_host(slot);
	uintptr_t end = begin + (tide_slot_npages(slot) << TIDE_PAGE_SHIFT);

	for (struct tide_slot *other = tide_slot_first(sigsegv->space); other;
	     other = tide_slot_next(other)) {
		uintptr_t at = (uintptr_t)tide_slot_host(other);

		if (other != slot && at < end &&
		    begin < at + (tide_slot_npages(other) << TIDE_PAGE_SHIFT))
			return true;
	}
	return false;
}

static int sigsegv_slot_add(void *tracker, struct tide_slot *slot, bool log)
{
	if (is_taken(tracker, slot))
		return -EEXIST;
	return log ? sigsegv_slot_log(tracker, slot, true) : 0;
}

static int sigsegv_slot_remove(void *tracker, struct tide_slot *slot)
{
	return sigsegv_slot_log(tracker, slot, false);
}

/* To a process gfns are only names. */
static int sigsegv_slot_move(void *tracker, struct tide_slot *slot,
			     uint64_t first_gfn)
{
	(void)tracker;
	(void)slot;
	(void)first_gfn;
	return 0;
}

/* As with wp: what is written after the removal has begun is not ours. */
static int sigsegv_slot_park(void *tracker, struct tide_slot *slot)
{
	(void)tracker;
	(void)slot;
	return 0;
}

/* ---- collect ---- */

struct harvest {
	struct guarded *guarded;
	struct tide_slot *slot;
	int err;
};

/* Nothing is flushed: with MS_ASYNC the kernel only looks at the mappings. */
static bool has_hole(const struct tide_slot *slot)
{
	int saved = errno;
	bool hole =
		msync(tide_slot_host(slot),
		      tide_slot_npages(slot) << TIDE_PAGE_SHIFT, MS_ASYNC) < 0;

	errno = saved;
	return hole;
}

/* The part of the slot that lies in @mapping. */
static void look_at_part(struct guarded *guarded,
			 const struct own_mapping *mapping)
{
	uintptr_t at = mapping->start, end = mapping->end;

	if (at < guarded->begin)
		at = guarded->begin;
	if (end > guarded->begin + (guarded->npages << TIDE_PAGE_SHIFT))
		end = guarded->begin + (guarded->npages << TIDE_PAGE_SHIFT);
	for (; at < end; at += TIDE_PAGE_SIZE) {
		/* Marked before it was made writable, and not taken since. */
		if (!tide_bitmap_test(&guarded->dirty,
				      (at - guarded->begin) >> TIDE_PAGE_SHIFT))
			guarded->strange = true;
	}
}

/* At @mapping, or NULL: begin to look.  With all.lock held. */
static void look_at_mapping(const struct tide_sigsegv *sigsegv,
			    const struct own_mapping *mapping)
{
	/* Relaxed: written with all.lock held. */
	uint32_t end = atomic_load_explicit(&all.end, memory_order_relaxed);

	for (uint32_t i = 0; i < end; i++) {
		struct guarded *guarded = get_slot(i);

		if (!guarded || guarded->tracker != sigsegv)
			continue;
		if (mapping)
			look_at_part(guarded, mapping);
		else
			guarded->strange = false;
	}
}

/* At all of them.  Return: 0; an error, and nothing is known. */
static int look_at_mappings(const struct tide_sigsegv *sigsegv)
{
	struct own_mapping mapping;
	struct own_maps maps;
	int err = own_maps_open(&maps);
	int more;

	if (err)
		return err;
	tide_lock_acquire(&all.lock);
	look_at_mapping(sigsegv, NULL);
	while ((more = own_maps_next(&maps, &mapping)) > 0) {
		if (mapping.writable)
			look_at_mapping(sigsegv, &mapping);
	}
	tide_lock_release(&all.lock);
	own_maps_close(&maps);
	return more;
}

/* All of it read-only.  Marks stay: they are taken next. */
static int arm_again(struct guarded *guarded, struct tide_slot *slot)
{
	int err;

	lock_slot(guarded);
	guarded->epoch = next_epoch();
	err = protect_all(slot, PROT_READ);
	unlock_slot(guarded);
	tide_slot_fail_closed(slot);
	return err;
}

/* The pages of @bits read-only again.  Return: an error; some may be. */
static int protect(struct guarded *guarded, uint64_t word, uint64_t bits)
{
	while (bits) {
		uint64_t first = (uint64_t)__builtin_ctzll(bits);
		uint64_t rest = ~(bits >> first);
		uint64_t n = rest ? (uint64_t)__builtin_ctzll(rest) : 64;

		if (n > 64 - first)
			n = 64 - first;
		/* ENOMEM: no mappings are left.  EINVAL: a part of a huge page
		 * (hugetlb). */
		if (mprotect(address_of(guarded, word * 64 + first),
			     n << TIDE_PAGE_SHIFT, PROT_READ))
			return errno == EINVAL ? -ENOMEM : -errno;
		bits &= ~((UINT64_MAX >> (64 - n)) << first);
	}
	return 0;
}

static void take_word(void *opaque, uint64_t word, uint64_t bits)
{
	struct harvest *harvest = opaque;
	struct guarded *guarded = harvest->guarded;
	int err;

	lock_slot(guarded);
	guarded->epoch = next_epoch();
	bits = tide_bitmap_and_not(&guarded->dirty, word, UINT64_MAX);
	err = protect(guarded, word, bits);
	/* Those that stay writable are dirty the next time, too. */
	if (err)
		tide_bitmap_set_word(&guarded->dirty, word, bits);
	unlock_slot(guarded);
	tide_found_bits(harvest->slot, word, bits);
	if (err && err != -ENOMEM)
		harvest->err = err;
}

static int collect_slot(struct tide_slot *slot)
{
	struct harvest harvest = { guarded_of(slot), slot, 0 };
	sigset_t signals, old;
	int saved = errno;

	assert(harvest.guarded);
	(void)sigfillset(&signals);
	(void)pthread_sigmask(SIG_SETMASK, &signals, &old);
	if (has_hole(slot))
		harvest.err = -EFAULT;
	else if (harvest.guarded->strange)
		harvest.err = arm_again(harvest.guarded, slot);
	tide_bitmap_peek(&harvest.guarded->dirty, take_word, &harvest);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = saved;
	if (harvest.err)
		tide_slot_fail_closed(slot);
	return harvest.err;
}

static int sigsegv_collect(void *tracker, struct tide_slot *only)
{
	const struct tide_sigsegv *sigsegv = tracker;
	int err = look_at_mappings(sigsegv);

	if (err)
		return err; /* and the marks are all there */
	for (struct tide_slot *slot = tide_slot_first(sigsegv->space); slot;
	     slot = tide_slot_next(slot)) {
		uint64_t begin_ns = tide_now_ns();
		int ret;

		if (!tide_slot_logged(slot) || (only && slot != only))
			continue;
		ret = collect_slot(slot);
		tide_space_held(sigsegv->space, begin_ns);
		if (!err)
			err = ret;
	}
	return err;
}

static bool sigsegv_sync(void *tracker)
{
	(void)tracker;
	return true;
}

/* ---- the tracker ---- */

int tide_sigsegv_create(struct tide_space *space, struct tide_sigsegv **ret)
{
	struct tide_sigsegv *sigsegv;
	int err;

	if (sysconf(_SC_PAGESIZE) != (long)TIDE_PAGE_SIZE)
		return -EOPNOTSUPP;
	sigsegv = calloc(1, sizeof(*sigsegv));
	if (!sigsegv)
		return -ENOMEM;
	sigsegv->space = space;
	err = install();
	if (err) {
		free(sigsegv);
		return err;
	}
	*ret = sigsegv;
	return 0;
}

static void sigsegv_destroy(void *tracker)
{
	struct tide_sigsegv *sigsegv = tracker;

	uninstall();
	free(sigsegv);
}

const struct tide_tracker_ops tide_sigsegv_ops = {
	.kind = TIDE_TRACKER_SIGSEGV,
	.slot_add = sigsegv_slot_add,
	.slot_remove = sigsegv_slot_remove,
	.slot_move = sigsegv_slot_move,
	.slot_park = sigsegv_slot_park,
	.slot_log = sigsegv_slot_log,
	.collect = sigsegv_collect,
	.sync = sigsegv_sync,
	.destroy = sigsegv_destroy,
};

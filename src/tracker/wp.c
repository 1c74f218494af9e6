/* SPDX-License-Identifier: MIT */
/*
 * wp.c - the memory of a process, by userfaultfd and PAGEMAP_SCAN
 *
 * Theory of operation
 * -------------------
 * A slot's memory is registered with a userfaultfd for asynchronous
 * write-protect and armed.  The first write to a page then faults, and the
 * kernel itself drops the protection and lets the writer go on: no handler, no
 * second thread, no signal.  A page that is not protected has been written.
 * PAGEMAP_SCAN finds those pages and protects them again, page by page under
 * the page-table lock, and flushes before it returns.  So collecting and
 * re-arming are one call, as with KVM_GET_DIRTY_LOG.
 *
 * What the kernel does that a naive caller does not expect:
 *
 *   walk_end   With more ranges than fit into the kernel's own buffer it stops
 *              short of where the scan came to.  A scan is complete when fewer
 *              ranges came back than there was room for; else it goes on at
 *              the end of the last one.
 *   errors     A mapping that is not registered ends the scan with EPERM after
 *              earlier pages have been protected, and how many ranges were
 *              found is not said.  So on any error the whole slot is dirty.
 *   holes      What is not mapped, or mapped anew without our registration, is
 *              passed over in silence unless the scan is told to check.  New
 *              mappings are registered and armed, and the slot is dirty; a
 *              hole in a slot is an error of its owner's.
 *   the end    Of a process that is gone nothing is mapped, so nothing is
 *              found, without an error.  Its pagemap gives no bytes then.
 *   strangers  Before Linux 6.18 any userfaultfd may unregister what another
 *              one has registered.  Another process may map, and register,
 *              memory where a slot was, so there nothing is unregistered: it
 *              goes with the descriptor.
 *   sharing    A write by another mapping of the same memory, or by write(2)
 *              to its file, does not pass through this one's page tables and
 *              is not seen.  It takes marks.
 *
 * A discarded page (MADV_DONTNEED) of private anonymous memory loses its
 * protection with its content, and comes as written.  Of a file's or of shared
 * memory the kernel keeps the protection: wp_content.c.
 *
 * Invariants
 *   I1  memory of two slots does not overlap: one scan would take what the
 *       other slot should have reported.  by_host has every slot that was
 *       added; two that overlap are equal to its order.
 *
 * Synchronisation
 *   Under the space's slots_lock; writers and the scan meet in the kernel.
 */
#include "tracker/wp_content.h"

#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"

#define FEATURES (WP_FEATURE_SHARED | WP_FEATURE_UNPOPULATED | WP_FEATURE_ASYNC)

int wp_ioctl(int fd, unsigned long request, void *argument)
{
	int saved = errno;
	int ret = ioctl(fd, request, argument);

	if (ret < 0)
		ret = -errno;
	errno = saved;
	return ret;
}

/* The least that is needed first: the kernel's own faults are resolved in the
 * kernel, so nobody needs the right to handle them. */
static int open_uffd(void)
{
	int flags = O_CLOEXEC | O_NONBLOCK;
	long fd = syscall(SYS_userfaultfd, flags | WP_USER_MODE_ONLY);

	if (fd < 0 && errno == EINVAL)
		fd = syscall(SYS_userfaultfd, flags);
	if (fd < 0)
		return errno == ENOSYS ? -EOPNOTSUPP : -errno;
	return (int)fd;
}

static int open_own(struct tide_wp *wp)
{
	int saved = errno;
	int err = 0;

	wp->uffd = open_uffd();
	if (wp->uffd < 0) {
		err = wp->uffd;
	} else {
		wp->pagemap_fd =
			open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
		if (wp->pagemap_fd < 0)
			err = -errno;
	}
	errno = saved;
	return err;
}

int tide_wp_setup(struct tide_wp *wp, const struct tide_wp_config *config)
{
	struct uffdio_api api = { .api = UFFD_API, .features = FEATURES };
	struct wp_scan nothing = { .size = sizeof(nothing) };
	int err = 0;

	wp->remote = config != NULL;
	wp->uffd = wp->remote ? config->uffd : -1;
	wp->pagemap_fd = wp->remote ? config->pagemap_fd : -1;
	if (sysconf(_SC_PAGESIZE) != (long)TIDE_PAGE_SIZE)
		return -EOPNOTSUPP;
	if (!wp->remote)
		err = open_own(wp);
	if (err)
		return err;
	err = wp_ioctl(wp->uffd, UFFDIO_API, &api);
	if (err == -ENOTTY)
		return -EBADF;
	if (err)
		return err == -EINVAL ? -EOPNOTSUPP : err;
	err = wp_ioctl(wp->pagemap_fd, WP_PAGEMAP_SCAN, &nothing);
	/* A kernel without it, or something that is no pagemap. */
	return err == -ENOTTY ? -EOPNOTSUPP : err < 0 ? err : 0;
}

static void forget(void *of)
{
	wp_content_fini(of);
	free(of);
}

void tide_wp_destroy(void *tracker)
{
	struct tide_wp *wp = tracker;

	tdestroy(wp->by_host, forget);
	if (!wp->remote) {
		if (wp->pagemap_fd >= 0)
			close(wp->pagemap_fd);
		if (wp->uffd >= 0)
			close(wp->uffd); /* and all is as it was */
	}
	free(wp);
}

/* Nothing is flushed: with MS_ASYNC the kernel only looks at the mappings. */
static bool has_hole(const struct tide_wp *wp, const struct tide_slot *slot)
{
	int saved = errno;
	bool hole;

	if (wp->remote)
		return false; /* cannot be asked so */
	hole = msync(tide_slot_host(slot), wp_slot_bytes(slot), MS_ASYNC) < 0;
	errno = saved;
	return hole;
}

/* After a scan: was there somebody to scan?  Return: 0; -ESRCH: there was not;
 * a negative errno. */
static int check_there(const struct tide_wp *wp)
{
	int saved = errno;
	uint64_t entry;
	ssize_t n;

	if (!wp->remote)
		return 0;
	n = pread(wp->pagemap_fd, &entry, sizeof(entry), 0);
	if (n < 0)
		n = -errno;
	else if (n == 0)
		n = -ESRCH;
	errno = saved;
	return n < 0 ? (int)n : 0;
}

static int protect(struct tide_wp *wp, const struct tide_slot *slot)
{
	struct uffdio_writeprotect range = {
		.range = { wp_slot_begin(slot), wp_slot_bytes(slot) },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	int err;

	/* EAGAIN: mappings are being changed this moment. */
	do {
		err = wp_ioctl(wp->uffd, UFFDIO_WRITEPROTECT, &range);
	} while (err == -EAGAIN);
	return err;
}

/* Of one's own memory what is not there any more needs no unregistering; of
 * another process's see above. */
static void disarm(struct tide_wp *wp, const struct tide_slot *slot)
{
	struct uffdio_range range = { wp_slot_begin(slot),
				      wp_slot_bytes(slot) };

	if (!wp->remote)
		(void)wp_ioctl(wp->uffd, UFFDIO_UNREGISTER, &range);
}

/* Whatever is mapped there now is registered, and protected. */
static int arm(struct tide_wp *wp, struct wp_slot *of)
{
	const struct tide_slot *slot = of->slot;
	struct uffdio_register range = {
		.range = { wp_slot_begin(slot), wp_slot_bytes(slot) },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	int err;

	if (has_hole(wp, slot))
		return -EFAULT;
	err = wp_ioctl(wp->uffd, UFFDIO_REGISTER, &range);
	if (err)
		return err; /* it may be registered by somebody else */
	err = protect(wp, slot);
	if (!err)
		err = wp_content_start(wp, of);
	if (err)
		disarm(wp, slot);
	return err;
}

static int by_host(const void *a, const void *b)
{
	const struct wp_slot *x = a, *y = b;

	if (wp_slot_begin(x->slot) + wp_slot_bytes(x->slot) <=
	    wp_slot_begin(y->slot))
		return -1;
	return wp_slot_begin(y->slot) + wp_slot_bytes(y->slot) <=
	       wp_slot_begin(x->slot);
}

/* Return: what is kept of it, or of one that overlaps it; NULL. */
static struct wp_slot *find(struct tide_wp *wp, struct tide_slot *slot)
{
	const struct wp_slot key = { .slot = slot };
	struct wp_slot *const *found = tfind(&key, &wp->by_host, by_host);

	return found ? *found : NULL;
}

/* It has its memory now, if it had not.  Return: 0; -EEXIST: another slot has
 * some of it; -ENOMEM. */
static int claim(struct tide_wp *wp, struct tide_slot *slot, bool *ret_new)
{
	struct wp_slot *of = find(wp, slot);

	*ret_new = !of;
	if (of)
		return of->slot == slot ? 0 : -EEXIST;
	of = calloc(1, sizeof(*of));
	if (!of)
		return -ENOMEM;
	of->slot = slot;
	if (tsearch(of, &wp->by_host, by_host))
		return 0;
	free(of);
	return -ENOMEM;
}

/* Its memory may be another slot's from now on. */
static void release(struct tide_wp *wp, struct tide_slot *slot)
{
	struct wp_slot *of = find(wp, slot);

	if (!of || of->slot != slot)
		return;
	(void)tdelete(of, &wp->by_host, by_host);
	forget(of);
}

static int wp_slot_log(void *tracker, struct tide_slot *slot, bool on)
{
	struct tide_wp *wp = tracker;
	uint64_t begin_ns = tide_now_ns();
	bool is_new = false;
	int err = on ? claim(wp, slot, &is_new) : 0;

	if (on && !err) {
		err = arm(wp, find(wp, slot));
		if (err && is_new)
			release(wp, slot);
	}
	if (!on)
		disarm(wp, slot);
	tide_space_held(wp->space, begin_ns);
	return err;
}

static int wp_slot_add(void *tracker, struct tide_slot *slot, bool log)
{
	bool is_new;

	return log ? wp_slot_log(tracker, slot, true)
		   : claim(tracker, slot, &is_new);
}

static int wp_slot_remove(void *tracker, struct tide_slot *slot)
{
	disarm(tracker, slot);
	release(tracker, slot);
	return 0;
}

/* To a process gfns are only names. */
static int wp_slot_move(void *tracker, struct tide_slot *slot,
			uint64_t first_gfn)
{
	(void)tracker;
	(void)slot;
	(void)first_gfn;
	return 0;
}

/* Its writers cannot be kept out.  But what they write after the removal has
 * begun is no longer the slot's, and the last scan finds all else. */
static int wp_slot_park(void *tracker, struct tide_slot *slot)
{
	(void)tracker;
	(void)slot;
	return 0;
}

static void found(struct tide_slot *slot, const struct wp_region *region)
{
	uint64_t page =
		(region->start - wp_slot_begin(slot)) >> TIDE_PAGE_SHIFT;
	uint64_t end = (region->end - wp_slot_begin(slot)) >> TIDE_PAGE_SHIFT;

	while (page < end) {
		uint64_t first = page % TIDE_WORD_BITS;
		uint64_t n = TIDE_WORD_BITS - first;

		if (n > end - page)
			n = end - page;
		tide_found_bits(slot, page / TIDE_WORD_BITS,
				(UINT64_MAX >> (TIDE_WORD_BITS - n)) << first);
		page += n;
	}
}

/* Return: 0; an error, after which any of the slot's pages may have been
 * protected without having been reported. */
static int scan(struct tide_wp *wp, struct tide_slot *slot)
{
	struct wp_scan args = {
		.size = sizeof(args),
		.flags = PAGEMAP_WP_MATCHING | PAGEMAP_CHECK_WPASYNC,
		.start = wp_slot_begin(slot),
		.end = wp_slot_begin(slot) + wp_slot_bytes(slot),
		.vec = (uintptr_t)wp->regions,
		.vec_len = WP_REGIONS,
		.category_mask = PAGEMAP_WRITTEN,
		.return_mask = PAGEMAP_WRITTEN,
	};
	int n;

	do {
		n = wp_ioctl(wp->pagemap_fd, WP_PAGEMAP_SCAN, &args);
		if (n < 0)
			return n;
		for (int i = 0; i < n; i++)
			found(slot, &wp->regions[i]);
		if (n)
			args.start = wp->regions[n - 1].end;
	} while ((uint32_t)n == WP_REGIONS && args.start < args.end);
	return 0;
}

static int collect_slot(struct tide_wp *wp, struct tide_slot *slot)
{
	uint64_t begin_ns = tide_now_ns();
	struct wp_slot *of = find(wp, slot);
	int err = has_hole(wp, slot) ? -EFAULT : scan(wp, slot);

	if (!err)
		err = wp_content_look(wp, of);
	tide_space_held(wp->space, begin_ns);
	if (!err)
		return 0;
	tide_slot_fail_closed(slot);
	if (err != -EPERM)
		return err;
	/* Mapped anew.  What was written there meanwhile is among the rest. */
	err = arm(wp, of);
	/* Another process may change its mappings faster than we look: then the
	 * slot is dirty as a whole each time, until it is gone. */
	return wp->remote && err != -ESRCH ? 0 : err;
}

static int wp_collect(void *tracker, struct tide_slot *only)
{
	struct tide_wp *wp = tracker;
	int err = 0, gone = 0;

	for (struct tide_slot *slot = tide_slot_first_of(wp->space, only); slot;
	     slot = tide_slot_next_of(slot, only)) {
		int ret = tide_slot_logged(slot) ? collect_slot(wp, slot) : 0;

		if (!err)
			err = ret;
	}
	if (!err)
		gone = check_there(wp);
	if (!gone)
		return err;
	/* Where nothing is mapped nothing was found. */
	for (struct tide_slot *slot = tide_slot_first_of(wp->space, only); slot;
	     slot = tide_slot_next_of(slot, only)) {
		if (tide_slot_logged(slot))
			tide_slot_fail_closed(slot);
	}
	return gone;
}

/* A write is in the page tables when it is done. */
static bool wp_sync(void *tracker)
{
	(void)tracker;
	return true;
}

const struct tide_tracker_ops tide_wp_ops = {
	.kind = TIDE_TRACKER_WP,
	.slot_add = wp_slot_add,
	.slot_remove = wp_slot_remove,
	.slot_move = wp_slot_move,
	.slot_park = wp_slot_park,
	.slot_log = wp_slot_log,
	.collect = wp_collect,
	.sync = wp_sync,
	.destroy = tide_wp_destroy,
};

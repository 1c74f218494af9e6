/* SPDX-License-Identifier: MIT */
/*
 * soft_dirty.c - this process's memory, by the kernel's soft-dirty bits
 *
 * Theory of operation
 * -------------------
 * The kernel sets a bit, 55 of the page's entry in /proc/self/pagemap, with the
 * first write to a page since "4" was last written to /proc/self/clear_refs,
 * which clears the bits of the whole process.  Between looking at the bits and
 * clearing them a write would be lost, so nobody may write then: the caller's
 * hooks stop the writers and let them go on, or the caller promises that there
 * are none.  A harvest is
 *
 *   stop; look at every page of every slot; clear; resume
 *
 * What was found is with every client before the clear.  So an error loses
 * nothing: until the clear the kernel still has the bits, and what a clear that
 * fails has cleared was found.  Such a harvest fails, and the next one finds
 * all that was not cleared, again.  Logging that comes on clears nothing: an
 * older bit only adds a page, and a slot that comes on is dirty as a whole, or
 * is collected before its client is open.
 *
 * The pagemap says more than PAGEMAP_SCAN does and is everywhere where the bits
 * are; the scan knows soft-dirty since Linux 6.8 only.
 *
 * What the bit does not tell
 * --------------------------
 *   discarded  A page that is discarded after it was written has no bit.  So we
 *              keep for each page whether it had content that may be other
 *              than zero (`full`), and a full page that is not there any more
 *              has changed.  Reading it brings the zero page, again without a
 *              bit.  The entry of that never says that we map it alone (bit
 *              56); such pages are compared with zero.  Newer kernels also put
 *              it in the place of what they find to be zero, and lose the bit.
 *   mapped     New mappings are dirty until the next clear, but not all that
 *   anew       are merged with an older one by mprotect(2).  They are not
 *              there, or zero, and so found as above.
 *   swapped    The bit is kept in the swap entry.
 *   huge       A bit stands for all of a huge page, and one that is put
 *              together by the kernel is dirty.
 *   merged     Where the kernel merges equal pages (MADV_MERGEABLE) the bit is
 *              lost, so a slot's memory is taken out of that.
 *   shared     A page of shared memory, or of a file, that is reclaimed and
 *              comes back has lost its bit, and huge pages of hugetlb have
 *              none.  Only private anonymous memory will do; others are
 *              refused, and a harvest fails if they come in its place.
 *
 * Who else clears
 * ---------------
 * The bits are one user's.  A second space of the process is refused.  Other
 * tools (CRIU) cannot be, but are noticed: a page of ours, the witness, is
 * written after each clear, and if its bit is gone before the next, so may
 * others be, and every slot is dirty as a whole.  If it is still there after
 * our clear, that has cleared nothing, and the harvest fails.
 *
 * A child of fork() has a copy of the tracker, whose files are the parent's;
 * clearing would clear the parent's bits.  The witness is empty in the child,
 * which tells.
 *
 * Invariants
 *   I1  the bits are cleared only after every logged slot was looked at whole,
 *       and what was found given to every client, in one stop of the writers
 *   I2  a page that is not full was zero when it was last looked at
 *
 * Synchronisation
 *   Under the space's slots_lock; the hooks do the rest.  Who uses the bits is
 *   an atomic number for which nothing else is ordered.
 */
#include "tracker/soft_dirty.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/clock.h"
#include "tracker/own_maps.h"

/* An entry of the pagemap (Documentation/admin-guide/mm/pagemap.rst). */
#define SOFT_DIRTY_BIT 55
#define EXCLUSIVE_BIT 56
#define SWAP_BIT 62
#define PRESENT_BIT 63

#define ENTRIES 4096u /* that are read at once */

/* A slot that is logged. */
struct tracked {
	struct tracked *next;
	struct tide_slot *slot;
	uintptr_t begin, end;
	uintptr_t looked; /* this time, up to here */
	uint64_t full[];  /* a bit a page */
};

struct tide_soft_dirty {
	struct tide_space *space;
	struct tide_soft_dirty_config config;
	uint64_t number; /* unlike any other's */
	struct witness *witness;
	int pagemap_fd, clear_fd;
	struct own_maps maps;
	struct tracked *slots;
	uint64_t entries[ENTRIES];
};

/* A page.  In a child of fork() it is zero. */
struct witness {
	_Atomic uint64_t user; /* the tracker's number; 0: none */
	volatile uint64_t clears;
};

/* What the process has one of. */
static struct {
	_Atomic(struct witness *) witness; /* for ever, once it is there */
	_Atomic uint64_t numbers;
} process;

/* ---- who uses the bits ---- */

static struct witness *map_witness(void)
{
	struct witness *witness =
		mmap(NULL, TIDE_PAGE_SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (witness == MAP_FAILED)
		return NULL;
	if (madvise(witness, TIDE_PAGE_SIZE, MADV_WIPEONFORK)) {
		(void)munmap(witness, TIDE_PAGE_SIZE);
		return NULL;
	}
	/* Or its bit would be its neighbours', too.  A kernel that has no huge
	 * pages refuses. */
	(void)madvise(witness, TIDE_PAGE_SIZE, MADV_NOHUGEPAGE);
	return witness;
}

static struct witness *get_witness(void)
{
	/* Relaxed: all that is in it is atomic, and zero from the kernel. */
	struct witness *witness =
		atomic_load_explicit(&process.witness, memory_order_relaxed);
	struct witness *other = NULL;

	if (witness)
		return witness;
	witness = map_witness();
	/* Relaxed: as above. */
	if (witness && !atomic_compare_exchange_strong_explicit(
			       &process.witness, &other, witness,
			       memory_order_relaxed, memory_order_relaxed)) {
		(void)munmap(witness, TIDE_PAGE_SIZE);
		witness = other;
	}
	return witness;
}

static int take_bits(struct tide_soft_dirty *self)
{
	struct witness *witness = get_witness();
	uint64_t nobody = 0;

	if (!witness)
		return -ENOMEM;
	/* Relaxed: all that counts is that no other has it. */
	self->number = 1 + atomic_fetch_add_explicit(&process.numbers, 1,
						     memory_order_relaxed);
	/* Relaxed: as above.  Whoever is refused only reads: a write would
	 * bear false witness. */
	if (atomic_load_explicit(&witness->user, memory_order_relaxed))
		return -EBUSY;
	/* Relaxed: nothing but the right to the bits is handed over. */
	if (!atomic_compare_exchange_strong_explicit(
		    &witness->user, &nobody, self->number, memory_order_relaxed,
		    memory_order_relaxed))
		return -EBUSY;
	self->witness = witness;
	return 0;
}

/* And not a copy of it in a child. */
static bool has_bits(const struct tide_soft_dirty *self)
{
	/* Relaxed: only we can have written our number. */
	return self->witness &&
	       atomic_load_explicit(&self->witness->user,
				    memory_order_relaxed) == self->number;
}

static void leave_bits(struct tide_soft_dirty *self)
{
	/* Relaxed: as in take_bits(). */
	if (has_bits(self))
		atomic_store_explicit(&self->witness->user, 0,
				      memory_order_relaxed);
}

/* ---- the kernel's files ---- */

static int open_file(const char *path, int flags, int *ret_fd)
{
	int saved = errno;
	int err = 0;
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		err = errno == ENOENT ? -EOPNOTSUPP : -errno;
	else
		*ret_fd = fd;
	errno = saved;
	return err;
}

/* Return: how many entries were read, at least one; a negative errno. */
static ssize_t read_entries(const struct tide_soft_dirty *self,
			    uintptr_t address, uint64_t *entries, size_t count)
{
	off_t at = (off_t)((address >> TIDE_PAGE_SHIFT) * sizeof(*entries));
	int saved = errno;
	ssize_t n;

	do {
		n = pread(self->pagemap_fd, entries, count * sizeof(*entries),
			  at);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		n = -errno;
	else if (n < (ssize_t)sizeof(*entries))
		n = -EIO;
	else
		n /= (ssize_t)sizeof(*entries);
	errno = saved;
	return n;
}

static int clear_bits(const struct tide_soft_dirty *self)
{
	int saved = errno;
	int err = 0;
	ssize_t n;

	do {
		n = pwrite(self->clear_fd, "4", 1, 0);
	} while (n < 0 && errno == EINTR);
	if (n != 1)
		err = n < 0 ? -errno : -EIO;
	errno = saved;
	return err;
}

/* Return: 1: the witness has its bit; 0: it has not; a negative errno. */
static int ask_witness(const struct tide_soft_dirty *self)
{
	uint64_t entry = 0;
	ssize_t n = read_entries(self, (uintptr_t)self->witness, &entry, 1);

	return n < 0 ? (int)n : (int)(entry >> SOFT_DIRTY_BIT & 1);
}

/* ---- looking ---- */

/* A bit a page, of one word of pages. */
struct kinds {
	uint64_t dirty, present, swapped, alone;
};

static struct kinds sort(const uint64_t *entries, uint64_t first, uint64_t n)
{
	struct kinds kinds = { 0 };

	for (uint64_t i = 0; i < n; i++) {
		uint64_t at = first + i;

		kinds.dirty |= (entries[i] >> SOFT_DIRTY_BIT & 1) << at;
		kinds.alone |= (entries[i] >> EXCLUSIVE_BIT & 1) << at;
		kinds.swapped |= (entries[i] >> SWAP_BIT & 1) << at;
		kinds.present |= (entries[i] >> PRESENT_BIT & 1) << at;
	}
	return kinds;
}

static bool is_zero(const struct tracked *tracked, uint64_t page)
{
	const uint64_t *words =
		(const void *)(tracked->begin + (page << TIDE_PAGE_SHIFT));

	for (uint64_t i = 0; i < TIDE_PAGE_SIZE / sizeof(*words); i++) {
		if (words[i])
			return false;
	}
	return true;
}

/* Of the pages of @unclear: those that are not zero. */
static uint64_t compare(const struct tracked *tracked, uint64_t word,
			uint64_t unclear)
{
	uint64_t not_zero = 0;

	while (unclear) {
		unsigned int bit = tide_lowest(unclear);

		if (!is_zero(tracked, word * TIDE_WORD_BITS + bit))
			not_zero |= tide_bit(bit);
		unclear &= unclear - 1;
	}
	return not_zero;
}

/* Pages [first, first + n) of the slot lie in one word. */
static void look_at_word(struct tracked *tracked, uint64_t first, uint64_t n,
			 const uint64_t *entries, bool readable)
{
	uint64_t word = first / TIDE_WORD_BITS;
	uint64_t begin = first % TIDE_WORD_BITS;
	uint64_t mask = tide_mask((unsigned int)begin, (unsigned int)n);
	struct kinds is = sort(entries, begin, n);
	uint64_t full = tracked->full[word] & mask;
	uint64_t kept, unclear, now_full, found;

	/* What we map alone cannot have become zero unseen. */
	kept = is.present & is.alone & (is.dirty | full);
	unclear = is.present & ~kept;
	now_full = kept | is.swapped;
	now_full |= readable ? compare(tracked, word, unclear) : unclear;
	found = is.dirty | (now_full ^ full); /* I2 */
	if (!readable)
		found |= unclear; /* each time */
	tracked->full[word] = (tracked->full[word] & ~mask) | now_full;
	if (found)
		tide_found_bits(tracked->slot, word, found);
}

static void look_at_entries(const struct tide_soft_dirty *self,
			    struct tracked *tracked, uint64_t count,
			    bool readable)
{
	uint64_t first = (tracked->looked - tracked->begin) >> TIDE_PAGE_SHIFT;

	for (uint64_t done = 0; done < count;) {
		uint64_t n = TIDE_WORD_BITS - (first + done) % TIDE_WORD_BITS;

		if (n > count - done)
			n = count - done;
		look_at_word(tracked, first + done, n, self->entries + done,
			     readable);
		done += n;
	}
	tracked->looked += count << TIDE_PAGE_SHIFT;
}

/* On to @end, in one mapping. */
static int look_on(struct tide_soft_dirty *self, struct tracked *tracked,
		   uintptr_t end, bool readable)
{
	while (tracked->looked < end) {
		size_t count = (end - tracked->looked) >> TIDE_PAGE_SHIFT;
		ssize_t n = read_entries(self, tracked->looked, self->entries,
					 count < ENTRIES ? count : ENTRIES);

		if (n < 0)
			return (int)n;
		look_at_entries(self, tracked, (uint64_t)n, readable);
	}
	return 0;
}

/* The part of a slot that lies in @mapping comes next in it, and will do. */
static int check_part(const struct own_mapping *mapping, uintptr_t looked)
{
	if (mapping->start > looked)
		return -EFAULT;
	return mapping->is_plain ? 0 : -EINVAL;
}

static int look_at_mapping(struct tide_soft_dirty *self,
			   const struct own_mapping *mapping)
{
	for (struct tracked *tracked = self->slots; tracked;
	     tracked = tracked->next) {
		int err;

		if (mapping->start >= tracked->end ||
		    mapping->end <= tracked->looked)
			continue;
		err = check_part(mapping, tracked->looked);
		if (!err)
			err = look_on(self, tracked,
				      mapping->end < tracked->end
					      ? mapping->end
					      : tracked->end,
				      mapping->readable);
		if (err)
			return err;
	}
	return 0;
}

/* At all of all slots, or there is an error. */
static int look(struct tide_soft_dirty *self)
{
	struct own_mapping mapping;
	int err = own_maps_rewind(&self->maps);
	int more = 1;

	for (struct tracked *at = self->slots; at; at = at->next)
		at->looked = at->begin;
	while (!err && (more = own_maps_next(&self->maps, &mapping)) > 0)
		err = look_at_mapping(self, &mapping);
	if (more < 0)
		err = more;
	for (struct tracked *at = self->slots; at && !err; at = at->next)
		err = at->looked < at->end ? -EFAULT : 0;
	return err;
}

/* ---- collect ---- */

/* After look().  The next clear that is not ours will be noticed. */
static int clear(struct tide_soft_dirty *self)
{
	int answer = ask_witness(self);
	int err;

	if (answer < 0)
		return answer;
	if (!answer) {
		for (struct tracked *at = self->slots; at; at = at->next)
			tide_slot_fail_closed(at->slot);
	}
	err = clear_bits(self);
	if (err)
		return err;
	answer = ask_witness(self);
	if (answer)
		return answer < 0 ? answer : -EIO;
	self->witness->clears++;
	return 0;
}

/* The clear is of all slots; so they are all looked at, whatever @only is. */
static int soft_dirty_collect(void *tracker, struct tide_slot *only)
{
	struct tide_soft_dirty *self = tracker;
	const struct tide_soft_dirty_config *config = &self->config;
	uint64_t begin_ns = tide_now_ns();
	int err, resumed = 0;

	(void)only;
	if (!has_bits(self))
		return -ESTALE;
	err = config->stop ? config->stop(config->opaque) : 0;
	if (err)
		return err;
	err = look(self);
	if (!err)
		err = clear(self); /* I1 */
	if (config->resume)
		resumed = config->resume(config->opaque);
	tide_space_held(self->space, begin_ns);
	return err ? err : resumed;
}

/* ---- slots ---- */

static void forget(struct tide_soft_dirty *self, const struct tide_slot *slot)
{
	struct tracked **at = &self->slots;
	struct tracked *tracked;

	while (*at && (*at)->slot != slot)
		at = &(*at)->next;
	tracked = *at;
	if (!tracked)
		return;
	*at = tracked->next;
	free(tracked);
}

/* Merged pages are no more.  Kernels that know of no merging refuse. */
static int unmerge(const struct tide_slot *slot)
{
	int saved = errno;
	int err = 0;

	do {
		if (!madvise(tide_slot_host(slot),
			     tide_slot_npages(slot) << TIDE_PAGE_SHIFT,
			     MADV_UNMERGEABLE) ||
		    errno == EINVAL)
			err = 0;
		else
			err = errno == ENOMEM ? -EFAULT : -errno;
	} while (err == -EINTR || err == -EAGAIN);
	errno = saved;
	return err;
}

static int soft_dirty_slot_log(void *tracker, struct tide_slot *slot, bool on)
{
	struct tide_soft_dirty *self = tracker;
	uint64_t nwords = tide_words(tide_slot_npages(slot));
	struct tracked *tracked;
	int err;

	forget(self, slot); /* if it is logged */
	if (!on)
		return 0;
	err = unmerge(slot);
	if (err)
		return err;
	tracked = malloc(sizeof(*tracked) + nwords * sizeof(uint64_t));
	if (!tracked)
		return -ENOMEM;
	tracked->slot = slot;
	tracked->begin = (uintptr_t)tide_slot_host(slot);
	tracked->end =
		tracked->begin + (tide_slot_npages(slot) << TIDE_PAGE_SHIFT);
	/* What is zero already is found once more, that is all. */
	memset(tracked->full, 0xff, nwords * sizeof(uint64_t));
	tracked->next = self->slots;
	self->slots = tracked;
	return 0;
}

/* Memory that will do, without a hole. */
static int check_slot(struct tide_soft_dirty *self,
		      const struct tide_slot *slot)
{
	uintptr_t looked = (uintptr_t)tide_slot_host(slot);
	uintptr_t end = looked + (tide_slot_npages(slot) << TIDE_PAGE_SHIFT);
	struct own_mapping mapping;
	int err = own_maps_rewind(&self->maps);
	int more = 1;

	while (!err && looked < end &&
	       (more = own_maps_next(&self->maps, &mapping)) > 0) {
		if (mapping.end <= looked)
			continue;
		err = check_part(&mapping, looked);
		looked = mapping.end;
	}
	if (!err && more < 0)
		err = more;
	return err || looked >= end ? err : -EFAULT;
}

static int soft_dirty_slot_add(void *tracker, struct tide_slot *slot, bool log)
{
	struct tide_soft_dirty *self = tracker;
	int err = has_bits(self) ? check_slot(self, slot) : -ESTALE;

	return err || !log ? err : soft_dirty_slot_log(self, slot, true);
}

static int soft_dirty_slot_remove(void *tracker, struct tide_slot *slot)
{
	forget(tracker, slot);
	return 0;
}

/* To a process gfns are only names. */
static int soft_dirty_slot_move(void *tracker, struct tide_slot *slot,
				uint64_t first_gfn)
{
	(void)tracker;
	(void)slot;
	(void)first_gfn;
	return 0;
}

/* As with wp: what is written after the removal has begun is not ours. */
static int soft_dirty_slot_park(void *tracker, struct tide_slot *slot)
{
	(void)tracker;
	(void)slot;
	return 0;
}

static bool soft_dirty_sync(void *tracker)
{
	(void)tracker;
	return true;
}

/* ---- the tracker ---- */

/* Its writer is this thread, so that nobody has to be stopped. */
static int prove(struct tide_soft_dirty *self, const char **ret_why)
{
	int answer;

	*ret_why = "ask for the bit of a page that was written";
	self->witness->clears++;
	answer = ask_witness(self);
	if (answer <= 0) {
		if (!answer)
			*ret_why = "a page that was written has no soft-dirty "
				   "bit (no CONFIG_MEM_SOFT_DIRTY?)";
		return answer ? answer : -EOPNOTSUPP;
	}
	*ret_why = "clear the soft-dirty bits";
	answer = clear_bits(self);
	if (!answer)
		answer = ask_witness(self);
	if (answer) {
		if (answer > 0)
			*ret_why = "clear_refs leaves the soft-dirty bit";
		return answer < 0 ? answer : -EOPNOTSUPP;
	}
	self->witness->clears++;
	answer = ask_witness(self);
	if (answer <= 0) {
		*ret_why = "a write after clearing sets no soft-dirty bit";
		return answer ? answer : -EOPNOTSUPP;
	}
	return 0;
}

static int set_up(struct tide_soft_dirty *self, const char **ret_why)
{
	int err;

	*ret_why = "pages of 4 KiB";
	if (sysconf(_SC_PAGESIZE) != (long)TIDE_PAGE_SIZE)
		return -EOPNOTSUPP;
	*ret_why = "take the soft-dirty bits of this process";
	err = take_bits(self);
	if (err)
		return err;
	*ret_why = "open /proc/self/pagemap";
	err = open_file("/proc/self/pagemap", O_RDONLY, &self->pagemap_fd);
	if (err)
		return err;
	*ret_why = "open /proc/self/clear_refs";
	err = open_file("/proc/self/clear_refs", O_WRONLY, &self->clear_fd);
	if (err)
		return err;
	*ret_why = "open /proc/self/maps";
	err = own_maps_open(&self->maps);
	return err ? err : prove(self, ret_why);
}

int tide_soft_dirty_create(struct tide_space *space,
			   const struct tide_soft_dirty_config *config,
			   struct tide_soft_dirty **ret, const char **ret_why)
{
	struct tide_soft_dirty *self = calloc(1, sizeof(*self));
	const char *why = NULL;
	int err;

	if (!self)
		return -ENOMEM;
	self->space = space;
	self->pagemap_fd = self->clear_fd = self->maps.fd = -1;
	if (config)
		self->config = *config;
	err = set_up(self, &why);
	if (err) {
		tide_soft_dirty_destroy(self);
		if (ret_why)
			*ret_why = why;
		return err;
	}
	*ret = self;
	return 0;
}

void tide_soft_dirty_destroy(void *tracker)
{
	struct tide_soft_dirty *self = tracker;

	while (self->slots)
		forget(self, self->slots->slot);
	own_maps_close(&self->maps);
	if (self->clear_fd >= 0)
		close(self->clear_fd);
	if (self->pagemap_fd >= 0)
		close(self->pagemap_fd);
	leave_bits(self);
	free(self);
}

const struct tide_tracker_ops tide_soft_dirty_ops = {
	.kind = TIDE_TRACKER_SOFT_DIRTY,
	.slot_add = soft_dirty_slot_add,
	.slot_remove = soft_dirty_slot_remove,
	.slot_move = soft_dirty_slot_move,
	.slot_park = soft_dirty_slot_park,
	.slot_log = soft_dirty_slot_log,
	.collect = soft_dirty_collect,
	.sync = soft_dirty_sync,
	.destroy = tide_soft_dirty_destroy,
};

/* SPDX-License-Identifier: MIT */
/*
 * bitmap.c - an atomic dirty bitmap with summary levels
 *
 * Theory of operation
 * -------------------
 * Level 0 holds the bits, level n + 1 one bit for each word of level n.  A
 * writer sets bottom-up, a taker exchanges top-down.  Suppose that a writer
 * finds a summary bit set and leaves it: either no taker has exchanged that
 * summary word since, and the next one finds the bit; or one has, and it goes
 * on to exchange the word below, in which the writer's bit already was.  That
 * either-or is store buffering (the writer stores below and loads above, the
 * taker stores above and loads below), so all of it is sequentially
 * consistent.  A summary bit over an empty word is harmless and goes away
 * with the next take, or with the clearing that emptied the word: that lowers
 * the summary and then looks below, as a taker does, and raises it again if a
 * writer came.
 *
 * A run of 4096 bits, one word of level 1, can be full: one bit says so, and
 * the words below are not touched, which matters while their memory does not
 * exist yet.  A full run has no summary; a taker looks at all of these words,
 * as it does at level 2.  Clearing part of a full run first sets the bits
 * below one by one and then takes the run's bit away, so that a reader who
 * looks at full first finds every bit in one place or in the other.
 *
 * Leaving a level-0 bit alone because it is already set is the same pattern
 * once more, with the written data in the place of the bit: the writer stores
 * data and loads the bit, the taker clears the bit and loads data.  Its two
 * fences are in tide_bitmap_mark() and with the taker's caller.  Without them
 * a C11 checker finds the lost write in two executions; x86 tests never do.
 * The bit that is already set may be a writer's who is still between two
 * levels.  It is left alone only if the levels above are seen set as well, from
 * the bottom up and sequentially consistent: a taker that lowered one of them
 * before that has seen the bit, or will look at its word.
 *
 * Invariants
 *   I1  a word that is not 0 has its summary bit set, or a writer is between
 *       its level n and its level n + 1, or a taker has taken the summary bit
 *       and not yet reached the word, or a clearer has lowered it and not yet
 *       looked
 *   I2  no bit at or beyond nbits is ever set on level 0, none at or beyond
 *       nwords[1] in full
 *
 * Synchronisation
 *   bitmap.set    publishes what was written before  -> bitmap.take, .clear,
 *                                                       .peek
 *   bitmap.take   clears, and acquires the set       -> bitmap.seen, .above
 *   bitmap.fill   as set, for a run                  -> bitmap.drain, .expand,
 *                                                       .is_full
 *   bitmap.expand the run's bits are on level 0 now  -> bitmap.is_full
 */
#include "log/bitmap.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define RUN_BITS ((uint64_t)TIDE_WORD_BITS * TIDE_WORD_BITS)
/* From here on memory comes from the kernel, so that what is not written to
 * does not exist: malloc hands out again, and clears, what it got back. */
#define MAPPED_MIN (64u << 10)

static void *words_alloc(size_t nbytes)
{
	void *words;

	if (nbytes < MAPPED_MIN)
		return calloc(1, nbytes);
	words = mmap(NULL, nbytes, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return words == MAP_FAILED ? NULL : words;
}

static void words_free(void *words, size_t nbytes)
{
	if (nbytes < MAPPED_MIN)
		free(words);
	else
		(void)munmap(words, nbytes); /* what mmap gave */
}

/* Words of all levels and of full. */
static size_t words_total(const struct tide_bitmap *bitmap)
{
	size_t total = bitmap->nwords[2];

	for (int level = 0; level < TIDE_BITMAP_LEVELS; level++)
		total += bitmap->nwords[level];
	return total;
}

int tide_bitmap_init(struct tide_bitmap *bitmap, uint64_t nbits)
{
	uint64_t n = nbits;
	_Atomic uint64_t *words;

	if (!nbits)
		return -EINVAL;
	for (int level = 0; level < TIDE_BITMAP_LEVELS; level++) {
		n = tide_words(n);
		bitmap->nwords[level] = n;
	}
	words = words_alloc(words_total(bitmap) * sizeof(*words));
	if (!words)
		return -ENOMEM;
	bitmap->nbits = nbits;
	for (int level = 0; level < TIDE_BITMAP_LEVELS; level++) {
		bitmap->level[level] = words;
		words += bitmap->nwords[level];
	}
	bitmap->full = words;
	return 0;
}

void tide_bitmap_fini(struct tide_bitmap *bitmap)
{
	if (bitmap->level[0])
		words_free(bitmap->level[0],
			   words_total(bitmap) * sizeof(*bitmap->level[0]));
	*bitmap = (struct tide_bitmap){ 0 };
}

/* Word @word of level 0 has just been given bits: say so above. */
static void summarise(struct tide_bitmap *bitmap, uint64_t word)
{
	uint64_t index = word;

	for (int n = 1; n < TIDE_BITMAP_LEVELS; n++) {
		_Atomic uint64_t *above =
			&bitmap->level[n][index / TIDE_WORD_BITS];

		/* SEQ_CST(bitmap.above) pairs with SEQ_CST(bitmap.take),
		 * SEQ_CST(bitmap.look) and SEQ_CST(bitmap.lower): we stored
		 * below and look above, a taker stores above and looks below;
		 * one of us sees the other. */
		if (!(atomic_load_explicit(above, memory_order_seq_cst) &
		      tide_bit(index))) {
			/* SEQ_CST(bitmap.raise) pairs with
			 * SEQ_CST(bitmap.take), SEQ_CST(bitmap.lowered) and
			 * ACQUIRE(bitmap.peek): in the same order. */
			atomic_fetch_or_explicit(above, tide_bit(index),
						 memory_order_seq_cst);
		}
		index /= TIDE_WORD_BITS;
	}
}

void tide_bitmap_set_word(struct tide_bitmap *bitmap, uint64_t word,
			  uint64_t bits)
{
	assert(word < bitmap->nwords[0]);
	assert(!(bits & ~tide_word_mask(bitmap->nbits, word))); /* I2 */
	if (!bits)
		return;
	/* SEQ_CST(bitmap.set) pairs with SEQ_CST(bitmap.take),
	 * ACQUIRE(bitmap.clear), SEQ_CST(bitmap.lowered) and
	 * ACQUIRE(bitmap.peek): who finds the bit sees what was written before
	 * it was set. */
	atomic_fetch_or_explicit(&bitmap->level[0][word], bits,
				 memory_order_seq_cst);
	summarise(bitmap, word);
}

void tide_bitmap_set(struct tide_bitmap *bitmap, uint64_t bit)
{
	tide_bitmap_set_word(bitmap, bit / TIDE_WORD_BITS, tide_bit(bit));
}

static void set_words(struct tide_bitmap *bitmap, uint64_t first, uint64_t end)
{
	for (uint64_t word = first / TIDE_WORD_BITS;
	     word * TIDE_WORD_BITS < end; word++)
		tide_bitmap_set_word(bitmap, word,
				     tide_range_mask(first, end, word));
}

static void fill_runs(struct tide_bitmap *bitmap, uint64_t first, uint64_t end)
{
	assert(end <= bitmap->nwords[1]); /* I2 */
	for (uint64_t word = first / TIDE_WORD_BITS;
	     word * TIDE_WORD_BITS < end; word++) {
		/* RELEASE(bitmap.fill) pairs with ACQUIRE(bitmap.drain),
		 * ACQ_REL(bitmap.expand) and ACQUIRE(bitmap.is_full): who
		 * finds the bits sees what was written before. */
		atomic_fetch_or_explicit(&bitmap->full[word],
					 tide_range_mask(first, end, word),
					 memory_order_release);
	}
}

void tide_bitmap_set_range(struct tide_bitmap *bitmap, uint64_t first,
			   uint64_t count)
{
	uint64_t end = first + count;
	uint64_t run = (first + RUN_BITS - 1) / RUN_BITS;
	uint64_t run_end = end / RUN_BITS;

	assert(end >= first && end <= bitmap->nbits);
	if (end == bitmap->nbits)
		run_end = bitmap->nwords[1]; /* the last may be short */
	if (run >= run_end) {
		set_words(bitmap, first, end);
		return;
	}
	set_words(bitmap, first, run * RUN_BITS);
	fill_runs(bitmap, run, run_end);
	if (run_end * RUN_BITS < end)
		set_words(bitmap, run_end * RUN_BITS, end);
}

/* The full ones of runs [64 * word, + 64).  To be asked before level 0 is. */
static uint64_t full_runs(const struct tide_bitmap *bitmap, uint64_t word)
{
	/* ACQUIRE(bitmap.is_full) pairs with RELEASE(bitmap.fill) and
	 * ACQ_REL(bitmap.expand): not full any more, the bits are below. */
	return atomic_load_explicit(&bitmap->full[word], memory_order_acquire);
}

static bool is_full(const struct tide_bitmap *bitmap, uint64_t run)
{
	return full_runs(bitmap, run / TIDE_WORD_BITS) & tide_bit(run);
}

bool tide_bitmap_test(const struct tide_bitmap *bitmap, uint64_t bit)
{
	assert(bit < bitmap->nbits);
	if (is_full(bitmap, bit / RUN_BITS))
		return true;
	/* Relaxed: an answer about a bit that others change is old anyhow. */
	return atomic_load_explicit(&bitmap->level[0][bit / TIDE_WORD_BITS],
				    memory_order_relaxed) &
	       tide_bit(bit);
}

/* Exchanges word @word of level @n with 0, looking first: an empty word is
 * not worth a locked instruction. */
static uint64_t take_word(struct tide_bitmap *bitmap, int n, uint64_t word)
{
	_Atomic uint64_t *from = &bitmap->level[n][word];

	/* SEQ_CST(bitmap.look) pairs with SEQ_CST(bitmap.above): seen as 0
	 * after the summary above was taken, the writer has yet to look at
	 * that summary, and will raise it again. */
	if (!atomic_load_explicit(from, memory_order_seq_cst))
		return 0;
	/* SEQ_CST(bitmap.take) pairs with SEQ_CST(bitmap.set),
	 * SEQ_CST(bitmap.above), SEQ_CST(bitmap.raise) and
	 * SEQ_CST(bitmap.seen): see Theory of operation. */
	return atomic_exchange_explicit(from, 0, memory_order_seq_cst);
}

/* The words of level 0 that run @run has. */
static uint64_t words_of_run(const struct tide_bitmap *bitmap, uint64_t run)
{
	return tide_word_mask(bitmap->nwords[0], run);
}

/* Takes one run, all of it if it was @full. */
static uint64_t take_run(struct tide_bitmap *bitmap, uint64_t run, bool full,
			 void (*found)(void *opaque, uint64_t word,
				       uint64_t bits),
			 void *opaque)
{
	uint64_t summary = take_word(bitmap, 1, run);
	uint64_t todo = full ? words_of_run(bitmap, run) : summary;
	uint64_t taken = 0;

	for (; todo; todo &= todo - 1) {
		uint64_t word = run * TIDE_WORD_BITS + tide_lowest(todo);
		uint64_t bits = 0;

		/* Memory that nobody has written to stays untouched. */
		if (summary & tide_bit(word))
			bits = take_word(bitmap, 0, word);
		if (full)
			bits = tide_word_mask(bitmap->nbits, word);
		if (!bits)
			continue;
		taken += tide_popcount(bits);
		found(opaque, word, bits);
	}
	return taken;
}

static uint64_t take_full(struct tide_bitmap *bitmap, uint64_t word)
{
	/* Relaxed: a run that is filled this moment is left for next time. */
	if (!atomic_load_explicit(&bitmap->full[word], memory_order_relaxed))
		return 0;
	/* ACQUIRE(bitmap.drain) pairs with RELEASE(bitmap.fill): as take. */
	return atomic_exchange_explicit(&bitmap->full[word], 0,
					memory_order_acquire);
}

uint64_t tide_bitmap_take(struct tide_bitmap *bitmap,
			  void (*found)(void *opaque, uint64_t word,
					uint64_t bits),
			  void *opaque)
{
	uint64_t taken = 0;

	for (uint64_t i = 0; i < bitmap->nwords[2]; i++) {
		uint64_t full = take_full(bitmap, i);
		uint64_t todo = take_word(bitmap, 2, i) | full;

		for (; todo; todo &= todo - 1) {
			uint64_t run = i * TIDE_WORD_BITS + tide_lowest(todo);

			taken += take_run(bitmap, run, full & tide_bit(run),
					  found, opaque);
		}
	}
	return taken;
}

static uint64_t peek_word(const struct tide_bitmap *bitmap, int n,
			  uint64_t word)
{
	/* ACQUIRE(bitmap.peek) pairs with SEQ_CST(bitmap.set) and
	 * SEQ_CST(bitmap.raise): what was written before the bit was set is
	 * seen with it, and the level below with the one above. */
	return atomic_load_explicit(&bitmap->level[n][word],
				    memory_order_acquire);
}

static void peek_run(const struct tide_bitmap *bitmap, uint64_t run, bool full,
		     void (*found)(void *opaque, uint64_t word, uint64_t bits),
		     void *opaque)
{
	uint64_t todo =
		full ? words_of_run(bitmap, run) : peek_word(bitmap, 1, run);

	for (; todo; todo &= todo - 1) {
		uint64_t word = run * TIDE_WORD_BITS + tide_lowest(todo);
		uint64_t bits = full ? tide_word_mask(bitmap->nbits, word)
				     : peek_word(bitmap, 0, word);

		if (bits)
			found(opaque, word, bits);
	}
}

void tide_bitmap_peek(const struct tide_bitmap *bitmap,
		      void (*found)(void *opaque, uint64_t word, uint64_t bits),
		      void *opaque)
{
	for (uint64_t i = 0; i < bitmap->nwords[2]; i++) {
		uint64_t full = full_runs(bitmap, i);
		uint64_t todo = peek_word(bitmap, 2, i) | full;

		for (; todo; todo &= todo - 1) {
			uint64_t run = i * TIDE_WORD_BITS + tide_lowest(todo);

			peek_run(bitmap, run, full & tide_bit(run), found,
				 opaque);
		}
	}
}

/* Full run @run becomes one whose bits are all set on level 0. */
static void expand(struct tide_bitmap *bitmap, uint64_t run)
{
	uint64_t end = (run + 1) * RUN_BITS;

	set_words(bitmap, run * RUN_BITS,
		  end < bitmap->nbits ? end : bitmap->nbits);
	/* ACQ_REL(bitmap.expand) pairs with RELEASE(bitmap.fill) and
	 * ACQUIRE(bitmap.is_full): as take, and the bits are below. */
	atomic_fetch_and_explicit(&bitmap->full[run / TIDE_WORD_BITS],
				  ~tide_bit(run), memory_order_acq_rel);
}

/* Word @word of level 0 was emptied: say so above, or peek and take look at it
 * for nothing. */
static void unsummarise(struct tide_bitmap *bitmap, uint64_t word)
{
	uint64_t index = word;

	for (int n = 1; n < TIDE_BITMAP_LEVELS; n++) {
		/* SEQ_CST(bitmap.lower) pairs with SEQ_CST(bitmap.above) and
		 * SEQ_CST(bitmap.seen): as take. */
		uint64_t old = atomic_fetch_and_explicit(
			&bitmap->level[n][index / TIDE_WORD_BITS],
			~tide_bit(index), memory_order_seq_cst);

		/* SEQ_CST(bitmap.lowered) pairs with SEQ_CST(bitmap.set) and
		 * SEQ_CST(bitmap.raise): as look. */
		if (atomic_load_explicit(&bitmap->level[n - 1][index],
					 memory_order_seq_cst)) {
			summarise(bitmap, word);
			return;
		}
		if (old & ~tide_bit(index))
			return;
		index /= TIDE_WORD_BITS;
	}
}

uint64_t tide_bitmap_and_not(struct tide_bitmap *bitmap, uint64_t word,
			     uint64_t bits)
{
	uint64_t old;

	assert(word < bitmap->nwords[0]);
	if (bits && is_full(bitmap, word / TIDE_WORD_BITS))
		expand(bitmap, word / TIDE_WORD_BITS);
	/* Relaxed: a bit set this moment is left for the next take. */
	if (!(atomic_load_explicit(&bitmap->level[0][word],
				   memory_order_relaxed) &
	      bits))
		return 0;
	/* ACQUIRE(bitmap.clear) pairs with SEQ_CST(bitmap.set): who finds the
	 * bit sees what was written before it was set. */
	old = atomic_fetch_and_explicit(&bitmap->level[0][word], ~bits,
					memory_order_acquire);
	if (!(old & ~bits))
		unsummarise(bitmap, word);
	return old & bits;
}

bool tide_bitmap_looks_empty_in(const struct tide_bitmap *bitmap,
				uint64_t first_word, uint64_t end_word)
{
	for (uint64_t i = first_word / RUN_BITS; i * RUN_BITS < end_word; i++) {
		/* Relaxed: a hint. */
		if (atomic_load_explicit(&bitmap->level[2][i],
					 memory_order_relaxed))
			return false;
		/* Relaxed: as above. */
		if (atomic_load_explicit(&bitmap->full[i],
					 memory_order_relaxed))
			return false;
	}
	return true;
}

bool tide_bitmap_looks_empty(const struct tide_bitmap *bitmap)
{
	return tide_bitmap_looks_empty_in(bitmap, 0, bitmap->nwords[0]);
}

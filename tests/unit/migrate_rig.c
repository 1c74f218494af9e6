/* SPDX-License-Identifier: MIT */
/* migrate_rig.c - a space whose writer marks, and its migration over sockets */
#undef NDEBUG
#include "migrate_rig.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <tidemark/mark.h>

#include "test_support.h"

#define PAGE TIDE_PAGE_SIZE

struct run {
	struct rig *rig;
	const struct rig_options *options;
	int source_fd, dest_fd;
	sem_t source_back;
};

uint64_t rig_draw(struct rig *rig)
{
	uint64_t x = rig->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	rig->random = x;
	return x * 0x2545f4914f6cdd1dull >> 11;
}

struct rig_slot *rig_slot_find(struct rig *rig, uint32_t id)
{
	for (uint32_t i = 0; i < RIG_SLOTS_MAX; i++) {
		if (rig->slots[i].here && rig->slots[i].info.id == id)
			return &rig->slots[i];
	}
	return NULL;
}

uint64_t rig_pages(const struct rig *rig)
{
	uint64_t npages = 0;

	for (uint32_t i = 0; i < RIG_SLOTS_MAX; i++) {
		if (rig->slots[i].here)
			npages += rig->slots[i].info.npages;
	}
	return npages;
}

static void *map_pages(uint64_t npages)
{
	void *memory = mmap(NULL, npages * PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(memory != MAP_FAILED);
	return memory;
}

struct rig *rig_create(uint64_t seed)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	rig->random = seed * 0x9e3779b97f4a7c15ull | 1;
	rig->guest_runs = true;
	assert_int_equal(tide_space_create(&rig->space), 0);
	assert_int_equal(tide_client_open(rig->space, "migration",
					  TIDE_START_ALL_DIRTY, &rig->client),
			 0);
	return rig;
}

void rig_forget(struct rig *rig)
{
	for (uint32_t i = 0; i < RIG_SLOTS_MAX; i++) {
		if (rig->dest_slots[i].mapped)
			munmap(rig->dest_slots[i].info.host,
			       rig->dest_slots[i].info.npages * PAGE);
	}
	memset(rig->dest_slots, 0, sizeof(rig->dest_slots));
}

void rig_destroy(struct rig *rig)
{
	rig_forget(rig);
	tide_client_close(rig->client);
	tide_space_destroy(rig->space);
	for (uint32_t i = 0; i < RIG_SLOTS_MAX; i++) {
		if (rig->slots[i].mapped)
			munmap(rig->slots[i].info.host,
			       rig->slots[i].info.npages * PAGE);
	}
	free(rig);
}

void rig_slot_add(struct rig *rig, uint32_t id, uint64_t first_gfn,
		  uint64_t npages, uint32_t flags)
{
	struct tide_slot_config config = {
		.id = id,
		.flags = flags,
		.first_gfn = first_gfn,
		.npages = npages,
		.host = map_pages(npages),
	};
	uint32_t i = 0;

	while (i < RIG_SLOTS_MAX && rig->slots[i].mapped)
		i++;
	assert_true(i < RIG_SLOTS_MAX);
	assert_int_equal(tide_slot_add(rig->space, &config), 0);
	rig->slots[i] = (struct rig_slot){
		.info = { id, flags, first_gfn, npages, config.host },
		.here = true,
		.mapped = true,
	};
}

/* The memory stays until the end: a harvest may still read it. */
void rig_slot_remove(struct rig *rig, uint32_t id)
{
	struct rig_slot *slot = rig_slot_find(rig, id);

	assert_non_null(slot);
	assert_true(tide_slot_remove(rig->space, id) >= 0);
	slot->here = false;
}

static void mark(struct rig *rig, const struct rig_slot *slot, uint64_t page)
{
	assert_int_equal(tide_mark(rig->space, slot->info.first_gfn + page), 0);
}

void rig_write(struct rig *rig, uint32_t id, uint64_t page)
{
	struct rig_slot *slot = rig_slot_find(rig, id);
	uint64_t *words = (uint64_t *)slot->info.host + page * (PAGE / 8);

	assert_true(page < slot->info.npages);
	words[rig_draw(rig) % (PAGE / 8)] = rig_draw(rig) | 1;
	mark(rig, slot, page);
}

void rig_clear(struct rig *rig, uint32_t id, uint64_t page)
{
	struct rig_slot *slot = rig_slot_find(rig, id);

	memset((char *)slot->info.host + page * PAGE, 0, PAGE);
	mark(rig, slot, page);
}

static void write_somewhere(struct rig *rig)
{
	uint64_t at = rig_draw(rig) % rig_pages(rig);

	for (uint32_t i = 0; i < RIG_SLOTS_MAX; i++) {
		struct rig_slot *slot = &rig->slots[i];

		if (!slot->here)
			continue;
		if (at < slot->info.npages) {
			if (rig_draw(rig) % 4)
				rig_write(rig, slot->info.id, at);
			else
				rig_clear(rig, slot->info.id, at);
			return;
		}
		at -= slot->info.npages;
	}
}

void rig_fill(struct rig *rig)
{
	for (uint64_t i = 0; i < rig_pages(rig) / 3; i++)
		write_somewhere(rig);
}

/* --- the source's callbacks -------------------------------------------- */

static int on_stop(void *opaque)
{
	struct run *run = opaque;

	run->rig->stops++;
	for (uint32_t i = 0; i < run->rig->writes; i++)
		write_somewhere(run->rig); /* its last breath */
	run->rig->guest_runs = false;
	return run->options->stop_error;
}

static int on_resume(void *opaque)
{
	struct run *run = opaque;

	run->rig->resumes++;
	run->rig->guest_runs = true;
	return run->options->resume_error;
}

static int on_save(void *opaque, struct tide_migrate *migrate)
{
	struct run *run = opaque;

	run->rig->saves++;
	assert_false(run->rig->guest_runs);
	if (run->options->save_error)
		return run->options->save_error;

	int err = tide_migrate_put_state(migrate, "vcpu", 0, "registers", 9);

	if (err)
		return err;
	err = tide_migrate_put_state(migrate, "empty", 1, NULL, 0);
	if (err)
		return err;
	return tide_migrate_put_state(migrate, "device", 0xfffffffe, "queue",
				      5);
}

/* A frame is on its way: the guest goes on. */
static void on_send(void *opaque)
{
	struct run *run = opaque;
	struct rig *rig = run->rig;

	if (rig->guest_runs && rig_pages(rig)) {
		for (uint32_t i = 0; i < rig->writes; i++)
			write_somewhere(rig);
	}
	if (rig->hook)
		rig->hook(rig);
}

static int on_source_progress(void *opaque,
			      const struct tide_migrate_stats *stats)
{
	struct run *run = opaque;
	struct rig *rig = run->rig;

	rig->now = *stats;
	if (rig->progress)
		rig->progress(rig, stats);
	return ++rig->source_calls == run->options->cancel_source_at;
}

/* --- the destination's callbacks --------------------------------------- */

static int on_slot(void *opaque, struct tide_slot_info *info)
{
	struct run *run = opaque;
	uint32_t i = 0;

	if (run->options->block_slot)
		sem_wait(&run->source_back);
	if (run->options->slot_error)
		return run->options->slot_error;
	while (i < RIG_SLOTS_MAX && run->rig->dest_slots[i].mapped)
		i++;
	assert_true(i < RIG_SLOTS_MAX);
	info->host = map_pages(info->npages);
	run->rig->dest_slots[i] = (struct rig_slot){
		.info = *info,
		.here = true,
		.mapped = true,
	};
	return 0;
}

static int on_slot_change(void *opaque, const struct tide_slot_info *was,
			  const struct tide_slot_info *now)
{
	struct run *run = opaque;

	for (uint32_t i = 0; i < RIG_SLOTS_MAX; i++) {
		struct rig_slot *slot = &run->rig->dest_slots[i];

		if (!slot->here || slot->info.id != was->id)
			continue;
		assert_true(slot->info.host == was->host);
		if (now)
			slot->info = *now;
		else
			slot->here = false;
		return 0;
	}
	fail_msg("slot %u never came", was->id);
	return -ENOENT;
}

static int on_load(void *opaque, const char *name, uint32_t index,
		   const void *data, size_t nbytes)
{
	struct run *run = opaque;
	char *state = run->rig->dest_state;
	size_t length = strlen(state);

	(void)snprintf(state + length, RIG_STATE_MAX - length, "%s.%u=%.*s;",
		       name, index, (int)nbytes, (const char *)data);
	return run->options->load_error;
}

static int on_start(void *opaque)
{
	struct run *run = opaque;

	assert_false(run->rig->guest_runs);
	if (run->options->start_error)
		return run->options->start_error;
	run->rig->starts++;
	return 0;
}

static int on_dest_progress(void *opaque,
			    const struct tide_migrate_stats *stats)
{
	struct run *run = opaque;

	(void)stats;
	return ++run->rig->dest_calls == run->options->cancel_dest_at;
}

static void *destination(void *opaque)
{
	struct run *run = opaque;
	struct rig *rig = run->rig;
	struct tide_migrate_receive_config config = {
		.slot = on_slot,
		.slot_change =
			run->options->no_slot_change ? NULL : on_slot_change,
		.load = on_load,
		.start = on_start,
		.progress = on_dest_progress,
		.opaque = run,
		.memory_bytes_max = run->options->memory_bytes_max,
		.deadline_ns = run->options->receive_deadline_ns,
		.message = rig->dest_message,
		.message_size = sizeof(rig->dest_message),
	};

	wire_faults_use(run->options->dest_faults);
	rig->dest_result =
		tide_migrate_receive(run->dest_fd, &config, &rig->dest_stats);
	wire_faults_use(NULL);
	(void)close(run->dest_fd);
	return NULL;
}

/* --- one migration ------------------------------------------------------ */

static void begin(struct rig *rig)
{
	rig_forget(rig);
	rig->stops = rig->resumes = rig->saves = rig->starts = 0;
	rig->source_calls = rig->dest_calls = 0;
	rig->guest_runs = true;
	memset(&rig->now, 0, sizeof(rig->now));
	memset(rig->dest_state, 0, sizeof(rig->dest_state));
}

void rig_migrate(struct rig *rig, const struct rig_options *options)
{
	struct tide_migrate_send_config config = options->send;
	struct run run = { .rig = rig, .options = options };
	struct wire_faults own_faults = wire_faults_none();
	struct wire_faults *faults;
	pthread_t thread;
	int fds[2];

	begin(rig);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(sem_init(&run.source_back, 0, 0), 0);
	run.source_fd = fds[0];
	run.dest_fd = fds[1];
	assert_int_equal(pthread_create(&thread, NULL, destination, &run), 0);

	config.stop = on_stop;
	config.resume = on_resume;
	config.save = on_save;
	config.progress = on_source_progress;
	config.opaque = &run;
	config.message = rig->source_message;
	config.message_size = sizeof(rig->source_message);
	faults = options->source_faults ? options->source_faults : &own_faults;
	faults->hook = on_send;
	faults->opaque = &run;
	wire_faults_use(faults);
	rig->source_result = tide_migrate_send(rig->space, rig->client, fds[0],
					       &config, &rig->source_stats);
	wire_faults_use(NULL);
	assert_int_equal(sem_post(&run.source_back), 0);
	(void)close(fds[0]);
	assert_int_equal(pthread_join(thread, NULL), 0);
	(void)sem_destroy(&run.source_back);
}

static const struct rig_slot *dest_slot(const struct rig *rig, uint32_t id)
{
	for (uint32_t i = 0; i < RIG_SLOTS_MAX; i++) {
		if (rig->dest_slots[i].here && rig->dest_slots[i].info.id == id)
			return &rig->dest_slots[i];
	}
	return NULL;
}

void rig_check_equal(struct rig *rig)
{
	for (uint32_t i = 0; i < RIG_SLOTS_MAX; i++) {
		const struct rig_slot *slot = &rig->slots[i];

		if (!slot->here) {
			continue;
		}

		const struct rig_slot *there = dest_slot(rig, slot->info.id);

		assert_non_null(there);
		assert_int_equal(slot->info.npages, there->info.npages);
		assert_int_equal(slot->info.first_gfn, there->info.first_gfn);
		assert_int_equal(slot->info.flags, there->info.flags);
		for (uint64_t page = 0; page < slot->info.npages; page++) {
			if (memcmp((char *)slot->info.host + page * PAGE,
				   (char *)there->info.host + page * PAGE,
				   PAGE) != 0)
				fail_msg("slot %u: page %ju differs",
					 slot->info.id, (uintmax_t)page);
		}
	}
	assert_string_equal(rig->dest_state, "vcpu.0=registers;empty.1=;"
					     "device.4294967294=queue;");
}

void rig_check_outcome(struct rig *rig)
{
	assert_true(rig->starts <= 1 && rig->stops <= 1 && rig->resumes <= 1);
	assert_false(rig->starts && rig->resumes);
	assert_int_equal(rig->starts, rig->dest_result == 0);
	if (rig->source_result == 0) {
		assert_int_equal(rig->starts, 1);
		assert_int_equal(rig->resumes, 0);
		assert_int_equal(rig->source_stats.phase, TIDE_MIGRATE_DONE);
		rig_check_equal(rig);
		return;
	}
	assert_true(rig->source_message[0] != '\0');
	if (rig->source_result == -ENOTRECOVERABLE) {
		assert_int_equal(rig->stops, 1);
		assert_int_equal(rig->resumes, 0);
		assert_int_equal(rig->source_stats.phase, TIDE_MIGRATE_UNKNOWN);
		if (rig->starts)
			rig_check_equal(rig);
		return;
	}
	assert_int_equal(rig->source_stats.phase, TIDE_MIGRATE_FAILED);
	assert_int_equal(rig->starts, 0);
	assert_int_equal(rig->stops, rig->resumes);
	assert_true(rig->dest_message[0] != '\0');
}

void rig_check_again(struct rig *rig)
{
	static const struct rig_options good;

	assert_int_equal(tide_client_pending(rig->client), rig_pages(rig));
	rig_migrate(rig, &good);
	if (rig->source_result || rig->dest_result)
		fail_msg("again: %d %s, %d %s", rig->source_result,
			 rig->source_message, rig->dest_result,
			 rig->dest_message);
	rig_check_outcome(rig);
}

/* SPDX-License-Identifier: MIT */
/*
 * cmd_watch.c - tidemark watch: what a running process writes
 *
 * One line an interval, or one JSON object.  Two clients look at the same log:
 * one is harvested each interval, the other each WINDOW intervals, so that its
 * count is of the distinct pages in that time, the working set.
 */
#include "cmdline.h"
#include "interrupt.h"
#include "tool.h"
#include "units.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <tidemark/client.h>
#include <tidemark/process.h>
#include <time.h>
#include <unistd.h>

#define WINDOW 10u
#define TOP 3u
#define NS_PER_S 1000000000ull
#define INTERVAL_NS_MIN 10000000ull

struct watch_args {
	uint64_t pid, interval_ns, time_ns;
	int json;
};

struct row {
	struct tide_mapping mapping;
	uint64_t pages; /* dirty in this interval */
};

struct watch {
	struct watch_args args;
	pid_t child; /* the command that we started; 0: none */
	struct tide_process *process;
	struct tide_client *each, *window;
	struct row *rows; /* of the mappings, by index */
	uint32_t count, max;
	uint64_t begin_ns, last_ns;
	uint64_t intervals;

	/* Of one interval. */
	uint64_t ns, pages, window_pages, window_ns, window_began_ns;
	uint64_t harvest_ns;
	int changes;
};

/* ---- one interval ---- */

static int list_mappings(struct watch *watch)
{
	struct tide_mapping mapping;

	watch->count = 0;
	for (uint32_t i = 0; !tide_process_mapping(watch->process, i, &mapping);
	     i++) {
		if (watch->count == watch->max) {
			uint32_t max = watch->max * 2 + 64;
			struct row *rows =
				realloc(watch->rows, max * sizeof(*rows));

			if (!rows)
				return -ENOMEM;
			watch->rows = rows;
			watch->max = max;
		}
		watch->rows[watch->count++] =
			(struct row){ .mapping = mapping };
	}
	return 0;
}

static struct row *row_of(struct watch *watch, uint64_t gfn)
{
	uint64_t address = gfn * TIDE_PAGE_SIZE;
	uint32_t low = 0, high = watch->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (watch->rows[middle].mapping.end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < watch->count ? &watch->rows[low] : NULL;
}

/* @rows: count by mapping, too. */
static int harvest(struct watch *watch, struct tide_client *client, int rows,
		   uint64_t *ret_pages)
{
	struct tide_harvest *harvest;
	struct tide_extent extent;
	int ret = tide_harvest_begin(client, &harvest);

	*ret_pages = 0;
	if (ret)
		return ret;
	while ((ret = tide_harvest_next(harvest, &extent)) > 0) {
		struct row *row;

		if (extent.flags & TIDE_EXTENT_GONE)
			continue;
		*ret_pages += extent.npages;
		row = rows ? row_of(watch, extent.first_gfn) : NULL;
		if (row)
			row->pages += extent.npages;
	}
	if (ret) {
		tide_harvest_abort(harvest);
		return ret;
	}
	return tide_harvest_commit(harvest);
}

static int look(struct watch *watch)
{
	uint64_t begin_ns = tool_now_ns();
	int err;

	watch->changes = tide_process_update(watch->process);
	if (watch->changes < 0)
		return watch->changes;
	err = list_mappings(watch);
	if (!err)
		err = harvest(watch, watch->each, 1, &watch->pages);
	watch->window_ns = 0;
	watch->intervals++;
	if (!err && watch->intervals % WINDOW == 0) {
		err = harvest(watch, watch->window, 0, &watch->window_pages);
		watch->window_ns = begin_ns - watch->window_began_ns;
		watch->window_began_ns = begin_ns;
	}
	watch->harvest_ns = tool_now_ns() - begin_ns;
	watch->ns = begin_ns - watch->last_ns;
	watch->last_ns = begin_ns;
	return err;
}

/* ---- what is printed ---- */

static int by_pages(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->pages != y->pages)
		return x->pages < y->pages ? 1 : -1;
	return x->mapping.start < y->mapping.start ? -1 : 1;
}

static json_t *row_json(const struct row *row)
{
	return json_pack("{s:I,s:I,s:s,s:b,s:I}", "start",
			 (json_int_t)row->mapping.start, "end",
			 (json_int_t)row->mapping.end, "name",
			 row->mapping.name, "shared", row->mapping.shared,
			 "dirty_pages", (json_int_t)row->pages);
}

static void print_json(struct watch *watch)
{
	json_t *rows = json_array();
	json_t *object;

	for (uint32_t i = 0; i < watch->count && watch->rows[i].pages; i++)
		(void)json_array_append_new(rows, row_json(&watch->rows[i]));
	object = json_pack("{s:I,s:I,s:I,s:I,s:I,s:i,s:I,s:o}", "time_ns",
			   (json_int_t)(watch->last_ns - watch->begin_ns),
			   "interval_ns", (json_int_t)watch->ns, "dirty_pages",
			   (json_int_t)watch->pages, "dirty_bytes",
			   (json_int_t)(watch->pages * TIDE_PAGE_SIZE),
			   "harvest_ns", (json_int_t)watch->harvest_ns,
			   "mapping_changes", watch->changes, "mappings_count",
			   (json_int_t)watch->count, "mappings", rows);
	if (watch->window_ns) {
		(void)json_object_set_new(
			object, "window_ns",
			json_integer((json_int_t)watch->window_ns));
		(void)json_object_set_new(
			object, "window_dirty_pages",
			json_integer((json_int_t)watch->window_pages));
	}
	(void)json_dumpf(object, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(object);
}

static void print_line(struct watch *watch)
{
	double seconds = (double)watch->ns / (double)NS_PER_S;
	uint64_t rate =
		(uint64_t)((double)(watch->pages * TIDE_PAGE_SIZE) / seconds);

	printf("%8s  %8llu pages dirty in %s  %s/s",
	       units_time(watch->last_ns - watch->begin_ns).text,
	       (unsigned long long)watch->pages, units_time(watch->ns).text,
	       units_size(rate).text);
	if (watch->window_ns)
		printf("  %s in %s",
		       units_size(watch->window_pages * TIDE_PAGE_SIZE).text,
		       units_time(watch->window_ns).text);
	printf("  (looked for %s)\n", units_time(watch->harvest_ns).text);
	for (uint32_t i = 0; i < TOP && i < watch->count; i++) {
		const struct row *row = &watch->rows[i];

		if (!row->pages)
			break;
		printf("          %8llu  %012llx-%012llx  %s\n",
		       (unsigned long long)row->pages,
		       (unsigned long long)row->mapping.start,
		       (unsigned long long)row->mapping.end,
		       row->mapping.name[0] ? row->mapping.name : "anonymous");
	}
}

static void print_interval(struct watch *watch)
{
	if (watch->count)
		qsort(watch->rows, watch->count, sizeof(*watch->rows),
		      by_pages);
	if (watch->args.json)
		print_json(watch);
	else
		print_line(watch);
	(void)fflush(stdout);
}

/* ---- the command ---- */

/* Its memory is made by exec, whose end closes the pipe. */
static int start_command(struct watch *watch, char **argv)
{
	int done[2];
	char failed = 0;
	ssize_t n;

	if (pipe2(done, O_CLOEXEC))
		return tool_error("pipe: %s", strerror(errno));
	watch->child = fork();
	if (watch->child == 0) {
		interrupt_child();
		execvp(argv[0], argv);
		tool_error("%s: %s", argv[0], strerror(errno));
		(void)!write(done[1], &failed, 1);
		_exit(127);
	}
	close(done[1]);
	if (watch->child < 0) {
		close(done[0]);
		return tool_error("fork: %s", strerror(errno));
	}
	do {
		n = read(done[0], &failed, 1);
	} while (n < 0 && errno == EINTR);
	close(done[0]);
	if (n > 0)
		return TOOL_HOST; /* it has said why */
	watch->args.pid = (uint64_t)watch->child;
	/* The rest of exec, and its libraries. */
	(void)poll(NULL, 0, 20);
	return -1;
}

static int attach(struct watch *watch)
{
	struct tide_process_stats stats;
	struct tide_space *space;
	char why[128];
	int err = tide_process_attach((pid_t)watch->args.pid, &watch->process,
				      why, sizeof(why));

	if (err)
		return tool_error("process %llu: %s",
				  (unsigned long long)watch->args.pid, why);
	space = tide_process_space(watch->process);
	err = tide_client_open(space, "watch", TIDE_START_CLEAN, &watch->each);
	if (!err)
		err = tide_client_open(space, "window", TIDE_START_CLEAN,
				       &watch->window);
	if (err)
		return tool_error("process %llu: %s",
				  (unsigned long long)watch->args.pid,
				  strerror(-err));
	tide_process_stats_get(watch->process, &stats);
	if (!watch->args.json)
		printf("attached: one thread was held for %s, arming took %s\n",
		       units_time(stats.stopped_ns).text,
		       units_time(stats.arm_ns).text);
	return -1;
}

/* Until the next interval is over, or Ctrl-C. */
static void wait_until(uint64_t due_ns)
{
	struct pollfd interrupt = { .fd = interrupt_fd(), .events = POLLIN };
	uint64_t now_ns = tool_now_ns();
	struct timespec left = { 0 };

	if (due_ns > now_ns) {
		left.tv_sec = (time_t)((due_ns - now_ns) / NS_PER_S);
		left.tv_nsec = (long)((due_ns - now_ns) % NS_PER_S);
	}
	(void)ppoll(&interrupt, 1, &left, NULL);
}

static void let_go(struct watch *watch)
{
	tide_client_close(watch->window);
	tide_client_close(watch->each);
	tide_process_detach(watch->process);
	watch->window = watch->each = NULL;
	watch->process = NULL;
}

/* It has executed another program.  Return: -1, or an exit status. */
static int attach_again(struct watch *watch)
{
	let_go(watch);
	watch->last_ns = watch->window_began_ns = tool_now_ns();
	return attach(watch);
}

static int run(struct watch *watch)
{
	uint64_t due_ns;

	watch->begin_ns = watch->last_ns = tool_now_ns();
	watch->window_began_ns = due_ns = watch->begin_ns;
	while (!interrupt_pending()) {
		int err;

		due_ns += watch->args.interval_ns;
		if (watch->args.time_ns &&
		    due_ns > watch->begin_ns + watch->args.time_ns)
			break;
		wait_until(due_ns);
		if (interrupt_pending())
			break;
		err = look(watch);
		/* In the middle of it? */
		if (err == -ESRCH &&
		    tide_process_update(watch->process) == -ESTALE)
			err = -ESTALE;
		if (err == -ESRCH)
			break; /* it has ended, and so do we */
		if (err == -ESTALE) {
			int status = attach_again(watch);

			if (status >= 0)
				return status;
			continue;
		}
		if (err)
			return tool_error("process %llu: %s",
					  (unsigned long long)watch->args.pid,
					  strerror(-err));
		print_interval(watch);
	}
	return TOOL_OK;
}

static void finish(struct watch *watch)
{
	let_go(watch);
	free(watch->rows);
	if (watch->child > 0) {
		(void)kill(watch->child, SIGTERM);
		(void)waitpid(watch->child, NULL, 0);
	}
}

int cmd_watch(int argc, char **argv)
{
	struct watch watch = { .args = { .interval_ns = NS_PER_S } };
	const struct option_spec specs[] = {
		{ "pid", OPTION_COUNT, &watch.args.pid, "PID",
		  "the process; or a command after --", 1, INT32_MAX },
		{ "interval", OPTION_TIME_MS, &watch.args.interval_ns, "TIME",
		  "between two looks (1s)", INTERVAL_NS_MIN, 0 },
		{ "for", OPTION_TIME_MS, &watch.args.time_ns, "TIME",
		  "how long (until it ends, or Ctrl-C)", 1, 0 },
		{ "json", OPTION_FLAG, &watch.args.json, NULL,
		  "an object an interval, one a line", 0, 0 },
		{ 0 },
	};
	const struct options options = {
		.usage = "watch -p PID [OPTION]... | "
			 "watch [OPTION]... -- COMMAND [ARGUMENT]...",
		.summary = "See which memory a running process writes.",
		.specs = specs,
		.letters = "p",
		.operands_max = UINT16_MAX,
	};
	int first;
	int status = options_parse(&options, argc, argv, &first);

	if (status >= 0)
		return status;
	if (!watch.args.pid == (first == argc))
		return tool_error("which process? -p PID, or -- COMMAND");
	status = interrupt_start();
	if (status < 0 && first < argc)
		status = start_command(&watch, argv + first);
	if (status < 0)
		status = attach(&watch);
	if (status < 0)
		status = run(&watch);
	finish(&watch);
	return status;
}

/* SPDX-License-Identifier: MIT */
/*
 * cmd_vm.c - tidemark vm: run a guest, or wait for one to arrive
 *
 * One thread does everything but run vCPUs: it waits for the guest, then
 * serves the control socket (control.h) until the guest has left, somebody
 * says quit, the time is up, or Ctrl-C.
 */
#include "address.h"
#include "cmdline.h"
#include "control.h"
#include "interrupt.h"
#include "names.h"
#include "prove.h"
#include "tool.h"
#include "transfer.h"
#include "units.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NS_PER_MS 1000000ull
#define REPORT_NS (100 * NS_PER_MS)
#define TICK_MS 50
#define FIRST_WORD_MS 30000 /* a source on a busy host is slow, not silent */
#define CLIENTS_MAX 8	    /* more wait in the backlog */

enum vm_state { VM_RUNNING, VM_STOPPED, VM_UNKNOWN };

struct vm_args {
	const char *listen;
	const char *control;
	const char *prove;
	uint64_t memory_bytes;
	uint64_t memory_max;
	uint64_t vcpus;
	uint64_t slots;
	uint64_t seed;
	uint64_t run_for_ns;
	uint64_t deadline_ns;
	enum tide_workload workload;
	enum tide_tracker tracker;
	enum tide_paging_mode paging;
	const char *paging_text; /* NULL: not asked for */
	int device;
	int console;
	int quiet;
};

struct vm_tool {
	struct vm_args args;
	struct tide_vm *vm;
	enum vm_state state;
	struct listener control_listener;
	struct control clients[CLIENTS_MAX]; /* fd -1: nobody */
	struct control *client; /* whom we serve now; NULL: nobody */
	uint64_t until_ns;	/* 0: for ever */
	uint64_t report_ns;	/* when progress was reported last */
	int prove_fd;
	struct prover prover;
	int leave;  /* the loop ends, with this ... */
	int status; /* ... exit status */
};

__attribute__((format(printf, 2, 3))) static void
say(const struct vm_tool *tool, const char *format, ...)
{
	va_list args;

	if (tool->args.quiet)
		return;
	va_start(args, format);
	(void)vprintf(format, args); /* main checks stdout at the end */
	va_end(args);
	putchar('\n');
	(void)fflush(stdout); /* likewise */
}

static void leave(struct vm_tool *tool, int status)
{
	tool->leave = 1;
	tool->status = status;
}

static const char *state_name(enum vm_state state)
{
	switch (state) {
	case VM_RUNNING:
		return "running";
	case VM_STOPPED:
		return "stopped";
	case VM_UNKNOWN:
		return "unknown";
	}
	return "unknown";
}

static uint64_t memory_bytes(struct tide_vm *vm)
{
	struct tide_slot_info slot;
	uint64_t pages = 0;

	for (uint32_t i = 0; tide_slot_get(tide_vm_space(vm), i, &slot) == 0;
	     i++)
		pages += slot.npages;
	return pages << TIDE_PAGE_SHIFT;
}

/* Send; a client that is gone is noticed by the loop, not here. */
static void tell(struct vm_tool *tool, json_t *event)
{
	if (!tool->client) {
		json_decref(event);
		return;
	}
	(void)control_send(tool->client->fd, event); /* see above */
}

static json_t *new_event(const char *name)
{
	return json_pack("{s:s}", "event", name);
}

static void tell_message(struct vm_tool *tool, const char *event,
			 const char *message)
{
	json_t *object = new_event(event);

	(void)json_object_set_new(object, "message", json_string(message));
	(void)json_object_set_new(object, "state",
				  json_string(state_name(tool->state)));
	tell(tool, object);
}

static void tell_status(struct vm_tool *tool)
{
	tell(tool, json_pack("{s:s, s:s, s:s, s:I, s:I}", "event", "status",
			     "state", state_name(tool->state), "tracker",
			     tide_tracker_name(tide_space_tracker(
				     tide_vm_space(tool->vm))),
			     "memory_bytes", (json_int_t)memory_bytes(tool->vm),
			     "writes", (json_int_t)tide_vm_writes(tool->vm)));
}

/* Return: 0 memory is right; 1 it is not; a negative errno. */
static int stop_and_check(struct vm_tool *tool, char *message, size_t size)
{
	int err = tide_vm_stop(tool->vm);

	message[0] = '\0';
	if (err) {
		(void)snprintf(message, size, "the guest broke: %s",
			       strerror(-err));
		return err;
	}
	tool->state = VM_STOPPED;
	return tide_vm_check(tool->vm, message, size);
}

static void do_stop(struct vm_tool *tool)
{
	char message[256];
	json_t *event = new_event("stopped");
	int check;

	if (tool->state == VM_UNKNOWN) {
		json_decref(event);
		tell_message(tool, "error",
			     "the guest may be running elsewhere");
		return;
	}
	check = stop_and_check(tool, message, sizeof(message));
	(void)json_object_set_new(event, "check", json_integer(check));
	(void)json_object_set_new(event, "message", json_string(message));
	(void)json_object_set_new(
		event, "writes",
		json_integer((json_int_t)tide_vm_writes(tool->vm)));
	tell(tool, event);
}

static int watch_transfer(void *opaque, const struct tide_migrate_stats *stats)
{
	struct vm_tool *tool = opaque;
	struct pollfd writable = { .fd = tool->client->fd, .events = POLLOUT };
	uint64_t now = tool_now_ns();
	json_t *event;

	if (interrupt_pending() || control_hung_up(tool->client->fd))
		return 1;
	/* A client that does not read must not hold up a stopped guest. */
	if (now - tool->report_ns < REPORT_NS || poll(&writable, 1, 0) < 1)
		return 0;
	tool->report_ns = now;
	event = transfer_stats_json(stats);
	(void)json_object_set_new(event, "event", json_string("progress"));
	tell(tool, event);
	return 0;
}

static void transfer_done(struct vm_tool *tool, const struct transfer *transfer,
			  const char *to)
{
	json_t *event = transfer_stats_json(&transfer->stats);

	(void)json_object_set_new(event, "event", json_string("done"));
	(void)json_object_set_new(event, "round_list",
				  transfer_rounds_json(transfer));
	tell(tool, event);
	say(tool, "the guest runs at %s now; downtime %s", to,
	    units_time(transfer->stats.downtime_ns).text);
	leave(tool, TOOL_OK);
}

static void transfer_failed(struct vm_tool *tool,
			    const struct transfer *transfer, int err)
{
	json_t *event = transfer_stats_json(&transfer->stats);

	tool->state = err == -ENOTRECOVERABLE ? VM_UNKNOWN : VM_RUNNING;
	if (err == -ENOTRECOVERABLE)
		(void)tool_error("migrate: %s: the guest stays stopped here: "
				 "look at the destination, then end this vm",
				 transfer->message);
	else
		(void)tool_error("migrate: %s: the guest runs on here",
				 transfer->message);
	(void)json_object_set_new(event, "event", json_string("failed"));
	(void)json_object_set_new(event, "error", json_integer(err));
	(void)json_object_set_new(event, "message",
				  json_string(tool_last_error()));
	(void)json_object_set_new(event, "state",
				  json_string(state_name(tool->state)));
	tell(tool, event);
}

static void do_migrate(struct vm_tool *tool, const json_t *request)
{
	struct transfer transfer = {
		.downtime_ns = control_number(request, "downtime_ns"),
		.bandwidth = control_number(request, "bandwidth"),
		.rounds_max = control_number(request, "rounds_max"),
		.deadline_ns = control_number(request, "deadline_ns"),
		.watch = watch_transfer,
		.opaque = tool,
	};
	const char *to = control_text(request, "to");
	int err;
	int fd;

	if (tool->state != VM_RUNNING) {
		tell_message(tool, "failed", "the guest does not run here");
		return;
	}
	if (address_connect(to, &fd) >= 0) {
		tell_message(tool, "failed", tool_last_error());
		return;
	}
	say(tool, "moving the guest to %s", to);
	err = transfer_send(&transfer, tool->vm, fd);
	close(fd);
	if (err)
		transfer_failed(tool, &transfer, err);
	else
		transfer_done(tool, &transfer, to);
}

static void obey(struct vm_tool *tool, const json_t *request)
{
	const char *command = control_text(request, "command");

	if (strcmp(command, "status") == 0) {
		tell_status(tool);
	} else if (strcmp(command, "migrate") == 0) {
		do_migrate(tool, request);
	} else if (strcmp(command, "stop") == 0) {
		do_stop(tool);
	} else if (strcmp(command, "quit") == 0) {
		leave(tool, TOOL_OK);
	} else {
		tell_message(tool, "error",
			     "commands are status, migrate, stop and quit");
	}
}

static void drop_client(struct vm_tool *tool)
{
	close(tool->client->fd);
	tool->client->fd = -1;
	if (tool->control_listener.connected) {
		/* Handed in by whoever started us: that one is gone. */
		leave(tool, TOOL_OK);
	}
}

/* There is something to read: obey each line that is complete. */
static void serve_client(struct vm_tool *tool, struct control *client)
{
	json_t *request;
	int got = 1;

	tool->client = client;
	while (got == 1 && !tool->leave) {
		got = control_receive(client, 0, &request);
		if (got == 1) {
			obey(tool, request);
			json_decref(request);
		}
	}
	if (got == -EPROTO)
		tell_message(tool, "error", "one JSON object a line, please");
	if (got != 1 && got != -ETIMEDOUT && got != -EINTR)
		drop_client(tool);
	tool->client = NULL;
}

static struct control *free_client(struct vm_tool *tool)
{
	for (unsigned int i = 0; i < CLIENTS_MAX; i++)
		if (tool->clients[i].fd < 0)
			return &tool->clients[i];
	return NULL;
}

static void accept_client(struct vm_tool *tool)
{
	int fd;

	if (address_accept(&tool->control_listener, &fd) < 0)
		control_init(free_client(tool), fd);
}

static void close_clients(struct vm_tool *tool)
{
	for (unsigned int i = 0; i < CLIENTS_MAX; i++)
		if (tool->clients[i].fd >= 0)
			close(tool->clients[i].fd);
}

static void print_console(struct vm_tool *tool)
{
	char text[1024];

	while (tide_vm_console(tool->vm, text, sizeof(text)) > 0)
		if (tool->args.console)
			say(tool, "%s", text);
}

/* The user or the clock ended it: say whether memory is right. */
static void finish(struct vm_tool *tool)
{
	char message[256];
	int check;

	if (tool->state == VM_UNKNOWN) {
		leave(tool, TOOL_HOST);
		return;
	}
	check = stop_and_check(tool, message, sizeof(message));
	if (check < 0) {
		leave(tool, tool_error("%s", message));
		return;
	}
	say(tool, "stopped after %llu page writes: memory is %s%s%s",
	    (unsigned long long)tide_vm_writes(tool->vm),
	    check ? "WRONG" : "right", check ? ": " : "", message);
	leave(tool, check ? TOOL_LOST : TOOL_OK);
}

enum { POLL_INTERRUPT, POLL_LISTENER, POLL_CLIENTS };

static void serve_ready(struct vm_tool *tool, const struct pollfd *fds)
{
	for (unsigned int i = 0; i < CLIENTS_MAX && !tool->leave; i++)
		if (fds[POLL_CLIENTS + i].revents)
			serve_client(tool, &tool->clients[i]);
	if (fds[POLL_LISTENER].revents)
		accept_client(tool);
}

static void serve(struct vm_tool *tool)
{
	struct pollfd fds[POLL_CLIENTS + CLIENTS_MAX];

	while (!tool->leave) {
		fds[POLL_INTERRUPT].fd = interrupt_fd();
		fds[POLL_LISTENER].fd =
			free_client(tool) ? tool->control_listener.fd : -1;
		for (unsigned int i = 0; i < CLIENTS_MAX; i++)
			fds[POLL_CLIENTS + i].fd = tool->clients[i].fd;
		for (unsigned int i = 0; i < POLL_CLIENTS + CLIENTS_MAX; i++) {
			fds[i].events = POLLIN;
			fds[i].revents = 0;
		}
		if (poll(fds, POLL_CLIENTS + CLIENTS_MAX, TICK_MS) < 0 &&
		    errno != EINTR) {
			leave(tool, tool_error("poll: %s", strerror(errno)));
			return;
		}
		print_console(tool);
		if (fds[POLL_INTERRUPT].revents ||
		    (tool->until_ns && tool_now_ns() >= tool->until_ns))
			finish(tool);
		else
			serve_ready(tool, fds);
	}
}

static int watch_receive(void *opaque, const struct tide_migrate_stats *stats)
{
	struct vm_tool *tool = opaque;

	if (stats->phase < TIDE_MIGRATE_HANDOVER)
		return interrupt_pending();
	/* From here on, hanging up could cost the guest its life. */
	interrupt_shuts(-1);
	/* The memory is here, and the guest does not run before we return. */
	if (stats->phase != TIDE_MIGRATE_HANDOVER || tool->prove_fd < 0 ||
	    tool->prover.child)
		return 0;
	return prove_fork(tool->prove_fd, &tool->prover);
}

/* Return: -1 when @fd has something to read, 0 when it is slow, else the exit
 * status. */
static int wait_for_input(int fd, int timeout_ms)
{
	struct pollfd fds[] = { { .fd = interrupt_fd(), .events = POLLIN },
				{ .fd = fd, .events = POLLIN } };
	int count;

	do
		count = poll(fds, 2, timeout_ms);
	while (count < 0 && errno == EINTR);
	if (count < 0)
		return tool_error("poll: %s", strerror(errno));
	if (fds[0].revents)
		return tool_error("interrupted before a guest arrived");
	return count ? -1 : 0;
}

/* Somebody who connects and says nothing is no source: perhaps another vm
 * that wants to know whether this address is in use. */
static int wait_for_source(struct listener *listener, int *ret_fd)
{
	for (;;) {
		int is_last = listener->connected;
		int status = wait_for_input(listener->fd, -1);
		char byte;
		int fd;

		if (status < 0)
			status = address_accept(listener, &fd);
		if (status >= 0)
			return status;
		status = wait_for_input(fd, FIRST_WORD_MS);
		if (is_last ||
		    (status < 0 && recv(fd, &byte, 1, MSG_PEEK) == 1)) {
			*ret_fd = fd;
			return -1;
		}
		close(fd);
		if (status > 0)
			return status;
	}
}

static int receive(struct vm_tool *tool, int fd)
{
	char message[256] = "";
	struct tide_migrate_stats stats;
	const struct tide_migrate_receive_config limits = {
		.progress = watch_receive,
		.opaque = tool,
		.memory_bytes_max = tool->args.memory_max,
		.deadline_ns = tool->args.deadline_ns,
		.message = message,
		.message_size = sizeof(message),
	};
	int err;

	interrupt_shuts(fd);
	err = tide_vm_receive(fd, tool->args.tracker, &limits, &tool->vm,
			      &stats);
	interrupt_shuts(-1);
	if (prove_release(&tool->prover, err ? NULL : tool->vm) != 0)
		(void)tool_error("--prove: memory could not be sent");
	if (!err) {
		say(tool, "the guest runs here: %s in %u rounds",
		    units_size(memory_bytes(tool->vm)).text, stats.rounds);
		return -1;
	}
	if (interrupt_pending())
		err = -EINTR;
	(void)tool_error("the guest did not arrive: %s",
			 message[0] && err != -EINTR ? message
						     : strerror(-err));
	return TOOL_HOST;
}

static int arrive(struct vm_tool *tool)
{
	struct listener listener;
	int status = address_listen(tool->args.listen, &listener);
	int fd = -1;

	if (status >= 0)
		return status;
	say(tool, "waiting for a guest at %s", tool->args.listen);
	status = wait_for_source(&listener, &fd);
	if (status < 0) {
		status = receive(tool, fd);
		close(fd);
	}
	address_unlisten(&listener);
	return status;
}

static int start(struct vm_tool *tool)
{
	const struct vm_args *args = &tool->args;
	const struct tide_vm_config config = {
		.workload = args->workload,
		.vcpus = (uint32_t)args->vcpus,
		.memory_bytes = args->memory_bytes,
		.slots = (uint32_t)args->slots,
		.seed = args->seed,
		.device = args->device,
		.tracker = args->tracker,
		.paging = args->paging,
	};
	int err = tide_vm_create(&config, &tool->vm);

	if (err)
		return tool_error("the guest could not be made: %s",
				  strerror(-err));
	err = tide_vm_run(tool->vm);
	if (err)
		return tool_error("the guest does not run: %s", strerror(-err));
	say(tool, "the guest runs: %s, %u vCPU%s, %s, %s",
	    names_of_workload(args->workload), config.vcpus,
	    config.vcpus == 1 ? "" : "s", units_size(args->memory_bytes).text,
	    tide_tracker_name(args->tracker));
	return -1;
}

static int open_control(struct vm_tool *tool)
{
	const char *text = tool->args.control;
	char address[256];
	int status;

	if (!text)
		return -1;
	if (strncmp(text, "unix:", 5) == 0 || strncmp(text, "fd:", 3) == 0)
		(void)snprintf(address, sizeof(address), "%s", text);
	else
		(void)snprintf(address, sizeof(address), "unix:%s", text);
	status = address_listen(address, &tool->control_listener);
	if (status < 0 && tool->control_listener.connected)
		accept_client(tool);
	return status;
}

static int prepare(struct vm_tool *tool)
{
	char why[256];
	int status = interrupt_start();

	if (status >= 0)
		return status;
	status = tool->args.tracker == TIDE_TRACKER_NONE
			 ? names_best_tracker(&tool->args.tracker, why,
					      sizeof(why))
			 : names_usable_tracker(tool->args.tracker);
	if (status >= 0)
		return status;
	if (tool->args.prove) {
		status = address_connect(tool->args.prove, &tool->prove_fd);
		if (status >= 0)
			return status;
	}
	return open_control(tool);
}

static int run(struct vm_tool *tool)
{
	int status = prepare(tool);

	if (status < 0)
		status = tool->args.listen ? arrive(tool) : start(tool);
	if (status < 0) {
		tool->state = VM_RUNNING;
		if (tool->prove_fd >= 0) /* the child has its own */
			close(tool->prove_fd);
		if (tool->args.run_for_ns)
			tool->until_ns = tool_now_ns() + tool->args.run_for_ns;
		serve(tool);
		status = tool->status;
	}
	prove_wait(&tool->prover);
	close_clients(tool);
	address_unlisten(&tool->control_listener);
	tide_vm_destroy(tool->vm);
	return status;
}

static int parse(struct vm_args *args, int argc, char **argv)
{
	const struct option_spec specs[] = {
		{ "listen", OPTION_TEXT, &args->listen, "ADDRESS",
		  "wait here for a guest instead of starting one", 0, 0 },
		{ "control", OPTION_TEXT, &args->control, "PATH",
		  "socket for tidemark migrate", 0, 0 },
		{ "workload", OPTION_WORKLOAD, &args->workload, "NAME",
		  "walker, random, atomic, hot or script", 0, 0 },
		{ "memory", OPTION_SIZE, &args->memory_bytes, "SIZE",
		  "of the guest, default 256M", 16ull << 20, 1ull << 42 },
		{ "vcpus", OPTION_COUNT, &args->vcpus, "N", "1 to 4", 1, 4 },
		{ "slots", OPTION_COUNT, &args->slots, "N",
		  "cut memory into so many slots", 1, 32 },
		{ "seed", OPTION_COUNT, &args->seed, "S", "of the workload", 0,
		  0 },
		{ "device", OPTION_FLAG, &args->device, NULL,
		  "a device model writes and marks", 0, 0 },
		{ "tracker", OPTION_GUEST_TRACKER, &args->tracker, "NAME",
		  "default: the best that works; soft needs no KVM", 0, 0 },
		{ "paging", OPTION_TEXT, &args->paging_text, "MODE",
		  "of a soft guest: none, x86-64 or sv39", 0, 0 },
		{ "run-for", OPTION_TIME_MS, &args->run_for_ns, "TIME",
		  "then stop and check memory", 1, 0 },
		{ "memory-max", OPTION_SIZE, &args->memory_max, "SIZE",
		  "with --listen: refuse a larger guest", 1, 0 },
		{ "deadline", OPTION_TIME_MS, &args->deadline_ns, "TIME",
		  "with --listen: for the whole arrival", 1, 0 },
		{ "prove", OPTION_TEXT, &args->prove, "ADDRESS",
		  "with --listen: send memory there as it arrived", 0, 0 },
		{ "console", OPTION_FLAG, &args->console, NULL,
		  "print what the guest prints", 0, 0 },
		{ "quiet", OPTION_FLAG, &args->quiet, NULL,
		  "print nothing but errors", 0, 0 },
		{ 0 },
	};
	const struct options options = {
		.usage = "vm [OPTION]...",
		.summary = "Run a self-checking guest, or wait for one to "
			   "arrive and run it.",
		.specs = specs,
	};
	int first;

	return options_parse(&options, argc, argv, &first);
}

int cmd_vm(int argc, char **argv)
{
	static struct vm_tool tool = {
		.args = { .memory_bytes = 256ull << 20,
			  .vcpus = 1,
			  .slots = 1,
			  .seed = 1,
			  .workload = TIDE_WORKLOAD_WALKER },
		.control_listener = { .fd = -1 },
		.prove_fd = -1,
	};
	int status = parse(&tool.args, argc, argv);

	if (status >= 0)
		return status;
	for (unsigned int i = 0; i < CLIENTS_MAX; i++)
		tool.clients[i].fd = -1;
	if (tool.args.memory_bytes % TIDE_PAGE_SIZE != 0)
		return tool_error("--memory: use a multiple of 4K");
	if (tool.args.prove && !tool.args.listen)
		return tool_error("--prove: only with --listen");
	if (tool.args.paging_text && tool.args.listen)
		return tool_error("--paging: not with --listen: the guest "
				  "brings its own");
	status = names_soft_paging(tool.args.paging_text, &tool.args.tracker,
				   &tool.args.paging);
	return status < 0 ? run(&tool) : status;
}

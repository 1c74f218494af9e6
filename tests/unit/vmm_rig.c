/* SPDX-License-Identifier: MIT */
/* vmm_rig.c - what the tests of both machines do with a VM */
#undef NDEBUG /* a test without its asserts tests nothing */

#include "vmm_rig.h"

#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test_support.h"

const char *const workload_names[TIDE_WORKLOAD_COUNT] = {
	"walker", "random", "atomic", "hot", "script",
};

uint64_t random_state;

uint64_t random_below(uint64_t limit)
{
	random_state = random_state * GUEST_LCG_FACTOR + GUEST_LCG_TERM;
	return guest_random_page(random_state, limit);
}

struct tide_vm *create(const struct tide_vm_config *config)
{
	struct tide_vm *vm = NULL;

	assert_int_equal(tide_vm_create(config, &vm), 0);
	assert_non_null(vm);
	return vm;
}

void expect_right(struct tide_vm *vm)
{
	char message[160];
	int bad = tide_vm_check(vm, message, sizeof(message));

	if (bad)
		fail_msg("check: %d, %s", bad, message);
}

void expect_wrong(struct tide_vm *vm, const char *what)
{
	char message[160];

	if (tide_vm_check(vm, message, sizeof(message)) != 1)
		fail_msg("the check did not notice %s", what);
	assert_true(strlen(message) > 0);
}

/* Let it run until it has written @writes pages more. */
void run_for_writes(struct tide_vm *vm, uint64_t writes)
{
	uint64_t end = tide_vm_writes(vm) + writes;

	assert_int_equal(tide_vm_run(vm), 0);
	while (tide_vm_writes(vm) < end)
		sched_yield();
	assert_int_equal(tide_vm_stop(vm), 0);
}

void write_some(struct tide_vm *vm, uint32_t vcpus)
{
	uint64_t gfns[600];

	assert_int_equal(tide_vm_run(vm), 0);
	for (uint32_t i = 0; i < 600; i++)
		gfns[i] = GUEST_WORK_GFN +
			  random_below(WORK_END - GUEST_WORK_GFN);
	for (uint32_t v = 0; v < vcpus; v++)
		assert_int_equal(tide_vm_write(vm, v, gfns + v, 600 - v,
					       random_below(1ull << 32)),
				 0);
	assert_int_equal(tide_vm_stop(vm), 0);
}

void go_on(struct tide_vm *vm, const struct tide_vm_config *config,
	   uint64_t writes)
{
	if (config->workload == TIDE_WORKLOAD_SCRIPT)
		write_some(vm, config->vcpus);
	else
		run_for_writes(vm, writes);
}

struct tide_vm *ran(const struct tide_vm_config *config, uint64_t writes)
{
	struct tide_vm *vm = create(config);

	go_on(vm, config, writes);
	expect_right(vm);
	return vm;
}

/* vCPU 0 may be the last to get a CPU of the host. */
void expect_sign_of_life(struct tide_vm *vm)
{
	char console[64];

	assert_int_equal(tide_vm_run(vm), 0);
	while (!tide_vm_console(vm, console, sizeof(console)))
		sched_yield();
	assert_int_equal(tide_vm_stop(vm), 0);
	assert_int_equal(console[0], 'A');
}

static void *arrive(void *opaque)
{
	struct arriving *arriving = opaque;

	const struct tide_migrate_receive_config limits = {
		.message = arriving->message,
		.message_size = sizeof(arriving->message),
	};

	arriving->result = tide_vm_receive(arriving->fd, arriving->tracker,
					   &limits, &arriving->vm, NULL);
	/* Else the source waits for somebody to read. */
	if (arriving->result)
		(void)shutdown(arriving->fd, SHUT_RDWR);
	return NULL;
}

int transfer(struct tide_vm *vm, const struct tide_migrate_send_config *config,
	     enum tide_tracker to, struct arriving *arriving)
{
	struct tide_client *client;
	pthread_t thread;
	int sockets[2];
	int result;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	*arriving = (struct arriving){ .fd = sockets[1], .tracker = to };
	assert_int_equal(pthread_create(&thread, NULL, arrive, arriving), 0);
	assert_int_equal(tide_client_open(tide_vm_space(vm), "migration",
					  TIDE_START_ALL_DIRTY, &client),
			 0);
	result = tide_migrate_send(tide_vm_space(vm), client, sockets[0],
				   config, NULL);
	tide_client_close(client);
	assert_int_equal(close(sockets[0]), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(close(sockets[1]), 0);
	return result;
}

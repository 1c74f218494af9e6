/* SPDX-License-Identifier: MIT */
/*
 * elsewhere.c - what the VMM says on hosts that are not x86-64: nothing runs
 *
 * There is no VM then, so the calls that take one are never made.
 */
#include <errno.h>
#include <tidemark/vmm.h>

int tide_vm_create(const struct tide_vm_config *config, struct tide_vm **ret_vm)
{
	(void)config;
	(void)ret_vm;
	return -EOPNOTSUPP;
}

int tide_vm_receive(int fd, enum tide_tracker tracker,
		    const struct tide_migrate_receive_config *limits,
		    struct tide_vm **ret_vm,
		    struct tide_migrate_stats *ret_stats)
{
	(void)fd;
	(void)tracker;
	(void)limits;
	(void)ret_vm;
	(void)ret_stats;
	return -EOPNOTSUPP;
}

int tide_guest_image(const struct tide_vm_config *config, void *buffer,
		     size_t size)
{
	(void)config;
	(void)buffer;
	(void)size;
	return -EOPNOTSUPP;
}

void tide_vm_destroy(struct tide_vm *vm)
{
	(void)vm;
}

struct tide_space *tide_vm_space(struct tide_vm *vm)
{
	(void)vm;
	return NULL;
}

int tide_vm_run(struct tide_vm *vm)
{
	(void)vm;
	return -EOPNOTSUPP;
}

int tide_vm_stop(struct tide_vm *vm)
{
	(void)vm;
	return -EOPNOTSUPP;
}

int tide_vm_write(struct tide_vm *vm, uint32_t vcpu, const uint64_t *gfns,
		  size_t count, uint64_t value)
{
	(void)vm;
	(void)vcpu;
	(void)gfns;
	(void)count;
	(void)value;
	return -EOPNOTSUPP;
}

void tide_vm_iteration(struct tide_vm *vm, uint64_t iteration)
{
	(void)vm;
	(void)iteration;
}

uint64_t tide_vm_writes(struct tide_vm *vm)
{
	(void)vm;
	return 0;
}

size_t tide_vm_console(struct tide_vm *vm, char *buffer, size_t size)
{
	(void)vm;
	if (size)
		buffer[0] = '\0';
	return 0;
}

int tide_vm_check(struct tide_vm *vm, char *message, size_t message_size)
{
	(void)vm;
	if (message && message_size)
		message[0] = '\0';
	return -EOPNOTSUPP;
}

void *tide_vm_memory(struct tide_vm *vm, uint64_t gfn)
{
	(void)vm;
	(void)gfn;
	return NULL;
}

void tide_vm_send_config(struct tide_vm *vm,
			 struct tide_migrate_send_config *ret_config)
{
	(void)vm;
	*ret_config = (struct tide_migrate_send_config){ 0 };
}

/* SPDX-License-Identifier: MIT */
/*
 * probe_machine.h - one way of trying a mechanism: on KVM, on the software MMU,
 * or on memory of this process
 */
#ifndef TIDE_TRACKER_PROBE_MACHINE_H
#define TIDE_TRACKER_PROBE_MACHINE_H

#include <stddef.h>
#include <stdint.h>

#include <tidemark/probe.h>
#include <tidemark/space.h>

#define PROBE_PAGES 64u
#define PROBE_GFN 0x10u
#define PROBE_SLOT 1u

struct kvm_run;
struct probe;
struct tide_client;
struct tide_mmu;
struct tide_vcpu;

struct probe_machine {
	/* Everything but the logging: memory, a space with the tracker and
	 * PROBE_SLOT, a vCPU. */
	int (*open)(struct probe *probe);
	/* The vCPU writes @value to the first byte of every page.
	 * @ret_ns: a page */
	int (*pass)(struct probe *probe, uint8_t value, uint64_t *ret_ns);
	/* Of what open made: all but the space. */
	void (*close)(struct probe *probe);
};

struct probe {
	struct tide_probe_result *result;
	const struct probe_machine *machine;
	unsigned char *memory; /* of the machine; NULL: none */
	unsigned char *data;   /* in it: PROBE_PAGES pages */
	struct tide_space *space;
	struct tide_client *client;

	/* Of probe_kvm.c. */
	int kvm_fd, vm_fd, vcpu_fd;
	struct kvm_run *run;
	size_t run_size;

	/* Of probe_soft.c. */
	struct tide_mmu *mmu;
	struct tide_vcpu *vcpu;
};

extern const struct probe_machine probe_kvm;
extern const struct probe_machine probe_soft;
extern const struct probe_machine probe_soft_dirty;
extern const struct probe_machine probe_wp;

/* probe.c; returning an error they have said why. */

/* Says why it does not work.  Return: @err. */
int probe_fail(struct probe *probe, const char *step, int err);
/* Maps @pages of memory. */
int probe_map(struct probe *probe, size_t pages);
/* A space, and the tracker with @config to it. */
int probe_attach(struct probe *probe, const void *config);
int probe_add_slot(struct probe *probe, const struct tide_slot_config *slot);

#endif

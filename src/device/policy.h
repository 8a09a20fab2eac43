/*
 * Which devices are media, and how they are to be shown. Pure: decides on facts that others
 * collected, so that every rule has a unit test.
 */
#pragma once

#include "device/blockdev.h"
#include "device/config.h"
#include "device/probe.h"

struct policy_input {
	const struct config *config;
	const struct blockdev *dev;
	const struct probe_result *probe; /* NULL: not probed yet */
	bool system_disk;		  /* the disk holds a mount or swap of the host */
	bool udisks_ignore;		  /* udev property UDISKS_IGNORE=1 */
};

struct policy_decision {
	bool shown;
	/* Which rule decided, for people: "not removable; --include loop0 shows it". */
	char reason[LIMIT_REASON];
	/* The rest only if shown: */
	char wanted_name[LIMIT_NAME + 1]; /* from a rule; "" : from label, UUID, kernel name */
	char options[LIMIT_OPTIONS];	  /* extra mount options from rules */
	struct owner owner;
	bool read_only;
};

/*
 * Whether it is worth probing: false for what no probe result can make visible (a disk with
 * partitions, excluded, neither removable nor included ...), with the reason. An empty drive is
 * worth it: the kernel looks for a new medium, and for the partitions on it, only when somebody
 * opens the disk, and then sends no event for the disk itself. So read the facts again after it.
 */
bool policy_wants_probe(const struct policy_input *in, char *reason, size_t reason_size);

/*
 * Whether a drive whose medium can be exchanged is one to be asked about it: its media would be
 * shown, or some of them.
 */
bool policy_wants_asking(const struct policy_input *in);

/* The decision. in->probe must be set. */
void policy_decide(const struct policy_input *in, struct policy_decision *ret_decision);

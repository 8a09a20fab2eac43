/*
 * How a reader waits for the next request. To sleep costs nothing when nothing comes; but a client
 * that makes one call after another sends the next request soon after the last reply, and to wake
 * a CPU that has just gone to sleep may take longer than to handle the request (in a virtual
 * machine: tens of microseconds). So a reader looks for a while first, if that has paid lately,
 * and lets everybody else have the CPU meanwhile.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* One thread's own. Zeroed: it sleeps at once. */
struct spin {
	uint32_t limit_us; /* how long to look */
	uint32_t begun;	   /* how often, to look at the CPUs now and then */
	bool one_cpu;	   /* whoever sends the next request needs the CPU that we would use */
	uint64_t began_us;
	uint64_t off_until_us; /* the CPU is not ours to use up */
};

/*
 * Returns when fd has something to read, or when it is time to sleep. Does not touch what is
 * there; to be followed by a read, and by spin_end() as soon as that has returned.
 */
void spin_begin(struct spin *spin, int fd);

/* After the read: learns whether to look longer, or less, the next time. */
void spin_end(struct spin *spin);

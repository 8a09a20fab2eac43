#include "spin.h"

#include <poll.h>
#include <sched.h>

#include "base/loop.h"

#define LOOK_US	      100 /* most of what comes after a reply comes within that time */
#define LOOK_LEAST_US 10

/*
 * A look that is interrupted for so long: the CPU is in demand, or the container has used up its
 * share of it (cpu.max) and was stopped.
 */
#define STOPPED_US 5000
#define OFF_US	   1000000

#define CPUS_EVERY 256 /* the affinity may be changed from outside */

static bool has_one_cpu(void)
{
	cpu_set_t cpus;

	return sched_getaffinity(0, sizeof(cpus), &cpus) == 0 && CPU_COUNT(&cpus) == 1;
}

static bool readable(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	return poll(&poll_fd, 1, 0) != 0; /* an error as well: the read tells which */
}

void spin_begin(struct spin *spin, int fd)
{
	uint64_t now = now_us();
	uint64_t before;

	spin->began_us = now;
	if (spin->begun++ % CPUS_EVERY == 0)
		spin->one_cpu = has_one_cpu();
	if (spin->one_cpu || now < spin->off_until_us)
		return;
	while (now - spin->began_us < spin->limit_us && !readable(fd)) {
		(void)sched_yield();
		before = now;
		now = now_us();
		if (now - before > STOPPED_US)
			spin->off_until_us = now + OFF_US;
	}
}

void spin_end(struct spin *spin)
{
	if (now_us() - spin->began_us <= LOOK_US)
		spin->limit_us = LOOK_US;
	else
		spin->limit_us = spin->limit_us / 2 < LOOK_LEAST_US ? 0 : spin->limit_us / 2;
}

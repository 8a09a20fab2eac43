/*
 * Whether the requests of a medium wait for its device. A request that takes long may just have
 * been without a CPU; so after the first one it is counted for a while how often they sleep.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct pace {
	uint64_t count_until_us; /* something took long: sleeps are counted */
	uint64_t slow_until_us;	 /* something slept long */
};

/* How one request began, on the thread that handles it. */
struct pace_mark {
	uint64_t began_us;
	long sleeps; /* of the thread until then; -1 when not counted */
};

/*
 * Around a request, on the same thread and under the medium's lock. pace_begin() returns the mark;
 * pace_end() returns the time, in microseconds.
 */
struct pace_mark pace_begin(const struct pace *pace);
uint64_t pace_end(struct pace *pace, const struct pace_mark *mark);

/* Whether a request that begins now is likely to wait for the device. */
static inline bool pace_is_slow(const struct pace *pace, const struct pace_mark *mark)
{
	return mark->began_us < pace->slow_until_us;
}

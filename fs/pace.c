#include "pace.h"

#include <sys/resource.h>

#include "base/loop.h"
#include "base/util.h"

#define LONG_US	  300
#define MEMORY_US 20000

/* How often this thread gave up its CPU to wait for something (getrusage(2), ru_nvcsw). */
static long thread_sleeps(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) < 0 ? -1 : usage.ru_nvcsw;
}

struct pace_mark pace_begin(const struct pace *pace)
{
	uint64_t now = now_us();

	return (struct pace_mark){now, now < pace->count_until_us ? thread_sleeps() : -1};
}

uint64_t pace_end(struct pace *pace, const struct pace_mark *mark)
{
	uint64_t now = now_us();

	if (now - mark->began_us < LONG_US)
		return now;
	pace->count_until_us = now + MEMORY_US;
	if (mark->sleeps >= 0 && thread_sleeps() > mark->sleeps)
		pace->slow_until_us = now + MEMORY_US;
	return now;
}

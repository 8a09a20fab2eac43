/* A reader looks before it sleeps while that pays, and stops when it does not. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>
#include <cmocka.h>

#include "fs/spin.h"

struct pipe_ends {
	int read_end, write_end;
};

static int set_up(void **state)
{
	static struct pipe_ends ends;
	int fds[2];

	if (pipe(fds) < 0)
		return -1;
	ends = (struct pipe_ends){fds[0], fds[1]};
	*state = &ends;
	return 0;
}

static int tear_down(void **state)
{
	const struct pipe_ends *ends = *state;

	return close(ends->read_end) + close(ends->write_end);
}

/* A request that comes after so many microseconds; 0: it is there. */
static void request(struct spin *spin, const struct pipe_ends *ends, useconds_t after)
{
	char byte = 0;

	if (after == 0)
		assert_int_equal(write(ends->write_end, &byte, 1), 1);
	spin_begin(spin, ends->read_end);
	if (after > 0) {
		(void)usleep(after);
		assert_int_equal(write(ends->write_end, &byte, 1), 1);
	}
	assert_int_equal(read(ends->read_end, &byte, 1), 1);
	spin_end(spin);
}

static void until_it_looks(struct spin *spin, const struct pipe_ends *ends)
{
	/* on a busy machine even what is there may be found late */
	for (int i = 0; i < 1000 && spin->limit_us == 0; i++)
		request(spin, ends, 0);
	assert_int_not_equal(spin->limit_us, 0);
}

static void test_sleeps_at_first(void **state)
{
	struct spin spin = {0};
	const struct pipe_ends *ends = *state;

	spin_begin(&spin, ends->read_end);
	assert_int_equal(spin.limit_us, 0);
	assert_int_equal(spin.off_until_us, 0);
}

static void test_looks_when_it_pays(void **state)
{
	struct spin spin = {0};

	until_it_looks(&spin, *state);
}

static void test_gives_up(void **state)
{
	struct spin spin = {0};

	until_it_looks(&spin, *state);
	for (int i = 0; i < 10; i++) {
		uint32_t limit = spin.limit_us;

		request(&spin, *state, 2000);
		assert_true(spin.limit_us < limit || limit == 0);
	}
	assert_int_equal(spin.limit_us, 0);
}

/* While it is off, it does not look; the request is found all the same. */
static void test_off(void **state)
{
	struct spin spin = {.limit_us = UINT32_MAX, .off_until_us = UINT64_MAX};
	const struct pipe_ends *ends = *state;

	spin_begin(&spin, ends->read_end); /* would look for an hour */
	request(&spin, ends, 0);
}

/* With one CPU it does not look either, as it would be in the way. */
static void test_one_cpu(void **state)
{
	struct spin spin = {.limit_us = UINT32_MAX};
	const struct pipe_ends *ends = *state;
	cpu_set_t before;
	cpu_set_t one;

	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	spin_begin(&spin, ends->read_end);
	assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
	request(&spin, ends, 0);
}

/* What is there ends the look, and is left there. */
static void test_leaves_it(void **state)
{
	struct spin spin = {.limit_us = UINT32_MAX};
	const struct pipe_ends *ends = *state;

	request(&spin, ends, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_sleeps_at_first, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_looks_when_it_pays, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gives_up, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_off, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_one_cpu, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_leaves_it, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

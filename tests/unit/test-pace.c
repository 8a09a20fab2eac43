/* Which requests make a medium count as slow: those that slept, not those that had no CPU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/loop.h"
#include "fs/pace.h"

#define LONG_US 2000

static void spin(uint64_t us)
{
	uint64_t end = now_us() + us;

	while (now_us() < end)
		;
}

static void nothing(uint64_t us)
{
}

static void sleep_us(uint64_t us)
{
	(void)usleep((useconds_t)us);
}

static void request(struct pace *pace, void (*work)(uint64_t us), uint64_t us)
{
	struct pace_mark mark = pace_begin(pace);

	work(us);
	(void)pace_end(pace, &mark);
}

static bool is_slow(const struct pace *pace)
{
	struct pace_mark mark = pace_begin(pace);

	return pace_is_slow(pace, &mark);
}

static void test_quick_requests(void **state)
{
	struct pace pace = {0};

	for (int i = 0; i < 3; i++)
		request(&pace, nothing, 0);
	assert_false(is_slow(&pace));
}

static void test_one_long_request_is_not_enough(void **state)
{
	struct pace pace = {0};

	request(&pace, sleep_us, LONG_US);
	assert_false(is_slow(&pace));
}

static void test_requests_that_sleep(void **state)
{
	struct pace pace = {0};
	bool slow = false;

	/* more than two where this test itself has to wait for a CPU */
	for (int i = 0; i < 200 && !slow; i++) {
		request(&pace, sleep_us, LONG_US);
		slow = is_slow(&pace);
	}
	assert_true(slow);
}

static void test_requests_that_only_take_long(void **state)
{
	struct pace pace = {0};

	for (int i = 0; i < 3; i++)
		request(&pace, spin, LONG_US);
	assert_false(is_slow(&pace));
}

static void test_it_is_forgotten(void **state)
{
	struct pace pace = {0};

	request(&pace, sleep_us, LONG_US);
	request(&pace, sleep_us, LONG_US);
	(void)usleep(50000);
	assert_false(is_slow(&pace));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_quick_requests),
		cmocka_unit_test(test_one_long_request_is_not_enough),
		cmocka_unit_test(test_requests_that_sleep),
		cmocka_unit_test(test_requests_that_only_take_long),
		cmocka_unit_test(test_it_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

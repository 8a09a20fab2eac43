/* Numbers of the environment. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/environment.h"
#include "base/util.h"

static int number_of(const char *text)
{
	assert_int_equal(setenv("TEST_NUMBER", text, 1), 0);
	return environment_number("TEST_NUMBER");
}

static void test_numbers(void **state)
{
	(void)state;
	assert_int_equal(number_of("0"), 0);
	assert_int_equal(number_of("42"), 42);
	assert_int_equal(number_of("2147483647"), INT_MAX);
}

static void test_others(void **state)
{
	static const char *const texts[] = {
		"", " ", "-1", " 1", "+1", "1 ", "0x1", "1a", "2147483648", "99999999999999999999"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_int_equal(number_of(texts[i]), -1);
}

static void test_not_set(void **state)
{
	(void)state;
	assert_int_equal(unsetenv("TEST_NUMBER"), 0);
	assert_int_equal(environment_number("TEST_NUMBER"), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_not_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

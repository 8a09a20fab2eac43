/* Requests on the control socket: good ones, damaged ones and hostile ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>

#include "daemon/control.h"

static struct control_request request;

static int parse(const char *line, size_t len)
{
	char error[96] = "";
	int r;

	request = (struct control_request){.command = CONTROL_EJECT, .name = "untouched"};
	r = control_request_parse(line, len, &request, error, sizeof(error));
	assert_true((r == 0) == (error[0] == '\0'));
	assert_null(strchr(error, '\n'));
	if (r < 0)
		assert_string_equal(request.name, "untouched");
	return r;
}

static int parse_text(const char *line)
{
	return parse(line, strlen(line));
}

static void test_commands(void **state)
{
	assert_int_equal(parse_text("{\"command\":\"list\",\"all\":true}"), 0);
	assert_int_equal(request.command, CONTROL_LIST);
	assert_true(request.all);
	assert_int_equal(parse_text(" { \"command\" : \"list\" } "), 0);
	assert_false(request.all);
	assert_int_equal(parse_text("{\"command\":\"wait\",\"name\":\"BACKUP\"}"), 0);
	assert_int_equal(request.command, CONTROL_WAIT);
	assert_string_equal(request.name, "BACKUP");
	assert_int_equal(parse_text("{\"command\":\"monitor\",\"future\":[1,2]}"), 0);
	assert_int_equal(request.command, CONTROL_MONITOR);
	assert_int_equal(parse_text("{\"command\":\"upgrade\"}"), 0);
	assert_int_equal(request.command, CONTROL_UPGRADE);
	assert_int_equal(parse_text("{\"command\":\"eject\",\"name\":\"A\",\"force\":true}"), 0);
	assert_true(request.force);
	assert_false(request.power_off);
	assert_int_equal(parse_text("{\"command\":\"eject\",\"name\":\"A\",\"power_off\":true}"),
			 0);
	assert_true(request.power_off && !request.force);
	assert_int_equal(parse_text("{\"command\":\"eject\",\"name\":\"\\u00e9\",\"force\":false}"),
			 0);
	assert_string_equal(request.name, "\xc3\xa9");
}

static void test_not_an_object(void **state)
{
	static const char *const lines[] = {
		"",
		"x",
		"null",
		"1",
		"\"list\"",
		"[]",
		"[{\"command\":\"list\"}]",
		"{",
		"}",
		"{}x",
		"{\"command\":\"list\"}{\"command\":\"list\"}",
		"{\"command\"",
		"{'command':'list'}",
		"{\"command\":\"list\",}",
		"/* */{\"command\":\"list\"}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		assert_int_equal(parse_text(lines[i]), -EINVAL);
}

static void test_wrong_members(void **state)
{
	static const char *const lines[] = {
		"{}",
		"{\"command\":1}",
		"{\"command\":null}",
		"{\"command\":\"LIST\"}",
		"{\"command\":\"list\\u0000x\",\"all\":7}",
		"{\"command\":\"list\",\"all\":\"yes\"}",
		"{\"command\":\"list\",\"all\":1}",
		"{\"command\":\"eject\"}",
		"{\"command\":\"eject\",\"name\":\"\"}",
		"{\"command\":\"eject\",\"name\":null}",
		"{\"command\":\"eject\",\"name\":[\"A\"]}",
		"{\"command\":\"eject\",\"name\":\"A\\u0000B\"}",
		"{\"command\":\"eject\",\"name\":\"A\",\"force\":1}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		assert_int_equal(parse_text(lines[i]), -EINVAL);
}

static void test_long_name(void **state)
{
	char name[LIMIT_NAME + 2];
	char line[LIMIT_NAME + 64];

	memset(name, 'n', sizeof(name));
	name[LIMIT_NAME] = '\0';
	(void)snprintf(line, sizeof(line), "{\"command\":\"wait\",\"name\":\"%s\"}", name);
	assert_int_equal(parse_text(line), 0);
	assert_string_equal(request.name, name);
	name[LIMIT_NAME] = 'n';
	name[LIMIT_NAME + 1] = '\0';
	(void)snprintf(line, sizeof(line), "{\"command\":\"wait\",\"name\":\"%s\"}", name);
	assert_int_equal(parse_text(line), -EINVAL);
}

static void test_bytes(void **state)
{
	static const char nul[] = "{\"command\":\"list\"}\0{\"command\":\"list\"}";
	static const char bad_utf8[] = "{\"command\":\"wait\",\"name\":\"\xff\xfe\"}";
	char deep[200];

	assert_int_equal(parse(nul, sizeof(nul) - 1), -EINVAL);
	assert_int_equal(parse_text(bad_utf8), -EINVAL);
	memset(deep, '[', sizeof(deep));
	assert_int_equal(parse(deep, sizeof(deep)), -EINVAL);
	for (int byte = 0; byte < 256; byte++) {
		char line[] = "{\"command\":\"list\"?}";

		line[17] = (char)byte;
		assert_int_equal(parse(line, sizeof(line) - 1),
				 memchr(" \t\n\r", byte, 4) ? 0 : -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands),      cmocka_unit_test(test_not_an_object),
		cmocka_unit_test(test_wrong_members), cmocka_unit_test(test_long_name),
		cmocka_unit_test(test_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

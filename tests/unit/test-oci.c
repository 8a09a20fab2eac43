/* What OCI runtimes tell a hook. */
#undef NDEBUG
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "container/oci.h"

static void test_state(void **state)
{
	struct oci_state s;

	(void)state;
	assert_int_equal(
		oci_state_parse("{\"ociVersion\":\"1.0.2\",\"id\":\"x\",\"status\":\"creating\","
				"\"pid\":4711,\"bundle\":\"/b\",\"annotations\":{}}",
				&s),
		0);
	assert_int_equal(s.pid, 4711);
	assert_string_equal(s.bundle, "/b");
	assert_false(s.started);
	assert_int_equal(oci_state_parse("{\"status\":\"running\",\"pid\":1,\"bundle\":\"/\"}", &s),
			 0);
	assert_true(s.started);
}

static void test_no_state(void **state)
{
	static const char *const texts[] = {
		"",
		"{",
		"[]",
		"null",
		"7",
		"{}",
		"{\"status\":\"running\",\"pid\":1}",
		"{\"status\":\"running\",\"bundle\":\"/b\"}",
		"{\"pid\":1,\"bundle\":\"/b\"}",
		"{\"status\":\"running\",\"pid\":0,\"bundle\":\"/b\"}",
		"{\"status\":\"running\",\"pid\":-1,\"bundle\":\"/b\"}",
		"{\"status\":\"running\",\"pid\":4294967297,\"bundle\":\"/b\"}",
		"{\"status\":\"running\",\"pid\":\"1\",\"bundle\":\"/b\"}",
		"{\"status\":\"running\",\"pid\":1,\"bundle\":\"b\"}",
		"{\"status\":7,\"pid\":1,\"bundle\":\"/b\"}",
		"{\"status\":\"running\",\"pid\":1,\"bundle\":[\"/b\"]}",
	};
	struct oci_state s = {.pid = 5};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_int_equal(oci_state_parse(texts[i], &s), -EBADMSG);
	assert_int_equal(s.pid, 5);
}

static void test_root(void **state)
{
	char long_bundle[PATH_MAX];
	char root[PATH_MAX];

	(void)state;
	assert_int_equal(oci_root_parse("{\"root\":{\"path\":\"/abs\"}}", "/b", root), 0);
	assert_string_equal(root, "/abs");
	assert_int_equal(oci_root_parse("{\"root\":{\"path\":\"rootfs\"}}", "/b", root), 0);
	assert_string_equal(root, "/b/rootfs");
	assert_int_equal(oci_root_parse("{\"root\":{\"path\":\"\"}}", "/b", root), -EBADMSG);
	assert_int_equal(oci_root_parse("{\"root\":{}}", "/b", root), -EBADMSG);
	assert_int_equal(oci_root_parse("{\"root\":\"x\"}", "/b", root), -EBADMSG);
	assert_int_equal(oci_root_parse("{}", "/b", root), -EBADMSG);
	assert_int_equal(oci_root_parse("x", "/b", root), -EBADMSG);
	memset(long_bundle, 'b', sizeof(long_bundle) - 1);
	long_bundle[sizeof(long_bundle) - 1] = '\0';
	assert_int_equal(oci_root_parse("{\"root\":{\"path\":\"r\"}}", long_bundle, root),
			 -ENAMETOOLONG);
}

static void test_read(void **state)
{
	int fd = memfd_create("text", MFD_CLOEXEC);
	char *text = NULL;

	(void)state;
	assert_int_equal(write(fd, "text", 4), 4);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(oci_read(fd, &text), 0);
	assert_string_equal(text, "text");
	free(text);
	assert_int_equal(ftruncate(fd, OCI_TEXT_MAX + 1), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(oci_read(fd, &text), -EFBIG);
	close_fd(fd);
	assert_int_equal(oci_read(-1, &text), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_state),
		cmocka_unit_test(test_no_state),
		cmocka_unit_test(test_root),
		cmocka_unit_test(test_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

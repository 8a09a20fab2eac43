/* What reaches stderr, and how hostile texts look there. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "base/log.h"

static char captured[8192];

/* $JOURNAL_STREAM as the pattern says: D is the device of the file, I its inode; NULL: not set. */
static void set_journal(int fd, const char *pattern)
{
	char stream[64] = "";
	struct stat st;

	if (!pattern) {
		assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
		return;
	}
	assert_int_equal(fstat(fd, &st), 0);
	for (const char *p = pattern; *p; p++) {
		size_t used = strlen(stream);

		if (*p == 'D' || *p == 'I')
			(void)snprintf(stream + used, sizeof(stream) - used, "%llu",
				       (unsigned long long)(*p == 'D' ? st.st_dev : st.st_ino));
		else
			(void)snprintf(stream + used, sizeof(stream) - used, "%c", *p);
	}
	assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
}

/* Runs fn with stderr in a pipe and keeps what it wrote. */
static void capture_as(void (*fn)(void), const char *journal)
{
	int saved = dup(STDERR_FILENO);
	int fds[2];
	ssize_t n;

	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	assert_true(saved >= 0 && dup2(fds[1], STDERR_FILENO) >= 0);
	set_journal(fds[1], journal);
	fn();
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	n = read(fds[0], captured, sizeof(captured) - 1);
	captured[MAX(n, 0)] = '\0';
	close(saved);
	close(fds[0]);
	close(fds[1]);
}

static void capture(void (*fn)(void))
{
	capture_as(fn, "D:I");
}

static void write_all_levels(void)
{
	log_err("e %d", 1);
	log_warning("w");
	log_notice("n");
	log_info("i");
	log_debug("d");
}

static void prints_up_to_the_level(void **state)
{
	(void)state;
	log_set_level(LOG_LEVEL_INFO);
	capture(write_all_levels);
	assert_string_equal(captured, "<3>e 1\n<4>w\n<5>n\n<6>i\n");
	assert_false(log_enabled(LOG_LEVEL_DEBUG));
	log_set_level(LOG_LEVEL_DEBUG);
	capture(write_all_levels);
	assert_non_null(strstr(captured, "<7>d\n"));
	log_set_level(LOG_LEVEL_ERR);
	capture(write_all_levels);
	assert_string_equal(captured, "<3>e 1\n");
	log_set_level(LOG_LEVEL_INFO);
}

static void has_no_priorities_elsewhere(void **state)
{
	static const char *const others[] = {NULL,   "",     ":",    "D",    "D:",   ":I",
					     "1D:I", "D:1I", "D:Ix", "xD:I", "D:I:", "D I"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		capture_as(write_all_levels, others[i]);
		assert_string_equal(captured, "e 1\nw\nn\ni\n");
	}
}

static void write_errno(void)
{
	errno = ENODEV;
	log_err("%m");
	assert_int_equal(errno, ENODEV);
}

static void keeps_errno(void **state)
{
	(void)state;
	capture(write_errno);
	assert_string_equal(captured, "<3>No such device\n");
}

static void write_long(void)
{
	char text[5000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_err("%s", text);
}

static void cuts_long_lines(void **state)
{
	size_t n;

	(void)state;
	capture(write_long);
	n = strlen(captured);
	assert_in_range(n, 1000, 2048);
	assert_int_equal(captured[n - 1], '\n');
	assert_ptr_equal(strchr(captured, '\n'), captured + n - 1);
}

static void parses_levels(void **state)
{
	(void)state;
	assert_int_equal(log_level_parse("error"), LOG_LEVEL_ERR);
	assert_int_equal(log_level_parse("debug"), LOG_LEVEL_DEBUG);
	assert_int_equal(log_level_parse("Debug"), LOG_LEVEL_INVALID);
	assert_int_equal(log_level_parse(""), LOG_LEVEL_INVALID);
}

static void quotes(void **state)
{
	char all[256];

	(void)state;
	assert_string_equal(QUOTE("BACKUP 1"), "\"BACKUP 1\"");
	assert_string_equal(QUOTE(""), "\"\"");
	assert_string_equal(QUOTE("a\"b\\c"), "\"a\\x22b\\x5cc\"");
	assert_string_equal(QUOTE("\x1b[2J\n"), "\"\\x1b[2J\\x0a\"");
	assert_string_equal(QUOTE("\xc3\xbc"), "\"\\xc3\\xbc\"");
	for (unsigned i = 1; i < sizeof(all); i++)
		all[i - 1] = (char)i;
	all[sizeof(all) - 1] = '\0';
	for (const char *p = QUOTE(all); *p; p++)
		assert_true(*p >= 0x20 && *p < 0x7f);
}

static void cuts_long_quotes(void **state)
{
	char text[3000];
	struct log_quoted quoted;

	(void)state;
	for (int c = 'x'; c != 0; c = c == 'x' ? '\n' : 0) {
		memset(text, c, sizeof(text) - 1);
		text[sizeof(text) - 1] = '\0';
		quoted = log_quote(text);
		assert_in_range(strlen(quoted.text), 1000, sizeof(quoted.text) - 1);
		assert_string_equal(quoted.text + strlen(quoted.text) - 4, "...\"");
	}
}

static void names_errors(void **state)
{
	(void)state;
	assert_string_equal(errno_name(EIO), "EIO");
	assert_string_equal(errno_name(ENOENT), "ENOENT");
	assert_string_equal(errno_name(100000), "errno 100000");
	assert_string_equal(errno_name(-5), "errno -5");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prints_up_to_the_level),
		cmocka_unit_test(has_no_priorities_elsewhere),
		cmocka_unit_test(keeps_errno),
		cmocka_unit_test(cuts_long_lines),
		cmocka_unit_test(parses_levels),
		cmocka_unit_test(quotes),
		cmocka_unit_test(cuts_long_quotes),
		cmocka_unit_test(names_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

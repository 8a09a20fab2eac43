/* The mount of an open file, from tables as the kernel writes them. */
#undef NDEBUG
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "base/mountinfo.h"

static const char table[] =
	"21 1 0:20 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
	"4 x\n"
	"36 21 0:46 /s/media /mnt/a\\040b ro,nosuid,nodev master:7 - tmpfs none rw\n"
	"37 36 0:48 / /mnt/a\\040b rw - fuse.hotplugfs hotplugfs rw,user_id=0\n"
	"38 21 0:50 / /x rw shared:3 master:12 propagate_from:2 - tmpfs x master:1 rw\n"
	"39 21 0:51 / /y rw - tmpfs a - b rw\n";

struct scene {
	char path[64];
	int proc;
};

static void write_file(const struct scene *s, const char *path, const char *text)
{
	int fd = openat(s->proc, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close_fd(fd);
}

static int setup(void **state)
{
	struct scene *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	(void)STR_COPY(s->path, "/tmp/test-mountinfo-XXXXXX");
	assert_non_null(mkdtemp(s->path));
	s->proc = open(s->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(s->proc, "self", 0700), 0);
	assert_int_equal(mkdirat(s->proc, "self/fdinfo", 0700), 0);
	write_file(s, "self/mountinfo", table);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct scene *s = *state;

	(void)unlinkat(s->proc, "self/fdinfo/5", 0);
	(void)unlinkat(s->proc, "self/mountinfo", 0);
	(void)unlinkat(s->proc, "self/fdinfo", AT_REMOVEDIR);
	(void)unlinkat(s->proc, "self", AT_REMOVEDIR);
	close_fd(s->proc);
	(void)rmdir(s->path);
	free(s);
	return 0;
}

static int look(const struct scene *s, unsigned id, struct mount_facts *facts)
{
	char text[100];

	(void)snprintf(text, sizeof(text), "pos:\t0\nflags:\t012000000\nmnt_id:\t%u\nino:\t1\n",
		       id);
	write_file(s, "self/fdinfo/5", text);
	return mountinfo_of(s->proc, 5, facts);
}

static void test_facts(void **state)
{
	struct mount_facts facts;

	assert_int_equal(look(*state, 36, &facts), 0);
	assert_string_equal(facts.device, "0:46");
	assert_string_equal(facts.root, "/s/media");
	assert_string_equal(facts.type, "tmpfs");
	assert_string_equal(facts.source, "none");
	assert_true(facts.follows);
	assert_true(mountinfo_has(&facts, "ro"));
	assert_true(mountinfo_has(&facts, "nodev"));
	assert_false(mountinfo_has(&facts, "no"));
	assert_false(mountinfo_has(&facts, "rw"));
	assert_int_equal(look(*state, 37, &facts), 0);
	assert_string_equal(facts.type, "fuse.hotplugfs");
	assert_false(facts.follows);
}

static void test_what_it_is_on(void **state)
{
	const struct scene *s = *state;
	struct mount_facts facts;

	assert_int_equal(mountinfo_by_id(s->proc, 37, &facts), 0);
	assert_int_equal(facts.parent, 36);
	assert_int_equal(mountinfo_by_id(s->proc, facts.parent, &facts), 0);
	assert_string_equal(facts.type, "tmpfs");
	assert_int_equal(mountinfo_by_id(s->proc, 40, &facts), -ENOENT);
}

static void test_slaves(void **state)
{
	struct mount_facts facts;

	assert_int_equal(look(*state, 21, &facts), 0);
	assert_false(facts.follows);
	assert_int_equal(look(*state, 38, &facts), 0);
	assert_true(facts.follows);
	assert_int_equal(look(*state, 39, &facts), 0);
	assert_string_equal(facts.type, "tmpfs");
}

static void test_not_there(void **state)
{
	const struct scene *s = *state;
	struct mount_facts facts = {.id = 99};

	assert_int_equal(look(s, 4, &facts), -ENOENT);
	assert_int_equal(look(s, 3, &facts), -ENOENT);
	write_file(s, "self/fdinfo/5", "pos:\t0\n");
	assert_int_equal(mountinfo_of(s->proc, 5, &facts), -ENOENT);
	assert_int_equal(mountinfo_of(s->proc, 6, &facts), -ENOENT);
	assert_int_equal(facts.id, 99);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_facts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_it_is_on, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slaves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_there, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

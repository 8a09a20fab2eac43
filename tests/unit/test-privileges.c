/* Giving up all rights, and starting a program, in children that tell what became of them. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/privileges.h"
#include "base/process.h"

/* Runs fn(data) in a child and returns its exit status. */
static int in_child(int (*fn)(void *data), void *data)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(fn(data));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* How many of the lines of /proc/self/status that begin with a prefix are "VALUE". */
static int count_lines(const char *prefix, const char *value)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[256], expected[64];
	int found = 0;

	if (!f)
		return -1;
	(void)snprintf(expected, sizeof(expected), "\t%s\n", value);
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, prefix, strlen(prefix)) == 0)
			found += streq(strchr(line, '\t'), expected);
	(void)fclose(f);
	return found;
}

static int drop(void *data)
{
	bool root = geteuid() == 0;

	if (privileges_drop(data) < 0)
		return 1;
	if (count_lines("NoNewPrivs:", "1") != 1)
		return 2;
	/* the bounding set can only be emptied by who has CAP_SETPCAP */
	if (count_lines("Cap", "0000000000000000") < (root ? 5 : 4))
		return 3;
	return 0;
}

static void drops_everything(void **state)
{
	struct identity same = {.change = false};

	assert_true(privileges_allow(&same));
	assert_int_equal(in_child(drop, &same), 0);
}

static int become(void *data)
{
	const struct identity *identity = data;
	gid_t found[4];
	uid_t ruid, euid, suid;
	gid_t rgid, egid, sgid;

	if (privileges_drop(identity) < 0)
		return 1;
	if (getresuid(&ruid, &euid, &suid) < 0 || getresgid(&rgid, &egid, &sgid) < 0)
		return 2;
	if (ruid != 1234 || euid != 1234 || suid != 1234)
		return 3;
	if (rgid != 2345 || egid != 2345 || sgid != 2345)
		return 4;
	if (getgroups(4, found) != 2 || found[0] != 2345 || found[1] != 3456)
		return 5;
	return setuid(0) == 0 ? 6 : 0;
}

static void becomes_user(void **state)
{
	const gid_t groups[] = {2345, 3456};
	struct identity other = {
		.change = true, .uid = 1234, .gid = 2345, .groups = groups, .group_count = 2};

	if (!privileges_allow(&other))
		skip();
	assert_int_equal(in_child(become, &other), 0);
}

static int refuse(void *data)
{
	return privileges_allow(data) || privileges_drop(data) != -EPERM;
}

static int drop_and_refuse(void *data)
{
	return privileges_drop((struct identity[]){{.change = false}}) < 0 || refuse(data);
}

static void refuses_without_rights(void **state)
{
	const gid_t group = 2345;
	struct identity other = {
		.change = true, .uid = 1234, .gid = 2345, .groups = &group, .group_count = 1};

	assert_int_equal(in_child(drop_and_refuse, &other), 0);
}

/* ---- process_exec() ---- */

struct program {
	const char *name;
	const char *path; /* the variable */
};

static int start(void *data)
{
	const struct program *program = data;
	char *argv[] = {(char *)(uintptr_t)program->name, NULL};

	if (setenv("PATH", program->path, 1) < 0)
		return 1;
	if (privileges_drop((struct identity[]){{.change = false}}) < 0)
		return 2; /* or root could search every directory */
	return -process_exec(argv);
}

static int started(const char *name, const char *path)
{
	struct program program = {name, path};

	return in_child(start, &program);
}

static void tells_why_not(void **state)
{
	char dir[] = "/tmp/hotplugfs-test-XXXXXX";
	char locked[64], path[128], file[64];

	assert_non_null(mkdtemp(dir));
	(void)snprintf(locked, sizeof(locked), "%s/locked", dir);
	(void)snprintf(file, sizeof(file), "%s/not-a-program", dir);
	(void)snprintf(path, sizeof(path), "%s:%s:/bin:/usr/bin", locked, dir);
	assert_int_equal(mkdir(locked, 0), 0);
	assert_int_equal(close(open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0644)), 0);
	assert_int_equal(started("true", path), 0);
	assert_int_equal(started("no-such-program", path), ENOENT);
	assert_int_equal(started("no-such-program", "/bin"), ENOENT);
	assert_int_equal(started("/no/such/program", path), ENOENT);
	assert_int_equal(started("not-a-program", path), EACCES);
	assert_int_equal(started(file, path), EACCES);
	assert_int_equal(started(dir, path), EACCES);
	assert_int_equal(unlink(file), 0);
	assert_int_equal(rmdir(locked), 0);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(drops_everything),
		cmocka_unit_test(becomes_user),
		cmocka_unit_test(refuses_without_rights),
		cmocka_unit_test(tells_why_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

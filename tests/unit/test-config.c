/* Settings, durations, owners, and the configuration file with every way to get it wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "device/config.h"

static char error[2048];
static char path[64];

static int setup(void **state)
{
	int fd;

	(void)STR_COPY(path, "/tmp/hotplugfs-config-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	return 0;
}

static int teardown(void **state)
{
	(void)unlink(path);
	return 0;
}

static int read_bytes(struct config **ret_config, const char *text, size_t length)
{
	FILE *file = fopen(path, "we");
	int r;

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(config_new(ret_config), 0);
	error[0] = '\0';
	r = config_read_file(*ret_config, path, error, sizeof(error));
	assert_true(r == 0 || error[0] != '\0');
	assert_null(strchr(error, '\n'));
	return r;
}

static struct config *read_text(const char *text)
{
	struct config *config;

	if (read_bytes(&config, text, strlen(text)) < 0)
		fail_msg("%s", error);
	return config;
}

/* The file is refused, with "path:line: ...part...". */
static void assert_refused(const char *text, unsigned line, const char *part)
{
	_cleanup_(config_freep) struct config *config = NULL;
	char prefix[128];

	assert_int_equal(read_bytes(&config, text, strlen(text)), -EINVAL);
	(void)snprintf(prefix, sizeof(prefix), "%s:%u: ", path, line);
	if (strncmp(error, prefix, strlen(prefix)) != 0 || !strstr(error, part))
		fail_msg("\"%s\" is not \"%s...%s\"", error, prefix, part);
}

static void has_defaults(void **state)
{
	_cleanup_(config_freep) struct config *config = NULL;

	(void)state;
	assert_int_equal(config_new(&config), 0);
	assert_string_equal(config->dev_dir, "/dev");
	assert_string_equal(config->state_dir, "/var/lib/hotplugfs");
	assert_string_equal(config->socket_path, "/run/hotplugfs/control.sock");
	assert_int_equal(config->idle_timeout_ms, 10000);
	assert_int_equal(config->probe_timeout_ms, 10000);
	assert_int_equal(config->mount_timeout_ms, 60000);
	assert_true(config->passthrough);
	assert_false(config->read_only || config->exec || config->owner.set);
	assert_int_equal(config->durability, DURABILITY_CLOSE);
	assert_int_equal(config->events.kind, EVENTS_AUTO);
	assert_int_equal(config->log_level, LOG_LEVEL_INFO);
	assert_null(config_free(NULL));
}

static void knows_event_sources(void **state)
{
	static const struct {
		const char *text;
		enum events_kind kind;
		int fd;
		const char *path;
	} sources[] = {
		{"auto", EVENTS_AUTO, -EBADF, ""},
		{"udev", EVENTS_UDEV, -EBADF, ""},
		{"kernel", EVENTS_KERNEL, -EBADF, ""},
		{"inotify", EVENTS_INOTIFY, -EBADF, ""},
		{"fd:3", EVENTS_FD, 3, ""},
		{"unix:/run/x.sock", EVENTS_UNIX, -EBADF, "/run/x.sock"},
	};
	_cleanup_(config_freep) struct config *config = NULL;
	char longest[LIMIT_SOCKET_PATH + 8] = "unix:/";

	(void)state;
	assert_int_equal(config_new(&config), 0);
	for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
		assert_int_equal(
			config_set(config, "events", sources[i].text, error, sizeof(error)), 0);
		assert_int_equal(config->events.kind, sources[i].kind);
		assert_int_equal(config->events.fd, sources[i].fd);
		assert_string_equal(config->events.path, sources[i].path);
	}
	memset(longest + 6, 'x', sizeof(longest) - 7);
	assert_int_equal(config_set(config, "events", longest, error, sizeof(error)), -EINVAL);
}

static void reads_a_file(void **state)
{
	_cleanup_(config_freep) struct config *config = read_text(
		"\xef\xbb\xbf# a comment\n"
		"; another\n"
		"\n"
		"include = loop*, zram0 ; and why\n"
		"  idle-timeout = 500ms\n"
		"[hotplugfs]\r\n"
		"read-only: yes\r\n"
		"state-dir =\n"
		"log-level=debug\n"
		"\t[match Photos]\n"
		"label = CAM*\n"
		"\tname = photos\n"
		"owner = 1000:100\n"
		"[match two words] ; comment\n"
		"kernel = sd*\n"
		"vendor = Kingston\n"
		"hidden = no\n"
		"options = noatime,errors=continue\n"
		"[hotplugfs]\n"
		"exclude = sdz");

	(void)state;
	assert_int_equal(config->include.count, 2);
	assert_string_equal(config->include.globs[0], "loop*");
	assert_string_equal(config->include.globs[1], "zram0");
	assert_string_equal(config->exclude.globs[0], "sdz");
	assert_int_equal(config->idle_timeout_ms, 500);
	assert_true(config->read_only);
	assert_string_equal(config->state_dir, "");
	assert_int_equal(config->log_level, LOG_LEVEL_DEBUG);
	assert_string_equal(config->file, path);

	const struct config_rule *rule = config->rules;
	assert_string_equal(rule->title, "Photos");
	assert_int_equal(rule->line, 10);
	assert_string_equal(rule->label, "CAM*");
	assert_string_equal(rule->name, "photos");
	assert_true(rule->owner.set);
	assert_int_equal(rule->owner.uid, 1000);
	assert_int_equal(rule->owner.gid, 100);
	assert_int_equal(rule->read_only, -1);
	assert_null(rule->kname);
	rule = rule->next;
	assert_string_equal(rule->title, "two words");
	assert_string_equal(rule->kname, "sd*");
	assert_string_equal(rule->options, "noatime,errors=continue");
	assert_int_equal(rule->hidden, 0);
	assert_null(rule->next);
}

static void reads_long_lists(void **state)
{
	_cleanup_(config_freep) struct config *config = NULL;
	char line[1000] = "exclude = ";

	(void)state;
	for (int i = 0; i < 100; i++)
		(void)snprintf(line + strlen(line), sizeof(line) - strlen(line), "sd%d, ", i);
	config = read_text(line);
	assert_int_equal(config->exclude.count, 100);
	assert_string_equal(config->exclude.globs[99], "sd99");
}

static void refuses_files(void **state)
{
	static const struct {
		const char *text;
		unsigned line;
		const char *part;
	} bad[] = {
		{"nonsense\n", 1, "not a setting"},
		{"\n\n= x\n", 3, "unknown setting"},
		{"colour = red\n", 1, "unknown setting \"colour\"; there are include, exclude"},
		{"dev = /dev\ndev = /dev\n", 2, "dev: set twice"},
		{"include = a\n[hotplugfs]\ninclude = b\n", 3, "include: set twice"},
		{"dev = \n", 1, "dev: \"\" is not a path"},
		{"include = ,\n", 1, "is not a kernel name"},
		{"include = /dev/sdb\n", 1, "is not a kernel name such as sdb1"},
		{"exclude = sdz # not sdb\n", 1, "is not a kernel name such as sdb1"},
		{"idle-timeout = soon\n", 1, "idle-timeout: \"soon\" is not a time such as"},
		{"idle-timeout = 0\n", 1, "idle-timeout: \"0\" is not a time such as"},
		{"idle-timeout = 0ms\n", 1, "more than 0, or never"},
		{"probe-timeout = 0\n", 1, "more than 0"},
		{"mount-timeout = never\n", 1, "more than 0"},
		{"read-only = maybe\n", 1, "\"maybe\" is not yes or no"},
		{"log-level = loud\n", 1, "is not error, warning, notice, info or debug"},
		{"durability = some\n", 1, "is not lazy, close or strict"},
		{"events = dbus\n", 1, "is not auto, udev, kernel, fd:N"},
		{"events = fd:2\n", 1, "fd:N (more than 2)"},
		{"events = fd:9999999\n", 1, "fd:N (more than 2)"},
		{"events = fd:3x\n", 1, "fd:N (more than 2)"},
		{"events = unix:events.sock\n", 1, "unix:PATH (absolute)"},
		{"owner = no-such-user-here\n", 1, "no user \"no-such-user-here\""},
		{"owner = 0:no-such-group-here\n", 1, "no group"},
		{"socket=\n", 1, "is not a path"},
		{"[unknown]\nx = 1\n", 1, "unknown section"},
		{"[match]\nlabel = x\n", 1, "unknown section"},
		{"[match ]\nlabel = x\n", 1, "unknown section"},
		{"[]\n", 1, "unknown section"},
		{"[hotplugfs\ndev = /x\n", 1, "a section is written as"},
		{"[match a] b\n", 1, "a section is written as"},
		{"\n[match a]\nhidden = yes\n", 2, "[match a] has no condition"},
		{"[match a]\nlabel = x\n[match b]\n", 1, "[match a] sets nothing"},
		{"[match a]\n\n", 1, "has no condition"},
		{"[match a]\nlabel=x\nhidden=yes\n[match a]\nlabel=y\nhidden=no\n", 4,
		 "is there already, in line 1"},
		{"[match a]\nlabel = x\nlabel = y\nhidden = yes\n", 3, "label: set twice"},
		{"[match a]\nlabel =\nhidden = yes\n", 2, "is not a pattern"},
		{"[match a]\ndev = /dev\n", 2, "unknown setting \"dev\"; there are label, uuid"},
		{"[match a]\nlabel = x\nname = ../x\n", 3, "usable as the name of a directory"},
		{"[match a]\nlabel = x\nname = .x\n", 3, "usable as the name"},
		{"[match a]\nlabel = x\nname =\n", 3, "usable as the name"},
		{"[match a]\nlabel = x\nhidden = perhaps\n", 3, "is not yes or no"},
		{"[match a]\nlabel = x\noptions =\n", 3, "mount options"},
		/* of several mistakes the first one is told */
		{"a\nb = c\nd\n", 1, "not a setting"},
		{"b = c\na\n", 1, "unknown setting"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_refused(bad[i].text, bad[i].line, bad[i].part);
}

static void refuses_long_and_broken_lines(void **state)
{
	_cleanup_(config_freep) struct config *config = NULL;
	char line[6000];

	(void)state;
	(void)snprintf(line, sizeof(line), "dev = /%0*d\n", LIMIT_CONFIG_LINE - 7, 1);
	config = read_text(line);
	assert_int_equal(strlen(config->dev_dir), LIMIT_CONFIG_LINE - 6);
	config = config_free(config);
	(void)snprintf(line, sizeof(line), "\ndev = /%0*d", LIMIT_CONFIG_LINE - 6, 1);
	assert_refused(line, 2, "longer than 4095 bytes");
	(void)snprintf(line, sizeof(line), "; %0*d\nx", LIMIT_CONFIG_LINE - 2, 1);
	assert_refused(line, 2, "not a setting");
	(void)snprintf(line, sizeof(line), "; %0*d\nx", 5000, 1);
	assert_refused(line, 1, "longer than");
	(void)snprintf(line, sizeof(line), "[match %0*d]\nlabel = x\n", 300, 1);
	assert_refused(line, 1, "longer than 255 bytes");
	(void)snprintf(line, sizeof(line), "%0*d = 1\n", 100, 1);
	assert_refused(line, 1, "unknown setting");
	(void)snprintf(line, sizeof(line), "[match %0*d]\nlabel = x\nhidden = yes\n", 100, 1);
	config = read_text(line);
	assert_int_equal(strlen(config->rules->title), 100);
	config = config_free(config);
	assert_int_equal(read_bytes(&config, "dev = /x\nex\0ec = yes\n", 21), -EINVAL);
	assert_non_null(strstr(error, ":2: a NUL byte"));
}

static void refuses_what_cannot_be_read(void **state)
{
	_cleanup_(config_freep) struct config *config = NULL;

	(void)state;
	assert_int_equal(config_new(&config), 0);
	assert_int_equal(config_read_file(config, "/nowhere/x", error, sizeof(error)), -ENOENT);
	assert_string_equal(error, "/nowhere/x: cannot open: No such file or directory");
	assert_true(config_read_file(config, "/tmp", error, sizeof(error)) < 0);
	assert_non_null(strstr(error, "/tmp"));
}

static void the_command_line_comes_on_top(void **state)
{
	_cleanup_(config_freep) struct config *config = read_text("include = a\ndev = /x\n");

	(void)state;
	assert_int_equal(config_set(config, "include", "b", error, sizeof(error)), 0);
	assert_int_equal(config_set(config, "dev", "/y", error, sizeof(error)), 0);
	assert_int_equal(config_set(config, "owner", "12:13", error, sizeof(error)), 0);
	assert_int_equal(config_set(config, "nothing", "x", error, sizeof(error)), -ENOENT);
	assert_int_equal(config_set(config, "dev", "", error, sizeof(error)), -EINVAL);
	assert_int_equal(config->include.count, 2);
	assert_string_equal(config->dev_dir, "/y");
	assert_int_equal(config->owner.gid, 13);
}

static void parses_durations(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = {{"10", 10000},    {"500ms", 500},  {"2s", 2000},
		    {"5min", 300000}, {"1h", 3600000}, {"0", 0},
		    {"never", 0},     {"0ms", 0},      {"8784h", 31622400000}};
	static const char *const bad[] = {"",
					  "s",
					  "-1",
					  "+1",
					  " 1",
					  "1.5",
					  "1d",
					  "1 ",
					  "1x",
					  "1hh",
					  "8785h",
					  "99999999999999999999",
					  "18446744073709551615",
					  "18446744073709552",
					  "0x10",
					  "1e3",
					  "NEVER"};
	uint64_t ms = 1;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(duration_parse(good[i].text, &ms), 0);
		assert_int_equal(ms, good[i].ms);
	}
	ms = 77;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (duration_parse(bad[i], &ms) != -EINVAL)
			fail_msg("%s", bad[i]);
}

static void parses_owners(void **state)
{
	static const char *const bad[] = {"",	 ":",	       ":0",
					  "0:",	 "4294967295", "0:4294967295",
					  "-1",	 "1000 ",      "99999999999999999999",
					  "0x0", "root:0:0",   "no-such-user-here",
					  "\xff"};
	struct owner owner;

	(void)state;
	assert_int_equal(owner_parse("root", &owner, error, sizeof(error)), 0);
	assert_true(owner.set && owner.uid == 0 && owner.gid == 0);
	assert_int_equal(owner_parse("0:root", &owner, error, sizeof(error)), 0);
	assert_int_equal(owner_parse("root:7", &owner, error, sizeof(error)), 0);
	assert_int_equal(owner.gid, 7);
	assert_int_equal(owner_parse("4000000001", &owner, error, sizeof(error)), 0);
	assert_true(owner.uid == 4000000001 && owner.gid == 4000000001);
	owner.uid = 5;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		error[0] = '\0';
		assert_int_equal(owner_parse(bad[i], &owner, error, sizeof(error)), -EINVAL);
		assert_true(error[0] != '\0');
		assert_int_equal(owner.uid, 5);
	}
}

#define FILE_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knows_event_sources),
		cmocka_unit_test(has_defaults),
		FILE_TEST(reads_a_file),
		FILE_TEST(reads_long_lists),
		FILE_TEST(refuses_files),
		FILE_TEST(refuses_long_and_broken_lines),
		FILE_TEST(refuses_what_cannot_be_read),
		FILE_TEST(the_command_line_comes_on_top),
		cmocka_unit_test(parses_durations),
		cmocka_unit_test(parses_owners),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

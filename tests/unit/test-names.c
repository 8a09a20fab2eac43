/* Sanitising of labels, and names that stay the same whatever the order of plugging. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "base/log.h"
#include "device/names.h"
#include "device/names_store.h"
#include "device/names_text.h"
#include "hostile-labels.h"

static void assert_sanitized(const char *label, const char *expected)
{
	char name[LIMIT_NAME + 1];

	name_sanitize(label, name);
	assert_string_equal(name, expected);
}

static void keeps_what_is_fine(void **state)
{
	(void)state;
	assert_sanitized("BACKUP", "BACKUP");
	assert_sanitized("My Disk (2)", "My Disk (2)");
	assert_sanitized("-rf", "-rf");
	assert_sanitized("a.b..", "a.b..");
	assert_sanitized("\xd7\xa9\xd7\x9c", "\xd7\xa9\xd7\x9c");
	assert_sanitized("\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80");
	assert_sanitized("a\xc2\xa0z", "a\xc2\xa0z");
}

static void replaces_what_is_not(void **state)
{
	(void)state;
	assert_sanitized("a/b\\c", "a_b_c");
	assert_sanitized("\x01\x1f\x7f\xc2\x80", "____");
	assert_sanitized("x\n", "x_");
	assert_sanitized("\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd");
	assert_sanitized("a\xe2\x82", "a\xef\xbf\xbd\xef\xbf\xbd");
	assert_sanitized("\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
	assert_sanitized("\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
	assert_sanitized("M\xfcller", "M\xef\xbf\xbdller");
	assert_sanitized("x\xe2\x80\xae"
			 "fdp.exe",
			 "xfdp.exe");
	assert_sanitized("\xef\xbb\xbf"
			 "bom",
			 "bom");
}

static void cuts_the_ends(void **state)
{
	(void)state;
	assert_sanitized("  ..x  ", "x");
	assert_sanitized(". . .x.", "x.");
	assert_sanitized("\xc2\xa0\xe3\x80\x80x\xc2\xa0 ", "x");
	assert_sanitized("\xe2\x80\x8b..\xe2\x80\x8b/", "_");
	assert_sanitized("..", "");
	assert_sanitized(" \xe2\x80\x8b ", "");
	assert_sanitized("", "");
}

static void cuts_at_a_character(void **state)
{
	char label[1000];
	char name[LIMIT_NAME + 1];

	(void)state;
	for (size_t start = 0; start < 4; start++) {
		size_t n = start;

		memset(label, 'x', start);
		while (n + 4 < sizeof(label)) {
			memcpy(label + n, "\xf0\x9f\x98\x80", 4);
			n += 4;
		}
		label[n] = '\0';
		name_sanitize(label, name);
		assert_in_range(strlen(name), LIMIT_NAME - NAME_SUFFIX_MAX - 3,
				LIMIT_NAME - NAME_SUFFIX_MAX);
		assert_memory_equal(name + strlen(name) - 4, "\xf0\x9f\x98\x80", 4);
	}
	/* blanks before the cut do not stay at the end */
	memset(label, ' ', sizeof(label));
	label[0] = 'x';
	label[sizeof(label) - 1] = '\0';
	assert_sanitized(label, "x");
}

static void falls_back(void **state)
{
	char name[LIMIT_NAME + 1];

	(void)state;
	name_base("w", "l", "u", "sdb1", name);
	assert_string_equal(name, "w");
	name_base(NULL, "l", "u", "sdb1", name);
	assert_string_equal(name, "l");
	name_base("", "..", "1234-ABCD", "sdb1", name);
	assert_string_equal(name, "1234-ABCD");
	name_base("", "", "", "sdb1", name);
	assert_string_equal(name, "usbhd-sdb1");
	name_base("", "", "", "cciss!c0d0", name);
	assert_string_equal(name, "usbhd-cciss!c0d0");
}

static void assert_safe(const char *name)
{
	char again[LIMIT_NAME + 1];

	assert_in_range(strlen(name), 1, LIMIT_NAME);
	assert_null(strpbrk(name, "/\\"));
	assert_true(name[0] != '.' && name[0] != ' ' && name[strlen(name) - 1] != ' ');
	for (const char *p = name; *p; p++)
		assert_true((unsigned char)*p >= 0x20 && *p != 0x7f);
	name_sanitize_to(name, again, LIMIT_NAME);
	assert_string_equal(name, again); /* valid UTF-8 too, and nothing left to do */
}

struct dir {
	char path[64];
	int fd;
};

static int setup(void **state)
{
	struct dir *dir = calloc(1, sizeof(*dir));

	assert_non_null(dir);
	(void)STR_COPY(dir->path, "/tmp/hotplugfs-names-XXXXXX");
	assert_non_null(mkdtemp(dir->path));
	dir->fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(dir->fd >= 0);
	*state = dir;
	return 0;
}

static int teardown(void **state)
{
	static const char *const files[] = {"names", "names.new", "names.bad"};
	struct dir *dir = *state;

	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		(void)unlinkat(dir->fd, files[i], 0);
	close(dir->fd);
	assert_int_equal(rmdir(dir->path), 0);
	free(dir);
	return 0;
}

static struct names *open_names(const char *path)
{
	struct names *names = NULL;

	assert_int_equal(names_new(path, &names), 0);
	return names;
}

static const char *assign(struct names *names, const char *base, const char *identity)
{
	static char name[LIMIT_NAME + 1];

	assert_int_equal(names_assign(names, base, identity, name), 0);
	return name;
}

static bool file_exists(const struct dir *dir, const char *name)
{
	return faccessat(dir->fd, name, F_OK, 0) == 0;
}

static void uncontested_names_are_not_remembered(void **state)
{
	const struct dir *dir = *state;
	struct names *names = open_names(dir->path);

	assert_string_equal(assign(names, "BACKUP", "A"), "BACKUP");
	names_release(names, "BACKUP");
	assert_string_equal(assign(names, "BACKUP", "B"), "BACKUP");
	names_release(names, "nobody has this");
	assert_false(file_exists(dir, "names"));
	names_free(names);
}

static void contested_names_stay(void **state)
{
	const struct dir *dir = *state;
	struct names *names = open_names(dir->path);
	char loser[LIMIT_NAME + 1];

	assert_string_equal(assign(names, "BACKUP", "A"), "BACKUP");
	(void)STR_COPY(loser, assign(names, "BACKUP", "B"));
	assert_int_equal(strlen(loser), strlen("BACKUP-abcdef"));
	assert_memory_equal(loser, "BACKUP-", 7);
	/* each alone, in any order, and after a restart */
	names_release(names, "BACKUP");
	names_release(names, loser);
	assert_string_equal(assign(names, "BACKUP", "B"), loser);
	names_release(names, loser);
	names_free(names);
	names = open_names(dir->path);
	assert_string_equal(assign(names, "BACKUP", "B"), loser);
	assert_string_equal(assign(names, "BACKUP", "A"), "BACKUP");
	/* a third comes when the owner is away */
	names_release(names, "BACKUP");
	assert_memory_equal(assign(names, "BACKUP", "C"), "BACKUP-", 7);
	assert_string_equal(assign(names, "BACKUP", "A"), "BACKUP");
	names_free(names);
}

static void copies_get_a_number(void **state)
{
	const struct dir *dir = *state;
	struct names *names = open_names(dir->path);
	char second[LIMIT_NAME + 1], other[LIMIT_NAME + 1], copy[LIMIT_NAME + 1];

	assert_string_equal(assign(names, "BACKUP", "A"), "BACKUP");
	(void)STR_COPY(second, assign(names, "BACKUP", "A"));
	assert_string_equal(second + strlen(second) - 2, "-2");
	assert_false(file_exists(dir, "names"));
	assert_string_equal(assign(names, "BACKUP", "A") + strlen(second) - 2, "-3");
	/* the copy of a loser too */
	(void)STR_COPY(other, assign(names, "BACKUP", "B"));
	(void)STR_COPY(copy, assign(names, "BACKUP", "B"));
	assert_memory_equal(copy, other, strlen(other));
	assert_string_equal(copy + strlen(other), "-2");
	names_release(names, other);
	assert_string_equal(assign(names, "BACKUP", "B"), other);
	names_free(names);
}

static void labels_that_look_like_suffixes(void **state)
{
	const struct dir *dir = *state;
	struct names *names = open_names(dir->path);
	char loser[LIMIT_NAME + 1], hostile[LIMIT_NAME + 1];

	assert_string_equal(assign(names, "BACKUP", "A"), "BACKUP");
	(void)STR_COPY(loser, assign(names, "BACKUP", "B"));
	/* it comes while the name is held, and alone after a restart */
	(void)STR_COPY(hostile, assign(names, loser, "evil"));
	assert_string_not_equal(hostile, loser);
	names_free(names);
	names = open_names(dir->path);
	assert_string_equal(assign(names, loser, "evil"), hostile);
	assert_string_equal(assign(names, "BACKUP", "B"), loser);
	names_free(names);
	/* it comes first */
	(void)unlinkat(dir->fd, "names", 0);
	names = open_names(dir->path);
	assert_string_equal(assign(names, loser, "evil"), loser);
	assert_string_equal(assign(names, "BACKUP", "A"), "BACKUP");
	(void)STR_COPY(hostile, assign(names, "BACKUP", "B"));
	assert_string_not_equal(hostile, loser);
	names_free(names);
	names = open_names(dir->path);
	assert_string_equal(assign(names, "BACKUP", "B"), hostile);
	assert_string_equal(assign(names, loser, "evil"), loser);
	names_free(names);
}

/* Every hostile label twice, on two disks, plugged in three orders. */
static void hostile_labels_get_safe_stable_names(void **state)
{
	enum {
		COUNT = 2 * ARRAY_SIZE(hostile_labels)
	};
	static char first[COUNT][LIMIT_NAME + 1];
	const struct dir *dir = *state;
	struct names *names = open_names(dir->path);

	assert_true(ARRAY_SIZE(hostile_labels) >= 200);
	for (unsigned round = 0; round < 3; round++) {
		for (size_t k = 0; k < COUNT; k++) {
			size_t i = round == 0 ? k : round == 1 ? COUNT - 1 - k : k * 7 % COUNT;
			char base[LIMIT_NAME + 1], identity[32], name[LIMIT_NAME + 1];

			if (round == 2 && COUNT % 7 == 0)
				i = k;
			name_base("", hostile_labels[i / 2], "", "sdb1", base);
			assert_safe(base);
			(void)snprintf(identity, sizeof(identity), "disk %zu", i);
			(void)STR_COPY(name, assign(names, base, identity));
			assert_safe(name);
			if (round > 0)
				assert_string_equal(name, first[i]);
			(void)STR_COPY(first[i], name);
		}
		for (size_t i = 0; round == 0 && i < COUNT; i++)
			for (size_t j = 0; j < i; j++)
				assert_string_not_equal(first[i], first[j]);
		names_free(names);
		names = open_names(dir->path);
	}
	names_free(names);
}

static void the_memory_is_bounded(void **state)
{
	const struct dir *dir = *state;
	struct names *names = open_names(dir->path);
	struct list records = LIST_INIT(records);
	size_t count = 0;

	for (unsigned i = 0; i < LIMIT_NAME_RECORDS; i++) {
		char base[32], name[LIMIT_NAME + 1];

		(void)snprintf(base, sizeof(base), "disk %u", i);
		(void)assign(names, base, "A");
		(void)STR_COPY(name, assign(names, base, "B"));
		names_release(names, base);
		names_release(names, name);
	}
	names_free(names);
	assert_int_equal(names_store_load(dir->fd, &records), 0);
	list_for_each (it, &records)
		count++;
	assert_int_equal(count, LIMIT_NAME_RECORDS);
	assert_string_equal(CONTAINER_OF(records.prev, struct name_record, link)->base,
			    "disk 1023");
	names_store_free(&records);
}

static void put_file(const struct dir *dir, const char *text, size_t length)
{
	_cleanup_close_ int fd = openat(dir->fd, "names", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
					0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, length), (ssize_t)length);
}

static void damaged_files_are_moved_aside(void **state)
{
	static const char *const damaged[] = {
		"",
		"hotplugfs-names 1\n",
		"hotplugfs-names 1\na a i\n",
		"hotplugfs-names 1\na a i\nend 2\n",
		"hotplugfs-names 1\na a i\nend 1",
		"hotplugfs-names 2\na a i\nend 1\n",
		"hotplugfs-names 1\na a\nend 1\n",
		"hotplugfs-names 1\na a i x\nend 1\n",
		"hotplugfs-names 1\na %2e%2e i\nend 1\n",
		"hotplugfs-names 1\na ..%2fx i\nend 1\n",
		"hotplugfs-names 1\na ../x i\nend 1\n",
		"hotplugfs-names 1\na %00 i\nend 1\n",
		"hotplugfs-names 1\na %4 i\nend 1\n",
		"hotplugfs-names 1\na %zz i\nend 1\n",
		"hotplugfs-names 1\n  \nend 1\n",
		"\xff\xff\xff",
	};
	const struct dir *dir = *state;

	for (size_t i = 0; i < ARRAY_SIZE(damaged); i++) {
		struct names *names;

		(void)unlinkat(dir->fd, "names.bad", 0);
		put_file(dir, damaged[i], strlen(damaged[i]));
		names = open_names(dir->path);
		assert_true(file_exists(dir, "names.bad"));
		assert_false(file_exists(dir, "names"));
		assert_string_equal(assign(names, "a", "j"), "a");
		names_free(names);
	}
}

/* A file cut at any byte is either whole or moved aside, never half. */
static void files_cut_short_are_noticed(void **state)
{
	const struct dir *dir = *state;
	struct names *names = open_names(dir->path);
	struct list records = LIST_INIT(records);
	char text[1000];
	ssize_t n;

	(void)assign(names, "BACKUP % \xf0\x9f\x98\x80", "A");
	(void)assign(names, "BACKUP % \xf0\x9f\x98\x80", "B");
	names_free(names);
	int fd = openat(dir->fd, "names", O_RDONLY | O_CLOEXEC);
	n = read(fd, text, sizeof(text));
	close(fd);
	assert_true(n > 0);
	for (ssize_t cut = 0; cut < n; cut++) {
		put_file(dir, text, (size_t)cut);
		assert_int_equal(names_store_load(dir->fd, &records), -EBADMSG);
		assert_true(list_empty(&records));
	}
	put_file(dir, text, (size_t)n);
	assert_int_equal(names_store_load(dir->fd, &records), 0);
	assert_string_equal(CONTAINER_OF(records.next, struct name_record, link)->name,
			    "BACKUP % \xf0\x9f\x98\x80");
	names_store_free(&records);
}

static void works_without_a_directory(void **state)
{
	struct names *names = open_names("/proc/no-such-directory/names");

	(void)state;
	assert_string_equal(assign(names, "a", "i"), "a");
	assert_string_not_equal(assign(names, "a", "j"), "a");
	names_free(names);
	names = open_names("");
	assert_string_equal(assign(names, "a", "i"), "a");
	names_free(names);
	names = open_names(NULL);
	names_free(names);
	assert_null(names_free(NULL));
}

#define DIR_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_what_is_fine),
		cmocka_unit_test(replaces_what_is_not),
		cmocka_unit_test(cuts_the_ends),
		cmocka_unit_test(cuts_at_a_character),
		cmocka_unit_test(falls_back),
		DIR_TEST(uncontested_names_are_not_remembered),
		DIR_TEST(contested_names_stay),
		DIR_TEST(copies_get_a_number),
		DIR_TEST(labels_that_look_like_suffixes),
		DIR_TEST(hostile_labels_get_safe_stable_names),
		DIR_TEST(the_memory_is_bounded),
		DIR_TEST(damaged_files_are_moved_aside),
		DIR_TEST(files_cut_short_are_noticed),
		cmocka_unit_test(works_without_a_directory),
	};

	log_set_level(LOG_LEVEL_ERR); /* the damage is on purpose */
	return cmocka_run_group_tests(tests, NULL, NULL);
}

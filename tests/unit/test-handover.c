/* The record that one program leaves to the next: whole, damaged, and of other programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

#include "daemon/handover.h"
#include "daemon/server.h"

static struct medium *medium_make(void)
{
	struct medium *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->id = 7;
	m->state = MEDIUM_DIRTY;
	m->view = MEDIUM_VISIBLE;
	m->driver = driver_find("ext4");
	m->root_fd = -EBADF;
	m->dev.size_bytes = 1ULL << 45;
	m->dev.devnum = 0x801;
	m->decision.owner.uid = UINT32_MAX;
	m->appeared_s = 1767225600;
	m->unsynced = true;
	(void)STR_COPY(m->name, "STICK");
	(void)STR_COPY(m->base, "STICK");
	(void)STR_COPY(m->probe.fstype, "ext4");
	(void)STR_COPY(m->probe.label, "bad \xff\xc0 \"\\\n\x01 label");
	return m;
}

/* A record as the daemon writes it, with one medium. */
static struct handover *handover_make(const struct medium *m)
{
	struct handover *h;

	assert_int_equal(handover_new(&h), 0);
	(void)STR_COPY(h->version, "0.0");
	(void)STR_COPY(h->mountpoint, "/media with \"quotes\"");
	server_state_layout(h->state, sizeof(h->state));
	staging_protocol(h->staging, sizeof(h->staging));
	h->fuse_fd = 12;
	h->events_fd = -EBADF;
	h->last_id = 4000;
	assert_int_equal(handover_leave_fd(h, 12), 0);
	assert_int_equal(handover_leave_fd(h, -EBADF), 0);
	assert_int_equal(handover_leave_command_line(h), 0);
	if (m)
		assert_int_equal(handover_leave_medium(h, m), 0);
	return h;
}

static void test_round_trip(void **state)
{
	struct medium *m = medium_make();
	struct medium *back = calloc(1, sizeof(*back));
	struct handover *h = handover_make(m);
	struct handover *read = NULL;
	const char **argv;
	char error[256];
	int fd = handover_write(h);

	assert_true(fd >= 0);
	assert_int_equal(handover_read(fd, &read, error, sizeof(error)), 0);
	assert_string_equal(read->mountpoint, h->mountpoint);
	assert_int_equal(read->fuse_fd, 12);
	assert_int_equal(read->events_fd, -EBADF);
	assert_int_equal(read->last_id, 4000);
	assert_int_equal(json_object_array_length(read->fds), 1);
	argv = handover_command_line(read);
	assert_non_null(strstr(argv[0], "test-handover"));
	free(argv);

	assert_int_equal(handover_take_medium(json_object_array_get_idx(read->media, 0), back,
					      error, sizeof(error)),
			 0);
	assert_memory_equal(back, m, sizeof(*m));
	free(m);
	free(back);
	handover_free(h);
	handover_free(read);
	(void)close(fd);
}

/* Nobody changes it on its way. */
static void test_sealed(void **state)
{
	struct handover *h = handover_make(NULL);
	int fd = handover_write(h);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	handover_free(h);
	(void)close(fd);
}

static int read_text(const char *text, size_t len)
{
	struct handover *h = NULL;
	char error[256] = "";
	int fd = memfd_create("record", MFD_CLOEXEC);
	int r;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), (ssize_t)len);
	r = handover_read(fd, &h, error, sizeof(error));
	assert_true((r == 0) == (error[0] == '\0'));
	assert_true((r == 0) == (h != NULL));
	assert_null(strchr(error, '\n'));
	handover_free(h);
	(void)close(fd);
	return r;
}

/* The record's object as it is after a change, with a header that fits. */
static int read_object(const char *json)
{
	char text[32768];
	int n = snprintf(text, sizeof(text), "hotplugfs-handover %d %zu\n%s", HANDOVER_FORMAT,
			 strlen(json), json);

	assert_true(n > 0 && n < (int)sizeof(text));
	return read_text(text, (size_t)n);
}

#define TEXT_OF(number) #number
#define TEXT(number)	TEXT_OF(number)
#define HEADER		"hotplugfs-handover " TEXT(HANDOVER_FORMAT)

static void test_damaged_header(void **state)
{
	static const char *const texts[] = {
		"",
		"\n",
		"{}",
		"hotplugfs-handover",
		HEADER "\n",
		HEADER " 5\n{}",
		HEADER " 1\n{}",
		HEADER " 2\n[]",
		HEADER " 2\n{}",
		HEADER " 0\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_int_equal(read_text(texts[i], strlen(texts[i])), -EBADMSG);
	assert_int_equal(read_text("hotplugfs-handover 999 2\n{}", 27), -EPROTONOSUPPORT);
}

/* Each member that is missing, or of another type, is noticed; one that is not known is not. */
static void test_each_member(void **state)
{
	struct medium *m = medium_make();
	struct handover *h = handover_make(m);
	struct json_object *copy = NULL;
	int fd = handover_write(h);

	assert_true(fd >= 0);
	assert_int_equal(read_object(json_object_to_json_string(h->record)), 0);
	json_object_object_foreach (h->record, name, value) {
		(void)value;
		copy = NULL;
		assert_int_equal(json_object_deep_copy(h->record, &copy, NULL), 0);
		json_object_object_del(copy, name);
		assert_true(read_object(json_object_to_json_string(copy)) < 0);
		json_object_object_add(copy, name, json_object_new_double(0.5));
		assert_true(read_object(json_object_to_json_string(copy)) < 0);
		json_object_put(copy);
	}
	json_object_object_add(h->record, "future", json_object_new_string("x"));
	assert_int_equal(read_object(json_object_to_json_string(h->record)), 0);
	handover_free(h);
	free(m);
	(void)close(fd);
}

static void expect_refused(struct handover *h, const char *name, struct json_object *value)
{
	struct json_object *medium;
	struct json_object *copy = NULL;

	assert_int_equal(json_object_deep_copy(h->record, &copy, NULL), 0);
	medium = json_object_array_get_idx(json_object_object_get(copy, "media"), 0);
	json_object_object_add(medium, name, value);
	assert_true(read_object(json_object_to_json_string(copy)) < 0);
	json_object_put(copy);
}

static void test_medium_members(void **state)
{
	struct medium *m = medium_make();
	struct handover *h = handover_make(m);
	char long_text[300];
	int fd = handover_write(h);

	assert_true(fd >= 0);
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	expect_refused(h, "id", json_object_new_int(0));
	expect_refused(h, "id", json_object_new_int(LIMIT_MEDIA + 1));
	expect_refused(h, "id", json_object_new_int64(1LL << 40));
	expect_refused(h, "state", json_object_new_int(MEDIUM_MOUNTING));
	expect_refused(h, "state", json_object_new_int(99));
	expect_refused(h, "view", json_object_new_int(MEDIUM_APPEARING));
	expect_refused(h, "name", json_object_new_string(""));
	expect_refused(h, "name", json_object_new_string(long_text));
	expect_refused(h, "label", json_object_new_string_len("a\0b", 3));
	expect_refused(h, "label", NULL);
	expect_refused(h, "driver", json_object_new_string("zfs"));
	expect_refused(h, "probed", json_object_new_string("yes"));
	handover_free(h);
	free(m);
	(void)close(fd);
}

/* What lives on is to be detached when the disk is pulled, which takes its driver. */
static void test_ejected_without_driver(void **state)
{
	struct medium *m = medium_make();
	struct handover *h;
	struct json_object *object;

	m->state = MEDIUM_EJECTED;
	m->view = MEDIUM_ABSENT;
	m->name[0] = '\0';
	h = handover_make(m);
	object = json_object_array_get_idx(h->media, 0);
	assert_int_equal(handover_pack(h), 0);
	json_object_object_add(object, "driver", json_object_new_string("zfs"));
	assert_int_equal(read_object(json_object_to_json_string(h->record)), 0);
	expect_refused(h, "umount_err", json_object_new_int(-EBUSY));
	handover_free(h);
	free(m);
}

static void test_other_layouts(void **state)
{
	struct handover *h = handover_make(NULL);
	char error[256];
	struct handover *read = NULL;
	int fd;

	h->state[0]++;
	fd = handover_write(h);
	assert_int_equal(handover_read(fd, &read, error, sizeof(error)), -EPROTONOSUPPORT);
	(void)close(fd);
	handover_free(h);

	h = handover_make(NULL);
	h->staging[0]++;
	fd = handover_write(h);
	assert_int_equal(handover_read(fd, &read, error, sizeof(error)), -EPROTONOSUPPORT);
	(void)close(fd);
	handover_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_sealed),
		cmocka_unit_test(test_damaged_header),
		cmocka_unit_test(test_each_member),
		cmocka_unit_test(test_medium_members),
		cmocka_unit_test(test_other_layouts),
		cmocka_unit_test(test_ejected_without_driver),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

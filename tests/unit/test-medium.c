/* The states of a medium, what follows from what, and when a device is another one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "daemon/medium.h"
#include "daemon/medium_json.h"
#include "daemon/registry.h"

static void test_life(void **state)
{
	static const enum medium_state life[] = {
		MEDIUM_HIDDEN,	   MEDIUM_IDLE,	      MEDIUM_MOUNTING, MEDIUM_CLEAN,
		MEDIUM_BUSY,	   MEDIUM_DIRTY,      MEDIUM_CLEAN,    MEDIUM_CLOSING,
		MEDIUM_CLEAN,	   MEDIUM_CLOSING,    MEDIUM_BUSY,     MEDIUM_DIRTY,
		MEDIUM_CLOSING,	   MEDIUM_UNMOUNTING, MEDIUM_CLEAN,    MEDIUM_CLOSING,
		MEDIUM_UNMOUNTING, MEDIUM_IDLE,	      MEDIUM_MOUNTING, MEDIUM_FAILED,
		MEDIUM_MOUNTING,   MEDIUM_DIRTY,      MEDIUM_EJECTING, MEDIUM_EJECTED,
		MEDIUM_REMOVED,
	};
	struct medium m = {.state = MEDIUM_NEW};

	for (size_t i = 0; i < ARRAY_SIZE(life); i++) {
		assert_true(medium_may_become(m.state, life[i]));
		medium_set_state(&m, life[i]);
		assert_int_equal(m.state, life[i]);
	}
}

static void test_everything_can_be_removed_and_nothing_comes_back(void **state)
{
	for (int s = 0; s < MEDIUM_STATE_COUNT; s++) {
		assert_int_equal(medium_may_become(s, MEDIUM_REMOVED), s != MEDIUM_REMOVED);
		assert_false(medium_may_become(MEDIUM_REMOVED, s));
		assert_false(medium_may_become(s, MEDIUM_NEW));
	}
}

/* A filesystem is mounted only by a mount job, and hidden only when it is not mounted. */
static void test_forbidden(void **state)
{
	assert_false(medium_may_become(MEDIUM_IDLE, MEDIUM_CLEAN));
	assert_false(medium_may_become(MEDIUM_NEW, MEDIUM_MOUNTING));
	assert_false(medium_may_become(MEDIUM_HIDDEN, MEDIUM_MOUNTING));
	assert_false(medium_may_become(MEDIUM_EJECTED, MEDIUM_IDLE));
	assert_false(medium_may_become(MEDIUM_EJECTED, MEDIUM_MOUNTING));
	assert_false(medium_may_become(MEDIUM_CLEAN, MEDIUM_IDLE));
	assert_false(medium_may_become(MEDIUM_CLEAN, MEDIUM_HIDDEN));
	assert_false(medium_may_become(MEDIUM_BUSY, MEDIUM_UNMOUNTING));
	assert_false(medium_may_become(MEDIUM_DIRTY, MEDIUM_IDLE));
}

static void test_words(void **state)
{
	struct medium m = {.state = MEDIUM_CLOSING};

	assert_string_equal(medium_state_name(&m), "clean");
	m.written = true;
	assert_string_equal(medium_state_name(&m), "dirty");
	m.state = MEDIUM_UNMOUNTING;
	m.written = false;
	m.unsynced = true;
	assert_string_equal(medium_state_name(&m), "dirty");
	m.state = MEDIUM_IDLE;
	assert_string_equal(medium_state_name(&m), "idle");
	m.state = MEDIUM_EJECTING;
	assert_string_equal(medium_state_name(&m), "ejecting");
}

static void test_state_from_counts(void **state)
{
	struct medium m = {.state = MEDIUM_CLEAN};

	assert_int_equal(medium_mounted_state(&m), MEDIUM_CLEAN);
	m.openers = 3;
	assert_int_equal(medium_mounted_state(&m), MEDIUM_CLEAN);
	m.writers = 1;
	assert_int_equal(medium_mounted_state(&m), MEDIUM_BUSY);
	m.written = true;
	assert_int_equal(medium_mounted_state(&m), MEDIUM_BUSY);
	m.writers = 0;
	assert_int_equal(medium_mounted_state(&m), MEDIUM_DIRTY);
	m.written = false;
	m.unsynced = true;
	assert_int_equal(medium_mounted_state(&m), MEDIUM_DIRTY);
}

static void test_same_device(void **state)
{
	const struct blockdev disk = {
		.devnum = 1, .diskseq = 7, .size_bytes = 100, .hwid = "serial"};
	const struct blockdev part = {.devnum = 2,
				      .diskseq = 7,
				      .partno = 1,
				      .start_sector = 64,
				      .size_bytes = 50,
				      .hwid = "serial/1"};
	struct blockdev other = disk;

	assert_true(medium_same_device(&disk, &other));
	other.size_bytes = 200; /* grown */
	assert_true(medium_same_device(&disk, &other));
	other.size_bytes = 0; /* card taken out */
	assert_false(medium_same_device(&disk, &other));
	other = disk;
	other.diskseq = 8;
	assert_false(medium_same_device(&disk, &other));
	other = disk;
	(void)STR_COPY(other.hwid, "another");
	assert_false(medium_same_device(&disk, &other));
	other = part;
	assert_true(medium_same_device(&part, &other));
	other.start_sector = 128;
	assert_false(medium_same_device(&part, &other));
	other = part;
	other.size_bytes = 60;
	assert_false(medium_same_device(&part, &other));
}

static void test_same_content(void **state)
{
	const struct probe_result a = {.fstype = "ext4", .uuid = "1", .label = "A"};
	struct probe_result b = a;

	b.fs_free_bytes = 1;
	assert_true(medium_same_content(&a, &b));
	(void)STR_COPY(b.label, "B");
	assert_false(medium_same_content(&a, &b));
}

static void test_ids_go_round(void **state)
{
	struct registry *registry = calloc(1, sizeof(*registry));
	const struct blockdev dev = {.kname = "loop9"};
	struct medium *first;
	struct medium *m;

	assert_int_equal(registry_add(registry, &dev, &first), 0);
	assert_int_equal(first->id, 1);
	assert_ptr_equal(registry_find_device(registry, "loop9"), first);
	registry_drop(registry, first);
	assert_null(registry_find(registry, 1));
	for (uint32_t i = 0; i < LIMIT_MEDIA; i++)
		assert_int_equal(registry_add(registry, &dev, &m), 0);
	assert_int_equal(m->id, 1); /* the last that was given out again */
	assert_int_equal(registry_add(registry, &dev, &m), -ENOSPC);
	assert_null(registry_find(registry, 0));
	assert_null(registry_find(registry, LIMIT_MEDIA + 1));
	assert_null(registry_find(registry, UINT32_MAX));
	registry_for_each (each, registry)
		registry_drop(registry, each);
	assert_int_equal(registry->count, 0);
	free(registry);
}

static void test_removed_ones_are_not_found(void **state)
{
	struct registry *registry = calloc(1, sizeof(*registry));
	const struct blockdev dev = {.kname = "sda1"};
	struct medium *old;
	struct medium *new;

	assert_int_equal(registry_add(registry, &dev, &old), 0);
	old->state = MEDIUM_REMOVED;
	assert_null(registry_find_device(registry, "sda1"));
	assert_int_equal(registry_add(registry, &dev, &new), 0);
	assert_ptr_equal(registry_find_device(registry, "sda1"), new);
	(void)STR_COPY(new->name, "STICK");
	assert_null(registry_find_visible(registry, "STICK"));
	new->view = MEDIUM_VISIBLE;
	assert_ptr_equal(registry_find_visible(registry, "STICK"), new);
	registry_drop(registry, old);
	registry_drop(registry, new);
	free(registry);
}

static void test_text_to_utf8(void **state)
{
	static const struct {
		const char *in;
		const char *out;
	} cases[] = {
		{"", ""},
		{"plain", "plain"},
		{"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
		{"a\xff"
		 "b",
		 "a\xef\xbf\xbd"
		 "b"},
		{"\xc3", "\xef\xbf\xbd"},
		{"\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd"},
		{"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},		  /* overlong */
		{"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* surrogate */
		{"\xf5\x80", "\xef\xbf\xbd\xef\xbf\xbd"},
		{"\x01\x7f", "\x01\x7f"},
	};
	char out[64];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		text_to_utf8(cases[i].in, out);
		assert_string_equal(out, cases[i].out);
	}
}

static void test_json_of_a_hostile_medium(void **state)
{
	struct medium m = {.state = MEDIUM_CLEAN,
			   .view = MEDIUM_VISIBLE,
			   .name = "A\"B\\",
			   .total_bytes = 10,
			   .free_bytes = 4};
	struct json_object *object;

	(void)STR_COPY(m.probe.label, "\xff\n\"");
	object = medium_to_json(&m, true);
	assert_non_null(object);
	assert_string_equal(json_object_get_string(json_object_object_get(object, "name")),
			    "A\"B\\");
	assert_string_equal(json_object_get_string(json_object_object_get(object, "label")),
			    "\xef\xbf\xbd\n\"");
	assert_int_equal(json_object_get_int64(json_object_object_get(object, "used_bytes")), 6);
	json_object_put(object);
	m.state = MEDIUM_IDLE;
	m.view = MEDIUM_ABSENT;
	object = medium_to_json(&m, true);
	assert_null(json_object_object_get(object, "used_bytes"));
	assert_null(json_object_object_get(object, "name"));
	json_object_put(object);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_everything_can_be_removed_and_nothing_comes_back),
		cmocka_unit_test(test_forbidden),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_state_from_counts),
		cmocka_unit_test(test_same_device),
		cmocka_unit_test(test_same_content),
		cmocka_unit_test(test_ids_go_round),
		cmocka_unit_test(test_removed_ones_are_not_found),
		cmocka_unit_test(test_text_to_utf8),
		cmocka_unit_test(test_json_of_a_hostile_medium),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The hash index: chains in records that live elsewhere, heads that grow and shrink. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "fs/index.h"

#define RECORDS 20000

struct records {
	struct hash_index index;
	struct {
		uint64_t key;
		uint32_t next;
		bool in;
	} at[RECORDS];
};

static uint32_t *record_next(void *owner, uint32_t id)
{
	return &((struct records *)owner)->at[id].next;
}

static uint64_t record_hash(void *owner, uint32_t id)
{
	return hash_mix(((struct records *)owner)->at[id].key);
}

/* Everything in one chain. */
static uint64_t same_hash(void *owner, uint32_t id)
{
	return 4711;
}

static int setup(void **state)
{
	struct records *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->index = (struct hash_index){.next = record_next, .hash = record_hash, .owner = r};
	for (uint32_t i = 0; i < RECORDS; i++)
		r->at[i].key = i / 2; /* each key twice */
	assert_int_equal(index_init(&r->index), 0);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct records *r = *state;

	index_done(&r->index);
	assert_null(r->index.heads);
	free(r);
	return 0;
}

static void put(struct records *r, uint32_t id)
{
	index_insert(&r->index, id);
	r->at[id].in = true;
}

static void take(struct records *r, uint32_t id)
{
	index_remove(&r->index, id);
	r->at[id].in = false;
}

static bool has(struct records *r, uint32_t id)
{
	uint32_t i = index_first(&r->index, r->index.hash(r, id));

	while (i != INDEX_NONE && i != id)
		i = *record_next(r, i);
	return i == id;
}

/* Each record is in exactly the chain of its hash, once, and nothing else is. */
static void check(struct records *r)
{
	uint32_t seen = 0;
	uint32_t in = 0;

	for (uint32_t h = 0; h < r->index.size; h++) {
		for (uint32_t i = r->index.heads[h]; i != INDEX_NONE; i = *record_next(r, i)) {
			assert_true(i < RECORDS && r->at[i].in);
			assert_int_equal(r->index.hash(r, i) & (r->index.size - 1), h);
			assert_true(++seen <= RECORDS);
		}
	}
	for (uint32_t i = 0; i < RECORDS; i++) {
		in += r->at[i].in;
		assert_int_equal(has(r, i), r->at[i].in);
	}
	assert_int_equal(seen, in);
	assert_int_equal(r->index.count, in);
}

static void empty_at_first(void **state)
{
	struct records *r = *state;

	check(r);
	index_remove(&r->index, 5);
	check(r);
}

static void keeps_records_with_one_key_apart(void **state)
{
	struct records *r = *state;

	put(r, 0);
	put(r, 1);
	put(r, 2);
	check(r);
	take(r, 1);
	check(r);
	index_remove(&r->index, 1); /* a second time: it is not there */
	check(r);
	put(r, 1);
	check(r);
}

static void removes_at_the_ends_of_a_chain(void **state)
{
	struct records *r = *state;
	static const uint32_t order[] = {9, 0, 4, 5, 1, 8, 3, 2, 6, 7};

	r->index.hash = same_hash;
	for (uint32_t i = 0; i < 10; i++)
		put(r, i);
	for (uint32_t i = 0; i < 10; i++) {
		take(r, order[i]);
		check(r);
	}
}

static void heads_grow_and_shrink(void **state)
{
	struct records *r = *state;
	uint32_t smallest = r->index.size;

	for (uint32_t i = 0; i < RECORDS; i++) {
		put(r, i);
		assert_true(r->index.count <= 2 * r->index.size);
	}
	check(r);
	assert_true(r->index.size >= RECORDS / 2);
	for (uint32_t i = 0; i < RECORDS; i += 2)
		take(r, i);
	check(r);
	for (uint32_t i = 1; i < RECORDS; i += 2) {
		take(r, i);
		assert_true(r->index.size <= MAX(smallest, 4 * r->index.count));
	}
	check(r);
	assert_int_equal(r->index.size, smallest);
}

/* At the border no single record makes it grow and shrink again and again. */
static void does_not_flutter(void **state)
{
	struct records *r = *state;
	uint32_t size;

	for (uint32_t i = 0; i < 4096; i++)
		put(r, i);
	put(r, 4096);
	size = r->index.size;
	for (uint32_t i = 0; i < 100; i++) {
		take(r, 4096);
		assert_int_equal(r->index.size, size);
		put(r, 4096);
		assert_int_equal(r->index.size, size);
	}
}

static void random_use(void **state)
{
	struct records *r = *state;
	unsigned long random = 7;

	for (uint32_t i = 0; i < 200000; i++) {
		uint32_t id;

		random = random * 6364136223846793005UL + 1442695040888963407UL;
		id = (uint32_t)(random >> 33) % (i % 40000 < 20000 ? RECORDS : 100);
		if (r->at[id].in)
			take(r, id);
		else
			put(r, id);
		if (i % 20000 == 0)
			check(r);
	}
	check(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(empty_at_first, setup, teardown),
		cmocka_unit_test_setup_teardown(keeps_records_with_one_key_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(removes_at_the_ends_of_a_chain, setup, teardown),
		cmocka_unit_test_setup_teardown(heads_grow_and_shrink, setup, teardown),
		cmocka_unit_test_setup_teardown(does_not_flutter, setup, teardown),
		cmocka_unit_test_setup_teardown(random_use, setup, teardown),
	};

	return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}

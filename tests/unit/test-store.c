/* The records that outlive a server: taken, given back, and found again by the next one. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "fs/nodes.h"
#include "fs/store.h"

static void store_make(struct store *store)
{
	int fd = store_new_fd();

	assert_true(fd >= 0);
	assert_int_equal(store_open(fd, &nodes_layout, store), 0);
}

static void store_reopen(struct store *store)
{
	int fd = fcntl(store->fd, F_DUPFD_CLOEXEC, 3);

	store_close(store);
	assert_int_equal(store_open(fd, &nodes_layout, store), 0);
}

static int setup(void **state)
{
	struct store *store = calloc(1, sizeof(*store));

	assert_non_null(store);
	store_make(store);
	*state = store;
	return 0;
}

static int teardown(void **state)
{
	store_close(*state);
	free(*state);
	return 0;
}

static uint64_t memory(const struct store *store)
{
	struct stat st;

	assert_int_equal(fstat(store->fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

/* A record whose every byte behind the head depends on its index. */
static uint32_t record_make(struct slab *slab)
{
	unsigned char *at;
	uint32_t index;

	assert_int_equal(slab_alloc(slab, &index), 0);
	at = slab_at(slab, index);
	for (size_t i = 0; i < slab->record_size; i++)
		assert_int_equal(at[i], 0);
	memset(at + sizeof(struct slab_head), (int)(index % 251 + 1),
	       slab->record_size - sizeof(struct slab_head));
	slab_publish(slab, index, index + 1);
	return index;
}

static void record_check(const struct slab *slab, uint32_t index)
{
	const unsigned char *at = slab_find(slab, index);

	assert_ptr_equal(at, slab_at(slab, index));
	assert_int_equal(((const struct slab_head *)at)->live, index + 1);
	for (size_t i = sizeof(struct slab_head); i < slab->record_size; i++)
		if (at[i] != index % 251 + 1)
			fail_msg("record %u is damaged at byte %zu", index, i);
}

static void records_do_not_overlap(void **state)
{
	struct store *store = *state;

	for (int region = 0; region < STORE_REGIONS; region++) {
		struct slab *slab = &store->slabs[region];
		uint32_t n = 2 * slab->per_chunk + 5;

		for (uint32_t i = 0; i < n; i++)
			assert_int_equal(record_make(slab), i);
		assert_int_equal(slab->live, n);
		for (uint32_t i = 0; i < n; i++)
			record_check(slab, i);
	}
}

static void a_free_record_is_used_again(void **state)
{
	struct slab *slab = &((struct store *)*state)->slabs[STORE_NODES];
	uint32_t first = record_make(slab);
	uint32_t second = record_make(slab);

	slab_free(slab, first);
	assert_null(slab_find(slab, first));
	record_check(slab, second);
	assert_int_equal(record_make(slab), first);
	assert_int_equal(slab->live, 2);
	assert_int_equal(slab->chunk_count, 1);
}

/* The memory of empty chunks but one goes back, and no byte of their neighbours with it. */
static void empty_chunks_are_given_back(void **state)
{
	struct store *store = *state;

	for (int region = 0; region < STORE_REGIONS; region++) {
		struct slab *slab = &store->slabs[region];
		uint32_t n = 40 * slab->per_chunk;
		uint64_t before;
		uint64_t after;

		for (uint32_t i = 0; i < n; i++)
			(void)record_make(slab);
		before = memory(store);
		for (uint32_t i = 0; i < n; i++)
			if (i / slab->per_chunk % 2 == 0)
				slab_free(slab, i);
		after = memory(store);
		assert_int_equal(before - after, 19 * slab->chunk_size);
		for (uint32_t i = slab->per_chunk; i < n; i += 1)
			if (i / slab->per_chunk % 2 == 1)
				record_check(slab, i);
		for (uint32_t i = 0; i < n; i++) /* a look takes no memory */
			assert_int_equal(slab_find(slab, i) != NULL, i / slab->per_chunk % 2);
		assert_int_equal(memory(store), after);
		for (uint32_t i = 0; i < n / 2; i++)
			(void)record_make(slab);
		assert_int_equal(slab->chunk_count, 40);
		assert_int_equal(slab->live, n);
		for (uint32_t i = 0; i < n; i++)
			record_check(slab, i);
	}
}

static void a_full_region_is_enospc(void **state)
{
	struct slab *slab = &((struct store *)*state)->slabs[STORE_LINKS_LONG];
	uint32_t index = 77;

	slab->chunk_limit = 2;
	for (uint32_t i = 0; i < 2 * slab->per_chunk; i++)
		(void)record_make(slab);
	assert_int_equal(slab_alloc(slab, &index), -ENOSPC);
	assert_int_equal(index, 77);
	slab_free(slab, 3);
	assert_int_equal(record_make(slab), 3);
	assert_int_equal(slab_alloc(slab, &index), -ENOSPC);
}

/*
 * Every region has room for more records than the limit of nodes needs, within 29 bits. Names that
 * most filesystems do not allow are few.
 */
static void indexes_fit_their_regions(void **state)
{
	struct store *store = *state;

	for (int region = 0; region < STORE_REGIONS; region++) {
		const struct slab *slab = &store->slabs[region];

		assert_int_equal(slab->chunk_size % (size_t)sysconf(_SC_PAGESIZE), 0);
		assert_int_equal(slab->chunk_size, slab->per_chunk * slab->record_size);
		assert_true((uint64_t)slab->chunk_limit * slab->per_chunk <= 1U << 29);
		assert_true((uint64_t)slab->chunk_limit * slab->per_chunk >=
			    (region == STORE_LINKS_LONGEST ? 7000000 : 20000000));
	}
}

static void only_whole_records_are_found(void **state)
{
	struct slab *slab = &((struct store *)*state)->slabs[STORE_NODES];
	uint32_t whole;
	uint32_t half;

	assert_null(slab_find(slab, 0));
	whole = record_make(slab);
	assert_int_equal(slab_alloc(slab, &half), 0);
	assert_null(slab_find(slab, half));
	assert_null(slab_find(slab, half + 1));
	assert_null(slab_find(slab, slab->per_chunk - 1));
	assert_null(slab_find(slab, slab->per_chunk));
	assert_null(slab_find(slab, UINT32_MAX));
	assert_null(slab_find(slab, UINT32_MAX - 1));
	assert_non_null(slab_find(slab, whole));
}

static void the_next_server_finds_everything(void **state)
{
	struct store *store = *state;
	struct slab *slab = &store->slabs[STORE_NODES];
	uint32_t n = 5 * slab->per_chunk / 2;
	uint32_t half;
	uint32_t freed = 0;

	store->header->generation = 1234;
	for (uint32_t i = 0; i < n; i++)
		(void)record_make(slab);
	for (uint32_t i = 0; i < n; i += 3, freed++)
		slab_free(slab, i);
	assert_int_equal(slab_alloc(slab, &half), 0); /* the crash comes before it is published */
	memset((char *)slab_at(slab, half) + 4, 0xff, slab->record_size - 4);
	store_reopen(store);

	assert_int_equal(store->header->generation, 1234);
	assert_int_equal(slab->live, n - freed);
	for (uint32_t i = 0; i < n; i++) {
		if (i % 3 == 0)
			assert_null(slab_find(slab, i));
		else
			record_check(slab, i);
	}
	/* the free ones, and the end of the third chunk, whose records were never used */
	while (slab->live < 3 * slab->per_chunk)
		(void)record_make(slab);
	assert_int_equal(slab->chunk_count, 3);
	for (uint32_t i = 0; i < 3 * slab->per_chunk; i++)
		record_check(slab, i);
}

static void a_restart_takes_no_memory(void **state)
{
	struct store *store = *state;
	struct slab *slab = &store->slabs[STORE_LINKS_SHORT];
	uint32_t n = 100 * slab->per_chunk;
	uint64_t before;

	for (uint32_t i = 0; i < n; i++)
		(void)record_make(slab);
	for (uint32_t i = 0; i + 1 < n; i++) /* of the last chunk one is left */
		slab_free(slab, i);
	before = memory(store);
	store_reopen(store);
	assert_int_equal(memory(store), before - slab->chunk_size); /* the spare one goes */
	assert_int_equal(slab->chunk_count, 100);
	assert_int_equal(slab->live, 1);
	record_check(slab, n - 1);
	for (uint32_t i = 0; i + 1 < n; i++)
		(void)record_make(slab);
	assert_int_equal(slab->chunk_count, 100);
	for (uint32_t i = 0; i < n; i++)
		record_check(slab, i);
}

/* A server that dies after it emptied a chunk, before the memory is given back. */
static void a_restart_gives_empty_chunks_back(void **state)
{
	struct store *store = *state;
	struct slab *slab = &store->slabs[STORE_NODES];
	uint64_t before = memory(store);

	for (uint32_t i = 0; i < slab->per_chunk; i++)
		(void)record_make(slab);
	for (uint32_t i = 0; i < slab->per_chunk; i++)
		slab_publish(slab, i, 0);
	store_reopen(store);
	assert_int_equal(slab->live, 0);
	assert_int_equal(memory(store), before);
	assert_int_equal(record_make(slab), 0);
}

/* ---- random ---- */

#define RANDOM_MAX  20000
#define RANDOM_RUNS 300000

struct picture {
	uint32_t index[RANDOM_MAX];
	uint32_t count;
};

static void random_step(struct slab *slab, struct picture *p, unsigned long random, bool grow)
{
	if (p->count > 0 && (p->count == RANDOM_MAX || random % 8 >= (grow ? 5U : 3U))) {
		uint32_t i = (uint32_t)(random >> 8) % p->count;

		record_check(slab, p->index[i]);
		slab_free(slab, p->index[i]);
		p->index[i] = p->index[--p->count];
	} else {
		p->index[p->count++] = record_make(slab);
	}
}

static void random_use(void **state)
{
	struct store *store = *state;
	struct picture *p = calloc(1, sizeof(*p));
	unsigned long random = 42;

	assert_non_null(p);
	for (uint32_t run = 0; run < RANDOM_RUNS; run++) {
		struct slab *slab = &store->slabs[STORE_LINKS_MEDIUM];

		random = random * 6364136223846793005UL + 1442695040888963407UL;
		random_step(slab, p, random >> 20, run / 40000 % 2 == 0);
		assert_int_equal(slab->live, p->count);
		if (run % 50000 != 49999)
			continue;
		store_reopen(store);
		assert_int_equal(slab->live, p->count);
		for (uint32_t i = 0; i < p->count; i++)
			record_check(slab, p->index[i]);
	}
	free(p);
}

/* ---- what is not a store ---- */

static void refused(int fd, int err)
{
	struct store store = {.fd = 1234};

	assert_true(fd >= 0);
	assert_int_equal(store_open(fd, &nodes_layout, &store), err);
	assert_int_equal(store.fd, 1234);
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* taken over all the same */
}

static void other_files_are_refused(void **state)
{
	const uint32_t magic = 0x68706673;
	struct stat st;
	int fds[2];
	int fd = memfd_create("empty", MFD_CLOEXEC);

	refused(fd, -EBADMSG);
	fd = memfd_create("short", MFD_CLOEXEC);
	assert_int_equal(write(fd, &magic, sizeof(magic)), sizeof(magic));
	refused(fd, -EBADMSG);
	fd = store_new_fd();
	assert_int_equal(pwrite(fd, "no", 2, 0), 2);
	refused(fd, -EBADMSG);
	fd = store_new_fd();
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(ftruncate(fd, st.st_size - 1), 0);
	refused(fd, -EBADMSG);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	refused(fds[0], -EBADMSG);
	close(fds[1]);
}

static void a_store_is_closed_on_exec(void **state)
{
	assert_true(fcntl(((struct store *)*state)->fd, F_GETFD) & FD_CLOEXEC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(records_do_not_overlap, setup, teardown),
		cmocka_unit_test_setup_teardown(a_free_record_is_used_again, setup, teardown),
		cmocka_unit_test_setup_teardown(empty_chunks_are_given_back, setup, teardown),
		cmocka_unit_test_setup_teardown(a_full_region_is_enospc, setup, teardown),
		cmocka_unit_test_setup_teardown(indexes_fit_their_regions, setup, teardown),
		cmocka_unit_test_setup_teardown(only_whole_records_are_found, setup, teardown),
		cmocka_unit_test_setup_teardown(the_next_server_finds_everything, setup, teardown),
		cmocka_unit_test_setup_teardown(a_restart_takes_no_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(a_restart_gives_empty_chunks_back, setup, teardown),
		cmocka_unit_test_setup_teardown(random_use, setup, teardown),
		cmocka_unit_test(other_files_are_refused),
		cmocka_unit_test_setup_teardown(a_store_is_closed_on_exec, setup, teardown),
	};

	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}

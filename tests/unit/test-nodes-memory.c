/* A million files: what the table takes for each, and that it gives everything back. */
#include "nodes-world.h"

#define DIRS	 1000
#define PER_DIR	 1000
#define FILES	 (DIRS * PER_DIR)
#define AGAIN	 50
#define PER_FILE 120 /* bytes: a promise */

struct many {
	struct world *w;
	uint64_t dirs[DIRS];
	uint64_t files[FILES];
};

static size_t heads(const struct world *w)
{
	return ((size_t)w->nodes.by_key.size + w->nodes.by_name.size) * sizeof(uint32_t);
}

static void look_all(struct many *m, uint64_t dirs)
{
	char name[32];

	for (uint64_t d = 0; d < dirs; d++) {
		(void)snprintf(name, sizeof(name), "%03dCANON", (int)d);
		m->dirs[d] = look_dir(m->w, m->w->root, name, 100 + d);
		for (uint64_t f = 0; f < PER_DIR; f++) {
			(void)snprintf(name, sizeof(name), "IMG_%04d.JPG", (int)f);
			m->files[d * PER_DIR + f] = look_file(m->w, m->dirs[d], name,
							      10000 + d * PER_DIR + f);
		}
	}
}

/* As the kernel does it, in no order that would be good for us. */
static void shuffle(uint64_t *ids, uint32_t count)
{
	unsigned long random = 1;

	for (uint32_t i = count - 1; i > 0; i--) {
		uint64_t id = ids[i];
		uint32_t j;

		random = random * 6364136223846793005UL + 1442695040888963407UL;
		j = (uint32_t)((random >> 32) % (i + 1));
		ids[i] = ids[j];
		ids[j] = id;
	}
}

static void check_small(struct many *m, uint64_t before)
{
	uint64_t spare = 0;

	assert_int_equal(node_count(m->w), 1);
	assert_int_equal(link_count(m->w), 0);
	assert_true(heads(m->w) < 4096);
	/* the header, one chunk with the root, and a spare one of each kind */
	for (int i = 0; i < STORE_REGIONS; i++)
		spare += m->w->store.slabs[i].chunk_size;
	assert_true(memory(m->w) <= before + spare + m->w->store.slabs[STORE_NODES].chunk_size);
	world_check(m->w);
}

static void a_million_files(void **state)
{
	struct world *w = *state;
	struct many *m = calloc(1, sizeof(*m));
	uint64_t before = memory(w);
	uint64_t full;

	assert_non_null(m);
	m->w = w;
	look_all(m, DIRS);
	full = memory(w) - before + heads(w);
	print_message("%llu bytes per file\n", (unsigned long long)(full / FILES));
	assert_true(full <= (uint64_t)PER_FILE * FILES);
	world_check(w);

	/* in a new server it is as much, not more */
	restart(w);
	assert_true(memory(w) - before + heads(w) <= full + (1 << 20));
	assert_int_equal(node_count(w), FILES + DIRS + 1);

	for (uint32_t i = 0; i < DIRS; i++) /* parents first */
		forget(w, m->dirs[i]);
	assert_int_equal(node_count(w), FILES + DIRS + 1);
	shuffle(m->files, FILES);
	for (uint32_t i = 0; i < FILES; i++)
		forget(w, m->files[i]);
	check_small(m, before);

	/* and some once more, in the places of those */
	look_all(m, AGAIN);
	assert_true(memory(w) - before <= (uint64_t)PER_FILE * AGAIN * PER_DIR);
	for (uint32_t i = 0; i < AGAIN * PER_DIR; i++)
		forget(w, m->files[i]);
	for (uint32_t i = 0; i < AGAIN; i++)
		forget(w, m->dirs[i]);
	check_small(m, before);
	restart(w);
	check_small(m, before);
	free(m);
}

/* A tree is walked by and by, and the kernel keeps only some of it: no creeping growth. */
static void a_window_of_files(void **state)
{
	enum {
		WINDOW = 20000,
		RUNS = 300000
	};
	struct world *w = *state;
	uint64_t *ids = calloc(WINDOW, sizeof(*ids));
	uint64_t dir = look_dir(w, w->root, "dir", 10);
	uint64_t before = memory(w);
	unsigned long random = 3;
	char name[64];

	assert_non_null(ids);
	for (uint64_t i = 0; i < RUNS; i++) {
		uint64_t *id;

		random = random * 6364136223846793005UL + 1442695040888963407UL;
		id = &ids[(random >> 32) % WINDOW];
		if (*id)
			forget(w, *id);
		(void)snprintf(name, sizeof(name), "%0*d", 5 + (int)(random >> 60), (int)i);
		*id = look_file(w, dir, name, 1000 + i);
	}
	assert_true(memory(w) - before <= (uint64_t)2 * PER_FILE * WINDOW);
	world_check(w);
	free(ids);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(a_million_files),
		WORLD_TEST(a_window_of_files),
	};

	return cmocka_run_group_tests_name("nodes-memory", tests, NULL, NULL);
}

/* The node table under several threads, as the server's workers use it; for ThreadSanitizer, too.
 */
#include <pthread.h>

#include "nodes-world.h"

#define THREADS 4
#define ROUNDS	20000
#define SHARED	64 /* files that all threads look up and forget */

struct worker {
	struct world *w;
	uint64_t dirs[2];
	unsigned number;
	unsigned long random;
	unsigned failures; /* cmocka's assertions are for the main thread only */
	pthread_t thread;
};

#define CHECK(condition)                  \
	do {                              \
		if (!(condition))         \
			self->failures++; \
	} while (0)

static unsigned pick(struct worker *self, unsigned n)
{
	self->random = self->random * 6364136223846793005UL + 1442695040888963407UL;
	return (unsigned)((self->random >> 33) % n);
}

static uint64_t look_here(struct worker *self, uint64_t dir, const char *name, uint64_t ino,
			  mode_t type)
{
	const struct node_key key = key_of(ino);
	uint64_t id = 0;

	CHECK(nodes_lookup(&self->w->nodes, (uint32_t)dir, name, &key, type, 0, &id) == 0);
	return id;
}

/* A file of all: while this thread has a lookup of it, its id is good. */
static void share(struct worker *self)
{
	unsigned number = pick(self, SHARED);
	struct node_info info;
	char name[16];
	uint64_t id;

	(void)snprintf(name, sizeof(name), "shared%u", number);
	id = look_here(self, self->dirs[pick(self, 2)], name, 1000 + number, S_IFREG);
	CHECK(nodes_get(&self->w->nodes, id, &info) == 0);
	CHECK(info.key.ino == 1000 + number);
	if (pick(self, 4) == 0) {
		nodes_pin(&self->w->nodes, info.index);
		(void)nodes_forget(&self->w->nodes, id, 1);
		CHECK(nodes_get(&self->w->nodes, id, &info) == 0);
		nodes_unpin(&self->w->nodes, info.index);
	} else {
		(void)nodes_forget(&self->w->nodes, id, 1);
	}
}

/* Names of this thread in directories of all: nobody else may be seen to touch them. */
static void own(struct worker *self)
{
	struct nodes *nodes = &self->w->nodes;
	uint32_t from = (uint32_t)self->dirs[0];
	uint32_t to = (uint32_t)self->dirs[1];
	struct node_info info;
	char old[32];
	char new[32];
	uint64_t ino = 10000 * (self->number + 1) + pick(self, 100);
	uint64_t id;

	(void)snprintf(old, sizeof(old), "old%u", self->number);
	(void)snprintf(new, sizeof(new), "a longer new name of %u", self->number);
	id = look_here(self, from, old, ino, S_IFREG);
	CHECK(nodes_rename(nodes, from, old, to, new) == 0);
	CHECK(nodes_find_name(nodes, to, new, &info) == 0 && info.index == (uint32_t)id);
	CHECK(nodes_find_name(nodes, from, old, &info) == -ENOENT);
	CHECK(nodes_exchange(nodes, to, new, from, old) == 0);
	CHECK(nodes_find_name(nodes, from, old, &info) == 0 && info.key.ino == ino);
	if (pick(self, 2)) {
		bool left = true;

		nodes_remove_name(nodes, from, old, true, &left);
		CHECK(!left);
	}
	(void)nodes_forget(nodes, id, 1);
	CHECK(nodes_get(nodes, id, &info) == -ESTALE);
}

/* A chain of directories of this thread under one of all, forgotten from the top. */
static void dig(struct worker *self)
{
	uint64_t ids[5];
	uint64_t dir = self->dirs[0];
	struct node_path path;
	char name[16];

	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
		(void)snprintf(name, sizeof(name), "%u-%u", self->number, i);
		ids[i] = dir = look_here(self, dir, name, 500 + 10 * self->number + i, S_IFDIR);
	}
	CHECK(nodes_dir_path(&self->w->nodes, (uint32_t)dir, &path) == 0);
	CHECK(path.base == (uint32_t)self->w->root);
	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++)
		(void)nodes_forget(&self->w->nodes, ids[i], 1);
	CHECK(!nodes_exists(&self->w->nodes, UINT32_MAX));
	CHECK(nodes_slot_count(&self->w->nodes, SLOT) >= 3);
}

static void *worker_run(void *data)
{
	struct worker *self = data;

	for (unsigned i = 0; i < ROUNDS; i++) {
		switch (pick(self, 4)) {
		case 0:
			own(self);
			break;
		case 1:
			dig(self);
			break;
		default:
			share(self);
			break;
		}
	}
	return NULL;
}

static void threads_agree(void **state)
{
	struct world *w = *state;
	uint64_t dirs[2] = {look_dir(w, w->root, "one", 10), look_dir(w, w->root, "two", 11)};
	struct worker workers[THREADS];

	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.w = w, .number = i, .random = i + 1};
		memcpy(workers[i].dirs, dirs, sizeof(dirs));
		assert_int_equal(pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]),
				 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
		assert_int_equal(workers[i].failures, 0);
	}
	world_check(w);
	assert_int_equal(node_count(w), 3);
	assert_int_equal(link_count(w), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(threads_agree),
	};

	return cmocka_run_group_tests_name("nodes-threads", tests, NULL, NULL);
}

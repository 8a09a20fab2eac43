/* A node table on a store of its own, and what must hold for one at any time. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "fs/nodes_internal.h"

struct world {
	struct store store;
	struct nodes nodes;
	uint64_t root; /* id of the root of the medium in slot 1, looked up once */
};

#define SLOT 1

static inline struct node_key key_of(uint64_t ino)
{
	return (struct node_key){.slot = SLOT, .ino = ino};
}

/* One lookup of a file; its id. */
static inline uint64_t look(struct world *w, uint64_t dir, const char *name, uint64_t ino,
			    mode_t type)
{
	const struct node_key key = key_of(ino);
	uint64_t id = 0;

	assert_int_equal(nodes_lookup(&w->nodes, (uint32_t)dir, name, &key, type, 0, &id), 0);
	return id;
}

static inline uint64_t look_file(struct world *w, uint64_t dir, const char *name, uint64_t ino)
{
	return look(w, dir, name, ino, S_IFREG);
}

static inline uint64_t look_dir(struct world *w, uint64_t dir, const char *name, uint64_t ino)
{
	return look(w, dir, name, ino, S_IFDIR);
}

static inline uint64_t look_root(struct world *w, uint16_t slot)
{
	const struct node_key key = {.slot = slot};
	uint64_t id = 0;

	assert_int_equal(nodes_lookup(&w->nodes, 0, NULL, &key, S_IFDIR, NODE_MEDIUM_ROOT, &id), 0);
	return id;
}

static inline bool lives(struct world *w, uint64_t id)
{
	struct node_info info;
	int r = nodes_get(&w->nodes, id, &info);

	assert_true(r == 0 || r == -ESTALE);
	return r == 0;
}

/* Takes all lookups back. */
static inline void forget(struct world *w, uint64_t id)
{
	(void)nodes_forget(&w->nodes, id, UINT64_MAX);
}

static inline uint32_t node_count(struct world *w)
{
	return (uint32_t)w->store.slabs[STORE_NODES].live;
}

static inline uint32_t link_count(struct world *w)
{
	uint64_t n = 0;

	for (int i = STORE_LINKS_SHORT; i <= STORE_LINKS_LONGEST; i++)
		n += w->store.slabs[i].live;
	return (uint32_t)n;
}

static inline uint64_t memory(const struct world *w)
{
	struct stat st;

	assert_int_equal(fstat(w->store.fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static inline void table_open(struct world *w, int fd)
{
	assert_true(fd >= 0);
	assert_int_equal(store_open(fd, &nodes_layout, &w->store), 0);
	assert_int_equal(nodes_init(&w->nodes, &w->store), 0);
	nodes_sweep(&w->nodes);
}

static inline void table_close(struct world *w)
{
	nodes_done(&w->nodes);
	store_close(&w->store);
}

/* The server is another one now. */
static inline void restart(struct world *w)
{
	int fd = dup(w->store.fd);

	table_close(w);
	table_open(w, fd);
}

static inline int world_setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	table_open(w, store_new_fd());
	w->root = look_root(w, SLOT);
	*state = w;
	return 0;
}

static inline int world_teardown(void **state)
{
	struct world *w = *state;

	table_close(w);
	free(w);
	return 0;
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

/* ---- what must hold ---- */

static inline bool in_index(struct hash_index *index, uint64_t hash, uint32_t id)
{
	uint32_t i = index_first(index, hash);

	while (i != INDEX_NONE && i != id)
		i = *index->next(index->owner, i);
	return i == id;
}

/* A node's names are whole and lead to it. Returns how many there are. */
static inline uint32_t check_names(struct world *w, uint32_t index)
{
	uint32_t before = LINK_NONE;
	uint32_t n = 0;

	for (uint32_t id = node_at(&w->nodes, index)->links; id != LINK_NONE; n++) {
		const struct node_link *l = link_at(&w->nodes, id);

		assert_int_equal(l->node_plus_1, index + 1);
		assert_non_null(node_find(&w->nodes, l->parent));
		assert_int_equal(l->node_prev, before);
		assert_true(l->length > 0);
		assert_true(
			in_index(&w->nodes.by_name, link_hash(l->parent, l->name, l->length), id));
		assert_true(n < 1000);
		before = id;
		id = l->node_next;
	}
	return n;
}

static inline uint32_t *count_children(struct world *w)
{
	const struct slab *nodes = &w->store.slabs[STORE_NODES];
	uint32_t *children = calloc(nodes->chunk_count * nodes->per_chunk + 1, sizeof(*children));

	assert_non_null(children);
	for (uint32_t class = 0; class < LINK_CLASSES; class ++) {
		struct slab *slab = &w->store.slabs[STORE_LINKS_SHORT + class];

		for (uint32_t i = 0; i < slab->chunk_count * slab->per_chunk; i++)
			if (slab_find(slab, i))
				children[((struct node_link *)slab_at(slab, i))->parent]++;
	}
	return children;
}

/* Walks over everything there is. */
static inline void world_check(struct world *w)
{
	struct slab *slab = &w->store.slabs[STORE_NODES];
	uint32_t *children = count_children(w);
	uint32_t slots = w->nodes.slot_nodes[SLOT] + w->nodes.slot_nodes[SLOT + 1];
	uint32_t keyed = 0;
	uint32_t links = 0;
	uint32_t live = 0;

	for (uint32_t i = 0; i < slab->chunk_count * slab->per_chunk; i++) {
		const struct node *n = node_find(&w->nodes, i);

		if (!n)
			continue;
		live++;
		links += check_names(w, i);
		assert_int_equal(n->children, children[i]);
		assert_true(n->lookups || n->pins || n->children);
		if (n->flags & (NODE_GONE | NODE_BY_NAME))
			continue;
		keyed++;
		assert_true(in_index(&w->nodes.by_key, w->nodes.by_key.hash(&w->nodes, i), i));
	}
	free(children);
	assert_int_equal(live, slab->live);
	assert_int_equal(live, slots);
	assert_int_equal(links, link_count(w));
	assert_int_equal(w->nodes.by_key.count, keyed);
	assert_int_equal(w->nodes.by_name.count, links);
}

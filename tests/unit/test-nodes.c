/* The node table: what the kernel may know, and by which names. */
#include "nodes-world.h"

static void a_lookup_counts(void **state)
{
	struct world *w = *state;
	uint64_t id = look_file(w, w->root, "a", 11);
	struct node_info info;

	assert_int_equal(look_file(w, w->root, "a", 11), id);
	assert_int_equal(look_file(w, w->root, "a", 11), id);
	assert_int_equal(nodes_get(&w->nodes, id, &info), 0);
	assert_int_equal(info.index, (uint32_t)id);
	assert_int_equal(info.key.slot, SLOT);
	assert_int_equal(info.key.ino, 11);
	assert_int_equal(info.type, S_IFREG);
	assert_int_equal(info.flags, 0);
	assert_true(info.known);

	assert_false(nodes_forget(&w->nodes, id, 2));
	assert_true(lives(w, id));
	world_check(w);
	assert_false(nodes_forget(&w->nodes, id, 1));
	assert_false(lives(w, id));
	assert_int_equal(node_count(w), 1);
	assert_int_equal(link_count(w), 0);
	assert_int_equal(nodes_slot_count(&w->nodes, SLOT), 1);
	world_check(w);
}

static void too_many_forgets_do_no_harm(void **state)
{
	struct world *w = *state;
	uint64_t id = look_file(w, w->root, "a", 11);

	assert_false(nodes_forget(&w->nodes, id, 5));
	assert_false(nodes_forget(&w->nodes, id, 1));
	assert_false(nodes_forget(&w->nodes, 0, 1));
	assert_false(nodes_forget(&w->nodes, UINT64_MAX, 1));
	assert_false(nodes_forget(&w->nodes, id + 1, 1));
	assert_false(nodes_forget(&w->nodes, id ^ 1ULL << 32, 1));
	assert_true(lives(w, w->root));
	world_check(w);
}

/* Thread numbers: 7, 8 and one that has the same lower half as 7. */
static void who_asked_for_capabilities_may_take_them(void **state)
{
	struct world *w = *state;
	uint64_t id = look_file(w, w->root, "a", 11);
	struct nodes *n = &w->nodes;
	uint32_t a = (uint32_t)id;

	assert_false(nodes_cap_take(n, a, 7));
	nodes_cap_ask(n, a, 7);
	assert_true(nodes_cap_take(n, a, 7));
	assert_false(nodes_cap_take(n, a, 7));
	nodes_cap_ask(n, a, 7);
	nodes_cap_ask(n, a, 7);
	assert_false(nodes_cap_take(n, a, 8));
	nodes_cap_ask(n, a, 7);
	nodes_cap_read(n, a, 8);
	assert_true(nodes_cap_take(n, a, 7 | 1 << 16));
	nodes_cap_ask(n, a, 7);
	nodes_cap_read(n, a, 7);
	assert_false(nodes_cap_take(n, a, 7));
	/* none of several must be refused */
	nodes_cap_ask(n, a, 7);
	nodes_cap_ask(n, a, 8);
	nodes_cap_ask(n, a, 7);
	nodes_cap_read(n, a, 7);
	nodes_cap_read(n, a, 1 << 16);
	assert_true(nodes_cap_take(n, a, 8));
	nodes_cap_ask(n, UINT32_MAX, 7);
	assert_false(nodes_cap_take(n, UINT32_MAX, 7));
	world_check(w);
}

static void hostile_ids_are_stale(void **state)
{
	struct world *w = *state;
	static const uint64_t ids[] = {0,
				       NODE_ID_ROOT,
				       2,
				       UINT32_MAX,
				       UINT64_MAX,
				       1ULL << 32 | UINT32_MAX,
				       1ULL << 32 | 100000,
				       0xffffffffULL << 32};

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
		if (ids[i] != w->root)
			assert_false(lives(w, ids[i]));
}

/* The place of a node is used again, its id never. */
static void an_old_id_means_nothing(void **state)
{
	struct world *w = *state;
	uint64_t old = look_file(w, w->root, "a", 11);
	uint64_t id;

	forget(w, old);
	id = look_file(w, w->root, "b", 12);
	assert_int_equal((uint32_t)id, (uint32_t)old);
	assert_int_not_equal(id, old);
	assert_false(lives(w, old));
	assert_true(lives(w, id));
	assert_false(nodes_forget(&w->nodes, old, 1));
	assert_true(lives(w, id));
	restart(w);
	assert_false(lives(w, old));
	forget(w, id);
	assert_true(look_file(w, w->root, "a", 11) > id);
	world_check(w);
}

static void the_generation_skips_zero(void **state)
{
	struct world *w = *state;
	uint64_t last;
	uint64_t next;

	w->store.header->generation = UINT32_MAX - 1;
	last = look_file(w, w->root, "a", 11);
	next = look_file(w, w->root, "b", 12);
	assert_int_equal(last >> 32, UINT32_MAX);
	assert_int_equal(next >> 32, 1);
	assert_true(lives(w, last));
	assert_true(lives(w, next));
	world_check(w);
}

static void one_file_has_one_node(void **state)
{
	struct world *w = *state;
	const struct node_key other_slot = {.slot = SLOT + 1, .ino = 11};
	const struct node_key other_dev = {.slot = SLOT, .dev = 1, .ino = 11};
	uint64_t dir = look_dir(w, w->root, "dir", 10);
	uint64_t id = look_file(w, w->root, "a", 11);
	uint64_t far_root = look_root(w, SLOT + 1);
	uint64_t far;

	assert_int_equal(look_file(w, dir, "b", 11), id);
	assert_int_equal(look_file(w, dir, "c", 11), id);
	assert_int_equal(nodes_lookup(&w->nodes, (uint32_t)dir, "d", &other_dev, S_IFREG, 0, &far),
			 0);
	assert_int_not_equal(far, id);
	assert_int_equal(
		nodes_lookup(&w->nodes, (uint32_t)far_root, "a", &other_slot, S_IFREG, 0, &far), 0);
	assert_int_not_equal(far, id);
	assert_int_equal(nodes_slot_count(&w->nodes, SLOT), 4);
	assert_int_equal(nodes_slot_count(&w->nodes, SLOT + 1), 2);
	world_check(w);
	forget(w, id);
	assert_int_equal(link_count(w), 3);
	world_check(w);
}

/* A child keeps its parents, as long as the kernel knows it: without them it has no path. */
static void parents_stay_for_their_children(void **state)
{
	struct world *w = *state;
	uint64_t ids[4] = {w->root};

	for (unsigned i = 1; i < 4; i++)
		ids[i] = look_dir(w, ids[i - 1], "d", 10 + i);
	for (unsigned i = 0; i < 3; i++) {
		forget(w, ids[i]);
		assert_true(lives(w, ids[i]));
		world_check(w);
	}
	/* known again, under the same id */
	assert_int_equal(look_dir(w, ids[1], "d", 12), ids[2]);
	forget(w, ids[3]);
	assert_false(lives(w, ids[3]));
	assert_true(lives(w, ids[1]));
	world_check(w);
	forget(w, ids[2]);
	assert_int_equal(node_count(w), 0);
	assert_int_equal(link_count(w), 0);
	world_check(w);
}

/* No recursion, however deep a hostile disk is. */
static void deep_chains_go_at_once(void **state)
{
	struct world *w = *state;
	uint64_t dir = w->root;

	for (uint64_t i = 0; i < 200000; i++) {
		uint64_t next = look_dir(w, dir, "d", 100 + i);

		forget(w, dir);
		dir = next;
	}
	assert_int_equal(node_count(w), 200001);
	forget(w, dir);
	assert_int_equal(node_count(w), 0);
	world_check(w);
}

static void pins_keep_a_node(void **state)
{
	struct world *w = *state;
	uint64_t id = look_file(w, w->root, "a", 11);
	struct node_info info;

	assert_true(nodes_pin(&w->nodes, (uint32_t)id));
	assert_true(nodes_pin(&w->nodes, (uint32_t)id));
	assert_true(nodes_forget(&w->nodes, id, 1)); /* none left, but it goes on */
	assert_int_equal(nodes_get(&w->nodes, id, &info), 0);
	assert_false(info.known);
	nodes_unpin(&w->nodes, (uint32_t)id);
	assert_true(lives(w, id));
	assert_int_equal(look_file(w, w->root, "a", 11), id);
	assert_true(nodes_forget(&w->nodes, id, 1));
	nodes_unpin(&w->nodes, (uint32_t)id);
	assert_false(lives(w, id));
	world_check(w);
}

static void flags_are_set_and_cleared(void **state)
{
	struct world *w = *state;
	uint64_t id = look_file(w, w->root, "a", 11);
	uint8_t flags = 0xff;

	assert_int_equal(nodes_id(&w->nodes, (uint32_t)id, &flags), id);
	assert_int_equal(flags, 0);
	nodes_set_flags(&w->nodes, (uint32_t)id, NODE_MAPPED | NODE_NAMELESS, 0);
	nodes_set_flags(&w->nodes, (uint32_t)id, NODE_CAP_REMOVED, NODE_NAMELESS);
	assert_int_equal(nodes_id(&w->nodes, (uint32_t)id, &flags), id);
	assert_int_equal(flags, NODE_MAPPED | NODE_CAP_REMOVED);
	assert_int_equal(nodes_id(&w->nodes, (uint32_t)w->root, &flags), w->root);
	assert_int_equal(flags, NODE_MEDIUM_ROOT);
}

/* A handler that was overtaken by a fence asks for what is not there any more. */
static void gone_indexes_are_harmless(void **state)
{
	struct world *w = *state;
	uint64_t dir = look_dir(w, w->root, "d", 10);
	uint32_t index = (uint32_t)dir;
	const struct node_key key = key_of(20);
	char name[LIMIT_FILE_NAME + 1];
	struct node_path path;
	uint32_t parent;
	uint8_t flags;
	uint64_t id = 77;

	(void)look_file(w, w->root, "a", 11);
	forget(w, dir);
	assert_int_equal(nodes_lookup(&w->nodes, index, "x", &key, S_IFREG, 0, &id), -ESTALE);
	assert_int_equal(id, 77);
	assert_int_equal(nodes_rename(&w->nodes, index, "x", index, "y"), -ESTALE);
	assert_int_equal(nodes_exchange(&w->nodes, index, "x", (uint32_t)w->root, "a"), -ESTALE);
	assert_int_equal(nodes_name(&w->nodes, index, 0, &parent, name), -ENOENT);
	assert_int_equal(nodes_dir_path(&w->nodes, index, &path), -ESTALE);
	assert_false(nodes_pin(&w->nodes, index));
	nodes_unpin(&w->nodes, index);
	nodes_unpin(&w->nodes, UINT32_MAX);
	nodes_set_flags(&w->nodes, index, NODE_MEDIUM_ROOT, 0);
	assert_int_equal(nodes_id(&w->nodes, index, &flags), 0);
	assert_int_equal(nodes_id(&w->nodes, UINT32_MAX, &flags), 0);
	assert_int_equal(flags, 0);
	assert_false(nodes_exists(&w->nodes, index));
	assert_true(nodes_exists(&w->nodes, (uint32_t)w->root));
	world_check(w);
	/* moved into a directory that is gone: known by no name */
	assert_int_equal(nodes_rename(&w->nodes, (uint32_t)w->root, "a", index, "y"), -ESTALE);
	assert_int_equal(link_count(w), 0);
	world_check(w);
}

/* A listing of another directory's handle would make rings, which nobody could ever forget. */
static void only_directories_have_names_in_them(void **state)
{
	struct world *w = *state;
	uint64_t dir = look_dir(w, w->root, "d", 10);
	uint64_t file = look_file(w, w->root, "a", 11);
	const struct node_key dir_key = key_of(10);
	const struct node_key file_key = key_of(12);
	uint64_t id = 77;

	assert_int_equal(nodes_lookup(&w->nodes, (uint32_t)file, "x", &file_key, S_IFREG, 0, &id),
			 -ESTALE);
	assert_int_equal(nodes_rename(&w->nodes, (uint32_t)w->root, "d", (uint32_t)file, "x"),
			 -ESTALE);
	dir = look_dir(w, w->root, "d", 10);
	assert_int_equal(nodes_lookup(&w->nodes, (uint32_t)dir, "d", &dir_key, S_IFDIR, 0, &id),
			 -ELOOP);
	assert_int_equal(id, 77);
	world_check(w);
	forget(w, dir);
	forget(w, file);
	assert_int_equal(node_count(w), 1);
}

/* A new file with the number of an old one that is of another kind. */
static void a_number_used_again(void **state)
{
	struct world *w = *state;
	uint64_t old = look_file(w, w->root, "a", 11);
	uint64_t id = look_dir(w, w->root, "b", 11);
	struct node_info info;

	assert_int_not_equal(id, old);
	assert_int_equal(nodes_get(&w->nodes, old, &info), 0);
	assert_true(info.flags & NODE_GONE);
	assert_int_equal(nodes_get(&w->nodes, id, &info), 0);
	assert_int_equal(info.type, S_IFDIR);
	assert_int_equal(look_dir(w, w->root, "b", 11), id);
	world_check(w);
	restart(w);
	world_check(w);
	assert_int_equal(look_dir(w, w->root, "b", 11), id);
	forget(w, old);
	assert_int_equal(look_dir(w, w->root, "b", 11), id);
	world_check(w);
	forget(w, id);
	forget(w, w->root);
	assert_int_equal(node_count(w), 0);
}

/* The same under the same name. */
static void a_name_and_number_used_again(void **state)
{
	struct world *w = *state;
	uint64_t old = look_file(w, w->root, "a", 11);
	uint64_t id = look_dir(w, w->root, "a", 11);

	assert_int_not_equal(id, old);
	assert_int_equal(link_count(w), 1);
	assert_int_equal(look_dir(w, w->root, "a", 11), id);
	world_check(w);
	forget(w, old);
	forget(w, id);
	assert_int_equal(node_count(w), 1);
	world_check(w);
}

/* vfat and its kin: another number at every look. */
static uint64_t look_by_name(struct world *w, uint64_t dir, const char *name, uint64_t ino,
			     mode_t type)
{
	const struct node_key key = key_of(ino);
	uint64_t id = 0;

	assert_int_equal(
		nodes_lookup(&w->nodes, (uint32_t)dir, name, &key, type, NODE_BY_NAME, &id), 0);
	return id;
}

static void without_numbers_the_name_decides(void **state)
{
	struct world *w = *state;
	uint64_t a = look_by_name(w, w->root, "a", 11, S_IFREG);
	uint64_t b = look_by_name(w, w->root, "b", 11, S_IFREG);
	uint64_t dir;

	assert_int_not_equal(a, b);
	assert_int_equal(look_by_name(w, w->root, "a", 99, S_IFREG), a);
	assert_int_equal(nodes_rename(&w->nodes, (uint32_t)w->root, "a", (uint32_t)w->root, "c"),
			 0);
	assert_int_equal(look_by_name(w, w->root, "c", 98, S_IFREG), a);
	assert_int_not_equal(look_by_name(w, w->root, "a", 11, S_IFREG), a);
	world_check(w);
	dir = look_by_name(w, w->root, "b", 11, S_IFDIR); /* another kind: another file */
	assert_int_not_equal(dir, b);
	assert_int_equal(look_by_name(w, w->root, "b", 12, S_IFDIR), dir);
	assert_int_equal(look_by_name(w, dir, "b", 12, S_IFREG) == b, false);
	world_check(w);
	restart(w);
	world_check(w);
	assert_int_equal(look_by_name(w, w->root, "c", 97, S_IFREG), a);
	nodes_remove_name(&w->nodes, (uint32_t)w->root, "c", true, NULL);
	assert_int_not_equal(look_by_name(w, w->root, "c", 97, S_IFREG), a);
	forget(w, a);
	world_check(w);
}

static void a_full_table_refuses(void **state)
{
	struct world *w = *state;
	const struct node_key key = key_of(77);
	uint64_t id = 5;

	w->store.slabs[STORE_NODES].chunk_limit = 1;
	for (uint64_t ino = 1; node_count(w) < w->store.slabs[STORE_NODES].per_chunk; ino++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "%d", (int)ino);
		(void)look_file(w, w->root, name, 100 + ino);
	}
	assert_int_equal(nodes_lookup(&w->nodes, (uint32_t)w->root, "x", &key, S_IFREG, 0, &id),
			 -ENOSPC);
	/* room for nodes, but not for this name: nothing is left of the attempt */
	w->store.slabs[STORE_NODES].chunk_limit = 2;
	w->store.slabs[STORE_LINKS_LONG].chunk_limit = 0;
	assert_int_equal(nodes_lookup(&w->nodes, (uint32_t)w->root,
				      "a name of more than thirty-two characters", &key, S_IFREG, 0,
				      &id),
			 -ENOSPC);
	assert_int_equal(id, 5);
	assert_int_equal(node_count(w), w->store.slabs[STORE_NODES].per_chunk);
	world_check(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(a_lookup_counts),
		WORLD_TEST(too_many_forgets_do_no_harm),
		WORLD_TEST(who_asked_for_capabilities_may_take_them),
		WORLD_TEST(hostile_ids_are_stale),
		WORLD_TEST(an_old_id_means_nothing),
		WORLD_TEST(the_generation_skips_zero),
		WORLD_TEST(one_file_has_one_node),
		WORLD_TEST(parents_stay_for_their_children),
		WORLD_TEST(deep_chains_go_at_once),
		WORLD_TEST(pins_keep_a_node),
		WORLD_TEST(flags_are_set_and_cleared),
		WORLD_TEST(gone_indexes_are_harmless),
		WORLD_TEST(only_directories_have_names_in_them),
		WORLD_TEST(a_number_used_again),
		WORLD_TEST(a_name_and_number_used_again),
		WORLD_TEST(without_numbers_the_name_decides),
		WORLD_TEST(a_full_table_refuses),
	};

	return cmocka_run_group_tests_name("nodes", tests, NULL, NULL);
}

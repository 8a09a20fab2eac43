/* Names in the node table: hard links, renames, removals, and the paths that they make. */
#include "nodes-world.h"

static void assert_name(struct world *w, uint64_t id, unsigned number, uint64_t dir,
			const char *name)
{
	char got[LIMIT_FILE_NAME + 1];
	uint32_t parent;

	assert_int_equal(nodes_name(&w->nodes, (uint32_t)id, number, &parent, got), 0);
	assert_int_equal(parent, (uint32_t)dir);
	assert_string_equal(got, name);
}

static unsigned name_count(struct world *w, uint64_t id)
{
	char name[LIMIT_FILE_NAME + 1];
	uint32_t parent;
	unsigned n = 0;

	while (nodes_name(&w->nodes, (uint32_t)id, n, &parent, name) == 0)
		n++;
	return n;
}

/* The id of what the table thinks is under the name, or 0. */
static uint64_t at(struct world *w, uint64_t dir, const char *name)
{
	struct node_info info;
	uint8_t flags;
	int r = nodes_find_name(&w->nodes, (uint32_t)dir, name, &info);

	assert_true(r == 0 || r == -ENOENT);
	return r == 0 ? nodes_id(&w->nodes, info.index, &flags) : 0;
}

static int rename_in(struct world *w, uint64_t from, const char *old, uint64_t to, const char *new)
{
	int r = nodes_rename(&w->nodes, (uint32_t)from, old, (uint32_t)to, new);

	world_check(w);
	return r;
}

static int exchange(struct world *w, uint64_t dir_a, const char *a, uint64_t dir_b, const char *b)
{
	int r = nodes_exchange(&w->nodes, (uint32_t)dir_a, a, (uint32_t)dir_b, b);

	world_check(w);
	return r;
}

static bool remove_name(struct world *w, uint64_t dir, const char *name, bool gone)
{
	bool left = true;

	nodes_remove_name(&w->nodes, (uint32_t)dir, name, gone, &left);
	world_check(w);
	return left;
}

/* ---- one name ---- */

/* All sizes of records, and each byte that a name can have. */
static void names_of_every_length(void **state)
{
	struct world *w = *state;
	uint64_t ids[LIMIT_FILE_NAME + 1];
	char name[LIMIT_FILE_NAME + 2];
	const struct node_key key = key_of(1);
	uint64_t id;

	for (size_t n = 1; n <= LIMIT_FILE_NAME; n++) {
		for (size_t i = 0; i < n; i++)
			name[i] = (char)(1 + (n * 7 + i) % 255);
		name[n] = '\0';
		ids[n] = look_file(w, w->root, name, 1000 + n);
		assert_name(w, ids[n], 0, w->root, name);
	}
	for (size_t n = 1; n <= LIMIT_FILE_NAME; n++) {
		for (size_t i = 0; i < n; i++)
			name[i] = (char)(1 + (n * 7 + i) % 255);
		name[n] = '\0';
		assert_int_equal(at(w, w->root, name), ids[n]);
	}
	world_check(w);
	restart(w);
	world_check(w);
	assert_int_equal(at(w, w->root, name), ids[LIMIT_FILE_NAME]);
	memset(name, 'x', sizeof(name) - 1);
	name[LIMIT_FILE_NAME + 1] = '\0';
	assert_int_equal(nodes_lookup(&w->nodes, (uint32_t)w->root, name, &key, S_IFREG, 0, &id),
			 -ENAMETOOLONG);
	world_check(w);
}

static void a_name_belongs_to_its_directory(void **state)
{
	struct world *w = *state;
	uint64_t dir = look_dir(w, w->root, "dir", 10);
	uint64_t a = look_file(w, w->root, "x", 11);
	uint64_t b = look_file(w, dir, "x", 12);

	assert_int_equal(at(w, w->root, "x"), a);
	assert_int_equal(at(w, dir, "x"), b);
	assert_int_equal(at(w, dir, "y"), 0);
	assert_int_equal(at(w, a, "x"), 0);
	assert_int_equal(at(w, w->root, ""), 0);
}

/* A lookup tells that the name leads to another file now. */
static void a_name_moves_with_the_lookup(void **state)
{
	struct world *w = *state;
	uint64_t a = look_file(w, w->root, "x", 11);
	uint64_t b = look_file(w, w->root, "x", 12);

	assert_int_equal(at(w, w->root, "x"), b);
	assert_int_equal(name_count(w, a), 0);
	assert_true(lives(w, a));
	world_check(w);
	assert_int_equal(look_file(w, w->root, "x", 11), a);
	assert_int_equal(name_count(w, b), 0);
	world_check(w);
}

/* ---- several names ---- */

static void a_file_has_all_its_names(void **state)
{
	struct world *w = *state;
	uint64_t dir = look_dir(w, w->root, "dir", 10);
	uint64_t id = look_file(w, w->root, "a", 11);

	(void)look_file(w, dir, "b", 11);
	(void)look_file(w, w->root, "c", 11);
	(void)look_file(w, w->root, "a", 11);
	assert_int_equal(name_count(w, id), 3);
	assert_int_equal(at(w, dir, "b"), id);
	world_check(w);

	forget(w, dir); /* lives on by one name of the file */
	assert_true(lives(w, dir));
	assert_true(remove_name(w, w->root, "a", false));
	assert_int_equal(name_count(w, id), 2);
	assert_true(remove_name(w, dir, "b", false));
	assert_false(lives(w, dir));
	assert_int_equal(look_file(w, w->root, "a", 11), id);
	forget(w, id);
	assert_int_equal(node_count(w), 1);
	world_check(w);
}

/* Names in directories that only these names keep: all go together. */
static void several_parents_go_with_a_file(void **state)
{
	struct world *w = *state;
	uint64_t dirs[4];
	uint64_t id = 0;

	for (unsigned i = 0; i < 4; i++) {
		char name[8];

		(void)snprintf(name, sizeof(name), "d%u", i);
		dirs[i] = look_dir(w, i < 2 ? w->root : dirs[i - 2], name, 10 + i);
		id = look_file(w, dirs[i], "x", 50);
		id = look_file(w, dirs[i], "y", 50);
	}
	assert_int_equal(name_count(w, id), 8);
	for (unsigned i = 0; i < 4; i++)
		forget(w, dirs[i]);
	forget(w, w->root);
	world_check(w);
	assert_int_equal(node_count(w), 6);
	forget(w, id);
	assert_int_equal(node_count(w), 0);
	assert_int_equal(link_count(w), 0);
	world_check(w);
}

/* A crash can leave a directory its old name; two parents, each in the other, would stay for ever.
 */
static void a_directory_has_one_name(void **state)
{
	struct world *w = *state;
	uint64_t a = look_dir(w, w->root, "a", 11);
	uint64_t b = look_dir(w, a, "b", 12);

	/* outside our sight: /a/b -> /b, /a -> /b/a */
	assert_int_equal(look_dir(w, w->root, "b", 12), b);
	assert_int_equal(look_dir(w, b, "a", 11), a);
	assert_int_equal(name_count(w, a), 1);
	assert_int_equal(name_count(w, b), 1);
	assert_name(w, a, 0, b, "a");
	assert_name(w, b, 0, w->root, "b");
	world_check(w);
	forget(w, b);
	forget(w, a);
	forget(w, w->root);
	assert_int_equal(node_count(w), 0);
	world_check(w);
}

/* ---- removal ---- */

static void a_deleted_file_is_not_found_again(void **state)
{
	struct world *w = *state;
	uint64_t old = look_file(w, w->root, "a", 11);
	uint64_t id;
	struct node_info info;

	assert_false(remove_name(w, w->root, "a", true));
	assert_int_equal(nodes_get(&w->nodes, old, &info), 0);
	assert_true(info.flags & NODE_GONE);
	id = look_file(w, w->root, "a", 11); /* the number was used again */
	assert_int_not_equal(id, old);
	world_check(w);
	restart(w);
	world_check(w);
	assert_int_equal(look_file(w, w->root, "a", 11), id);
	forget(w, old);
	assert_int_equal(look_file(w, w->root, "a", 11), id);
	world_check(w);
}

static void removing_what_is_not_known(void **state)
{
	struct world *w = *state;

	assert_false(remove_name(w, w->root, "nothing", true));
	nodes_remove_name(&w->nodes, (uint32_t)w->root, "nothing", false, NULL);
	world_check(w);
}

static void a_removed_directory(void **state)
{
	struct world *w = *state;
	uint64_t dir = look_dir(w, w->root, "d", 11);
	struct node_path path;

	assert_false(remove_name(w, w->root, "d", true));
	assert_int_equal(nodes_dir_path(&w->nodes, (uint32_t)dir, &path), -ESTALE);
	forget(w, dir);
	assert_int_equal(node_count(w), 1);
	world_check(w);
}

/* ---- renames ---- */

static void a_rename_keeps_the_node(void **state)
{
	struct world *w = *state;
	uint64_t dir = look_dir(w, w->root, "dir", 10);
	uint64_t id = look_file(w, w->root, "a", 11);

	assert_int_equal(rename_in(w, w->root, "a", dir, "b"), 0);
	assert_int_equal(at(w, w->root, "a"), 0);
	assert_int_equal(at(w, dir, "b"), id);
	assert_int_equal(name_count(w, id), 1);
	assert_int_equal(look_file(w, dir, "b", 11), id);
	assert_int_equal(rename_in(w, dir, "b", dir, "a name of another size"), 0);
	assert_name(w, id, 0, dir, "a name of another size");
	assert_int_equal(rename_in(w, dir, "nothing", dir, "x"), 0);
	assert_int_equal(rename_in(w, dir, "a name of another size", dir, "a name of another size"),
			 0);
	assert_name(w, id, 0, dir, "a name of another size");
}

static void a_rename_over_another(void **state)
{
	struct world *w = *state;
	uint64_t a = look_file(w, w->root, "a", 11);
	uint64_t b = look_file(w, w->root, "b", 12);

	(void)look_file(w, w->root, "b2", 12);
	assert_int_equal(rename_in(w, w->root, "a", w->root, "b"), 0);
	assert_int_equal(at(w, w->root, "b"), a);
	assert_int_equal(at(w, w->root, "a"), 0);
	assert_int_equal(name_count(w, b), 1);
	assert_name(w, b, 0, w->root, "b2");
	/* what is renamed was never looked up: the name that it takes leads nowhere known */
	assert_int_equal(rename_in(w, w->root, "unknown", w->root, "b"), 0);
	assert_int_equal(at(w, w->root, "b"), 0);
	assert_int_equal(name_count(w, a), 0);
	assert_true(lives(w, a));
}

/* The kernel has forgotten the old parent, which the child kept: it goes with the move. */
static void a_rename_lets_parents_go(void **state)
{
	struct world *w = *state;
	uint64_t from = look_dir(w, w->root, "from", 10);
	uint64_t to = look_dir(w, w->root, "to", 11);
	uint64_t id = look_file(w, from, "a", 12);

	(void)look_file(w, to, "b", 13);
	forget(w, from);
	forget(w, at(w, to, "b"));
	assert_int_equal(rename_in(w, from, "a", to, "b"), 0);
	assert_false(lives(w, from));
	forget(w, to);
	assert_true(lives(w, to));
	forget(w, id);
	assert_false(lives(w, to));
	world_check(w);
}

static void a_parent_stays_while_its_last_name_changes(void **state)
{
	struct world *w = *state;
	uint64_t dir = look_dir(w, w->root, "dir", 10);
	uint64_t old = look_file(w, dir, "a", 11);
	uint64_t id;

	(void)look_file(w, w->root, "x", 13);
	forget(w, dir);
	id = look_file(w, dir, "a", 12); /* the old one's name was all that kept the directory */
	assert_true(lives(w, dir));
	assert_int_equal(at(w, dir, "a"), id);
	world_check(w);
	assert_int_equal(rename_in(w, w->root, "x", dir, "a"), 0);
	assert_true(lives(w, dir));
	assert_int_equal(exchange(w, dir, "a", w->root, "unknown"), 0);
	assert_false(lives(w, dir));
	forget(w, old);
	forget(w, id);
	world_check(w);
}

static void an_exchange(void **state)
{
	struct world *w = *state;
	uint64_t dir = look_dir(w, w->root, "dir", 10);
	uint64_t a = look_file(w, w->root, "a", 11);
	uint64_t b = look_file(w, dir, "b", 12);

	assert_int_equal(exchange(w, w->root, "a", dir, "b"), 0);
	assert_int_equal(at(w, w->root, "a"), b);
	assert_int_equal(at(w, dir, "b"), a);
	assert_int_equal(exchange(w, w->root, "a", w->root, "a"), 0);
	assert_int_equal(at(w, w->root, "a"), b);
	/* only one of the two is known */
	assert_int_equal(exchange(w, w->root, "a", dir, "unknown"), 0);
	assert_int_equal(at(w, w->root, "a"), 0);
	assert_int_equal(at(w, dir, "unknown"), b);
	assert_int_equal(exchange(w, w->root, "a", dir, "unknown"), 0);
	assert_int_equal(at(w, w->root, "a"), b);
	assert_int_equal(exchange(w, w->root, "x", dir, "y"), 0);
	/* two names of one file */
	(void)look_file(w, dir, "b2", 11);
	assert_int_equal(exchange(w, dir, "b", dir, "b2"), 0);
	assert_int_equal(at(w, dir, "b"), a);
	assert_int_equal(at(w, dir, "b2"), a);
	assert_int_equal(name_count(w, a), 2);
}

/* ---- paths ---- */

static void short_paths(void **state)
{
	struct world *w = *state;
	uint64_t a = look_dir(w, w->root, "a", 11);
	uint64_t b = look_dir(w, a, "bb", 12);
	uint64_t c = look_dir(w, b, "c", 13);
	struct node_path path;

	assert_int_equal(nodes_dir_path(&w->nodes, (uint32_t)w->root, &path), 0);
	assert_string_equal(path.path, "");
	assert_int_equal(path.base, (uint32_t)w->root);
	assert_int_equal(nodes_dir_path(&w->nodes, (uint32_t)a, &path), 0);
	assert_string_equal(path.path, "a");
	assert_int_equal(nodes_dir_path(&w->nodes, (uint32_t)c, &path), 0);
	assert_string_equal(path.path, "a/bb/c");
	assert_int_equal(path.base, (uint32_t)w->root);
	assert_int_equal(rename_in(w, a, "bb", w->root, "d"), 0);
	assert_int_equal(nodes_dir_path(&w->nodes, (uint32_t)c, &path), 0);
	assert_string_equal(path.path, "d/c");
	assert_false(remove_name(w, w->root, "d", false));
	assert_int_equal(nodes_dir_path(&w->nodes, (uint32_t)c, &path), -ESTALE);
	assert_int_equal(nodes_dir_path(&w->nodes, (uint32_t)b, &path), -ESTALE);
	assert_int_equal(nodes_dir_path(&w->nodes, (uint32_t)a, &path), 0);
}

/* Walks a path back down from its base; returns the node at its end. */
static uint64_t walk(struct world *w, const struct node_path *path)
{
	char copy[sizeof(path->buf)];
	uint8_t flags;
	uint64_t id = nodes_id(&w->nodes, path->base, &flags);
	char *rest = copy;
	char *name;

	assert_true(STR_COPY(copy, path->path));
	while ((name = strsep(&rest, "/"))) {
		id = at(w, id, name);
		assert_int_not_equal(id, 0);
	}
	return id;
}

/* Longer than PATH_MAX: in pieces, each of which openat2() takes. */
static void long_paths(void **state)
{
	struct world *w = *state;
	uint64_t dir = w->root;
	struct node_path path;
	char name[LIMIT_FILE_NAME + 1];
	unsigned pieces = 0;

	for (unsigned depth = 0; depth < 600; depth++) {
		size_t n = 1 + (depth * 37) % 255;

		memset(name, 'a' + (int)(depth % 26), n);
		name[n] = '\0';
		dir = look_dir(w, dir, name, 100 + depth);
	}
	for (uint32_t index = (uint32_t)dir; index != (uint32_t)w->root; pieces++) {
		uint8_t flags;

		assert_int_equal(nodes_dir_path(&w->nodes, index, &path), 0);
		assert_true(strlen(path.path) < 4096);
		assert_true(strlen(path.path) > 0);
		assert_int_equal(walk(w, &path), nodes_id(&w->nodes, index, &flags));
		index = path.base;
	}
	assert_true(pieces > 600 * 128 / 4096 && pieces < 30);
}

/* Just as long as the buffer, and one byte more. */
static void paths_at_the_border(void **state)
{
	struct world *w = *state;
	uint64_t dir = w->root;
	uint64_t fits;
	uint64_t not ;
	struct node_path path;
	char name[LIMIT_FILE_NAME + 1] = "";

	memset(name, 'n', 254); /* with its slash 255: 16 of them are 4080 */
	for (unsigned i = 0; i < 16; i++)
		dir = look_dir(w, dir, name, 100 + i);
	fits = look_dir(w, dir, "fifteen bytes..", 200);
	not = look_dir(w, dir, "sixteen bytes...", 201);
	assert_int_equal(nodes_dir_path(&w->nodes, (uint32_t)fits, &path), 0);
	assert_int_equal(strlen(path.path), 4095);
	assert_int_equal(walk(w, &path), fits);
	assert_int_equal(nodes_dir_path(&w->nodes, (uint32_t) not, &path), 0);
	assert_int_not_equal(path.base, (uint32_t)w->root);
	assert_int_equal(walk(w, &path), not );
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(names_of_every_length),
		WORLD_TEST(a_name_belongs_to_its_directory),
		WORLD_TEST(a_name_moves_with_the_lookup),
		WORLD_TEST(a_file_has_all_its_names),
		WORLD_TEST(several_parents_go_with_a_file),
		WORLD_TEST(a_directory_has_one_name),
		WORLD_TEST(a_deleted_file_is_not_found_again),
		WORLD_TEST(removing_what_is_not_known),
		WORLD_TEST(a_removed_directory),
		WORLD_TEST(a_rename_keeps_the_node),
		WORLD_TEST(a_rename_over_another),
		WORLD_TEST(a_rename_lets_parents_go),
		WORLD_TEST(a_parent_stays_while_its_last_name_changes),
		WORLD_TEST(an_exchange),
		WORLD_TEST(short_paths),
		WORLD_TEST(long_paths),
		WORLD_TEST(paths_at_the_border),
	};

	return cmocka_run_group_tests_name("links", tests, NULL, NULL);
}

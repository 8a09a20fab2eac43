/*
 * Random operations on the node table and on a model of it that is nothing but two lists, and
 * that is put in order by going over them again and again.
 */
#include "nodes-world.h"

#define OPERATIONS 100000
#define NODES_MAX  200
#define NAMES_MAX  400
#define DEAD_MAX   256
#define INOS	   90
#define SLOT_NAMES 2 /* the slot of a medium whose files are known by name */

struct model_node {
	bool live;
	bool gone;
	bool by_name;
	uint64_t id;
	uint64_t ino;
	mode_t type;
	uint64_t lookups;
	unsigned pins;
};

struct model_name {
	int node; /* -1: unused */
	int dir;
	const char *name;
};

struct model {
	struct world *w;
	unsigned long random;
	struct model_node nodes[NODES_MAX];
	struct model_name names[NAMES_MAX];
	uint64_t dead[DEAD_MAX];
	unsigned dead_count;
	uint32_t generation;
};

static const char *const pool[] = {
	"a",
	"b",
	"IMG_0001.JPG",
	"fifteen bytes..",
	"sixteen bytes...",
	"a name that is longer than thirty-one bytes",
	"a name that is longer than all the others, so that it needs the next larger record",
};

static unsigned pick(struct model *m, unsigned n)
{
	m->random = m->random * 6364136223846793005UL + 1442695040888963407UL;
	return (unsigned)((m->random >> 33) % n);
}

/* ---- the model ---- */

static int model_find(const struct model *m, int dir, const char *name)
{
	for (int i = 0; i < NAMES_MAX; i++)
		if (m->names[i].node >= 0 && m->names[i].dir == dir &&
		    streq(m->names[i].name, name))
			return i;
	return -1;
}

static void model_name(struct model *m, int node, int dir, const char *name)
{
	for (int i = 0; i < NAMES_MAX; i++) {
		if (m->names[i].node >= 0)
			continue;
		m->names[i] = (struct model_name){.node = node, .dir = dir, .name = name};
		return;
	}
	fail_msg("the model is full");
}

static bool model_needed(const struct model *m, int node)
{
	if (m->nodes[node].lookups || m->nodes[node].pins)
		return true;
	for (int i = 0; i < NAMES_MAX; i++)
		if (m->names[i].node >= 0 && m->names[i].dir == node)
			return true;
	return false;
}

static void model_unname(struct model *m, int node)
{
	for (int i = 0; i < NAMES_MAX; i++)
		if (m->names[i].node == node)
			m->names[i].node = -1;
}

/* Lets go what nobody needs, until nothing more goes. */
static void model_settle(struct model *m)
{
	bool again = true;

	while (again) {
		again = false;
		for (int i = 0; i < NODES_MAX; i++) {
			if (!m->nodes[i].live || model_needed(m, i))
				continue;
			model_unname(m, i);
			m->nodes[i].live = false;
			m->dead[m->dead_count++ % DEAD_MAX] = m->nodes[i].id;
			again = true;
		}
	}
}

/* Whether a is d or above it. */
static bool is_above(const struct model *m, int a, int d)
{
	for (int i = 0; i >= 0;) {
		if (a == d)
			return true;
		for (i = NAMES_MAX - 1; i >= 0 && m->names[i].node != d; i--)
			;
		if (i >= 0)
			d = m->names[i].dir;
	}
	return false;
}

static int model_by_key(const struct model *m, uint64_t ino)
{
	for (int i = 0; i < NODES_MAX; i++) {
		const struct model_node *n = &m->nodes[i];

		if (n->live && !n->gone && !n->by_name && n->ino == ino)
			return i;
	}
	return -1;
}

static int model_new(struct model *m, uint64_t ino, mode_t type, bool by_name)
{
	for (int i = 0; i < NODES_MAX; i++) {
		if (m->nodes[i].live)
			continue;
		m->nodes[i] = (struct model_node){
			.live = true, .by_name = by_name, .ino = ino, .type = type};
		return i;
	}
	fail_msg("the model is full");
	return -1;
}

static int model_lookup(struct model *m, int dir, const char *name, uint64_t ino, mode_t type)
{
	bool by_name = m->nodes[dir].by_name;
	int node = by_name ? -1 : model_by_key(m, ino);
	int at = model_find(m, dir, name);

	if (node >= 0 && m->nodes[node].type != type) {
		m->nodes[node].gone = true;
		node = -1;
	}
	if (by_name && at >= 0 && m->nodes[m->names[at].node].type == type)
		node = m->names[at].node;
	if (at >= 0 && m->names[at].node != node) {
		m->names[at].node = -1;
		at = -1;
	}
	if (node < 0)
		node = model_new(m, ino, type, by_name);
	m->nodes[node].lookups++;
	if (at < 0) {
		if (type == S_IFDIR)
			model_unname(m, node);
		model_name(m, node, dir, name);
	}
	return node;
}

/* ---- the operations, on both ---- */

static int pick_node(struct model *m)
{
	int i;

	do
		i = (int)pick(m, NODES_MAX);
	while (!m->nodes[i].live);
	return i;
}

static int pick_dir(struct model *m)
{
	int i;

	do
		i = pick_node(m);
	while (m->nodes[i].type != S_IFDIR);
	return i;
}

static uint32_t index_of(const struct model *m, int node)
{
	return (uint32_t)m->nodes[node].id;
}

static bool has_room(const struct model *m)
{
	int nodes = 0;
	int names = 0;

	for (int i = 0; i < NODES_MAX; i++)
		nodes += m->nodes[i].live;
	for (int i = 0; i < NAMES_MAX; i++)
		names += m->names[i].node >= 0;
	return nodes < NODES_MAX && names < NAMES_MAX;
}

static void do_lookup(struct model *m)
{
	int dir = pick_dir(m);
	const char *name = pool[pick(m, ARRAY_SIZE(pool))];
	uint64_t ino = 1 + pick(m, INOS);
	mode_t type = ino % 3 == 0 ? S_IFDIR : S_IFREG;
	bool by_name = m->nodes[dir].by_name;
	const struct node_key key = {.slot = by_name ? SLOT_NAMES : SLOT, .ino = ino};
	uint64_t id = 0;
	int node = by_name ? -1 : model_by_key(m, ino);

	if (pick(m, 50) == 0) /* the number was used again */
		type = type == S_IFDIR ? S_IFLNK : S_IFDIR;
	if (!has_room(m) || (node >= 0 && is_above(m, node, dir)))
		return;
	assert_int_equal(nodes_lookup(&m->w->nodes, index_of(m, dir), name, &key, type,
				      by_name ? NODE_BY_NAME : 0, &id),
			 0);
	node = model_lookup(m, dir, name, ino, type);
	if (m->nodes[node].id == 0) { /* one that there never was */
		assert_int_equal(id >> 32, ++m->generation);
		m->nodes[node].id = id;
	}
	assert_int_equal(id, m->nodes[node].id);
}

static void do_forget(struct model *m)
{
	int node = pick_node(m);
	struct model_node *n = &m->nodes[node];
	uint64_t count = pick(m, 3) ? n->lookups : 1 + pick(m, 2);

	if (n->ino == 0) /* the roots stay */
		return;
	n->lookups -= MIN(n->lookups, count);
	assert_int_equal(nodes_forget(&m->w->nodes, n->id, count), !n->lookups && n->pins);
}

static void do_pin(struct model *m)
{
	struct model_node *n = &m->nodes[pick_node(m)];

	if (n->pins) {
		n->pins--;
		nodes_unpin(&m->w->nodes, (uint32_t)n->id);
	} else if (pick(m, 4) == 0) {
		n->pins++;
		nodes_pin(&m->w->nodes, (uint32_t)n->id);
	}
}

static void do_remove(struct model *m)
{
	int dir = pick_dir(m);
	const char *name = pool[pick(m, ARRAY_SIZE(pool))];
	int at = model_find(m, dir, name);
	bool gone = pick(m, 2);
	bool expected = false;
	bool left = true;

	nodes_remove_name(&m->w->nodes, index_of(m, dir), name, gone, &left);
	if (at >= 0) {
		int node = m->names[at].node;

		m->names[at].node = -1;
		m->nodes[node].gone |= gone;
		for (int i = 0; i < NAMES_MAX; i++)
			expected |= m->names[i].node == node;
	}
	assert_int_equal(left, expected);
}

static void do_rename(struct model *m)
{
	int from = pick_dir(m);
	int to = pick_dir(m);
	const char *old = pool[pick(m, ARRAY_SIZE(pool))];
	const char *new = pool[pick(m, ARRAY_SIZE(pool))];
	int at = model_find(m, from, old);
	int over = model_find(m, to, new);

	if (at >= 0 && is_above(m, m->names[at].node, to))
		return;
	assert_int_equal(nodes_rename(&m->w->nodes, index_of(m, from), old, index_of(m, to), new),
			 0);
	if (over >= 0 && over != at)
		m->names[over].node = -1;
	if (at >= 0) {
		m->names[at].dir = to;
		m->names[at].name = new;
	}
}

static void do_exchange(struct model *m)
{
	int dir_a = pick_dir(m);
	int dir_b = pick_dir(m);
	const char *name_a = pool[pick(m, ARRAY_SIZE(pool))];
	const char *name_b = pool[pick(m, ARRAY_SIZE(pool))];
	int a = model_find(m, dir_a, name_a);
	int b = model_find(m, dir_b, name_b);

	if ((a >= 0 && is_above(m, m->names[a].node, dir_b)) ||
	    (b >= 0 && is_above(m, m->names[b].node, dir_a)))
		return;
	assert_int_equal(nodes_exchange(&m->w->nodes, index_of(m, dir_a), name_a,
					index_of(m, dir_b), name_b),
			 0);
	if (a >= 0) {
		m->names[a].dir = dir_b;
		m->names[a].name = name_b;
	}
	if (b >= 0) {
		m->names[b].dir = dir_a;
		m->names[b].name = name_a;
	}
}

/* Another server: what is open is pinned again, then what nobody needs goes. */
static void do_restart(struct model *m)
{
	struct world *w = m->w;
	int fd = dup(w->store.fd);

	table_close(w);
	assert_int_equal(store_open(fd, &nodes_layout, &w->store), 0);
	assert_int_equal(nodes_init(&w->nodes, &w->store), 0);
	for (int i = 0; i < NODES_MAX; i++)
		for (unsigned n = 0; m->nodes[i].live && n < m->nodes[i].pins; n++)
			nodes_pin(&w->nodes, index_of(m, i));
	nodes_sweep(&w->nodes);
}

/* ---- the comparison ---- */

static void compare_names(struct model *m, int node)
{
	char name[LIMIT_FILE_NAME + 1];
	unsigned expected = 0;
	unsigned n = 0;
	uint32_t parent;

	for (int i = 0; i < NAMES_MAX; i++) {
		struct node_info info;

		if (m->names[i].node != node)
			continue;
		expected++;
		assert_int_equal(nodes_find_name(&m->w->nodes, index_of(m, m->names[i].dir),
						 m->names[i].name, &info),
				 0);
		assert_int_equal(info.index, index_of(m, node));
	}
	while (nodes_name(&m->w->nodes, index_of(m, node), n, &parent, name) == 0)
		n++;
	assert_int_equal(n, expected);
}

static void compare_node(struct model *m, int node)
{
	const struct model_node *n = &m->nodes[node];
	struct node_info info;

	assert_int_equal(nodes_get(&m->w->nodes, n->id, &info), 0);
	assert_int_equal(info.key.ino, n->ino);
	assert_int_equal(info.key.slot, n->by_name ? SLOT_NAMES : SLOT);
	assert_int_equal(info.type, n->type);
	assert_int_equal(!!(info.flags & NODE_GONE), n->gone);
	compare_names(m, node);
}

static void compare(struct model *m, bool whole)
{
	uint32_t nodes = 0;
	uint32_t names = 0;

	for (int i = 0; i < NODES_MAX; i++) {
		nodes += m->nodes[i].live;
		if (whole && m->nodes[i].live)
			compare_node(m, i);
	}
	for (int i = 0; i < NAMES_MAX; i++)
		names += m->names[i].node >= 0;
	for (unsigned i = 0; whole && i < MIN(m->dead_count, DEAD_MAX); i++)
		assert_false(lives(m->w, m->dead[i]));
	assert_int_equal(node_count(m->w), nodes);
	assert_int_equal(link_count(m->w), names);
	if (whole)
		world_check(m->w);
}

static const struct {
	void (*fn)(struct model *m);
	unsigned share;
} operations[] = {
	{do_lookup, 40},  {do_forget, 25}, {do_rename, 12},
	{do_exchange, 6}, {do_remove, 8},  {do_pin, 9},
};

static void step(struct model *m, bool grow)
{
	unsigned at = pick(m, 100);
	size_t i = 0;

	while (at >= operations[i].share)
		at -= operations[i++].share;
	operations[i].fn(m);
	if (!grow)
		do_forget(m);
	model_settle(m);
}

static void add_root(struct model *m, bool by_name)
{
	int node = model_new(m, 0, S_IFDIR, by_name);

	m->nodes[node].id = look_root(m->w, by_name ? SLOT_NAMES : SLOT);
	m->nodes[node].lookups = 1;
}

static void like_the_model(void **state)
{
	struct model *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->w = *state;
	m->random = 20260101;
	for (int i = 0; i < NAMES_MAX; i++)
		m->names[i].node = -1;
	add_root(m, false);
	nodes_forget(&m->w->nodes, m->w->root, 1); /* the fixture's */
	add_root(m, true);
	m->generation = m->w->store.header->generation;
	for (unsigned i = 0; i < OPERATIONS; i++) {
		step(m, i / 500 % 2 == 0);
		if (i % 2000 == 1999)
			do_restart(m);
		compare(m, i % 20 == 0 || i % 2000 == 1999);
	}
	for (int i = 0; i < NODES_MAX; i++) {
		while (m->nodes[i].live && m->nodes[i].pins-- > 0)
			nodes_unpin(&m->w->nodes, index_of(m, i));
		if (m->nodes[i].live)
			forget(m->w, m->nodes[i].id);
	}
	assert_int_equal(node_count(m->w), 0);
	assert_int_equal(link_count(m->w), 0);
	world_check(m->w);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(like_the_model),
	};

	return cmocka_run_group_tests_name("nodes-model", tests, NULL, NULL);
}

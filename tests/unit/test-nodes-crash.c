/*
 * A server that dies in the middle of an update of the node table. One test goes through an
 * update instruction by instruction and lets a next server begin after each one that has changed
 * the shared memory; another kills servers at any time.
 */
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "nodes-world.h"

/* What the tests begin with: some of it takes part, and some must never notice. */
struct stage {
	struct world *w;
	uint64_t dir;	  /* in the root */
	uint64_t lonely;  /* a directory that the kernel has forgotten, for ... */
	uint64_t child;	  /* ... this file in it */
	uint64_t a;	  /* dir/a, and also dir/a2 */
	uint64_t b;	  /* b in the root */
	uint64_t keep;	  /* a directory in the root, with ... */
	uint64_t witness; /* ... this file in it */
};

static void stage_set(struct stage *s, struct world *w)
{
	s->w = w;
	s->keep = look_dir(w, w->root, "keep", 10);
	s->witness = look_file(w, s->keep, "witness with a name of more than 32 bytes", 11);
	s->dir = look_dir(w, w->root, "dir", 12);
	s->a = look_file(w, s->dir, "a", 13);
	(void)look_file(w, s->dir, "a2", 13);
	s->b = look_file(w, w->root, "b", 14);
	s->lonely = look_dir(w, s->dir, "lonely", 15);
	s->child = look_file(w, s->lonely, "child", 16);
	forget(w, s->lonely);
}

/* What nobody touched is as it was. */
static void stage_check(const struct stage *s, struct world *w)
{
	struct node_info info;

	assert_true(lives(w, w->root));
	assert_int_equal(look_dir(w, w->root, "keep", 10), s->keep);
	assert_int_equal(nodes_find_name(&w->nodes, (uint32_t)s->keep,
					 "witness with a name of more than 32 bytes", &info),
			 0);
	assert_int_equal(info.index, (uint32_t)s->witness);
	assert_true(lives(w, s->witness));
	world_check(w);
}

static void forget_all(struct world *w)
{
	struct slab *slab = &w->store.slabs[STORE_NODES];

	for (uint32_t i = 0; i < slab->chunk_count * slab->per_chunk; i++) {
		uint8_t flags;

		if (node_find(&w->nodes, i))
			forget(w, nodes_id(&w->nodes, i, &flags));
	}
	assert_int_equal(node_count(w), 0);
	assert_int_equal(link_count(w), 0);
	assert_int_equal(nodes_slot_count(&w->nodes, SLOT), 0);
	world_check(w);
}

/* ---- updates, and what the disk shows when they are over ---- */

static void update_lookup(struct stage *s)
{
	(void)look_file(s->w, s->dir, "new", 50);
}

static void truth_lookup(const struct stage *s, struct world *w)
{
	uint64_t id = look_file(w, s->dir, "new", 50);

	assert_int_equal(look_file(w, s->dir, "new", 50), id);
	assert_int_equal(look_file(w, s->dir, "a", 13), s->a);
}

static void update_second_name(struct stage *s)
{
	(void)look_file(s->w, s->w->root, "another name of b, a longer one", 14);
}

static void truth_second_name(const struct stage *s, struct world *w)
{
	assert_int_equal(look_file(w, w->root, "another name of b, a longer one", 14), s->b);
	assert_int_equal(look_file(w, w->root, "b", 14), s->b);
}

static void update_name_taken(struct stage *s)
{
	(void)look_file(s->w, s->w->root, "b", 13);
}

static void truth_name_taken(const struct stage *s, struct world *w)
{
	assert_int_equal(look_file(w, w->root, "b", 13), s->a);
	assert_true(lives(w, s->b));
}

static void update_number_reused(struct stage *s)
{
	(void)look_dir(s->w, s->w->root, "b", 14);
}

static void truth_number_reused(const struct stage *s, struct world *w)
{
	uint64_t id = look_dir(w, w->root, "b", 14);

	assert_int_not_equal(id, s->b);
	assert_int_equal(look_dir(w, w->root, "b", 14), id);
	assert_true(lives(w, s->b));
}

/* With the file goes the directory that only it kept. */
static void update_forget(struct stage *s)
{
	forget(s->w, s->child);
}

static void truth_forget(const struct stage *s, struct world *w)
{
	uint64_t lonely = look_dir(w, s->dir, "lonely", 15);

	(void)look_file(w, lonely, "child", 16);
	world_check(w);
}

static void update_rename(struct stage *s)
{
	assert_int_equal(
		nodes_rename(&s->w->nodes, (uint32_t)s->dir, "a", (uint32_t)s->w->root, "b"), 0);
}

static void truth_rename(const struct stage *s, struct world *w)
{
	assert_int_equal(look_file(w, w->root, "b", 13), s->a);
	assert_int_equal(look_file(w, s->dir, "a2", 13), s->a);
	assert_true(lives(w, s->b));
}

static void update_rename_dir(struct stage *s)
{
	assert_int_equal(nodes_rename(&s->w->nodes, (uint32_t)s->dir, "lonely",
				      (uint32_t)s->w->root, "moved"),
			 0);
}

static void truth_rename_dir(const struct stage *s, struct world *w)
{
	struct node_path path;

	assert_int_equal(look_dir(w, w->root, "moved", 15), s->lonely);
	assert_int_equal(nodes_dir_path(&w->nodes, (uint32_t)s->lonely, &path), 0);
	assert_string_equal(path.path, "moved");
}

static void update_exchange(struct stage *s)
{
	assert_int_equal(
		nodes_exchange(&s->w->nodes, (uint32_t)s->dir, "a", (uint32_t)s->w->root, "b"), 0);
}

static void truth_exchange(const struct stage *s, struct world *w)
{
	assert_int_equal(look_file(w, w->root, "b", 13), s->a);
	assert_int_equal(look_file(w, s->dir, "a", 14), s->b);
	assert_int_equal(look_file(w, s->dir, "a2", 13), s->a);
}

static void update_remove(struct stage *s)
{
	nodes_remove_name(&s->w->nodes, (uint32_t)s->w->root, "b", true, NULL);
}

static void truth_remove(const struct stage *s, struct world *w)
{
	(void)look_file(w, w->root, "b", 60);
	assert_true(lives(w, s->b));
}

static const struct update {
	const char *name;
	void (*run)(struct stage *s);
	/* Lookups of what is on the disk afterwards: they find the right nodes. */
	void (*truth)(const struct stage *s, struct world *w);
} updates[] = {
	{"lookup", update_lookup, truth_lookup},
	{"second name", update_second_name, truth_second_name},
	{"name taken", update_name_taken, truth_name_taken},
	{"number reused", update_number_reused, truth_number_reused},
	{"forget", update_forget, truth_forget},
	{"rename over", update_rename, truth_rename},
	{"rename of a directory", update_rename_dir, truth_rename_dir},
	{"exchange", update_exchange, truth_exchange},
	{"remove", update_remove, truth_remove},
};

/* ---- what is in the shared memory ---- */

#define PAGE	     4096
#define REGION_IMAGE (2 * PAGE)

/* The beginning of the header and of each region: all that the few records here need. */
struct image {
	char header[PAGE];
	char bytes[STORE_REGIONS * REGION_IMAGE];
};

static off_t region_at(const struct world *w, int region)
{
	return w->store.slabs[region].base - (char *)w->store.header;
}

static void image_take(const struct world *w, struct image *image)
{
	assert_int_equal(pread(w->store.fd, image->header, PAGE, 0), PAGE);
	for (int i = 0; i < STORE_REGIONS; i++)
		assert_int_equal(pread(w->store.fd, image->bytes + (size_t)i * REGION_IMAGE,
				       REGION_IMAGE, region_at(w, i)),
				 REGION_IMAGE);
}

static void write_pages(int fd, const char *from, size_t size, off_t at)
{
	static const char zero[PAGE];

	for (size_t i = 0; i < size; i += PAGE)
		if (memcmp(from + i, zero, PAGE) != 0)
			assert_int_equal(pwrite(fd, from + i, PAGE, at + (off_t)i), PAGE);
}

/* The name leads to a new file, whatever the crash has left of older ones. */
static void new_file_at_b(struct world *w)
{
	uint64_t id = look_file(w, w->root, "b", 70);
	struct node_info info;

	assert_int_equal(nodes_find_name(&w->nodes, (uint32_t)w->root, "b", &info), 0);
	assert_int_equal(info.index, (uint32_t)id);
	assert_true(node_at(&w->nodes, info.index)->links != LINK_NONE);
}

/* The next server comes: nothing is lost but what was being made or taken apart. */
static void crash_here(const struct stage *s, const struct update *u, const struct image *image)
{
	struct world next = {.root = s->w->root};
	int fd = store_new_fd();

	write_pages(fd, image->header, PAGE, 0);
	for (int i = 0; i < STORE_REGIONS; i++)
		write_pages(fd, image->bytes + (size_t)i * REGION_IMAGE, REGION_IMAGE,
			    region_at(s->w, i));
	table_open(&next, fd);
	stage_check(s, &next);
	u->truth(s, &next);
	stage_check(s, &next);
	new_file_at_b(&next);
	world_check(&next);
	forget_all(&next);
	table_close(&next);
}

/* ---- instruction by instruction ---- */

#define NO_PTRACE 77 /* exit status */

static pid_t start_update(struct stage *s, const struct update *u)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(NO_PTRACE);
		(void)raise(SIGSTOP);
		u->run(s);
		_exit(0);
	}
	return pid;
}

/* Runs the update to its end. Returns how many states the memory went through. */
static unsigned step_through(struct stage *s, const struct update *u, pid_t pid)
{
	struct image *last = calloc(1, sizeof(*last));
	struct image *now = calloc(1, sizeof(*now));
	unsigned states = 0;
	int status;

	assert_true(last && now);
	image_take(s->w, last);
	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		image_take(s->w, now);
		if (memcmp(last, now, sizeof(*now)) != 0) {
			struct image *swap = last;

			crash_here(s, u, now);
			states++;
			last = now;
			now = swap;
		}
		assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
	}
	assert_true(WIFEXITED(status));
	free(last);
	free(now);
	if (WEXITSTATUS(status) == NO_PTRACE)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
	return states;
}

static void a_crash_after_any_instruction(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(updates); i++) {
		void *world;
		struct stage s;
		unsigned states;
		pid_t pid;

		assert_int_equal(world_setup(&world), 0);
		stage_set(&s, world);
		pid = start_update(&s, &updates[i]);
		assert_true(pid > 0);
		states = step_through(&s, &updates[i], pid);
		print_message("%s: %u states\n", updates[i].name, states);
		assert_true(states > 1);
		assert_int_equal(world_teardown(&world), 0);
	}
}

/* ---- what no crash of ours leaves, but a damaged memory may ---- */

/* A record of the size of a short name, with nothing but this in it. */
static void link_make(struct world *w, uint32_t node, uint32_t parent, const char *name)
{
	struct slab *slab = &w->store.slabs[STORE_LINKS_SHORT];
	struct node_link *l;
	uint32_t index;

	assert_int_equal(slab_alloc(slab, &index), 0);
	l = slab_at(slab, index);
	l->parent = parent;
	l->length = (uint8_t)strlen(name);
	memcpy(l->name, name, l->length);
	slab_publish(slab, index, node + 1);
}

static void names_of_nothing_are_dropped(void **state)
{
	struct world *w = *state;
	struct stage s;
	uint32_t links;
	uint32_t half;

	stage_set(&s, w);
	links = link_count(w);
	link_make(w, 5000, (uint32_t)w->root, "no such node");
	link_make(w, UINT32_MAX - 1, (uint32_t)w->root, "no node's number");
	link_make(w, (uint32_t)s.a, 5000, "no such parent");
	link_make(w, (uint32_t)s.a, UINT32_MAX, "no parent");
	assert_int_equal(slab_alloc(&w->store.slabs[STORE_LINKS_SHORT], &half), 0);
	assert_int_equal(slab_alloc(&w->store.slabs[STORE_NODES], &half), 0);
	node_at(&w->nodes, half)->lookups = 7;
	restart(w);
	assert_int_equal(link_count(w), links);
	stage_check(&s, w);
	forget_all(w);
}

/* A node that nobody looked up, and one without a name. */
static void nodes_that_nobody_needs_go(void **state)
{
	struct world *w = *state;
	struct stage s;
	uint64_t stray = look_file(w, w->root, "stray", 80);
	uint64_t nameless;

	stage_set(&s, w);
	nameless = look_file(w, w->root, "nameless", 81);
	nodes_remove_name(&w->nodes, (uint32_t)w->root, "nameless", false, NULL);
	node_at(&w->nodes, (uint32_t)stray)->lookups = 0;
	restart(w);
	assert_false(lives(w, stray));
	assert_true(lives(w, nameless));
	assert_int_equal(look_file(w, w->root, "here again", 81), nameless);
	stage_check(&s, w);
	forget_all(w);
}

/* ---- killed at any time ---- */

#define KILLS 150

/* Random changes, for ever; the names are of all sizes. */
static void work(struct stage *s, unsigned long random)
{
	struct world *w = s->w;
	uint64_t ids[64] = {0};

	for (;;) {
		char name[64];
		char other[64];
		uint64_t *id;

		random = random * 6364136223846793005UL + 1442695040888963407UL;
		id = &ids[random >> 33 & 63];
		(void)snprintf(name, sizeof(name), "%0*d", (int)(random >> 40 & 31) + 1,
			       (int)(random >> 45 & 15));
		(void)snprintf(other, sizeof(other), "%0*d", (int)(random >> 49 & 31) + 1, 7);
		switch (random >> 60) {
		case 0 ... 6:
			*id = look_file(w, s->dir, name, 100 + (random >> 50 & 255));
			break;
		case 7:
			*id = look_dir(w, w->root, name, 400 + (random >> 50 & 7));
			break;
		case 8 ... 9:
			(void)nodes_rename(&w->nodes, (uint32_t)s->dir, name, (uint32_t)w->root,
					   other);
			break;
		case 10:
			(void)nodes_exchange(&w->nodes, (uint32_t)s->dir, name, (uint32_t)w->root,
					     other);
			break;
		case 11:
			nodes_remove_name(&w->nodes, (uint32_t)s->dir, name, random >> 59 & 1,
					  NULL);
			break;
		default:
			forget(w, *id);
			break;
		}
	}
}

static void killed_at_any_time(void **state)
{
	struct world *w = *state;
	struct stage s;
	unsigned long random = 99;

	stage_set(&s, w);
	for (unsigned i = 0; i < KILLS; i++) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0)
			work(&s, i);
		random = random * 6364136223846793005UL + 1442695040888963407UL;
		(void)usleep((useconds_t)(random >> 33) % 5000);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		restart(w);
		stage_check(&s, w);
	}
	assert_true(w->store.header->generation > 1000);
	forget_all(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_crash_after_any_instruction),
		WORLD_TEST(names_of_nothing_are_dropped),
		WORLD_TEST(nodes_that_nobody_needs_go),
		WORLD_TEST(killed_at_any_time),
	};

	return cmocka_run_group_tests_name("nodes-crash", tests, NULL, NULL);
}

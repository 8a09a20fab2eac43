/* SPDX-License-Identifier: Apache-2.0 */
/* Scenes about names: directories, links, renames, deep trees, working directories. */
#include "difftest.h"

#include <fcntl.h>

#define DEEP_LEVELS   24
#define DEEP_NAME_LEN 200

/* Makes the directories everything else lives in, and opens up what chmod closed. */
static void play_dirs(struct gen *g)
{
	static const char *const dirs[] = {"/d0",    "/d1",    "/d2",	 "/d3",
					   "/d0/d0", "/d0/d1", "/d1/d0", "/d0/d0/d0"};

	scene_path(g, USER_ROOT, "chmod", "/", 0777);
	scene_call(g, USER_ROOT, "umask")->n[0] = 0;
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		if (i < 2 || gen_chance(g, 40)) {
			if (gen_chance(g, 40))
				scene_path(g, USER_ROOT, "unlink", dirs[i], 0);
			scene_path(g, USER_ROOT, "mkdir", dirs[i], 0777);
			scene_path(g, USER_ROOT, "chmod", dirs[i],
				   gen_chance(g, 70) ? 0777 : 01777);
		}
	scene_call(g, USER_ROOT, "umask")->n[0] = 022;
}

/* Somebody's working directory is renamed, replaced or removed. */
static void play_cwd(struct gen *g)
{
	static const char *const inside[] = {
		"open",	 "mkdir",   "list_path", "getcwd", "stat",
		"creat", "symlink", "unlink",	 "chmod",
	};
	unsigned int u = gen_user(g);
	struct name d, e;
	struct call *c;

	d = scene_name(g, CLS_DIR);
	e = scene_name(g, CLS_DIR);
	scene_path(g, u, "mkdir", d.s, 0777);
	scene_path(g, u, "chdir", d.s, 0);
	scene_path(g, u, "getcwd", "", 8192);
	if (gen_chance(g, 50))
		scene_path(g, u, "rmdir", d.s, 0);
	else
		scene_two(g, u, gen_chance(g, 70) ? "rename" : "rename_exchange", d.s, e.s)->n[0] =
			2;
	for (unsigned int i = 0; i < 5; i++) {
		c = scene_any(g, u, inside[gen_below(g, ARRAY_SIZE(inside))]);
		if (c->p.s[0] == '/' && gen_chance(g, 80))
			memmove(c->p.s, c->p.s + 1, strlen(c->p.s));
		if (!c->p.s[0])
			snprintf(c->p.s, sizeof(c->p.s), ".");
	}
	scene_path(g, u, "getcwd", "", 8192);
	scene_path(g, u, "stat", "..", 0);
	if (gen_chance(g, 85))
		scene_path(g, u, "chdir", "/", 0);
}

/* A chain whose path is longer than PATH_MAX, made and used relatively. */
static void play_deep(struct gen *g)
{
	unsigned int u = gen_user(g);
	char name[DEEP_NAME_LEN + 1];

	memset(name, 'q', DEEP_NAME_LEN);
	name[DEEP_NAME_LEN] = '\0';
	scene_path(g, u, "chdir", "/", 0);
	for (unsigned int i = 0; i < DEEP_LEVELS; i++) {
		scene_path(g, u, "mkdir", name, 0777);
		scene_path(g, u, "chdir", name, 0);
	}
	scene_path(g, u, "getcwd", "", 8192);
	scene_open(g, u, 10, "f0", O_RDWR | O_CREAT, 0666);
	scene_write(g, u, 10, 100);
	scene_path(g, u, "stat", "f0", 0);
	scene_two(g, u, "link", "f0", "f1");
	scene_two(g, u, "rename", "f0", gen_chance(g, 50) ? "f2" : "/f2");
	scene_path(g, u, "list_path", ".", 32768);
	scene_path(g, u, "unlink", "f1", 0);
	scene_path(g, u, "stat", "../..", 0);
	if (gen_chance(g, 60))
		for (unsigned int i = 0; i < 3; i++)
			scene_path(g, u, i & 1 ? "rmdir" : "chdir", i & 1 ? name : "..", 0);
	scene_path(g, u, "chdir", "/", 0);
}

static void play_links(struct gen *g)
{
	unsigned int u = gen_user(g);
	struct name f, h, k;

	f = scene_name(g, CLS_FILE);
	h = scene_name(g, CLS_FILE);
	k = scene_name(g, CLS_FILE);
	scene_open(g, u, 11, f.s, O_RDWR | O_CREAT | O_NONBLOCK, 0666);
	scene_two(g, u, "link", f.s, h.s);
	scene_two(g, u, "link", h.s, k.s);
	scene_path(g, u, "stat", f.s, 0);
	scene_two(g, u, "rename", f.s, h.s); /* one file: does nothing */
	scene_write(g, u, 11, 100);
	scene_path(g, u, "stat", k.s, 0);
	scene_path(g, u, gen_chance(g, 50) ? "unlink" : "stat", f.s, 0);
	scene_path(g, u, "same_ino", h.s, 0)->slot = 11;
	scene_mutate(g, u, k.s, 11);
	scene_path(g, u, "stat", h.s, 0);
	scene_slot(g, u, "fstat", 11);
	scene_path(g, u, "unlink", k.s, 0);
	scene_path(g, u, "stat", h.s, 0);
}

/* Links in a circle, to themselves, to nothing. */
static void play_loop(struct gen *g)
{
	unsigned int u = gen_user(g);

	scene_two(g, u, "symlink", "loop", "/loop");
	scene_two(g, u, "symlink", "l2", "/l1");
	scene_two(g, u, "symlink", "l1", "/l2");
	scene_two(g, u, "symlink", "none/none", "/l3");
	scene_open(g, u, 0, "/loop", O_RDWR | O_CREAT | O_NONBLOCK, 0666);
	scene_open(g, u, 0, "/l3", O_RDWR | O_CREAT | O_NONBLOCK, 0666);
	scene_open(g, u, 0, "/l1", O_RDONLY | O_NOFOLLOW | O_PATH, 0);
	scene_slot(g, u, "fstat", 0);
	scene_path(g, u, "stat", "/l1", 0);
	scene_path(g, u, "lstat", "/l1", 0);
	scene_two(g, u, "linkat", "/l3", "/f9")->n[0] = gen_chance(g, 50) ? AT_SYMLINK_FOLLOW : 0;
	scene_path(g, u, gen_chance(g, 60) ? "unlink" : "lstat", "/l1", 0);
	scene_path(g, u, gen_chance(g, 60) ? "unlink" : "lstat", "/l2", 0);
	scene_path(g, u, gen_chance(g, 60) ? "unlink" : "lstat", "/l3", 0);
}

/* Who may remove whose files in a sticky directory; groups in a set-gid one. */
static void play_shared_dir(struct gen *g)
{
	struct call *c;
	struct name d;
	char p[700], q[700];

	d = scene_name(g, CLS_DIR);
	scene_path(g, USER_TWO, "mkdir", d.s, 0777);
	c = scene_path(g, USER_ROOT, "chown", d.s, gen_chance(g, 50) ? 1002 : 0);
	c->n[1] = gen_chance(g, 60) ? 2000 : 2001;
	scene_path(g, USER_ROOT, "chmod", d.s, gen_chance(g, 50) ? 03777 : 02777);
	snprintf(p, sizeof(p), "%s/f0", d.s);
	scene_open(g, USER_ONE, 0, p, O_RDWR | O_CREAT | O_NONBLOCK, gen_mode(g));
	scene_path(g, USER_ROOT, "stat", p, 0);
	snprintf(q, sizeof(q), "%s/d0", d.s);
	scene_path(g, USER_NOBODY, "mkdir", q, gen_mode_dir(g));
	scene_path(g, USER_ROOT, "stat", q, 0);
	scene_two(g, USER_NOBODY, "rename", p, "/f5");
	scene_two(g, USER_NOBODY, "rename", "/f5", p);
	scene_two(g, USER_ONE, "rename_exchange", p, q)->n[0] = 2;
	scene_path(g, USER_NOBODY, "unlink", p, 0);
	scene_path(g, USER_TWO, gen_chance(g, 50) ? "rmdir" : "unlink", q, 0);
	scene_path(g, USER_ONE, "unlink", p, 0);
}

/* An open directory whose content changes. */
static void play_listing(struct gen *g)
{
	unsigned int u = gen_user(g);
	struct name d;
	char p[700];

	d = scene_name(g, CLS_DIR);
	scene_path(g, u, "mkdir", d.s, 0777);
	scene_open(g, u, 1, d.s, O_RDONLY | O_DIRECTORY, 0);
	for (unsigned int i = 0; i < 8; i++) {
		snprintf(p, sizeof(p), "%s/%s", d.s, gen_name(g, CLS_FILE));
		scene_path(g, u, i % 3 == 2 ? "unlink" : "mknod_reg", p, S_IFREG | 0644);
		if (i % 3 == 1)
			scene_slot(g, u, gen_chance(g, 70) ? "list" : "list_seek", 1);
	}
	scene_slot(g, u, "list", 1);
	if (gen_chance(g, 30)) {
		snprintf(p, sizeof(p), "/%s", gen_name(g, CLS_DIR));
		scene_two(g, u, "rename", d.s, p);
		scene_slot(g, u, "list", 1);
	}
	if (gen_chance(g, 30)) {
		scene_path(g, u, "rmdir", d.s, 0);
		scene_slot(g, u, "list", 1);
		scene_slot(g, u, "fstat", 1);
	}
}

/* Many names, so that listings need several buffers; gone again at the end. */
static void play_many(struct gen *g)
{
	unsigned int n = 20 + gen_below(g, 15);
	char p[96];

	scene_path(g, USER_ROOT, "mkdir", "/many", 0777);
	scene_open(g, USER_ROOT, 2, "/many", O_RDONLY | O_DIRECTORY, 0);
	for (unsigned int i = 0; i < n; i++) {
		snprintf(p, sizeof(p), "/many/%u_%060u", gen_below(g, 200), i % 7);
		scene_path(g, USER_ROOT, i % 5 ? "mknod_reg" : "mkdir", p,
			   0755 | (i % 5 ? S_IFREG : 0));
	}
	scene_slot(g, USER_ROOT, "list", 2)->n[0] = 300;
	scene_slot(g, USER_ROOT, "list", 2);
	for (unsigned int i = 0; i < n / 2; i++) {
		snprintf(p, sizeof(p), "/many/%u_%060u", gen_below(g, 200), i % 7);
		scene_path(g, USER_ROOT, "unlink", p, 0);
	}
	scene_slot(g, USER_ROOT, "list_seek", 2);
	scene_slot(g, USER_ROOT, "list", 2);
}

static void play_rename_dirs(struct gen *g)
{
	unsigned int u = gen_user(g);
	struct name a, b;
	char p[700];

	a = scene_name(g, CLS_DIR);
	b = scene_name(g, CLS_DIR);
	scene_path(g, u, "mkdir", a.s, 0777);
	scene_path(g, u, "mkdir", b.s, 0777);
	snprintf(p, sizeof(p), "%s/f0", a.s);
	scene_open(g, u, 3, p, O_RDWR | O_CREAT | O_NONBLOCK, 0644);
	scene_two(g, u, "rename", a.s, b.s);
	scene_path(g, u, "stat", p, 0);
	snprintf(p, sizeof(p), "%s/f0", b.s);
	scene_path(g, u, "same_ino", p, 0)->slot = 3;
	scene_mutate(g, u, p, 3);
	scene_path(g, u, "stat", p, 0);
	scene_two(g, u, "rename", b.s, p);
	scene_path(g, u, "rmdir", b.s, 0);
	scene_path(g, u, "stat", b.s, 0);
}

/* Removes what was made lately, so that the tree stays small and names get free. */
static void play_sweep(struct gen *g)
{
	struct path p;

	for (unsigned int i = 0; i < 12; i++) {
		enum cls cls = gen_below(g, CLS_ANY);

		g->user = gen_below(g, RECENT) ? USER_ROOT : gen_user(g);
		if (gen_recent(g, &p, cls))
			scene_path(g, g->user, cls == CLS_DIR ? "rmdir" : "unlink", p.s, 0);
	}
}

static const struct scene scenes[] = {
	{play_dirs, 24},  {play_sweep, 24},	  {play_cwd, 14},	{play_deep, 3},
	{play_links, 12}, {play_loop, 4},	  {play_shared_dir, 8}, {play_listing, 8},
	{play_many, 3},	  {play_rename_dirs, 12},
};

const struct scene_set scenes_dir = {scenes, ARRAY_SIZE(scenes)};

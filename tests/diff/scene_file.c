/* SPDX-License-Identifier: Apache-2.0 */
/* Scenes about the content of files and about open files. */
#include "difftest.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>

/* A slot that the scene fills. */
static int any_slot(struct gen *g)
{
	return (int)gen_below(g, SLOTS);
}

/* Creates a file with something in it. */
static void play_make(struct gen *g)
{
	unsigned int u = gen_user(g);
	int slot = any_slot(g);
	struct name f;

	f = scene_name(g, CLS_FILE);
	scene_open(g, u, slot, f.s, O_RDWR | O_CREAT | O_NONBLOCK, gen_chance(g, 60) ? 0666 : 0644);
	scene_write(g, u, slot, gen_len(g));
	if (gen_chance(g, 40))
		scene_slot(g, u, "close", slot);
	scene_path(g, gen_user(g), "stat", f.s, 0);
}

/* A file goes on living without a name. */
static void play_unlinked(struct gen *g)
{
	static const char *const after[] = {
		"fstat",     "read",	    "pread",	    "write",	   "pwrite",
		"fchmod",    "fsetxattr",   "fgetxattr",    "fchown",	   "ftruncate",
		"fsync",     "linkat_proc", "linkat_empty", "futimens",	   "mmap_shared",
		"fallocate", "flistxattr",  "reopen",	    "fcntl_setlk",
	};
	unsigned int u = gen_user(g);
	int slot = any_slot(g);
	struct name f;

	f = scene_name(g, CLS_FILE);
	scene_open(g, u, slot, f.s, O_RDWR | O_CREAT | O_NONBLOCK, 0666);
	scene_write(g, u, slot, gen_len(g));
	scene_path(g, u, "unlink", f.s, 0);
	scene_slot(g, u, "fstat", slot);
	for (unsigned int i = 0; i < 5; i++)
		scene_slot(g, u, after[gen_below(g, ARRAY_SIZE(after))], slot);
	if (gen_chance(g, 50))
		scene_open(g, u, any_slot(g), f.s, O_RDWR | O_CREAT | O_NONBLOCK, 0666);
	scene_path(g, u, "same_ino", f.s, 0)->slot = slot;
	scene_slot(g, u, "fstat", slot);
}

/* The name of an open file is taken over by another file. */
static void play_replaced(struct gen *g)
{
	unsigned int u = gen_user(g);
	int slot = any_slot(g);
	struct name f, h;

	f = scene_name(g, CLS_FILE);
	h = scene_name(g, CLS_FILE);
	scene_open(g, u, slot, f.s, O_RDWR | O_CREAT | O_NONBLOCK, 0666);
	scene_write(g, u, slot, 5000);
	scene_two(g, u, gen_chance(g, 50) ? "rename" : "rename_exchange", h.s, f.s)->n[0] =
		RENAME_EXCHANGE;
	scene_path(g, u, "same_ino", f.s, 0)->slot = slot;
	scene_mutate(g, u, f.s, slot);
	scene_path(g, u, "stat", f.s, 0);
	scene_path(g, u, "stat", h.s, 0);
	scene_slot(g, u, "pread", slot);
}

static void play_tmpfile(struct gen *g)
{
	unsigned int u = gen_user(g);
	int slot = any_slot(g);
	struct call *c;
	struct name f;

	f = scene_name(g, CLS_FILE);
	c = scene_open(g, u, slot, gen_chance(g, 70) ? "/" : "/d0", O_TMPFILE | O_RDWR, 0666);
	if (gen_chance(g, 15))
		c->n[0] |= O_EXCL;
	c->n[1] = gen_mode(g);
	c->kind = kind_find("open_tmpfile");
	scene_write(g, u, slot, gen_len(g));
	scene_slot(g, u, "fstat", slot);
	scene_mutate(g, u, "/none", slot);
	c = scene_call(g, u, gen_chance(g, 60) ? "linkat_proc" : "linkat_empty");
	c->slot = slot;
	snprintf(c->q.s, sizeof(c->q.s), "%s", f.s);
	scene_slot(g, u, "fstat", slot);
	scene_path(g, u, "stat", f.s, 0);
	scene_path(g, u, "same_ino", f.s, 0)->slot = slot;
}

/* Writing, truncating and allocating a little, reading back through another open file. */
static void play_content(struct gen *g)
{
	static const char *const kinds[] = {
		"pwrite",	   "pwrite",	  "write",	  "ftruncate", "fallocate",
		"fallocate",	   "mmap_shared", "mmap_private", "pread",     "lseek_data_hole",
		"copy_file_range", "pwritev2",	  "fsync",	  "readv",     "splice_read",
	};
	unsigned int u = gen_user(g);
	int slot = any_slot(g), other = any_slot(g);
	struct call *c;
	struct name f;

	f = scene_name(g, CLS_FILE);
	scene_open(g, u, slot, f.s, O_RDWR | O_CREAT | O_NONBLOCK, 0666);
	c = scene_open(g, u, other, f.s, O_RDWR | O_NONBLOCK, 0);
	c->n[0] |= gen_chance(g, 40) ? O_DIRECT : 0;
	c->n[0] |= gen_chance(g, 20) ? O_APPEND : 0;
	for (unsigned int i = 0; i < 10; i++) {
		int which = gen_chance(g, 60) ? slot : other;

		c = scene_slot(g, u, kinds[gen_below(g, ARRAY_SIZE(kinds))], which);
		c->slot2 = slot;
	}
	scene_slot(g, u, "pread", slot)->n[1] = 0;
	scene_path(g, u, "stat", f.s, 0);
}

/* Holes and data at known places, with no block that is allocated but not written. */
static void play_sparse(struct gen *g)
{
	unsigned int u = gen_user(g);
	int slot = any_slot(g);
	struct call *c;
	struct name f;

	f = scene_name(g, CLS_FILE);
	scene_path(g, u, "unlink", f.s, 0);
	scene_slot(g, u, "close", slot); /* or the open fails and an older file is looked at */
	scene_open(g, u, slot, f.s, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0666);
	scene_slot(g, u, "ftruncate", slot)->n[0] = 1 << 20;
	for (unsigned int i = 0; i < 3; i++) {
		c = scene_slot(g, u, "pwrite", slot);
		c->n[0] = gen_below(g, 16) << 16;
		c->data_len = 4096 * (1 + gen_below(g, 20));
	}
	scene_slot(g, u, "fsync", slot);
	for (unsigned int i = 0; i < 6; i++) {
		c = scene_slot(g, u, "seek_exact", slot);
		c->n[0] = gen_below(g, (1 << 20) + 5000);
	}
}

/* Appending by several users and open files. */
static void play_append(struct gen *g)
{
	struct name f;

	f = scene_name(g, CLS_FILE);
	scene_open(g, USER_ONE, 3, f.s, O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK, 0666);
	scene_path(g, USER_ONE, "chmod", f.s, 0666);
	scene_open(g, USER_TWO, 3, f.s, O_WRONLY | O_APPEND | O_NONBLOCK, 0);
	scene_open(g, USER_ROOT, 3, f.s, O_RDWR | O_NONBLOCK, 0);
	for (unsigned int i = 0; i < 6; i++) {
		unsigned int u = gen_below(g, USER_NOBODY);

		scene_write(g, u, 3, 1 + gen_below(g, 5000));
	}
	scene_slot(g, USER_ROOT, "fstat", 3);
	scene_slot(g, USER_ONE, "pread", 3)->n[1] = 0;
	scene_slot(g, USER_ONE, "lseek", 3);
}

static void play_locks(struct gen *g)
{
	static const char *const kinds[] = {
		"flock",       "flock",	    "fcntl_setlk", "fcntl_setlk",
		"fcntl_getlk", "ofd_setlk", "ofd_getlk",   "fcntl_getlk",
	};
	struct name f;

	f = scene_name(g, CLS_FILE);
	scene_open(g, USER_ROOT, 4, f.s, O_RDWR | O_CREAT | O_NONBLOCK, 0666);
	scene_path(g, USER_ROOT, "chmod", f.s, 0666);
	scene_open(g, USER_ONE, 4, f.s, O_RDWR | O_NONBLOCK, 0);
	scene_open(g, USER_TWO, 4, f.s, O_NONBLOCK | (gen_chance(g, 50) ? O_RDWR : O_RDONLY), 0);
	scene_open(g, USER_ONE, 5, f.s, O_RDWR | O_NONBLOCK, 0);
	for (unsigned int i = 0; i < 14; i++) {
		unsigned int u = gen_below(g, USER_NOBODY);
		int slot = u == USER_ONE && gen_chance(g, 40) ? 5 : 4;

		scene_slot(g, u, kinds[gen_below(g, ARRAY_SIZE(kinds))], slot);
	}
	scene_slot(g, USER_ONE, "close", 5);
	scene_slot(g, USER_TWO, "fcntl_getlk", 4);
	scene_slot(g, USER_ROOT, "close", 4);
	scene_slot(g, USER_TWO, "flock", 4);
}

/* The file size limit of a process. */
static void play_fsize(struct gen *g)
{
	static const char *const kinds[] = {
		"write",    "pwrite",	       "ftruncate",    "fallocate",
		"pwritev2", "copy_file_range", "splice_write",
	};
	unsigned int u = gen_user(g);
	int slot = any_slot(g);
	struct name f;

	f = scene_name(g, CLS_FILE);
	scene_open(g, u, slot, f.s, O_RDWR | O_CREAT | O_NONBLOCK, 0666);
	scene_path(g, u, "rlimit_fsize", "", gen_chance(g, 50) ? 8192 : 5000);
	for (unsigned int i = 0; i < 5; i++)
		scene_slot(g, u, kinds[gen_below(g, ARRAY_SIZE(kinds))], slot)->slot2 = slot;
	scene_path(g, u, "truncate", f.s, 10000);
	scene_slot(g, u, "fstat", slot);
	scene_path(g, u, "rlimit_fsize", "", -1);
}

/* A FIFO between two users, never waiting. */
static void play_fifo(struct gen *g)
{
	struct name p;

	p = scene_name(g, CLS_SPECIAL);
	scene_path(g, USER_ONE, "mknod_fifo", p.s, S_IFIFO | 0666);
	scene_path(g, USER_ONE, "chmod", p.s, 0666);
	scene_open(g, USER_TWO, 6, p.s, O_WRONLY | O_NONBLOCK, 0);
	scene_open(g, USER_ONE, 6, p.s, O_RDONLY | O_NONBLOCK, 0);
	scene_open(g, USER_TWO, 6, p.s, O_WRONLY | O_NONBLOCK, 0);
	scene_write(g, USER_TWO, 6, 1 + gen_below(g, 3000));
	scene_slot(g, USER_ONE, "read", 6);
	scene_slot(g, USER_ONE, "lseek", 6);
	scene_slot(g, USER_ONE, "ioctl_fionread", 6);
	scene_slot(g, USER_ONE, "close", 6);
	scene_write(g, USER_TWO, 6, 100);
	scene_slot(g, USER_TWO, "fstat", 6);
	scene_slot(g, USER_TWO, "close", 6);
}

static void play_reflink(struct gen *g)
{
	unsigned int u = gen_user(g);
	struct name f, h;

	if (!g->beyond_fuse) {
		play_make(g);
		return;
	}
	f = scene_name(g, CLS_FILE);
	h = scene_name(g, CLS_FILE);
	scene_open(g, u, 7, f.s, O_RDWR | O_CREAT | O_NONBLOCK, 0666);
	scene_write(g, u, 7, gen_len(g));
	scene_open(g, u, 8, h.s, O_RDWR | O_CREAT | O_NONBLOCK, 0666);
	scene_slot(g, u, "ficlone", 7)->slot2 = 8;
	scene_slot(g, u, "pwrite", 7);
	scene_slot(g, u, "ficlonerange", 8)->slot2 = 7;
	scene_slot(g, u, "pread", 8)->n[1] = 0;
	scene_path(g, u, "stat", h.s, 0);
}

static const struct scene scenes[] = {
	{play_make, 60},    {play_unlinked, 20}, {play_replaced, 12}, {play_tmpfile, 12},
	{play_content, 30}, {play_append, 6},	 {play_locks, 14},    {play_fsize, 5},
	{play_fifo, 6},	    {play_reflink, 5},	 {play_sparse, 8},
};

const struct scene_set scenes_file = {scenes, ARRAY_SIZE(scenes)};

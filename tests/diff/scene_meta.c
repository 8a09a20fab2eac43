/* SPDX-License-Identifier: Apache-2.0 */
/* Scenes about attributes: set-id bits, capabilities, ACLs, times, inode flags. */
#include "difftest.h"

#include <fcntl.h>
#include <linux/fs.h>

/* A file of user one that everybody may write, open for both. */
static void shared_file(struct gen *g, const char *f, int64_t mode)
{
	scene_path(g, USER_ROOT, "unlink", f, 0);
	scene_open(g, USER_ONE, 1, f, O_RDWR | O_CREAT | O_NONBLOCK, 0666);
	scene_write(g, USER_ONE, 1, 3000);
	scene_path(g, USER_ONE, "chmod", f, mode);
}

/* Set-id bits: which changes take them away? */
static void play_setid(struct gen *g)
{
	static const int64_t modes[] = {06777, 04777, 02777, 02767, 06666, 06711, 04755, 02676};
	unsigned int u = gen_user(g);
	struct name f;
	int64_t mode = GEN_FROM(g, modes);

	f = scene_name(g, CLS_FILE);
	shared_file(g, f.s, mode);
	scene_open(g, u, 2, f.s, O_RDWR | O_NONBLOCK, 0);
	for (unsigned int i = 0; i < 3; i++) {
		scene_mutate(g, u, f.s, 2);
		scene_path(g, u, "stat", f.s, 0);
		scene_path(g, USER_ROOT, "chmod", f.s, mode);
	}
	scene_open(g, u, 2, f.s, O_RDWR | O_TRUNC | O_NONBLOCK, 0);
	scene_path(g, u, "stat", f.s, 0);
}

/* A file capability does not survive a write. */
static void play_cap(struct gen *g)
{
	unsigned int u = gen_user(g);
	struct call *c;
	struct name f;

	f = scene_name(g, CLS_FILE);
	shared_file(g, f.s, 0777);
	c = scene_path(g, gen_chance(g, 85) ? USER_ROOT : u, "cap_set", f.s, 0);
	gen_cap(g, c);
	c = scene_path(g, u, "cap_get", f.s, 64);
	snprintf(c->name, sizeof(c->name), "security.capability");
	scene_open(g, u, 2, f.s, O_RDWR | O_NONBLOCK, 0);
	scene_mutate(g, u, f.s, 2);
	c = scene_path(g, u, "cap_get", f.s, 64);
	snprintf(c->name, sizeof(c->name), "security.capability");
	scene_path(g, u, "listxattr", f.s, 4096);
	scene_path(g, u, "stat", f.s, 0);
}

static void get_acl(struct gen *g, unsigned int user, const char *p, const char *which)
{
	struct call *c = scene_path(g, user, "acl_get", p, 4096);

	snprintf(c->name, sizeof(c->name), "system.posix_acl_%s", which);
}

static void play_acl_default(struct gen *g)
{
	unsigned int u = gen_user(g);
	struct name d;
	char p[700];

	d = scene_name(g, CLS_DIR);
	scene_path(g, u, "mkdir", d.s, gen_mode_dir(g));
	gen_acl(g, scene_path(g, u, "acl_set", d.s, 0), true, true);
	get_acl(g, u, d.s, "default");
	scene_any(g, u, "umask");
	snprintf(p, sizeof(p), "%s/%s", d.s, gen_name(g, CLS_FILE));
	scene_open(g, u, 3, p, O_RDWR | O_CREAT | O_NONBLOCK, gen_mode(g));
	get_acl(g, u, p, "access");
	scene_path(g, u, "stat", p, 0);
	snprintf(p, sizeof(p), "%s/%s", d.s, gen_name(g, CLS_DIR));
	scene_path(g, u, "mkdir", p, gen_mode_dir(g));
	get_acl(g, u, p, "default");
	get_acl(g, u, p, "access");
	scene_path(g, u, "stat", p, 0);
	snprintf(p, sizeof(p), "%s/%s", d.s, gen_name(g, CLS_SPECIAL));
	scene_path(g, u, "mknod_fifo", p, S_IFIFO | gen_mode(g));
	scene_path(g, u, "stat", p, 0);
	snprintf(p, sizeof(p), "%s/%s", d.s, gen_name(g, CLS_LINK));
	scene_two(g, u, "symlink", "f0", p);
	get_acl(g, u, p, "access");
	scene_call(g, u, "umask")->n[0] = 022;
}

/* What an access ACL lets the users do, and how chmod and chown treat it. */
static void play_acl_access(struct gen *g)
{
	struct name f;

	f = scene_name(g, CLS_FILE);
	shared_file(g, f.s, 0664);
	gen_acl(g, scene_path(g, USER_ONE, "acl_set", f.s, 0), gen_chance(g, 90), false);
	scene_path(g, USER_ONE, "stat", f.s, 0);
	for (unsigned int u = 0; u < USER_MAX; u++) {
		scene_path(g, u, "access", f.s, gen_below(g, 8));
		scene_open(g, u, 2, f.s, O_RDWR | O_NONBLOCK, 0);
	}
	scene_path(g, USER_ONE, "chmod", f.s, gen_mode(g));
	get_acl(g, USER_ONE, f.s, "access");
	scene_any(g, USER_ROOT, "umask");
	scene_path(g, USER_TWO, "access", f.s, 6);
	scene_path(g, USER_ROOT, "stat", f.s, 0);
}

/* Gives a path old explicit times. */
static void make_old(struct gen *g, const char *p, int64_t mtime)
{
	struct call *c = scene_path(g, USER_ROOT, "utimensat", p, 981173106);

	c->n[2] = mtime;
	c->n[3] = 123456789;
	c->n[5] = 1;
}

/* Any call, made to act on the file of play_times(). */
static void act_on(struct gen *g, unsigned int user, const char *d, const char *f)
{
	static const char *const kinds[] = {
		"mkdir",	   "unlink",   "rename", "link",      "symlink",
		"mknod_fifo",	   "creat",    "rmdir",	 "chmod",     "chown",
		"setxattr",	   "truncate", "write",	 "fallocate", "pread",
		"rename_exchange", "reopen",
	};
	struct call *c = scene_any(g, user, kinds[gen_below(g, ARRAY_SIZE(kinds))]);

	c->slot = 9;
	c->p.base = c->q.base = BASE_CWD;
	snprintf(c->p.s, sizeof(c->p.s), "%s", f);
	if (c->q.s[0] && gen_chance(g, 50))
		snprintf(c->q.s, sizeof(c->q.s), "%s/f%u", d, gen_below(g, 4));
}

/* Old explicit times first; then it is certain which times a call changed. */
static void play_times(struct gen *g)
{
	unsigned int u = gen_chance(g, 70) ? USER_ROOT : gen_user(g);
	const char *d = gen_chance(g, 50) ? "/d0" : "/d1";
	char f[64];

	snprintf(f, sizeof(f), "%s/f%u", d, gen_below(g, 3));
	scene_path(g, USER_ROOT, "mkdir", d, 0777);
	scene_open(g, USER_ROOT, 9, f, O_RDWR | O_CREAT | O_NONBLOCK, 0666);
	scene_write(g, USER_ROOT, 9, 2000);
	make_old(g, f, 1234567890);
	make_old(g, d, 1000000000);
	scene_two(g, u, "time_mark", f, d);
	if (gen_chance(g, 40))
		scene_mutate(g, USER_ROOT, f, 9);
	else
		act_on(g, u, d, f);
	scene_two(g, u, "time_check", f, d);
	scene_path(g, u, "stat", f, 0);
}

/* Append-only, immutable and nodump files, seen by root and by others. */
static void play_flags(struct gen *g)
{
	static const int64_t flags[] = {
		FS_IMMUTABLE_FL,
		FS_APPEND_FL,
		FS_NODUMP_FL,
		FS_IMMUTABLE_FL | FS_APPEND_FL,
	};
	bool dir = gen_chance(g, 30);
	struct call *c;
	struct name f;
	char p[700];

	f = scene_name(g, dir ? CLS_DIR : CLS_FILE);
	snprintf(p, sizeof(p), "%s%s", f.s, dir ? "/f0" : "");
	if (dir)
		scene_path(g, USER_ROOT, "mkdir", f.s, 0777);
	scene_open(g, USER_ONE, 5, p, O_RDWR | O_CREAT | O_NONBLOCK, 0666);
	scene_write(g, USER_ONE, 5, 600);
	scene_open(g, USER_ROOT, 5, f.s, O_RDONLY | O_NONBLOCK, 0);
	c = scene_slot(g, USER_ROOT, "ioctl_setflags", 5);
	c->n[0] = GEN_FROM(g, flags);
	scene_slot(g, USER_ONE, "ioctl_getflags", 5);
	if (g->beyond_fuse)
		scene_path(g, USER_ONE, "statx_attrs", f.s, 0);
	for (unsigned int i = 0; i < 4; i++) {
		unsigned int u = gen_chance(g, 50) ? USER_ROOT : USER_ONE;

		scene_open(g, u, 6, p, O_RDWR | O_CREAT | O_NONBLOCK | (i & 1 ? O_APPEND : 0),
			   0644);
		c = scene_mutate(g, u, p, gen_chance(g, 50) ? 5 : 6);
		if (c->kind == kind_find("mmap_shared") && !g->beyond_fuse)
			c->kind = kind_find("mmap_private");
	}
	scene_path(g, USER_ROOT, "utimensat_null", p, 0);
	scene_two(g, USER_ROOT, "link", p, "/f8");
	scene_two(g, USER_ROOT, "rename", p, "/f7");
	scene_path(g, USER_ROOT, "unlink", p, 0);
	scene_slot(g, USER_ONE, "ioctl_setflags", 5)->n[0] = 0;
	scene_slot(g, USER_ROOT, "ioctl_setflags", 5)->n[0] = 0;
	scene_path(g, USER_ROOT, "stat", p, 0);
}

/* Several xattrs on one file, by everybody, by slot and by path. */
static void play_xattrs(struct gen *g)
{
	static const char *const kinds[] = {
		"fsetxattr", "fsetxattr", "fsetxattr", "fgetxattr", "flistxattr", "fremovexattr",
		"setxattr",  "lsetxattr", "getxattr",  "getxattr",  "lgetxattr",  "removexattr",
	};
	struct name f;

	f = scene_name(g, CLS_FILE);
	shared_file(g, f.s, gen_chance(g, 70) ? 0666 : 0644);
	for (unsigned int u = 0; u < USER_MAX; u++)
		scene_open(g, u, 7, f.s,
			   u == USER_TWO ? O_RDONLY | O_NONBLOCK : O_RDWR | O_NONBLOCK, 0);
	for (unsigned int i = 0; i < 12; i++) {
		const char *kind = kinds[gen_below(g, ARRAY_SIZE(kinds))];
		struct call *c = scene_slot(g, gen_user(g), kind, 7);

		c->p.base = BASE_CWD;
		snprintf(c->p.s, sizeof(c->p.s), "%s", f.s);
	}
	scene_path(g, USER_ROOT, "listxattr", f.s, 65536);
	scene_path(g, USER_NOBODY, "listxattr", f.s, 65536);
}

/* chown by the owner to each of its groups, and what is refused. */
static void play_owner(struct gen *g)
{
	struct call *c;
	struct name f;

	f = scene_name(g, CLS_FILE);
	shared_file(g, f.s, 06775);
	for (unsigned int i = 0; i < 4; i++) {
		/* of nothing, by its owner: see gen_owner() */
		c = scene_path(g, gen_chance(g, 60) || !g->beyond_fuse ? USER_ONE : gen_user(g),
			       "chown", f.s, -1);
		if (gen_chance(g, 40))
			c->n[0] = gen_id(g);
		c->n[1] = gen_id(g);
		scene_path(g, USER_ONE, "stat", f.s, 0);
	}
}

static const struct scene scenes[] = {
	{play_setid, 12}, {play_cap, 8},   {play_acl_default, 14}, {play_acl_access, 8},
	{play_times, 22}, {play_flags, 8}, {play_xattrs, 12},	   {play_owner, 8},
};

const struct scene_set scenes_meta = {scenes, ARRAY_SIZE(scenes)};

/* SPDX-License-Identifier: Apache-2.0 */
/* Kinds: looking at attributes, access checks, and what changes did to times. */
#include "difftest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef SYS_faccessat2
#define SYS_faccessat2 439
#endif

int sys_faccessat2(int fd, const char *path, int mode, int flags)
{
	return (int)syscall(SYS_faccessat2, fd, path, mode, flags);
}

static void g_path_any(struct gen *g, struct call *c)
{
	gen_path(g, &c->p, CLS_ANY);
}

static void g_path_file(struct gen *g, struct call *c)
{
	gen_path(g, &c->p, gen_chance(g, 60) ? CLS_FILE : CLS_ANY);
}

static void g_slot_any(struct gen *g, struct call *c)
{
	c->slot = gen_slot(g, HINT_ANY);
}

static void stat_back(struct worker *w, struct result *r, int ret, const struct stat *st)
{
	res_set(r, ret);
	if (ret == 0)
		res_stat(r, w, st);
}

static void x_stat(struct worker *w, const struct call *c, struct result *r)
{
	struct stat st;

	stat_back(w, r, stat(c->p.s, &st), &st);
}

static void x_lstat(struct worker *w, const struct call *c, struct result *r)
{
	struct stat st;

	stat_back(w, r, lstat(c->p.s, &st), &st);
}

/* Also checks that an open file keeps its inode number. */
static void x_fstat(struct worker *w, const struct call *c, struct result *r)
{
	struct stat st;
	int ret = fstat(worker_fd(w, c->slot), &st);

	stat_back(w, r, ret, &st);
	if (ret < 0)
		return;
	if (!w->ino[c->slot])
		w->ino[c->slot] = st.st_ino;
	res_fmt(r, " ino=%s", w->ino[c->slot] == st.st_ino ? "stable" : "changed");
}

static void g_fstatat(struct gen *g, struct call *c)
{
	static const struct flag_odds odds[] = {{AT_SYMLINK_NOFOLLOW, 50}, {AT_NO_AUTOMOUNT, 10}};

	gen_path_at(g, &c->p, CLS_ANY);
	c->n[0] = GEN_FLAGS(g, odds);
	if (gen_chance(g, 15)) {
		c->p.base = gen_slot(g, HINT_ANY);
		c->p.s[0] = '\0';
		c->n[0] |= AT_EMPTY_PATH;
	}
}

static void x_fstatat(struct worker *w, const struct call *c, struct result *r)
{
	struct stat st;

	stat_back(w, r, fstatat(worker_dirfd(w, &c->p), c->p.s, &st, (int)c->n[0]), &st);
}

/* Is the file that the path leads to the one in the slot? */
static void g_same_ino(struct gen *g, struct call *c)
{
	gen_path(g, &c->p, CLS_FILE);
	c->slot = gen_slot(g, HINT_FILE);
}

static void x_same_ino(struct worker *w, const struct call *c, struct result *r)
{
	struct stat a, b;

	if (known_deleted_path(w, worker_fd(w, c->slot), r))
		return;
	res_set(r, stat(c->p.s, &a));
	if (r->ret == 0)
		res_set(r, fstat(worker_fd(w, c->slot), &b));
	if (r->ret == 0)
		res_fmt(r, " same=%d", a.st_ino == b.st_ino && a.st_dev == b.st_dev);
}

static void g_statx(struct gen *g, struct call *c)
{
	static const int64_t masks[] = {
		0,
		STATX_BASIC_STATS,
		STATX_BASIC_STATS,
		STATX_BASIC_STATS,
		STATX_ALL,
		STATX_SIZE,
		STATX_TYPE | STATX_MODE,
		STATX_MTIME | STATX_CTIME,
		STATX_NLINK,
		STATX_UID | STATX_GID,
		STATX_INO,
		STATX_BLOCKS,
		0x80000000ll,
	};
	static const int64_t syncs[] = {AT_STATX_SYNC_AS_STAT, AT_STATX_FORCE_SYNC};

	g_fstatat(g, c);
	c->n[0] |= GEN_FROM(g, syncs);
	c->n[1] = GEN_FROM(g, masks);
}

static struct timespec statx_time(const struct statx_timestamp *t)
{
	return (struct timespec){.tv_sec = t->tv_sec, .tv_nsec = t->tv_nsec};
}

/* Only what was asked for and given; "asked" shows when less was given. */
static void x_statx(struct worker *w, const struct call *c, struct result *r)
{
	uint32_t asked = c->n[1] & STATX_BASIC_STATS & ~STATX_ATIME, got;
	struct statx stx;

	res_set(r,
		statx(worker_dirfd(w, &c->p), c->p.s, (int)c->n[0], (unsigned int)c->n[1], &stx));
	if (r->ret < 0)
		return;
	got = asked & stx.stx_mask;
	res_fmt(r, " mask=%#x", got);
	if (got & STATX_TYPE)
		res_fmt(r, " type=%#o", stx.stx_mode & S_IFMT);
	if (got & STATX_MODE)
		res_fmt(r, " perm=%#o", stx.stx_mode & 07777);
	if (got & STATX_NLINK)
		res_fmt(r, " nlink=%u", stx.stx_nlink);
	if (got & STATX_UID)
		res_fmt(r, " uid=%u", stx.stx_uid);
	if (got & STATX_GID)
		res_fmt(r, " gid=%u", stx.stx_gid);
	if ((got & STATX_SIZE) && !S_ISDIR(stx.stx_mode))
		res_fmt(r, " size=%llu", (unsigned long long)stx.stx_size);
	if ((got & STATX_MTIME) && !S_ISFIFO(stx.stx_mode))
		res_time(r, w, "mtime", statx_time(&stx.stx_mtime));
	if ((got & STATX_CTIME) && !S_ISFIFO(stx.stx_mode))
		res_time(r, w, "ctime", statx_time(&stx.stx_ctime));
	if ((stx.stx_mode & S_IFMT) == S_IFCHR || (stx.stx_mode & S_IFMT) == S_IFBLK)
		res_fmt(r, " rdev=%u:%u", stx.stx_rdev_major, stx.stx_rdev_minor);
}

static void x_statx_btime(struct worker *w, const struct call *c, struct result *r)
{
	struct statx stx;

	res_set(r, statx(worker_dirfd(w, &c->p), c->p.s, (int)c->n[0],
			 STATX_BASIC_STATS | STATX_BTIME, &stx));
	if (r->ret < 0)
		return;
	res_fmt(r, " present=%d", !!(stx.stx_mask & STATX_BTIME));
	if (stx.stx_mask & STATX_BTIME)
		res_time(r, w, "btime", statx_time(&stx.stx_btime));
}

static void x_statx_attrs(struct worker *w, const struct call *c, struct result *r)
{
	uint64_t want = STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND | STATX_ATTR_NODUMP;
	struct statx stx;

	res_set(r, statx(worker_dirfd(w, &c->p), c->p.s, (int)c->n[0], STATX_BASIC_STATS, &stx));
	if (r->ret == 0)
		res_fmt(r, " known=%#llx set=%#llx",
			(unsigned long long)(stx.stx_attributes_mask & want),
			(unsigned long long)(stx.stx_attributes & want));
}

static void g_access(struct gen *g, struct call *c)
{
	gen_path(g, &c->p, CLS_ANY);
	c->n[0] = gen_chance(g, 3) ? 8 : gen_below(g, 8);
}

static void x_access(struct worker *w, const struct call *c, struct result *r)
{
	(void)w;
	res_set(r, access(c->p.s, (int)c->n[0]));
}

static void g_faccessat2(struct gen *g, struct call *c)
{
	static const struct flag_odds odds[] = {
		{AT_EACCESS, 50},
		{AT_SYMLINK_NOFOLLOW, 20},
		{AT_EMPTY_PATH, 5},
	};

	gen_path_at(g, &c->p, CLS_ANY);
	c->n[0] = gen_below(g, 8);
	c->n[1] = GEN_FLAGS(g, odds);
}

static void x_faccessat2(struct worker *w, const struct call *c, struct result *r)
{
	res_set(r, sys_faccessat2(worker_dirfd(w, &c->p), c->p.s, (int)c->n[0], (int)c->n[1]));
}

static void x_statfs(struct worker *w, const struct call *c, struct result *r)
{
	struct statfs sf;

	(void)w;
	res_set(r, statfs(c->p.s, &sf));
	if (r->ret == 0)
		res_fmt(r, " namelen=%ld bsize=%ld frsize=%ld", (long)sf.f_namelen,
			(long)sf.f_bsize, (long)sf.f_frsize);
}

static void x_fstatfs(struct worker *w, const struct call *c, struct result *r)
{
	struct statfs sf;

	res_set(r, fstatfs(worker_fd(w, c->slot), &sf));
	if (r->ret == 0)
		res_fmt(r, " namelen=%ld bsize=%ld", (long)sf.f_namelen, (long)sf.f_bsize);
}

static void g_mark(struct gen *g, struct call *c)
{
	gen_path(g, &c->p, CLS_FILE);
	gen_path(g, &c->q, CLS_DIR);
}

/* Waits until the clock that gives files their times has passed this moment by NAP_MS. */
static void let_tick(void)
{
	const struct timespec nap = {.tv_nsec = NAP_MS * 1000000};
	struct timespec from, now;
	int64_t passed_ms;

	clock_gettime(CLOCK_REALTIME, &from);
	do {
		nanosleep(&nap, NULL);
		clock_gettime(CLOCK_REALTIME_COARSE, &now);
		passed_ms = (now.tv_sec - from.tv_sec) * 1000;
		passed_ms += (now.tv_nsec - from.tv_nsec) / 1000000;
	} while (passed_ms < NAP_MS);
}

/* Remembers the times of a file and of a directory, and lets the clock tick. */
static void x_time_mark(struct worker *w, const struct call *c, struct result *r)
{
	const char *path[] = {c->p.s, c->q.s};
	struct stat st;

	for (unsigned int i = 0; i < 2; i++) {
		w->mark[i].set = lstat(path[i], &st) == 0;
		if (!w->mark[i].set)
			continue;
		w->mark[i].ino = st.st_ino;
		w->mark[i].mtime = st.st_mtim;
		w->mark[i].ctime = st.st_ctim;
		res_fmt(r, " set%u=1", i);
	}
	let_tick();
}

static const char *verdict(struct timespec old, struct timespec new)
{
	return old.tv_sec == new.tv_sec &&old.tv_nsec == new.tv_nsec ? "kept" : "new";
}

/* Says which times differ from those remembered. */
static void x_time_check(struct worker *w, const struct call *c, struct result *r)
{
	const char *path[] = {c->p.s, c->q.s};
	struct stat st;

	for (unsigned int i = 0; i < 2; i++) {
		if (!w->mark[i].set)
			continue;
		if (lstat(path[i], &st) < 0)
			res_fmt(r, " error%u=%d", i, errno);
		else if (st.st_ino != w->mark[i].ino) /* whose times may be the same by chance */
			res_fmt(r, " other%u=1", i);
		else
			res_fmt(r, " mtime%u=%s ctime%u=%s", i,
				verdict(w->mark[i].mtime, st.st_mtim), i,
				verdict(w->mark[i].ctime, st.st_ctim));
	}
}

static const struct kind kinds[] = {
	{"stat", "p", 40, g_path_any, x_stat},
	{"lstat", "p", 40, g_path_any, x_lstat},
	{"fstat", "s", 40, g_slot_any, x_fstat},
	{"fstatat", "pA", 30, g_fstatat, x_fstatat},
	{"same_ino", "ps", 10, g_same_ino, x_same_ino},
	{"statx", "pAX", 30, g_statx, x_statx},
	{"statx_btime", "pA", 8, g_fstatat, x_statx_btime},
	{"statx_attrs", "pA", 8, g_fstatat, x_statx_attrs, .beyond_fuse = true},
	{"access", "pM", 25, g_access, x_access},
	{"faccessat2", "pMA", 15, g_faccessat2, x_faccessat2},
	{"statfs", "p", 4, g_path_file, x_statfs},
	{"fstatfs", "s", 4, g_slot_any, x_fstatfs},
	{"time_mark", "pq", 0, g_mark, x_time_mark},
	{"time_check", "pq", 0, g_mark, x_time_check},
};

const struct kind_set kinds_stat = {kinds, ARRAY_SIZE(kinds)};

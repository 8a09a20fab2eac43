/* SPDX-License-Identifier: Apache-2.0 */
/* Kinds: changing modes, owners and times. */
#include "difftest.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

int sys_fchmodat2(int fd, const char *path, mode_t mode, int flags)
{
	return (int)syscall(SYS_fchmodat2, fd, path, mode, flags);
}

/* A path class and a mode that suits it. Not the top directory: the others live below it. */
static void gen_target(struct gen *g, struct call *c,
		       void (*path)(struct gen *, struct path *, enum cls))
{
	bool dir = gen_chance(g, 30);

	path(g, &c->p, dir ? CLS_DIR : CLS_FILE);
	if (!c->p.s[0] || strspn(c->p.s, "./") == strlen(c->p.s) || strstr(c->p.s, ".."))
		snprintf(c->p.s, sizeof(c->p.s), "f0");
	c->n[0] = dir ? gen_mode_dir(g) : gen_mode(g);
}

static void g_chmod(struct gen *g, struct call *c)
{
	gen_target(g, c, gen_path);
}

static void x_chmod(struct worker *w, const struct call *c, struct result *r)
{
	(void)w;
	res_set(r, chmod(c->p.s, (mode_t)c->n[0]));
}

static void g_fchmod(struct gen *g, struct call *c)
{
	bool dir = gen_chance(g, 10);

	c->slot = gen_slot(g, dir ? HINT_DIR : HINT_FILE);
	c->n[0] = dir ? gen_mode_dir(g) : gen_mode(g);
}

/* Never shuts the top directory, which a slot may hold. */
static mode_t safe_mode(const struct worker *w, int fd, int64_t mode)
{
	return worker_is_top(w, fd) ? (mode_t)mode | 0777 : (mode_t)mode;
}

static void x_fchmod(struct worker *w, const struct call *c, struct result *r)
{
	int fd = worker_fd(w, c->slot);

	res_set(r, fchmod(fd, safe_mode(w, fd, c->n[0])));
}

static void g_fchmodat2(struct gen *g, struct call *c)
{
	static const struct flag_odds odds[] = {{AT_SYMLINK_NOFOLLOW, 40}};

	gen_target(g, c, gen_path_at);
	if (gen_chance(g, 15))
		c->p.s[strcspn(c->p.s, "/")] = '\0';
	c->n[1] = GEN_FLAGS(g, odds);
	if (gen_chance(g, 15)) {
		c->p.base = gen_slot(g, HINT_PATH);
		c->p.s[0] = '\0';
		c->n[1] |= AT_EMPTY_PATH;
	}
}

static void x_fchmodat2(struct worker *w, const struct call *c, struct result *r)
{
	int fd = worker_dirfd(w, &c->p);
	mode_t mode = c->p.s[0] ? (mode_t)c->n[0] : safe_mode(w, fd, c->n[0]);

	res_set(r, sys_fchmodat2(fd, c->p.s, mode, (int)c->n[1]));
}

static void gen_owner(struct gen *g, struct call *c)
{
	c->n[0] = gen_id(g);
	c->n[1] = gen_id(g);
	if (gen_chance(g, 15))
		c->n[0] = c->n[1] = -1;
}

/* A chown of nothing, which looks to a FUSE server like a write that takes set-id bits away. */
static bool like_a_write(const struct worker *w, const struct call *c, int dirfd, const char *path,
			 int flags, struct result *r)
{
	struct stat st;
	bool yes = !w->beyond_fuse && c->n[0] == -1 && c->n[1] == -1 &&
		   fstatat(dirfd, path, &st, flags) == 0 && S_ISREG(st.st_mode) &&
		   st.st_mode & (S_ISUID | S_ISGID);

	if (yes)
		res_fmt(r, " skipped=1");
	return yes;
}

static void g_chown(struct gen *g, struct call *c)
{
	gen_path(g, &c->p, gen_chance(g, 75) ? CLS_FILE : CLS_ANY);
	gen_owner(g, c);
}

static void x_chown(struct worker *w, const struct call *c, struct result *r)
{
	if (!like_a_write(w, c, AT_FDCWD, c->p.s, 0, r))
		res_set(r, chown(c->p.s, (uid_t)c->n[0], (gid_t)c->n[1]));
}

static void x_lchown(struct worker *w, const struct call *c, struct result *r)
{
	if (!like_a_write(w, c, AT_FDCWD, c->p.s, AT_SYMLINK_NOFOLLOW, r))
		res_set(r, lchown(c->p.s, (uid_t)c->n[0], (gid_t)c->n[1]));
}

static void g_fchown(struct gen *g, struct call *c)
{
	c->slot = gen_slot(g, gen_chance(g, 80) ? HINT_FILE : HINT_ANY);
	gen_owner(g, c);
}

static void x_fchown(struct worker *w, const struct call *c, struct result *r)
{
	int fd = worker_fd(w, c->slot);

	if (!like_a_write(w, c, fd, "", AT_EMPTY_PATH, r))
		res_set(r, fchown(fd, (uid_t)c->n[0], (gid_t)c->n[1]));
}

static void g_fchownat(struct gen *g, struct call *c)
{
	static const struct flag_odds odds[] = {{AT_SYMLINK_NOFOLLOW, 50}};

	gen_path_at(g, &c->p, CLS_ANY);
	gen_owner(g, c);
	c->n[2] = GEN_FLAGS(g, odds);
	if (gen_chance(g, 30)) {
		c->p.base = gen_slot(g, gen_chance(g, 60) ? HINT_PATH : HINT_ANY);
		c->p.s[0] = '\0';
		c->n[2] |= AT_EMPTY_PATH;
	}
}

static void x_fchownat(struct worker *w, const struct call *c, struct result *r)
{
	int fd = worker_dirfd(w, &c->p);
	int flags = (int)c->n[2];

	if (!like_a_write(w, c, fd, c->p.s, flags, r))
		res_set(r, fchownat(fd, c->p.s, (uid_t)c->n[0], (gid_t)c->n[1], flags));
}

/* n[4]: the flags of utimensat; n[5]: look at the result at once, which is when atime is sure. */
static void g_utimensat(struct gen *g, struct call *c)
{
	gen_path_at(g, &c->p, CLS_ANY);
	gen_times(g, c->n);
	c->n[4] = gen_chance(g, 40) ? AT_SYMLINK_NOFOLLOW : 0;
	c->n[5] = gen_chance(g, 50);
}

static void times_of(const struct call *c, struct timespec t[2])
{
	t[0] = (struct timespec){.tv_sec = c->n[0], .tv_nsec = (long)c->n[1]};
	t[1] = (struct timespec){.tv_sec = c->n[2], .tv_nsec = (long)c->n[3]};
}

static void times_back(struct worker *w, const struct call *c, struct result *r, int ret,
		       const struct stat *st)
{
	if (ret < 0)
		return;
	if (c->n[1] != UTIME_OMIT)
		res_time(r, w, "atime", st->st_atim);
	if (!S_ISFIFO(st->st_mode))
		res_time(r, w, "mtime", st->st_mtim);
}

static void x_utimensat(struct worker *w, const struct call *c, struct result *r)
{
	int dirfd = worker_dirfd(w, &c->p);
	struct timespec t[2];
	struct stat st;

	times_of(c, t);
	res_set(r, utimensat(dirfd, c->p.s, t, (int)c->n[4]));
	if (r->ret == 0 && c->n[5])
		times_back(w, c, r, fstatat(dirfd, c->p.s, &st, (int)c->n[4]), &st);
}

static void x_utimensat_null(struct worker *w, const struct call *c, struct result *r)
{
	res_set(r, utimensat(worker_dirfd(w, &c->p), c->p.s, NULL, (int)c->n[4]));
}

static void g_futimens(struct gen *g, struct call *c)
{
	c->slot = gen_slot(g, gen_chance(g, 80) ? HINT_FILE : HINT_ANY);
	gen_times(g, c->n);
	c->n[5] = gen_chance(g, 50);
}

static void x_futimens(struct worker *w, const struct call *c, struct result *r)
{
	int fd = worker_fd(w, c->slot);
	struct timespec t[2];
	struct stat st;

	times_of(c, t);
	res_set(r, futimens(fd, t));
	if (r->ret == 0 && c->n[5])
		times_back(w, c, r, fstat(fd, &st), &st);
}

static const struct kind kinds[] = {
	{"chmod", "pM", 35, g_chmod, x_chmod},
	{"fchmod", "sM", 20, g_fchmod, x_fchmod},
	{"fchmodat2", "pMA", 15, g_fchmodat2, x_fchmodat2},
	{"chown", "pUU", 20, g_chown, x_chown},
	{"lchown", "pUU", 12, g_chown, x_lchown},
	{"fchown", "sUU", 15, g_fchown, x_fchown},
	{"fchownat", "pUUA", 15, g_fchownat, x_fchownat},
	{"utimensat", "pTTTTAD", 30, g_utimensat, x_utimensat},
	{"utimensat_null", "p----A", 6, g_utimensat, x_utimensat_null},
	{"futimens", "sTTTT-D", 15, g_futimens, x_futimens},
};

const struct kind_set kinds_attr = {kinds, ARRAY_SIZE(kinds)};

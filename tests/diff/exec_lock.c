/* SPDX-License-Identifier: Apache-2.0 */
/* Kinds: locks and ioctls. */
#include "difftest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define FLAGS_SHOWN \
	(FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL | FS_NOATIME_FL | FS_SYNC_FL | FS_DIRSYNC_FL)
#define XFLAGS_SHOWN                                                               \
	(FS_XFLAG_IMMUTABLE | FS_XFLAG_APPEND | FS_XFLAG_SYNC | FS_XFLAG_NOATIME | \
	 FS_XFLAG_NODUMP | FS_XFLAG_PROJINHERIT)

static void g_slot(struct gen *g, struct call *c)
{
	c->slot = gen_slot(g, gen_chance(g, 85) ? HINT_FILE : HINT_ANY);
}

static void g_flock(struct gen *g, struct call *c)
{
	static const int64_t ops[] = {LOCK_SH, LOCK_SH, LOCK_EX, LOCK_EX, LOCK_UN};

	g_slot(g, c);
	c->n[0] = GEN_FROM(g, ops) | LOCK_NB;
}

static void x_flock(struct worker *w, const struct call *c, struct result *r)
{
	res_set(r, flock(worker_fd(w, c->slot), (int)c->n[0]));
}

/* Type, whence, start, length. */
static void g_lock(struct gen *g, struct call *c)
{
	static const int64_t types[] = {F_RDLCK, F_RDLCK, F_WRLCK, F_WRLCK, F_WRLCK, F_UNLCK, 7};
	static const int64_t lens[] = {0, 0, 1, 10, 100, 1000, 5000, -10};

	g_slot(g, c);
	c->n[0] = types[gen_below(g, gen_chance(g, 98) ? 6 : 7)];
	c->n[1] = gen_chance(g, 80) ? SEEK_SET : gen_below(g, 3);
	c->n[2] = gen_off(g);
	c->n[3] = GEN_FROM(g, lens);
}

static void lock_call(struct worker *w, const struct call *c, struct result *r, int cmd, bool get)
{
	struct flock fl = {
		.l_type = (short)c->n[0],
		.l_whence = (short)c->n[1],
		.l_start = c->n[2],
		.l_len = c->n[3],
	};

	if (fuse_dir_start(w, worker_fd(w, c->slot)))
		fl.l_whence = SEEK_SET;
	res_set(r, fcntl(worker_fd(w, c->slot), cmd, &fl));
	if (r->ret < 0 || !get)
		return;
	res_fmt(r, " type=%d", fl.l_type);
	if (fl.l_type != F_UNLCK)
		res_fmt(r, " whence=%d start=%lld len=%lld holder=%s", fl.l_whence,
			(long long)fl.l_start, (long long)fl.l_len,
			fl.l_pid == -1 ? "description"
			: fl.l_pid > 0 ? "process"
				       : "none");
}

static void x_setlk(struct worker *w, const struct call *c, struct result *r)
{
	lock_call(w, c, r, F_SETLK, false);
}

static void x_getlk(struct worker *w, const struct call *c, struct result *r)
{
	lock_call(w, c, r, F_GETLK, true);
}

static void x_ofd_setlk(struct worker *w, const struct call *c, struct result *r)
{
	lock_call(w, c, r, F_OFD_SETLK, false);
}

static void x_ofd_getlk(struct worker *w, const struct call *c, struct result *r)
{
	lock_call(w, c, r, F_OFD_GETLK, true);
}

/* On special files some filesystems have flags, but FUSE does not ask for them. */
static bool flagless(const struct worker *w, const struct call *c, struct result *r)
{
	bool yes = !w->beyond_fuse && !worker_plain(w, c->slot);

	if (yes)
		res_fmt(r, " skipped=1");
	return yes;
}

static void x_getflags(struct worker *w, const struct call *c, struct result *r)
{
	int flags = 0;

	if (flagless(w, c, r))
		return;
	res_set(r, ioctl(worker_fd(w, c->slot), FS_IOC_GETFLAGS, &flags));
	if (r->ret == 0)
		res_fmt(r, " flags=%#x", flags & FLAGS_SHOWN);
}

static void g_setflags(struct gen *g, struct call *c)
{
	static const struct flag_odds odds[] = {
		{FS_NODUMP_FL, 40},
		{FS_NOATIME_FL, 20},
		{FS_SYNC_FL, 5},
	};

	/* Immutable and append-only are for the scene that also takes them away. */
	g_slot(g, c);
	c->n[0] = GEN_FLAGS(g, odds);
}

/* Keeps the flags that are the filesystem's business, and the top directory changeable. */
static void x_setflags(struct worker *w, const struct call *c, struct result *r)
{
	int fd = worker_fd(w, c->slot);
	int flags = 0, want = (int)c->n[0];

	if (flagless(w, c, r))
		return;
	if (worker_is_top(w, fd))
		want &= ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
	res_set(r, ioctl(fd, FS_IOC_GETFLAGS, &flags));
	if (r->ret < 0)
		return;
	flags = (flags & ~FLAGS_SHOWN) | want;
	res_set(r, ioctl(fd, FS_IOC_SETFLAGS, &flags));
}

static void x_fsgetxattr(struct worker *w, const struct call *c, struct result *r)
{
	struct fsxattr fsx = {0};

	if (flagless(w, c, r))
		return;
	res_set(r, ioctl(worker_fd(w, c->slot), FS_IOC_FSGETXATTR, &fsx));
	if (r->ret == 0)
		res_fmt(r, " xflags=%#x extsize=%u projid=%u", fsx.fsx_xflags & XFLAGS_SHOWN,
			fsx.fsx_extsize, fsx.fsx_projid);
}

static void g_fssetxattr(struct gen *g, struct call *c)
{
	static const struct flag_odds odds[] = {
		{FS_XFLAG_NODUMP, 40},
		{FS_XFLAG_NOATIME, 20},
	};

	g_slot(g, c);
	c->n[0] = GEN_FLAGS(g, odds);
}

static void x_fssetxattr(struct worker *w, const struct call *c, struct result *r)
{
	int fd = worker_fd(w, c->slot);
	uint32_t want = (uint32_t)c->n[0];
	struct fsxattr fsx = {0};

	if (flagless(w, c, r))
		return;
	if (worker_is_top(w, fd))
		want &= ~(uint32_t)FS_XFLAG_APPEND;
	res_set(r, ioctl(fd, FS_IOC_FSGETXATTR, &fsx));
	if (r->ret < 0)
		return;
	fsx.fsx_xflags = (fsx.fsx_xflags & ~XFLAGS_SHOWN) | want;
	res_set(r, ioctl(fd, FS_IOC_FSSETXATTR, &fsx));
}

static void x_fionread(struct worker *w, const struct call *c, struct result *r)
{
	int n = -1;

	res_set(r, ioctl(worker_fd(w, c->slot), FIONREAD, &n));
	if (r->ret == 0)
		res_fmt(r, " left=%d", n);
}

static void x_figetbsz(struct worker *w, const struct call *c, struct result *r)
{
	int n = -1;

	res_set(r, ioctl(worker_fd(w, c->slot), FIGETBSZ, &n));
	if (r->ret == 0)
		res_fmt(r, " bsize=%d", n);
}

/* A number that no filesystem knows. */
static void x_ioctl_unknown(struct worker *w, const struct call *c, struct result *r)
{
	int n = 0;

	res_set(r, ioctl(worker_fd(w, c->slot), _IOWR('~', 77, int), &n));
}

static const struct kind kinds[] = {
	{"flock", "sX", 20, g_flock, x_flock},
	{"fcntl_setlk", "sDWDD", 20, g_lock, x_setlk},
	{"fcntl_getlk", "sDWDD", 15, g_lock, x_getlk},
	{"ofd_setlk", "sDWDD", 15, g_lock, x_ofd_setlk},
	{"ofd_getlk", "sDWDD", 10, g_lock, x_ofd_getlk},
	{"ioctl_getflags", "s", 15, g_slot, x_getflags},
	{"ioctl_setflags", "sX", 8, g_setflags, x_setflags},
	{"ioctl_fsgetxattr", "s", 8, g_slot, x_fsgetxattr},
	{"ioctl_fssetxattr", "sX", 4, g_fssetxattr, x_fssetxattr},
	{"ioctl_fionread", "s", 5, g_slot, x_fionread},
	{"ioctl_figetbsz", "s", 3, g_slot, x_figetbsz, .beyond_fuse = true},
	{"ioctl_unknown", "s", 3, g_slot, x_ioctl_unknown},
};

const struct kind_set kinds_lock = {kinds, ARRAY_SIZE(kinds)};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker: one process per side and user, with its own root, working directory, umask and fds.
 *
 * It is chrooted into its side's directory, so that ".." and absolute symbolic links cannot leave
 * it and absolute paths are the same on both sides.
 */
#include "difftest.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

static const struct {
	uid_t uid;
	gid_t gid;
	size_t n;
	gid_t groups[2];
} users[USER_MAX] = {
	[USER_ROOT] = {0, 0, 0, {0}},
	[USER_ONE] = {1001, 1001, 2, {2000, 2001}},
	[USER_TWO] = {1002, 1002, 1, {2000}},
	[USER_NOBODY] = {65534, 65534, 0, {0}},
};

static void worker_become(const struct worker *w)
{
	enum user as = w->root_only ? USER_ROOT : w->user;
	uid_t uid = users[as].uid;
	gid_t gid = users[as].gid;

	if (setgroups(users[as].n, users[as].groups) || setresgid(gid, gid, gid) ||
	    setresuid(uid, uid, uid))
		err(1, "cannot become uid %u", uid);
	/* Without this an ordinary user may not look into its own /proc/self/fd. */
	if (prctl(PR_SET_DUMPABLE, 1))
		err(1, "prctl");
}

static void worker_init(struct worker *w, const char *dir)
{
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGIO, SIG_IGN);
	for (unsigned int i = 0; i < SLOTS; i++)
		w->fd[i] = -1;
	w->buf = mmap(NULL, BUF_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	w->proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (w->buf == MAP_FAILED || w->proc_fd < 0 || pipe2(w->pipe, O_CLOEXEC | O_NONBLOCK))
		err(1, "cannot start a worker");
	if (chdir(dir) || chroot(".") || chdir("/"))
		err(1, "%s", dir);
	w->root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (w->root_fd < 0)
		err(1, "%s", dir);
	umask(022);
	worker_become(w);
}

void worker_run(struct worker *w, const char *dir, void *chan)
{
	worker_init(w, dir);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* not before: a change of credentials takes it back */
	for (;;) {
		const struct call *c = chan_wait(chan);
		struct result *r = chan_result(chan);

		r->ret = 0;
		r->err = 0;
		r->len = 0;
		r->out[0] = '\0';
		kind_at(c->kind)->exec(w, c, r);
		chan_done(chan);
	}
}

int worker_dirfd(const struct worker *w, const struct path *p)
{
	if (p->base == BASE_ROOT)
		return w->root_fd;
	return p->base >= 0 ? worker_fd(w, p->base) : AT_FDCWD;
}

int worker_fd(const struct worker *w, int slot)
{
	return slot >= 0 && slot < SLOTS ? w->fd[slot] : -1;
}

void worker_put(struct worker *w, int slot, int fd)
{
	if (w->fd[slot] >= 0)
		close(w->fd[slot]);
	w->fd[slot] = fd;
	w->ino[slot] = 0;
}

void worker_opened(struct worker *w, struct result *r, int slot, int fd)
{
	res_set(r, fd < 0 ? fd : 0);
	if (fd >= 0)
		worker_put(w, slot, fd);
}

int worker_nonblock(const struct worker *w, int dirfd, const char *path, int flags)
{
	struct stat st;

	(void)w;
	if (flags & (O_NONBLOCK | O_PATH))
		return flags;
	if (fstatat(dirfd, path, &st, 0) == 0 && S_ISFIFO(st.st_mode))
		flags |= O_NONBLOCK;
	return flags;
}

bool worker_is_top(const struct worker *w, int fd)
{
	struct stat a, b;

	return fd >= 0 && fstat(fd, &a) == 0 && fstat(w->root_fd, &b) == 0 &&
	       a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

bool worker_plain(const struct worker *w, int slot)
{
	int fd = worker_fd(w, slot);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode));
}

void worker_fill(struct worker *w, const struct call *c)
{
	uint64_t x = c->data_seed | 1, *p = (uint64_t *)w->buf;

	for (size_t i = 0; i < (c->data_len + 7) / 8; i++) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		p[i] = x;
	}
}

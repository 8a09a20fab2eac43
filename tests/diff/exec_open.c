/* SPDX-License-Identifier: Apache-2.0 */
/* Kinds: opening, closing, duplicating, flags of open files, umask. */
#include "difftest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static const struct flag_odds path_odds[] = {{O_NOFOLLOW, 50}, {O_DIRECTORY, 15}};

/* What a slot probably holds after an open with these flags. */
static enum hint hint_of(int64_t flags)
{
	if (flags & O_PATH)
		return HINT_PATH;
	return flags & O_DIRECTORY ? HINT_DIR : HINT_FILE;
}

static void g_open_common(struct gen *g, struct call *c)
{
	c->slot = gen_below(g, SLOTS);
	c->n[0] = gen_open_flags(g);
	c->n[1] = gen_mode(g);
	gen_hint(g, c->slot, hint_of(c->n[0]));
}

static void g_open(struct gen *g, struct call *c)
{
	gen_path(g, &c->p, gen_chance(g, 88) ? CLS_FILE : CLS_ANY);
	g_open_common(g, c);
}

static void g_openat(struct gen *g, struct call *c)
{
	gen_path_at(g, &c->p, gen_chance(g, 88) ? CLS_FILE : CLS_ANY);
	g_open_common(g, c);
}

static void x_open(struct worker *w, const struct call *c, struct result *r)
{
	int dirfd = worker_dirfd(w, &c->p);
	int flags = worker_nonblock(w, dirfd, c->p.s, c->n[0]);

	worker_opened(w, r, c->slot, openat(dirfd, c->p.s, flags | O_CLOEXEC, (mode_t)c->n[1]));
}

static void g_openat2(struct gen *g, struct call *c)
{
	static const struct flag_odds odds[] = {
		{RESOLVE_BENEATH, 30}, {RESOLVE_NO_SYMLINKS, 30},   {RESOLVE_NO_XDEV, 30},
		{RESOLVE_IN_ROOT, 15}, {RESOLVE_NO_MAGICLINKS, 20},
	};

	g_openat(g, c);
	if (!(c->n[0] & O_CREAT))
		c->n[1] = 0;
	c->n[2] = GEN_FLAGS(g, odds);
}

static void x_openat2(struct worker *w, const struct call *c, struct result *r)
{
	int dirfd = worker_dirfd(w, &c->p);
	struct open_how how = {
		.flags = worker_nonblock(w, dirfd, c->p.s, c->n[0]) | O_CLOEXEC,
		.mode = c->n[1],
		.resolve = c->n[2],
	};

	worker_opened(w, r, c->slot, syscall(SYS_openat2, dirfd, c->p.s, &how, sizeof(how)));
}

static void g_creat(struct gen *g, struct call *c)
{
	gen_path(g, &c->p, CLS_FILE);
	c->slot = gen_below(g, SLOTS);
	c->n[0] = gen_mode(g);
	gen_hint(g, c->slot, HINT_FILE);
}

static void x_creat(struct worker *w, const struct call *c, struct result *r)
{
	int flags = O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC;

	flags = worker_nonblock(w, AT_FDCWD, c->p.s, flags);
	worker_opened(w, r, c->slot, open(c->p.s, flags, (mode_t)c->n[0]));
}

static void g_tmpfile(struct gen *g, struct call *c)
{
	gen_path_at(g, &c->p, CLS_DIR);
	c->slot = gen_below(g, SLOTS);
	c->n[0] = O_TMPFILE | (gen_chance(g, 90) ? O_RDWR : O_WRONLY);
	if (gen_chance(g, 15))
		c->n[0] |= O_EXCL;
	c->n[1] = gen_mode(g);
	gen_hint(g, c->slot, HINT_FILE);
}

static void g_open_path(struct gen *g, struct call *c)
{
	gen_path_at(g, &c->p, CLS_ANY);
	c->slot = gen_below(g, SLOTS);
	c->n[0] = O_PATH | GEN_FLAGS(g, path_odds);
	gen_hint(g, c->slot, HINT_PATH);
}

static void g_open_dir(struct gen *g, struct call *c)
{
	gen_path_at(g, &c->p, CLS_DIR);
	if (gen_chance(g, 15)) {
		c->p.base = BASE_ROOT;
		snprintf(c->p.s, sizeof(c->p.s), ".");
	}
	c->slot = gen_below(g, SLOTS);
	c->n[0] = O_RDONLY | O_DIRECTORY;
	gen_hint(g, c->slot, HINT_DIR);
}

/* Opens the file of a slot once more, which also works when it has no name. */
static void g_reopen(struct gen *g, struct call *c)
{
	c->slot = gen_slot(g, gen_chance(g, 80) ? HINT_FILE : HINT_ANY);
	c->slot2 = gen_below(g, SLOTS);
	c->n[0] = gen_open_flags(g) & ~(O_CREAT | O_EXCL | O_NOFOLLOW);
	gen_hint(g, c->slot2, hint_of(c->n[0]));
}

static void x_reopen(struct worker *w, const struct call *c, struct result *r)
{
	int fd = worker_fd(w, c->slot);
	char name[16] = "none";
	int flags;

	if (known_deleted_path(w, fd, r))
		return;
	if (fd >= 0)
		snprintf(name, sizeof(name), "%d", fd);
	flags = worker_nonblock(w, w->proc_fd, name, c->n[0]);
	worker_opened(w, r, c->slot2, openat(w->proc_fd, name, flags | O_CLOEXEC));
}

static void g_close(struct gen *g, struct call *c)
{
	c->slot = gen_slot(g, HINT_ANY);
	gen_hint(g, c->slot, HINT_NONE);
}

static void x_close(struct worker *w, const struct call *c, struct result *r)
{
	res_set(r, close(worker_fd(w, c->slot)));
	w->fd[c->slot] = -1;
}

static void g_dup(struct gen *g, struct call *c)
{
	c->slot = gen_slot(g, HINT_FILE);
	c->slot2 = gen_below(g, SLOTS);
	gen_hint(g, c->slot2, g->hint[g->user][c->slot]);
}

static void x_dup(struct worker *w, const struct call *c, struct result *r)
{
	worker_opened(w, r, c->slot2, fcntl(worker_fd(w, c->slot), F_DUPFD_CLOEXEC, 0));
}

static void g_any_slot(struct gen *g, struct call *c)
{
	c->slot = gen_slot(g, HINT_ANY);
}

/* O_NONBLOCK is left out: worker_nonblock() may have added it. */
static void x_getfl(struct worker *w, const struct call *c, struct result *r)
{
	int flags = fcntl(worker_fd(w, c->slot), F_GETFL);

	res_set(r, flags < 0 ? flags : flags & ~O_NONBLOCK);
}

static void g_setfl(struct gen *g, struct call *c)
{
	static const struct flag_odds odds[] = {
		{O_APPEND, 40}, {O_NONBLOCK, 30}, {O_NOATIME, 20}, {O_DIRECT, 15}, {O_SYNC, 10},
	};

	c->slot = gen_slot(g, HINT_FILE);
	c->n[0] = GEN_FLAGS(g, odds);
}

/*
 * Never takes O_NONBLOCK away: the slot may hold a FIFO. The backing file of a passthrough open
 * keeps the O_APPEND and O_DIRECT that it was opened with, so these are not changed either.
 */
static void x_setfl(struct worker *w, const struct call *c, struct result *r)
{
	int fd = worker_fd(w, c->slot);
	int old = fcntl(fd, F_GETFL);
	int kept = O_NONBLOCK | (w->beyond_fuse ? 0 : O_APPEND | O_DIRECT);

	if (old < 0)
		old = 0;
	res_set(r, fcntl(fd, F_SETFL, ((int)c->n[0] & ~(kept & ~O_NONBLOCK)) | (old & kept)));
}

static void g_umask(struct gen *g, struct call *c)
{
	static const int64_t masks[] = {022, 022, 022, 0, 0, 077, 027, 002, 0777, 0111};

	c->n[0] = GEN_FROM(g, masks);
}

static void x_umask(struct worker *w, const struct call *c, struct result *r)
{
	res_set(r, umask((mode_t)c->n[0]));
}

static void g_socket(struct gen *g, struct call *c)
{
	const char *top = gen_chance(g, 40) ? "/d0/" : "/";

	snprintf(c->p.s, sizeof(c->p.s), "%s%s", top, gen_name(g, CLS_SPECIAL));
	c->p.base = BASE_CWD;
}

static void socket_call(const struct call *c, struct result *r,
			int (*how)(int, const struct sockaddr *, socklen_t))
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(addr.sun_path, c->p.s, strnlen(c->p.s, sizeof(addr.sun_path) - 1));
	res_set(r, how(fd, (struct sockaddr *)&addr, sizeof(addr)));
	if (fd >= 0)
		close(fd);
}

static void x_bind(struct worker *w, const struct call *c, struct result *r)
{
	(void)w;
	socket_call(c, r, bind);
}

static void x_connect(struct worker *w, const struct call *c, struct result *r)
{
	(void)w;
	socket_call(c, r, connect);
}

static const struct kind kinds[] = {
	{"open", "pOMs", 100, g_open, x_open, .makes = 'o'},
	{"openat", "pOMs", 80, g_openat, x_open, .makes = 'o'},
	{"openat2", "pOMVs", 25, g_openat2, x_openat2, .makes = 'o'},
	{"creat", "pMs", 25, g_creat, x_creat, .makes = 'p'},
	{"open_tmpfile", "pOMs", 15, g_tmpfile, x_open},
	{"open_path", "pOs", 25, g_open_path, x_open},
	{"open_dir", "pOs", 35, g_open_dir, x_open},
	{"reopen", "sOt", 15, g_reopen, x_reopen},
	{"close", "s", 30, g_close, x_close},
	{"dup", "st", 10, g_dup, x_dup},
	{"fcntl_getfl", "s", 15, g_any_slot, x_getfl},
	{"fcntl_setfl", "sO", 12, g_setfl, x_setfl},
	{"umask", "M", 6, g_umask, x_umask},
	{"bind", "p", 6, g_socket, x_bind, .makes = 'p'},
	{"connect", "p", 4, g_socket, x_connect},
};

const struct kind_set kinds_open = {kinds, ARRAY_SIZE(kinds)};

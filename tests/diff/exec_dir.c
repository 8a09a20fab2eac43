/* SPDX-License-Identifier: Apache-2.0 */
/* Kinds: listing directories, and the working directory. */
#include "difftest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAMES_MAX 4096

/* As the kernel writes it. */
struct dent {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

struct listing {
	struct worker *w;
	int fd;
	size_t n;
	struct {
		char *name;
		uint64_t ino;
		int64_t off;
		uint8_t type;
	} e[NAMES_MAX];
};

static void listing_clear(struct listing *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->e[i].name);
	l->n = 0;
}

/* Reads to the end in buffers of that size. Returns 0 or -1 with errno. */
static int listing_read(struct listing *l, size_t size)
{
	char *buf = l->w->buf;
	long n;

	while ((n = syscall(SYS_getdents64, l->fd, buf, size)) > 0)
		for (char *p = buf; p < buf + n && l->n < NAMES_MAX;) {
			struct dent *d = (struct dent *)p;

			l->e[l->n].name = strdup(d->name);
			l->e[l->n].ino = d->ino;
			l->e[l->n].off = d->off;
			l->e[l->n++].type = d->type;
			p += d->reclen;
		}
	return n < 0 ? -1 : 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* How the inode number of an entry compares with stat's: same, differs, or not known. */
static char ino_verdict(const struct listing *l, size_t i)
{
	struct stat st;

	/* Above the top directory the chroot hides what the entry means. */
	if (strcmp(l->e[i].name, "..") == 0 && worker_is_top(l->w, l->fd))
		return '-';
	if (fstatat(l->fd, l->e[i].name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return '?';
	return st.st_ino == l->e[i].ino ? '=' : '!';
}

/* One field per entry, in the order of names. */
static void listing_back(struct listing *l, struct result *r)
{
	char text[NAME_MAX * 4 + 1];

	qsort(l->e, l->n, sizeof(l->e[0]), by_name);
	res_fmt(r, " entries=%zu", l->n);
	for (size_t i = 0; i < l->n; i++) {
		escape(text, sizeof(text), l->e[i].name, strlen(l->e[i].name));
		res_fmt(r, " %s=%u%c", text, l->e[i].type, ino_verdict(l, i));
	}
}

static struct listing *listing_of(struct worker *w, int fd)
{
	static struct listing l;

	listing_clear(&l);
	l.w = w;
	l.fd = fd;
	return &l;
}

static void g_list(struct gen *g, struct call *c)
{
	static const int64_t sizes[] = {32768, 32768, 4096, 1024, 300};

	c->slot = gen_slot(g, gen_chance(g, 97) ? HINT_DIR : HINT_ANY);
	c->n[0] = GEN_FROM(g, sizes);
}

/* Rewinds, lists everything, and asks once more at the end. */
static void x_list(struct worker *w, const struct call *c, struct result *r)
{
	struct listing *l = listing_of(w, worker_fd(w, c->slot));

	res_set(r, lseek(l->fd, 0, SEEK_SET));
	if (r->ret == 0)
		res_set(r, listing_read(l, c->n[0]));
	if (r->ret < 0)
		return;
	listing_back(l, r);
	res_fmt(r, " at_end=%ld", syscall(SYS_getdents64, l->fd, w->buf, 4096));
}

static void g_list_path(struct gen *g, struct call *c)
{
	gen_path(g, &c->p, CLS_DIR);
	c->n[0] = gen_chance(g, 50) ? 32768 : 600;
	if (gen_chance(g, 20))
		snprintf(c->p.s, sizeof(c->p.s), "/");
}

static void x_list_path(struct worker *w, const struct call *c, struct result *r)
{
	int fd = open(c->p.s, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct listing *l = listing_of(w, fd);

	res_set(r, fd < 0 ? -1 : listing_read(l, c->n[0]));
	if (r->ret == 0)
		listing_back(l, r);
	if (fd >= 0)
		close(fd);
}

/* Reads on from the cookie of entry "from": must give the rest that was seen before. */
static void check_rest(struct listing *l, struct result *r, size_t from)
{
	size_t before = l->n;
	bool same;

	if (lseek(l->fd, l->e[from].off, SEEK_SET) < 0 || listing_read(l, 1024) < 0) {
		res_fmt(r, " seek_error=%d", errno);
		return;
	}
	same = l->n - before == before - from - 1;
	for (size_t i = 0; same && i < l->n - before; i++)
		same = strcmp(l->e[from + 1 + i].name, l->e[before + i].name) == 0;
	res_fmt(r, " seek=%s", same ? "same" : "differs");
}

static void g_list_seek(struct gen *g, struct call *c)
{
	c->slot = gen_slot(g, HINT_DIR);
	c->n[0] = gen_below(g, 100);
}

static void x_list_seek(struct worker *w, const struct call *c, struct result *r)
{
	struct listing *l = listing_of(w, worker_fd(w, c->slot));

	res_set(r, lseek(l->fd, 0, SEEK_SET));
	if (r->ret == 0)
		res_set(r, listing_read(l, 32768));
	if (r->ret < 0 || !l->n || l->n > NAMES_MAX / 2)
		return;
	res_fmt(r, " entries=%zu", l->n);
	check_rest(l, r, c->n[0] % l->n);
}

/* A buffer that takes no entry at all, or none of a bad address. */
static void x_list_small(struct worker *w, const struct call *c, struct result *r)
{
	int fd = worker_fd(w, c->slot);

	res_set(r, lseek(fd, 0, SEEK_SET));
	if (r->ret == 0)
		res_set(r, syscall(SYS_getdents64, fd, w->buf, c->n[0] % 20));
}

static void g_chdir(struct gen *g, struct call *c)
{
	gen_path(g, &c->p, CLS_DIR);
	if (gen_chance(g, 60))
		snprintf(c->p.s, sizeof(c->p.s), "/");
}

static void x_chdir(struct worker *w, const struct call *c, struct result *r)
{
	(void)w;
	res_set(r, chdir(c->p.s));
}

static void g_fchdir(struct gen *g, struct call *c)
{
	c->slot = gen_slot(g, HINT_DIR);
}

static void x_fchdir(struct worker *w, const struct call *c, struct result *r)
{
	res_set(r, fchdir(worker_fd(w, c->slot)));
}

static void g_getcwd(struct gen *g, struct call *c)
{
	c->n[0] = gen_chance(g, 80) ? 8192 : gen_below(g, 20);
}

static void x_getcwd(struct worker *w, const struct call *c, struct result *r)
{
	long n = syscall(SYS_getcwd, w->buf, c->n[0]);

	res_set(r, n);
	if (n > 0)
		res_name(r, "cwd", w->buf, n - 1);
}

static const struct kind kinds[] = {
	{"list", "sD", 30, g_list, x_list},
	{"list_path", "pD", 20, g_list_path, x_list_path},
	{"list_seek", "sD", 12, g_list_seek, x_list_seek},
	{"list_small", "sD", 4, g_list_seek, x_list_small},
	{"chdir", "p", 12, g_chdir, x_chdir},
	{"fchdir", "s", 5, g_fchdir, x_fchdir},
	{"getcwd", "D", 10, g_getcwd, x_getcwd},
};

const struct kind_set kinds_dir = {kinds, ARRAY_SIZE(kinds)};

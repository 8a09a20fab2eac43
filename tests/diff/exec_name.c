/* SPDX-License-Identifier: Apache-2.0 */
/* Kinds: making, linking, renaming and removing names. */
#include "difftest.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static void g_mkdir(struct gen *g, struct call *c)
{
	gen_path(g, &c->p, gen_chance(g, 95) ? CLS_DIR : CLS_ANY);
	c->n[0] = gen_mode_dir(g);
}

static void x_mkdir(struct worker *w, const struct call *c, struct result *r)
{
	(void)w;
	res_set(r, mkdir(c->p.s, (mode_t)c->n[0]));
}

static void g_mkdirat(struct gen *g, struct call *c)
{
	gen_path_new(g, &c->p, gen_chance(g, 95) ? CLS_DIR : CLS_ANY);
	c->n[0] = gen_mode_dir(g);
}

static void x_mkdirat(struct worker *w, const struct call *c, struct result *r)
{
	res_set(r, mkdirat(worker_dirfd(w, &c->p), c->p.s, (mode_t)c->n[0]));
}

static void g_rmdir(struct gen *g, struct call *c)
{
	gen_path(g, &c->p, gen_chance(g, 85) ? CLS_DIR : CLS_ANY);
}

static void x_rmdir(struct worker *w, const struct call *c, struct result *r)
{
	(void)w;
	res_set(r, rmdir(c->p.s));
}

static void g_mknod(struct gen *g, struct call *c)
{
	gen_path_new(g, &c->p, gen_chance(g, 90) ? CLS_SPECIAL : CLS_ANY);
	c->n[0] = gen_mode(g);
}

static void x_mknod(struct worker *w, const struct call *c, struct result *r)
{
	res_set(r, mknodat(worker_dirfd(w, &c->p), c->p.s, (mode_t)c->n[0], (dev_t)c->n[1]));
}

static void g_mknod_reg(struct gen *g, struct call *c)
{
	gen_path_new(g, &c->p, CLS_FILE);
	c->n[0] = gen_mode(g);
	if (gen_chance(g, 70))
		c->n[0] |= S_IFREG;
}

static void g_mknod_fifo(struct gen *g, struct call *c)
{
	g_mknod(g, c);
	c->n[0] |= S_IFIFO;
}

static void g_mknod_sock(struct gen *g, struct call *c)
{
	g_mknod(g, c);
	c->n[0] |= S_IFSOCK;
}

/* Only numbers that are harmless to open: /dev/null, /dev/zero, and no driver at all. */
static void g_mknod_dev(struct gen *g, struct call *c)
{
	bool blk = gen_chance(g, 30);

	g_mknod(g, c);
	c->n[0] |= blk ? S_IFBLK : S_IFCHR;
	if (gen_chance(g, 5))
		c->n[0] |= S_IFDIR | S_IFLNK;
	if (blk || gen_chance(g, 40))
		c->n[1] = makedev(4000, 77 + gen_below(g, 1000000));
	else
		c->n[1] = makedev(1, gen_chance(g, 50) ? 3 : 5);
}

/* Targets: real names, dangling ones, loops, long ones, odd ones. */
static void gen_link_target(struct gen *g, struct path *p)
{
	static const int64_t lens[] = {59, 60, 61, 255, 1000, 1023, 1024, 1025, 4094, 4095, 4096};
	static const char *const odd[] = {"",	  ".",	     "..",  "/",  "loop",
					  "none", "/none/x", "d0/", "f0/"};
	const char *top;
	size_t len;

	p->base = BASE_CWD;
	if (gen_chance(g, 45) && gen_recent(g, p, gen_chance(g, 70) ? CLS_FILE : CLS_DIR))
		return;
	if (gen_chance(g, 20)) {
		len = GEN_FROM(g, lens);
		memset(p->s, 't', len);
		for (size_t i = 200; i < len; i += 201)
			p->s[i] = '/';
		p->s[len] = '\0';
	} else if (gen_chance(g, 20)) {
		snprintf(p->s, sizeof(p->s), "%s", odd[gen_below(g, ARRAY_SIZE(odd))]);
	} else {
		top = gen_chance(g, 30) ? "/d0/" : "";
		snprintf(p->s, sizeof(p->s), "%s%s", top, gen_name(g, CLS_ANY));
	}
}

static void g_symlink(struct gen *g, struct call *c)
{
	gen_link_target(g, &c->p);
	gen_path_new(g, &c->q, CLS_LINK);
}

static void x_symlink(struct worker *w, const struct call *c, struct result *r)
{
	res_set(r, symlinkat(c->p.s, worker_dirfd(w, &c->q), c->q.s));
}

static void g_readlink(struct gen *g, struct call *c)
{
	gen_path_at(g, &c->p, gen_chance(g, 90) ? CLS_LINK : CLS_ANY);
	c->n[0] = gen_chance(g, 75) ? PATH_CAP : gen_below(g, 20);
	if (gen_chance(g, 15)) {
		c->p.base = gen_slot(g, HINT_PATH);
		c->p.s[0] = '\0';
	}
}

static void x_readlink(struct worker *w, const struct call *c, struct result *r)
{
	ssize_t n = readlinkat(worker_dirfd(w, &c->p), c->p.s, w->buf, c->n[0]);

	res_set(r, n);
	if (n > 0)
		res_name(r, "target", w->buf, n);
}

static void g_link(struct gen *g, struct call *c)
{
	gen_path(g, &c->p, gen_chance(g, 75) ? CLS_FILE : CLS_ANY);
	gen_path(g, &c->q, CLS_FILE);
}

static void x_link(struct worker *w, const struct call *c, struct result *r)
{
	(void)w;
	res_set(r, link(c->p.s, c->q.s));
}

static void g_linkat(struct gen *g, struct call *c)
{
	gen_path_at(g, &c->p, gen_chance(g, 50) ? CLS_LINK : CLS_ANY);
	gen_path_new(g, &c->q, gen_chance(g, 50) ? CLS_LINK : CLS_FILE);
	c->n[0] = gen_chance(g, 60) ? AT_SYMLINK_FOLLOW : 0;
}

static void x_linkat(struct worker *w, const struct call *c, struct result *r)
{
	res_set(r, linkat(worker_dirfd(w, &c->p), c->p.s, worker_dirfd(w, &c->q), c->q.s,
			  (int)c->n[0]));
}

/* Gives the open file of a slot a name; for an unlinked one that is an error, for O_TMPFILE not. */
static void g_linkat_fd(struct gen *g, struct call *c)
{
	c->slot = gen_slot(g, gen_chance(g, 75) ? HINT_FILE : HINT_ANY);
	gen_path_new(g, &c->q, CLS_FILE);
}

static void x_linkat_empty(struct worker *w, const struct call *c, struct result *r)
{
	res_set(r,
		linkat(worker_fd(w, c->slot), "", worker_dirfd(w, &c->q), c->q.s, AT_EMPTY_PATH));
}

static void x_linkat_proc(struct worker *w, const struct call *c, struct result *r)
{
	int fd = worker_fd(w, c->slot);
	char name[16] = "none";

	if (fd >= 0)
		snprintf(name, sizeof(name), "%d", fd);
	res_set(r, linkat(w->proc_fd, name, worker_dirfd(w, &c->q), c->q.s, AT_SYMLINK_FOLLOW));
}

static void g_unlink(struct gen *g, struct call *c)
{
	gen_path(g, &c->p, gen_chance(g, 65) ? CLS_FILE : CLS_ANY);
}

static void x_unlink(struct worker *w, const struct call *c, struct result *r)
{
	(void)w;
	res_set(r, unlink(c->p.s));
}

static void g_unlinkat(struct gen *g, struct call *c)
{
	gen_path_at(g, &c->p, CLS_ANY);
	c->n[0] = gen_chance(g, 30) ? AT_REMOVEDIR : 0;
}

static void x_unlinkat(struct worker *w, const struct call *c, struct result *r)
{
	res_set(r, unlinkat(worker_dirfd(w, &c->p), c->p.s, (int)c->n[0]));
}

/* Mostly like over like; sometimes anything over anything, or into its own subdirectory. */
static void gen_rename(struct gen *g, struct call *c,
		       void (*path)(struct gen *, struct path *, enum cls))
{
	enum cls cls = gen_chance(g, 50) ? CLS_FILE : gen_below(g, CLS_ANY + 1);
	size_t len;

	path(g, &c->p, cls);
	path(g, &c->q, gen_chance(g, 90) ? cls : CLS_ANY);
	len = strlen(c->p.s);
	if (gen_chance(g, 4) && len < 1000) {
		c->q.base = c->p.base;
		snprintf(c->q.s, sizeof(c->q.s), "%.1000s/%s", c->p.s, gen_name(g, CLS_DIR));
	} else if (gen_chance(g, 3)) {
		c->q = c->p;
	}
}

static void g_rename(struct gen *g, struct call *c)
{
	gen_rename(g, c, gen_path);
}

static void x_rename(struct worker *w, const struct call *c, struct result *r)
{
	(void)w;
	res_set(r, rename(c->p.s, c->q.s));
}

static void g_renameat2(struct gen *g, struct call *c)
{
	gen_rename(g, c, gen_path_at);
}

static void x_renameat2(struct worker *w, const struct call *c, struct result *r)
{
	res_set(r, renameat2(worker_dirfd(w, &c->p), c->p.s, worker_dirfd(w, &c->q), c->q.s,
			     (unsigned int)c->n[0]));
}

static void g_noreplace(struct gen *g, struct call *c)
{
	g_renameat2(g, c);
	if (gen_chance(g, 60))
		gen_path_new(g, &c->q, CLS_ANY);
	c->n[0] = RENAME_NOREPLACE;
}

static void g_exchange(struct gen *g, struct call *c)
{
	g_renameat2(g, c);
	c->n[0] = RENAME_EXCHANGE;
}

static void g_whiteout(struct gen *g, struct call *c)
{
	static const int64_t flags[] = {
		RENAME_WHITEOUT,
		RENAME_WHITEOUT,
		RENAME_WHITEOUT,
		RENAME_WHITEOUT,
		RENAME_WHITEOUT,
		RENAME_WHITEOUT | RENAME_NOREPLACE,
		RENAME_WHITEOUT | RENAME_NOREPLACE,
		RENAME_WHITEOUT | RENAME_EXCHANGE,
		RENAME_NOREPLACE | RENAME_EXCHANGE,
		8,
	};

	g_renameat2(g, c);
	c->n[0] = GEN_FROM(g, flags);
}

static const struct kind kinds[] = {
	{"mkdir", "pM", 40, g_mkdir, x_mkdir, .makes = 'p'},
	{"mkdirat", "pM", 25, g_mkdirat, x_mkdirat, .makes = 'p'},
	{"rmdir", "p", 20, g_rmdir, x_rmdir},
	{"mknod_reg", "pM", 12, g_mknod_reg, x_mknod, .makes = 'p'},
	{"mknod_fifo", "pM", 15, g_mknod_fifo, x_mknod, .makes = 'p'},
	{"mknod_sock", "pM", 8, g_mknod_sock, x_mknod, .makes = 'p'},
	{"mknod_dev", "pMX", 15, g_mknod_dev, x_mknod, .makes = 'p'},
	{"symlink", "pq", 35, g_symlink, x_symlink, .makes = 'q'},
	{"readlink", "pD", 30, g_readlink, x_readlink},
	{"link", "pq", 25, g_link, x_link, .makes = 'q'},
	{"linkat", "pqA", 20, g_linkat, x_linkat, .makes = 'q'},
	{"linkat_empty", "sq", 8, g_linkat_fd, x_linkat_empty, .makes = 'q'},
	{"linkat_proc", "sq", 8, g_linkat_fd, x_linkat_proc, .makes = 'q'},
	{"unlink", "p", 30, g_unlink, x_unlink},
	{"unlinkat", "pA", 20, g_unlinkat, x_unlinkat},
	{"rename", "pq", 35, g_rename, x_rename, .makes = 'q'},
	{"renameat", "pq", 15, g_renameat2, x_renameat2, .makes = 'q'},
	{"rename_noreplace", "pqR", 12, g_noreplace, x_renameat2, .makes = 'q'},
	{"rename_exchange", "pqR", 15, g_exchange, x_renameat2, .makes = 'q'},
	{"rename_whiteout", "pqR", 10, g_whiteout, x_renameat2, .makes = 'q'},
};

const struct kind_set kinds_name = {kinds, ARRAY_SIZE(kinds)};

/* SPDX-License-Identifier: Apache-2.0 */
/* Kinds: extended attributes, ACLs, file capabilities. */
#include "difftest.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/xattr.h>

/* The three ways to name a file. */
static ssize_t get_by(struct worker *w, const struct call *c, char how, size_t size)
{
	if (how == 'f')
		return fgetxattr(worker_fd(w, c->slot), c->name, w->buf, size);
	return how == 'l' ? lgetxattr(c->p.s, c->name, w->buf, size)
			  : getxattr(c->p.s, c->name, w->buf, size);
}

static ssize_t list_by(struct worker *w, const struct call *c, char how, size_t size)
{
	if (how == 'f')
		return flistxattr(worker_fd(w, c->slot), w->buf, size);
	return how == 'l' ? llistxattr(c->p.s, w->buf, size) : listxattr(c->p.s, w->buf, size);
}

static int set_by(struct worker *w, const struct call *c, char how, const void *val, size_t len)
{
	int flags = (int)c->n[0];

	if (how == 'f')
		return fsetxattr(worker_fd(w, c->slot), c->name, val, len, flags);
	return how == 'l' ? lsetxattr(c->p.s, c->name, val, len, flags)
			  : setxattr(c->p.s, c->name, val, len, flags);
}

static void gen_xattr_name(struct gen *g, struct call *c)
{
	static const char *const names[] = {
		"user.a",
		"user.a",
		"user.b",
		"user.c\xff",
		"user.d.e f",
		"trusted.t",
		"security.test",
		"user.a",
		"user.b",
		"user.",
		"system.foo",
		"noprefix",
		"",
		"btrfs.x",
		"security.capability",
		"user.hotplug.x",
		"trusted.u",
		"system.posix_acl_access",
		"system.posix_acl_default",
	};
	uint32_t n = gen_below(g, ARRAY_SIZE(names) + 2);
	size_t len = n == ARRAY_SIZE(names) ? 255 : 256;

	if (gen_chance(g, 70))
		n = gen_chance(g, 70) ? 0 : gen_below(g, 4);
	if (n < ARRAY_SIZE(names)) {
		snprintf(c->name, sizeof(c->name), "%s", names[n]);
		return;
	}
	memset(c->name, 'x', len);
	memcpy(c->name, "user.", 5);
	c->name[len] = '\0';
}

/* A path and a slot: each kind uses one of them. */
static void g_where(struct gen *g, struct call *c)
{
	gen_path(g, &c->p, gen_chance(g, 60) ? CLS_FILE : CLS_ANY);
	c->slot = gen_slot(g, gen_chance(g, 80) ? HINT_FILE : HINT_ANY);
}

static void g_set(struct gen *g, struct call *c)
{
	static const int64_t lens[] = {
		0, 1, 5, 10, 30, 100, 100, 255, 500, 1000, 2000, 3900, 4096, 16000, 65536, 65537,
	};
	static const int64_t flags[] = {0, 0, 0, XATTR_CREATE, XATTR_REPLACE, 3, 8};

	g_where(g, c);
	gen_xattr_name(g, c);
	c->data_len = lens[gen_below(g, gen_chance(g, 85) ? 9 : ARRAY_SIZE(lens))];
	c->data_seed = gen_below(g, UINT32_MAX);
	c->n[0] = flags[gen_below(g, gen_chance(g, 95) ? 5 : ARRAY_SIZE(flags))];
}

static void set_data(struct worker *w, const struct call *c, struct result *r, char how)
{
	worker_fill(w, c);
	res_set(r, set_by(w, c, how, w->buf, c->data_len));
}

static void x_setxattr(struct worker *w, const struct call *c, struct result *r)
{
	set_data(w, c, r, 'p');
}

static void x_lsetxattr(struct worker *w, const struct call *c, struct result *r)
{
	set_data(w, c, r, 'l');
}

static void x_fsetxattr(struct worker *w, const struct call *c, struct result *r)
{
	set_data(w, c, r, 'f');
}

static void g_get(struct gen *g, struct call *c)
{
	g_where(g, c);
	if (gen_chance(g, 60))
		(void)gen_recent(g, &c->p, CLS_XATTR);
	gen_xattr_name(g, c);
	c->n[0] = gen_chance(g, 80) ? 65536 : gen_below(g, 40);
	/* who asks for their size and then removes capabilities looks to a FUSE server like a write
	 */
	if (!g->beyond_fuse && !c->n[0] && strcmp(c->name, "security.capability") == 0)
		c->n[0] = 1;
}

static void get_back(struct worker *w, const struct call *c, struct result *r, char how)
{
	ssize_t n = get_by(w, c, how, c->n[0]);

	res_set(r, n);
	if (n > 0 && c->n[0])
		res_data(r, "value", w->buf, n);
}

static void x_getxattr(struct worker *w, const struct call *c, struct result *r)
{
	get_back(w, c, r, 'p');
}

static void x_lgetxattr(struct worker *w, const struct call *c, struct result *r)
{
	get_back(w, c, r, 'l');
}

static void x_fgetxattr(struct worker *w, const struct call *c, struct result *r)
{
	get_back(w, c, r, 'f');
}

static void g_list(struct gen *g, struct call *c)
{
	g_where(g, c);
	c->n[0] = gen_chance(g, 80) ? 65536 : gen_below(g, 40);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names in alphabetical order: that of the filesystem means nothing. */
static void list_back(struct worker *w, const struct call *c, struct result *r, char how)
{
	const char *names[512];
	ssize_t n = list_by(w, c, how, c->n[0]);
	size_t count = 0;

	res_set(r, n);
	if (n <= 0 || !c->n[0])
		return;
	for (const char *p = w->buf; p < w->buf + n && count < ARRAY_SIZE(names);
	     p += strlen(p) + 1)
		names[count++] = p;
	qsort(names, count, sizeof(names[0]), by_text);
	for (size_t i = 0; i < count; i++)
		res_name(r, "name", names[i], strlen(names[i]));
}

static void x_listxattr(struct worker *w, const struct call *c, struct result *r)
{
	list_back(w, c, r, 'p');
}

static void x_llistxattr(struct worker *w, const struct call *c, struct result *r)
{
	list_back(w, c, r, 'l');
}

static void x_flistxattr(struct worker *w, const struct call *c, struct result *r)
{
	list_back(w, c, r, 'f');
}

/* Only directories have a default ACL, so that there is nothing to remove. */
static void removed(const struct worker *w, const struct call *c, struct result *r, int ret,
		    const struct stat *st)
{
	res_set(r, ret);
	if (!S_ISDIR(st->st_mode) && strcmp(c->name, "system.posix_acl_default") == 0)
		fuse_nothing_done(w, r);
}

static void x_removexattr(struct worker *w, const struct call *c, struct result *r)
{
	struct stat st = {0};

	(void)stat(c->p.s, &st);
	removed(w, c, r, removexattr(c->p.s, c->name), &st);
}

static void x_lremovexattr(struct worker *w, const struct call *c, struct result *r)
{
	struct stat st = {0};

	(void)lstat(c->p.s, &st);
	removed(w, c, r, lremovexattr(c->p.s, c->name), &st);
}

static void x_fremovexattr(struct worker *w, const struct call *c, struct result *r)
{
	int fd = worker_fd(w, c->slot);
	struct stat st = {0};

	(void)fstat(fd, &st);
	removed(w, c, r, fremovexattr(fd, c->name), &st);
}

static void g_acl_set(struct gen *g, struct call *c)
{
	bool dflt = gen_chance(g, 45);

	gen_path(g, &c->p, dflt || gen_chance(g, 20) ? CLS_DIR : CLS_FILE);
	c->slot = gen_slot(g, dflt ? HINT_DIR : HINT_FILE);
	gen_acl(g, c, true, dflt);
}

static void g_acl_bad(struct gen *g, struct call *c)
{
	g_acl_set(g, c);
	gen_acl(g, c, false, gen_chance(g, 50));
}

/* An ACL changes the mode: see to it that FUSE knows before the next write. */
static void x_blob_set(struct worker *w, const struct call *c, struct result *r)
{
	struct stat st;

	res_set(r, set_by(w, c, 'p', c->blob, c->blob_len));
	if (!w->beyond_fuse)
		(void)stat(c->p.s, &st);
}

static void x_blob_fset(struct worker *w, const struct call *c, struct result *r)
{
	struct stat st;

	res_set(r, set_by(w, c, 'f', c->blob, c->blob_len));
	if (!w->beyond_fuse)
		(void)fstat(worker_fd(w, c->slot), &st);
}

static void g_acl_get(struct gen *g, struct call *c)
{
	bool dflt = gen_chance(g, 40);

	gen_path(g, &c->p, dflt ? CLS_DIR : CLS_ANY);
	snprintf(c->name, sizeof(c->name), "system.posix_acl_%s", dflt ? "default" : "access");
	c->n[0] = gen_chance(g, 90) ? 4096 : gen_below(g, 50);
}

static void g_acl_remove(struct gen *g, struct call *c)
{
	g_acl_get(g, c);
}

static void g_cap_set(struct gen *g, struct call *c)
{
	gen_path(g, &c->p, CLS_FILE);
	gen_cap(g, c);
}

static void g_cap_get(struct gen *g, struct call *c)
{
	gen_path(g, &c->p, CLS_FILE);
	snprintf(c->name, sizeof(c->name), "security.capability");
	c->n[0] = 64;
}

static const struct kind kinds[] = {
	{"setxattr", "pnYX", 30, g_set, x_setxattr, .makes = 'x'},
	{"lsetxattr", "pnYX", 12, g_set, x_lsetxattr, .makes = 'x'},
	{"fsetxattr", "snYX", 20, g_set, x_fsetxattr},
	{"getxattr", "pnD", 25, g_get, x_getxattr},
	{"lgetxattr", "pnD", 10, g_get, x_lgetxattr},
	{"fgetxattr", "snD", 15, g_get, x_fgetxattr},
	{"listxattr", "pD", 20, g_list, x_listxattr},
	{"llistxattr", "pD", 10, g_list, x_llistxattr},
	{"flistxattr", "sD", 12, g_list, x_flistxattr},
	{"removexattr", "pn", 12, g_get, x_removexattr},
	{"lremovexattr", "pn", 5, g_get, x_lremovexattr},
	{"fremovexattr", "sn", 8, g_get, x_fremovexattr},
	{"acl_set", "pnb", 25, g_acl_set, x_blob_set},
	{"acl_fset", "snb", 10, g_acl_set, x_blob_fset},
	{"acl_set_bad", "pnb", 10, g_acl_bad, x_blob_set},
	{"acl_get", "pnD", 20, g_acl_get, x_getxattr},
	{"acl_remove", "pn", 6, g_acl_remove, x_removexattr},
	{"cap_set", "pnb", 8, g_cap_set, x_blob_set},
	{"cap_get", "pnD", 8, g_cap_get, x_getxattr},
};

const struct kind_set kinds_xattr = {kinds, ARRAY_SIZE(kinds)};

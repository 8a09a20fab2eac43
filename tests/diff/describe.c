/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls as text. A kind's "args" has one letter per argument: p q the paths, s t the slots,
 * n the xattr name, b the blob, d Y the data; every other letter takes the next of n[]:
 * D decimal, X hexadecimal, M mode, U id, T part of a time, - nothing, the rest are flags.
 */
#include "difftest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <unistd.h>

#define SHOWN_MAX 80 /* of a long path */

struct flag_name {
	int64_t flag;
	const char *name;
};

struct text {
	char *s;
	size_t cap, len;
};

#define F(x)          \
	{             \
		x, #x \
	}

/* Flags that contain others come first. */
static const struct flag_name open_names[] = {
	F(O_TMPFILE),  F(O_WRONLY),   F(O_RDWR),   F(O_CREAT), F(O_EXCL),   F(O_TRUNC),
	F(O_APPEND),   F(O_NONBLOCK), F(O_SYNC),   F(O_DSYNC), F(O_DIRECT), F(O_DIRECTORY),
	F(O_NOFOLLOW), F(O_NOATIME),  F(O_NOCTTY), F(O_PATH),  F(O_ASYNC),
};
static const struct flag_name at_names[] = {
	F(AT_SYMLINK_NOFOLLOW), F(AT_SYMLINK_FOLLOW), F(AT_EMPTY_PATH),
	F(AT_REMOVEDIR),	F(AT_NO_AUTOMOUNT),   F(AT_STATX_FORCE_SYNC),
};
static const struct flag_name rename_names[] = {
	F(RENAME_NOREPLACE),
	F(RENAME_EXCHANGE),
	F(RENAME_WHITEOUT),
};
static const struct flag_name resolve_names[] = {
	F(RESOLVE_BENEATH), F(RESOLVE_NO_SYMLINKS),   F(RESOLVE_NO_XDEV),
	F(RESOLVE_IN_ROOT), F(RESOLVE_NO_MAGICLINKS),
};
static const struct flag_name falloc_names[] = {
	F(FALLOC_FL_KEEP_SIZE),	     F(FALLOC_FL_PUNCH_HOLE),	F(FALLOC_FL_ZERO_RANGE),
	F(FALLOC_FL_COLLAPSE_RANGE), F(FALLOC_FL_INSERT_RANGE), F(FALLOC_FL_UNSHARE_RANGE),
};
static const char *const whence_names[] = {"SEEK_SET", "SEEK_CUR", "SEEK_END", "SEEK_DATA",
					   "SEEK_HOLE"};

static const struct {
	char letter;
	const struct flag_name *names;
	size_t n;
} flag_sets[] = {
	{'O', open_names, ARRAY_SIZE(open_names)},
	{'A', at_names, ARRAY_SIZE(at_names)},
	{'R', rename_names, ARRAY_SIZE(rename_names)},
	{'V', resolve_names, ARRAY_SIZE(resolve_names)},
	{'L', falloc_names, ARRAY_SIZE(falloc_names)},
};

static void put(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void put(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->s + t->len, t->cap - t->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->len += (size_t)n < t->cap - t->len ? (size_t)n : t->cap - t->len - 1;
}

static void put_flags(struct text *t, const struct flag_name *names, size_t n, int64_t flags)
{
	const char *sep = "";

	for (size_t i = 0; i < n; i++)
		if ((flags & names[i].flag) == names[i].flag) {
			put(t, "%s%s", sep, names[i].name);
			flags &= ~names[i].flag;
			sep = "|";
		}
	if (flags || !*sep)
		put(t, "%s%#llx", sep, (unsigned long long)flags);
}

static void put_path(struct text *t, const struct path *p)
{
	char shown[SHOWN_MAX * 4 + 1];
	size_t len = strlen(p->s);

	if (p->base == BASE_ROOT)
		put(t, "root:");
	else if (p->base >= 0)
		put(t, "fd%d:", p->base);
	escape(shown, sizeof(shown), p->s, len < SHOWN_MAX ? len : SHOWN_MAX);
	put(t, "\"%s\"", shown);
	if (len > SHOWN_MAX)
		put(t, "...[%zu]", len);
}

static void put_blob(struct text *t, const struct call *c)
{
	for (uint32_t i = 0; i < c->blob_len; i++)
		put(t, "%02x", c->blob[i]);
	put(t, "[%u]", c->blob_len);
}

static void put_number(struct text *t, char letter, int64_t n)
{
	for (size_t i = 0; i < ARRAY_SIZE(flag_sets); i++)
		if (flag_sets[i].letter == letter) {
			put_flags(t, flag_sets[i].names, flag_sets[i].n, n);
			return;
		}
	if (letter == 'T' && (n == UTIME_NOW || n == UTIME_OMIT))
		put(t, n == UTIME_NOW ? "UTIME_NOW" : "UTIME_OMIT");
	else if (letter == 'W' && n >= 0 && n < (int64_t)ARRAY_SIZE(whence_names))
		put(t, "%s", whence_names[n]);
	else if (letter == 'M')
		put(t, "%#llo", (unsigned long long)n);
	else if (letter == 'X')
		put(t, "%#llx", (unsigned long long)n);
	else
		put(t, "%lld", (long long)n);
}

/* Returns false when the letter stands for a number. */
static bool put_other(struct text *t, char letter, const struct call *c)
{
	char name[NAME_CAP * 4];

	switch (letter) {
	case 'p':
		put_path(t, &c->p);
		return true;
	case 'q':
		put_path(t, &c->q);
		return true;
	case 's':
		put(t, "fd%d", c->slot);
		return true;
	case 't':
		put(t, "fd%d", c->slot2);
		return true;
	case 'n':
		escape(name, sizeof(name), c->name, strlen(c->name));
		put(t, "\"%s\"", name);
		return true;
	case 'b':
		put_blob(t, c);
		return true;
	case 'd':
	case 'Y':
		put(t, "%u bytes", c->data_len);
		return true;
	default:
		return false;
	}
}

void describe_call(const struct call *c, char *out, size_t cap)
{
	static const char *const who[USER_MAX] = {"root", "1001", "1002", "65534"};
	const struct kind *k = kind_at(c->kind);
	struct text t = {.s = out, .cap = cap};
	const int64_t *n = c->n;
	const char *sep = "";

	put(&t, "#%u %s %s(", c->no, who[c->user], k->name);
	for (const char *a = k->args; *a; a++) {
		if (*a == '-') {
			n++;
			continue;
		}
		put(&t, "%s", sep);
		sep = ", ";
		if (!put_other(&t, *a, c))
			put_number(&t, *a, *n++);
	}
	put(&t, ")");
}

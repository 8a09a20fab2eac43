/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing two results, and saying how they differ in one line. */
#include "difftest.h"

#include <errno.h>

#define LINE_CAP 4096
#define SIDE_CAP 1400

bool result_same(const struct result *a, const struct result *b)
{
	return a->ret == b->ret && a->err == b->err && a->len == b->len &&
	       memcmp(a->out, b->out, a->len) == 0;
}

/*
 * Two errors at once: FUSE has no immutable and append-only flags, so the kernel comes to another
 * one first. Some filesystems answer the read of a directory by themselves. And alignment is
 * checked before or after the memory and the limit of the file size.
 */
bool result_same_refusal(const struct result *a, const struct result *b)
{
	static const struct {
		int a, b;
	} pairs[] = {
		{EPERM, EACCES},     {EPERM, EISDIR},  {EPERM, ENOTDIR},
		{EPERM, EOPNOTSUPP}, {EINVAL, EISDIR}, {EINVAL, EOPNOTSUPP},
		{EINVAL, EFAULT},    {EINVAL, EFBIG},  {EPERM, EINVAL},
	};

	for (size_t i = 0; a->ret < 0 && b->ret < 0 && i < ARRAY_SIZE(pairs); i++)
		if (a->err == pairs[i].a && b->err == pairs[i].b)
			return true;
	return false;
}

/* Does the field list hold exactly this field? */
static bool has_field(const char *list, const char *field, size_t len)
{
	while (*list) {
		size_t n = strcspn(list, " ");

		if (n == len && memcmp(list, field, len) == 0)
			return true;
		list += n;
		list += strspn(list, " ");
	}
	return false;
}

void fields_differ(const char *a, const char *b, char *out, size_t cap)
{
	size_t o = 0;

	out[0] = '\0';
	a += strspn(a, " ");
	while (*a) {
		size_t n = strcspn(a, " ");

		if (!has_field(b + strspn(b, " "), a, n)) {
			int w = snprintf(out + o, cap - o, " %.*s", (int)n, a);

			if (w < 0 || (size_t)w >= cap - o)
				return;
			o += (size_t)w;
		}
		a += n;
		a += strspn(a, " ");
	}
}

static void value_text(const struct result *r, char *out, size_t cap)
{
	if (r->ret < 0)
		snprintf(out, cap, "%s", strerrorname_np(r->err) ? strerrorname_np(r->err) : "?");
	else
		snprintf(out, cap, "%lld", (long long)r->ret);
}

void result_report(const struct call *c, const struct result *a, const struct result *b)
{
	char call[LINE_CAP], va[32], vb[32], fa[SIDE_CAP], fb[SIDE_CAP];

	describe_call(c, call, sizeof(call));
	value_text(a, va, sizeof(va));
	value_text(b, vb, sizeof(vb));
	fields_differ(a->out, b->out, fa, sizeof(fa));
	fields_differ(b->out, a->out, fb, sizeof(fb));
	printf("%s: A %s%s | B %s%s\n", call, va, fa, vb, fb);
}

void result_print(const struct call *c, const struct result *r)
{
	char call[LINE_CAP], value[32];

	describe_call(c, call, sizeof(call));
	value_text(r, value, sizeof(value));
	printf("%s = %s%.200s\n", call, value, r->out);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Results as text: blank separated key=value fields that both sides can be compared by. */
#include "difftest.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/sysmacros.h>

#define NEAR_S 86400 /* times this near to the start are "now" */

void res_set(struct result *r, int64_t ret)
{
	r->ret = ret;
	r->err = ret < 0 ? errno : 0;
}

void res_fmt(struct result *r, const char *fmt, ...)
{
	size_t room = sizeof(r->out) - r->len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(r->out + r->len, room, fmt, ap);
	va_end(ap);
	if (n > 0)
		r->len += (size_t)n < room ? (size_t)n : room - 1;
}

uint64_t hash_bytes(uint64_t h, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t v;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&v, p, 8);
		h = (h ^ v) * 0x9e3779b97f4a7c15ull;
		h ^= h >> 29;
	}
	for (; len; p++, len--)
		h = (h ^ *p) * 0x100000001b3ull;
	return h ^ (h >> 32);
}

void escape(char *out, size_t cap, const char *s, size_t len)
{
	size_t o = 0;

	for (size_t i = 0; i < len && o + 5 < cap; i++) {
		unsigned char ch = s[i];

		if (ch > ' ' && ch < 0x7f && ch != '=' && ch != '\\' && ch != '"')
			out[o++] = ch;
		else
			o += snprintf(out + o, cap - o, "\\x%02x", ch);
	}
	out[o] = '\0';
}

void res_data(struct result *r, const char *key, const void *data, size_t len)
{
	const uint8_t *p = data;

	res_fmt(r, " %s=%zu:", key, len);
	for (size_t i = 0; i < len && i < 8; i++)
		res_fmt(r, "%02x", p[i]);
	if (len > 8)
		res_fmt(r, "..%016llx", (unsigned long long)hash_bytes(0, data, len));
}

void res_name(struct result *r, const char *key, const char *name, size_t len)
{
	char text[PATH_CAP * 4];

	escape(text, sizeof(text), name, len);
	res_fmt(r, " %s=%s", key, text);
}

void time_text(char *out, size_t cap, time_t start, struct timespec t)
{
	if (t.tv_sec > start - NEAR_S && t.tv_sec < start + NEAR_S)
		snprintf(out, cap, "now");
	else
		snprintf(out, cap, "%lld.%09ld", (long long)t.tv_sec, t.tv_nsec);
}

void res_time(struct result *r, const struct worker *w, const char *key, struct timespec t)
{
	char text[64];

	time_text(text, sizeof(text), w->start, t);
	res_fmt(r, " %s=%s", key, text);
}

/* What must be the same. No st_dev, st_ino, st_blocks, atime; no size of directories. */
void res_stat(struct result *r, const struct worker *w, const struct stat *st)
{
	res_fmt(r, " mode=%07o nlink=%lu uid=%u gid=%u", st->st_mode, (unsigned long)st->st_nlink,
		st->st_uid, st->st_gid);
	if (!S_ISDIR(st->st_mode))
		res_fmt(r, " size=%lld", (long long)st->st_size);
	if (S_ISREG(st->st_mode))
		res_fmt(r, " blksize=%ld", (long)st->st_blksize);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		res_fmt(r, " rdev=%u:%u", major(st->st_rdev), minor(st->st_rdev));
	/* The times of a FIFO change with its traffic, which FUSE never hears of. */
	if (!S_ISFIFO(st->st_mode)) {
		res_time(r, w, "mtime", st->st_mtim);
		res_time(r, w, "ctime", st->st_ctim);
	}
}

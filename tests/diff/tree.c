/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tree as a sorted list of paths, each with a text of everything that must be the same.
 *
 * It is walked by the main process as root with directory fds, because paths may be longer than
 * PATH_MAX. Names that share an inode carry the first of these names as their "group".
 */
#include "difftest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define BLOCK	   65536
#define WHOLE_MAX  (16ll << 20) /* files above this are read only where they have data */
#define DIFF_CAP   1500
#define PATH_SHOWN 300

struct inode {
	dev_t dev;
	ino_t ino;
	size_t first; /* index of the entry */
};

struct walk {
	struct tree *t;
	time_t start;
	struct inode *ino;
	size_t nino;
	char *text; /* of the entry at hand */
	size_t len;
	char *block;
};

static void say(struct walk *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(struct walk *w, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(w->text + w->len, OUT_CAP - w->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		w->len += (size_t)n < OUT_CAP - w->len ? (size_t)n : OUT_CAP - w->len - 1;
}

/* Adds what is not zero, so that holes and written zeros count the same. */
static uint64_t hash_range(struct walk *w, int fd, uint64_t h, off64_t off, off64_t end)
{
	static const char zeros[4096];
	ssize_t n;

	while (off < end &&
	       (n = pread(fd, w->block, end - off < BLOCK ? end - off : BLOCK, off)) > 0) {
		for (ssize_t i = 0; i < n; i += 4096) {
			size_t len = n - i < 4096 ? (size_t)(n - i) : 4096;
			off64_t at = off + i;

			if (memcmp(w->block + i, zeros, len) == 0)
				continue;
			h = hash_bytes(h, &at, sizeof(at));
			h = hash_bytes(h, w->block + i, len);
		}
		off += n;
	}
	return h;
}

static void say_content(struct walk *w, int fd, off64_t size)
{
	off64_t from = 0, to;
	uint64_t h = 0;

	if (size <= WHOLE_MAX) {
		h = hash_range(w, fd, h, 0, size);
	} else {
		while ((from = lseek(fd, from, SEEK_DATA)) >= 0) {
			to = lseek(fd, from, SEEK_HOLE);
			/* whole pages: where data ends depends on what the page cache holds */
			from &= ~4095ll;
			to = (to + 4095) & ~4095ll;
			h = hash_range(w, fd, h, from, to);
			from = to;
		}
	}
	say(w, " content=%016llx", (unsigned long long)h);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* path is /proc/self/fd/N of an O_PATH fd: it reaches links and special files too. */
static void say_xattrs(struct walk *w, const char *path)
{
	static char list[65536], value[65536];
	const char *names[512];
	char text[XATTR_NAME_MAX * 4 + 1];
	ssize_t n = listxattr(path, list, sizeof(list));
	size_t count = 0;

	if (n < 0) {
		say(w, " xattrs=%s", strerrorname_np(errno));
		return;
	}
	for (char *p = list; p < list + n && count < ARRAY_SIZE(names); p += strlen(p) + 1)
		names[count++] = p;
	qsort(names, count, sizeof(names[0]), by_text);
	for (size_t i = 0; i < count; i++) {
		ssize_t len = getxattr(path, names[i], value, sizeof(value));

		escape(text, sizeof(text), names[i], strlen(names[i]));
		say(w, " xattr:%s=%zd:%016llx", text, len,
		    len < 0 ? 0 : (unsigned long long)hash_bytes(0, value, (size_t)len));
	}
}

static void say_stat(struct walk *w, const struct stat *st)
{
	char time[64];

	say(w, " mode=%07o uid=%u gid=%u nlink=%lu", st->st_mode, st->st_uid, st->st_gid,
	    (unsigned long)st->st_nlink);
	if (S_ISREG(st->st_mode) || S_ISLNK(st->st_mode))
		say(w, " size=%lld", (long long)st->st_size);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		say(w, " rdev=%u:%u", major(st->st_rdev), minor(st->st_rdev));
	if (S_ISFIFO(st->st_mode))
		return;
	time_text(time, sizeof(time), w->start, st->st_mtim);
	say(w, " mtime=%s", time);
}

/* Which earlier entry is the same inode? Adds the inode when it is new. */
static size_t group_of(struct walk *w, const struct stat *st)
{
	for (size_t i = 0; i < w->nino; i++)
		if (w->ino[i].ino == st->st_ino && w->ino[i].dev == st->st_dev)
			return w->ino[i].first;
	w->ino = reallocarray(w->ino, w->nino + 1, sizeof(*w->ino));
	if (!w->ino)
		abort();
	w->ino[w->nino++] = (struct inode){st->st_dev, st->st_ino, w->t->n};
	return w->t->n;
}

static void add_entry(struct walk *w, const char *path, ino_t ino)
{
	struct tree *t = w->t;

	if (t->n == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 256;
		t->e = reallocarray(t->e, t->cap, sizeof(*t->e));
		if (!t->e)
			abort();
	}
	t->e[t->n].ino = ino;
	t->e[t->n].path = strdup(path);
	t->e[t->n++].text = strdup(w->text);
}

/* Describes one name; fd is an O_PATH fd of it. */
static void say_entry(struct walk *w, int dirfd, const char *name, int fd, const struct stat *st)
{
	static char target[PATH_CAP], text[PATH_CAP * 4];
	char proc[64];
	size_t group = group_of(w, st);
	ssize_t n;

	say_stat(w, st);
	/* Directories have one name; a group of theirs would only repeat a wrong inode number. */
	if (group != w->t->n)
		say(w, " group=%s", w->t->e[group].path);
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	say_xattrs(w, proc);
	if (S_ISLNK(st->st_mode)) {
		n = readlinkat(dirfd, name, target, sizeof(target));
		escape(text, sizeof(text), target, n < 0 ? 0 : (size_t)n);
		say(w, " target=%s", text);
	}
	if (S_ISREG(st->st_mode)) {
		fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
		if (fd < 0) {
			say(w, " open=%s", strerrorname_np(errno));
			return;
		}
		say_content(w, fd, st->st_size);
		close(fd);
	}
}

static int no_dots(const struct dirent *d)
{
	return strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int walk_dir(struct walk *w, int dirfd, const char *path);

static int walk_name(struct walk *w, int dirfd, const char *path, const char *name)
{
	char text[NAME_MAX * 4 + 1];
	char *full = NULL;
	int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	int r = 0;

	escape(text, sizeof(text), name, strlen(name));
	if (asprintf(&full, "%s/%s", path, text) < 0)
		return -ENOMEM;
	w->len = 0;
	w->text[0] = '\0';
	if (fd < 0 || fstat(fd, &st) < 0) {
		say(w, " error=%s", strerrorname_np(errno));
		add_entry(w, full, 0);
	} else {
		say_entry(w, dirfd, name, fd, &st);
		add_entry(w, full, st.st_ino);
		if (S_ISDIR(st.st_mode))
			r = walk_dir(w, fd, full);
	}
	if (fd >= 0)
		close(fd);
	free(full);
	return r;
}

static int walk_dir(struct walk *w, int dirfd, const char *path)
{
	struct dirent **names = NULL;
	int n = scandirat(dirfd, ".", &names, no_dots, by_bytes);
	int r = 0;

	if (n < 0) {
		w->len = 0;
		say(w, " list=%s", strerrorname_np(errno));
		add_entry(w, path, 0);
		return 0;
	}
	for (int i = 0; i < n; i++) {
		if (r == 0)
			r = walk_name(w, dirfd, path, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	return r;
}

int tree_read(const char *dir, time_t start, struct tree *ret_t)
{
	struct tree t = {0};
	struct walk w = {.t = &t, .start = start, .text = malloc(OUT_CAP), .block = malloc(BLOCK)};
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? -errno : 0;

	if (!w.text || !w.block)
		r = -ENOMEM;
	if (r == 0)
		r = walk_dir(&w, fd, "");
	if (fd >= 0)
		close(fd);
	free(w.text);
	free(w.block);
	free(w.ino);
	*ret_t = t;
	return r;
}

void tree_done(struct tree *t)
{
	for (size_t i = 0; i < t->n; i++) {
		free(t->e[i].path);
		free(t->e[i].text);
	}
	free(t->e);
	*t = (struct tree){0};
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->path, ((const struct entry *)b)->path);
}

unsigned int tree_same_inodes(const struct tree *before, const struct tree *after, const char *when)
{
	unsigned int diffs = before->n != after->n;

	if (diffs && when)
		printf("%s: %zu names, then %zu\n", when, before->n, after->n);
	for (size_t i = 0; i < before->n && !diffs; i++) {
		const struct entry *b = &before->e[i], *a = &after->e[i];

		if (strcmp(b->path, a->path) == 0 && b->ino == a->ino)
			continue;
		diffs++;
		if (when)
			printf("%s %s: inode number %llu, then %llu\n", when, a->path,
			       (unsigned long long)b->ino, (unsigned long long)a->ino);
	}
	return diffs;
}

/* Notes a difference; returns false when it was there before. */
static bool seen_new(struct seen *seen, uint64_t h)
{
	for (size_t i = 0; i < seen->n; i++)
		if (seen->hash[i] == h)
			return false;
	seen->hash = reallocarray(seen->hash, seen->n + 1, sizeof(*seen->hash));
	if (!seen->hash)
		abort();
	seen->hash[seen->n++] = h;
	return true;
}

/* Returns true, and prints a line, when there is a new difference. */
static bool compare_entry(const char *path, const char *a, const char *b, struct seen *seen,
			  const char *when)
{
	char fa[DIFF_CAP], fb[DIFF_CAP];
	size_t len = strlen(path);
	uint64_t h = hash_bytes(1, path, len);

	if (strcmp(a, b) == 0)
		return false;
	fields_differ(a, b, fa, sizeof(fa));
	fields_differ(b, a, fb, sizeof(fb));
	h = hash_bytes(h, fa, strlen(fa));
	if (!seen_new(seen, hash_bytes(h, fb, strlen(fb))))
		return false;
	if (when)
		printf("%s %s%s: A%s | B%s\n", when, len > PATH_SHOWN ? "..." : "",
		       len > PATH_SHOWN ? path + len - PATH_SHOWN : path, fa[0] ? fa : " -",
		       fb[0] ? fb : " -");
	return true;
}

unsigned int tree_compare(struct tree *a, struct tree *b, struct seen *seen, const char *when)
{
	size_t i = 0, k = 0;
	unsigned int diffs = 0;

	qsort(a->e, a->n, sizeof(*a->e), by_path);
	qsort(b->e, b->n, sizeof(*b->e), by_path);
	while (i < a->n || k < b->n) {
		int order = i == a->n ? 1 : k == b->n ? -1 : strcmp(a->e[i].path, b->e[k].path);
		const char *path = order <= 0 ? a->e[i].path : b->e[k].path;
		const char *ta = order <= 0 ? a->e[i].text : " missing";
		const char *tb = order >= 0 ? b->e[k].text : " missing";

		diffs += compare_entry(path, ta, tb, seen, when);
		i += order <= 0;
		k += order >= 0;
	}
	return diffs;
}

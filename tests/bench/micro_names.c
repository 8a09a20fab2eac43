/* Many small files: made, opened, looked at, renamed and removed. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "micro.h"

#define CONTENT	    4096
#define CHUNKS	    10
#define STAT_PASSES 20

struct names {
	int dir;
	unsigned long count;
	char content[CONTENT];
};

static const char *name_of(char *name, size_t size, const char *prefix, unsigned long i)
{
	(void)snprintf(name, size, "%s%06lu", prefix, i);
	return name;
}

#define NAME(prefix, i) name_of((char[32]){0}, 32, (prefix), (i))

static void create_step(void *state, unsigned long i)
{
	struct names *names = state;
	int fd = openat(names->dir, NAME("file", i), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, names->content, CONTENT) != CONTENT || close(fd) < 0)
		bench_fail("create");
}

static void open_step(void *state, unsigned long i)
{
	struct names *names = state;
	int fd = openat(names->dir, NAME("file", i % names->count), O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, names->content, CONTENT) != CONTENT || close(fd) < 0)
		bench_fail("open");
}

static void stat_step(void *state, unsigned long i)
{
	struct names *names = state;
	struct stat facts;

	if (fstatat(names->dir, NAME("file", i % names->count), &facts, AT_SYMLINK_NOFOLLOW) < 0)
		bench_fail("stat");
}

static void rename_step(void *state, unsigned long i)
{
	struct names *names = state;

	if (renameat(names->dir, NAME("file", i), names->dir, NAME("moved", i)) < 0)
		bench_fail("rename");
}

static void unlink_step(void *state, unsigned long i)
{
	struct names *names = state;

	if (unlinkat(names->dir, NAME("moved", i), 0) < 0)
		bench_fail("unlink");
}

static void mkdir_step(void *state, unsigned long i)
{
	struct names *names = state;

	if (mkdirat(names->dir, NAME("dir", i), 0755) < 0)
		bench_fail("mkdir");
}

static void rmdir_step(void *state, unsigned long i)
{
	struct names *names = state;

	if (unlinkat(names->dir, NAME("dir", i), AT_REMOVEDIR) < 0)
		bench_fail("rmdir");
}

static struct names names_begin(const struct bench *bench, char *path, size_t size)
{
	struct names names = {.count = bench->count};

	(void)snprintf(path, size, "%s/names.%d", bench->dir, (int)getpid());
	if (mkdir(path, 0755) < 0)
		bench_fail(path);
	names.dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (names.dir < 0)
		bench_fail(path);
	return names;
}

static void names_end(const struct names *names, const char *path)
{
	(void)close(names->dir);
	if (rmdir(path) < 0)
		bench_fail(path);
}

void bench_names(const struct bench *bench)
{
	char path[4096];
	struct names names = names_begin(bench, path, sizeof(path));

	bench_run(bench, "create", names.count, CHUNKS, create_step, &names);
	bench_run(bench, "open", bench->passes * names.count, CHUNKS, open_step, &names);
	for (unsigned long i = 0; i < names.count; i++)
		stat_step(&names, i);
	bench_run(bench, "stat", STAT_PASSES * names.count, CHUNKS, stat_step, &names);
	bench_run(bench, "rename", names.count, CHUNKS, rename_step, &names);
	bench_run(bench, "unlink", names.count, CHUNKS, unlink_step, &names);
	bench_run(bench, "mkdir", names.count, CHUNKS, mkdir_step, &names);
	bench_run(bench, "rmdir", names.count, CHUNKS, rmdir_step, &names);
	names_end(&names, path);
}

void bench_open(const struct bench *bench)
{
	char path[4096];
	struct names names = names_begin(bench, path, sizeof(path));

	for (unsigned long i = 0; i < names.count; i++)
		create_step(&names, i);
	bench_run(bench, "open", bench->passes * names.count, CHUNKS, open_step, &names);
	for (unsigned long i = 0; i < names.count; i++)
		if (unlinkat(names.dir, NAME("file", i), 0) < 0)
			bench_fail("unlink");
	names_end(&names, path);
}

/* Exactly one request, GETATTR, on a FUSE filesystem: the caller insists on a fresh answer. */
static void roundtrip_step(void *state, unsigned long i)
{
	struct statx facts;

	if (statx(*(int *)state, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS,
		  &facts) < 0)
		bench_fail("statx");
}

void bench_roundtrip(const struct bench *bench)
{
	int fd = open(bench->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		bench_fail(bench->dir);
	bench_run(bench, "roundtrip", bench->count, CHUNKS, roundtrip_step, &fd);
	(void)close(fd);
}

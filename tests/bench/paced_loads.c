#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "paced.h"

#define SIZE	    4096 /* of content */
#define COLD_PIECES 16
#define COUNT(a)    (sizeof(a) / sizeof(*(a)))

/* A directory of its own for each caller: the kernel locks it while a call changes it. */
static void own_directory(struct caller *c)
{
	char name[32];
	int dir;

	(void)snprintf(name, sizeof(name), "caller%u", c->number);
	if (mkdirat(c->dir, name, 0755) < 0)
		bench_fail(name);
	dir = openat(c->dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		bench_fail(name);
	c->dir = dir;
	memset(c->content, 'c', SIZE);
}

static void open_file(struct caller *c, const char *name, int flags)
{
	c->fd = openat(c->dir, name, flags | O_CLOEXEC, 0644);
	if (c->fd < 0)
		bench_fail(name);
}

static void step_create(struct caller *c)
{
	(void)snprintf(c->name, sizeof(c->name), "file%u", c->turn);
	open_file(c, c->name, O_RDWR | O_CREAT | O_EXCL);
}

static void step_write(struct caller *c)
{
	if (pwrite(c->fd, c->content, SIZE, 0) != SIZE)
		bench_fail("write");
}

static void step_sync(struct caller *c)
{
	if (c->turn % 4 == 0 && fdatasync(c->fd) < 0)
		bench_fail("fdatasync");
}

static void step_close(struct caller *c)
{
	if (close(c->fd) < 0)
		bench_fail("close");
}

/* A name that is new to the kernel, so that somebody has to look. */
static void step_absent(struct caller *c)
{
	char name[32];
	struct stat facts;

	(void)snprintf(name, sizeof(name), "absent%u", c->turn);
	if (fstatat(c->dir, name, &facts, 0) == 0 || errno != ENOENT)
		bench_fail(name);
}

static void fresh_stat(int dir, const char *name)
{
	struct statx facts;

	if (statx(dir, name, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &facts) < 0)
		bench_fail(name);
}

static void step_stat(struct caller *c)
{
	fresh_stat(c->dir, c->name);
}

static void step_open(struct caller *c)
{
	open_file(c, c->name, O_RDONLY);
	(void)posix_fadvise(c->fd, 0, 0, POSIX_FADV_DONTNEED);
}

static void step_read(struct caller *c)
{
	if (pread(c->fd, c->content, SIZE, 0) != SIZE)
		bench_fail("read");
}

static void list(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = fd < 0 ? NULL : fdopendir(fd);

	if (!stream)
		bench_fail(name);
	errno = 0;
	while (readdir(stream))
		;
	if (errno)
		bench_fail("readdir");
	(void)closedir(stream);
}

static void step_list(struct caller *c)
{
	list(c->dir, ".");
}

static void step_unlink(struct caller *c)
{
	if (unlinkat(c->dir, c->name, 0) < 0)
		bench_fail("unlink");
}

static const struct step file_steps[] = {
	{"create", step_create}, {"write", step_write},	  {"fdatasync", step_sync, true},
	{"close", step_close},	 {"lookup", step_absent}, {"stat", step_stat},
	{"open", step_open},	 {"read", step_read},	  {"close", step_close},
	{"list", step_list},	 {"unlink", step_unlink},
};

/* The same on a disk that is to stall, with more that waits for a disk. */
static void prepare_cold(struct caller *c)
{
	own_directory(c);
	open_file(c, "cold", O_WRONLY | O_CREAT);
	for (unsigned i = 0; i < COLD_PIECES; i++)
		if (pwrite(c->fd, c->content, SIZE, (off_t)i * SIZE) != SIZE)
			bench_fail("write");
	step_close(c);
}

static void step_open_cold(struct caller *c)
{
	open_file(c, "cold", O_RDONLY | O_DIRECT);
}

static void step_read_cold(struct caller *c)
{
	if (pread(c->fd, c->content, SIZE, (off_t)(c->turn % COLD_PIECES) * SIZE) != SIZE)
		bench_fail("read");
}

static void step_fsync(struct caller *c)
{
	if (fsync(c->fd) < 0)
		bench_fail("fsync");
}

/* All of them open one file, and the last close of it has something to write. */
static void step_open_shared(struct caller *c)
{
	open_file(c, "../shared", O_WRONLY | O_CREAT | O_TRUNC);
}

static const struct step hang_steps[] = {
	{"open", step_open_cold},   {"read", step_read_cold}, {"close", step_close},
	{"create", step_create},    {"write", step_write},    {"fsync", step_fsync},
	{"close", step_close},	    {"lookup", step_absent},  {"unlink", step_unlink},
	{"open", step_open_shared}, {"write", step_write},    {"close", step_close},
	{"list", step_list},
};

/* The view's own directory, and those of media. */
static void step_root_list(struct caller *c)
{
	list(c->dir, ".");
}

static void step_root_stat(struct caller *c)
{
	fresh_stat(c->dir, ".");
}

static const char *place(const struct caller *c)
{
	unsigned count = 0;

	while (c->places[count])
		count++;
	return c->places[c->turn % count];
}

static void step_place_stat(struct caller *c)
{
	fresh_stat(c->dir, place(c));
}

static void step_place_open(struct caller *c)
{
	open_file(c, place(c), O_RDONLY | O_DIRECTORY);
}

static void step_place_space(struct caller *c)
{
	struct statvfs facts;

	if (fstatvfs(c->fd, &facts) < 0)
		bench_fail("statvfs");
}

static void step_place_state(struct caller *c)
{
	char state[64];

	if (fgetxattr(c->fd, "user.hotplugfs.state", state, sizeof(state)) < 0)
		bench_fail("getxattr");
}

static const struct step root_steps[] = {
	{"list", step_root_list},
	{"stat", step_root_stat},
	{"stat-medium", step_place_stat},
	{"open-medium", step_place_open},
	{"statfs", step_place_space},
	{"getxattr", step_place_state},
	{"close", step_close},
};

static const struct load loads[] = {
	{"files", own_directory, file_steps, COUNT(file_steps)},
	{"hang", prepare_cold, hang_steps, COUNT(hang_steps)},
	{"root", NULL, root_steps, COUNT(root_steps)},
};

const struct load *load_find(const char *name)
{
	for (size_t i = 0; i < COUNT(loads); i++)
		if (strcmp(loads[i].name, name) == 0)
			return &loads[i];
	return NULL;
}

#include "dirs.h"

int dirs_init(struct dirs *dirs)
{
	memset(dirs, 0, sizeof(*dirs));
	for (size_t i = 0; i < DIRS_CACHED; i++)
		dirs->cached[i].fd = -EBADF;
	return -pthread_mutex_init(&dirs->lock, NULL);
}

void dirs_done(struct dirs *dirs)
{
	for (size_t i = 0; i < DIRS_CACHED; i++)
		close_fd(dirs->cached[i].fd);
	(void)pthread_mutex_destroy(&dirs->lock);
}

struct dir *dirs_find(struct dirs *dirs, uint64_t nodeid)
{
	struct dir *found = NULL;

	pthread_mutex_lock(&dirs->lock);
	for (size_t i = 0; nodeid && i < DIRS_CACHED && !found; i++) {
		struct dir *d = &dirs->cached[i];

		if (d->nodeid == nodeid && !d->dropped)
			found = d;
	}
	if (found) {
		found->refs++;
		found->used = ++dirs->clock;
	}
	pthread_mutex_unlock(&dirs->lock);
	return found;
}

/* Empties a place that nobody uses; returns the fd to close, outside the lock. */
static int place_empty(struct dir *d)
{
	int fd = TAKE_FD(d->fd);

	*d = (struct dir){.fd = -EBADF};
	return fd;
}

static struct dir *place_choose(struct dirs *dirs)
{
	struct dir *best = NULL;

	for (size_t i = 0; i < DIRS_CACHED; i++) {
		struct dir *d = &dirs->cached[i];

		if (d->refs == 0 && (!best || d->used < best->used))
			best = d;
	}
	return best;
}

struct dir *dirs_add(struct dirs *dirs, struct medium *medium, uint64_t nodeid, int fd)
{
	int old_fd = -EBADF;
	struct dir *d;

	pthread_mutex_lock(&dirs->lock);
	d = place_choose(dirs);
	if (d) {
		old_fd = place_empty(d);
		*d = (struct dir){.nodeid = nodeid, .medium = medium, .fd = fd, .refs = 1};
		d->used = ++dirs->clock;
	}
	pthread_mutex_unlock(&dirs->lock);
	close_fd(old_fd);
	if (d)
		return d;
	d = malloc(sizeof(*d));
	if (!d) {
		close_fd(fd);
		return NULL;
	}
	*d = (struct dir){.nodeid = nodeid, .fd = fd, .refs = 1, .temporary = true};
	return d;
}

void dirs_put(struct dirs *dirs, struct dir *dir)
{
	int fd = -EBADF;

	if (dir->temporary) {
		close_fd(dir->fd);
		free(dir);
		return;
	}
	pthread_mutex_lock(&dirs->lock);
	if (--dir->refs == 0 && dir->dropped)
		fd = place_empty(dir);
	pthread_mutex_unlock(&dirs->lock);
	close_fd(fd);
}

static void drop_matching(struct dirs *dirs, uint64_t nodeid, const struct medium *medium)
{
	int fds[DIRS_CACHED];
	size_t n = 0;

	pthread_mutex_lock(&dirs->lock);
	for (size_t i = 0; i < DIRS_CACHED; i++) {
		struct dir *d = &dirs->cached[i];

		if (d->nodeid == 0 || (medium ? d->medium != medium : d->nodeid != nodeid))
			continue;
		d->dropped = true;
		if (d->refs == 0)
			fds[n++] = place_empty(d);
	}
	pthread_mutex_unlock(&dirs->lock);
	while (n > 0)
		close_fd(fds[--n]);
}

void dirs_drop(struct dirs *dirs, uint64_t nodeid)
{
	drop_matching(dirs, nodeid, NULL);
}

void dirs_drop_medium(struct dirs *dirs, const struct medium *medium)
{
	drop_matching(dirs, 0, medium);
}

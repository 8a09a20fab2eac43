/* What is left of a deleted file that the kernel still knows; a part of files.h. */
#include "files_internal.h"

#include <assert.h>

/* Keeps the fd, and a record of it for who comes after us. */
static void deleted_keep(struct files *files, struct open_node *n, int fd, uint16_t slot)
{
	const struct file_record rec = {
		.node = n->index, .fd = fd, .slot = slot, .kind = RECORD_DELETED};
	int64_t index;

	n->deleted_fd = fd;
	files->held++;
	if (files_record_add(files, &rec, &index))
		n->deleted_record = (uint32_t)index;
}

void files_set_deleted(struct files *files, uint32_t node, uint16_t slot, const struct stat *st,
		       int fd)
{
	struct open_node *n;

	pthread_mutex_lock(&files->lock);
	n = open_node_need(files, node);
	if (n) {
		n->deleted = true;
		n->deleted_attr = *st;
		if (n->deleted_fd < 0 && fd >= 0)
			deleted_keep(files, n, TAKE_FD(fd), slot);
	}
	pthread_mutex_unlock(&files->lock);
	close_fd(fd);
}

int files_set_deleted_attr(struct files *files, uint32_t node, const struct stat *st)
{
	struct open_node *n;
	bool deleted;

	pthread_mutex_lock(&files->lock);
	n = open_node_find(files, node);
	deleted = n && n->deleted;
	if (deleted)
		n->deleted_attr = *st;
	pthread_mutex_unlock(&files->lock);
	return deleted ? 0 : -ENOENT;
}

void files_set_deleted_birth(struct files *files, uint32_t node, struct timespec birth)
{
	struct open_node *n;

	pthread_mutex_lock(&files->lock);
	n = open_node_find(files, node);
	if (n && n->deleted)
		n->deleted_birth = birth;
	pthread_mutex_unlock(&files->lock);
}

int files_deleted_birth(struct files *files, uint32_t node, struct timespec *ret_birth)
{
	struct open_node *n;

	pthread_mutex_lock(&files->lock);
	n = open_node_find(files, node);
	*ret_birth = n && n->deleted ? n->deleted_birth : (struct timespec){0};
	pthread_mutex_unlock(&files->lock);
	return ret_birth->tv_sec || ret_birth->tv_nsec ? 0 : -ENOENT;
}

int files_deleted_attr(struct files *files, uint32_t node, struct stat *ret_st)
{
	struct open_node *n;
	bool deleted;

	pthread_mutex_lock(&files->lock);
	n = open_node_find(files, node);
	deleted = n && n->deleted && n->deleted_attr.st_mode;
	if (deleted)
		*ret_st = n->deleted_attr;
	pthread_mutex_unlock(&files->lock);
	return deleted ? 0 : -ENOENT;
}

void files_remember_deleted(struct files *files, uint64_t handle)
{
	struct stat before;
	struct stat st;
	struct file *f;

	if (files_get(files, handle, &f) < 0)
		return;
	if (f->fd >= 0 && files_deleted_attr(files, f->node, &before) == 0 &&
	    fstat(f->fd, &st) == 0)
		(void)files_set_deleted_attr(files, f->node, &st);
	file_put(files, f);
}

static int deleted_take(struct files *files, struct open_node *n)
{
	if (n->deleted_record != SLAB_NONE)
		slab_free(files_records(files), n->deleted_record);
	n->deleted_record = SLAB_NONE;
	files->held -= n->deleted_fd >= 0;
	return TAKE_FD(n->deleted_fd);
}

/* The fd of one such node, with the node's index; -EBADF when there is none left. */
static int deleted_next(struct files *files, uint16_t slot, uint32_t *ret_node)
{
	struct slab *slab = files_records(files);
	int fd = -EBADF;

	pthread_mutex_lock(&files->lock);
	for (uint32_t i = 0; i < slab->chunk_count * slab->per_chunk && fd < 0; i++) {
		const struct file_record *rec = slab_find(slab, i);
		struct open_node *n;

		if (!rec || rec->kind != RECORD_DELETED || rec->slot != slot)
			continue;
		*ret_node = rec->node;
		n = open_node_find(files, rec->node);
		assert(n);
		fd = deleted_take(files, n);
	}
	pthread_mutex_unlock(&files->lock);
	return fd;
}

void files_drop_deleted(struct files *files, uint16_t slot)
{
	uint32_t node;
	int fd;

	while ((fd = deleted_next(files, slot, &node)) >= 0) {
		struct stat st;

		if (fstat(fd, &st) == 0)
			(void)files_set_deleted_attr(files, node, &st);
		close_fd(fd);
	}
}

void files_forget_node(struct files *files, uint32_t node)
{
	struct open_node *n;
	int fd = -EBADF;

	pthread_mutex_lock(&files->lock);
	n = open_node_find(files, node);
	if (n) {
		n->deleted = false;
		fd = deleted_take(files, n);
		open_node_settle(n);
	}
	pthread_mutex_unlock(&files->lock);
	close_fd(fd);
}

/* Open files over the death of a server: what the next one makes of the records that it left. */
#include "files_internal.h"

#include "base/fdstore.h"
#include "base/log.h"
#include "medium.h"

/*
 * The fds that the records name, under new numbers of our own. fds: one for each of the numbers, in
 * the order of the records; nothing is lost but these when they cannot be had.
 */
static int fetch(struct files *files, int previous_fd, int **ret_fds)
{
	struct slab *slab = files_records(files);
	_cleanup_free_ int *numbers = calloc(slab->live + 1, sizeof(*numbers));
	_cleanup_free_ int *fds = calloc(slab->live + 1, sizeof(*fds));
	size_t n = 0;
	int r;

	if (!numbers || !fds)
		return -ENOMEM;
	for (uint32_t i = 0; i < slab->chunk_count * slab->per_chunk; i++) {
		const struct file_record *rec = slab_find(slab, i);

		if (!rec)
			continue;
		/* of another server: one of them died before it had all that was left to it */
		numbers[n] = rec->server == files->store->header->server ? rec->fd : -EBADF;
		fds[n++] = -EBADF;
	}
	r = previous_fd >= 0 && n > 0 ? fdstore_fetch(previous_fd, numbers, n, fds) : 0;
	if (r < 0)
		log_warning("what was open in the server that died is opened again by name: %s",
			    errno_name(-r));
	*ret_fds = TAKE_PTR(fds);
	return 0;
}

/* A file that was open. The fd is taken over. Returns 0 or -errno. */
static int restore_file(struct files *files, uint32_t index, const struct file_record *rec)
{
	const struct files_add add = {.node = rec->node,
				      .request = rec->request,
				      .flags = rec->flags,
				      .directory = rec->kind == RECORD_DIRECTORY,
				      .unchecked = rec->unchecked};
	struct file *f = file_make(&add);
	struct open_node *n = f ? open_node_need(files, rec->node) : NULL;
	uint8_t flags;

	if (!n) {
		free(f);
		return -ENOMEM;
	}
	f->handle = (uint64_t)rec->live << 32 | index;
	f->nodeid = nodes_id(files->nodes, rec->node, &flags);
	f->fd = rec->fd;
	f->backing_id = rec->backing_id;
	if (f->backing_id)
		n->backing_id = f->backing_id;
	file_count(files, n, f);
	list_append(&n->files, &f->link);
	files->table[index] = f;
	files->held++;
	(void)nodes_pin(files->nodes, f->node);
	return 0;
}

/* A node without a name. Its attributes are asked of the fd when somebody wants them. */
static int restore_deleted(struct files *files, uint32_t index, const struct file_record *rec)
{
	struct open_node *n = open_node_need(files, rec->node);

	if (!n)
		return -ENOMEM;
	n->deleted = true;
	n->deleted_fd = rec->fd;
	files->held++;
	n->deleted_record = index;
	return 0;
}

static int restore(struct files *files, uint32_t index, struct file_record *rec, int fd)
{
	int r;

	/* in this order: with the old number it must never count as ours */
	rec->fd = -EBADF;
	rec->server = files->store->header->server;
	rec->fd = fd;
	if (!nodes_exists(files->nodes, rec->node) || (rec->kind == RECORD_DELETED && fd < 0)) {
		slab_free(files_records(files), index);
		close_fd(fd);
		return 0;
	}
	r = files_table_fit(files, index);
	if (r < 0)
		return r;
	return rec->kind == RECORD_DELETED ? restore_deleted(files, index, rec)
					   : restore_file(files, index, rec);
}

int files_rebuild(struct files *files, int previous_fd)
{
	struct slab *slab = files_records(files);
	uint32_t records = slab->chunk_count * slab->per_chunk;
	_cleanup_close_ int previous = previous_fd;
	_cleanup_free_ int *fds = NULL;
	int r = fetch(files, previous, &fds);
	size_t n = 0;

	files->store->header->server++;
	for (uint32_t i = 0; r == 0 && i < records; i++) {
		struct file_record *rec = slab_find(slab, i);

		if (rec)
			r = restore(files, i, rec, fds[n++]);
	}
	return r;
}

/* The next file of the slot that belongs to no medium yet, given to this one; or NULL. */
static struct file *adopt_next(struct files *files, struct medium *medium, uint32_t *index)
{
	struct file *found = NULL;

	pthread_mutex_lock(&files->lock);
	for (; *index < files->table_size && !found; ++*index) {
		const struct file_record *rec = slab_find(files_records(files), *index);
		struct file *f = files->table[*index];

		if (f && rec && !f->medium && rec->slot == medium->slot) {
			f->medium = medium;
			found = f;
		}
	}
	pthread_mutex_unlock(&files->lock);
	return found;
}

void files_adopt(struct files *files, struct medium *medium)
{
	uint32_t index = 0;
	struct file *f;

	while ((f = adopt_next(files, medium, &index))) {
		medium_ref(medium);
		medium_opened(medium, f->writer);
	}
}

void files_undo(struct files *files, uint64_t unique)
{
	uint64_t handle = 0;

	pthread_mutex_lock(&files->lock);
	for (uint32_t i = 0; i < files->table_size && !handle; i++)
		if (files->table[i] && files->table[i]->request == unique)
			handle = files->table[i]->handle;
	pthread_mutex_unlock(&files->lock);
	if (handle)
		files_release(files, handle);
}

static bool backing_recorded(struct files *files, int id)
{
	struct slab *slab = files_records(files);

	for (uint32_t i = 0; i < slab->chunk_count * slab->per_chunk; i++) {
		const struct file_record *rec = slab_find(slab, i);

		if (rec && rec->backing_id == id)
			return true;
	}
	return false;
}

/*
 * The kernel counts the ids up (fuse_backing_id_alloc), and no two are registered at a time: the
 * strays are those between the last recorded and one that we get now.
 */
void files_close_strays(struct files *files)
{
	struct store_header *header = files->store->header;
	int next = channel_backing_open(files->channel, files->store->fd);

	if (next <= 0)
		return;
	pthread_mutex_lock(&files->lock);
	for (int id = MAX(header->backing_seen, next - 64) + 1; id <= next; id++)
		if (!backing_recorded(files, id))
			channel_backing_close(files->channel, id);
	header->backing_seen = next;
	pthread_mutex_unlock(&files->lock);
}

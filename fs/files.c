#include "files_internal.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/resource.h>

#include "medium.h"

static struct list *bucket(struct files *files, uint32_t node)
{
	return &files->buckets[hash_mix(node) % FILES_BUCKETS];
}

struct open_node *open_node_find(struct files *files, uint32_t node)
{
	list_for_each (it, bucket(files, node)) {
		struct open_node *n = CONTAINER_OF(it, struct open_node, hash);

		if (n->index == node)
			return n;
	}
	return NULL;
}

struct open_node *open_node_need(struct files *files, uint32_t node)
{
	struct open_node *n = open_node_find(files, node);

	if (n)
		return n;
	n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	n->index = node;
	n->deleted_fd = -EBADF;
	n->deleted_record = SLAB_NONE;
	list_init(&n->files);
	list_append(bucket(files, node), &n->hash);
	return n;
}

void open_node_settle(struct open_node *n)
{
	if (!list_empty(&n->files) || n->deleted || n->backing_users)
		return;
	assert(n->deleted_fd < 0);
	list_remove(&n->hash);
	free(n);
}

int files_table_fit(struct files *files, uint32_t index)
{
	uint32_t size = MAX(files->table_size * 2, index + 64);
	struct file **more;

	if (index < files->table_size)
		return 0;
	more = realloc(files->table, size * sizeof(*more));
	if (!more)
		return -ENOMEM;
	memset(more + files->table_size, 0, (size - files->table_size) * sizeof(*more));
	files->table = more;
	files->table_size = size;
	return 0;
}

struct file *file_make(const struct files_add *add)
{
	struct file *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->node = add->node;
	f->nodeid = add->nodeid;
	f->medium = add->medium;
	f->request = add->request;
	f->flags = add->flags;
	f->directory = add->directory;
	f->unchecked = add->unchecked;
	f->writer = !add->directory && (add->flags & O_ACCMODE) != O_RDONLY;
	f->fd = -EBADF;
	f->direct_fd = -EBADF;
	f->refs = 1;
	list_init(&f->link);
	return f;
}

void file_count(struct files *files, struct open_node *n, const struct file *f)
{
	if (f->backing_id)
		n->backing_users++;
	else if (!f->directory)
		n->cached_users++;
	if (f->writer && !f->backing_id)
		atomic_store(&files->writes_come, true);
}

/*
 * Decides how the file is served. One inode has one backing id at a time, and its opens are all
 * of one kind (fs/fuse/iomode.c): also after passthrough has been switched off, as long as one from
 * before is open. A backing that cannot be registered means "through us".
 */
static void backing_join(struct files *files, struct open_node *n, struct file *f, int fd,
			 bool passthrough)
{
	if (n->backing_users > 0 || (passthrough && n->cached_users == 0)) {
		if (n->backing_users == 0) {
			int id = channel_backing_open(files->channel, fd);

			n->backing_id = id > 0 ? id : 0;
		}
		f->backing_id = n->backing_id;
	}
	file_count(files, n, f);
}

/* Returns the id that is to be closed, which may block on the device: outside the lock. 0: none. */
static int backing_leave(struct open_node *n, const struct file *f)
{
	int id = 0;

	if (f->backing_id && --n->backing_users == 0) {
		id = n->backing_id;
		n->backing_id = 0;
	} else if (!f->backing_id && !f->directory) {
		n->cached_users--;
	}
	return id;
}

static void backing_close(struct files *files, int id)
{
	if (id)
		channel_backing_close(files->channel, id);
}

uint32_t files_record_add(struct files *files, const struct file_record *what, int64_t *ret_index)
{
	struct store_header *header = files->store->header;
	struct file_record *rec;
	uint32_t index;
	int r = slab_alloc(files_records(files), &index);

	if (r == 0)
		r = files_table_fit(files, index);
	*ret_index = r < 0 ? r : (int64_t)index;
	if (r < 0)
		return 0;
	rec = slab_at(files_records(files), index);
	memcpy(&rec->node, &what->node, sizeof(*rec) - offsetof(struct file_record, node));
	rec->server = header->server;
	if (++header->file_generation == 0)
		header->file_generation = 1;
	slab_publish(files_records(files), index, header->file_generation);
	return header->file_generation;
}

static int file_record_add(struct files *files, struct file *f)
{
	const struct file_record rec = {
		.node = f->node,
		.flags = f->flags,
		.backing_id = f->backing_id,
		.fd = f->fd,
		.request = f->request,
		.slot = f->medium->slot,
		.kind = f->directory ? RECORD_DIRECTORY : RECORD_FILE,
		.unchecked = f->unchecked,
	};
	int64_t index;
	uint32_t generation = files_record_add(files, &rec, &index);

	if (generation == 0)
		return (int)index;
	files->store->header->backing_seen = MAX(files->store->header->backing_seen, f->backing_id);
	f->handle = (uint64_t)generation << 32 | (uint32_t)index;
	files->table[index] = f;
	return 0;
}

/* NULL when the kernel has released it. */
static struct file_record *record_of(struct files *files, const struct file *f)
{
	return f->released ? NULL : slab_at(files_records(files), (uint32_t)f->handle);
}

#define FILE_FDS 2

/* Takes them out of a file that the kernel has: their numbers are other files' from now on. */
static void file_take_fds(struct files *files, struct file *f, int fds[FILE_FDS])
{
	struct file_record *rec = record_of(files, f);

	if (rec)
		rec->fd = -EBADF;
	fds[0] = TAKE_FD(f->fd);
	files->held -= f->direct_fd >= 0;
	fds[1] = TAKE_FD(f->direct_fd);
}

/* Of the descriptors that this process may have. */
#define KEPT_PART 4
#define KEPT_MAX  1024

static unsigned held_max(void)
{
	struct rlimit limit;
	unsigned most = INT_MAX;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		most = (unsigned)MIN(limit.rlim_cur, (rlim_t)most);
	return most - MIN(most / KEPT_PART, KEPT_MAX);
}

int files_room(struct files *files, bool directory)
{
	unsigned max = files->held_max + (directory ? files->held_max / 16 : 0);
	bool room;

	pthread_mutex_lock(&files->lock);
	room = files->held < max;
	pthread_mutex_unlock(&files->lock);
	return room ? 0 : -ENFILE;
}

int files_add(struct files *files, const struct files_add *add, struct file **ret_file)
{
	struct file *f = file_make(add);
	struct open_node *n;
	int backing = 0;
	int r = -ENOMEM;

	if (!f)
		return -ENOMEM;
	pthread_mutex_lock(&files->lock);
	n = open_node_need(files, add->node);
	if (n) {
		f->fd = add->fd;
		backing_join(files, n, f, add->fd, add->passthrough);
		r = file_record_add(files, f);
		if (r < 0)
			backing = backing_leave(n, f);
	}
	if (r == 0) {
		f->refs++; /* the kernel's */
		files->held++;
		list_append(&n->files, &f->link);
	} else if (n) {
		open_node_settle(n);
	}
	pthread_mutex_unlock(&files->lock);
	if (r < 0) {
		backing_close(files, backing);
		free(f);
		return r;
	}
	nodes_pin(files->nodes, f->node);
	medium_opened(f->medium, f->writer);
	*ret_file = f;
	return 0;
}

/* The table's entry for a handle of the kernel; under the lock. */
static struct file *handle_find(struct files *files, uint64_t handle)
{
	uint32_t index = (uint32_t)handle;
	struct file *f = index < files->table_size ? files->table[index] : NULL;

	return f && f->handle == handle ? f : NULL;
}

int files_get(struct files *files, uint64_t handle, struct file **ret_file)
{
	struct file *f;
	int r = 0;

	pthread_mutex_lock(&files->lock);
	f = handle_find(files, handle);
	if (!f)
		r = -EBADF;
	else if (f->abandoned)
		r = -EIO;
	else
		f->refs++;
	pthread_mutex_unlock(&files->lock);
	if (r == 0)
		*ret_file = f;
	return r;
}

static void file_free(struct files *files, struct file *f)
{
	close_fd(f->direct_fd);
	close_fd(f->fd); /* may write or free blocks of a deleted file */
	nodes_unpin(files->nodes, f->node);
	if (f->medium) {
		medium_closed(f->medium, f->writer);
		medium_put(f->medium);
	}
	free(f->stream);
	free(f);
}

void file_put(struct files *files, struct file *f)
{
	int fds[FILE_FDS] = {-EBADF, -EBADF};
	bool last;

	pthread_mutex_lock(&files->lock);
	last = --f->refs == 0;
	/* the last one is the kernel's, which does not use them */
	if (!last && f->abandoned && !f->released && f->refs == 1)
		file_take_fds(files, f, fds);
	pthread_mutex_unlock(&files->lock);
	for (unsigned i = 0; i < FILE_FDS; i++)
		close_fd(fds[i]);
	if (last)
		file_free(files, f);
}

void files_set_fd(struct files *files, struct file *file, int fd)
{
	struct file_record *rec;

	pthread_mutex_lock(&files->lock);
	rec = record_of(files, file);
	if (file->fd < 0) {
		file->fd = TAKE_FD(fd);
		if (rec) {
			rec->server = files->store->header->server;
			rec->fd = file->fd;
		}
	}
	pthread_mutex_unlock(&files->lock);
	close_fd(fd);
}

void files_delivered(struct files *files, struct file *file)
{
	struct file_record *rec;

	pthread_mutex_lock(&files->lock);
	rec = record_of(files, file);
	if (rec)
		rec->request = 0;
	pthread_mutex_unlock(&files->lock);
}

void files_set_checked(struct files *files, struct file *file)
{
	struct file_record *rec;

	pthread_mutex_lock(&files->lock);
	file->unchecked = false;
	rec = record_of(files, file);
	if (rec)
		rec->unchecked = false;
	pthread_mutex_unlock(&files->lock);
}

int file_direct_fd(struct files *files, struct file *f)
{
	char path[40];
	int fd;

	pthread_mutex_lock(&files->lock);
	fd = f->direct_fd;
	pthread_mutex_unlock(&files->lock);
	if (fd >= 0)
		return fd;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", f->fd);
	fd = open(path, f->flags | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	pthread_mutex_lock(&files->lock);
	if (f->direct_fd < 0 && !f->released) {
		f->direct_fd = TAKE_FD(fd);
		files->held++;
	}
	pthread_mutex_unlock(&files->lock);
	close_fd(fd);
	return f->direct_fd;
}

/* Takes it from the kernel; under the lock. Its record stays. Returns the backing id to close. */
static int file_unlist(struct files *files, struct file *f)
{
	struct open_node *n = open_node_find(files, f->node);
	int backing;

	assert(n);
	backing = backing_leave(n, f);
	f->released = true;
	files->table[(uint32_t)f->handle] = NULL;
	list_remove(&f->link);
	open_node_settle(n);
	return backing;
}

/*
 * The backing id is closed before the record goes: whoever takes over closes those that have none.
 * It may be the last that holds a file, and then closing it is like close(2).
 */
void files_release(struct files *files, uint64_t handle)
{
	int backing = 0;
	struct file *f;

	files_remember_deleted(files, handle);
	pthread_mutex_lock(&files->lock);
	f = handle_find(files, handle);
	if (f)
		backing = file_unlist(files, f);
	pthread_mutex_unlock(&files->lock);
	if (!f)
		return;
	backing_close(files, backing);
	pthread_mutex_lock(&files->lock);
	slab_free(files_records(files), (uint32_t)handle);
	files->held -= f->direct_fd >= 0 ? 2 : 1;
	pthread_mutex_unlock(&files->lock);
	file_put(files, f);
}

int files_borrow(struct files *files, uint32_t node, struct file_loan *ret_loan)
{
	struct file_loan loan = {.fd = -ENOENT};
	struct open_node *n;

	pthread_mutex_lock(&files->lock);
	n = open_node_find(files, node);
	if (n) {
		list_for_each (it, &n->files) {
			struct file *f = CONTAINER_OF(it, struct file, link);

			if (f->fd < 0 || f->abandoned)
				continue;
			f->refs++;
			loan = (struct file_loan){.fd = f->fd, .file = f};
			break;
		}
		if (loan.fd < 0 && n->deleted_fd >= 0)
			loan.fd = fcntl(n->deleted_fd, F_DUPFD_CLOEXEC, 3);
	}
	pthread_mutex_unlock(&files->lock);
	if (loan.fd < 0)
		return -ENOENT;
	*ret_loan = loan;
	return 0;
}

void files_return(struct files *files, struct file_loan *loan)
{
	if (loan->file)
		file_put(files, loan->file);
	else
		close_fd(loan->fd);
	loan->fd = -EBADF;
}

static bool is_writer(const struct file *f)
{
	return f->writer;
}

/* A shared mapping that can be written to takes both. */
static bool is_mappable(const struct file *f)
{
	return !f->directory && (f->flags & O_ACCMODE) == O_RDWR;
}

/* Whether the node has a file of this kind. */
static bool node_has(struct files *files, uint32_t node, bool (*is)(const struct file *f))
{
	struct open_node *n;
	bool found = false;

	pthread_mutex_lock(&files->lock);
	n = open_node_find(files, node);
	if (n) {
		list_for_each (it, &n->files) {
			found = found || is(CONTAINER_OF(it, struct file, link));
		}
	}
	pthread_mutex_unlock(&files->lock);
	return found;
}

bool files_node_written(struct files *files, uint32_t node)
{
	return node_has(files, node, is_writer);
}

bool files_node_mappable(struct files *files, uint32_t node)
{
	return node_has(files, node, is_mappable);
}

#define ABANDON_BATCH 64

/* Takes out fds of the medium that nobody uses. Returns how many; 0: all done. */
static unsigned abandon_some(struct files *files, const struct medium *medium, int *fds)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < files->table_size && n + FILE_FDS <= ABANDON_BATCH; i++) {
		struct file *f = files->table[i];

		if (!f || f->medium != medium)
			continue;
		f->abandoned = true;
		if (f->refs > 1 || (f->fd < 0 && f->direct_fd < 0))
			continue;
		file_take_fds(files, f, fds + n);
		n += FILE_FDS;
	}
	return n;
}

/* The next open file of the medium at or behind *index; false when there is none. */
static bool next_nodeid(struct files *files, const struct medium *medium, uint32_t *index,
			uint64_t *ret_nodeid)
{
	bool found = false;

	pthread_mutex_lock(&files->lock);
	for (; *index < files->table_size && !found; ++*index) {
		const struct file *f = files->table[*index];

		if (f && f->medium == medium) {
			*ret_nodeid = f->nodeid;
			found = true;
		}
	}
	pthread_mutex_unlock(&files->lock);
	return found;
}

void files_abandon(struct files *files, struct medium *medium)
{
	uint64_t nodeid;
	uint32_t index = 0;

	while (next_nodeid(files, medium, &index, &nodeid))
		(void)channel_notify_data(files->channel, nodeid, 0, 0);
	files_close_all(files, medium);
}

void files_close_all(struct files *files, struct medium *medium)
{
	int fds[ABANDON_BATCH];
	unsigned n;

	do {
		pthread_mutex_lock(&files->lock);
		n = abandon_some(files, medium, fds);
		pthread_mutex_unlock(&files->lock);
		for (unsigned i = 0; i < n; i++)
			close_fd(fds[i]);
	} while (n > 0);
}

int files_init(struct files *files, struct store *store, struct nodes *nodes,
	       struct channel *channel, int previous_fd)
{
	memset(files, 0, sizeof(*files));
	files->store = store;
	files->nodes = nodes;
	files->channel = channel;
	for (size_t i = 0; i < FILES_BUCKETS; i++)
		list_init(&files->buckets[i]);
	(void)pthread_mutex_init(&files->lock, NULL);
	files->held_max = held_max();
	return files_rebuild(files, previous_fd);
}

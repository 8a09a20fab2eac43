/* Reading directories of a medium. */
#include "ops.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>

#include "access.h"
#include "dirent.h"

/* As getdents64(2) writes it. */
struct kernel_dirent {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

/* What was read from a directory and not yet handed on. */
struct dir_stream {
	int64_t pos; /* the offset of the entry at */
	size_t at;
	size_t end;
	char buf[16384];
};

void op_opendir(struct request *req, struct medium *m, const struct node_info *node)
{
	struct files_add add = {
		.node = node->index,
		.nodeid = req->head->nodeid,
		.request = request_unique(req),
		.medium = m,
		.fd = -EBADF,
		.flags = O_RDONLY | O_DIRECTORY,
		.directory = true,
	};
	struct wire_open_out out = {.open_flags = FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE};
	struct file *f;
	int r;

	r = files_room(&m->view->files, true);
	if (r == 0)
		r = add.fd = resolve_open(m, node, add.flags);
	if (r >= 0) {
		medium_ref(m); /* the file's */
		r = files_add(&m->view->files, &add, &f);
		if (r < 0) {
			close_fd(add.fd);
			medium_put(m);
		}
	}
	if (r < 0) {
		(void)reply_error(req, r);
		return;
	}
	out.fh = f->handle;
	file_reply(req, f, &out, sizeof(out));
	file_put(&m->view->files, f);
}

/* The next entry, not taken yet. Returns 1, 0 at the end, or -errno. Blocks on the device. */
static int stream_peek(struct dir_stream *s, int fd, const struct kernel_dirent **ret_entry)
{
	if (s->at == s->end) {
		long n = syscall(SYS_getdents64, fd, s->buf, sizeof(s->buf));

		if (n <= 0)
			return n < 0 ? -errno : 0;
		s->at = 0;
		s->end = (size_t)n;
	}
	*ret_entry = (const struct kernel_dirent *)(s->buf + s->at);
	return 1;
}

static void stream_take(struct dir_stream *s, const struct kernel_dirent *entry)
{
	s->pos = entry->off;
	s->at += entry->reclen;
}

/* The file's stream, moved to the offset if it is not there; NULL without memory. */
static struct dir_stream *stream_get(struct file *f, int64_t offset)
{
	struct dir_stream *s = atomic_exchange(&f->stream, NULL);
	bool fresh = !s;

	if (!s)
		s = malloc(sizeof(*s));
	if (!s)
		return NULL;
	if (fresh || s->pos != offset || offset == 0) {
		(void)lseek(f->fd, offset, SEEK_SET);
		s->pos = offset;
		s->at = s->end = 0;
	}
	return s;
}

static void stream_put(struct file *f, struct dir_stream *s)
{
	free(atomic_exchange(&f->stream, s));
}

static uint64_t entry_ino(const struct medium *m, const struct node_info *dir, const char *name,
			  uint64_t ino)
{
	if (dir->flags & NODE_MEDIUM_ROOT && streq(name, ".."))
		return NODE_ID_ROOT;
	if (dir->key.dev == 0 && ino == m->root_ino)
		return medium_ino(m, 0, 0);
	return medium_ino(m, dir->key.dev, ino);
}

static bool is_dots(const char *name)
{
	return streq(name, ".") || streq(name, "..");
}

/* Fills the reply. Returns 0, or -errno when nothing could be read at all. */
static int dir_fill(struct medium *m, const struct node_info *dir, struct file *f,
		    struct dir_stream *s, struct dirent_buffer *out)
{
	for (;;) {
		const struct kernel_dirent *e = NULL;
		struct fuse_entry_out entry = {0};
		int r = stream_peek(s, f->fd, &e);

		if (r <= 0)
			return r < 0 && out->used == 0 ? r : 0;
		if (!dirent_fits(out, strlen(e->name)))
			return 0;
		/* one that cannot be looked up is still a name */
		if (out->plus && !is_dots(e->name) &&
		    entry_make(m, dir, e->name, f->fd, e->name, &entry) < 0)
			entry.nodeid = 0;
		(void)dirent_add(out, e->name,
				 entry.nodeid ? entry.attr.ino : entry_ino(m, dir, e->name, e->ino),
				 e->type, (uint64_t)e->off, &entry);
		stream_take(s, e);
	}
}

/* The reply was not delivered: the lookups in it did not happen. */
static void plus_undo(struct medium *m, const struct dirent_buffer *buf)
{
	size_t at = 0;

	while (at < buf->used) {
		const struct fuse_direntplus *d = (const void *)(buf->data + at);

		entry_undo(m, &d->entry_out);
		at += FUSE_DIRENTPLUS_SIZE(d);
	}
}

/*
 * The first READDIR of a medium's directory that was opened before the medium was mounted. The
 * reader stands for the opener, whose groups are not known any more; root does not.
 */
static int check_opener(struct request *req, struct medium *m, struct file *f)
{
	int r = access_check(req, m->root_fd, R_OK);

	if (r == 0 && req->head->uid != 0)
		files_set_checked(&m->view->files, f);
	return r;
}

static void read_dir(struct request *req, struct medium *m, const struct node_info *node, bool plus)
{
	const struct fuse_read_in *in = REQUEST_BODY(req, struct fuse_read_in);
	struct dirent_buffer out = {.plus = plus};
	_cleanup_free_ char *data = NULL;
	struct dir_stream *s = NULL;
	struct file *f;
	int r = in ? file_use(req, m, node, in->fh, &f) : -EINVAL;

	if (r == 0 && f->unchecked) {
		r = check_opener(req, m, f);
		if (r < 0)
			file_put(&m->view->files, f);
	}
	if (r < 0) {
		(void)reply_error(req, r);
		return;
	}
	out.size = MIN(in->size, CHANNEL_MAX_WRITE);
	out.data = data = malloc(out.size);
	s = data ? stream_get(f, (int64_t)in->offset) : NULL;
	r = s ? dir_fill(m, node, f, s, &out) : -ENOMEM;
	if (s)
		stream_put(f, s);
	file_put(&m->view->files, f);
	if (r < 0)
		(void)reply_error(req, r);
	else if (reply_data(req, data, out.used) < 0 && plus)
		plus_undo(m, &out);
}

void op_readdir(struct request *req, struct medium *m, const struct node_info *node)
{
	read_dir(req, m, node, false);
}

void op_readdirplus(struct request *req, struct medium *m, const struct node_info *node)
{
	read_dir(req, m, node, true);
}

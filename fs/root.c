/*
 * The view's own root: a list of the visible media, in memory. Only the announcer can change it,
 * by mkdir() and rmdir() like anybody, so that watchers see real events (DESIGN, fact 6).
 */
#include <time.h>

#include "dirent.h"
#include "ops.h"

#define ROOT_FIRST 3 /* offset of slot 1 in the listing, behind "." and ".." */

static bool is_announcer(const struct request *req)
{
	/* 0: the announcer is not known, or the client is in no pid namespace that we see */
	return req->head->pid != 0 && (int32_t)req->head->pid == atomic_load(&req->view->announcer);
}

static void root_attr(struct view *view, struct fuse_attr *ret_attr)
{
	pthread_mutex_lock(&view->media_lock);
	*ret_attr = (struct fuse_attr){
		.ino = NODE_ID_ROOT,
		.mode = S_IFDIR | 0755,
		.nlink = 2,
		.blksize = 4096,
		.atime = view->root_change_s,
		.mtime = view->root_change_s,
		.ctime = view->root_change_s,
	};
	pthread_mutex_unlock(&view->media_lock);
}

/*
 * Its attributes change with the announcer's mkdir and rmdir alone, and then the kernel asks for
 * them again by itself (fuse_dir_changed): until then every path that leads through it is
 * without a request.
 */
static void root_getattr(struct request *req)
{
	struct fuse_attr_out out = {.attr_valid = WIRE_FOREVER_S};

	root_attr(req->view, &out.attr);
	(void)reply_data(req, &out, sizeof(out));
}

static void root_statx(struct request *req)
{
	struct wire_statx_out out = {.attr_valid = WIRE_FOREVER_S};
	struct fuse_attr attr;

	root_attr(req->view, &attr);
	attr_to_statx(&attr, &out.stat);
	(void)reply_data(req, &out, sizeof(out));
}

static bool is_leaving(struct medium *m)
{
	bool leaving;

	pthread_mutex_lock(&m->view->media_lock);
	leaving = m->presence == PRESENCE_LEAVING;
	pthread_mutex_unlock(&m->view->media_lock);
	return leaving;
}

static void root_lookup(struct request *req)
{
	struct medium *m = NULL;
	struct fuse_entry_out entry;
	const char *name;
	int r = request_name(req, 0, &name);

	if (r == 0 && strlen(name) > LIMIT_NAME)
		r = -ENAMETOOLONG;
	if (r == 0) {
		/* the announcer removes a name that others do not see any more */
		m = medium_by_name(req->view, name,
				   PRESENCE_VISIBLE | (is_announcer(req) ? PRESENCE_LEAVING : 0));
		r = m ? root_medium_entry(req->view, m, is_leaving(m), &entry) : -ENOENT;
	}
	if (r < 0)
		(void)reply_error(req, r);
	else if (reply_data(req, &entry, sizeof(entry)) < 0)
		entry_undo(m, &entry);
	medium_putp(&m);
}

static void root_mkdir(struct request *req)
{
	struct view *view = req->view;
	_cleanup_(medium_putp) struct medium *m = NULL;
	struct fuse_entry_out entry;
	const char *name;
	int r = -EPERM;

	if (request_name(req, sizeof(struct fuse_mkdir_in), &name) == 0 && is_announcer(req))
		m = medium_by_name(view, name, PRESENCE_NEW);
	if (m)
		r = root_medium_entry(view, m, false, &entry);
	if (r < 0) {
		(void)reply_error(req, r);
		return;
	}
	medium_set_presence(m, PRESENCE_VISIBLE);
	if (reply_data(req, &entry, sizeof(entry)) < 0)
		entry_undo(m, &entry);
}

static void root_rmdir(struct request *req)
{
	struct view *view = req->view;
	_cleanup_(medium_putp) struct medium *m = NULL;
	const char *name;

	if (request_name(req, 0, &name) == 0 && is_announcer(req))
		m = medium_by_name(view, name, PRESENCE_VISIBLE | PRESENCE_LEAVING);
	if (!m) {
		(void)reply_error(req, -EPERM);
		return;
	}
	medium_set_presence(m, PRESENCE_GONE);
	(void)reply_error(req, 0);
}

static void root_opendir(struct request *req)
{
	struct wire_open_out out = {0};

	(void)reply_data(req, &out, sizeof(out));
}

/* The visible medium at or behind a slot, with a reference; NULL at the end. */
static struct medium *next_visible(struct view *view, uint64_t *slot)
{
	struct medium *m = NULL;

	pthread_mutex_lock(&view->media_lock);
	for (; *slot < STORE_SLOTS && !m; ++*slot) {
		struct medium *at = view->media[*slot];

		if (at && at->presence == PRESENCE_VISIBLE) {
			medium_ref(at);
			m = at;
		}
	}
	pthread_mutex_unlock(&view->media_lock);
	return m;
}

static bool add_medium(struct view *view, struct medium *m, uint64_t next,
		       struct dirent_buffer *out)
{
	struct fuse_entry_out entry = {0};

	if (!dirent_fits(out, strlen(m->facts.name)))
		return false;
	if (out->plus && root_medium_entry(view, m, false, &entry) < 0)
		entry.nodeid = 0;
	return dirent_add(out, m->facts.name, medium_ino(m, 0, 0), S_IFDIR >> 12, next, &entry);
}

static void root_fill(struct view *view, uint64_t offset, struct dirent_buffer *out)
{
	const struct fuse_entry_out none = {0};
	uint64_t slot = offset < ROOT_FIRST ? 1 : offset - ROOT_FIRST + 1;
	struct medium *m;

	if (offset == 0 && !dirent_add(out, ".", NODE_ID_ROOT, S_IFDIR >> 12, 1, &none))
		return;
	if (offset <= 1 && !dirent_add(out, "..", NODE_ID_ROOT, S_IFDIR >> 12, ROOT_FIRST, &none))
		return;
	while ((m = next_visible(view, &slot))) {
		bool added = add_medium(view, m, slot - 1 + ROOT_FIRST, out);

		medium_put(m);
		if (!added)
			return;
	}
}

static void plus_undo(struct view *view, const struct dirent_buffer *buf)
{
	for (size_t at = 0; at < buf->used;) {
		const struct fuse_direntplus *d = (const void *)(buf->data + at);

		if (d->entry_out.nodeid)
			op_forget(view, d->entry_out.nodeid, 1);
		at += FUSE_DIRENTPLUS_SIZE(d);
	}
}

static void root_readdir(struct request *req)
{
	const struct fuse_read_in *in = REQUEST_BODY(req, struct fuse_read_in);
	struct dirent_buffer out = {.plus = req->head->opcode == FUSE_READDIRPLUS};
	_cleanup_free_ char *data = NULL;

	out.size = in ? MIN(in->size, 1U << 16) : 0;
	out.data = data = malloc(out.size + 1);
	if (!in || !data) {
		(void)reply_error(req, in ? -ENOMEM : -EINVAL);
		return;
	}
	root_fill(req->view, in->offset, &out);
	if (reply_data(req, data, out.used) < 0 && out.plus)
		plus_undo(req->view, &out);
}

static void root_statfs(struct request *req)
{
	struct fuse_statfs_out out = {.st = {.bsize = 4096, .frsize = 4096, .namelen = LIMIT_NAME}};

	(void)reply_data(req, &out, sizeof(out));
}

static void root_getxattr(struct request *req)
{
	(void)reply_error(req, -ENODATA);
}

static void root_listxattr(struct request *req)
{
	const struct fuse_getxattr_in *in = REQUEST_BODY(req, struct fuse_getxattr_in);
	struct fuse_getxattr_out out = {0};

	(void)reply_data(req, &out, in && in->size ? 0 : sizeof(out));
}

static void root_ok(struct request *req)
{
	(void)reply_error(req, 0);
}

static const struct {
	uint32_t opcode;
	void (*fn)(struct request *req);
} root_ops[] = {
	{FUSE_LOOKUP, root_lookup},	  {FUSE_GETATTR, root_getattr},
	{WIRE_STATX, root_statx},	  {FUSE_MKDIR, root_mkdir},
	{FUSE_RMDIR, root_rmdir},	  {FUSE_OPENDIR, root_opendir},
	{FUSE_READDIR, root_readdir},	  {FUSE_READDIRPLUS, root_readdir},
	{FUSE_RELEASEDIR, root_ok},	  {FUSE_FSYNCDIR, root_ok},
	{FUSE_STATFS, root_statfs},	  {FUSE_GETXATTR, root_getxattr},
	{FUSE_LISTXATTR, root_listxattr},
};

void root_dispatch(struct request *req)
{
	for (size_t i = 0; i < ARRAY_SIZE(root_ops); i++) {
		if (root_ops[i].opcode == req->head->opcode) {
			root_ops[i].fn(req);
			return;
		}
	}
	/* nobody writes here */
	(void)reply_error(req, req->head->opcode == FUSE_IOCTL ? -ENOTTY : -EPERM);
}

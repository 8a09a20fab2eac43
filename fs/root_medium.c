/* A medium's directory as seen from the root: what can be said of it without its filesystem. */
#include "ops.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/xattr.h>

#include "base/loop.h"

#define XATTR_PREFIX "user.hotplugfs."

static const char *const acl_names[ROOT_ACLS] = {
	[ROOT_ACL_ACCESS] = "system.posix_acl_access",
	[ROOT_ACL_DEFAULT] = "system.posix_acl_default",
};

static struct root_acl acl_of(int root_fd, const char *name)
{
	struct root_acl acl;
	char path[40];
	ssize_t n;

	/* it may be an O_PATH fd, for which there is no fgetxattr() */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", root_fd);
	n = getxattr(path, name, acl.value, sizeof(acl.value));
	acl.size = (int)n;
	if (n < 0)
		acl.size = errno == ENODATA || errno == EOPNOTSUPP ? 0 : ROOT_ACL_UNKNOWN;
	return acl;
}

/* Nobody else can change it meanwhile. */
void medium_remember_root(struct medium *m, int root_fd)
{
	struct root_acl acls[ROOT_ACLS];
	struct stat st;
	struct statfs fs;
	bool st_ok = fstat(root_fd, &st) == 0;
	bool fs_ok = fstatfs(root_fd, &fs) == 0;

	for (int i = 0; i < ROOT_ACLS; i++)
		acls[i] = acl_of(root_fd, acl_names[i]);
	pthread_mutex_lock(&m->lock);
	m->root_known = st_ok;
	m->space_known = fs_ok;
	if (st_ok)
		m->root_attr = st;
	if (fs_ok)
		m->space = fs;
	memcpy(m->root_acls, acls, sizeof(acls));
	pthread_mutex_unlock(&m->lock);
}

unsigned root_medium_changes(struct medium *m)
{
	unsigned changes;

	pthread_mutex_lock(&m->lock);
	changes = m->root_changes;
	pthread_mutex_unlock(&m->lock);
	return changes;
}

void root_medium_seen(struct medium *m, unsigned changes, const struct stat *st)
{
	pthread_mutex_lock(&m->lock);
	if (changes == m->root_changes)
		m->root_attr = *st;
	pthread_mutex_unlock(&m->lock);
}

void root_medium_changed(struct medium *m)
{
	struct stat st;
	unsigned changes;

	pthread_mutex_lock(&m->lock);
	changes = ++m->root_changes;
	for (int i = 0; i < ROOT_ACLS; i++)
		m->root_acls[i].size = ROOT_ACL_UNKNOWN;
	pthread_mutex_unlock(&m->lock);
	if (fstat(m->root_fd, &st) == 0)
		root_medium_seen(m, changes, &st);
}

void root_medium_attr(struct medium *m, struct fuse_attr *ret_attr, bool *ret_known)
{
	const struct node_info node = {.flags = NODE_MEDIUM_ROOT};
	struct stat st = {.st_mode = S_IFDIR | 0755, .st_nlink = 2, .st_blksize = 4096};

	pthread_mutex_lock(&m->lock);
	if (atomic_load(&m->owner) ==
	    MEDIUM_NO_OWNER) /* not known: nobody is refused before the disk has been asked */
		st.st_mode |= 0777;
	if (m->root_known) {
		st = m->root_attr;
	} else {
		st.st_atim.tv_sec = (time_t)m->facts.appeared_s;
		st.st_mtim = st.st_ctim = st.st_atim;
	}
	*ret_known = m->root_known;
	attr_fill(m, &node, &st, ret_attr);
	pthread_mutex_unlock(&m->lock);
}

int root_medium_entry(struct view *view, struct medium *m, bool leaving,
		      struct fuse_entry_out *ret_entry)
{
	const struct node_key key = {.slot = m->slot, .ino = leaving ? UINT64_MAX : 0};
	/* attributes that are made up, or that somebody may be changing now, are asked for again */
	struct fuse_entry_out entry = {.entry_valid = WIRE_FOREVER_S, .attr_valid = 0};
	bool known;
	int r = nodes_lookup(&view->nodes, 0, NULL, &key, S_IFDIR, NODE_MEDIUM_ROOT, &entry.nodeid);

	if (r < 0)
		return r;
	/* nobody else is to find in the kernel's cache what the announcer's rmdir looks up */
	if (leaving)
		entry.entry_valid = 0;
	root_medium_attr(m, &entry.attr, &known);
	*ret_entry = entry;
	return 0;
}

static void reply_value(struct request *req, const char *value, uint32_t length, uint32_t size)
{
	struct fuse_getxattr_out out = {.size = length};

	if (size == 0)
		(void)reply_data(req, &out, sizeof(out));
	else if (length > size)
		(void)reply_error(req, -ERANGE);
	else
		(void)reply_data(req, value, length);
}

bool root_medium_xattr(struct request *req, struct medium *m, const char *name, uint32_t size)
{
	char value[LIMIT_LABEL] = "";
	bool found = false;

	if (strncmp(name, XATTR_PREFIX, strlen(XATTR_PREFIX)) != 0)
		return false;
	pthread_mutex_lock(&m->lock);
	for (unsigned i = 0; i < m->facts.text_count && !found; i++) {
		found = streq(name + strlen(XATTR_PREFIX), m->facts.texts[i].key);
		if (found)
			(void)STR_COPY(value, m->facts.texts[i].value);
	}
	pthread_mutex_unlock(&m->lock);
	if (found)
		reply_value(req, value, (uint32_t)strlen(value), size);
	return found;
}

/* The kernel is not to keep what somebody may be changing. */
static void answer_getattr(struct request *req, struct medium *m, bool idle)
{
	struct fuse_attr_out out = {0};
	bool known;

	root_medium_attr(m, &out.attr, &known);
	if (known && idle)
		out.attr_valid = WIRE_FOREVER_S;
	(void)reply_data(req, &out, sizeof(out));
}

static void answer_statx(struct request *req, struct medium *m, bool idle)
{
	struct wire_statx_out out = {0};
	struct fuse_attr attr;
	bool known;

	root_medium_attr(m, &attr, &known);
	if (known && idle)
		out.attr_valid = WIRE_FOREVER_S;
	attr_to_statx(&attr, &out.stat);
	(void)reply_data(req, &out, sizeof(out));
}

/* The sizes of the last mount, or those that the probe read from the superblock. */
static bool answer_statfs(struct request *req, struct medium *m)
{
	struct fuse_statfs_out out = {0};
	bool known;

	pthread_mutex_lock(&m->lock);
	known = m->space_known || m->facts.total_bytes > 0;
	if (m->space_known) {
		out.st = (struct fuse_kstatfs){
			.blocks = m->space.f_blocks,
			.bfree = m->space.f_bfree,
			.bavail = m->space.f_bavail,
			.files = m->space.f_files,
			.ffree = m->space.f_ffree,
			.bsize = (uint32_t)m->space.f_bsize,
			.namelen = (uint32_t)m->space.f_namelen,
			.frsize = (uint32_t)m->space.f_frsize,
		};
	} else if (known) {
		uint32_t block = m->facts.block_size ? m->facts.block_size : 4096;

		out.st = (struct fuse_kstatfs){
			.blocks = m->facts.total_bytes / block,
			.bfree = m->facts.free_bytes / block,
			.bavail = m->facts.free_bytes / block,
			.bsize = block,
			.namelen = LIMIT_NAME,
			.frsize = block,
		};
	}
	pthread_mutex_unlock(&m->lock);
	if (known)
		(void)reply_data(req, &out, sizeof(out));
	return known;
}

/*
 * The kernel keeps what it is told, and lets callers in by it. While the mode is made up there is
 * no ACL either. False when it takes the filesystem to tell.
 */
static bool answer_acl(struct request *req, struct medium *m, int which, uint32_t size)
{
	struct root_acl acl = {.size = 0};

	pthread_mutex_lock(&m->lock);
	if (m->root_known)
		acl = m->root_acls[which];
	pthread_mutex_unlock(&m->lock);
	if (acl.size == ROOT_ACL_UNKNOWN)
		return false;
	if (acl.size == 0)
		(void)reply_error(req, -ENODATA);
	else
		reply_value(req, acl.value, (uint32_t)acl.size, size);
	return true;
}

/*
 * `ls -l` asks for ACLs and labels: nobody mounts a disk for that. Others' names do. Of a medium
 * that is mounted and busy only what is known is told.
 */
static bool answer_getxattr(struct request *req, struct medium *m, bool idle)
{
	const struct fuse_getxattr_in *in = REQUEST_BODY(req, struct fuse_getxattr_in);
	const char *name = in ? request_text(req, sizeof(*in)) : NULL;

	if (!name)
		return false;
	for (int i = 0; i < ROOT_ACLS; i++)
		if (streq(name, acl_names[i]))
			return answer_acl(req, m, i, in->size);
	if (!idle || (strncmp(name, "system.", 7) != 0 && strncmp(name, "security.", 9) != 0))
		return false;
	(void)reply_error(req, -ENODATA);
	return true;
}

static void answer_listxattr(struct request *req)
{
	const struct fuse_getxattr_in *in = REQUEST_BODY(req, struct fuse_getxattr_in);
	struct fuse_getxattr_out out = {0};

	if (!in)
		(void)reply_error(req, -EINVAL);
	else
		(void)reply_data(req, &out, in->size ? 0 : sizeof(out));
}

/* Longer than the kernel takes from a look at the attributes to the request that follows. */
#define ACCESS_CHECK_MS 1000

bool root_medium_made_up(struct medium *m)
{
	uint32_t uid;
	uint32_t gid;
	bool made_up;

	if (medium_owner(m, &uid, &gid))
		return false;
	pthread_mutex_lock(&m->lock);
	made_up = !m->root_known || now_ms() - m->root_known_ms <= ACCESS_CHECK_MS;
	pthread_mutex_unlock(&m->lock);
	return made_up;
}

/*
 * `df` and others open the directory only to have a name for it: it is opened without its
 * filesystem, which the first READDIR needs. Nothing is listed from the kernel's cache then.
 */
static bool answer_opendir(struct request *req, struct medium *m, const struct node_info *node)
{
	struct files_add add = {
		.node = node->index,
		.nodeid = req->head->nodeid,
		.request = request_unique(req),
		.medium = m,
		.fd = -EBADF,
		.flags = O_RDONLY | O_DIRECTORY,
		.directory = true,
		/* root is let in by anything, and may hand it to whom it likes */
		.unchecked = req->head->uid != 0 && root_medium_made_up(m),
	};
	struct wire_open_out out = {0};
	struct file *f;

	medium_ref(m); /* the file's */
	if (files_add(&m->view->files, &add, &f) < 0) {
		medium_put(m);
		return false;
	}
	out.fh = f->handle;
	file_reply(req, f, &out, sizeof(out));
	file_put(&m->view->files, f);
	return true;
}

/* What is ours in any state of the medium: the virtual attributes, which nobody can write. */
static bool answer_virtual(struct request *req, struct medium *m)
{
	const struct fuse_getxattr_in *get = REQUEST_BODY(req, struct fuse_getxattr_in);
	const char *name = NULL;

	if (req->head->opcode == FUSE_GETXATTR && get) {
		name = request_text(req, sizeof(*get));
		return name && root_medium_xattr(req, m, name, get->size);
	}
	if (req->head->opcode == FUSE_SETXATTR)
		name = request_text(req, request_setxattr_size(req));
	else if (req->head->opcode == FUSE_REMOVEXATTR)
		name = request_text(req, 0);
	if (!name || strncmp(name, XATTR_PREFIX, strlen(XATTR_PREFIX)) != 0)
		return false;
	(void)reply_error(req, -EPERM);
	return true;
}

/* Requests by which nobody uses the medium: they do not keep it mounted. */
static bool is_passive(uint32_t opcode)
{
	return opcode == FUSE_GETATTR || opcode == WIRE_STATX || opcode == FUSE_STATFS ||
	       opcode == FUSE_GETXATTR || opcode == FUSE_LISTXATTR;
}

bool root_medium_answer(struct request *req, struct medium *m, const struct node_info *node)
{
	enum gate_view view;
	bool idle;

	if (answer_virtual(req, m))
		return true;
	req->passive = is_passive(req->head->opcode);
	view = gate_look(m);
	if (view == GATE_HAS_ROOM)
		return false;
	idle = view == GATE_IS_IDLE;
	switch (req->head->opcode) {
	case FUSE_GETATTR:
		answer_getattr(req, m, idle);
		return true;
	case WIRE_STATX:
		answer_statx(req, m, idle);
		return true;
	case FUSE_STATFS:
		return answer_statfs(req, m);
	case FUSE_OPENDIR:
		return gate_may_open(m) && answer_opendir(req, m, node);
	case FUSE_GETXATTR:
		return answer_getxattr(req, m, idle);
	case FUSE_LISTXATTR:
		if (idle)
			answer_listxattr(req);
		return idle;
	default:
		return false;
	}
}

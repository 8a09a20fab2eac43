#include "source.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/vfs.h>

#include "daemon/mountpoint.h"

/* A base that is no directory of the host: nothing will ever be in it. */
#define TMPFS_OPTIONS "mode=0555,size=4k,nr_inodes=1"

#define ATTRIBUTES (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

/* Nothing that is mounted here is seen outside; what is mounted outside arrives. */
static int namespace_new(void)
{
	if (unshare(CLONE_NEWNS) < 0)
		return -errno;
	return mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ? -errno : 0;
}

static int open_place(const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int facts_of(int fd, struct mount_facts *ret_facts)
{
	_cleanup_close_ int proc = open_place("/proc");

	return proc < 0 ? proc : mountinfo_of(proc, fd, ret_facts);
}

/* The fd of a view's root; facts of any mount at path are given also if it is no view. */
static int open_view(const char *path, struct mount_facts *ret_facts)
{
	_cleanup_close_ int fd = open_place(path);
	int r = fd < 0 ? fd : facts_of(fd, ret_facts);

	if (r < 0)
		return r;
	return streq(ret_facts->type, VIEW_TYPE) ? TAKE_FD(fd) : -ENOENT;
}

static int clone_mount(int fd)
{
	int tree = open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);

	return tree < 0 ? -errno : tree;
}

static int set_attributes(int fd, struct mount_attr attr)
{
	return mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

static int move_to(int tree, int place)
{
	return move_mount(tree, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) <
			       0
		       ? -errno
		       : 0;
}

static int copy_view(const struct source_wish *wish)
{
	struct mount_attr attr = {
		.attr_set = wish->read_only ? MOUNT_ATTR_RDONLY : 0,
		.propagation = MS_PRIVATE,
	};
	struct mount_facts facts;
	_cleanup_close_ int fd = open_view(wish->view, &facts);
	_cleanup_close_ int tree = -EBADF;
	struct statfs st;
	int r;

	if (fd < 0)
		return fd;
	if (!streq(facts.root, "/"))
		return -ENOENT; /* some directory of a disk, bound here */
	if (fstatfs(fd, &st) < 0)
		return -errno;
	tree = clone_mount(fd);
	if (tree < 0)
		return tree;
	r = set_attributes(tree, attr);
	return r < 0 ? r : TAKE_FD(tree);
}

/* Takes the views away that lie on the directory, here only. */
static int uncover(const char *path, struct mount_facts *ret_facts)
{
	for (;;) {
		_cleanup_close_ int fd = open_view(path, ret_facts);

		if (fd == -ENOENT)
			return 0;
		if (fd < 0)
			return fd;
		if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
			return -errno;
	}
}

/* Makes a directory the root of a mount of its own, here only. */
static int bind_itself(const char *path)
{
	_cleanup_close_ int place = open_place(path);
	_cleanup_close_ int tree = place < 0 ? place : clone_mount(place);

	return tree < 0 ? tree : move_to(tree, place);
}

/* Makes the directory a mount of its own: that which carries the view, or an empty one. */
static int stage_mount(const struct source_wish *wish, enum source_follow *ret_follow)
{
	struct mount_facts facts = {0};
	int r = wish->read_only ? -EROFS : uncover(wish->view, &facts);

	*ret_follow = SOURCE_STAYS;
	if (r == 0 && facts.follows) {
		*ret_follow = SOURCE_FOLLOWS;
		return bind_itself(wish->view);
	}
	/* Not wanted, private, or (EINVAL) mounted before the user namespace was made. */
	r = mount(BASE_SOURCE, wish->view, "tmpfs", MS_RDONLY, TMPFS_OPTIONS);
	return r < 0 ? -errno : 0;
}

static int make_base(struct source *source)
{
	struct mount_attr stage = {.attr_set = ATTRIBUTES | MOUNT_ATTR_RDONLY,
				   .propagation = MS_SHARED};
	struct mount_attr base = {.propagation = MS_SLAVE};
	int r = set_attributes(source->stage, stage);

	if (r < 0)
		return r;
	source->base = clone_mount(source->stage);
	return source->base < 0 ? source->base : set_attributes(source->base, base);
}

/* Whether what copy_view() said means that a daemon is yet to be started. */
static bool is_absent(int err)
{
	return err == -ENOENT || err == -ENOTCONN;
}

int source_prepare(const struct source_wish *wish, struct source *ret_source)
{
	_cleanup_(source_done) struct source source = SOURCE_NONE;
	int r = namespace_new();

	if (r < 0)
		return r;
	source.view = copy_view(wish);
	if (source.view < 0 && !(wish->may_come && is_absent(source.view)))
		return source.view;
	r = stage_mount(wish, &source.follow);
	if (r < 0)
		return r;
	if (source.view < 0 && source.follow == SOURCE_STAYS)
		return source.view;
	source.stage = open_place(wish->view);
	if (source.stage < 0)
		return source.stage;
	r = make_base(&source);
	if (r < 0)
		return r;
	*ret_source = source;
	source = (struct source)SOURCE_NONE;
	return 0;
}

void source_done(struct source *source)
{
	close_fd(source->base);
	close_fd(source->stage);
	close_fd(source->view);
	*source = (struct source)SOURCE_NONE;
}

int source_send(const struct source *source)
{
	return source->view < 0 ? 0 : move_to(source->view, source->stage);
}

int source_find_base(const char *view, struct mount_facts *ret_facts)
{
	_cleanup_close_ int place = -EBADF;
	int r = namespace_new();

	if (r == 0)
		r = uncover(view, ret_facts);
	if (r == 0)
		r = bind_itself(view);
	if (r < 0)
		return r;
	place = open_place(view);
	return place < 0 ? place : facts_of(place, ret_facts);
}

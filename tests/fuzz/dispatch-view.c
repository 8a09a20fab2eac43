#include "dispatch-view.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "fs/nodes_internal.h"
#include "fs/ops.h"
#include "fuzz.h"

#define NOBODY 65534

/* ---- a place from which nothing can be damaged ---- */

static bool write_file(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* Root of a user namespace, and nobody outside. */
static bool rights_drop(void)
{
	char map[40];

	if (geteuid() == 0 &&
	    (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	     setresuid(NOBODY, NOBODY, NOBODY) < 0 || prctl(PR_SET_DUMPABLE, 1) < 0))
		return false;
	(void)snprintf(map, sizeof(map), "0 %u 1", geteuid());
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 || !write_file("/proc/self/uid_map", map))
		return false;
	(void)snprintf(map, sizeof(map), "0 %u 1", getegid());
	return write_file("/proc/self/setgroups", "deny") && write_file("/proc/self/gid_map", map);
}

/* An empty filesystem that is mounted nowhere; its root. */
static int disk_make(void)
{
	_cleanup_close_ int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);

	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", "8m", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "1000", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	return fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID);
}

/* ---- the view ---- */

static void on_id(uint32_t id, void *data)
{
}

static void on_closed(uint32_t id, int err, void *data)
{
}

static void on_changed(void *data)
{
}

/* A kernel that offers everything, but no backing files: those are a real kernel's. */
static void init_send(int fd)
{
	struct {
		struct fuse_in_header head;
		struct fuse_init_in in;
	} message = {
		.head = {.len = sizeof(message), .opcode = FUSE_INIT, .unique = 2},
		.in = {.major = FUSE_KERNEL_VERSION,
		       .minor = FUSE_KERNEL_MINOR_VERSION,
		       .max_readahead = 1 << 17,
		       .flags = UINT32_MAX,
		       .flags2 = UINT32_MAX & ~(uint32_t)(FUSE_PASSTHROUGH >> 32)},
	};

	MUST(write(fd, &message, sizeof(message)) == sizeof(message));
}

static void view_make(struct fuzz_view *f)
{
	struct view_args args = {
		.store_fd = store_new_fd(),
		.previous_fd = -EBADF,
		.passthrough = true,
		.events = {.want_mount = on_id,
			   .changed = on_changed,
			   .closed = on_closed,
			   .fenced = on_id},
	};
	struct view_features features;
	int pair[2];

	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	args.fuse_fd = pair[0];
	init_send(pair[1]);
	MUST(view_new(&args, &f->view, &features) == 0);
	f->view->workers.reading = 1; /* nobody need come to read: the input says what comes */
	f->reply_fd = memfd_create("replies", MFD_CLOEXEC);
	MUST(f->reply_fd >= 0 && dup3(f->reply_fd, args.fuse_fd, O_CLOEXEC) == args.fuse_fd);
	close_fd(pair[1]);
	view_set_announcer(f->view, FUZZ_ANNOUNCER);
	MUST(channel_pipe_get(1 << 16)); /* this thread's, which stay */
}

static bool media_make(struct fuzz_view *f)
{
	static const char *const names[FUZZ_MEDIA] = {"one", "two", "removed", "hidden"};
	static const struct view_text text = {.key = "label", .value = "a label"};

	for (uint32_t i = 0; i < FUZZ_MEDIA; i++) {
		struct view_medium facts = {
			.id = i + 1,
			.visible = i != FUZZ_HIDDEN,
			.owned = i == FUZZ_TWO,
			.texts = {text},
			.text_count = 1,
		};
		int fd = i == FUZZ_HIDDEN ? -EIO : disk_make();

		if (i != FUZZ_HIDDEN && fd < 0)
			return false;
		(void)STR_COPY(facts.name, names[i]);
		MUST(view_medium_add(f->view, &facts) == 0);
		if (fd >= 0)
			view_medium_root(f->view, facts.id, fd, 0);
		f->media[i] = medium_by_id(f->view, facts.id);
		MUST(f->media[i]);
	}
	return true;
}

/* Until the thread that closes it has come to its end. */
static void medium_remove(struct view *view, struct medium *m)
{
	bool open = true;

	view_medium_remove(view, m->id, -ENODEV);
	while (open || atomic_load(&m->refs) > 2) {
		(void)usleep(1000);
		pthread_mutex_lock(&m->lock);
		open = m->root_fd >= 0;
		pthread_mutex_unlock(&m->lock);
	}
}

bool fuzz_view_make(struct fuzz_view *f)
{
	const struct rlimit files = {.rlim_cur = 1024, .rlim_max = 1024};

	if (!rights_drop())
		return false;
	(void)setrlimit(RLIMIT_NOFILE, &files);
	view_make(f);
	if (!media_make(f))
		return false;
	medium_remove(f->view, f->media[FUZZ_REMOVED]);
	return true;
}

static int free_descriptor(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	MUST(fd >= 0);
	close_fd(fd);
	return fd;
}

void fuzz_view_begin(struct fuzz_view *f)
{
	f->free_fd = free_descriptor();
	for (int i = 0; i < FUZZ_MEDIA; i++) {
		struct fuse_entry_out entry;

		MUST(root_medium_entry(f->view, f->media[i], false, &entry) == 0);
		f->roots[i] = entry.nodeid;
		medium_set_presence(f->media[i],
				    i == FUZZ_HIDDEN ? PRESENCE_NEW : PRESENCE_VISIBLE);
	}
	MUST(ftruncate(f->reply_fd, 0) == 0 && lseek(f->reply_fd, 0, SEEK_SET) == 0);
}

/* ---- the end of an input ---- */

static void tree_remove(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	MUST(dir);
	while ((entry = readdir(dir))) {
		if (streq(entry->d_name, ".") || streq(entry->d_name, ".."))
			continue;
		if (entry->d_type == DT_DIR)
			tree_remove(fd, entry->d_name);
		MUST(unlinkat(fd, entry->d_name, entry->d_type == DT_DIR ? AT_REMOVEDIR : 0) == 0);
	}
	closedir(dir);
}

static void forget_all(struct view *view)
{
	struct slab *slab = &view->store.slabs[STORE_NODES];

	for (uint32_t i = 0; i < view->files.table_size; i++)
		if (view->files.table[i])
			files_release(&view->files, view->files.table[i]->handle);
	for (uint32_t i = 0; i < slab->chunk_count * slab->per_chunk; i++) {
		uint8_t flags;
		uint64_t id = nodes_id(&view->nodes, i, &flags);

		if (id)
			op_forget(view, id, UINT64_MAX);
	}
}

static void check_empty(struct view *view)
{
	for (int i = 0; i < STORE_REGIONS; i++)
		MUST(view->store.slabs[i].live == 0);
	for (size_t i = 0; i < FILES_BUCKETS; i++)
		MUST(list_empty(&view->files.buckets[i]));
	MUST(view->nodes.by_key.count == 0);
	MUST(view->nodes.by_name.count == 0);
}

static void check_idle(struct medium *m)
{
	MUST(m->openers == 0 && m->writers == 0);
	MUST(m->running_count == 0 && list_empty(&m->running));
	MUST(m->waiting_count == 0 && list_empty(&m->waiting));
	MUST(atomic_load(&m->refs) == 2); /* the registry's and ours */
	MUST(atomic_load(&m->renames_running) == 0 && atomic_load(&m->moves_running) == 0);
}

void fuzz_view_end(struct fuzz_view *f)
{
	view_medium_root(f->view, FUZZ_HIDDEN + 1, -EBADF, -EIO); /* what waits is refused */
	forget_all(f->view);
	(void)umask(022);
	for (int i = 0; i < FUZZ_MEDIA; i++) {
		dirs_drop_medium(&f->view->dirs, f->media[i]);
		if (i == FUZZ_ONE || i == FUZZ_TWO)
			tree_remove(f->media[i]->root_fd, ".");
		check_idle(f->media[i]);
	}
	check_empty(f->view);
	MUST(free_descriptor() == f->free_fd); /* none was left open */
}

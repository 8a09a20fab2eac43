#include "attach.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/vfs.h>

#include "base/log.h"
#include "container/guest.h"
#include "daemon/mountpoint.h"

/* Mounts that are taken from a target; a container that can mount could go on for ever. */
#define LAYERS_MAX 32

/* What was being done when it failed. */
enum step {
	STEP_VIEW,
	STEP_PROCESS,
	STEP_TARGET,
};

static const struct {
	enum step step;
	int err;
	const char *text;
} known[] = {
	{STEP_VIEW, -ENOENT, "there is no view; --view tells where it is"},
	{STEP_VIEW, -ENOTCONN, "the daemon of this view is dead"},
	{STEP_VIEW, -EPERM, "it takes CAP_SYS_ADMIN to make mounts"},
	{STEP_PROCESS, -ESRCH, "has ended"},
	{STEP_PROCESS, -EALREADY, "is in no container, but in the mount namespace of this command"},
	{STEP_PROCESS, -EPERM, "it takes CAP_SYS_ADMIN and CAP_SYS_CHROOT to go into a container"},
	{STEP_PROCESS, -EACCES, "it takes CAP_SYS_PTRACE to look at the process"},
	{STEP_TARGET, -EINVAL, "is the root directory of the container"},
	{STEP_TARGET, -ENOENT, "is missing, and is made only in a directory that is there"},
	{STEP_TARGET, -EEXIST, "there is a view already"},
	{STEP_TARGET, -EROFS, "is missing, and the container is read-only"},
	{STEP_TARGET, -ENODATA, "there is no view"},
	{STEP_TARGET, -EXDEV,
	 "the view was not put there by attach, but when the container was started"},
};

/* Returns err, with what it means in error. */
static int explain(const struct attach_args *args, enum step step, int err, char *error,
		   size_t error_size)
{
	const char *text = strerror(-err);
	char pid[40];

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (known[i].step == step && known[i].err == err)
			text = known[i].text;
	(void)snprintf(pid, sizeof(pid), "process %d", (int)args->pid);
	(void)snprintf(error, error_size, "%s%s: %s",
		       step == STEP_TARGET ? "in the container, " : "",
		       step == STEP_VIEW      ? QUOTE(args->wish.view)
		       : step == STEP_PROCESS ? pid
					      : QUOTE(args->target),
		       text);
	return err;
}

static bool is_view(const struct guest_dir *dir)
{
	return dir->mounted && streq(dir->facts.type, VIEW_TYPE);
}

/* Whether the daemon of a view answers. */
static bool is_alive(const struct guest_dir *dir)
{
	struct statfs st;

	return fstatfs(dir->fd, &st) == 0 || errno != ENOTCONN;
}

/* Whether it is what attach_run() puts under a view. host: the base in the host, or NULL. */
static bool are_of_base(const struct mount_facts *facts, const struct mount_facts *host)
{
	static const char *const flags[] = {"ro", "nosuid", "nodev", "noexec"};

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (!mountinfo_has(facts, flags[i]))
			return false;
	if (streq(facts->source, BASE_SOURCE))
		return streq(facts->type, "tmpfs");
	return host && streq(facts->device, host->device) && streq(facts->root, host->root);
}

static bool is_base(const struct guest_dir *dir, const struct mount_facts *host)
{
	return dir->mounted && are_of_base(&dir->facts, host);
}

/* Whether a view lies on a base, perhaps with dead views between: else it was mounted by others. */
static bool is_on_base(const struct guest *guest, const struct guest_dir *dir,
		       const struct mount_facts *host)
{
	struct mount_facts facts = dir->facts;

	for (int i = 0; i < LAYERS_MAX && streq(facts.type, VIEW_TYPE); i++)
		if (mountinfo_by_id(guest->proc, facts.parent, &facts) < 0)
			return false;
	return are_of_base(&facts, host);
}

static int find_or_make(const struct guest *guest, const char *path, struct guest_dir *ret_dir)
{
	int r = guest_find(guest, path, ret_dir);

	if (r != -ENOENT)
		return r;
	r = guest_make(guest, path);
	return r < 0 && r != -EEXIST ? r : guest_find(guest, path, ret_dir);
}

/* Finds the target and takes away what a daemon that is dead left there. */
static int target_prepare(const struct guest *guest, const char *path, struct guest_dir *ret_dir)
{
	for (int i = 0; i < LAYERS_MAX; i++) {
		_cleanup_(guest_dir_done) struct guest_dir dir = GUEST_DIR_NONE;
		int r = find_or_make(guest, path, &dir);

		if (r == 0 && is_view(&dir) && is_alive(&dir))
			r = -EEXIST;
		if (r < 0)
			return r;
		if (!is_view(&dir) && !is_base(&dir, NULL)) {
			*ret_dir = dir;
			dir = (struct guest_dir)GUEST_DIR_NONE;
			return 0;
		}
		r = guest_unmount(&dir);
		if (r < 0)
			return r;
	}
	return -EBUSY;
}

static int put_base(struct guest *guest, const struct attach_args *args, int base)
{
	_cleanup_(guest_dir_done) struct guest_dir dir = GUEST_DIR_NONE;
	int r = target_prepare(guest, args->target, &dir);

	if (r < 0)
		return r;
	r = move_mount(base, "", dir.fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
	return r < 0 ? -errno : 0;
}

/* The view must have arrived: else the base goes again. */
static int check(const struct guest *guest, const struct attach_args *args,
		 const struct source *source)
{
	_cleanup_(guest_dir_done) struct guest_dir dir = GUEST_DIR_NONE;
	int r = guest_find(guest, args->target, &dir);

	if (r < 0 || source->view < 0 || is_view(&dir))
		return r;
	(void)guest_unmount(&dir);
	return -EIO;
}

/* source: from source_prepare(), in whose mount namespace this process is. */
static int deliver(struct guest *guest, const struct attach_args *args, const struct source *source,
		   enum step *ret_step)
{
	int sent;
	int r = guest_enter(guest);

	*ret_step = STEP_PROCESS;
	if (r == 0 && args->root)
		r = guest_set_root(guest, args->root);
	if (r < 0)
		return r;
	*ret_step = STEP_TARGET;
	r = put_base(guest, args, source->base);
	if (r < 0)
		return r;
	sent = guest_leave(guest);
	if (sent == 0)
		sent = source_send(source);
	r = guest_enter(guest);
	if (r == 0)
		r = check(guest, args, source);
	return sent < 0 ? sent : r;
}

int attach_run(const struct attach_args *args, enum source_follow *ret_follow, char *error,
	       size_t error_size)
{
	_cleanup_(guest_done) struct guest guest = GUEST_NONE;
	_cleanup_(source_done) struct source source = SOURCE_NONE;
	enum step step;
	int r = guest_open(args->pidfd, args->pid, &guest);

	if (r < 0)
		return explain(args, STEP_PROCESS, r, error, error_size);
	r = source_prepare(&args->wish, &source);
	if (r < 0)
		return explain(args, STEP_VIEW, r, error, error_size);
	r = deliver(&guest, args, &source, &step);
	if (r < 0)
		return explain(args, step, r, error, error_size);
	*ret_follow = source.follow;
	return 0;
}

/*
 * Unmounts what is ours, from the top. Returns -ENODATA when there is nothing, -EXDEV when there is
 * only a view that somebody else has mounted.
 */
static int take_away(const struct guest *guest, const char *target, const struct mount_facts *host)
{
	int r = -ENODATA;

	for (int i = 0; i < LAYERS_MAX; i++) {
		_cleanup_(guest_dir_done) struct guest_dir dir = GUEST_DIR_NONE;
		int found = guest_find(guest, target, &dir);

		if (found < 0)
			return found;
		if (is_view(&dir) && !is_on_base(guest, &dir, host))
			return r == 0 ? 0 : -EXDEV;
		if (!is_view(&dir) && !is_base(&dir, host))
			return r;
		r = guest_unmount(&dir);
		if (r < 0)
			return r;
	}
	return -EBUSY;
}

int attach_undo(const struct attach_args *args, char *error, size_t error_size)
{
	_cleanup_(guest_done) struct guest guest = GUEST_NONE;
	struct mount_facts host;
	bool has_host;
	int r = guest_open(args->pidfd, args->pid, &guest);

	if (r < 0)
		return explain(args, STEP_PROCESS, r, error, error_size);
	has_host = source_find_base(args->wish.view, &host) == 0;
	r = guest_enter(&guest);
	if (r < 0)
		return explain(args, STEP_PROCESS, r, error, error_size);
	r = take_away(&guest, args->target, has_host ? &host : NULL);
	return r < 0 ? explain(args, STEP_TARGET, r, error, error_size) : 0;
}

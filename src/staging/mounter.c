#include "mounter.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/log.h"
#include "staging/device_node.h"
#include "staging/mount_calls.h"
#include "staging/worker.h"

/* What a mount for writing fails with when one for reading may still work. */
static const int read_only_may_help[] = {
	EROFS,	 /* write-protected, or recovery would have to write */
	EACCES,	 /* the block device is read-only */
	EPERM,	 /* so is what we are allowed of it */
	EUCLEAN, /* damaged */
	EINVAL,	 /* a dirty NTFS; features that only readers can live with */
	EOPNOTSUPP,
};

static bool may_help(int err)
{
	for (size_t i = 0; i < ARRAY_SIZE(read_only_may_help); i++)
		if (err == -read_only_may_help[i])
			return true;
	return false;
}

static const struct {
	int err;
	const char *fstype; /* NULL: any */
	const char *text;
} explanations[] = {
	{EBUSY, NULL, "in-use: another mount or program holds the device"},
	{EEXIST, "btrfs", "same UUID as another btrfs that is mounted"},
	{ENODEV, NULL, "this kernel has no driver for it"},
	{ENOMEDIUM, NULL, "no medium"},
	{EIO, NULL, "the device fails to read or write"},
	{EUCLEAN, NULL, "the filesystem is damaged"},
	{EROFS, NULL, "write-protected"},
	{EACCES, NULL, "write-protected"},
};

static const char *explain(const char *type, int err)
{
	for (size_t i = 0; i < ARRAY_SIZE(explanations); i++)
		if (err == -explanations[i].err &&
		    (!explanations[i].fstype || streq(type, explanations[i].fstype)))
			return explanations[i].text;
	return strerror(-err);
}

static void set_reason(struct staging_result *result, const char *prefix, const char *type, int err,
		       const char *message)
{
	(void)snprintf(result->reason, sizeof(result->reason), "%s%s (%s)%s%s", prefix,
		       explain(type, err), errno_name(-err), *message ? ": " : "", message);
}

/* A write-protected medium that was not unmounted needs to be read without its log. */
static int attempt_rescue(const struct staging_request *request, struct mount_attempt *attempt,
			  struct staging_result *result)
{
	char message[LIMIT_REASON];
	char options[LIMIT_OPTIONS];
	int n = snprintf(options, sizeof(options), "%s%s%s", request->options,
			 *request->options ? "," : "", request->rescue);
	int r;

	if (n < 0 || (size_t)n >= sizeof(options))
		return -E2BIG;
	attempt->options = options;
	r = mount_attempt_run(attempt, message, sizeof(message));
	if (r == 0)
		(void)STR_COPY(result->options, options);
	attempt->options = request->options;
	return r;
}

/*
 * For writing first, unless that is not wanted; then for reading; then for reading without
 * recovery. The first failure is the one that tells what is wrong.
 */
static int attempt_all(const struct staging_request *request, struct mount_attempt *attempt,
		       struct staging_result *result)
{
	char message[LIMIT_REASON];
	char ignored[LIMIT_REASON];
	int first;
	int r;

	first = mount_attempt_run(attempt, message, sizeof(message));
	r = first;
	if (r < 0 && !attempt->read_only && may_help(r)) {
		attempt->read_only = true;
		r = mount_attempt_run(attempt, ignored, sizeof(ignored));
	}
	if ((r == -EROFS || r == -EACCES) && *request->rescue)
		r = attempt_rescue(request, attempt, result);
	if (r < 0)
		set_reason(result, "", request->kernel_type, first, message);
	else if (first < 0)
		set_reason(result, "read-only: ", request->kernel_type, first, message);
	return r < 0 ? first : 0;
}

/*
 * The connection alone: the program that serves it is started by others. It may be used by
 * everybody, since the server acts for everybody. The kernel is to check nothing: it has done so in
 * the view.
 */
static int attempt_program(const struct staging_request *request, int fuse_fd,
			   const struct mount_attempt *attempt, struct staging_result *result)
{
	unsigned long flags = MS_NOSUID | MS_NODEV | (request->read_only ? MS_RDONLY : 0);
	char options[80];

	(void)snprintf(options, sizeof(options),
		       "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fuse_fd);
	if (fuse_fd < 0)
		return fuse_fd;
	if (mount("hotplugfs-disk", attempt->target, "fuse", flags, options) == 0)
		return 0;
	set_reason(result, "cannot mount FUSE: ", "fuse", -errno, "");
	return -errno;
}

/* Nothing is asked of a program that does not run yet. */
static int open_result(const struct staging_request *request, const char *target,
		       struct staging_result *result)
{
	result->root_fd = open(target, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (result->root_fd < 0)
		return -errno;
	if (!request->program)
		worker_space(result->root_fd, result);
	return 0;
}

void mounter_run(const struct staging_request *request, const struct worker_tools *tools,
		 struct staging_result *result)
{
	struct worker_path target = worker_mount_point(request->id);
	_cleanup_(device_node_done) struct device_node node = DEVICE_NODE_NULL;
	struct mount_attempt attempt = {
		.target = target.text,
		.type = request->kernel_type,
		.options = request->options,
	};

	(void)STR_COPY(result->options, request->options);
	result->err = device_node_find(tools->dev_fd, request->kname, request->devnum, &node);
	if (result->err < 0) {
		set_reason(result, "", request->kernel_type, result->err, "");
		return;
	}
	attempt.source = node.path;
	if (mkdir(target.text, 0700) < 0 && errno != EEXIST) {
		result->err = -errno;
		return;
	}
	attempt.read_only = request->read_only;
	if (request->program)
		result->err = attempt_program(request, tools->fuse_fd, &attempt, result);
	else
		result->err = attempt_all(request, &attempt, result);
	if (result->err == 0)
		result->err = open_result(request, target.text, result);
	else
		(void)rmdir(target.text);
	result->read_only = attempt.read_only;
}

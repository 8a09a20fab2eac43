/*
 * FUSE: is it there, may we mount it, what does this kernel offer.
 *
 * The features are those of a real connection: a FUSE superblock is made, without mounting it
 * anywhere where that is possible, and the flags of the INIT request are read (include/uapi/
 * linux/fuse.h, struct fuse_init_in; flags2 holds bits 32 and up if bit 30, FUSE_INIT_EXT, is
 * set). The connection ends with the check's process.
 */
#include "cli/doctor.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>

#include "cli/output.h"

/* Bits of the INIT flags, newer than many installed headers. */
enum init_bit {
	BIT_INIT_EXT = 30,
	BIT_PASSTHROUGH = 37,
	BIT_HAS_RESEND = 39,
	BIT_ALLOW_IDMAP = 40,
	BIT_OVER_IO_URING = 41,
};

struct backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};
#define IOC_BACKING_OPEN _IOW(229, 1, struct backing_map)

struct connection {
	int dev_fd;    /* /dev/fuse */
	int fs_fd;     /* of fsopen(2), or -EBADF */
	bool borrowed; /* it took a user namespace of our own, which the daemon does not make */
	uint64_t unique;
	uint32_t major;
	uint32_t minor;
	uint64_t flags;
};

static int text_write(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
	size_t length = strlen(text);

	if (fd < 0)
		return -errno;
	return write(fd, text, length) == (ssize_t)length ? 0 : -EIO;
}

/* Without rights here there may be some in a user namespace of our own: ret_borrowed. */
static int namespaces_enter(bool *ret_borrowed)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	char map[64];

	if (unshare(CLONE_NEWNS) == 0)
		return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ? -errno : 0;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return -errno;
	*ret_borrowed = true;
	(void)text_write("/proc/self/setgroups", "deny");
	(void)snprintf(map, sizeof(map), "0 %u 1", uid);
	(void)text_write("/proc/self/uid_map", map);
	(void)snprintf(map, sizeof(map), "0 %u 1", gid);
	(void)text_write("/proc/self/gid_map", map);
	return 0;
}

/* A superblock that is mounted nowhere. Returns the fd that keeps it, or -errno. */
static int superblock_make(int dev_fd)
{
	_cleanup_close_ int fs = fsopen("fuse", FSOPEN_CLOEXEC);
	char number[16];

	if (fs < 0)
		return -errno;
	(void)snprintf(number, sizeof(number), "%d", dev_fd);
	if (fsconfig(fs, FSCONFIG_SET_STRING, "fd", number, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "rootmode", "40000", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "user_id", "0", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "group_id", "0", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	return TAKE_FD(fs);
}

/* For kernels and profiles without fsopen(2); the namespace is our own. */
static int superblock_mount(int dev_fd)
{
	char options[80];

	(void)snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0",
		       dev_fd);
	return mount("hotplugfs-doctor", "/", "fuse", MS_NOSUID | MS_NODEV, options) < 0 ? -errno
											 : 0;
}

static int init_read(struct connection *c)
{
	union {
		struct {
			struct fuse_in_header header;
			struct fuse_init_in init;
		} request;
		char space[FUSE_MIN_READ_BUFFER];
	} buffer = {0};
	struct pollfd wait = {.fd = c->dev_fd, .events = POLLIN};

	if (poll(&wait, 1, 1000) <= 0)
		return -ETIMEDOUT;
	if (read(c->dev_fd, &buffer, sizeof(buffer)) < (ssize_t)sizeof(struct fuse_in_header) + 16)
		return -EBADMSG;
	if (buffer.request.header.opcode != FUSE_INIT)
		return -EBADMSG;
	c->unique = buffer.request.header.unique;
	c->major = buffer.request.init.major;
	c->minor = buffer.request.init.minor;
	c->flags = buffer.request.init.flags;
	if (c->flags >> BIT_INIT_EXT & 1)
		c->flags |= (uint64_t)buffer.request.init.flags2 << 32;
	return 0;
}

/*
 * Returns 0 or -errno. The fds end with the process. The kernel wants the device to be opened in
 * the user namespace of the mount.
 */
static int connection_make(struct connection *ret_c)
{
	struct connection c = {.fs_fd = -EBADF};
	int r = namespaces_enter(&c.borrowed);

	c.dev_fd = r < 0 ? r : open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (r == 0 && c.dev_fd < 0)
		r = -errno;
	if (r == 0) {
		c.fs_fd = superblock_make(c.dev_fd);
		r = c.fs_fd >= 0 ? 0 : superblock_mount(c.dev_fd);
	}
	if (r == 0)
		r = init_read(&c);
	if (r == 0)
		*ret_c = c;
	return r;
}

/* Answers INIT with passthrough. */
static int init_answer(const struct connection *c)
{
	struct {
		struct fuse_out_header header;
		struct fuse_init_out init;
	} reply = {
		.header = {.len = sizeof(reply), .unique = c->unique},
		.init = {.major = FUSE_KERNEL_VERSION,
			 .minor = c->minor,
			 .max_readahead = 131072,
			 .flags = (uint32_t)1 << BIT_INIT_EXT,
			 .flags2 = (uint32_t)1 << (BIT_PASSTHROUGH - 32),
			 .max_background = 8,
			 .congestion_threshold = 6,
			 .max_write = 131072,
			 .time_gran = 1},
	};
	uint32_t max_stack_depth = 1;

	/* It follows map_alignment and flags2, in a field that older headers call unused. */
	memcpy((char *)&reply.init + offsetof(struct fuse_init_out, flags2) + sizeof(uint32_t),
	       &max_stack_depth, sizeof(max_stack_depth));
	return write(c->dev_fd, &reply, sizeof(reply)) < 0 ? -errno : 0;
}

/* Registers a file as backing, as the server does for every open. Returns 0 or -errno. */
static int backing_try(const struct connection *c)
{
	_cleanup_close_ int file = memfd_create("hotplugfs-doctor", MFD_CLOEXEC);
	struct backing_map map = {.fd = file};
	int r;

	if (file < 0)
		return -errno;
	r = init_answer(c);
	if (r < 0)
		return r;
	return ioctl(c->dev_fd, IOC_BACKING_OPEN, &map) < 0 ? -errno : 0;
}

static void check_device(const struct config *config, struct doctor_finding *finding)
{
	_cleanup_close_ int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	(void)config;
	if (fd >= 0)
		doctor_found(finding, DOCTOR_OK, NULL, "/dev/fuse can be opened");
	else if (errno == ENODEV || errno == ENXIO)
		doctor_found(finding, DOCTOR_FAIL, "load the module on the host: modprobe fuse",
			     "/dev/fuse is there, but the kernel has no FUSE");
	else
		doctor_found(finding, DOCTOR_FAIL,
			     "container: start it with --device /dev/fuse; host: modprobe fuse",
			     "/dev/fuse cannot be opened: %s", error_text(errno));
}

#define ADVICE_RIGHTS "see \"capabilities\" below"

static void connection_failed(int err, struct doctor_finding *finding)
{
	bool device = err == -ENOENT || err == -ENODEV || err == -ENXIO || err == -EACCES;

	doctor_found(finding, DOCTOR_FAIL, device ? "see \"fuse-device\" above" : ADVICE_RIGHTS,
		     "FUSE cannot be mounted: %s", error_text(-err));
}

static void check_mount(const struct config *config, struct doctor_finding *finding)
{
	struct connection c = {0};
	int r = connection_make(&c);

	(void)config;
	if (r < 0)
		connection_failed(r, finding);
	else if (c.borrowed)
		doctor_found(finding, DOCTOR_FAIL, ADVICE_RIGHTS,
			     "works only in a user namespace of its own, which the daemon is to be "
			     "started in");
	else
		doctor_found(finding, DOCTOR_OK, NULL, "a FUSE mount works, protocol %u.%u",
			     c.major, c.minor);
}

static void check_passthrough(const struct config *config, struct doctor_finding *finding)
{
	struct connection c = {0};
	int r = connection_make(&c);

	(void)config;
	if (r < 0) {
		connection_failed(r, finding);
		finding->verdict = DOCTOR_WARN;
		return;
	}
	if (!(c.flags >> BIT_PASSTHROUGH & 1)) {
		doctor_found(finding, DOCTOR_WARN,
			     "a kernel since 6.9 with CONFIG_FUSE_PASSTHROUGH has it",
			     "this kernel does not offer it");
		return;
	}
	r = backing_try(&c);
	if (r == -EPERM)
		doctor_found(finding, DOCTOR_WARN,
			     "run the daemon with CAP_SYS_ADMIN of the host's user namespace",
			     "the kernel offers it, but not to us");
	else if (r < 0)
		doctor_found(finding, DOCTOR_WARN, "nothing: all works, slower",
			     "the kernel offers it, but a file could not be registered: %s",
			     error_text(-r));
	else
		doctor_found(finding, DOCTOR_OK, NULL, "works, tried with a file");
}

/* One bit of the INIT flags. */
static void check_bit(enum init_bit bit, enum doctor_verdict missing, const char *advice,
		      struct doctor_finding *finding)
{
	struct connection c = {0};
	int r = connection_make(&c);

	if (r < 0) {
		connection_failed(r, finding);
		finding->verdict = DOCTOR_WARN;
	} else if (c.flags >> bit & 1) {
		doctor_found(finding, DOCTOR_OK, NULL, "offered by the kernel");
	} else {
		doctor_found(finding, missing, advice, "not offered by the kernel");
	}
}

static void check_resend(const struct config *config, struct doctor_finding *finding)
{
	(void)config;
	check_bit(BIT_HAS_RESEND, DOCTOR_WARN, "a kernel since 6.9 has it", finding);
}

static void check_idmap(const struct config *config, struct doctor_finding *finding)
{
	(void)config;
	check_bit(BIT_ALLOW_IDMAP, DOCTOR_WARN, "a kernel since 6.12 has it", finding);
}

static void check_uring(const struct config *config, struct doctor_finding *finding)
{
	(void)config;
	check_bit(BIT_OVER_IO_URING, DOCTOR_OK, NULL, finding);
}

const struct doctor_check doctor_checks_fuse[] = {
	{"fuse-device", "the view is a FUSE filesystem; without this device there is none",
	 check_device},
	{"fuse-mount", "the daemon mounts the view itself", check_mount},
	{"passthrough",
	 "files are read and written at the disk's own speed; without it data goes through the "
	 "daemon",
	 check_passthrough},
	{"resend",
	 "if the server process dies, waiting requests are answered by the next one; without it "
	 "they fail",
	 check_resend},
	{"idmap", "a view can be mapped to other user numbers for one container", check_idmap},
	{"io-uring", "another way to carry requests; nothing depends on it", check_uring},
	{0},
};

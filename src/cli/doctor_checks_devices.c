/* Block devices: sysfs, their nodes, and udev's database. */
#include "cli/doctor.h"

#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

#include "cli/output.h"
#include "device/blockdev.h"
#include "staging/programs.h"

/* Stops at the first device. data: whether we may have the kernel do something about it. */
static int try_writing(const char *kname, void *data)
{
	char path[LIMIT_KNAME + 32];
	bool *ret_writable = data;

	(void)snprintf(path, sizeof(path), "/sys/class/block/%s/uevent", kname);
	*ret_writable = faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0;
	return 1;
}

static bool sysfs_is_writable(void)
{
	_cleanup_close_ int sysfs_fd = blockdev_open(NULL);
	bool writable = true;

	(void)blockdev_each(sysfs_fd, try_writing, &writable);
	return writable;
}

#define ADVICE_SYSFS                                                                            \
	"without it a card that is taken out while it is written may damage the next one, and " \
	"dirty memory of slow disks is not bounded"

static void check_sysfs(const struct config *config, struct doctor_finding *finding)
{
	struct statfs fs = {0};

	(void)config;
	if (statfs("/sys/class/block", &fs) < 0 || fs.f_type != SYSFS_MAGIC)
		doctor_found(
			finding, DOCTOR_WARN,
			"mount it (container: -v /sys:/sys:ro), or name the disks with "
			"--include",
			"there is no sysfs on /sys: only disks that --include names are shown, "
			"as far as /proc/partitions knows them");
	else if (fs.f_flags & ST_RDONLY)
		doctor_found(finding, DOCTOR_WARN, "container: -v /sys:/sys; " ADVICE_SYSFS,
			     "read-only");
	else if (!sysfs_is_writable())
		doctor_found(finding, DOCTOR_WARN, "run it as root of the host; " ADVICE_SYSFS,
			     "not writable for this user");
	else
		doctor_found(finding, DOCTOR_OK, NULL, "there, and writable");
}

/* What opening the nodes of all disks gave. */
struct nodes {
	const struct config *config;
	struct doctor_finding *finding;
	int sysfs_fd;
	int dev_fd;
	unsigned opened;
	unsigned refused;
	unsigned missing;
	dev_t missing_medium; /* one of the missing that would be shown, or 0 */
	bool refused_medium;  /* one of the refused would be shown */
	int refused_errno;
	char refused_kname[LIMIT_KNAME];
};

/* Whether it is a disk of the kind that the daemon shows; others may well be kept from it. */
static bool is_medium(const struct blockdev *dev, const struct config *config)
{
	if (dev->removable || (dev->bus != BLOCKDEV_BUS_OTHER && dev->bus != BLOCKDEV_BUS_VIRTUAL))
		return true;
	for (size_t i = 0; i < config->include.count; i++)
		if (fnmatch(config->include.globs[i], dev->kname, 0) == 0)
			return true;
	return false;
}

static void node_failed(struct nodes *nodes, const struct blockdev *dev, int err)
{
	bool medium = is_medium(dev, nodes->config);

	if (err == ENOENT) {
		nodes->missing++;
		if (medium)
			nodes->missing_medium = dev->devnum;
	} else if (err == EPERM || err == EACCES) {
		nodes->refused++;
		if (medium >= nodes->refused_medium) {
			nodes->refused_medium = medium;
			nodes->refused_errno = err;
			(void)STR_COPY(nodes->refused_kname, dev->kname);
		}
	} else {
		nodes->opened++; /* ENOMEDIUM, EBUSY and the like: we were let in */
	}
}

static int node_try(const char *kname, void *data)
{
	struct nodes *nodes = data;
	struct blockdev dev;
	_cleanup_close_ int fd = -EBADF;

	if (blockdev_read(nodes->sysfs_fd, kname, &dev) < 0 || dev.hidden || dev.size_bytes == 0)
		return 0;
	/* This stands if the device never answers. */
	doctor_found(nodes->finding, is_medium(&dev, nodes->config) ? DOCTOR_FAIL : DOCTOR_WARN,
		     "unplug it, or look into the kernel's log", "%s/%s does not answer",
		     nodes->config->dev_dir, kname);
	fd = openat(nodes->dev_fd, kname, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0)
		nodes->opened++;
	else
		node_failed(nodes, &dev, errno);
	return 0;
}

/* Whether the daemon could make a node of its own, and open it. Hides /sys from this process. */
static bool node_can_be_made(dev_t devnum)
{
	_cleanup_close_ int fd = -EBADF;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/sys", "tmpfs", MS_NOSUID | MS_NOEXEC, NULL) < 0 ||
	    mknod("/sys/node", S_IFBLK | 0600, devnum) < 0)
		return false;
	fd = open("/sys/node", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return fd >= 0 || errno == EBUSY || errno == ENOMEDIUM;
}

static enum doctor_verdict missing_verdict(const struct nodes *nodes)
{
	if (!nodes->missing_medium || node_can_be_made(nodes->missing_medium))
		return DOCTOR_WARN;
	return DOCTOR_FAIL;
}

static const char *refused_advice(int err)
{
	if (err == EPERM)
		return "if it is to be shown: container: --device-cgroup-rule 'b MAJOR:* rw'; "
		       "MAJOR of "
		       "USB disks is 8, of SD cards 179";
	if (kernel_mounts_here())
		return "run it as root or with CAP_DAC_READ_SEARCH";
	return "if it is to be shown, let the user that starts the namespace open it, by a udev "
	       "rule: "
	       "KERNEL==\"sd[a-z]*\", SUBSYSTEMS==\"usb\", OWNER=\"USER\"";
}

static void nodes_report(const struct nodes *nodes, const char *dir, struct doctor_finding *finding)
{
	if (nodes->refused)
		doctor_found(finding, nodes->refused_medium ? DOCTOR_FAIL : DOCTOR_WARN,
			     refused_advice(nodes->refused_errno),
			     "%s/%s cannot be opened: %s (%u of %u)", dir, nodes->refused_kname,
			     error_text(nodes->refused_errno), nodes->refused,
			     nodes->refused + nodes->opened);
	else if (nodes->missing)
		doctor_found(finding, missing_verdict(nodes),
			     "container: -v /dev:/host/dev:ro, and --dev /host/dev; without it the "
			     "daemon makes nodes of its own, if it may",
			     "%u of %u nodes are missing in %s", nodes->missing,
			     nodes->missing + nodes->opened, dir);
	else if (nodes->opened)
		doctor_found(finding, DOCTOR_OK, NULL, "all %u in %s can be opened", nodes->opened,
			     dir);
	else
		doctor_found(finding, DOCTOR_OK, NULL, "no disk is there to be tried in %s", dir);
}

static void check_nodes(const struct config *config, struct doctor_finding *finding)
{
	_cleanup_close_ int sysfs_fd = blockdev_open(NULL);
	_cleanup_close_ int dev_fd = open(config->dev_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct nodes nodes = {
		.config = config, .finding = finding, .sysfs_fd = sysfs_fd, .dev_fd = dev_fd};

	if (dev_fd < 0) {
		doctor_found(finding, DOCTOR_FAIL, "give the right directory with --dev", "%s: %s",
			     config->dev_dir, error_text(errno));
		return;
	}
	(void)blockdev_each(sysfs_fd, node_try, &nodes);
	nodes_report(&nodes, config->dev_dir, finding);
}

static void check_udev(const struct config *config, struct doctor_finding *finding)
{
	(void)config;
	if (access("/run/udev/control", F_OK) == 0)
		doctor_found(finding, DOCTOR_OK, NULL, "/run/udev is there, and udevd runs");
	else if (access("/run/udev/data", F_OK) == 0)
		doctor_found(finding, DOCTOR_OK, NULL, "/run/udev is there");
	else
		doctor_found(
			finding, DOCTOR_OK,
			"if the host has rules that set UDISKS_IGNORE: -v /run/udev:/run/udev:ro",
			"not there; nothing depends on it");
}

const struct doctor_check doctor_checks_devices[] = {
	{"sysfs", "the facts about disks are read there", check_sysfs},
	{"device-nodes", "disks are read and mounted through their nodes", check_nodes},
	{"udev", "its database says which disks the host wants to be left alone", check_udev},
	{0},
};

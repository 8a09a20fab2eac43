/* System calls: each is tried, since a kernel may have it and a seccomp profile refuse it. */
#include "cli/doctor.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include "cli/output.h"
#include "staging/namespace.h"

/* Reports a call that returned r, a new fd that ends with the process, or failed with errno. */
static void report(int r, enum doctor_verdict missing, struct doctor_finding *finding)
{
	if (r >= 0)
		doctor_found(finding, DOCTOR_OK, NULL, "works");
	else
		doctor_found(finding, missing,
			     errno == ENOSYS
				     ? "use a newer kernel, or allow it in the seccomp profile"
				     : "allow it in the container's seccomp profile and "
				       "capabilities",
			     "%s", error_text(errno));
}

static void check_namespace(const struct config *config, struct doctor_finding *finding)
{
	int r;

	(void)config;
	if (unshare(CLONE_NEWNS) < 0) {
		report(-1, DOCTOR_FAIL, finding);
		return;
	}
	r = namespace_enter();
	if (r < 0)
		doctor_found(finding, DOCTOR_FAIL,
			     "give the container CAP_SYS_CHROOT (docker: --cap-add SYS_CHROOT), or "
			     "allow pivot_root(2) in its seccomp profile",
			     "its root cannot be changed: %s", error_text(-r));
	else
		doctor_found(finding, DOCTOR_OK, NULL, "works");
}

static void check_mount_api(const struct config *config, struct doctor_finding *finding)
{
	int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int r = fs;

	(void)config;
	if (fs >= 0)
		r = fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
	if (r >= 0)
		r = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	report(r, DOCTOR_WARN, finding);
}

static void check_openat2(const struct config *config, struct doctor_finding *finding)
{
	struct open_how how = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	};
	_cleanup_close_ int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	(void)config;
	report((int)syscall(SYS_openat2, root, ".", &how, sizeof(how)), DOCTOR_FAIL, finding);
}

static void check_memfd(const struct config *config, struct doctor_finding *finding)
{
	(void)config;
	report(memfd_create("hotplugfs-doctor", MFD_CLOEXEC), DOCTOR_FAIL, finding);
}

static void check_pidfd(const struct config *config, struct doctor_finding *finding)
{
	(void)config;
	report((int)syscall(SYS_pidfd_open, getpid(), 0), DOCTOR_FAIL, finding);
}

const struct doctor_check doctor_checks_calls[] = {
	{"namespace", "disks are mounted in a private mount namespace that nobody else sees",
	 check_namespace},
	{"mount-api", "fsopen(2) and fsmount(2) say why a mount failed; else mount(2) is used",
	 check_mount_api},
	{"openat2", "files are opened beneath a disk's root, never outside of it", check_openat2},
	{"memfd", "the table of open files lives in memory that outlasts the server", check_memfd},
	{"pidfd", "children are watched through pidfds", check_pidfd},
	{0},
};

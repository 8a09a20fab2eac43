/* What this process is allowed to do: capabilities, namespaces, security modules, limits. */
#include "cli/doctor.h"

#include <cap-ng.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "cli/output.h"

/* Reads the start of a small file, without the newline at its end. Returns its length or -errno. */
static int text_read(const char *path, char *text, size_t size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, text, size - 1);
	if (n < 0)
		return -errno;
	while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\0'))
		n--;
	text[n] = '\0';
	return (int)n;
}

/* What the daemon's processes use beside CAP_SYS_ADMIN. */
static const struct {
	unsigned capability;
	const char *use;
} useful[] = {
	{CAP_SETUID, "acting as the user who asks"},
	{CAP_SETGID, "acting with that user's groups"},
	{CAP_DAC_OVERRIDE, "files that belong to others"},
	{CAP_DAC_READ_SEARCH, "device nodes of mode 0600"},
	{CAP_CHOWN, "owners of new files"},
	{CAP_FOWNER, "modes and times of files"},
	{CAP_FSETID, "set-id bits"},
	{CAP_SETFCAP, "capabilities of files"},
	{CAP_LINUX_IMMUTABLE, "immutable files"},
	{CAP_LEASE, "leases"},
	{CAP_SYS_NICE, "answering on the caller's CPU, and quick names on a busy one"},
	{CAP_SETPCAP, "giving rights up for good"},
	{CAP_MKNOD, "device nodes that are missing, and special files"},
	{CAP_KILL, "ending its own children"},
};

/* A limit of 20 stands for the nice value 0 (setrlimit(2)). */
static bool may_undo_nice(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NICE, &limit) == 0 && limit.rlim_cur >= 20;
}

static bool has_right(unsigned capability)
{
	return capng_have_capability(CAPNG_EFFECTIVE, capability) ||
	       (capability == CAP_SYS_NICE && may_undo_nice());
}

static void check_capabilities(const struct config *config, struct doctor_finding *finding)
{
	bool complete = true;

	(void)config;
	if (capng_get_caps_process() != 0) {
		doctor_found(finding, DOCTOR_FAIL, "mount /proc", "capabilities cannot be read");
		return;
	}
	if (!capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_ADMIN)) {
		doctor_found(finding, DOCTOR_FAIL,
			     "run it as root (container: --cap-add SYS_ADMIN), or in a user "
			     "namespace: unshare --user --map-root-user --mount",
			     "CAP_SYS_ADMIN is missing: nothing can be mounted");
		return;
	}
	doctor_found(finding, DOCTOR_WARN, "add them (container: --cap-add NAME)", "missing:");
	for (size_t i = 0; i < ARRAY_SIZE(useful); i++) {
		if (has_right(useful[i].capability))
			continue;
		doctor_found_more(finding, "%s %s (%s)", complete ? "" : ",",
				  capng_capability_to_name(useful[i].capability), useful[i].use);
		complete = false;
	}
	if (complete)
		doctor_found(finding, DOCTOR_OK, NULL, "all that are used are there");
}

static void check_userns(const struct config *config, struct doctor_finding *finding)
{
	unsigned inside = 1, outside = 1, count = 0;
	char map[256] = "";

	(void)config;
	if (text_read("/proc/self/uid_map", map, sizeof(map)) < 0 ||
	    sscanf(map, "%u %u %u", &inside, &outside, &count) != 3)
		doctor_found(finding, DOCTOR_WARN, "mount /proc",
			     "/proc/self/uid_map cannot be read");
	else if (inside == 0 && outside == 0 && count == UINT32_MAX)
		doctor_found(finding, DOCTOR_OK, NULL, "the host's");
	else
		doctor_found(finding, DOCTOR_WARN,
			     "for speed and for all types run the daemon outside of it (container: "
			     "no --userns, rootful engine)",
			     "a user namespace of our own: programs have to do what the kernel "
			     "does elsewhere, see \"filesystems\"");
}

static void check_seccomp(const struct config *config, struct doctor_finding *finding)
{
	uint32_t action = SECCOMP_RET_KILL_PROCESS;
	bool filtered = prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == SECCOMP_MODE_FILTER;

	(void)config;
	if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0)
		doctor_found(finding, DOCTOR_WARN,
			     "use a kernel with CONFIG_SECCOMP_FILTER, and a profile that allows "
			     "seccomp(2)",
			     "filters cannot be installed: %s", error_text(errno));
	else
		doctor_found(finding, DOCTOR_OK, NULL, "filters can be installed%s",
			     filtered ? "; this process is under one already" : "");
}

/* Profiles under which a process is not confined. */
static bool is_unconfined(const char *label)
{
	return !*label || streq(label, "unconfined") || streq(label, "kernel") ||
	       strstr(label, "unconfined_t") || strstr(label, "spc_t") || strstr(label, "init_t");
}

static void check_lsm(const struct config *config, struct doctor_finding *finding)
{
	char label[300] = "";
	char modules[200] = "";

	(void)config;
	(void)text_read("/proc/self/attr/current", label, sizeof(label));
	(void)text_read("/sys/kernel/security/lsm", modules, sizeof(modules));
	if (is_unconfined(label))
		doctor_found(finding, DOCTOR_OK, NULL, "not confined%s%s",
			     *modules ? "; modules: " : "", modules);
	else
		doctor_found(finding, DOCTOR_WARN,
			     "if mounts are refused: AppArmor: --security-opt apparmor=unconfined; "
			     "SELinux: --security-opt label=disable",
			     "this process is confined: %s", QUOTE(label));
}

/* Open files of all workloads are open in the server, too. */
#define FILES_ENOUGH 4096

static void check_files(const struct config *config, struct doctor_finding *finding)
{
	struct rlimit limit = {0};

	(void)config;
	(void)getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max >= FILES_ENOUGH)
		doctor_found(finding, DOCTOR_OK, NULL, "at most %llu",
			     (unsigned long long)limit.rlim_max);
	else
		doctor_found(finding, DOCTOR_WARN,
			     "raise it (container: --ulimit nofile=65536; systemd: LimitNOFILE=)",
			     "at most %llu", (unsigned long long)limit.rlim_max);
}

const struct doctor_check doctor_checks_rights[] = {
	{"capabilities", "mounting needs CAP_SYS_ADMIN; files of all users need the others",
	 check_capabilities},
	{"user-namespace",
	 "the kernel mounts disks only in the user namespace of the host; elsewhere driver "
	 "programs "
	 "do it (FUSE)",
	 check_userns},
	{"seccomp", "the processes that touch hostile data lock themselves into a filter",
	 check_seccomp},
	{"lsm", "AppArmor and SELinux profiles of containers often forbid mounting", check_lsm},
	{"open-files", "every file that a workload has open takes one in the server", check_files},
	{0},
};

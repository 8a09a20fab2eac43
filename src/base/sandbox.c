#include "sandbox.h"

#include <assert.h>
#include <cap-ng.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/blkzoned.h>
#include <linux/cdrom.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/*
 * System calls by theme, each name followed by a blank. By text: the headers may be older than
 * the kernel's newest calls.
 */
static const char common_calls[] =
	"read readv write writev close lseek _llseek fstat fstat64 newfstatat fstatat64 mmap "
	"mmap2 munmap mremap mprotect madvise brk futex futex_time64 exit exit_group "
	"rt_sigaction rt_sigprocmask rt_sigreturn getpid gettid getrandom clock_gettime "
	"clock_gettime64 clock_getres gettimeofday time restart_syscall rseq set_robust_list "
	"sched_yield pread64 preadv fadvise64 fadvise64_64 arm_fadvise64_64 uname ";

static const char server_calls[] =
	/* files by name */
	"openat openat2 statx faccessat faccessat2 unlinkat renameat renameat2 linkat "
	"symlinkat mkdirat mknodat readlinkat fchmodat fchmodat2 fchownat utimensat "
	"utimensat_time64 truncate truncate64 name_to_handle_at statfs statfs64 open "
	"readlink access stat lstat "
	/* open files */
	"fchmod fchown fchdir ftruncate ftruncate64 fallocate pwrite64 pwritev preadv2 "
	"pwritev2 splice vmsplice tee copy_file_range sendfile sendfile64 getdents64 fsync "
	"fdatasync syncfs sync_file_range sync_file_range2 readahead flock fstatfs fstatfs64 "
	"ioctl fcntl fcntl64 dup dup2 dup3 close_range cachestat "
	/* extended attributes */
	"getxattr lgetxattr fgetxattr setxattr lsetxattr fsetxattr listxattr llistxattr "
	"flistxattr removexattr lremovexattr fremovexattr "
	/* the identity of the client */
	"setfsuid setfsgid setuid setgid setreuid setregid setresuid setresgid setgroups "
	"getuid geteuid getgid getegid getresuid getresgid getgroups setfsuid32 setfsgid32 "
	"setresuid32 setresgid32 setgroups32 getuid32 geteuid32 getgid32 getegid32 capget "
	"capset umask prctl "
	/* threads, events, time */
	"sched_getaffinity sched_setaffinity sched_getparam sched_getscheduler "
	"sched_setscheduler sched_get_priority_max sched_get_priority_min getcpu "
	"set_tid_address membarrier sigaltstack rt_sigpending rt_sigsuspend rt_sigtimedwait "
	"rt_sigtimedwait_time64 epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 "
	"eventfd2 timerfd_create timerfd_settime timerfd_settime64 timerfd_gettime "
	"timerfd_gettime64 signalfd4 pipe pipe2 poll ppoll ppoll_time64 select pselect6 "
	"nanosleep clock_nanosleep clock_nanosleep_time64 memfd_create recvmsg sendmsg "
	"recvfrom sendto shutdown getppid getrusage sysinfo times mincore msync mlock munlock ";

/* With EACCES: libraries look for files in /proc, /sys and /etc and go on without them. */
static const char probe_denied_calls[] =
	"open openat openat2 access faccessat faccessat2 stat stat64 lstat lstat64 statx "
	"readlink readlinkat statfs statfs64 getdents64 socket prctl sysinfo getuid geteuid ";

/* What libfuse, a driver and the dynamic linker use; it starts fusermount(1), and no other. */
static const char driver_calls[] =
	"open openat openat2 stat lstat statx access faccessat faccessat2 readlink readlinkat "
	"getcwd chdir statfs fstatfs statfs64 fstatfs64 umask fcntl fcntl64 dup dup2 dup3 "
	"pwrite64 pwritev preadv2 pwritev2 fsync fdatasync fallocate ftruncate ftruncate64 "
	"sync_file_range readahead flock ioctl splice vmsplice tee pipe pipe2 poll ppoll "
	"ppoll_time64 select pselect6 nanosleep clock_nanosleep clock_nanosleep_time64 "
	"socketpair sendmsg recvmsg shutdown execve clone vfork wait4 waitid close_range "
	"arch_prctl set_tid_address sigaltstack rt_sigsuspend rt_sigpending rt_sigtimedwait "
	"getuid geteuid getgid getegid getresuid getresgid getuid32 geteuid32 getgid32 "
	"getegid32 getppid getrusage getrlimit ugetrlimit sysinfo times prctl capget membarrier "
	"sched_getaffinity sched_getparam sched_getscheduler getcpu mincore msync eventfd2 ";

static const char sanitizer_calls[] =
	"clone sched_getaffinity sigaltstack getrlimit ugetrlimit tgkill ptrace wait4 "
	"getppid prctl personality setrlimit prlimit64 get_mempolicy kill ";

/* What libblkid asks of a device once it has been opened ('p', 236: IOC_OPAL_GET_STATUS). */
static const unsigned long probe_ioctls[] = {
	BLKGETSIZE64,
	BLKSSZGET,
	BLKPBSZGET,
	BLKIOMIN,
	BLKIOOPT,
	BLKALIGNOFF,
	BLKROGET,
	BLKGETDISKSEQ,
	BLKREPORTZONE,
	BLKGETZONESZ,
	BLKGETNRZONES,
	_IOR('p', 236, uint64_t),
	CDROM_DRIVE_STATUS,
	CDROM_DISC_STATUS,
	CDROMMULTISESSION,
	CDROM_LAST_WRITTEN,
	CDROM_GET_CAPABILITY,
};

static const unsigned server_capabilities[] = {
	CAP_SYS_ADMIN,	     CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID,
	CAP_CHOWN,	     CAP_SETUID,       CAP_SETGID,	    CAP_MKNOD,	CAP_SETFCAP,
	CAP_LINUX_IMMUTABLE, CAP_LEASE,	       CAP_SYS_NICE,
};

/* Newer than some libraries' tables; the number is the same on every architecture. */
static const struct {
	const char *name;
	int number;
} new_calls[] = {
	{"faccessat2", 439},
	{"epoll_pwait2", 441},
	{"cachestat", 451},
	{"fchmodat2", 452},
};

static int call_number(const char *name)
{
	int nr = seccomp_syscall_resolve_name(name);

	for (size_t i = 0; nr == __NR_SCMP_ERROR && i < ARRAY_SIZE(new_calls); i++)
		if (streq(name, new_calls[i].name))
			nr = new_calls[i].number;
	return nr;
}

/* names: each followed by a blank. Calls that this architecture does not have are left out. */
static int rules_add(scmp_filter_ctx ctx, uint32_t action, const char *names)
{
	for (const char *end; (end = strchr(names, ' ')); names = end + 1) {
		char name[32];
		int nr;
		int r;

		(void)str_copy(name, MIN(sizeof(name), (size_t)(end - names) + 1), names);
		nr = call_number(name);
		if (nr == __NR_SCMP_ERROR)
			continue;
		r = seccomp_rule_add(ctx, action, nr, 0);
		if (r < 0 && r != -EDOM)
			return r;
	}
	return 0;
}

static int rules_add_common(scmp_filter_ctx ctx)
{
	int r = rules_add(ctx, SCMP_ACT_ALLOW, common_calls);

	if (r == 0) /* only to read a limit */
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1,
				     SCMP_A2(SCMP_CMP_EQ, 0));
	if (r == 0 && SANDBOX_SANITIZED)
		r = rules_add(ctx, SCMP_ACT_ALLOW, sanitizer_calls);
	return r;
}

static int rules_add_probe(scmp_filter_ctx ctx)
{
	uint32_t denied = SANDBOX_SANITIZED ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EACCES);
	int r = rules_add(ctx, denied, probe_denied_calls);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(probe_ioctls); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				     SCMP_A1(SCMP_CMP_EQ, probe_ioctls[i]));
	return r;
}

static int rules_add_server(scmp_filter_ctx ctx)
{
	const scmp_datum_t not_shared = ~(scmp_datum_t)(CLONE_FS | CLONE_FILES);
	const scmp_datum_t self = (scmp_datum_t)getpid();
	int r = rules_add(ctx, SCMP_ACT_ALLOW, server_calls);

	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
				     SCMP_A0(SCMP_CMP_EQ, self));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(unshare), 1,
				     SCMP_A0(SCMP_CMP_MASKED_EQ, not_shared, 0));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(kill), 1,
				     SCMP_A0(SCMP_CMP_EQ, self));
	if (r == 0) /* threads, not processes; clone3 hides its flags from the filter */
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				     SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return r;
}

static int rules_add_fdstore(scmp_filter_ctx ctx)
{
	return rules_add(ctx, SCMP_ACT_ALLOW, "recvmsg sendmsg fcntl fcntl64 ");
}

/* tgkill: its threads cancel one another (pthread_cancel). */
static int rules_add_driver(scmp_filter_ctx ctx)
{
	const scmp_datum_t self = (scmp_datum_t)getpid();
	int r = rules_add(ctx, SCMP_ACT_ALLOW, driver_calls);

	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
				     SCMP_A0(SCMP_CMP_EQ, self));
	if (r == 0) /* so that the C library uses clone */
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return r;
}

static int rules_add_mounting_driver(scmp_filter_ctx ctx)
{
	int r = rules_add_driver(ctx);

	/*
	 * What ntfs-3g has for setuid programs ends it where it fails: to become the user that one
	 * is, and, for which there is no right any more, to leave all groups. That is ignored.
	 */
	if (r == 0)
		r = rules_add(ctx, SCMP_ACT_ALLOW, "setresuid setresgid setresuid32 setresgid32 ");
	if (r == 0)
		r = rules_add(ctx, SCMP_ACT_ERRNO(0), "setgroups setgroups32 ");
	return r == 0 ? rules_add(ctx, SCMP_ACT_NOTIFY, "mount ") : r;
}

static const struct {
	uint32_t default_action;
	int (*rules)(scmp_filter_ctx ctx);
	const unsigned *capabilities;
	size_t n_capabilities;
} profiles[] = {
	[SANDBOX_PROBE] = {SCMP_ACT_KILL_PROCESS, rules_add_probe, NULL, 0},
	[SANDBOX_SERVER] = {SCMP_ACT_ERRNO(EPERM), rules_add_server, server_capabilities,
			    ARRAY_SIZE(server_capabilities)},
	[SANDBOX_FDSTORE] = {SCMP_ACT_KILL_PROCESS, rules_add_fdstore, NULL, 0},
	[SANDBOX_DRIVER] = {SCMP_ACT_ERRNO(EPERM), rules_add_driver, NULL, 0},
	[SANDBOX_MOUNTING_DRIVER] = {SCMP_ACT_ERRNO(EPERM), rules_add_mounting_driver, NULL, 0},
};

static bool capability_wanted(enum sandbox_profile profile, unsigned cap)
{
	for (size_t i = 0; i < profiles[profile].n_capabilities; i++)
		if (profiles[profile].capabilities[i] == cap)
			return true;
	return false;
}

static int capabilities_keep(enum sandbox_profile profile)
{
	bool have[CAP_LAST_CAP + 1];

	if (capng_get_caps_process() < 0)
		return -EPERM;
	for (unsigned cap = 0; cap <= CAP_LAST_CAP; cap++)
		have[cap] = capng_have_capability(CAPNG_PERMITTED, cap);
	/* The bounding set can only be cut with CAP_SETPCAP; no_new_privs makes it harmless. */
	for (unsigned cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (!capability_wanted(profile, cap))
			(void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	capng_clear(CAPNG_SELECT_CAPS);
	for (unsigned cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (have[cap] && capability_wanted(profile, cap))
			(void)capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, cap);
	return capng_apply(CAPNG_SELECT_CAPS) < 0 ? -EPERM : 0;
}

/* EFAULT: the kernel would have looked at our filter. */
static bool seccomp_supported(void)
{
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL, 0, 0) < 0 && errno == EFAULT;
}

static void filter_releasep(scmp_filter_ctx *ctx)
{
	if (*ctx)
		seccomp_release(*ctx);
}

static int filter_make(enum sandbox_profile profile, scmp_filter_ctx *ret_ctx)
{
	_cleanup_(filter_releasep)
		scmp_filter_ctx ctx = seccomp_init(profiles[profile].default_action);
	int r;

	if (!ctx)
		return -ENOMEM;
	(void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree: the list is long */
	r = rules_add_common(ctx);
	if (r == 0)
		r = profiles[profile].rules(ctx);
	if (r == 0)
		*ret_ctx = TAKE_PTR(ctx);
	return r;
}

/* Compiled filters; len 0: not prepared. */
static struct sock_fprog prepared[ARRAY_SIZE(profiles)];

/* The program that libseccomp writes to a file. Returns 0 or -errno. */
static int filter_read(int fd, struct sock_fprog *ret_program)
{
	off_t size = lseek(fd, 0, SEEK_END);
	struct sock_filter *filter = size > 0 ? malloc((size_t)size) : NULL;

	if (!filter)
		return -ENOMEM;
	if (pread(fd, filter, (size_t)size, 0) != (ssize_t)size) {
		free(filter);
		return -EIO;
	}
	ret_program->filter = filter;
	ret_program->len = (unsigned short)((size_t)size / sizeof(*filter));
	return 0;
}

int sandbox_prepare(enum sandbox_profile profile)
{
	_cleanup_(filter_releasep) scmp_filter_ctx ctx = NULL;
	_cleanup_close_ int fd = -EBADF;
	int r;

	assert(profile == SANDBOX_PROBE || profile == SANDBOX_FDSTORE);
	if (prepared[profile].len > 0 || !seccomp_supported())
		return 0;
	r = filter_make(profile, &ctx);
	if (r < 0)
		return r;
	fd = memfd_create("hotplugfs-filter", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = seccomp_export_bpf(ctx, fd);
	return r == 0 ? filter_read(fd, &prepared[profile]) : r;
}

static int filter_install(enum sandbox_profile profile)
{
	_cleanup_(filter_releasep) scmp_filter_ctx ctx = NULL;
	int r;

	if (prepared[profile].len > 0)
		return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prepared[profile]) < 0 ? -errno
											  : 0;
	r = filter_make(profile, &ctx);
	return r == 0 ? seccomp_load(ctx) : r;
}

int sandbox_filter(enum sandbox_profile profile, bool *ret_filtered)
{
	bool filtered = seccomp_supported();
	int r = filtered ? filter_install(profile) : 0;

	if (r == 0)
		*ret_filtered = filtered;
	return r;
}

int sandbox_filter_mounting(int *ret_listener)
{
	_cleanup_(filter_releasep) scmp_filter_ctx ctx = NULL;
	int r = seccomp_supported() ? filter_make(SANDBOX_MOUNTING_DRIVER, &ctx) : -ENOSYS;

	if (r == 0)
		r = seccomp_load(ctx);
	if (r < 0)
		return r;
	/* releasing the context may close its own */
	*ret_listener = fcntl(seccomp_notify_fd(ctx), F_DUPFD_CLOEXEC, 0);
	return *ret_listener < 0 ? -errno : 0;
}

int sandbox_enter(enum sandbox_profile profile, bool *ret_filtered)
{
	int r = capabilities_keep(profile);

	if (r < 0)
		return r;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return sandbox_filter(profile, ret_filtered);
}

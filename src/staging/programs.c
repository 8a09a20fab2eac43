#include "programs.h"

#include <stdio.h>
#include <sys/stat.h>

/* PROC_USER_INIT_INO in include/linux/proc_ns.h of the kernel; the same since 3.8. */
#define INITIAL_USER_NAMESPACE 0xEFFFFFFDu

/*
 * Options of fuse2fs (fuse2fs(1)). fakeroot: it allows everything to everybody; who may do what has
 * been decided before it is asked. uid and gid are libfuse's, and change what is shown only.
 * Killing the program fences what it serves. It opens the device exclusively.
 */
#define FUSE2FS(type)                                                                         \
	{                                                                                     \
		.fstype = (type), .kernel_type = "fuse2fs", .defaults = "fakeroot",           \
		.allowed = "acl,noacl,norecovery,minixdf,bsddf,uid,gid", .takes_owner = true, \
		.has_shutdown = true, .program = "fuse2fs", .package = "fuse2fs",             \
		.foreground = "-f", .stable_inodes = true                                     \
	}

static const struct driver programs[] = {
	FUSE2FS("ext4"),
	FUSE2FS("ext3"),
	FUSE2FS("ext2"),
	/* ntfs-3g(8). It asks nobody whether it may, unless it is given permissions or acl. */
	{
		.fstype = "ntfs",
		.kernel_type = "ntfs-3g",
		.defaults = "no_detach,big_writes,umask=022",
		.allowed = "uid,gid,umask,fmask,dmask,compression,nocompression,hide_dot_files,"
			   "hide_hid_files,ignore_case,windows_names,streams_interface,user_xattr,"
			   "remove_hiberfile,recover,norecover,delay_mtime,inherit,posix_nlink",
		.takes_owner = true,
		.has_shutdown = true,
		.program = "ntfs-3g",
		.package = "ntfs-3g",
		.mounts = true,
		.stable_inodes = true,
	},
};

/* Not $PATH: the program is started with what a stranger's disk says. */
static const char *const directories[] = {
	"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin",
};

bool kernel_mounts_here(void)
{
	struct stat st;

	return stat("/proc/self/ns/user", &st) < 0 || st.st_ino == INITIAL_USER_NAMESPACE;
}

const struct driver *program_at(size_t index)
{
	return index < ARRAY_SIZE(programs) ? &programs[index] : NULL;
}

const struct driver *program_for(const char *fstype)
{
	for (size_t i = 0; i < ARRAY_SIZE(programs); i++)
		if (streq(programs[i].fstype, fstype))
			return &programs[i];
	return NULL;
}

int program_locate(const struct driver *driver, char ret_path[PROGRAM_PATH_SIZE])
{
	char path[PROGRAM_PATH_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(directories); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", directories[i], driver->program);
		if (access(path, X_OK) < 0)
			continue;
		memcpy(ret_path, path, sizeof(path));
		return 0;
	}
	return -ENOENT;
}

static const struct driver *program_find(const char *fstype)
{
	const struct driver *driver = program_for(fstype);
	char path[PROGRAM_PATH_SIZE];

	return driver && program_locate(driver, path) == 0 ? driver : NULL;
}

bool program_is_missing(const char *fstype, char text[LIMIT_REASON])
{
	const struct driver *known = program_for(fstype);

	if (!known || program_find(fstype))
		return false;
	(void)snprintf(text, LIMIT_REASON, "%s is not installed (package %s)", known->program,
		       known->package);
	return true;
}

/* The kernel's, also if it may only turn out that it has none, and loads no module for it. */
static const struct driver *driver_find_best(const char *fstype)
{
	const struct driver *driver = driver_find(fstype);
	const struct driver *program = driver && driver_is_impossible(driver) ? program_find(fstype)
									      : NULL;

	return program ? program : driver;
}

const struct driver *driver_here(const char *fstype, char missing[LIMIT_REASON])
{
	const struct driver *driver = kernel_mounts_here() ? driver_find_best(fstype)
							   : program_find(fstype);
	char advice[LIMIT_REASON];

	if (driver || !missing)
		return driver;
	if (program_is_missing(fstype, advice))
		(void)snprintf(missing, LIMIT_REASON,
			       "no driver for %s: the kernel mounts no disks in a user namespace, "
			       "and %.90s",
			       fstype, advice);
	else
		(void)snprintf(missing, LIMIT_REASON, "no driver for %s%s", fstype,
			       kernel_mounts_here() ? ""
						    : ": the kernel mounts no disks in a user "
						      "namespace");
	return NULL;
}

const struct driver *driver_named(const char *fstype, const char *name)
{
	const struct driver *program = program_for(fstype);

	if (program && streq(program->kernel_type, name))
		return program;
	return driver_find_kernel(fstype, name);
}

const struct driver *driver_next(const struct driver *driver)
{
	const struct driver *other = driver->program ? NULL : driver_other(driver);

	if (other || driver->program)
		return other;
	return program_find(driver->fstype);
}

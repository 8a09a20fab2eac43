#include "drivers.h"

#include <stdio.h>

#define OWNER_OPTIONS "uid,gid,umask,fmask,dmask"

/*
 * ext2 and ext3 are mounted by the ext4 driver, which every kernel with ext4 can do and which
 * can be shut down. xfs nouuid: a dd copy of a mounted filesystem is another medium, not an
 * error. umask: without it the kernel takes the one that this process happens to have.
 */
static const struct driver drivers[] = {
	{
		.fstype = "ext4",
		.kernel_type = "ext4",
		.defaults = "errors=remount-ro",
		.allowed =
			"errors,data,commit,barrier,nobarrier,discard,nodiscard,journal_checksum,"
			"nojournal_checksum,delalloc,nodelalloc,auto_da_alloc,noauto_da_alloc,"
			"user_xattr,acl,noacl,noload,norecovery,init_itable,noinit_itable,stripe",
		.rescue = "noload",
		.has_shutdown = true,
	},
	{
		.fstype = "ext3",
		.kernel_type = "ext4",
		.defaults = "errors=remount-ro",
		.allowed =
			"errors,data,commit,barrier,nobarrier,discard,nodiscard,acl,noacl,noload",
		.rescue = "noload",
		.has_shutdown = true,
	},
	{
		.fstype = "ext2",
		.kernel_type = "ext4",
		.defaults = "errors=remount-ro",
		.allowed = "errors,discard,nodiscard,acl,noacl",
		.has_shutdown = true,
	},
	{
		.fstype = "xfs",
		.kernel_type = "xfs",
		.defaults = "nouuid",
		.allowed = "allocsize,discard,nodiscard,inode32,inode64,largeio,nolargeio,logbsize,"
			   "norecovery,wsync",
		.rescue = "norecovery",
		.has_shutdown = true,
	},
	{
		.fstype = "btrfs",
		.kernel_type = "btrfs",
		.defaults = "",
		.allowed =
			"autodefrag,noautodefrag,compress,compress-force,commit,datacow,nodatacow,"
			"datasum,nodatasum,discard,nodiscard,flushoncommit,noflushoncommit,ssd,"
			"nossd,space_cache,subvol,subvolid,rescue",
		.rescue = "rescue=nologreplay",
	},
	{
		.fstype = "f2fs",
		.kernel_type = "f2fs",
		.defaults = "",
		.allowed = "background_gc,discard,nodiscard,acl,noacl,user_xattr,nouser_xattr,"
			   "disable_roll_forward,norecovery,fsync_mode",
		.rescue = "norecovery",
		.has_shutdown = true,
	},
	{
		.fstype = "vfat",
		.kernel_type = "vfat",
		.defaults = "utf8,shortname=mixed,flush,umask=022",
		.allowed = OWNER_OPTIONS ",utf8,shortname,flush,time_offset,tz,codepage,iocharset,"
					 "check,errors,discard,quiet,showexec,usefree,rodir",
		.takes_owner = true,
	},
	{
		.fstype = "exfat",
		.kernel_type = "exfat",
		.defaults = "iocharset=utf8,errors=remount-ro,umask=022",
		.allowed = OWNER_OPTIONS ",iocharset,errors,time_offset,sys_tz,discard,"
					 "allow_utime",
		.takes_owner = true,
	},
	{
		.fstype = "ntfs",
		.kernel_type = "ntfs3",
		.defaults = "iocharset=utf8,umask=022",
		.allowed = OWNER_OPTIONS ",iocharset,discard,sparse,showmeta,sys_immutable,hidden,"
					 "hide_dot_files,windows_names,prealloc,acl,nocase",
		.takes_owner = true,
	},
	{
		.fstype = "ntfs",
		.kernel_type = "ntfs",
		.defaults = "iocharset=utf8,umask=022",
		.allowed = OWNER_OPTIONS ",iocharset,discard,errors,hide_sys_files,windows_names,"
					 "acl,case_sensitive",
		.takes_owner = true,
	},
	{
		.fstype = "hfsplus",
		.kernel_type = "hfsplus",
		.defaults = "nls=utf8",
		.allowed = "uid,gid,umask,nls,decompose,nodecompose,barrier,nobarrier,part,session",
		.takes_owner = true,
	},
	{
		.fstype = "iso9660",
		.kernel_type = "iso9660",
		.defaults = "iocharset=utf8",
		.allowed = "uid,gid,mode,dmode,iocharset,norock,nojoliet,session,map,check",
		.read_only = true,
		.takes_owner = true,
	},
	{
		.fstype = "udf",
		.kernel_type = "udf",
		.defaults = "iocharset=utf8",
		.allowed = "uid,gid,umask,mode,dmode,iocharset,session,lastblock,anchor,unhide,"
			   "undelete",
		.read_only = true,
		.takes_owner = true,
	},
	{
		.fstype = "squashfs",
		.kernel_type = "squashfs",
		.defaults = "",
		.allowed = "errors,threads",
		.read_only = true,
	},
	{
		.fstype = "erofs",
		.kernel_type = "erofs",
		.defaults = "",
		.allowed = "acl,noacl,user_xattr,nouser_xattr,cache_strategy,dax",
		.read_only = true,
	},
};

/* Lines of /proc/filesystems: "nodev" TAB name, or TAB name. Modules not loaded are missing. */
static bool kernel_lists(const char *kernel_type)
{
	char line[128];
	bool found = false;
	FILE *f = fopen("/proc/filesystems", "re");

	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0] == '\t')
			found = streq(line + 1, kernel_type);
	}
	(void)fclose(f);
	return found;
}

bool driver_is_impossible(const struct driver *driver)
{
	return !kernel_lists(driver->kernel_type) && access("/proc/filesystems", R_OK) == 0 &&
	       access("/proc/modules", F_OK) < 0 && errno == ENOENT;
}

static const struct driver *next_driver(const struct driver *after, const char *fstype)
{
	for (const struct driver *d = after; d < drivers + ARRAY_SIZE(drivers); d++)
		if (streq(d->fstype, fstype))
			return d;
	return NULL;
}

const struct driver *driver_at(size_t index)
{
	return index < ARRAY_SIZE(drivers) ? &drivers[index] : NULL;
}

const struct driver *driver_find(const char *fstype)
{
	const struct driver *first = next_driver(drivers, fstype);
	const struct driver *other = first ? next_driver(first + 1, fstype) : NULL;

	if (other && !kernel_lists(first->kernel_type) && kernel_lists(other->kernel_type))
		return other;
	return first;
}

const struct driver *driver_find_kernel(const char *fstype, const char *kernel_type)
{
	const struct driver *d = next_driver(drivers, fstype);

	while (d && !streq(d->kernel_type, kernel_type))
		d = next_driver(d + 1, fstype);
	return d;
}

const struct driver *driver_other(const struct driver *driver)
{
	return next_driver(driver + 1, driver->fstype);
}

/* Filesystems of the kernel, and the libraries that we run with. */
#include "cli/doctor.h"

#include <blkid.h>
#include <dlfcn.h>
#include <libudev.h>
#include <stdio.h>
#include <sys/utsname.h>

#include "staging/programs.h"

/* What sticks and cards carry, commonest first. */
static const char *const common_types[] = {
	"vfat", "exfat", "ntfs", "ext4", "iso9660", "udf", "hfsplus", "btrfs", "xfs", "f2fs",
};

static bool listed_in(const char *list, const char *type)
{
	char line[LIMIT_FSTYPE + 4];

	(void)snprintf(line, sizeof(line), "\t%s\n", type);
	return strstr(list, line) != NULL;
}

static bool file_load(const char *path, char *text, size_t size)
{
	FILE *f = fopen(path, "re");
	size_t n;

	text[0] = '\0';
	if (!f)
		return false;
	n = fread(text, 1, size - 1, f);
	text[n] = '\0';
	(void)fclose(f);
	return n > 0;
}

/* Whether depmod's list for the running kernel has a module of this name. */
static bool module_there(const char *list, const char *type)
{
	char name[LIMIT_FSTYPE + 8];

	(void)snprintf(name, sizeof(name), "/%s.ko", type);
	return strstr(list, name) != NULL;
}

/* In a user namespace: which types there is a program for, and which could be had. */
static void check_programs(struct doctor_finding *finding)
{
	char advice[200] = "";
	char path[PROGRAM_PATH_SIZE];
	unsigned there = 0;

	doctor_found(finding, DOCTOR_WARN, "", "by programs:");
	for (size_t i = 0; i < ARRAY_SIZE(common_types); i++) {
		const struct driver *driver = program_for(common_types[i]);

		if (!driver)
			continue;
		if (program_locate(driver, path) == 0)
			doctor_found_more(finding, "%s %s (%s)", there++ ? "," : "",
					  common_types[i], driver->program);
		else
			(void)snprintf(advice + strlen(advice), sizeof(advice) - strlen(advice),
				       " %s", driver->package);
	}
	doctor_found_more(finding, "%s; not at all:", there ? "" : " none");
	for (size_t i = 0; i < ARRAY_SIZE(common_types); i++)
		if (!program_for(common_types[i]))
			doctor_found_more(finding, " %s", common_types[i]);
	if (!there)
		finding->verdict = DOCTOR_FAIL;
	if (*advice)
		(void)snprintf(finding->advice, sizeof(finding->advice), "apt install%s", advice);
	else
		(void)STR_COPY(finding->advice,
			       "run the daemon in the host's user namespace for the others");
}

/* Whether a type can be mounted: by the kernel, as it is or with a module, or by a program. */
static bool mountable(const char *fstype, const char *kernel, const char *modules)
{
	const struct driver *driver = driver_find(fstype);
	const struct driver *program = program_for(fstype);
	char path[PROGRAM_PATH_SIZE];

	for (; driver; driver = driver_other(driver))
		if (listed_in(kernel, driver->kernel_type) ||
		    module_there(modules, driver->kernel_type))
			return true;
	return program && program_locate(program, path) == 0;
}

static void check_filesystems(const struct config *config, struct doctor_finding *finding)
{
	static char kernel[8192];
	static char modules[1 << 20];
	struct utsname system = {0};
	char program[LIMIT_REASON] = "";
	char path[200];
	unsigned missing = 0;

	(void)config;
	if (!kernel_mounts_here()) {
		check_programs(finding);
		return;
	}
	(void)uname(&system);
	(void)snprintf(path, sizeof(path), "/lib/modules/%s/modules.dep", system.release);
	(void)file_load("/proc/filesystems", kernel, sizeof(kernel));
	(void)file_load(path, modules, sizeof(modules));
	doctor_found(finding, DOCTOR_WARN,
		     "on the host: modprobe NAME, or a kernel package with more modules (Debian: "
		     "linux-image-amd64, not the -cloud- one)",
		     "not in the kernel now:");
	for (size_t i = 0; i < ARRAY_SIZE(common_types); i++) {
		if (mountable(common_types[i], kernel, modules))
			continue;
		doctor_found_more(finding, " %s", common_types[i]);
		if (program_is_missing(common_types[i], program))
			doctor_found_more(finding, " (%s)", program);
		missing++;
	}
	if (!missing)
		doctor_found(finding, DOCTOR_OK, NULL, "all the usual ones, loaded or as modules");
}

/* The file of a shared library, by one of its functions: libudev cannot tell its version. */
static void library_file(const void *function, char *name, size_t size)
{
	Dl_info info = {0};
	_cleanup_free_ char *path = NULL;
	const char *base;

	if (dladdr(function, &info) && info.dli_fname)
		path = realpath(info.dli_fname, NULL);
	base = path ? strrchr(path, '/') : NULL;
	(void)str_copy(name, size, base ? base + 1 : "linked in");
}

static void check_libraries(const struct config *config, struct doctor_finding *finding)
{
	const char *version = "?";
	struct udev *(*function)(void) = udev_new;
	char udev_file[64];

	(void)config;
	(void)blkid_get_library_version(&version, NULL);
	library_file(*(void **)&function, udev_file, sizeof(udev_file));
	doctor_found(finding, DOCTOR_OK, NULL, "hotplugfs %s, libblkid %s, %s", HOTPLUGFS_VERSION,
		     version, udev_file);
}

static void check_kernel(const struct config *config, struct doctor_finding *finding)
{
	struct utsname system = {0};

	(void)config;
	(void)uname(&system);
	doctor_found(finding, DOCTOR_OK, NULL, "%s %s", system.release, system.machine);
}

const struct doctor_check doctor_checks_system[] = {
	{"filesystems",
	 "disks are mounted by the kernel, or by a program; if neither can, the first access fails "
	 "(ENODEV), or in a user namespace the disk is not shown",
	 check_filesystems},
	{"libraries", "what this program runs with, for a report of a fault", check_libraries},
	{"kernel", "what it runs on, for a report of a fault", check_kernel},
	{0},
};

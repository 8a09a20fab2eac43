/* Mount options: what is always given, what the configuration may add, what never gets through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "staging/programs.h"

static const struct owner nobody = {.set = false};
static const struct owner user = {.set = true, .uid = 1000, .gid = 100};

static void expect(const char *fstype, const char *extra, const struct owner *owner,
		   const char *options)
{
	const struct driver *driver = driver_find(fstype);
	char got[LIMIT_OPTIONS];
	char error[64];

	assert_non_null(driver);
	assert_int_equal(driver_options(driver, extra, owner, got, error, sizeof(error)), 0);
	assert_string_equal(got, options);
}

static void expect_refused(const char *fstype, const char *extra, const char *offender)
{
	char got[LIMIT_OPTIONS] = "untouched";
	char error[80];

	assert_int_equal(
		driver_options(driver_find(fstype), extra, &nobody, got, error, sizeof(error)),
		-EINVAL);
	assert_string_equal(error, offender);
	assert_string_equal(got, "untouched");
}

static void test_find(void **state)
{
	assert_null(driver_find("swap"));
	assert_null(driver_find(""));
	assert_null(driver_find("ext"));
	assert_string_equal(driver_find("ext2")->kernel_type, "ext4");
	assert_true(driver_find("squashfs")->read_only);
	assert_true(driver_find("vfat")->takes_owner);
	assert_true(driver_find("xfs")->has_shutdown);
	assert_non_null(driver_find("ntfs"));
}

static void test_defaults(void **state)
{
	expect("ext4", "", &nobody, "errors=remount-ro");
	expect("ext4", "", &user, "errors=remount-ro");
	expect("xfs", "", &nobody, "nouuid");
	expect("btrfs", "", &nobody, "");
	expect("vfat", "", &nobody, "utf8,shortname=mixed,flush,umask=022");
}

static void test_owner(void **state)
{
	expect("vfat", "", &user, "utf8,shortname=mixed,flush,umask=022,uid=1000,gid=100");
	expect("iso9660", "", &user, "iocharset=utf8,uid=1000,gid=100");
	/* the owner wins over a number in the options */
	expect("exfat", "uid=7", &user,
	       "iocharset=utf8,errors=remount-ro,umask=022,uid=1000,gid=100");
}

static void test_extra_replaces_and_adds(void **state)
{
	expect("ext4", "errors=continue,commit=5", &nobody, "errors=continue,commit=5");
	expect("vfat", "umask=077", &nobody, "utf8,shortname=mixed,flush,umask=077");
	expect("btrfs", ",,compress=zstd,,", &nobody, "compress=zstd");
}

static void test_other(void **state)
{
	const struct driver *ntfs = driver_find("ntfs");

	while (driver_other(ntfs))
		ntfs = driver_other(ntfs);
	assert_string_equal(ntfs->kernel_type, "ntfs");
	assert_null(driver_other(driver_find("ext4")));
	assert_null(driver_other(driver_find("erofs"))); /* the last one */
}

static void test_refused(void **state)
{
	expect_refused("ext4", "sync", "sync");
	expect_refused("ext4", "commit=5,suid", "suid");
	expect_refused("ntfs", "force", "force");
	expect_refused("vfat", "uid=0,dev", "dev");
	expect_refused("btrfs", "device=/dev/vda", "device=/dev/vda");
	expect_refused("ext4", "journal_path=/etc/shadow", "journal_path=/etc/shadow");
	expect_refused("ext4", "commit=5\ndata=journal", "commit=5\ndata=journal");
	expect_refused("ext4", "comm", "comm");
	expect_refused("ext4", "commit5", "commit5");
	expect_refused("ext4", "=5", "=5");
}

static void test_known(void **state)
{
	char error[80] = "untouched";

	assert_int_equal(options_check(NULL, "", error, sizeof(error)), 0);
	assert_int_equal(options_check(NULL, "commit=5,dax,umask=022", error, sizeof(error)), 0);
	/* of programs only */
	assert_int_equal(options_check(NULL, ",minixdf,inherit,", error, sizeof(error)), 0);
	assert_string_equal(error, "untouched");
	for (const char *const *bad =
		     (const char *const[]){"suid", "dev", "sync", "rw", "noatime", "foobar",
					   "commit\n", "offset=512", NULL};
	     *bad; bad++) {
		assert_int_equal(options_check(NULL, *bad, error, sizeof(error)), -EINVAL);
		assert_string_equal(error, *bad);
	}
	assert_int_equal(options_check(NULL, "commit=5,foo,bar", error, sizeof(error)), -EINVAL);
	assert_string_equal(error, "foo");
}

static void test_too_long(void **state)
{
	char extra[LIMIT_OPTIONS + 32] = "commit=";
	char got[LIMIT_OPTIONS];
	char error[64];

	memset(extra + 7, '1', sizeof(extra) - 8);
	assert_int_equal(
		driver_options(driver_find("ext4"), extra, &nobody, got, error, sizeof(error)),
		-E2BIG);
}

static void test_programs(void **state)
{
	const struct driver *program = program_for("ext4");
	char got[LIMIT_OPTIONS];
	char error[64];

	assert_null(program_for("swap"));
	assert_non_null(program);
	assert_string_equal(program->program, "fuse2fs");
	assert_true(program->stable_inodes);
	assert_int_equal(driver_options(program, "", &nobody, got, error, sizeof(error)), 0);
	assert_string_equal(got, "fakeroot");
	assert_int_equal(driver_options(program, "acl", &user, got, error, sizeof(error)), 0);
	assert_string_equal(got, "fakeroot,acl,uid=1000,gid=100");
	/* another place to look for the disk, and what only the kernel has */
	assert_int_equal(driver_options(program, "offset=512", &nobody, got, error, sizeof(error)),
			 -EINVAL);
	assert_int_equal(
		driver_options(program, "errors=continue", &nobody, got, error, sizeof(error)),
		-EINVAL);
	assert_null(driver_next(program)); /* after a program nothing else is tried */
}

static void test_program_that_mounts(void **state)
{
	const struct driver *program = program_for("ntfs");
	char got[LIMIT_OPTIONS];
	char error[64];

	(void)state;
	assert_non_null(program);
	assert_true(program->mounts);
	assert_ptr_equal(driver_named("ntfs", "ntfs-3g"), program);
	assert_string_equal(driver_named("ntfs", "ntfs3")->kernel_type, "ntfs3");
	assert_int_equal(driver_options(program, "", &user, got, error, sizeof(error)), 0);
	assert_string_equal(got, "no_detach,big_writes,umask=022,uid=1000,gid=100");
	/* who may do what is the view's business, and a disk that is in use must not be forced */
	assert_int_equal(driver_options(program, "permissions", &nobody, got, error, sizeof(error)),
			 -EINVAL);
	assert_int_equal(driver_options(program, "force", &nobody, got, error, sizeof(error)),
			 -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),	 cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_owner),	 cmocka_unit_test(test_extra_replaces_and_adds),
		cmocka_unit_test(test_refused),	 cmocka_unit_test(test_known),
		cmocka_unit_test(test_too_long), cmocka_unit_test(test_other),
		cmocka_unit_test(test_programs), cmocka_unit_test(test_program_that_mounts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

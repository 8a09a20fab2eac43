/* blockdev_read() on a made-up /sys, written by these tests into a directory of their own. */
#include <sys/resource.h>
#include <sys/sysmacros.h>

#include "device/blockdev.h"
#include "sysfs-tree.h"

static void reads_a_usb_stick(void **state)
{
	struct tree *t = *state;
	struct blockdev dev;

	put_usb_stick(t);
	put(t, USB_STICK, "serial", "E0D55EA574\n");
	assert_int_equal(blockdev_read(t->fd, "sdb", &dev), 0);
	assert_string_equal(dev.kname, "sdb");
	assert_string_equal(dev.disk, "sdb");
	assert_int_equal(dev.devnum, makedev(8, 16));
	assert_int_equal(dev.partno, 0);
	assert_int_equal(dev.size_bytes, 2048 * 512);
	assert_int_equal(dev.diskseq, 17);
	assert_int_equal(dev.bus, BLOCKDEV_BUS_USB);
	assert_true(dev.removable);
	assert_true(dev.has_partitions);
	assert_false(dev.has_holders || dev.hidden || dev.read_only);
	assert_string_equal(dev.vendor, "Kingston");
	assert_string_equal(dev.model, "DataTraveler 3.0");
	assert_string_equal(dev.hwid, "E0D55EA574");

	put(t, USB_DISK "/sdb1", "holders/dm-0/dev", "253:0");
	put(t, USB_DISK, "ro", "1\n");
	assert_int_equal(blockdev_read(t->fd, "sdb1", &dev), 0);
	assert_string_equal(dev.disk, "sdb");
	assert_int_equal(dev.devnum, makedev(8, 17));
	assert_int_equal(dev.disk_devnum, makedev(8, 16));
	assert_int_equal(dev.partno, 1);
	assert_int_equal(dev.start_sector, 48);
	assert_int_equal(dev.diskseq, 17);
	assert_true(dev.has_holders && dev.removable && dev.read_only);
	assert_false(dev.has_partitions);
	assert_string_equal(dev.hwid, "E0D55EA574/1");
}

static void knows_drives_with_exchangeable_media(void **state)
{
	struct tree *t = *state;
	struct blockdev dev;

	put_usb_stick(t);
	assert_int_equal(blockdev_read(t->fd, "sdb", &dev), 0);
	assert_string_equal(dev.drive, ""); /* tells nothing of its medium */
	put(t, USB_DISK, "events", "media_change\n");
	assert_int_equal(blockdev_read(t->fd, "sdb", &dev), 0);
	assert_string_equal(dev.drive, "6:0:0:0");
	assert_int_equal(blockdev_read(t->fd, "sdb1", &dev), 0);
	assert_string_equal(dev.drive, "6:0:0:0");
	put(t, USB_DISK, "removable", "0\n");
	assert_int_equal(blockdev_read(t->fd, "sdb", &dev), 0);
	assert_string_equal(dev.drive, "");
}

static void names_hardware_without_a_serial(void **state)
{
	struct tree *t = *state;
	struct blockdev dev;

	put_usb_stick(t);
	assert_int_equal(blockdev_read(t->fd, "sdb1", &dev), 0);
	assert_string_equal(dev.hwid, "usb:0951:1666/1");
	put(t, USB_SCSI, "wwid", "t10.Generic STORAGE DEVICE\n");
	assert_int_equal(blockdev_read(t->fd, "sdb", &dev), 0);
	assert_string_equal(dev.hwid, "t10.Generic STORAGE DEVICE");
	put(t, USB_STICK, "serial", "00A1\n");
	assert_int_equal(blockdev_read(t->fd, "sdb", &dev), 0);
	assert_string_equal(dev.hwid, "00A1+t10.Generic STORAGE DEVICE");
}

/* As in the kernel, where the serial has to wait until the stick that is pulled is gone. */
static void asks_known_hardware_nothing(void **state)
{
	static const char serial[] = USB_STICK "/serial";
	struct tree *t = *state;
	struct blockdev dev, part;

	put_usb_stick(t);
	put(t, USB_STICK, "serial", "00A1\n");
	assert_int_equal(blockdev_read(t->fd, "sdb", &dev), 0);
	assert_int_equal(blockdev_read(t->fd, "sdb1", &part), 0);
	assert_int_equal(unlinkat(t->fd, serial, 0), 0);
	assert_int_equal(mkfifoat(t->fd, serial, 0600), 0);
	put(t, USB_DISK, "size", "0\n");
	put(t, USB_DISK, "diskseq", "18\n");
	(void)alarm(20); /* opening the pipe would wait for ever */
	assert_int_equal(blockdev_read_again(t->fd, &dev, &dev), 0);
	assert_int_equal(blockdev_read_again(t->fd, &part, &part), 0);
	(void)alarm(0);
	assert_int_equal(dev.size_bytes, 0);
	assert_int_equal(part.diskseq, 18);
	assert_int_equal(dev.bus, BLOCKDEV_BUS_USB);
	assert_string_equal(dev.model, "DataTraveler 3.0");
	assert_string_equal(part.hwid, "00A1/1");
}

static void asks_new_hardware(void **state)
{
	struct tree *t = *state;
	struct blockdev dev;

	put_usb_stick(t);
	put(t, USB_STICK, "serial", "00A1\n");
	assert_int_equal(blockdev_read(t->fd, "sdb", &dev), 0);
	put(t, USB_STICK, "serial", "00A2\n");
	dev.inode++;
	assert_int_equal(blockdev_read_again(t->fd, &dev, &dev), 0);
	assert_string_equal(dev.hwid, "00A2");
}

static void reads_cards(void **state)
{
	static const char host[] = "devices/platform/soc/3f202000.mmc/mmc_host/mmc0/mmc0:0001";
	static const char disk[] =
		"devices/platform/soc/3f202000.mmc/mmc_host/mmc0/mmc0:0001/block/mmcblk0";
	struct tree *t = *state;
	struct blockdev dev;

	put_device(t, disk, "179:0\n", "100\n");
	put_link(t, disk, "device", "../..");
	put_link(t, host, "subsystem", "../../../../../../../bus/mmc");
	put(t, host, "type", "SD\n");
	put(t, host, "name", "SC32G\n");
	put(t, host, "cid", "035344534333324780aabbccdd0112\n");
	put(t, host, "serial", "0xaabbccdd\n");
	assert_int_equal(blockdev_read(t->fd, "mmcblk0", &dev), 0);
	assert_int_equal(dev.bus, BLOCKDEV_BUS_MMC);
	assert_false(dev.removable);
	assert_string_equal(dev.model, "SC32G");
	assert_string_equal(dev.hwid, "035344534333324780aabbccdd0112");
	put(t, host, "type", "MMC\n");
	assert_int_equal(blockdev_read(t->fd, "mmcblk0", &dev), 0);
	assert_int_equal(dev.bus, BLOCKDEV_BUS_OTHER);
}

static void reads_virtual_devices(void **state)
{
	struct tree *t = *state;
	struct blockdev dev;
	char file[400];

	put_device(t, "devices/virtual/block/loop7", "7:7", "0");
	assert_int_equal(blockdev_read(t->fd, "loop7", &dev), 0);
	assert_int_equal(dev.bus, BLOCKDEV_BUS_VIRTUAL);
	assert_int_equal(dev.size_bytes, 0);
	assert_int_equal(dev.diskseq, 0);
	assert_string_equal(dev.hwid, "loop7");
	memset(file, 'd', sizeof(file));
	(void)snprintf(file + 380, 20, "/disk.img\n");
	put(t, "devices/virtual/block/loop7", "loop/backing_file", file);
	assert_int_equal(blockdev_read(t->fd, "loop7", &dev), 0);
	assert_string_equal(dev.hwid + strlen(dev.hwid) - 9, "/disk.img");
	assert_true(strlen(dev.hwid) < sizeof(dev.hwid));
	/* partitions keep room for their number */
	put_device(t, "devices/virtual/block/loop7/loop7p128", "259:9", "4");
	put(t, "devices/virtual/block/loop7/loop7p128", "partition", "128\n");
	assert_int_equal(blockdev_read(t->fd, "loop7p128", &dev), 0);
	assert_string_equal(dev.hwid + strlen(dev.hwid) - 13, "/disk.img/128");
}

static void reads_internal_disks(void **state)
{
	static const char disk[] = "devices/pci0000:00/0000:00:01.0/nvme/nvme0/nvme0n1";
	struct tree *t = *state;
	struct blockdev dev;

	put_device(t, disk, "259:0\n", "1000\n");
	put(t, disk, "wwid", "eui.0025388b\n");
	put_link(t, disk, "device", "..");
	put_link(t, "devices/pci0000:00/0000:00:01.0", "subsystem", "../../../bus/pci");
	put(t, "devices/pci0000:00/0000:00:01.0/nvme/nvme0", "serial", "S4EWNX0R\n");
	put(t, "devices/pci0000:00/0000:00:01.0/nvme/nvme0", "model", "Samsung SSD\n");
	put(t, "devices/pci0000:00/0000:00:01.0/nvme/nvme0", "vendor", "0x144d\n");
	assert_int_equal(blockdev_read(t->fd, "nvme0n1", &dev), 0);
	assert_int_equal(dev.bus, BLOCKDEV_BUS_OTHER);
	assert_string_equal(dev.hwid, "S4EWNX0R+eui.0025388b");
	assert_string_equal(dev.vendor, "");
	assert_string_equal(dev.model, "Samsung SSD");
}

static void refuses_what_is_not_there(void **state)
{
	static const char *const bad[] = {"", ".", "..", "a/b", "../sda", "/dev/sda"};
	struct tree *t = *state;
	char longest[200];
	struct blockdev dev;

	put_usb_stick(t);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(blockdev_read(t->fd, bad[i], &dev), -EINVAL);
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(blockdev_read(t->fd, longest, &dev), -EINVAL);
	assert_int_equal(blockdev_read(t->fd, "sdz", &dev), -ENODEV);
	/* links that lead elsewhere, and a device that goes away while we read */
	put_link(t, "class/block", "evil", "../../../etc");
	assert_int_equal(blockdev_read(t->fd, "evil", &dev), -ENODEV);
	put_link(t, "class/block", "gone", "../../devices/virtual/block/gone");
	assert_int_equal(blockdev_read(t->fd, "gone", &dev), -ENODEV);
	put(t, "devices/virtual/block/odd", "dev", "nonsense");
	put_link(t, "class/block", "odd", "../../devices/virtual/block/odd");
	assert_int_equal(blockdev_read(t->fd, "odd", &dev), -ENODEV);
}

struct counted {
	unsigned n;
	unsigned stop_at;
};

static int count(const char *kname, void *data)
{
	struct counted *c = data;

	assert_true(streq(kname, "sdb") || streq(kname, "sdb1"));
	return ++c->n == c->stop_at ? -ECANCELED : 0;
}

/* Lets this process open nothing more. */
static void use_up_descriptors(struct rlimit *ret_before)
{
	int next = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	struct rlimit none;

	assert_true(next >= 0);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, ret_before), 0);
	none = *ret_before;
	none.rlim_cur = (rlim_t)next;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
}

/* A shortage is not taken for a device that is gone, and one that is gone not for a shortage. */
static void tells_a_shortage(void **state)
{
	const struct tree *t = *state;
	struct blockdev dev = {.kname = "as it was"};
	struct counted counted = {0};
	struct rlimit before;

	put_usb_stick(t);
	use_up_descriptors(&before);
	int there = blockdev_read(t->fd, "sdb", &dev);
	int gone = blockdev_read(t->fd, "sdz", &dev);
	int listed = blockdev_each(t->fd, count, &counted);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(there, -EMFILE);
	assert_int_equal(gone, -ENODEV);
	assert_int_equal(listed, -EMFILE);
	assert_string_equal(dev.kname, "as it was");
	assert_int_equal(blockdev_read(t->fd, "sdb", &dev), 0);
}

static void lists_devices(void **state)
{
	struct tree *t = *state;
	struct counted all = {0};
	struct counted one = {.stop_at = 1};

	assert_int_equal(blockdev_each(t->fd, count, &all), -ENOENT);
	put_usb_stick(t);
	assert_int_equal(blockdev_each(t->fd, count, &all), 0);
	assert_int_equal(all.n, 2);
	assert_int_equal(blockdev_each(t->fd, count, &one), -ECANCELED);
	assert_int_equal(one.n, 1);
}

static void names_buses(void **state)
{
	(void)state;
	assert_string_equal(blockdev_bus_name(BLOCKDEV_BUS_USB), "usb");
	assert_string_equal(blockdev_bus_name(BLOCKDEV_BUS_VIRTUAL), "virtual");
	assert_string_equal(blockdev_bus_name(BLOCKDEV_BUS_OTHER), "other");
}

static int count_line(const char *kname, void *data)
{
	(void)kname;
	++*(int *)data;
	return 0;
}

/* Without sysfs /proc/partitions tells what there is, and nothing of the hardware. */
static void reads_proc_partitions(void **state)
{
	const struct tree *t = *state;
	struct blockdev dev;
	int n = 0;

	put(t, ".", "partitions",
	    "major minor  #blocks  name\n\n   8        0    1000000 sda\n   8        1      65536 "
	    "sda1\n   8       11      65536 sda11\n   8       16       2048 sdb\n 259        0     "
	    " "
	    "4096 nvme0n1\n 259        1       1024 nvme0n1p1\n   7        1       1024 loop1\n   "
	    "7  "
	    "     11       1024 loop11\n");
	assert_int_equal(blockdev_each(t->fd, count_line, &n), 0);
	assert_int_equal(n, 8);
	assert_int_equal(blockdev_read(t->fd, "sda", &dev), 0);
	assert_true(dev.unknown_hardware && dev.has_partitions && !dev.removable);
	assert_int_equal(dev.size_bytes, 1024000000);
	assert_string_equal(dev.disk, "sda");
	assert_int_equal(blockdev_read(t->fd, "sda11", &dev), 0);
	assert_int_equal(dev.partno, 11);
	assert_int_equal(dev.devnum, makedev(8, 11));
	assert_int_equal(dev.disk_devnum, makedev(8, 0));
	assert_string_equal(dev.disk, "sda");
	assert_false(dev.has_partitions);
	assert_int_equal(blockdev_read(t->fd, "nvme0n1p1", &dev), 0);
	assert_int_equal(dev.partno, 1);
	assert_string_equal(dev.disk, "nvme0n1");
	assert_int_equal(blockdev_read(t->fd, "loop1", &dev), 0);
	assert_false(dev.has_partitions); /* loop11 is another one */
	assert_int_equal(blockdev_read(t->fd, "loop11", &dev), 0);
	assert_int_equal(dev.partno, 0);
	assert_int_equal(blockdev_read(t->fd, "sdc", &dev), -ENODEV);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(reads_a_usb_stick, tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(knows_drives_with_exchangeable_media, tree_setup,
						tree_teardown),
		cmocka_unit_test_setup_teardown(names_hardware_without_a_serial, tree_setup,
						tree_teardown),
		cmocka_unit_test_setup_teardown(asks_known_hardware_nothing, tree_setup,
						tree_teardown),
		cmocka_unit_test_setup_teardown(asks_new_hardware, tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(reads_cards, tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(reads_virtual_devices, tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(reads_internal_disks, tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(refuses_what_is_not_there, tree_setup,
						tree_teardown),
		cmocka_unit_test_setup_teardown(tells_a_shortage, tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(lists_devices, tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(reads_proc_partitions, tree_setup, tree_teardown),
		cmocka_unit_test(names_buses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

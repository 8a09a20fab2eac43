/* What a disk would be switched off with, on a made-up sysfs. */
#include "device/power.h"
#include "sysfs-tree.h"

#define REMOVE	  "remove"
#define DELETE	  "delete"
#define SATA	  "devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0"
#define SATA_DISK SATA "/block/sda"
#define CARD	  "devices/platform/soc/3f202000.mmc/mmc_host/mmc0/mmc0:0001"

static struct power_unit found;

static int find(const struct tree *t, const char *kname)
{
	found = (struct power_unit){.dir = ""};
	return power_unit_find(t->fd, kname, &found);
}

static void put_sata_disk(const struct tree *t)
{
	put_device(t, SATA_DISK, "8:0\n", "4096\n");
	put(t, SATA, "scsi_level", "6\n");
	put(t, SATA, DELETE, "");
}

static void usb_goes_before_scsi(void **state)
{
	const struct tree *t = *state;

	put_usb_stick(t);
	put(t, USB_SCSI, "scsi_level", "6\n");
	put(t, USB_SCSI, DELETE, "");
	put(t, USB_STICK, REMOVE, "");
	assert_int_equal(find(t, "sdb"), 0);
	assert_string_equal(found.dir, USB_STICK);
	assert_string_equal(found.attribute, REMOVE);
	assert_int_equal(find(t, "sdb1"), 0);
	assert_string_equal(found.dir, USB_STICK);
}

/* A hub stays on; so does the root hub, which has no such attribute. */
static void nothing_further_up_goes(void **state)
{
	static const char hub[] = "devices/pci0000:00/0000:00:14.0/usb1";
	const struct tree *t = *state;

	put_usb_stick(t);
	put(t, hub, "idVendor", "1d6b\n");
	put(t, USB_STICK, REMOVE, "");
	put(t, hub, REMOVE, "");
	assert_int_equal(find(t, "sdb"), 0);
	assert_string_equal(found.dir, USB_STICK);
}

static void scsi_without_usb(void **state)
{
	const struct tree *t = *state;

	put_sata_disk(t);
	assert_int_equal(find(t, "sda"), 0);
	assert_string_equal(found.dir, SATA);
	assert_string_equal(found.attribute, DELETE);
}

static void a_card_has_no_switch(void **state)
{
	const struct tree *t = *state;

	put_device(t, CARD "/block/mmcblk0", "179:0\n", "4096\n");
	put(t, CARD, "type", "SD\n");
	assert_int_equal(find(t, "mmcblk0"), -EOPNOTSUPP);
	assert_int_equal(find(t, "mmcblk1"), -ENODEV);
}

static void has_what_is_below(void **state)
{
	const struct tree *t = *state;

	put_usb_stick(t);
	put_sata_disk(t);
	put(t, USB_STICK, REMOVE, "");
	put_device(t, USB_STICK "0/1-20:1.0/host7/target7:0:0/7:0:0:0/block/sdc", "8:32\n", "1\n");
	assert_int_equal(find(t, "sdb1"), 0);
	assert_true(power_unit_has(t->fd, &found, "sdb"));
	assert_true(power_unit_has(t->fd, &found, "sdb1"));
	assert_false(power_unit_has(t->fd, &found, "sda"));
	assert_false(power_unit_has(t->fd, &found, "sdc")); /* 1-20 is not 1-2 */
	assert_false(power_unit_has(t->fd, &found, "sdz"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(usb_goes_before_scsi, tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(nothing_further_up_goes, tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(scsi_without_usb, tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(a_card_has_no_switch, tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(has_what_is_below, tree_setup, tree_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

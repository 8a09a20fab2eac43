#include "device/blockdev_hardware.h"

#include <limits.h>
#include <stdio.h>

#include "device/sysfs.h"

static const struct {
	const char *subsystem;
	enum blockdev_bus bus;
	const char *name;
} buses[] = {
	{"usb", BLOCKDEV_BUS_USB, "usb"},	 {"firewire", BLOCKDEV_BUS_FIREWIRE, "firewire"},
	{"mmc", BLOCKDEV_BUS_MMC, "mmc"},	 {"memstick", BLOCKDEV_BUS_MEMSTICK, "memstick"},
	{NULL, BLOCKDEV_BUS_VIRTUAL, "virtual"},
};

const char *blockdev_bus_name(enum blockdev_bus bus)
{
	for (size_t i = 0; i < ARRAY_SIZE(buses); i++)
		if (buses[i].bus == bus)
			return buses[i].name;
	return "other";
}

/* What the way up from a disk to the root of the device tree has told so far. */
struct hardware {
	enum blockdev_bus bus;
	bool bus_known;
	bool serial_known; /* what lies above says nothing of this piece any more */
	char serial[64];
	char wwid[72];
	char product_id[40]; /* USB vendor:product, for sticks without a serial */
};

static void look_at_bus(struct sysfs *sysfs, const char *dir, struct hardware *hw)
{
	char subsystem[32];
	char type[16];

	if (hw->bus_known)
		return;
	sysfs_read_link(sysfs, dir, "subsystem", subsystem, sizeof(subsystem));
	for (size_t i = 0; i < ARRAY_SIZE(buses); i++) {
		if (!buses[i].subsystem || !streq(subsystem, buses[i].subsystem))
			continue;
		hw->bus_known = true;
		hw->bus = buses[i].bus;
		/* a card says "SD"; "MMC" is nearly always soldered eMMC */
		if (hw->bus == BLOCKDEV_BUS_MMC &&
		    sysfs_read(sysfs, dir, "type", type, sizeof(type)) == 0 && streq(type, "MMC"))
			hw->bus = BLOCKDEV_BUS_OTHER;
	}
}

/* Reads an identifying text; a long one keeps its end, which tells two of a kind apart. */
static bool read_id(struct sysfs *sysfs, const char *dir, const char *name, char *ret_text,
		    size_t size)
{
	char text[PATH_MAX];
	size_t n;

	if (sysfs_read(sysfs, dir, name, text, sizeof(text)) < 0)
		return false;
	n = strlen(text);
	(void)str_copy(ret_text, size, n < size ? text : text + n - (size - 1));
	return true;
}

static void look_at_serial(struct sysfs *sysfs, const char *dir, struct hardware *hw)
{
	char vendor_id[16];
	char id[16];

	if (hw->serial_known)
		return;
	if (!hw->wwid[0])
		(void)read_id(sysfs, dir, "wwid", hw->wwid, sizeof(hw->wwid));
	if (read_id(sysfs, dir, "cid", hw->serial, sizeof(hw->serial)) ||
	    read_id(sysfs, dir, "serial", hw->serial, sizeof(hw->serial)))
		hw->serial_known = true;
	/* above a USB device come hubs and controllers, whose serials say where, not what */
	if (sysfs_read(sysfs, dir, "idVendor", vendor_id, sizeof(vendor_id)) == 0 &&
	    sysfs_read(sysfs, dir, "idProduct", id, sizeof(id)) == 0) {
		(void)snprintf(hw->product_id, sizeof(hw->product_id), "usb:%s:%s", vendor_id, id);
		hw->serial_known = true;
	}
}

/* PCI and virtio have numbers in "vendor", which tell people nothing. */
static void read_model(struct sysfs *sysfs, const char *dir, struct blockdev *dev)
{
	char device[PATH_MAX];

	if (snprintf(device, sizeof(device), "%s/device", dir) >= (int)sizeof(device))
		return;
	(void)sysfs_read(sysfs, device, "vendor", dev->vendor, sizeof(dev->vendor));
	if (strncmp(dev->vendor, "0x", 2) == 0)
		dev->vendor[0] = '\0';
	if (sysfs_read(sysfs, device, "model", dev->model, sizeof(dev->model)) < 0 &&
	    dev->bus == BLOCKDEV_BUS_MMC)
		(void)sysfs_read(sysfs, device, "name", dev->model, sizeof(dev->model));
}

static void make_hwid(struct sysfs *sysfs, const char *dir, const struct hardware *hw,
		      struct blockdev *dev)
{
	char part[16] = "";
	char id[sizeof(dev->hwid) - sizeof(part)];

	if (dev->partno != 0)
		(void)snprintf(part, sizeof(part), "/%u", dev->partno);
	/* a wwid made by a cheap bridge may be the same in all of them: the serial goes with it */
	if (hw->wwid[0] || hw->serial[0])
		(void)snprintf(id, sizeof(id), "%s%s%s", hw->serial,
			       hw->serial[0] && hw->wwid[0] ? "+" : "", hw->wwid);
	else if (hw->product_id[0])
		(void)snprintf(id, sizeof(id), "%s", hw->product_id);
	else if (!read_id(sysfs, dir, "loop/backing_file", id, sizeof(id)))
		(void)snprintf(id, sizeof(id), "%s", dev->disk);
	(void)snprintf(dev->hwid, sizeof(dev->hwid), "%s%s", id, part);
}

void blockdev_read_hardware(struct sysfs *sysfs, const char *dir, struct blockdev *dev)
{
	struct hardware hw = {.bus = BLOCKDEV_BUS_OTHER};
	char up[PATH_MAX];

	if (strncmp(dir, "devices/virtual/", 16) == 0) {
		hw.bus = BLOCKDEV_BUS_VIRTUAL;
		hw.bus_known = true;
	}
	(void)STR_COPY(up, dir);
	do {
		look_at_bus(sysfs, up, &hw);
		look_at_serial(sysfs, up, &hw);
	} while (sysfs_parent(up) && strchr(up, '/'));
	dev->bus = hw.bus;
	read_model(sysfs, dir, dev);
	make_hwid(sysfs, dir, &hw, dev);
}

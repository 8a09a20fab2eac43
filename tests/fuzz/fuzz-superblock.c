/* The first byte chooses a filesystem type, the rest is the disk. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "device/superblock.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const types[] = {"ext4",  "xfs",  "btrfs",	"vfat",
					    "exfat", "ntfs", "hfsplus", "udf"};
	_cleanup_close_ int fd = memfd_create("disk", MFD_CLOEXEC);
	struct superblock_space space;

	if (size == 0)
		return 0;
	MUST(fd >= 0 && write(fd, data + 1, size - 1) == (ssize_t)size - 1);
	superblock_read_space(fd, types[data[0] % ARRAY_SIZE(types)], size - 1, &space);
	MUST(space.total_bytes <= size - 1);
	MUST(space.free_bytes <= space.total_bytes);
	MUST(space.total_bytes == 0 || (space.block_size & (space.block_size - 1)) == 0);
	return 0;
}

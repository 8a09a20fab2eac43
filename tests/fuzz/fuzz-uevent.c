/* The parser of kernel messages. */
#include <string.h>

#include "device/uevent.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct uevent event;

	if (uevent_parse((const char *)data, size, &event) < 0)
		return 0;
	MUST(event.subsystem[0] != '\0');
	MUST(memchr(event.subsystem, 0, sizeof(event.subsystem)));
	MUST(memchr(event.devtype, 0, sizeof(event.devtype)));
	MUST(memchr(event.kname, 0, sizeof(event.kname)));
	MUST(!strchr(event.kname, '/'));
	MUST(strcmp(event.kname, ".") != 0 && strcmp(event.kname, "..") != 0);
	MUST(event.action <= UEVENT_OTHER);
	return 0;
}

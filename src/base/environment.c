#include "environment.h"

#include <ctype.h>
#include <limits.h>

#include "util.h"

int environment_number(const char *name)
{
	const char *text = getenv(name);
	char *end;
	long n;

	if (!text || !isdigit((unsigned char)*text))
		return -1;
	errno = 0;
	n = strtol(text, &end, 10);
	return errno || *end || n > INT_MAX ? -1 : (int)n;
}

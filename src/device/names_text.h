/* What the parts of names.h share. */
#pragma once

#include "base/limits.h"
#include "base/util.h"

#define NAME_SUFFIX_MAX 12 /* "-" six characters "-" up to 4 digits */

/* name_sanitize() with another length. ret_name has limit + 1 bytes. Pure. */
void name_sanitize_to(const char *label, char *ret_name, size_t limit);

/* What whoever started this program says in its environment. */
#pragma once

/* The number that a variable is; -1 when it is not set, or nothing but a number from 0 to INT_MAX.
 */
int environment_number(const char *name);

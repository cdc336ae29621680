/* What emitted code uses of <string.h>, for compilers that come without a C library. */
#ifndef MIDGE_STRING_H
#define MIDGE_STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int byte, size_t bytes);

#endif

/* Test harness: start-up, semihosting, and the bounds between harness and network. */
#ifndef HARNESS_H
#define HARNESS_H

#include <stddef.h>
#include <stdint.h>

/* Semihosting (Arm's "Semihosting for AArch32 and AArch64", operation numbers in its section 6). */
void host_print(const char *text);
int host_command_line(char *text, uint32_t capacity);
int host_open(const char *path, uint32_t mode);
int host_read(int file, void *data, uint32_t bytes);
int host_write(int file, const void *data, uint32_t bytes);
int host_close(int file);
void host_exit(int failed) __attribute__((noreturn));

enum { HOST_READ_BINARY = 1, HOST_WRITE_BINARY = 5 };

/* Text without the C library. */
char *text_hex(char *end, uint32_t value);
char *text_decimal(char *end, int64_t value);

/* Calls a function with the stack pointer at the top of the network's own stack, so that the depth it reaches
 * does not depend on the harness. The argument is a row of input, for a function that takes one. */
void harness_call(void (*function)(void), const void *argument);
int harness_main(void);

#endif

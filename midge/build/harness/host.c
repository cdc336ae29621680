/* Semihosting calls and number formatting; no library function is used (division would be one on ARMv6-M). */
#include "harness.h"

enum { SYS_OPEN = 0x01, SYS_CLOSE = 0x02, SYS_WRITE0 = 0x04, SYS_WRITE = 0x05, SYS_READ = 0x06,
       SYS_GET_CMDLINE = 0x15, SYS_EXIT = 0x18 };

/* ADP_Stopped_ApplicationExit and ADP_Stopped_RunTimeErrorUnknown. */
enum { EXIT_GOOD = 0x20026, EXIT_FAILED = 0x20023 };

static uint32_t call(uint32_t operation, uintptr_t argument)
{
#if defined(__riscv)
    /* The three instructions that "RISC-V Semihosting" (RISC-V International) prescribes: 32 bits each, in one page. */
    register uint32_t a0 __asm("a0") = operation;
    register uintptr_t a1 __asm("a1") = argument;
    __asm volatile(".option push\n\t"
                   ".option norvc\n\t"
                   ".balign 16\n\t"
                   "slli x0, x0, 0x1f\n\t"
                   "ebreak\n\t"
                   "srai x0, x0, 7\n\t"
                   ".option pop"
                   : "+r"(a0)
                   : "r"(a1)
                   : "memory");
    return a0;
#else
    register uint32_t r0 __asm("r0") = operation;
    register uintptr_t r1 __asm("r1") = argument;
    __asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
#endif
}

static uint32_t length(const char *text)
{
    uint32_t count = 0;
    while (text[count])
        ++count;
    return count;
}

void host_print(const char *text)
{
    call(SYS_WRITE0, (uintptr_t)text);
}

int host_command_line(char *text, uint32_t capacity)
{
    uintptr_t block[2] = {(uintptr_t)text, capacity - 1};
    if (call(SYS_GET_CMDLINE, (uintptr_t)block) != 0)
        return -1;
    text[capacity - 1] = 0;
    return 0;
}

int host_open(const char *path, uint32_t mode)
{
    uintptr_t block[3] = {(uintptr_t)path, mode, length(path)};
    return (int)call(SYS_OPEN, (uintptr_t)block);
}

/* Both return 0 when all bytes were moved. */
int host_read(int file, void *data, uint32_t bytes)
{
    uintptr_t block[3] = {(uintptr_t)file, (uintptr_t)data, bytes};
    return (int)call(SYS_READ, (uintptr_t)block);
}

int host_write(int file, const void *data, uint32_t bytes)
{
    uintptr_t block[3] = {(uintptr_t)file, (uintptr_t)data, bytes};
    return (int)call(SYS_WRITE, (uintptr_t)block);
}

int host_close(int file)
{
    uintptr_t block[1] = {(uintptr_t)file};
    return (int)call(SYS_CLOSE, (uintptr_t)block);
}

void host_exit(int failed)
{
    for (;;)
        call(SYS_EXIT, failed ? EXIT_FAILED : EXIT_GOOD);
}

/* Both write backwards from `end` and return the first character. */
char *text_hex(char *end, uint32_t value)
{
    for (int digit = 0; digit < 8; ++digit, value >>= 4)
        *--end = "0123456789abcdef"[value & 15u];
    *--end = 'x';
    *--end = '0';
    return end;
}

/* Long division by ten, bit by bit: slow, and free of calls. */
static uint64_t divide_by_ten(uint64_t value, uint32_t *remainder)
{
    uint64_t quotient = 0;
    uint32_t rest = 0;
    for (int bit = 0; bit < 64; ++bit) {
        rest = rest << 1 | (uint32_t)(value >> 63);
        value += value;
        quotient += quotient;
        if (rest >= 10u) {
            rest -= 10u;
            quotient += 1u;
        }
    }
    *remainder = rest;
    return quotient;
}

char *text_decimal(char *end, int64_t value)
{
    uint64_t magnitude = value < 0 ? 0u - (uint64_t)value : (uint64_t)value;
    do {
        uint32_t digit;
        magnitude = divide_by_ten(magnitude, &digit);
        *--end = (char)('0' + digit);
    } while (magnitude != 0);
    if (value < 0)
        *--end = '-';
    return end;
}

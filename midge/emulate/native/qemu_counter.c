/* The counter as a plugin of QEMU, in its translation-block interface (TCG plugins, documented in QEMU's
 * docs/devel/tcg-plugins). The few declarations it needs stand here, so that no QEMU header has to be installed.
 *
 * Arguments: isa=arm or isa=riscv, run=ADDRESS, return=ADDRESS (counting is on between the two), stack=ADDRESS,
 * map=FILE, out=FILE.
 * The map is binary: number of ranges, number of owners, then base and bytes of each range of code (uint32 each), the
 * owner of each halfword (uint16), and the code itself, of all ranges.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "counter.h"

#define EXPORT __attribute__((visibility("default")))

#ifndef PLUGIN_VERSION
#define PLUGIN_VERSION 1
#endif

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef uint32_t qemu_plugin_meminfo_t;
enum { CB_NO_REGS = 0, MEM_LOADS_AND_STORES = 3 };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                           void (*callback)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*callback)(unsigned int, void *), int flags,
                                          void *user);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn,
                                      void (*callback)(unsigned int, qemu_plugin_meminfo_t, uint64_t, void *),
                                      int flags, int rw, void *user);
unsigned int qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t info);
_Bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t info);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t, void *), void *user);

EXPORT int qemu_plugin_version = PLUGIN_VERSION;

enum { BLOCKS = 1 << 17, OWNERS = UINT16_MAX };

static struct counter counter;
static uint32_t run_address, return_address, owner_count, is_riscv;
static char out_path[4096];

static const uint16_t *code;

struct translated {
    uint32_t address, bytes;
};

static void on_block(unsigned int cpu, void *user)
{
    const struct translated *block = user;
    (void)cpu;
    if (block->address == return_address && counter.enabled)
        counter_stop(&counter);
    if (block->address == run_address)
        counter.enabled = 1;
    if (counter.enabled)
        counter_enter(&counter, block->address, block->bytes);
}

static void on_access(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t address, void *user)
{
    const uint32_t bytes = 1u << qemu_plugin_mem_size_shift(info);
    (void)cpu, (void)user;
    if (!counter.enabled)
        return;
    counter_access(&counter, qemu_plugin_mem_is_store(info), (uint32_t)address, bytes);
    if (address & (bytes - 1u))
        counter.tallies[counter.owner].unaligned += bytes == 4 && (address & 1u) ? 2 : 1;
}

/* QEMU gives only the first half of an instruction that crosses a page, so the code says how wide it is. */
static uint32_t instruction_bytes(const struct qemu_plugin_insn *insn)
{
    const int64_t place = counter_place(&counter, (uint32_t)qemu_plugin_insn_vaddr(insn));
    if (place == NOT_CODE)
        return (uint32_t)qemu_plugin_insn_size(insn);
    if (is_riscv)
        return (code[place] & 3u) == 3u ? 4 : 2;
    return code[place] >> 11 >= 0x1D ? 4 : 2;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    struct translated *block = malloc(sizeof *block);
    const size_t count = qemu_plugin_tb_n_insns(tb);
    (void)id;
    if (!block)
        abort();
    block->address = (uint32_t)qemu_plugin_tb_vaddr(tb);
    for (size_t i = 0; i < count; ++i) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        block->bytes = (uint32_t)qemu_plugin_insn_vaddr(insn) + instruction_bytes(insn) - block->address;
        qemu_plugin_register_vcpu_mem_cb(insn, on_access, CB_NO_REGS, MEM_LOADS_AND_STORES, 0);
    }
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, CB_NO_REGS, block);
}

/* The results: full, stack bytes, owners (uint32 each), the tallies of owners 0 to that number, and the blocks in
 * use as they lie in memory. */
static void on_exit(qemu_plugin_id_t id, void *user)
{
    FILE *out = fopen(out_path, "wb");
    const uint32_t depth =
        counter.lowest_store == UINT64_MAX ? 0 : (uint32_t)(counter.stack_top - counter.lowest_store);
    const uint32_t head[3] = {counter.full, depth, owner_count};
    (void)id, (void)user;
    if (!out)
        return;
    fwrite(head, sizeof head, 1, out);
    fwrite(counter.tallies, sizeof *counter.tallies, owner_count + 1u, out);
    for (size_t i = 0; i < BLOCKS; ++i)
        if (counter.blocks[i].used)
            fwrite(&counter.blocks[i], sizeof counter.blocks[i], 1, out);
    fclose(out);
}

static int read_map(const char *path)
{
    uint32_t head[2], halfwords = 0;
    uint16_t *owners;
    FILE *map = fopen(path, "rb");
    if (!map || fread(head, sizeof head, 1, map) != 1 || head[0] > CODE_RANGES)
        return -1;
    for (uint32_t i = 0; i < head[0]; ++i) {
        uint32_t range[2];
        if (fread(range, sizeof range, 1, map) != 1)
            return -1;
        counter.ranges[i].base = range[0];
        counter.ranges[i].bytes = range[1];
        counter.ranges[i].first = halfwords;
        halfwords += range[1] >> 1;
    }
    owners = malloc(4u * (size_t)halfwords + 2u);
    if (!owners || fread(owners, 4, halfwords, map) != halfwords)
        return -1;
    fclose(map);
    counter.owner = owner_count = head[1]; /* the last owner is the first to work: the schedule */
    counter.owners = owners;
    code = owners + halfwords;
    return 0;
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
    (void)info;
    counter.blocks = calloc(BLOCKS, sizeof *counter.blocks);
    counter.tallies = calloc(OWNERS + 1, sizeof *counter.tallies);
    counter.block_mask = BLOCKS - 1;
    counter.lowest_store = UINT64_MAX;
    if (!counter.blocks || !counter.tallies)
        return -1;
    for (int i = 0; i < argc; ++i) {
        const char *value = strchr(argv[i], '=');
        if (!value)
            return -1;
        ++value;
        if (!strncmp(argv[i], "isa=", 4))
            is_riscv = !strcmp(value, "riscv");
        else if (!strncmp(argv[i], "run=", 4))
            run_address = (uint32_t)strtoul(value, 0, 0);
        else if (!strncmp(argv[i], "return=", 7))
            return_address = (uint32_t)strtoul(value, 0, 0);
        else if (!strncmp(argv[i], "stack=", 6))
            counter.stack_top = (uint32_t)strtoul(value, 0, 0);
        else if (!strncmp(argv[i], "out=", 4))
            snprintf(out_path, sizeof out_path, "%s", value);
        else if (strncmp(argv[i], "map=", 4) || read_map(value))
            return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, on_exit, 0);
    return 0;
}

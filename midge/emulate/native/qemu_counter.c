/* The counter as a plugin of QEMU, in its translation-block interface (TCG plugins, documented in QEMU's
 * docs/devel/tcg-plugins). The few declarations it needs stand here, so that no QEMU header has to be installed.
 *
 * Arguments: run=ADDRESS, return=ADDRESS (counting is on between the two), stack=ADDRESS, map=FILE, out=FILE.
 * The map is binary: code base, code bytes, first owner (uint32 each), then the owner of each halfword (uint16).
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
enum { CB_NO_REGS = 0, MEM_STORES = 2 };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                           void (*callback)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*callback)(unsigned int, void *), int flags,
                                          void *user);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn,
                                      void (*callback)(unsigned int, qemu_plugin_meminfo_t, uint64_t, void *),
                                      int flags, int rw, void *user);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t, void *), void *user);

EXPORT int qemu_plugin_version = PLUGIN_VERSION;

enum { BLOCKS = 1 << 18, OWNERS = 1 << 16 };

static struct counter counter;
static uint32_t run_address, return_address;
static const char *out_path = "";

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

static void on_store(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t address, void *user)
{
    (void)cpu, (void)info, (void)user;
    if (counter.enabled)
        counter_access(&counter, 1, (uint32_t)address, 1);
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    struct translated *block = malloc(sizeof *block);
    const size_t count = qemu_plugin_tb_n_insns(tb);
    (void)id;
    if (!block)
        abort();
    block->address = (uint32_t)qemu_plugin_tb_vaddr(tb);
    block->bytes = 0;
    for (size_t i = 0; i < count; ++i) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        block->bytes += (uint32_t)qemu_plugin_insn_size(insn);
        qemu_plugin_register_vcpu_mem_cb(insn, on_store, CB_NO_REGS, MEM_STORES, 0);
    }
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, CB_NO_REGS, block);
}

/* The results: full, stack bytes (uint32 each), then the blocks in use as they lie in memory. */
static void on_exit(qemu_plugin_id_t id, void *user)
{
    FILE *out = fopen(out_path, "wb");
    const uint32_t depth =
        counter.lowest_store == UINT64_MAX ? 0 : (uint32_t)(counter.stack_top - counter.lowest_store);
    const uint32_t head[2] = {counter.full, depth};
    (void)id, (void)user;
    if (!out)
        return;
    fwrite(head, sizeof head, 1, out);
    for (size_t i = 0; i < BLOCKS; ++i)
        if (counter.blocks[i].used)
            fwrite(&counter.blocks[i], sizeof counter.blocks[i], 1, out);
    fclose(out);
}

static int read_map(const char *path)
{
    uint32_t head[3];
    uint16_t *owners;
    FILE *map = fopen(path, "rb");
    if (!map || fread(head, sizeof head, 1, map) != 1)
        return -1;
    owners = malloc(head[1] + 2u);
    if (!owners || fread(owners, 1, head[1], map) != head[1])
        return -1;
    fclose(map);
    counter.code_base = head[0];
    counter.code_bytes = head[1];
    counter.owner = head[2];
    counter.owners = owners;
    return 0;
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
    (void)info;
    counter.blocks = calloc(BLOCKS, sizeof *counter.blocks);
    counter.tallies = calloc(OWNERS, sizeof *counter.tallies);
    counter.block_mask = BLOCKS - 1;
    counter.lowest_store = UINT64_MAX;
    if (!counter.blocks || !counter.tallies)
        return -1;
    for (int i = 0; i < argc; ++i) {
        const char *value = strchr(argv[i], '=');
        if (!value)
            return -1;
        ++value;
        if (!strncmp(argv[i], "run=", 4))
            run_address = (uint32_t)strtoul(value, 0, 0);
        else if (!strncmp(argv[i], "return=", 7))
            return_address = (uint32_t)strtoul(value, 0, 0);
        else if (!strncmp(argv[i], "stack=", 6))
            counter.stack_top = (uint32_t)strtoul(value, 0, 0);
        else if (!strncmp(argv[i], "out=", 4))
            out_path = strdup(value);
        else if (strncmp(argv[i], "map=", 4) || read_map(value))
            return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, on_exit, 0);
    return 0;
}

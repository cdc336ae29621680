/* The counter as hooks of the Unicorn emulator. Unicorn's functions are given as addresses: this library links to
 * nothing. */
#include "counter.h"

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

enum { MEM_READ = 16, MEM_WRITE = 17 }; /* UC_MEM_READ, UC_MEM_WRITE */

struct hooks {
    struct counter counter;
    int (*reg_read)(void *engine, int register_, void *value);
    int pc_register;
};

EXPORT uint32_t midge_hooks_bytes(void)
{
    return sizeof(struct hooks);
}

/* owners, blocks and tallies outlive the hooks; blocks and tallies are zero. */
EXPORT void midge_configure(struct hooks *hooks, void *reg_read, int pc_register, uint32_t code_base,
                            uint32_t code_bytes, const uint16_t *owners, struct block *blocks, uint32_t block_count,
                            struct tally *tallies, uint32_t first_owner)
{
    struct counter *counter = &hooks->counter;
    hooks->reg_read = (int (*)(void *, int, void *))(uintptr_t)reg_read;
    hooks->pc_register = pc_register;
    counter->code_base = code_base;
    counter->code_bytes = code_bytes;
    counter->owners = owners;
    counter->blocks = blocks;
    counter->block_mask = block_count - 1u;
    counter->tallies = tallies;
    counter->owner = first_owner;
    counter->lowest_store = UINT64_MAX;
}

EXPORT void midge_set_cache(struct hooks *hooks, int of_reads, uint32_t flash_base, uint32_t flash_bytes,
                            uint32_t lines, uint32_t line_bytes, uint32_t sector_bytes)
{
    struct cache *cache = of_reads ? &hooks->counter.read : &hooks->counter.fetch;
    hooks->counter.flash_base = flash_base;
    hooks->counter.flash_bytes = flash_bytes;
    cache->lines = lines;
    cache->line_bytes = line_bytes;
    cache->sector_bytes = sector_bytes;
}

EXPORT void midge_enable(struct hooks *hooks)
{
    hooks->counter.enabled = 1;
}

EXPORT void midge_disable(struct hooks *hooks)
{
    counter_stop(&hooks->counter);
}

EXPORT uint32_t midge_owner(const struct hooks *hooks)
{
    return hooks->counter.owner;
}

EXPORT uint32_t midge_full(const struct hooks *hooks)
{
    return hooks->counter.full;
}

EXPORT const struct unaligned_site *midge_unaligned(const struct hooks *hooks)
{
    return hooks->counter.unaligned;
}

EXPORT void midge_on_block(void *engine, uint64_t address, uint32_t bytes, struct hooks *hooks)
{
    (void)engine;
    if (hooks->counter.enabled)
        counter_enter(&hooks->counter, (uint32_t)address, bytes);
}

EXPORT void midge_on_access(void *engine, int type, uint64_t address, int bytes, int64_t value, struct hooks *hooks)
{
    struct counter *counter = &hooks->counter;
    (void)value;
    if (!counter->enabled)
        return;
    counter_access(counter, type == MEM_WRITE, (uint32_t)address, (uint32_t)bytes);
    if (address & ((uint32_t)bytes - 1u)) {
        uint64_t pc = 0; /* wide enough for any version of Unicorn */
        hooks->reg_read(engine, hooks->pc_register, &pc);
        counter_unaligned(counter, (uint32_t)address, (uint32_t)bytes, (uint32_t)pc);
    }
}

/* The counter as hooks of the Unicorn emulator. Unicorn's functions are given as addresses: this library links to
 * nothing. */
#include "counter.h"

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

enum { ACCESS_STORES = 1, ALWAYS = 14, NO_REGISTER = 0 };

/* An instruction that accesses memory, at base + (index << shift) + offset. */
struct access {
    int32_t offset;
    uint16_t base, index; /* Unicorn's numbers of registers, or NO_REGISTER */
    uint8_t shift, bytes, count, condition, flags, unused[3];
};

/* Loads and stores are watched instruction by instruction. Unicorn's own hooks of memory accesses may not be used:
 * to tell the program counter they restore the state of the core in the middle of a block, and with it the state of
 * an IT block, so that later instructions are skipped that should run (seen in Unicorn 2.1.4). */
struct hooks {
    struct counter counter;
    int (*reg_read)(void *engine, int register_, void *value);
    int flags_register;
    const uint16_t *access_numbers; /* by halfword of code; 0 is none */
    const struct access *accesses;
};

EXPORT uint32_t midge_hooks_bytes(void)
{
    return sizeof(struct hooks);
}

/* owners, blocks and tallies outlive the hooks; blocks and tallies are zero. */
EXPORT void midge_configure(struct hooks *hooks, void *reg_read, int flags_register, const uint16_t *owners,
                            struct block *blocks, uint32_t block_count, struct tally *tallies, uint32_t first_owner)
{
    struct counter *counter = &hooks->counter;
    hooks->reg_read = (int (*)(void *, int, void *))(uintptr_t)reg_read;
    hooks->flags_register = flags_register;
    counter->owners = owners;
    counter->blocks = blocks;
    counter->block_mask = block_count - 1u;
    counter->tallies = tallies;
    counter->owner = first_owner;
    counter->lowest_store = UINT64_MAX;
}

/* Ranges lie one behind the other in the table of owners. */
EXPORT void midge_add_range(struct hooks *hooks, uint32_t number, uint32_t base, uint32_t bytes, uint32_t first)
{
    const struct code_range range = {base, bytes, first};
    hooks->counter.ranges[number] = range;
}

EXPORT void midge_set_cache(struct hooks *hooks, int of_reads, uint32_t lines, uint32_t ways, uint32_t line_bytes,
                            uint32_t sector_bytes)
{
    struct cache *cache = of_reads ? &hooks->counter.read : &hooks->counter.fetch;
    cache->lines = lines;
    cache->ways = ways;
    cache->line_bytes = line_bytes;
    cache->sector_bytes = sector_bytes;
    cache->next_sector = UINT32_MAX;
}

EXPORT void midge_set_memories(struct hooks *hooks, uint32_t flash_base, uint32_t flash_bytes, uint32_t ram_base,
                               uint32_t ram_bytes, uint32_t unified, uint32_t uncached_reads)
{
    struct counter *counter = &hooks->counter;
    counter->flash_base = flash_base;
    counter->flash_bytes = flash_bytes;
    counter->ram_base = ram_base;
    counter->ram_bytes = ram_bytes;
    counter->unified = unified;
    counter->uncached_reads = uncached_reads;
}

EXPORT void midge_watch(struct hooks *hooks, const uint16_t *access_numbers, const struct access *accesses)
{
    hooks->access_numbers = access_numbers;
    hooks->accesses = accesses;
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

static uint32_t register_value(const struct hooks *hooks, void *engine, int number)
{
    uint64_t value = 0; /* wide enough for any version of Unicorn */
    hooks->reg_read(engine, number, &value);
    return (uint32_t)value;
}

/* The condition of an instruction in an IT block, as the architecture numbers them. */
static int holds(const struct hooks *hooks, void *engine, uint8_t condition)
{
    const uint32_t flags = register_value(hooks, engine, hooks->flags_register);
    const uint32_t n = flags >> 31, z = flags >> 30 & 1u, c = flags >> 29 & 1u, v = flags >> 28 & 1u;
    const uint32_t values[8] = {z, c, n, v, c & (z ^ 1u), (n ^ v) ^ 1u, ((n ^ v) ^ 1u) & (z ^ 1u), 1u};
    return condition == ALWAYS || (values[condition >> 1] ^ (condition & 1u)) != 0;
}

EXPORT void midge_on_instruction(void *engine, uint64_t pc, uint32_t bytes, struct hooks *hooks)
{
    struct counter *counter = &hooks->counter;
    const int64_t place = counter->enabled ? counter_place(counter, (uint32_t)pc) : NOT_CODE;
    const struct access *access;
    uint32_t address;
    (void)bytes;
    if (place == NOT_CODE || !hooks->access_numbers[place])
        return;
    access = &hooks->accesses[hooks->access_numbers[place]];
    if (access->condition != ALWAYS && !holds(hooks, engine, access->condition))
        return;
    address = (uint32_t)access->offset;
    if (access->base != NO_REGISTER)
        address += register_value(hooks, engine, access->base);
    if (access->index != NO_REGISTER)
        address += register_value(hooks, engine, access->index) << access->shift;
    counter_access(counter, access->flags & ACCESS_STORES, address, (uint32_t)access->bytes * access->count);
    if (address & (access->bytes - 1u))
        counter_unaligned(counter, address, access->bytes, (uint32_t)pc);
}

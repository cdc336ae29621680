/* Counts the executed blocks of a program, exactly, as its emulator reports them one by one.
 *
 * A block is a run of instructions that the emulator executes as a whole. For each block and owner (the layer that
 * it worked for) the counter keeps how often it was entered by falling through or by a branch, and how often it was
 * left by falling through or by a branch: what a cycle model needs to know. It also runs the caches in front of a
 * flash memory with wait states, and notes accesses that are not aligned.
 *
 * The memory is the caller's; nothing is allocated here.
 */
#ifndef MIDGE_COUNTER_H
#define MIDGE_COUNTER_H

#include <stdint.h>

enum { OWNER_NONE = 0, CACHE_LINES = 1024, UNALIGNED_SITES = 256 };

/* counts[entered by a branch ? 1 : 0][left by a branch ? 1 : 0] */
struct block {
    uint32_t address, bytes, owner, used;
    uint64_t counts[2][2];
};

/* A least-recently-used cache whose lines are filled sector by sector. `lines` = 0: there is none. */
struct cache {
    uint32_t lines, line_bytes, sector_bytes, clock, latest; /* latest: the line of the last access */
    struct {
        uint32_t tag, sectors, age, used;
    } line[CACHE_LINES];
};

/* What is summed up for each owner besides blocks. */
struct tally {
    uint64_t fetch_misses, read_misses, unaligned;
};

struct unaligned_site {
    uint32_t address, bytes, pc, used;
};

struct counter {
    uint32_t enabled, full;
    /* The owner of each halfword of code: OWNER_NONE keeps the current one. */
    uint32_t code_base, code_bytes;
    const uint16_t *owners;
    struct block *blocks;
    uint32_t block_mask; /* the number of blocks is a power of two; this is one less */
    uint32_t owner;
    uint32_t last_end, last_entry;
    struct block *last;
    struct tally *tallies; /* by owner */
    uint32_t flash_base, flash_bytes;
    struct cache fetch, read;
    struct unaligned_site unaligned[UNALIGNED_SITES];
    uint64_t lowest_store, stack_top; /* of stores below stack_top */
};

/* The line that holds a tag; the oldest one, emptied, where none does. Lines never used are the oldest. */
static inline uint32_t cache_line(struct cache *cache, uint32_t tag)
{
    uint32_t victim = 0;
    for (uint32_t i = 0; i < cache->lines; ++i) {
        if (cache->line[i].used && cache->line[i].tag == tag)
            return i;
        if (cache->line[i].age < cache->line[victim].age)
            victim = i;
    }
    cache->line[victim].used = 1;
    cache->line[victim].tag = tag;
    cache->line[victim].sectors = 0;
    return victim;
}

/* Sectors of [address, address + bytes) that the cache did not hold; they are brought in. */
static inline uint32_t cache_misses(struct cache *cache, uint32_t address, uint32_t bytes)
{
    const uint32_t end = address + bytes;
    uint32_t misses = 0, sector = address & ~(cache->sector_bytes - 1u);
    if (cache->lines == 0)
        return 0;
    for (; sector < end; sector += cache->sector_bytes) {
        const uint32_t tag = sector & ~(cache->line_bytes - 1u);
        const uint32_t bit = 1u << ((sector - tag) / cache->sector_bytes);
        uint32_t found = cache->latest;
        ++cache->clock;
        if (!cache->line[found].used || cache->line[found].tag != tag)
            found = cache->latest = cache_line(cache, tag);
        if (!(cache->line[found].sectors & bit)) {
            cache->line[found].sectors |= bit;
            ++misses;
        }
        cache->line[found].age = cache->clock;
    }
    return misses;
}

static inline struct block *counter_find(struct counter *counter, uint32_t address, uint32_t bytes)
{
    const uint32_t hash = (address >> 1) * 2654435761u ^ bytes * 40503u ^ counter->owner * 2246822519u;
    for (uint32_t probe = 0; probe <= counter->block_mask; ++probe) {
        struct block *block = &counter->blocks[(hash + probe) & counter->block_mask];
        if (!block->used) {
            block->used = 1;
            block->address = address;
            block->bytes = bytes;
            block->owner = counter->owner;
            return block;
        }
        if (block->address == address && block->bytes == bytes && block->owner == counter->owner)
            return block;
    }
    counter->full = 1;
    return 0;
}

/* A block begins: so the one before has ended, and whether its branch was taken is known. */
static inline void counter_enter(struct counter *counter, uint32_t address, uint32_t bytes)
{
    const uint32_t branched = address != counter->last_end;
    const uint32_t offset = address - counter->code_base;
    if (counter->last)
        counter->last->counts[counter->last_entry][branched]++;
    if (offset < counter->code_bytes && counter->owners[offset >> 1] != OWNER_NONE)
        counter->owner = counter->owners[offset >> 1];
    counter->last = counter_find(counter, address, bytes);
    counter->last_entry = branched;
    counter->last_end = address + bytes;
    if (counter->fetch.lines && address - counter->flash_base < counter->flash_bytes)
        counter->tallies[counter->owner].fetch_misses += cache_misses(&counter->fetch, address, bytes);
}

static inline void counter_access(struct counter *counter, int is_store, uint32_t address, uint32_t bytes)
{
    if (is_store && address < counter->stack_top && address < counter->lowest_store)
        counter->lowest_store = address;
    if (!is_store && counter->read.lines && address - counter->flash_base < counter->flash_bytes)
        counter->tallies[counter->owner].read_misses += cache_misses(&counter->read, address, bytes);
}

/* An access across its natural border: a second bus transfer, and a third where a word starts at an odd address. */
static inline void counter_unaligned(struct counter *counter, uint32_t address, uint32_t bytes, uint32_t pc)
{
    counter->tallies[counter->owner].unaligned += bytes == 4 && (address & 1u) ? 2 : 1;
    for (uint32_t i = 0; i < UNALIGNED_SITES; ++i) {
        struct unaligned_site *site = &counter->unaligned[i];
        if (!site->used) {
            site->used = 1;
            site->address = address;
            site->bytes = bytes;
            site->pc = pc;
        }
        if (site->pc == pc)
            return;
    }
    counter->full = 1;
}

/* Counting ends: the last block was left by a branch (a return). */
static inline void counter_stop(struct counter *counter)
{
    if (counter->last)
        counter->last->counts[counter->last_entry][1]++;
    counter->last = 0;
    counter->enabled = 0;
}

#endif

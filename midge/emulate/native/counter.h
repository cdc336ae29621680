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

enum { OWNER_NONE = 0, CACHE_LINES = 2048, CODE_RANGES = 8, NOT_CODE = -1, UNALIGNED_SITES = 1024 };

/* counts[entered by a branch ? 1 : 0][left by a branch ? 1 : 0] */
struct block {
    uint32_t address, bytes, owner, used;
    uint64_t counts[2][2];
};

/* A cache with least-recently-used replacement within a set of `ways` lines, which are filled sector by sector.
 * `lines` = 0: there is none. */
struct cache {
    uint32_t lines, ways, line_bytes, sector_bytes;
    uint32_t latest;      /* the line of the last access */
    uint32_t next_sector; /* the one after the sector of the last access: a prefetch or a burst may have it early */
    uint64_t clock;
    struct {
        uint32_t tag, sectors, used;
        uint64_t age;
    } line[CACHE_LINES];
};

/* Sectors that a cache did not hold; of them those that follow the sector accessed just before. */
struct misses {
    uint64_t all, next;
};

/* What is summed up for each owner besides blocks. */
struct tally {
    struct misses fetch, read;
    uint64_t ram_misses, unaligned;
};

struct unaligned_site {
    uint32_t address, bytes, pc, used;
};

/* Code that is counted: its halfwords have their places in the table of owners from `first` on. */
struct code_range {
    uint32_t base, bytes, first;
};

struct counter {
    uint32_t enabled, full;
    struct code_range ranges[CODE_RANGES]; /* 0 bytes: unused */
    const uint16_t *owners;                /* of each halfword of code: OWNER_NONE keeps the current one */
    struct block *blocks;
    uint32_t block_mask; /* the number of blocks is a power of two; this is one less */
    uint32_t owner;
    uint32_t last_end, last_entry;
    struct block *last;
    struct tally *tallies; /* by owner */
    uint32_t flash_base, flash_bytes;
    uint32_t ram_base, ram_bytes; /* RAM behind the cache of reads; 0 bytes where it has none */
    uint32_t unified;             /* data go through the cache of fetches */
    uint32_t uncached_reads;      /* each word that is read from flash waits for it */
    struct cache fetch, read;
    struct unaligned_site unaligned[UNALIGNED_SITES];
    uint64_t lowest_store, stack_top; /* of stores below stack_top */
};

/* The place of an address in the table of owners, or NOT_CODE. */
static inline int64_t counter_place(const struct counter *counter, uint32_t address)
{
    for (uint32_t i = 0; i < CODE_RANGES; ++i) {
        const uint32_t offset = address - counter->ranges[i].base;
        if (offset < counter->ranges[i].bytes)
            return (int64_t)counter->ranges[i].first + (offset >> 1);
    }
    return NOT_CODE;
}

/* The line that holds a tag; the oldest of its set, emptied, where none does. Lines never used are the oldest. */
static inline uint32_t cache_line(struct cache *cache, uint32_t tag)
{
    const uint32_t first = tag / cache->line_bytes % (cache->lines / cache->ways) * cache->ways;
    uint32_t victim = first;
    for (uint32_t i = first; i < first + cache->ways; ++i) {
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
static inline void cache_access(struct cache *cache, uint32_t address, uint32_t bytes, struct misses *misses)
{
    const uint32_t end = address + bytes;
    uint32_t sector = address & ~(cache->sector_bytes - 1u);
    for (; sector < end; sector += cache->sector_bytes) {
        const uint32_t tag = sector & ~(cache->line_bytes - 1u);
        const uint32_t bit = 1u << ((sector - tag) / cache->sector_bytes);
        uint32_t found = cache->latest;
        ++cache->clock;
        if (!cache->line[found].used || cache->line[found].tag != tag)
            found = cache->latest = cache_line(cache, tag);
        if (!(cache->line[found].sectors & bit)) {
            cache->line[found].sectors |= bit;
            misses->all++;
            misses->next += sector == cache->next_sector;
        }
        cache->line[found].age = cache->clock;
        cache->next_sector = sector + cache->sector_bytes;
    }
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
    const int64_t place = counter_place(counter, address);
    if (counter->last)
        counter->last->counts[counter->last_entry][branched]++;
    if (place != NOT_CODE && counter->owners[place] != OWNER_NONE)
        counter->owner = counter->owners[place];
    counter->last = counter_find(counter, address, bytes);
    counter->last_entry = branched;
    counter->last_end = address + bytes;
    if (counter->fetch.lines && address - counter->flash_base < counter->flash_bytes)
        cache_access(&counter->fetch, address, bytes, &counter->tallies[counter->owner].fetch);
}

static inline void counter_access(struct counter *counter, int is_store, uint32_t address, uint32_t bytes)
{
    struct tally *tally = &counter->tallies[counter->owner];
    struct cache *cache = counter->unified ? &counter->fetch : &counter->read;
    struct misses of_ram = {0, 0};
    if (is_store && address < counter->stack_top && address < counter->lowest_store)
        counter->lowest_store = address;
    if (address - counter->ram_base < counter->ram_bytes && cache->lines) {
        cache_access(cache, address, bytes, &of_ram);
        tally->ram_misses += of_ram.all;
        return;
    }
    if (is_store || address - counter->flash_base >= counter->flash_bytes)
        return;
    if (cache->lines)
        cache_access(cache, address, bytes, &tally->read);
    else if (counter->uncached_reads)
        tally->read.all += (bytes + 3u) / 4u;
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

/* XXH64, the checksum of .fewbit files: 64 bits, for damage, not against forgers. Yann Collet's
 * public specification (xxHash, doc/xxhash_spec.md), seed 0; results agree with the tool
 * `xxh64sum`. */
#ifndef FB_BASE_HASH_H
#define FB_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct fb_hash {
    uint64_t lane[4];
    uint64_t total;   /* bytes so far */
    uint8_t rest[32]; /* the last total % 32 of them */
} fb_hash;

void fb_hash_init(fb_hash *h);
void fb_hash_add(fb_hash *h, const void *data, size_t bytes);
uint64_t fb_hash_end(const fb_hash *h); /* h can go on */

/* All at once. About 10 GB/s where memory allows. */
uint64_t fb_hash64(const void *data, size_t bytes);

#endif

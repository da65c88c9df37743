/* What a key should look like, judged from the same key in the other octaves.
 *
 * It tells a parked hand from a pressed key: a hand shows levels that no other octave has at that place, and
 * when it leaves, the levels become usual; with a key held down it is the other way round. */
#ifndef IVORIES_REST_OCTAVES_H
#define IVORIES_REST_OCTAVES_H

#include "rest_image.h"

typedef struct {
  uint8_t *middle, *least,
      *most;           /* of the rest levels in all octaves, up to two outliers left out on each side */
  uint8_t *low, *high; /* least and most within one pixel around: registration is not perfect */
  int32_t *light;      /* (keys) how much brighter the block is than its octaves, 256 = alike */
  int row;             /* next to be updated */
} rest_octaves;

bool rest_octaves_new(rest_octaves *o, const rest_spec *spec);
void rest_octaves_free(rest_octaves *o);

/* Compare `rows` more rows of the rest image. */
void rest_octaves_update(rest_octaves *o, const rest_spec *spec, const uint16_t *rest, const uint8_t *inside,
                         int rows);

/* How far a level at pixel i of block k is from all that the octaves show there, under the block's own light.
 * 0 in the outermost blocks, which show what lies beside the keyboard. */
static inline int32_t rest_strangeness(const rest_octaves *o, const rest_spec *spec, int k, int i,
                                       int32_t level) {
  if (k == 0 || k + 1 >= spec->keys) return 0;
  int32_t low = (o->low[i] * o->light[k]) >> 8, high = (o->high[i] * o->light[k] + 255) >> 8;
  return level < low ? low - level : level > high ? level - high : 0;
}

#endif

#include "rest_octaves.h"

#include <stdlib.h>
#include <string.h>

enum { OCTAVE = 12, OCTAVES_MOST = 16, NEIGHBOURS = 9, ALIKE = 256 };

bool rest_octaves_new(rest_octaves *o, const rest_spec *spec) {
  size_t n = (size_t)spec->rows * (size_t)spec->keys * (size_t)spec->columns;
  o->middle = calloc(n, 1);
  o->least = calloc(n, 1);
  o->most = calloc(n, 1);
  o->low = calloc(n, 1);
  o->high = calloc(n, 1);
  o->light = calloc((size_t)spec->keys, sizeof *o->light);
  o->row = 0;
  return o->middle && o->least && o->most && o->low && o->high && o->light;
}

void rest_octaves_free(rest_octaves *o) {
  free(o->middle);
  free(o->least);
  free(o->most);
  free(o->low);
  free(o->high);
  free(o->light);
}

static void compare_row(rest_octaves *o, const rest_spec *spec, const uint16_t *rest, const uint8_t *inside,
                        int row) {
  const int width = spec->keys * spec->columns, reach = OCTAVE * spec->columns, first = row * width;
  for (int x = 0; x < reach && x < width; x++) {
    int level[OCTAVES_MOST], n = 0;
    for (int at = first + x; at < first + width && n < OCTAVES_MOST; at += reach) {
      if (!inside[at]) continue;
      int here = (rest[at] + REST_ONE / 2) >> REST_BITS, k = n++;
      for (; k > 0 && level[k - 1] > here; k--) level[k] = level[k - 1];
      level[k] = here > 255 ? 255 : here;
    }
    const int outliers = n >= 6 ? 2 : n >= 4, known = n >= 3;
    for (int at = first + x; at < first + width; at += reach) {
      int own = (rest[at] + REST_ONE / 2) >> REST_BITS;
      o->middle[at] = (uint8_t)(known ? level[n / 2] : own > 255 ? 255 : own);
      o->least[at] = (uint8_t)(known ? level[outliers] : 0);
      o->most[at] = (uint8_t)(known ? level[n - 1 - outliers] : 255);
    }
  }
}

static void spread_row(rest_octaves *o, const rest_spec *spec, int row) {
  const int width = spec->keys * spec->columns;
  const int above = row > 0 ? row - 1 : row, below = row + 1 < spec->rows ? row + 1 : row;
  uint8_t *low = o->low + row * width, *high = o->high + row * width;
  memset(low, 255, (size_t)width);
  memset(high, 0, (size_t)width);
  for (int y = above; y <= below; y++) {
    const uint8_t *least = o->least + y * width, *most = o->most + y * width;
    for (int shift = -1; shift <= 1; shift++)
      for (int x = shift < 0; x < width - (shift > 0); x++) {
        low[x] = least[x + shift] < low[x] ? least[x + shift] : low[x];
        high[x] = most[x + shift] > high[x] ? most[x + shift] : high[x];
      }
  }
}

/* A block's light is the median of its neighbourhood's, each judged by the rows next to the fallboard, where
 * hands come least. */
static void compare_light(rest_octaves *o, const rest_spec *spec, const uint16_t *rest) {
  const int width = spec->keys * spec->columns, end = (spec->back_first + spec->back_end + 1) / 2;
  int32_t recent[NEIGHBOURS];
  for (int n = 0; n < NEIGHBOURS; n++) recent[n] = ALIKE;
  for (int k = 0; k < spec->keys + NEIGHBOURS / 2; k++) {
    int64_t own = 0, others = 0;
    for (int y = spec->back_first; k < spec->keys && y < end; y++)
      for (int i = y * width + k * spec->columns; i < y * width + (k + 1) * spec->columns; i++) {
        own += rest[i];
        others += o->middle[i];
      }
    int64_t light = others ? own * ALIKE / (others * REST_ONE) : ALIKE;
    if (k < spec->keys) recent[k % NEIGHBOURS] = (int32_t)light;
    if (k < NEIGHBOURS / 2) continue;
    int32_t sorted[NEIGHBOURS]; /* past the last key, the ring keeps the keys before */
    for (int n = 0; n < NEIGHBOURS; n++) {
      int at = n;
      for (; at > 0 && sorted[at - 1] > recent[n]; at--) sorted[at] = sorted[at - 1];
      sorted[at] = recent[n];
    }
    int32_t middle = sorted[NEIGHBOURS / 2];
    o->light[k - NEIGHBOURS / 2] = middle < ALIKE / 2 ? ALIKE / 2 : middle > 2 * ALIKE ? 2 * ALIKE : middle;
  }
}

void rest_octaves_update(rest_octaves *o, const rest_spec *spec, const uint16_t *rest, const uint8_t *inside,
                         int rows) {
  for (; rows > 0; rows--) {
    compare_row(o, spec, rest, inside, o->row);
    spread_row(o, spec, o->row);
    o->row = (o->row + 1) % spec->rows;
    if (o->row == 0) compare_light(o, spec, rest);
  }
}

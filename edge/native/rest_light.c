#include "rest_light.h"

#include <string.h>

enum {
  GROUP_LEAST = 64, /* pixels needed for a median */
  CLIPPED = 252,    /* brighter pixels say nothing about the light */
  BINS = 768,       /* differences -512..255 */
  ZERO_BIN = 512,
  CONTRAST = 30 * REST_ONE, /* between bright and dark, needed for a gain */
};

static int32_t limit(int32_t v, int32_t low, int32_t high) { return v < low ? low : v > high ? high : v; }

void rest_light_reset(rest_light *light) { *light = (rest_light){.gain = GAIN_ONE}; }

void rest_light_split(rest_light *light, const rest_spec *spec, const uint16_t *rest, const uint8_t *inside) {
  const int width = spec->keys * spec->columns;
  int64_t sum = 0, count = 0;
  for (int y = spec->back_first; y < spec->back_end; y += GRID_ROWS)
    for (int x = 0; x < width; x += GRID_COLUMNS) {
      int i = y * width + x;
      sum += inside[i] ? rest[i] : 0;
      count += inside[i] & 1;
    }
  light->split = count ? (int32_t)(sum / count) : 0;
}

/* Median of a histogram's values, in 1/REST_ONE, interpolated inside its bin. */
static int32_t median(const uint16_t *histogram, int32_t count) {
  int32_t before = 0, bin = 0;
  while (bin < BINS - 1 && 2 * (before + histogram[bin]) < count) before += histogram[bin++];
  int32_t here = histogram[bin] ? histogram[bin] : 1;
  return bin * REST_ONE - REST_ONE / 2 + (count - 2 * before) * (REST_ONE / 2) / here;
}

/* A line through two robust points: the median level and the median change of the bright and of the dark
 * pixels of the back rows (both medians fall on the same pixels, as the change is monotone in the level). A
 * step is taken at once, a drift smoothly. */
bool rest_light_follow(rest_light *light, const rest_spec *spec, const uint16_t *rest, const uint8_t *inside,
                       const uint8_t *luma, int64_t elapsed_ns) {
  const int width = spec->keys * spec->columns;
  uint16_t levels[2][BINS], changes[2][BINS];
  int32_t count[2] = {0, 0}, level[2], change[2];
  memset(levels, 0, sizeof levels);
  memset(changes, 0, sizeof changes);
  for (int y = spec->back_first; y < spec->back_end; y += GRID_ROWS)
    for (int x = 0; x < width; x += GRID_COLUMNS) {
      int i = y * width + x;
      int32_t known = (rest[i] + REST_ONE / 2) >> REST_BITS;
      if (!inside[i] || luma[i] >= CLIPPED || known >= CLIPPED) continue;
      int bright = rest[i] >= light->split;
      levels[bright][known]++;
      changes[bright][luma[i] - known + ZERO_BIN]++;
      count[bright]++;
    }
  bool enough[2];
  for (int k = 0; k < 2; k++) {
    enough[k] = count[k] >= GROUP_LEAST;
    level[k] = enough[k] ? median(levels[k], count[k]) : 0;
    change[k] = enough[k] ? median(changes[k], count[k]) - ZERO_BIN * REST_ONE : 0;
  }
  int64_t gain = GAIN_ONE, offset = 0;
  if (enough[0] && enough[1] && level[1] - level[0] >= CONTRAST) {
    gain += (int64_t)(change[1] - change[0]) * GAIN_ONE / (level[1] - level[0]);
    gain = limit((int32_t)gain, GAIN_ONE / 4, 2 * GAIN_ONE - 1);
    offset = change[0] - (gain - GAIN_ONE) * level[0] / GAIN_ONE;
  } else if (enough[1]) {
    gain += (int64_t)change[1] * GAIN_ONE / (level[1] > 0 ? level[1] : 1);
    gain = limit((int32_t)gain, GAIN_ONE / 4, 2 * GAIN_ONE - 1);
  } else if (enough[0]) {
    offset = change[0];
  } else {
    return false; /* too little to see: keep the light we know */
  }
  offset = limit((int32_t)offset, -128 * REST_ONE, 128 * REST_ONE);
  int64_t gain_step = gain - light->gain, offset_step = offset - light->offset;
  bool stepped = false;
  for (int k = 0; k < 2; k++) {
    int64_t step = gain_step * level[k] / GAIN_ONE + offset_step;
    stepped |= step > spec->jump * REST_ONE || step < -spec->jump * REST_ONE;
  }
  bool jump = stepped || elapsed_ns >= spec->light_ns;
  light->gain += (int32_t)(jump ? gain_step : gain_step * elapsed_ns / spec->light_ns);
  light->offset += (int32_t)(jump ? offset_step : offset_step * elapsed_ns / spec->light_ns);
  return stepped;
}
